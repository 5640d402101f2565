//! Turns two-step verification on and off.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::author::{Author, Settings};
use super::{Core, FlowError, LockedRows, Visit};
use crate::account::{Account, AccountState};
use crate::challenge::ChallengeState;
use crate::device::TrustKind;
use crate::method::{Kind, Method, is_primary, may_be_on};
use crate::store::{Session, SupportCase, SupportState, Tx, Value};

/// Why two-step verification was not turned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnOnRefused {
    /// No active method, or no backup.
    BackupMissing,
    /// Too few methods were verified in this visit. A kept phone needs one code first.
    ProofMissing,
}

impl Core {
    /// Turns two-step verification on with the methods that were verified in this visit. All others are removed, because
    /// anybody with the password may have added them. Returns the device's cookie if the visitor trusts the browser.
    pub async fn turn_on(
        &self, visit: &Visit, trust: bool,
    ) -> Result<Result<Option<String>, TurnOnRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let mut settings = self.settings(&mut tx, &visit.into()).await?;
        if !settings.account.is_on() {
            let visit = settings.visit();
            let switched = self.turn_account_on(&mut tx, &mut settings, |m| m.proved_in == visit).await?;
            if let Err(refused) = switched {
                return Ok(Err(refused));
            }
        }
        let Settings { account, methods, session, now, .. } = settings;
        if let Some(session) = session.filter(|s| s.account_version != account.version) {
            // The visitor has just verified a method, so no fresh proof is needed.
            tx.update(&Session { proof_at: Some(now), account_version: account.version, ..session }).await?;
        }
        let locked = LockedRows { account, methods, now };
        let mut cookie = None;
        if trust {
            cookie = Some(self.trust(&mut tx, &locked, TrustKind::Trusted, visit).await?.1);
        }
        tx.commit().await?;
        Ok(Ok(cookie))
    }

    /// Turns two-step verification on over the API with the methods that the back end names. All others are removed.
    pub async fn turn_on_with(
        &self, product: &str, user: &str, methods: &[Uuid],
    ) -> Result<Result<(), TurnOnRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let by = Author::Product {
            product: product.to_owned(),
            user: user.to_owned(),
            proof: None,
            display_name: None,
        };
        let mut settings = match self.settings(&mut tx, &by).await {
            // Already on: nothing changes.
            Err(FlowError::ProofMissing) => return Ok(Ok(())),
            settings => settings?,
        };
        let is_usable = |id: &Uuid| settings.methods.iter().any(|m| m.id == *id && m.is_active());
        if !methods.iter().all(is_usable) {
            return Err(FlowError::invalid("methods", "must be active methods of this user"));
        }
        let switched = self.turn_account_on(&mut tx, &mut settings, |m| methods.contains(&m.id)).await?;
        if switched.is_ok() {
            tx.commit().await?;
        }
        Ok(switched)
    }

    /// Turns an account on. Methods that are not kept are removed.
    async fn turn_account_on(
        &self, tx: &mut Tx, settings: &mut Settings, keep: impl Fn(&Method) -> bool,
    ) -> Result<Result<(), TurnOnRefused>, FlowError> {
        let email = self.config().email.second_step;
        let active = || settings.methods.iter().filter(|m| m.is_active());
        if !may_be_on(&active().map(|m| m.kind).collect::<Vec<_>>(), email) {
            return Ok(Err(TurnOnRefused::BackupMissing));
        }
        let kept: Vec<Kind> = active().filter(|m| keep(m)).map(|m| m.kind).collect();
        if !may_be_on(&kept, email) {
            return Ok(Err(TurnOnRefused::ProofMissing));
        }
        let Settings { account, methods, actor, now, .. } = settings;
        // Removed methods get a notice too. They may be the user's, and the author an attacker.
        self.notify(tx, account, methods, "turned_on", *now).await?;
        // These trusts skipped a weaker check than a second step.
        self.end_challenges(tx, account.id, ChallengeState::Cancelled, *now).await?;
        for method in methods.iter_mut().filter(|m| !(m.is_active() && keep(m))) {
            self.remove_method(tx, method, "not_proved", *now).await?;
            let data = json!({"method": method.id, "kind": method.kind.to_string(), "reason": "not_proved"});
            self.event(tx, account, "method.removed", actor, data, *now).await?;
        }
        methods.retain(Method::is_active);
        account.state = AccountState::On;
        account.version += 1;
        account.count_right();
        tx.update(account).await?;
        self.event(tx, account, "account.on", actor, json!({}), *now).await?;
        Ok(Ok(()))
    }

    /// Turns two-step verification off. Erases keys, recovery codes and devices, and phones if the visitor chose that.
    pub async fn turn_off(&self, by: impl Into<Author>, keep_phones: bool) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let Settings { account, methods, session, actor, now, .. } =
            self.settings(&mut tx, &by.into()).await?;
        if !account.is_on() {
            return Ok(());
        }
        let mut locked = LockedRows { account, methods, now };
        self.notify(&mut tx, &locked.account, &locked.methods, "turned_off", now).await?;
        self.turn_account_off(&mut tx, &mut locked, keep_phones, actor).await?;
        if let Some(session) = session {
            let account_version = locked.account.version;
            tx.update(&Session { proof_at: None, account_version, ..session }).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Erases the secrets of two-step verification. Kept phones must be verified again.
    pub(super) async fn turn_account_off(
        &self, tx: &mut Tx, locked: &mut LockedRows, keep_phones: bool, actor: &str,
    ) -> Result<(), FlowError> {
        let (account, now, email) = (&mut locked.account, locked.now, self.config().email.second_step);
        account.state = AccountState::Off;
        account.version += 1;
        account.count_right();
        tx.update(account).await?;
        for method in &mut locked.methods {
            let keep = method.kind == Kind::Email
                || keep_phones && method.kind == Kind::Phone && method.verified_at.is_some();
            if keep {
                // A method that only gets notices gives no access, so it stays verified.
                if is_primary(method.kind, email) {
                    method.proved_in = None;
                }
                tx.update(method).await?;
            } else {
                self.remove_method(tx, method, "turned_off", now).await?;
            }
        }
        self.end_trusts(tx, &locked.account, Some(TrustKind::Trusted), actor, now).await?;
        self.end_challenges(tx, locked.account.id, ChallengeState::Cancelled, now).await?;
        self.event(tx, &locked.account, "account.off", actor, json!({"phones_kept": keep_phones}), now).await
    }

    /// Ends the trusts of an account, of one kind or all.
    pub(super) async fn end_trusts(
        &self, tx: &mut Tx, account: &Account, kind: Option<TrustKind>, actor: &str, now: Timestamp,
    ) -> Result<u64, FlowError> {
        let id = Value::Uuid(account.id);
        let ended = match kind {
            Some(kind) => {
                let of_kind = "delete from trust where account = $1 and kind = $2";
                tx.execute(of_kind, &[id, Value::Text(kind.to_string())]).await?
            }
            None => tx.execute("delete from trust where account = $1", &[id]).await?,
        };
        if ended > 0 {
            self.event(tx, account, "device.revoked", actor, json!({"devices": ended}), now).await?;
        }
        Ok(ended)
    }

    /// Stops waiting support cases after a proof, because the user still has a method.
    pub(super) async fn end_support_cases(
        &self, tx: &mut Tx, locked: &mut LockedRows, now: Timestamp,
    ) -> Result<(), FlowError> {
        let waiting = tx
            .select_locked::<SupportCase>(
                "where account = $1 and state = 'waiting' order by id",
                &[Value::Uuid(locked.account.id)],
            )
            .await?;
        if waiting.is_empty() {
            return Ok(());
        }
        for mut case in waiting {
            case.state = SupportState::Stopped;
            tx.update(&case).await?;
            self.event(tx, &locked.account, "support.stopped", "user", json!({"case": case.id}), now).await?;
        }
        if locked.account.state == AccountState::OffDue {
            locked.account.state = AccountState::On;
        }
        Ok(())
    }
}

/// Returns the kinds of the methods that remain without one.
pub(super) fn kinds_without(methods: &[Method], gone: Uuid) -> Vec<Kind> {
    methods.iter().filter(|m| m.is_active() && m.id != gone).map(|m| m.kind).collect()
}
