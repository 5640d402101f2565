//! A challenge: one demand for a proof. Its states, and what each entry, send and claim does to it. Pure: the flows load
//! the rows, ask these functions, and commit what came out.

mod proof;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

pub use proof::{Acr, Proof};

use crate::account::Account;
use crate::clock::after;
use crate::limit::Limits;
use crate::method::{Channel, Method};

/// How long a challenge waits for its first browser.
pub const UNCLAIMED_LIFE: Duration = Duration::from_secs(10 * 60);
/// How long the ticket of a verified challenge can be redeemed, and how long redeeming it again returns the same result.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);

/// What a proof is wanted for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To confirm something in the product.
    Confirm,
    /// To open the settings.
    Settings,
    /// To make a new method usable: only a code of that method counts.
    Enrol,
    /// To sign in from an unknown browser to an account that is off.
    NewDevice,
}

/// Where a challenge stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ChallengeState {
    /// No browser has it yet.
    Created,
    /// A browser has it, or the API opened it.
    Open,
    /// Proved; its ticket was not redeemed yet.
    Verified,
    /// The product has the result.
    Redeemed,
    /// Proved, and nobody redeemed the ticket in time.
    Lapsed,
    /// Too many wrong codes.
    Locked,
    /// The user said "It was not me".
    Denied,
    /// Nobody proved anything in time.
    Expired,
    /// The user or the product gave it up.
    Cancelled,
}

impl ChallengeState {
    /// Whether a proof is still possible.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Created | Self::Open)
    }
}

/// One demand for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Our id; it is no secret.
    pub id: Uuid,
    /// Whose proof.
    pub account: Uuid,
    /// What for.
    pub purpose: Purpose,
    /// Where it stands.
    pub state: ChallengeState,
    /// The settings session that it belongs to.
    pub session: Option<Uuid>,
    /// The method that the page shows; for `Enrol` the only one that counts.
    pub method: Option<Uuid>,
    /// How the last code went out.
    pub channel: Option<Channel>,
    /// Keyed hash of the secret in its URL.
    pub handle_hash: String,
    /// Keyed hash of the browser that claimed it.
    pub browser_hash: Option<String>,
    /// Where the browser goes afterwards.
    pub return_url: Option<String>,
    /// The product's `state`, given back as it came.
    pub return_state: Option<String>,
    /// The product's `nonce`, given back in the result.
    pub nonce: Option<String>,
    /// Wrong entries so far.
    pub wrong: u32,
    /// Sends so far, calls among them.
    pub sends: u32,
    /// Calls so far.
    pub calls: u32,
    /// No send before this time.
    pub next_send_at: Option<Timestamp>,
    /// Keyed hash of the client's address.
    pub client_hash: Option<String>,
    /// Browser and system, for people.
    pub agent: Option<String>,
    /// Language of the pages.
    pub locale: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends unless something else ends it.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Keyed hash of its ticket.
    pub ticket_hash: Option<String>,
    /// Until when the ticket can be redeemed.
    pub ticket_until: Option<Timestamp>,
    /// The result's id, which makes the result usable once.
    pub jti: Option<Uuid>,
    /// How it was proved.
    pub proof: Option<Proof>,
    /// What the proof is worth.
    pub acr: Option<Acr>,
    /// The device that was trusted or is trusted now.
    pub device: Option<Uuid>,
    /// When the ticket was first redeemed.
    pub redeemed_at: Option<Timestamp>,
    /// Keyed hash of the six digits that were right, where a browser entered them.
    pub answer_hash: Option<String>,
    /// Where the browser is, as the product says it: for people.
    pub place: Option<String>,
}

/// Why an entry is not looked at. It is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRefused {
    /// The challenge has ended.
    Ended(ChallengeState),
    /// The account is paused.
    Paused {
        /// Until then.
        until: Timestamp,
    },
}

/// What a wrong entry did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Entries that are left; 0: the challenge is locked.
    pub left: u32,
    /// Until when the account is paused, if this entry paused it.
    pub account_paused_until: Option<Timestamp>,
    /// The methods that this entry paused.
    pub methods_paused: Vec<Uuid>,
}

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendRefused {
    /// The challenge has ended.
    Ended(ChallengeState),
    /// Too early, or a limit of the account, the number or the client is full.
    Limited {
        /// Until then.
        until: Timestamp,
    },
    /// All sends of this challenge are used up.
    UsedUp,
    /// The method cannot take a code this way: it is gone, paused, of another kind, or texts do not reach it.
    Method,
}

/// Why a browser does not get a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimRefused {
    /// Another browser has it.
    OtherBrowser,
    /// The challenge has ended.
    Ended(ChallengeState),
}

impl Challenge {
    /// A new challenge that nobody has claimed. `life` counts from now.
    pub fn new(id: Uuid, account: Uuid, purpose: Purpose, life: Duration, now: Timestamp) -> Self {
        Self {
            id,
            account,
            purpose,
            state: ChallengeState::Created,
            session: None,
            method: None,
            channel: None,
            handle_hash: String::new(),
            browser_hash: None,
            return_url: None,
            return_state: None,
            nonce: None,
            wrong: 0,
            sends: 0,
            calls: 0,
            next_send_at: None,
            client_hash: None,
            agent: None,
            locale: None,
            created_at: now,
            expires_at: after(now, life.min(UNCLAIMED_LIFE)),
            ended_at: None,
            ticket_hash: None,
            ticket_until: None,
            jti: None,
            proof: None,
            acr: None,
            device: None,
            redeemed_at: None,
            answer_hash: None,
            place: None,
        }
    }

    /// Ends what the time has ended. Every flow calls this right after it has the lock. Returns whether it changed.
    pub fn pass_time(&mut self, now: Timestamp) -> bool {
        let ended = match self.state {
            ChallengeState::Created | ChallengeState::Open if now >= self.expires_at => {
                ChallengeState::Expired
            }
            ChallengeState::Verified if self.ticket_until.is_some_and(|until| now >= until) => {
                ChallengeState::Lapsed
            }
            _ => return false,
        };
        self.end(ended, now);
        true
    }

    /// Ends it.
    pub fn end(&mut self, state: ChallengeState, now: Timestamp) {
        self.state = state;
        self.ended_at.get_or_insert(now);
    }

    /// Gives it to a browser. The same browser may open it again.
    pub fn claim(&mut self, browser_hash: &str, life: Duration) -> Result<(), ClaimRefused> {
        match &self.browser_hash {
            Some(owner) if owner != browser_hash => return Err(ClaimRefused::OtherBrowser),
            Some(_) => return Ok(()),
            None => {}
        }
        if !self.state.is_live() {
            return Err(ClaimRefused::Ended(self.state));
        }
        self.browser_hash = Some(browser_hash.to_owned());
        self.open(life);
        Ok(())
    }

    /// Opens it, if it is not open: claimed by a browser, or first used over the API.
    pub fn open(&mut self, life: Duration) {
        if self.state == ChallengeState::Created {
            self.state = ChallengeState::Open;
            self.expires_at = after(self.created_at, life);
        }
    }

    /// Whether an entry is looked at.
    pub fn may_enter(&self, account: &Account, now: Timestamp) -> Result<(), EntryRefused> {
        if !self.state.is_live() {
            return Err(EntryRefused::Ended(self.state));
        }
        account.pause(now).map_or(Ok(()), |until| Err(EntryRefused::Paused { until }))
    }

    /// Counts a wrong entry: here, at the account and at the methods that it was compared with.
    pub fn count_wrong<'m>(
        &mut self, account: &mut Account, compared: impl IntoIterator<Item = &'m mut Method>,
        limits: &Limits, now: Timestamp,
    ) -> Wrong {
        self.wrong += 1;
        let account_paused_until = account.count_wrong(now);
        let paused = compared.into_iter().filter_map(|method| method.count_wrong().then_some(method.id));
        let methods_paused = paused.collect();
        let left = limits.wrong_per_challenge.saturating_sub(self.wrong);
        if left == 0 {
            self.end(ChallengeState::Locked, now);
        }
        Wrong { left, account_paused_until, methods_paused }
    }

    /// Ends it well. The ticket's hash is set by the caller, who has the keys.
    pub fn verify(&mut self, proof: Proof, acr: Acr, now: Timestamp) {
        self.end(ChallengeState::Verified, now);
        self.proof = Some(proof);
        self.acr = Some(acr);
        self.ticket_until = Some(after(now, TICKET_LIFE));
        self.jti = Some(Uuid::new_v4());
    }

    /// Whether it was proved by a recovery code, and its user has not gone on yet.
    pub fn awaits_answer(&self, now: Timestamp) -> bool {
        let later = self.ticket_until.is_some_and(|until| until > after(now, TICKET_LIFE));
        self.state == ChallengeState::Verified && self.proof == Some(Proof::Recovery) && later
    }

    /// Whether it was proved, and the same answer may be given again: until a minute after the ticket was redeemed.
    pub fn is_answered(&self, now: Timestamp) -> bool {
        match self.state {
            ChallengeState::Verified => true,
            ChallengeState::Redeemed => self.redeemed_at.is_some_and(|at| now < after(at, TICKET_LIFE)),
            _ => false,
        }
    }

    /// Whether a back end has verified it itself, and may have the result: at once, and for a minute again.
    pub fn is_answered_directly(&self, now: Timestamp) -> bool {
        self.is_answered(now) && self.ticket_hash.is_none()
    }

    /// Whether one more code may be sent, as far as this challenge is concerned.
    pub fn may_send(
        &self, channel: Option<Channel>, limits: &Limits, now: Timestamp,
    ) -> Result<(), SendRefused> {
        if !self.state.is_live() {
            return Err(SendRefused::Ended(self.state));
        }
        let calls_left = channel != Some(Channel::Voice) || self.calls < limits.calls_per_challenge;
        if self.sends >= limits.sends_per_challenge || !calls_left {
            return Err(SendRefused::UsedUp);
        }
        match self.next_send_at.filter(|at| *at > now) {
            Some(until) => Err(SendRefused::Limited { until }),
            None => Ok(()),
        }
    }

    /// Counts a send.
    pub fn count_send(&mut self, channel: Option<Channel>, limits: &Limits, now: Timestamp) {
        self.sends += 1;
        if channel == Some(Channel::Voice) {
            self.calls += 1;
        }
        self.channel = channel;
        self.next_send_at = Some(after(now, limits.gap_after(self.sends)));
    }

    /// Sends that are left.
    pub fn sends_left(&self, limits: &Limits) -> u32 {
        if self.state.is_live() { limits.sends_per_challenge.saturating_sub(self.sends) } else { 0 }
    }
}
