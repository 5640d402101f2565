//! Checks entered codes.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::claim::DeviceCookie;
use super::counting::{LimitFor, count};
use super::{Core, FlowError, LockedRows, Visit, lock_challenge};
use crate::account::Account;
use crate::challenge::{Challenge, ChallengeState, EntryRefused, Proof, Purpose};
use crate::clock::seconds_until;
use crate::code::{Code, TypedText};
use crate::device::Device;
use crate::method::{Kind, WRONG_CODES};
use crate::seal::same;
use crate::store::{Tx, Value};

/// The client that acts on a challenge.
#[derive(Debug, Clone)]
pub enum Requester {
    /// The browser that claimed it.
    Browser(Visit),
    /// The back end of a product.
    Product(String),
    /// An app that answers a request. Its signature was checked before.
    App,
}

impl Requester {
    /// Fails with [`FlowError::Missing`] unless the challenge belongs to the requester.
    pub(super) fn must_own(
        &self, core: &Core, account: &Account, challenge: &Challenge,
    ) -> Result<(), FlowError> {
        let owns = match self {
            Self::Browser(visit) => {
                let hash = core.browser_hash(&visit.browser);
                challenge.browser_hash.as_deref().is_some_and(|owner| same(owner, &hash))
            }
            Self::Product(product) => account.product == *product,
            Self::App => false,
        };
        if owns { Ok(()) } else { Err(FlowError::Missing("challenge")) }
    }
}

/// An entry.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The typed text.
    pub text: String,
    /// The method that it is for; `None`: the one that the page shows.
    pub method: Option<Uuid>,
    /// Whether to trust the device.
    pub trust: bool,
    /// The device's token that the product stored. Only without pages; browsers send a cookie.
    pub device_token: Option<String>,
}

/// The result of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// The code is right.
    Verified {
        /// The redirect URL; `None` over the API without a return URL.
        location: Option<String>,
        /// The device's cookie, or over the API its token, if the device is trusted now.
        cookie: Option<String>,
        /// The signed result, over the API only.
        result: Option<String>,
        /// The recovery code that replaces the used one.
        new_recovery_code: Option<Zeroizing<String>>,
    },
    /// The code is wrong.
    Wrong {
        /// Entries left.
        left: u32,
        /// Seconds that an authenticator's clock is behind, if that is the cause.
        clock_behind_s: Option<i64>,
        /// Whether the method of the page has no live code left.
        expired: bool,
    },
    /// The entry is not a code. Not counted.
    Unreadable,
    /// The account is paused, so nothing was checked.
    Paused {
        /// When the pause ends.
        until: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
    /// The challenge has ended, so nothing was checked.
    Ended {
        /// The final state.
        state: ChallengeState,
        /// Seconds until the account's pause ends; `None` without a pause.
        paused_s: Option<u64>,
    },
}

/// Returns whether the method of the page receives codes, and none of them is live.
fn has_expired(locked: &LockedRows, challenge: &Challenge, codes: &[Code]) -> bool {
    let shown = challenge.method.and_then(|id| locked.method(id));
    let gets_codes = shown.filter(|m| matches!(m.kind, Kind::Phone | Kind::Email));
    gets_codes.is_some_and(|m| {
        challenge.sends > 0 && !codes.iter().any(|c| c.method == m.id && c.is_live(locked.now))
    })
}

impl Entered {
    /// Returns the final state of the challenge, if it ended before the entry.
    pub fn ended(&self) -> Option<ChallengeState> {
        if let Self::Ended { state, .. } = self { Some(*state) } else { None }
    }
}

pub(super) fn ended(challenge: &Challenge, account: &Account, now: Timestamp) -> Entered {
    let paused_s = account.pause(now).map(|until| seconds_until(now, until));
    Entered::Ended { state: challenge.state, paused_s }
}

/// A code that matches.
pub(super) struct Match {
    pub(super) method: Uuid,
    pub(super) proof: Proof,
    pub(super) group: Option<Uuid>,
    pub(super) totp_step: Option<i64>,
    /// Whether an app on another network than the browser's approved it or fetched its code.
    pub(super) other_network: bool,
}

impl Match {
    /// Creates a match of a method with a proof.
    pub(super) fn of(method: Uuid, proof: Proof) -> Self {
        Self { method, proof, group: None, totp_step: None, other_network: false }
    }
}

impl Core {
    /// Checks an entry. Wrong entries are counted exactly, and only one right entry is accepted.
    pub async fn enter(&self, challenge: Uuid, who: &Requester, entry: &Entry) -> Result<Entered, FlowError> {
        let (entered, account) = self.check_entry(challenge, who, entry).await?;
        if let Some(account) = account {
            self.metrics.count_entry(&account.product, &entered);
        }
        Ok(entered)
    }

    /// Also returns the account, unless the answer is a repeated one.
    async fn check_entry(
        &self, challenge: Uuid, who: &Requester, entry: &Entry,
    ) -> Result<(Entered, Option<Account>), FlowError> {
        let typed = TypedText::read(&entry.text);
        let slow = match &typed {
            TypedText::Recovery(code) => self.slow_hashes(challenge, who, code).await?,
            _ => None,
        };
        let mut tx = self.store.begin().await?;
        let (mut locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        if let Some(mut entered) = self.repeated_answer(&mut tx, &challenge, who, &typed, locked.now).await? {
            self.add_result(&mut tx, &locked, &mut challenge, who, &mut entered).await?;
            tx.commit().await?;
            return Ok((entered, None));
        }
        match challenge.may_enter(&locked.account, locked.now) {
            Err(EntryRefused::Ended(_)) => {
                tx.commit().await?;
                return Ok((ended(&challenge, &locked.account, locked.now), Some(locked.account)));
            }
            Err(EntryRefused::Paused { until }) => {
                return Ok((Entered::Paused { until, now: locked.now }, Some(locked.account)));
            }
            Ok(()) => {}
        }
        let is_not_a_code = match &typed {
            TypedText::Unreadable => true,
            // Eight digits count as a code only while a code from support is live.
            TypedText::Support(_) => !self.has_live_support_code(&mut tx, &locked).await?,
            TypedText::Code(_) | TypedText::Recovery(_) => false,
        };
        if is_not_a_code {
            return Ok((Entered::Unreadable, Some(locked.account)));
        }
        // An entry with a slow hash was counted before the hash was computed.
        if slow.is_none() {
            self.count_against_client_limit(&mut tx, &challenge, locked.now).await?;
        }
        challenge.open(self.config().challenge.life.0);
        if let Some(id) = entry.method.filter(|_| challenge.purpose != Purpose::Enrol) {
            challenge.method = locked.method(id).filter(|m| m.is_active()).map(|m| m.id).or(challenge.method);
        }
        let codes = tx
            .select::<Code>("where challenge = $1 order by created_at", &[Value::Uuid(challenge.id)])
            .await?;
        let (found, clock_behind_s) = match &typed {
            TypedText::Code(digits) => self.find_code(&mut tx, &locked, &challenge, &codes, digits).await?,
            // An enrolment accepts codes of its own method only.
            TypedText::Recovery(_) | TypedText::Support(_) if challenge.purpose == Purpose::Enrol => {
                (None, None)
            }
            TypedText::Recovery(_) => (self.find_recovery(&mut tx, &locked, slow.as_ref()).await?, None),
            TypedText::Support(digits) => {
                let method = self.use_support_code(&mut tx, &locked, digits).await?;
                (method.map(|method| Match::of(method, Proof::Recovery)), None)
            }
            TypedText::Unreadable => (None, None),
        };
        let shared = match &found {
            Some(found) => self.is_shared(&mut tx, &locked, &challenge, found.method).await?,
            None => false,
        };
        let mut entered = match found {
            Some(found) if shared => {
                self.cancel_shared_enrolment(&mut tx, &locked, &mut challenge, found.method).await?
            }
            None => {
                let compared = self.compared_with(&locked, &challenge, &codes, &typed);
                let expired = has_expired(&locked, &challenge, &codes);
                let wrong = self.apply_wrong_entry(&mut tx, &mut locked, &mut challenge, &compared).await?;
                match wrong {
                    Some(left) => Entered::Wrong { left, clock_behind_s, expired },
                    None => ended(&challenge, &locked.account, locked.now),
                }
            }
            Some(found) => {
                if let TypedText::Code(digits) = &typed {
                    challenge.answer_hash = Some(self.code_hash(challenge.id, digits.expose()));
                }
                self.accept_entry(&mut tx, &mut locked, &mut challenge, &found, entry, who, &codes, slow)
                    .await?
            }
        };
        self.add_result(&mut tx, &locked, &mut challenge, who, &mut entered).await?;
        tx.update(&locked.account).await?;
        tx.update(&challenge).await?;
        tx.commit().await?;
        if let Entered::Verified { .. } = &entered {
            self.metrics.count_proof(&locked.account.product, challenge.purpose, challenge.proof);
        }
        Ok((entered, Some(locked.account)))
    }

    /// Counts an entry for the client's address of the challenge.
    pub(super) async fn count_against_client_limit(
        &self, tx: &mut Tx, challenge: &Challenge, now: Timestamp,
    ) -> Result<(), FlowError> {
        let Some(subject) = challenge.client_hash.clone() else { return Ok(()) };
        let limit = LimitFor { name: "client_entries", subject, rules: &self.config().limits.client_entries };
        match count(tx, &self.keys, &[limit], now).await? {
            Some(until) => Err(FlowError::Limited { until, now }),
            None => Ok(()),
        }
    }

    /// A back end that verifies a challenge gets the result in the same transaction.
    async fn add_result(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &mut Challenge, who: &Requester,
        entered: &mut Entered,
    ) -> Result<(), FlowError> {
        if let (Requester::Product(_), Entered::Verified { result, .. }) = (who, entered) {
            *result = self.result_for_back_end(tx, locked, challenge).await?;
        }
        Ok(())
    }

    /// Repeats the first answer for the same right code, until a minute after its ticket was redeemed.
    async fn repeated_answer(
        &self, tx: &mut Tx, challenge: &Challenge, who: &Requester, typed: &TypedText, now: Timestamp,
    ) -> Result<Option<Entered>, FlowError> {
        let (TypedText::Code(digits), Some(right)) = (typed, &challenge.answer_hash) else { return Ok(None) };
        let location = match who {
            Requester::Browser(_) if challenge.is_answered(now) && challenge.ticket_hash.is_some() => {
                self.location(challenge)
            }
            Requester::Product(_) if challenge.is_answered_directly(now) => None,
            Requester::Browser(_) | Requester::Product(_) | Requester::App => return Ok(None),
        };
        if !same(right, &self.code_hash(challenge.id, digits.expose())) {
            return Ok(None);
        }
        // The browser may have lost the first answer, and its cookie with it.
        let device = match challenge.device {
            Some(id) => tx.get::<Device>(id).await?,
            None => None,
        };
        let cookie = device.map(|device| DeviceCookie::write(&self.keys, &device));
        Ok(Some(Entered::Verified { location, cookie, result: None, new_recovery_code: None }))
    }

    /// Counts a wrong entry. Returns the entries left, or `None` if the challenge is locked.
    pub(super) async fn apply_wrong_entry(
        &self, tx: &mut Tx, locked: &mut LockedRows, challenge: &mut Challenge, compared: &[Uuid],
    ) -> Result<Option<u32>, FlowError> {
        let now = locked.now;
        let methods = locked.methods.iter_mut().filter(|m| compared.contains(&m.id));
        let wrong = challenge.count_wrong(&mut locked.account, methods, &self.config().limits, now);
        for method in locked.methods.iter().filter(|m| compared.contains(&m.id)) {
            tx.update(method).await?;
        }
        let shown = challenge.method.and_then(|id| locked.method(id));
        let is = |id: &Uuid, kind: Kind| locked.method(*id).is_some_and(|m| m.kind == kind);
        // Digits for the app come from the page, not from a text, so otpost gets no feedback.
        let in_app = !compared.is_empty() && compared.iter().all(|id| is(id, Kind::App));
        if !in_app && shown.is_none_or(|m| m.kind != Kind::Totp) {
            self.report_wrong_code(tx, challenge, now).await?;
        }
        for method in wrong.methods_paused {
            self.notify_pause(tx, locked, method, WRONG_CODES).await?;
        }
        if wrong.left == 0 {
            let data = json!({"challenge": challenge.id});
            self.event(tx, &locked.account, "challenge.locked", "system", data, now).await?;
            self.delete_codes(tx, challenge, now).await?;
        }
        if let Some(until) = wrong.account_paused_until {
            self.event(tx, &locked.account, "account.paused", "system", json!({"until": until}), now).await?;
            self.notify(tx, &locked.account, &locked.methods, "paused", now).await?;
        }
        Ok(Some(wrong.left).filter(|left| *left > 0))
    }
}
