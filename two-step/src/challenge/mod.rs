//! A challenge: one request for a proof, its states, and the effect of each entry, send and claim. Pure: the flows load the
//! rows, call these functions, and commit the result.

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
/// How long the ticket of a verified challenge is valid, and how long redeeming it again returns the same result.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);

/// The purpose of a challenge.
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
    /// To activate a new method. Only a code of that method is accepted.
    Enrol,
    /// To sign in from an unknown browser, for an account that is off.
    NewDevice,
}

/// The state of a challenge.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ChallengeState {
    /// Created; no browser has claimed it.
    Created,
    /// A browser has claimed it, or the API opened it.
    Open,
    /// Verified; its ticket was not redeemed yet.
    Verified,
    /// The product has redeemed the ticket.
    Redeemed,
    /// Verified, and its ticket expired.
    Lapsed,
    /// Too many wrong codes.
    Locked,
    /// The user chose "It was not me".
    Denied,
    /// Expired without a proof.
    Expired,
    /// The user or the product cancelled it.
    Cancelled,
}

impl ChallengeState {
    /// Returns whether a proof is still possible.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Created | Self::Open)
    }
}

/// A request for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The id; not secret.
    pub id: Uuid,
    /// The account.
    pub account: Uuid,
    /// The purpose.
    pub purpose: Purpose,
    /// The state.
    pub state: ChallengeState,
    /// The settings session that it belongs to.
    pub session: Option<Uuid>,
    /// The method that the page shows. For `Enrol`, the only method that is accepted.
    pub method: Option<Uuid>,
    /// The channel of the last code.
    pub channel: Option<Channel>,
    /// Keyed hash of the secret in its URL.
    pub handle_hash: String,
    /// Keyed hash of the browser that claimed it.
    pub browser_hash: Option<String>,
    /// The return URL.
    pub return_url: Option<String>,
    /// The product's `state`, returned unchanged in the URL.
    pub return_state: Option<String>,
    /// The product's `nonce`, returned unchanged in the result.
    pub nonce: Option<String>,
    /// Number of wrong entries.
    pub wrong: u32,
    /// Number of sends, including calls.
    pub sends: u32,
    /// Number of calls.
    pub calls: u32,
    /// No code is sent before this time.
    pub next_send_at: Option<Timestamp>,
    /// Keyed hash of the client's address.
    pub client_hash: Option<String>,
    /// Browser and system in words.
    pub agent: Option<String>,
    /// Language of the pages.
    pub locale: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Keyed hash of its ticket.
    pub ticket_hash: Option<String>,
    /// When the ticket expires.
    pub ticket_until: Option<Timestamp>,
    /// The result's id. The product accepts it once.
    pub jti: Option<Uuid>,
    /// How it was verified.
    pub proof: Option<Proof>,
    /// The strength of the proof.
    pub acr: Option<Acr>,
    /// The device that is trusted.
    pub device: Option<Uuid>,
    /// When the ticket was first redeemed.
    pub redeemed_at: Option<Timestamp>,
    /// Keyed hash of the right six digits that were entered.
    pub answer_hash: Option<String>,
    /// The browser's location as the product named it, for people.
    pub place: Option<String>,
}

/// Why an entry is rejected without being checked. It does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRefused {
    /// The challenge has ended.
    Ended(ChallengeState),
    /// The account is paused.
    Paused {
        /// When the pause ends.
        until: Timestamp,
    },
}

/// The effect of a wrong entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Entries left. With 0 the challenge is locked.
    pub left: u32,
    /// When the account's pause ends, if this entry started one.
    pub account_paused_until: Option<Timestamp>,
    /// The methods that this entry paused.
    pub methods_paused: Vec<Uuid>,
}

/// Why a code is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendRefused {
    /// The challenge has ended.
    Ended(ChallengeState),
    /// Too early, or a limit of the account, the number or the client is reached.
    Limited {
        /// When the next send is allowed.
        until: Timestamp,
    },
    /// No sends are left in this challenge.
    UsedUp,
    /// The method cannot receive a code this way: removed, paused, of another kind, or a phone without texts.
    Method,
}

/// Why a browser cannot claim a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimRefused {
    /// Another browser claimed it.
    OtherBrowser,
    /// The challenge has ended.
    Ended(ChallengeState),
}

impl Challenge {
    /// Creates a challenge. `life` starts now.
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

    /// Expires the challenge if its time has passed. Every flow calls this after taking the lock. Returns whether it
    /// changed.
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

    /// Assigns it to a browser. The same browser may claim it again.
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

    /// Opens it if it is not open: claimed by a browser, or first used over the API.
    pub fn open(&mut self, life: Duration) {
        if self.state == ChallengeState::Created {
            self.state = ChallengeState::Open;
            self.expires_at = after(self.created_at, life);
        }
    }

    /// Checks whether an entry may be compared with the codes.
    pub fn may_enter(&self, account: &Account, now: Timestamp) -> Result<(), EntryRefused> {
        if !self.state.is_live() {
            return Err(EntryRefused::Ended(self.state));
        }
        account.pause(now).map_or(Ok(()), |until| Err(EntryRefused::Paused { until }))
    }

    /// Counts a wrong entry in the challenge, the account and the compared methods.
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

    /// Marks it as verified. The caller sets the ticket's hash.
    pub fn verify(&mut self, proof: Proof, acr: Acr, now: Timestamp) {
        self.end(ChallengeState::Verified, now);
        self.proof = Some(proof);
        self.acr = Some(acr);
        self.ticket_until = Some(after(now, TICKET_LIFE));
        self.jti = Some(Uuid::new_v4());
    }

    /// Returns whether a recovery code verified it, and its user has not continued yet.
    pub fn awaits_answer(&self, now: Timestamp) -> bool {
        let later = self.ticket_until.is_some_and(|until| until > after(now, TICKET_LIFE));
        self.state == ChallengeState::Verified && self.proof == Some(Proof::Recovery) && later
    }

    /// Returns whether it is verified and the same answer may be repeated: until a minute after the ticket was redeemed.
    pub fn is_answered(&self, now: Timestamp) -> bool {
        match self.state {
            ChallengeState::Verified => true,
            ChallengeState::Redeemed => self.redeemed_at.is_some_and(|at| now < after(at, TICKET_LIFE)),
            _ => false,
        }
    }

    /// Returns whether a back end verified it and may get the result: at once, and for another minute.
    pub fn is_answered_directly(&self, now: Timestamp) -> bool {
        self.is_answered(now) && self.ticket_hash.is_none()
    }

    /// Checks whether this challenge allows one more send.
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

    /// The number of sends left.
    pub fn sends_left(&self, limits: &Limits) -> u32 {
        if self.state.is_live() { limits.sends_per_challenge.saturating_sub(self.sends) } else { 0 }
    }
}
