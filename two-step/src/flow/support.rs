//! Support cases: an agent acts for a user who cannot prove their identity. An action that weakens an account has a delay,
//! all methods get a notice, and any proof of the user ends the case.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::events::Notice;
use super::users::find;
use super::{Core, FlowError, LockedRows, lock_account};
use crate::account::{Account, AccountState};
use crate::challenge::ChallengeState;
use crate::clock::after;
use crate::method::{Kind, MethodState, STOPPED, UNREGISTERED, may_be_on};
use crate::store::{Event, SupportAction, SupportCase, SupportState, Tx, Value, new_id};

const MAX_REASON_CHARS: usize = 500;
const MAX_AGENT_CHARS: usize = 64;
const MAX_EVIDENCE: usize = 10;
const MAX_EVIDENCE_CHARS: usize = 40;

/// The parameters of a case.
#[derive(Debug, Clone)]
pub struct NewCase {
    /// The product's id of the user.
    pub user: String,
    /// The action.
    pub action: SupportAction,
    /// The method to remove, or the target of the code.
    pub method: Option<Uuid>,
    /// The reason, as the agent entered it.
    pub reason: String,
    /// Kinds of evidence, never answers.
    pub evidence: Vec<String>,
    /// The agent's name at the product.
    pub agent: String,
}

/// Why a case was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupportRefused {
    /// The case has ended.
    Over(SupportState),
    /// Another case of the account is waiting.
    Waits,
    /// The agent who opened the case cannot approve it.
    SameAgent,
    /// The case does not wait for an approval.
    NoDelay,
    /// Two-step verification is off.
    Off,
    /// Two-step verification is on, and no case is waiting.
    On,
    /// Support did not turn it off, or the remaining methods do not suffice.
    NotUndone,
    /// The method does not exist, or cannot receive a code.
    Method,
    /// The user could not sign in without it.
    Last,
}

impl Core {
    /// Opens a case. An action without a delay is carried out at once.
    pub async fn open_case(
        &self, product: &str, new: NewCase,
    ) -> Result<Result<SupportCase, SupportRefused>, FlowError> {
        let new = check(new)?;
        let mut tx = self.store.begin().await?;
        let seen = find(&mut tx, product, &new.user).await?;
        let mut locked = lock_account(&mut tx, seen.id).await?;
        let now = locked.now;
        let mut case = SupportCase {
            id: new_id(),
            account: seen.id,
            action: new.action,
            method: new.method,
            reason: new.reason,
            evidence: new.evidence.join(" "),
            asked_by: new.agent,
            approved_by: None,
            asked_at: now,
            due_at: now,
            state: SupportState::Waiting,
            code_hash: None,
            code_until: None,
        };
        tx.insert(&case).await?;
        self.support_event(&mut tx, &locked.account, "support.asked", &case, &case.asked_by, now).await?;
        let asked = match case.action {
            SupportAction::Unlock => self.unlock(&mut tx, &mut locked, &case).await.map(Ok)?,
            SupportAction::TurnOn => self.undo_turn_off(&mut tx, &mut locked, &case).await?,
            SupportAction::SendRecoveryCode => {
                let sent = self.send_support_code(&mut tx, &locked, &mut case).await?;
                // The method that gets the code needs no notice.
                let notice = Notice { about: "support_asked", except: case.method, added: None };
                self.notify(&mut tx, &locked.account, &locked.methods, notice, now).await?;
                sent.map(|()| false)
            }
            SupportAction::TurnOff | SupportAction::RemoveMethod => {
                self.start_delay(&mut tx, &mut locked, &mut case).await?
            }
        };
        let done = match asked {
            Ok(done) => done,
            Err(refused) => return Ok(Err(refused)),
        };
        if done {
            case.state = SupportState::Done;
            self.support_event(&mut tx, &locked.account, "support.done", &case, &case.asked_by, now).await?;
        }
        tx.update(&locked.account).await?;
        tx.update(&case).await?;
        tx.commit().await?;
        Ok(Ok(case))
    }

    /// Ends the pauses of an account and its methods. A method that a stop page paused stays paused, because somebody else
    /// added it. An app that deleted its key stays paused too.
    async fn unlock(
        &self, tx: &mut Tx, locked: &mut LockedRows, case: &SupportCase,
    ) -> Result<bool, FlowError> {
        let LockedRows { account, methods, now } = locked;
        self.notify(tx, account, methods, "support_asked", *now).await?;
        account.count_right();
        for method in methods {
            let stays = method.is_paused_for(STOPPED) || method.is_paused_for(UNREGISTERED);
            if method.state == MethodState::Paused && !stays {
                method.activate(*now);
                tx.update(method).await?;
                let data = json!({"method": method.id, "kind": method.kind.to_string()});
                self.event(tx, account, "method.resumed", &actor(&case.asked_by), data, *now).await?;
            }
        }
        Ok(true)
    }

    /// Starts the delay, and sends a notice to all methods. Returns whether the case was carried out at once.
    async fn start_delay(
        &self, tx: &mut Tx, locked: &mut LockedRows, case: &mut SupportCase,
    ) -> Result<Result<bool, SupportRefused>, FlowError> {
        if self.delayed_case(tx, locked.account.id, case.id).await?.is_some() {
            return Ok(Err(SupportRefused::Waits));
        }
        if let Err(refused) = self.can_carry_out(locked, case) {
            return Ok(Err(refused));
        }
        if self.config().support.delay.0.is_zero() {
            self.apply_case(tx, locked, case).await?;
            return Ok(Ok(true));
        }
        case.due_at = after(locked.now, self.config().support.delay.0);
        if case.action == SupportAction::TurnOff {
            locked.account.state = AccountState::OffDue;
        }
        self.notify(tx, &locked.account, &locked.methods, "support_asked", locked.now).await?;
        Ok(Ok(false))
    }

    /// Returns another case of the account that waits for its delay.
    async fn delayed_case(
        &self, tx: &mut Tx, account: Uuid, except: Uuid,
    ) -> Result<Option<SupportCase>, FlowError> {
        let waiting = "where account = $1 and id <> $2 and state = 'waiting' and action in ('turn_off', 'remove_method')";
        Ok(tx
            .select_locked::<SupportCase>(waiting, &[Value::Uuid(account), Value::Uuid(except)])
            .await?
            .pop())
    }

    /// Undoes an action of support: stops a waiting case, or turns the account on again with the kept methods.
    async fn undo_turn_off(
        &self, tx: &mut Tx, locked: &mut LockedRows, case: &SupportCase,
    ) -> Result<Result<bool, SupportRefused>, FlowError> {
        let now = locked.now;
        match locked.account.state {
            AccountState::On => return Ok(Err(SupportRefused::On)),
            AccountState::OffDue => {
                let waiting = self.delayed_case(tx, locked.account.id, case.id).await?;
                if let Some(mut waiting) = waiting {
                    waiting.state = SupportState::Stopped;
                    tx.update(&waiting).await?;
                    self.support_event(tx, &locked.account, "support.stopped", &waiting, &case.asked_by, now)
                        .await?;
                }
                locked.account.state = AccountState::On;
            }
            AccountState::Off => {
                let newest = "where account = $1 and kind = 'account.off' order by id desc limit 1";
                let off = tx.find::<Event>(newest, &[Value::Uuid(locked.account.id)]).await?;
                let active: Vec<Kind> =
                    locked.methods.iter().filter(|m| m.is_active()).map(|m| m.kind).collect();
                let by_support = off.as_ref().is_some_and(|e| e.actor.starts_with("support:"));
                // While it was off, anybody with the password could add methods and create recovery codes.
                let later = "where account = $1 and id > $2 and kind in ('method.added', 'method.resumed', 'recovery.renewed')";
                let since = Value::Uuid(off.map_or(Uuid::nil(), |e| e.id));
                let later = tx.select::<Event>(later, &[Value::Uuid(locked.account.id), since]).await?;
                // An address for notices gives no access, and the product may set one at any time.
                let opens = |e: &Event| match e.kind.as_str() {
                    "method.resumed" => !e.actor.starts_with("support:"),
                    _ => e.actor != "product" || !e.data.contains("\"email\""),
                };
                let changed = later.iter().any(opens);
                if !by_support || changed || !may_be_on(&active, self.config().email.second_step) {
                    return Ok(Err(SupportRefused::NotUndone));
                }
                // Challenges and enrolments from the time when it was off must not finish without a proof.
                self.end_challenges(tx, locked.account.id, ChallengeState::Cancelled, now).await?;
                for pending in locked.methods.iter().filter(|m| m.state == MethodState::Pending) {
                    self.delete_pending(tx, pending).await?;
                }
                locked.methods.retain(|m| m.state != MethodState::Pending);
                locked.account.state = AccountState::On;
                locked.account.version += 1;
                let by = actor(&case.asked_by);
                self.event(tx, &locked.account, "account.on", &by, json!({}), now).await?;
                self.notify(tx, &locked.account, &locked.methods, "turned_on", now).await?;
            }
        }
        Ok(Ok(true))
    }

    /// Ends the delay by the approval of a second agent.
    pub async fn approve_case(
        &self, product: &str, id: Uuid, agent: &str,
    ) -> Result<Result<SupportCase, SupportRefused>, FlowError> {
        let agent = read_agent(agent)?;
        let mut tx = self.store.begin().await?;
        let (locked, mut case) = lock_case(&mut tx, product, id).await?;
        if case.state != SupportState::Waiting {
            return Ok(Err(SupportRefused::Over(case.state)));
        }
        if case.action == SupportAction::SendRecoveryCode {
            return Ok(Err(SupportRefused::NoDelay));
        }
        // Names that differ only in case are of the same person.
        if agent.to_lowercase() == case.asked_by.to_lowercase() {
            return Ok(Err(SupportRefused::SameAgent));
        }
        if case.approved_by.is_none() {
            case.due_at = case.due_at.min(locked.now);
            self.support_event(&mut tx, &locked.account, "support.approved", &case, &agent, locked.now)
                .await?;
            case.approved_by = Some(agent);
            tx.update(&case).await?;
            tx.commit().await?;
        }
        Ok(Ok(case))
    }

    /// Stops a waiting case for an agent.
    pub async fn cancel_case(
        &self, product: &str, id: Uuid, agent: &str,
    ) -> Result<Result<SupportCase, SupportRefused>, FlowError> {
        let agent = read_agent(agent)?;
        let mut tx = self.store.begin().await?;
        let (mut locked, mut case) = lock_case(&mut tx, product, id).await?;
        if case.state != SupportState::Waiting {
            return Ok(Err(SupportRefused::Over(case.state)));
        }
        let now = locked.now;
        self.stop_case(&mut tx, &mut locked.account, &mut case, &actor(&agent), now).await?;
        tx.commit().await?;
        Ok(Ok(case))
    }

    /// Stops a case, and resets the account's state.
    pub(super) async fn stop_case(
        &self, tx: &mut Tx, account: &mut Account, case: &mut SupportCase, by: &str, now: Timestamp,
    ) -> Result<(), FlowError> {
        case.state = SupportState::Stopped;
        tx.update(case).await?;
        if case.action == SupportAction::TurnOff && account.state == AccountState::OffDue {
            account.state = AccountState::On;
            tx.update(account).await?;
        }
        let data = json!({"case": case.id, "action": case.action.to_string()});
        self.event(tx, account, "support.stopped", by, data, now).await
    }

    pub(super) async fn support_event(
        &self, tx: &mut Tx, account: &Account, kind: &str, case: &SupportCase, agent: &str, now: Timestamp,
    ) -> Result<(), FlowError> {
        let data = json!({"case": case.id, "action": case.action.to_string()});
        self.event(tx, account, kind, &actor(agent), data, now).await
    }
}

pub(super) fn actor(agent: &str) -> String {
    format!("support:{agent}")
}

/// Locks the account of a product's case, then the case.
async fn lock_case(tx: &mut Tx, product: &str, id: Uuid) -> Result<(LockedRows, SupportCase), FlowError> {
    let seen = tx.get::<SupportCase>(id).await?.ok_or(FlowError::Missing("case"))?;
    let locked = lock_account(tx, seen.account).await?;
    if locked.account.product != product {
        return Err(FlowError::Missing("case"));
    }
    let case = tx.lock::<SupportCase>(id).await?.ok_or(FlowError::Missing("case"))?;
    Ok((locked, case))
}

fn check(new: NewCase) -> Result<NewCase, FlowError> {
    let reason = new.reason.trim().to_owned();
    if reason.chars().count() > MAX_REASON_CHARS || reason.is_empty() || reason.contains('\0') {
        return Err(FlowError::invalid("reason", "must have 1 to 500 characters"));
    }
    let is_kind = |kind: &String| {
        (1..=MAX_EVIDENCE_CHARS).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if new.evidence.len() > MAX_EVIDENCE || !new.evidence.iter().all(is_kind) {
        let rule =
            "must be at most 10 kinds, such as id_card: letters, digits, - and _, at most 40 characters";
        return Err(FlowError::invalid("evidence", rule));
    }
    Ok(NewCase { reason, agent: read_agent(&new.agent)?, ..new })
}

fn read_agent(agent: &str) -> Result<String, FlowError> {
    let agent = agent.trim();
    let fits = (1..=MAX_AGENT_CHARS).contains(&agent.chars().count());
    if !fits || agent.chars().any(char::is_control) {
        return Err(FlowError::invalid(
            "agent",
            "must have 1 to 64 characters, none of them a control character",
        ));
    }
    Ok(agent.to_owned())
}
