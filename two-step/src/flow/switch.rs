//! Two-step verification is turned on and off.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{Core, FlowError, Locked, Visit, Visitor};
use crate::account::{Account, AccountState};
use crate::device::TrustKind;
use crate::method::{Kind, Method, may_be_on};
use crate::store::{SupportCase, SupportState, Tx, Value};

/// Why two-step verification stays off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchRefused {
    /// There is no active method, or no backup besides.
    BackupMissing,
    /// Too few methods were proved in this visit: a phone that was kept needs one code first.
    ProofMissing,
}

impl Core {
    /// Turns two-step verification on, with the methods that were proved in this visit. All others are removed: whoever knows
    /// the password may have added them. Returns the device's cookie where the visitor trusts the browser.
    pub async fn turn_on(
        &self, visit: &Visit, trust: bool,
    ) -> Result<Result<Option<String>, SwitchRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let visitor = self.proven_visitor(&mut tx, visit).await?;
        let newly = !visitor.account.is_on();
        if newly && let Err(refused) = self.may_turn_on(&visitor) {
            return Ok(Err(refused));
        }
        let Visitor { mut account, mut session, mut methods, now, .. } = visitor;
        if newly {
            self.remove_unproved(&mut tx, &account, session.id, &mut methods, now).await?;
            account.state = AccountState::On;
            account.version += 1;
            account.count_right();
            // The visitor has just proved a method: the settings stay open.
            session.proof_at = Some(now);
            session.account_version = account.version;
            tx.update(&account).await?;
            tx.update(&session).await?;
            self.event(&mut tx, &account, "account.on", "user", json!({}), now).await?;
            self.notify(&mut tx, &account, &methods, "turned_on", now).await?;
        }
        let locked = Locked { account, methods, now };
        let mut cookie = None;
        if trust {
            cookie = Some(self.trust(&mut tx, &locked, TrustKind::Trusted, visit).await?.1);
        }
        tx.commit().await?;
        Ok(Ok(cookie))
    }

    fn may_turn_on(&self, visitor: &Visitor) -> Result<(), SwitchRefused> {
        let kinds = |proved: bool| -> Vec<Kind> {
            let active = visitor.methods.iter().filter(|m| m.is_active());
            active.filter(|m| !proved || m.is_proved_in(visitor.session.id)).map(|m| m.kind).collect()
        };
        if !may_be_on(&kinds(false), self.config.email.second_step) {
            Err(SwitchRefused::BackupMissing)
        } else if !may_be_on(&kinds(true), self.config.email.second_step) {
            Err(SwitchRefused::ProofMissing)
        } else {
            Ok(())
        }
    }

    /// Removes the methods that were not proved in a visit.
    async fn remove_unproved(
        &self, tx: &mut Tx, account: &Account, visit: Uuid, methods: &mut Vec<Method>, now: Timestamp,
    ) -> Result<(), FlowError> {
        for method in methods.iter_mut().filter(|m| !m.is_proved_in(visit)) {
            method.remove("not_proved", now);
            tx.update(method).await?;
            let data = json!({"method": method.id, "kind": method.kind.to_string(), "reason": "not_proved"});
            self.event(tx, account, "method.removed", "user", data, now).await?;
        }
        methods.retain(|m| m.is_proved_in(visit));
        Ok(())
    }

    /// Turns two-step verification off: keys, recovery codes and devices are erased, phones where the visitor says so.
    pub async fn turn_off(&self, visit: &Visit, keep_phones: bool) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let visitor = self.proven_visitor(&mut tx, visit).await?;
        let (account, session, now) = (visitor.account, visitor.session, visitor.now);
        let mut locked = Locked { account, methods: visitor.methods, now };
        self.notify(&mut tx, &locked.account, &locked.methods, "turned_off", now).await?;
        self.switch_off(&mut tx, &mut locked, keep_phones, "user").await?;
        let session =
            crate::store::Session { proof_at: None, account_version: locked.account.version, ..session };
        tx.update(&session).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Erases what two-step verification rested on. Kept phones must prove themselves again before they count.
    pub(super) async fn switch_off(
        &self, tx: &mut Tx, locked: &mut Locked, keep_phones: bool, actor: &str,
    ) -> Result<(), FlowError> {
        let (account, now) = (&mut locked.account, locked.now);
        account.state = AccountState::Off;
        account.version += 1;
        account.count_right();
        tx.update(account).await?;
        for method in &mut locked.methods {
            let keep = method.kind == Kind::Email
                || keep_phones && method.kind == Kind::Phone && method.verified_at.is_some();
            if keep {
                method.proved_in = None;
            } else {
                method.remove("turned_off", now);
            }
            tx.update(method).await?;
        }
        let id = Value::Uuid(account.id);
        tx.execute("delete from recovery_code where account = $1", std::slice::from_ref(&id)).await?;
        tx.execute("delete from trust where account = $1 and kind = 'trusted'", std::slice::from_ref(&id))
            .await?;
        tx.execute(
            "update challenge set state = 'cancelled', ended_at = $2 where account = $1 and state in ('created', 'open')",
            &[id, Value::Int(now.as_millisecond())],
        )
        .await?;
        self.event(tx, &locked.account, "account.off", actor, json!({"phones_kept": keep_phones}), now).await
    }

    /// A proof ends what support has begun: the user still has a method.
    pub(super) async fn end_support_cases(
        &self, tx: &mut Tx, locked: &mut Locked, now: Timestamp,
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

/// Methods that are left when one goes.
pub(super) fn kinds_without(methods: &[Method], gone: Uuid) -> Vec<Kind> {
    methods.iter().filter(|m| m.is_active() && m.id != gone).map(|m| m.kind).collect()
}
