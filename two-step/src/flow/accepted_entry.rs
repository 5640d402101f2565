//! Applies the effects of a right entry.

use serde_json::json;
use uuid::Uuid;

use super::counting::lock_subject;
use super::enter::{Entered, Entry, Match, Requester, ended};
use super::enter_recovery::SlowHashes;
use super::events::Notice;
use super::{Core, FlowError, LockedRows, Visit};
use crate::challenge::{Acr, Challenge, ChallengeState, Proof, Purpose};
use crate::code::Code;
use crate::device::TrustKind;
use crate::method::{Kind, Method, MethodState, WRONG_CODES};
use crate::store::{Session, Tx, Value};

/// The label of a device that the product did not name.
const DEFAULT_DEVICE_LABEL: &str = "Device";

impl Core {
    /// Resumes methods that wrong codes paused, after a proof by another method. Pauses by a carrier or a stop page stay.
    async fn resume_methods(
        &self, tx: &mut Tx, locked: &mut LockedRows, purpose: Purpose, proved: Uuid,
    ) -> Result<(), FlowError> {
        if !matches!(purpose, Purpose::SignIn | Purpose::Confirm | Purpose::Settings) {
            return Ok(());
        }
        let LockedRows { account, methods, now } = locked;
        for method in methods.iter_mut().filter(|m| m.id != proved && m.is_paused_for(WRONG_CODES)) {
            method.activate(*now);
            tx.update(method).await?;
            let data = json!({"method": method.id, "kind": method.kind.to_string()});
            self.event(tx, account, "method.resumed", "user", data, *now).await?;
        }
        Ok(())
    }

    /// Writes the event of a resumed method. Sends a notice to the others while two-step verification is on.
    async fn notify_resumed(
        &self, tx: &mut Tx, locked: &LockedRows, method: Uuid, actor: &str,
    ) -> Result<(), FlowError> {
        let LockedRows { account, methods, now } = locked;
        let kind: &str = locked.method(method).map_or("", |m| m.kind.into());
        let data = json!({"method": method, "kind": kind});
        self.event(tx, account, "method.resumed", actor, data, *now).await?;
        if account.is_on() {
            let notice = Notice { about: "method_resumed", except: Some(method), added: Some(method) };
            self.notify(tx, account, methods, notice, *now).await?;
        }
        Ok(())
    }

    /// Returns whether the maximum number of other accounts has a phone's number. Checked again at the first code, because
    /// a pending phone does not count.
    pub(super) async fn is_shared(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge, method: Uuid,
    ) -> Result<bool, FlowError> {
        let new =
            locked.method(method).filter(|m| challenge.purpose == Purpose::Enrol && m.verified_at.is_none());
        let Some(hash) = new.filter(|m| m.kind == Kind::Phone).and_then(|m| m.target_hash.as_deref()) else {
            return Ok(false);
        };
        lock_subject(tx, &self.keys, "accounts_per_number", hash, locked.now).await?;
        self.has_too_many_accounts(tx, hash, locked.account.id).await
    }

    /// Ends the enrolment of a number that too many accounts have.
    pub(super) async fn cancel_shared_enrolment(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &mut Challenge, method: Uuid,
    ) -> Result<Entered, FlowError> {
        challenge.end(ChallengeState::Cancelled, locked.now);
        tx.delete::<Method>(method).await?;
        self.delete_codes(tx, challenge, locked.now).await?;
        Ok(ended(challenge, &locked.account, locked.now))
    }

    #[expect(clippy::too_many_arguments, reason = "each argument is a row or a value that a proof changes")]
    pub(super) async fn accept_entry(
        &self, tx: &mut Tx, locked: &mut LockedRows, challenge: &mut Challenge, found: &Match, entry: &Entry,
        who: &Requester, codes: &[Code], slow: Option<SlowHashes>,
    ) -> Result<Entered, FlowError> {
        let now = locked.now;
        locked.account.count_right();
        let mut new_recovery_code = None;
        let (mut newly, mut resumed) = (false, false);
        if let Some(method) = locked.methods.iter_mut().find(|m| m.id == found.method) {
            resumed = method.state == MethodState::Paused;
            newly = !method.is_active() && !resumed;
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
            // A code from support does not use up a recovery code.
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
            // The app is not a browser. The browser gets its cookie on the page that continues.
            _ if matches!(who, Requester::App) => None,
            Purpose::NewDevice => Some(TrustKind::Recognised),
            Purpose::SignIn if entry.trust => Some(TrustKind::Trusted),
            _ => None,
        };
        if let Some(kind) = kind {
            let visit = match who {
                Requester::Browser(visit) => visit.clone(),
                Requester::Product(_) | Requester::App => Visit {
                    device: entry.device_token.clone(),
                    agent: challenge.agent.clone().unwrap_or_else(|| DEFAULT_DEVICE_LABEL.to_owned()),
                    ..Visit::default()
                },
            };
            let (device, given) = self.trust(tx, locked, kind, &visit).await?;
            challenge.device = Some(device);
            cookie = Some(given);
        }
        self.verify(challenge, found.proof, acr, now);
        if let Requester::Product(_) = who {
            // The back end gets the result at once, so a browser with the open challenge gets no ticket.
            challenge.ticket_hash = None;
        }
        let may_ask = locked.methods.iter().any(|m| m.is_active() && m.kind == Kind::Phone);
        if found.proof == Proof::Recovery && new_recovery_code.is_none() && !may_ask {
            // Over the API there is no page in between, so the ticket's life starts now.
            challenge.ticket_until = Some(crate::clock::after(now, crate::challenge::TICKET_LIFE));
        }
        let actor = if matches!(who, Requester::Product(_)) { "product" } else { "user" };
        if challenge.purpose == Purpose::Enrol && newly {
            self.enrolled(tx, locked, found.method, actor).await?;
        } else if challenge.purpose == Purpose::Enrol && resumed {
            self.notify_resumed(tx, locked, found.method, actor).await?;
        } else {
            let mut data = json!({"challenge": challenge.id, "method": found.proof.to_string()});
            if found.other_network {
                data["other_network"] = true.into();
            }
            self.event(tx, &locked.account, "challenge.verified", "user", data, now).await?;
            self.end_support_cases(tx, locked, now).await?;
            self.resume_methods(tx, locked, challenge.purpose, found.method).await?;
        }
        // A new method is no proof for an account that is on: adding it needed a proof.
        let proves = challenge.purpose != Purpose::Enrol || !locked.account.is_on();
        if let Some(session) = challenge.session.filter(|_| proves)
            && let Some(mut session) = tx.lock::<Session>(session).await?
        {
            session.proof_at = Some(now);
            session.account_version = locked.account.version;
            tx.update(&session).await?;
        }
        tx.execute("delete from code where challenge = $1", &[Value::Uuid(challenge.id)]).await?;
        self.report_right_code(tx, challenge, found.group.filter(|_| !codes.is_empty()), now).await?;
        Ok(Entered::Verified { location: self.location(challenge), cookie, result: None, new_recovery_code })
    }
}
