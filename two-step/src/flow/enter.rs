//! Somebody enters a code.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::claim::DeviceCookie;
use super::counting::{Count, count, hold};
use super::enter_recovery::SlowHashes;
use super::{Core, FlowError, Locked, Visit, lock_challenge};
use crate::account::Account;
use crate::challenge::{Acr, Challenge, ChallengeState, EntryRefused, Proof, Purpose};
use crate::clock::seconds_until;
use crate::code::{Code, Entry as Typed};
use crate::device::{Device, TrustKind};
use crate::method::{Kind, Method, WRONG_CODES};
use crate::seal::same;
use crate::store::{Session, Tx, Value};

/// A device whose product gave it no label.
const NAMELESS: &str = "Device";

/// The actor on a challenge.
#[derive(Debug, Clone)]
pub enum Who {
    /// The browser that claimed it.
    Browser(Visit),
    /// The back end of a product.
    Product(String),
}

impl Who {
    /// Whether the challenge is theirs. To others it does not exist.
    pub(super) fn must_own(
        &self, core: &Core, account: &Account, challenge: &Challenge,
    ) -> Result<(), FlowError> {
        let owns = match self {
            Self::Browser(visit) => {
                let hash = core.browser_hash(&visit.browser);
                challenge.browser_hash.as_deref().is_some_and(|owner| same(owner, &hash))
            }
            Self::Product(product) => account.product == *product,
        };
        if owns { Ok(()) } else { Err(FlowError::Missing("challenge")) }
    }
}

/// An entry.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// As it was typed.
    pub text: String,
    /// The method it is meant for; none: the one that is shown.
    pub method: Option<Uuid>,
    /// Whether the device is to be trusted.
    pub trust: bool,
    /// The device's token, as the product kept it. Only without pages; browsers bring a cookie.
    pub device_token: Option<String>,
}

/// The answer to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// Right.
    Verified {
        /// Where the browser goes; none over the API without a return URL.
        location: Option<String>,
        /// The cookie of the device, or over the API its token, if it is trusted now.
        cookie: Option<String>,
        /// The signed result; over the API alone.
        result: Option<String>,
        /// The code that takes the place of a recovery code that was used.
        new_recovery_code: Option<Zeroizing<String>>,
    },
    /// Wrong.
    Wrong {
        /// Entries that are left.
        left: u32,
        /// Seconds that an authenticator's clock is behind, if that is why.
        clock_behind_s: Option<i64>,
    },
    /// No code: it has not six digits. Not counted.
    Unreadable,
    /// Not looked at: the account is paused.
    Paused {
        /// Until then.
        until: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
    /// Not looked at: the challenge has ended.
    Ended {
        /// How.
        state: ChallengeState,
        /// Seconds until the account's pause ends; none where it is not paused.
        paused_s: Option<u64>,
    },
}

impl Entered {
    /// How the challenge has ended, where that is why the entry was not looked at.
    pub fn ended(&self) -> Option<ChallengeState> {
        if let Self::Ended { state, .. } = self { Some(*state) } else { None }
    }
}

fn ended(challenge: &Challenge, account: &Account, now: Timestamp) -> Entered {
    let paused_s = account.pause(now).map(|until| seconds_until(now, until));
    Entered::Ended { state: challenge.state, paused_s }
}

/// A code that fits.
pub(super) struct Match {
    pub(super) method: Uuid,
    pub(super) proof: Proof,
    pub(super) group: Option<Uuid>,
    pub(super) totp_step: Option<i64>,
}

impl Core {
    /// Checks an entry. Exactly as many wrong ones pass as the limits allow, and one right one.
    pub async fn enter(&self, challenge: Uuid, who: &Who, entry: &Entry) -> Result<Entered, FlowError> {
        let (entered, account) = self.look_at_entry(challenge, who, entry).await?;
        self.metrics.typed(&account.product, &entered);
        Ok(entered)
    }

    async fn look_at_entry(
        &self, challenge: Uuid, who: &Who, entry: &Entry,
    ) -> Result<(Entered, Account), FlowError> {
        let typed = Typed::read(&entry.text);
        let slow = match &typed {
            Typed::Recovery(code) => self.slow_hashes(challenge, who, code).await?,
            _ => None,
        };
        let mut tx = self.store.begin().await?;
        let (mut locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        if let Some(mut entered) = self.entered_again(&mut tx, &challenge, who, &typed, locked.now).await? {
            self.add_result(&mut tx, &locked, &mut challenge, who, &mut entered).await?;
            tx.commit().await?;
            return Ok((entered, locked.account));
        }
        match challenge.may_enter(&locked.account, locked.now) {
            Err(EntryRefused::Ended(_)) => {
                tx.commit().await?;
                return Ok((ended(&challenge, &locked.account, locked.now), locked.account));
            }
            Err(EntryRefused::Paused { until }) => {
                return Ok((Entered::Paused { until, now: locked.now }, locked.account));
            }
            Ok(()) => {}
        }
        let is_for_nothing = match &typed {
            Typed::Unreadable => true,
            // Eight digits are a code only while one from support is out.
            Typed::Support(_) => !self.awaits_support_code(&mut tx, &locked).await?,
            Typed::Code(_) | Typed::Recovery(_) => false,
        };
        if is_for_nothing {
            return Ok((Entered::Unreadable, locked.account));
        }
        // Slow hashes were counted before they were made.
        if slow.is_none() {
            self.count_entry(&mut tx, &challenge, locked.now).await?;
        }
        challenge.open(self.config().challenge.life.0);
        if let Some(id) = entry.method.filter(|_| challenge.purpose != Purpose::Enrol) {
            challenge.method = locked.method(id).filter(|m| m.is_active()).map(|m| m.id).or(challenge.method);
        }
        let codes = tx
            .select::<Code>("where challenge = $1 order by created_at", &[Value::Uuid(challenge.id)])
            .await?;
        let (found, clock_behind_s) = match &typed {
            Typed::Code(digits) => self.find_code(&mut tx, &locked, &challenge, &codes, digits).await?,
            // An enrolment takes the code of its own method alone.
            Typed::Recovery(_) | Typed::Support(_) if challenge.purpose == Purpose::Enrol => (None, None),
            Typed::Recovery(_) => (self.find_recovery(&mut tx, &locked, slow.as_ref()).await?, None),
            Typed::Support(digits) => {
                let method = self.use_support_code(&mut tx, &locked, digits).await?;
                let found = |method| Match { method, proof: Proof::Recovery, group: None, totp_step: None };
                (method.map(found), None)
            }
            Typed::Unreadable => (None, None),
        };
        let shared = match &found {
            Some(found) => self.is_shared(&mut tx, &locked, &challenge, found.method).await?,
            None => false,
        };
        let mut entered = match found {
            Some(found) if shared => self.give_up(&mut tx, &locked, &mut challenge, found.method).await?,
            None => {
                let compared = self.compared_with(&locked, &challenge, &codes, &typed);
                self.wrong(&mut tx, &mut locked, &mut challenge, &compared, clock_behind_s).await?
            }
            Some(found) => {
                if let Typed::Code(digits) = &typed {
                    challenge.answer_hash = Some(self.code_hash(challenge.id, digits.expose()));
                }
                self.right(&mut tx, &mut locked, &mut challenge, &found, entry, who, &codes, slow).await?
            }
        };
        self.add_result(&mut tx, &locked, &mut challenge, who, &mut entered).await?;
        tx.update(&locked.account).await?;
        tx.update(&challenge).await?;
        tx.commit().await?;
        if let Entered::Verified { .. } = &entered {
            self.metrics.proved(&locked.account.product, challenge.purpose, challenge.proof);
        }
        Ok((entered, locked.account))
    }

    /// Counts an entry at the address of the challenge's client.
    pub(super) async fn count_entry(
        &self, tx: &mut Tx, challenge: &Challenge, now: Timestamp,
    ) -> Result<(), FlowError> {
        let Some(subject) = challenge.client_hash.clone() else { return Ok(()) };
        let limit = Count { name: "client_entries", subject, rules: &self.config().limits.client_entries };
        match count(tx, &self.keys, &[limit], now).await? {
            Some(until) => Err(FlowError::Limited { until, now }),
            None => Ok(()),
        }
    }

    /// A back end that verifies a challenge itself gets the result at once, in the transaction that verified it.
    async fn add_result(
        &self, tx: &mut Tx, locked: &Locked, challenge: &mut Challenge, who: &Who, entered: &mut Entered,
    ) -> Result<(), FlowError> {
        if let (Who::Product(_), Entered::Verified { result, .. }) = (who, entered) {
            *result = self.result_directly(tx, locked, challenge).await?;
        }
        Ok(())
    }

    /// The same right answer sent twice gets the first answer again: by the browser until its ticket is redeemed, by the back
    /// end for a minute.
    async fn entered_again(
        &self, tx: &mut Tx, challenge: &Challenge, who: &Who, typed: &Typed, now: Timestamp,
    ) -> Result<Option<Entered>, FlowError> {
        let (Typed::Code(digits), Some(right)) = (typed, &challenge.answer_hash) else { return Ok(None) };
        let location = match who {
            Who::Browser(_) if challenge.state == ChallengeState::Verified => self.location(challenge),
            Who::Product(_) if challenge.is_answered_directly(now) => None,
            _ => return Ok(None),
        };
        if !same(right, &self.code_hash(challenge.id, digits.expose())) {
            return Ok(None);
        }
        // The browser may have given up the first answer, and its cookie with it.
        let device = match challenge.device {
            Some(id) => tx.get::<Device>(id).await?,
            None => None,
        };
        let cookie = device.map(|device| DeviceCookie::write(&self.keys, &device));
        Ok(Some(Entered::Verified { location, cookie, result: None, new_recovery_code: None }))
    }

    async fn wrong(
        &self, tx: &mut Tx, locked: &mut Locked, challenge: &mut Challenge, compared: &[Uuid],
        clock_behind_s: Option<i64>,
    ) -> Result<Entered, FlowError> {
        let now = locked.now;
        let methods = locked.methods.iter_mut().filter(|m| compared.contains(&m.id));
        let wrong = challenge.count_wrong(&mut locked.account, methods, &self.config().limits, now);
        for method in locked.methods.iter().filter(|m| compared.contains(&m.id)) {
            tx.update(method).await?;
        }
        let shown = challenge.method.and_then(|id| locked.method(id));
        if shown.is_none_or(|m| m.kind != Kind::Totp) {
            self.tell_wrong(tx, challenge, now).await?;
        }
        for method in wrong.methods_paused {
            self.tell_pause(tx, locked, method, WRONG_CODES).await?;
        }
        if wrong.left == 0 {
            let data = json!({"challenge": challenge.id});
            self.event(tx, &locked.account, "challenge.locked", "user", data, now).await?;
            self.forget_codes(tx, challenge, now).await?;
        }
        if let Some(until) = wrong.account_paused_until {
            self.event(tx, &locked.account, "account.paused", "system", json!({"until": until}), now).await?;
            self.notify(tx, &locked.account, &locked.methods, "paused", now).await?;
        }
        if wrong.left == 0 {
            Ok(ended(challenge, &locked.account, now))
        } else {
            Ok(Entered::Wrong { left: wrong.left, clock_behind_s })
        }
    }

    /// A method that wrong codes paused is usable again after a proof by another one. What a carrier or a stop page paused is
    /// not.
    async fn resume_methods(
        &self, tx: &mut Tx, locked: &mut Locked, purpose: Purpose, proved: Uuid,
    ) -> Result<(), FlowError> {
        if !matches!(purpose, Purpose::SignIn | Purpose::Confirm | Purpose::Settings) {
            return Ok(());
        }
        let Locked { account, methods, now } = locked;
        for method in methods.iter_mut().filter(|m| m.id != proved && m.is_paused_for(WRONG_CODES)) {
            method.activate(*now);
            tx.update(method).await?;
            let data = json!({"method": method.id, "kind": method.kind.to_string()});
            self.event(tx, account, "method.resumed", "user", data, *now).await?;
        }
        Ok(())
    }

    /// Whether as many other accounts as may have a phone's number have it by now. Asked again when its first code is typed:
    /// until then it did not count.
    async fn is_shared(
        &self, tx: &mut Tx, locked: &Locked, challenge: &Challenge, method: Uuid,
    ) -> Result<bool, FlowError> {
        let new = locked.method(method).filter(|m| challenge.purpose == Purpose::Enrol && !m.is_active());
        let Some(hash) = new.filter(|m| m.kind == Kind::Phone).and_then(|m| m.target_hash.as_deref()) else {
            return Ok(false);
        };
        hold(tx, &self.keys, "accounts_per_number", hash, locked.now).await?;
        self.has_too_many_accounts(tx, hash, locked.account.id).await
    }

    /// Ends the enrolment of a number that too many accounts have.
    async fn give_up(
        &self, tx: &mut Tx, locked: &Locked, challenge: &mut Challenge, method: Uuid,
    ) -> Result<Entered, FlowError> {
        challenge.end(ChallengeState::Cancelled, locked.now);
        tx.delete::<Method>(method).await?;
        self.forget_codes(tx, challenge, locked.now).await?;
        Ok(ended(challenge, &locked.account, locked.now))
    }

    #[expect(clippy::too_many_arguments, reason = "all that a proof changes")]
    async fn right(
        &self, tx: &mut Tx, locked: &mut Locked, challenge: &mut Challenge, found: &Match, entry: &Entry,
        who: &Who, codes: &[Code], slow: Option<SlowHashes>,
    ) -> Result<Entered, FlowError> {
        let now = locked.now;
        locked.account.count_right();
        let mut new_recovery_code = None;
        let mut newly = false;
        if let Some(method) = locked.methods.iter_mut().find(|m| m.id == found.method) {
            newly = !method.is_active();
            method.count_right(now);
            if let Some(step) = found.totp_step {
                method.totp_step = Some(step);
            }
            if challenge.purpose == Purpose::Enrol {
                method.activate(now);
            }
            if challenge.session.is_some() {
                method.proved_in = challenge.session;
            }
            tx.update(method).await?;
        }
        if found.proof == Proof::Recovery {
            let data = json!({"challenge": challenge.id});
            self.event(tx, &locked.account, "recovery.used", "user", data, now).await?;
            self.notify(tx, &locked.account, &locked.methods, "recovery_used", now).await?;
            // A code from support is of another kind: no set of recovery codes has lost one.
            if locked.method(found.method).is_some_and(|m| m.kind == Kind::Recovery) {
                new_recovery_code = Some(self.replace_recovery_code(tx, locked, slow).await?);
            }
        }
        let acr = match (found.proof, challenge.purpose) {
            (Proof::Recovery, _) => Acr::Recovery,
            (_, Purpose::NewDevice) => Acr::Confirm,
            _ => Acr::Second,
        };
        let mut cookie = None;
        let kind = match challenge.purpose {
            Purpose::NewDevice => Some(TrustKind::Recognised),
            Purpose::SignIn if entry.trust => Some(TrustKind::Trusted),
            _ => None,
        };
        if let Some(kind) = kind {
            let visit = match who {
                Who::Browser(visit) => visit.clone(),
                Who::Product(_) => Visit {
                    device: entry.device_token.clone(),
                    agent: challenge.agent.clone().unwrap_or_else(|| NAMELESS.to_owned()),
                    ..Visit::default()
                },
            };
            let (device, given) = self.trust(tx, locked, kind, &visit).await?;
            challenge.device = Some(device);
            cookie = Some(given);
        }
        self.verify(challenge, found.proof, acr, now);
        if let Who::Product(_) = who {
            // The back end gets the result at once; a browser that has the challenge open gets no ticket.
            challenge.ticket_hash = None;
        }
        if found.proof == Proof::Recovery && new_recovery_code.is_none() {
            // No new code is shown: nothing keeps the user from going on.
            challenge.ticket_until = Some(crate::clock::after(now, crate::challenge::TICKET_LIFE));
        }
        if challenge.purpose == Purpose::Enrol && newly {
            let actor = if matches!(who, Who::Product(_)) { "product" } else { "user" };
            self.enrolled(tx, locked, found.method, actor).await?;
        } else {
            self.event(
                tx,
                &locked.account,
                "challenge.verified",
                "user",
                json!({"challenge": challenge.id, "method": found.proof.to_string()}),
                now,
            )
            .await?;
            self.end_support_cases(tx, locked, now).await?;
            self.resume_methods(tx, locked, challenge.purpose, found.method).await?;
        }
        // A new method proves nothing to an account that is on: it was added behind a proof.
        let proves = challenge.purpose != Purpose::Enrol || !locked.account.is_on();
        if let Some(session) = challenge.session.filter(|_| proves)
            && let Some(mut session) = tx.lock::<Session>(session).await?
        {
            session.proof_at = Some(now);
            session.account_version = locked.account.version;
            tx.update(&session).await?;
        }
        tx.execute("delete from code where challenge = $1", &[Value::Uuid(challenge.id)]).await?;
        self.settle_dispatches(tx, challenge, found.group.filter(|_| !codes.is_empty()), now).await?;
        Ok(Entered::Verified { location: self.location(challenge), cookie, result: None, new_recovery_code })
    }
}
