//! Two-step verification is turned on and off.

use serde_json::json;

use super::{Core, FlowError, Locked, Visit};
use crate::account::AccountState;
use crate::device::TrustKind;
use crate::method::{Kind, Method, may_be_on};
use crate::store::{SupportCase, SupportState, Tx, Value};

/// Why two-step verification stays off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchRefused {
    /// There is no active method, or no backup besides.
    BackupMissing,
    /// No method was proved in this session: a phone that was kept needs one code first.
    ProofMissing,
}

impl Core {
    /// Turns two-step verification on. Returns the device's cookie where the visitor trusts the browser.
    pub async fn turn_on(
        &self, visit: &Visit, trust: bool,
    ) -> Result<Result<Option<String>, SwitchRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let visitor = self.visitor_in(&mut tx, visit).await?;
        let active: Vec<Kind> = visitor.methods.iter().filter(|m| m.is_active()).map(|m| m.kind).collect();
        if !may_be_on(&active, self.config.email.second_step) {
            return Ok(Err(SwitchRefused::BackupMissing));
        }
        if visitor.session.proof_at.is_none() {
            return Ok(Err(SwitchRefused::ProofMissing));
        }
        let (mut account, mut session, now) = (visitor.account, visitor.session, visitor.now);
        let newly = !account.is_on();
        if newly {
            account.state = AccountState::On;
            account.version += 1;
            account.count_right();
            // The visitor has just proved a method: the settings stay open.
            session.proof_at = Some(now);
            session.account_version = account.version;
            tx.update(&account).await?;
            tx.update(&session).await?;
            self.event(&mut tx, &account, "account.on", "user", json!({}), now).await?;
            self.notify(&mut tx, &account, &visitor.methods, "turned_on", now).await?;
        }
        let locked = Locked { account, methods: visitor.methods, now };
        let mut cookie = None;
        if trust {
            cookie = Some(self.trust(&mut tx, &locked, TrustKind::Trusted, visit).await?.1);
        }
        tx.commit().await?;
        Ok(Ok(cookie))
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
            if !keep {
                method.remove("turned_off");
                tx.update(method).await?;
            }
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
        &self, tx: &mut Tx, locked: &mut Locked, now: jiff::Timestamp,
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
pub(super) fn kinds_without(methods: &[Method], gone: uuid::Uuid) -> Vec<Kind> {
    methods.iter().filter(|m| m.is_active() && m.id != gone).map(|m| m.kind).collect()
}
