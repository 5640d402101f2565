//! Carries out support cases: at once without a delay, otherwise after it.

use serde_json::json;
use uuid::Uuid;

use super::on_off::kinds_without;
use super::support::{SupportRefused, actor};
use super::{Core, FlowError, LockedRows, lock_account};
use crate::account::AccountState;
use crate::challenge::ChallengeState;
use crate::device::TrustKind;
use crate::method::{Kind, is_primary};
use crate::store::{SupportAction, SupportCase, SupportState, Tx, Value};

/// Maximum number of cases that one run carries out.
const MAX_CASES_PER_RUN: i64 = 500;

impl Core {
    /// Returns whether a case can be carried out in the current state.
    pub(super) fn can_carry_out(
        &self, locked: &LockedRows, case: &SupportCase,
    ) -> Result<(), SupportRefused> {
        if case.action == SupportAction::TurnOff {
            return if locked.account.is_on() { Ok(()) } else { Err(SupportRefused::Off) };
        }
        let method = case.method.and_then(|id| locked.method(id)).ok_or(SupportRefused::Method)?;
        let left = kinds_without(&locked.methods, method.id);
        let usable = |k: &Kind| is_primary(*k, self.config().email.second_step) || *k == Kind::Recovery;
        if locked.account.is_on() && !left.iter().any(usable) {
            return Err(SupportRefused::Last);
        }
        Ok(())
    }

    /// Turns two-step verification off and keeps the methods, or removes the method. The caller writes account and case.
    pub(super) async fn apply_case(
        &self, tx: &mut Tx, locked: &mut LockedRows, case: &SupportCase,
    ) -> Result<(), FlowError> {
        let (now, actor) = (locked.now, actor(&case.asked_by));
        if case.action == SupportAction::TurnOff {
            self.notify(tx, &locked.account, &locked.methods, "turned_off", now).await?;
            locked.account.state = AccountState::Off;
            locked.account.version += 1;
            locked.account.count_right();
            self.end_trusts(tx, &locked.account, Some(TrustKind::Trusted), &actor, now).await?;
            self.end_challenges(tx, locked.account.id, ChallengeState::Cancelled, now).await?;
            let data = json!({"methods_kept": true});
            return self.event(tx, &locked.account, "account.off", &actor, data, now).await;
        }
        self.notify(tx, &locked.account, &locked.methods, "method_removed", now).await?;
        let method = locked.methods.iter_mut().find(|m| Some(m.id) == case.method);
        let method = method.ok_or(FlowError::Missing("method"))?;
        self.remove_method(tx, method, "support", locked.now).await?;
        let data = json!({"method": method.id, "kind": method.kind.to_string()});
        self.event(tx, &locked.account, "method.removed", &actor, data, now).await
    }

    /// Carries out the cases whose delay has ended. Returns their number.
    pub async fn carry_out_due_cases(&self) -> Result<u64, FlowError> {
        let mut tx = self.store.begin().await?;
        let now = Value::Int(tx.now().await?.as_millisecond());
        let due = "where state = 'waiting' and due_at <= $1 order by due_at limit $2";
        let cases = tx.select::<SupportCase>(due, &[now, Value::Int(MAX_CASES_PER_RUN)]).await?;
        tx.commit().await?;
        let mut done = 0;
        for case in cases {
            match self.carry_out_case(case.id).await {
                Ok(true) => done += 1,
                Ok(false) | Err(FlowError::Missing("case" | "account")) => {}
                // A failing case must not block the others.
                Err(e) => {
                    tracing::warn!(case = %case.id, reason = %e, "a support case was not carried out; the next run tries again");
                }
            }
        }
        Ok(done)
    }

    async fn carry_out_case(&self, id: Uuid) -> Result<bool, FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = tx.get::<SupportCase>(id).await?.ok_or(FlowError::Missing("case"))?;
        let mut locked = lock_account(&mut tx, seen.account).await?;
        let mut case = tx.lock::<SupportCase>(id).await?.ok_or(FlowError::Missing("case"))?;
        let now = locked.now;
        if case.state != SupportState::Waiting || now < case.due_at {
            return Ok(false);
        }
        let is_code = case.action == SupportAction::SendRecoveryCode;
        // The user turned it off since the case was opened, and perhaps on again.
        let is_void = case.action == SupportAction::TurnOff && locked.account.state != AccountState::OffDue;
        if is_code || is_void || self.can_carry_out(&locked, &case).is_err() {
            // The code expired, or the case does not fit the account any more.
            self.stop_case(&mut tx, &mut locked.account, &mut case, "system", now).await?;
            tx.commit().await?;
            return Ok(false);
        }
        self.apply_case(&mut tx, &mut locked, &case).await?;
        case.state = SupportState::Done;
        tx.update(&locked.account).await?;
        tx.update(&case).await?;
        self.support_event(&mut tx, &locked.account, "support.done", &case, &case.asked_by, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
