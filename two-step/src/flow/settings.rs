//! Changes of methods and devices in the settings.

use serde_json::json;
use uuid::Uuid;

use super::author::Author;
use super::on_off::kinds_without;
use super::users::{ERASED_EVENT_KIND, find};
use super::{Core, FlowError};
use crate::challenge::{Challenge, ChallengeState};
use crate::device::{Device, Trust};
use crate::method::{Channel, Kind, Method, MethodState, may_be_on};
use crate::store::{Event, SupportCase, Value};

/// Maximum length of a label, in characters.
pub const MAX_LABEL_CHARS: usize = 40;
/// Number of events on a page of the history.
const HISTORY_ROWS: i64 = 50;

/// A change to a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets the user's own name; empty: deletes it.
    Rename(String),
    /// Makes it the preferred method.
    Prefer,
    /// Sets the channel of a phone.
    Channel(Channel),
    /// Sets whether a call follows a failed text.
    Fallback(bool),
    /// Removes it and erases its secrets.
    Remove,
}

/// Why a method was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeRefused {
    /// Two-step verification needs it as a method or as a backup.
    Last,
    /// The label is too long or has control characters.
    Label,
}

impl Core {
    /// Changes a method.
    pub async fn change(
        &self, by: impl Into<Author>, id: Uuid, change: &Change,
    ) -> Result<Result<(), ChangeRefused>, FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let mut methods = settings.methods.clone();
        let method = methods.iter_mut().find(|m| m.id == id).ok_or(FlowError::Missing("method"))?;
        match change {
            Change::Rename(label) => {
                let label = label.trim();
                if label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control) {
                    return Ok(Err(ChangeRefused::Label));
                }
                method.label = Some(label.to_owned()).filter(|l| !l.is_empty());
                tx.update(method).await?;
            }
            Change::Prefer => {
                for method in &mut methods {
                    method.preferred = method.id == id;
                    tx.update(method).await?;
                }
            }
            Change::Channel(channel) => {
                method.channel = Some(*channel);
                tx.update(method).await?;
            }
            Change::Fallback(on) => {
                method.fallback = *on;
                tx.update(method).await?;
            }
            // It was never active, so there is no event or notice.
            Change::Remove if method.verified_at.is_none() => {
                let enrolments = "where method = $1 and purpose = 'enrol' and state = 'open' order by id";
                for mut open in tx.select_locked::<Challenge>(enrolments, &[Value::Uuid(id)]).await? {
                    open.end(ChallengeState::Cancelled, settings.now);
                    tx.update(&open).await?;
                    self.delete_codes(&mut tx, &open, settings.now).await?;
                }
                self.delete_pending(&mut tx, method).await?;
            }
            Change::Remove => {
                let left = kinds_without(&settings.methods, id);
                let needed = settings.account.is_on() && method.state != MethodState::Pending;
                if needed && !may_be_on(&left, self.config().email.second_step) {
                    return Ok(Err(ChangeRefused::Last));
                }
                self.notify(&mut tx, &settings.account, &settings.methods, "method_removed", settings.now)
                    .await?;
                self.remove_method(&mut tx, method, settings.actor, settings.now).await?;
                let data = json!({"method": id, "kind": method.kind.to_string()});
                self.event(&mut tx, &settings.account, "method.removed", settings.actor, data, settings.now)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Returns the trusted devices of an account, newest use first.
    pub async fn devices(&self, account: Uuid) -> Result<Vec<(Device, Trust)>, FlowError> {
        let mut tx = self.store.begin().await?;
        let trusts = tx
            .select::<Trust>(
                "where account = $1 and kind = 'trusted' order by used_at desc",
                &[Value::Uuid(account)],
            )
            .await?;
        let now = tx.now().await?;
        let mut devices = vec![];
        for trust in trusts.into_iter().filter(|t| t.holds(t.kind, now)) {
            if let Some(device) = tx.get::<Device>(trust.device).await?.filter(|d| !d.void) {
                devices.push((device, trust));
            }
        }
        Ok(devices)
    }

    /// Ends the trust of one device, or of all.
    pub async fn revoke_devices(&self, by: impl Into<Author>, device: Option<Uuid>) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let account = Value::Uuid(settings.account.id);
        let ended = match device {
            Some(id) => {
                tx.execute(
                    "delete from trust where account = $1 and device = $2",
                    &[account, Value::Uuid(id)],
                )
                .await?
            }
            None => tx.execute("delete from trust where account = $1", &[account]).await?,
        };
        if ended > 0 {
            let data = json!({"device": device, "devices": ended});
            self.event(&mut tx, &settings.account, "device.revoked", settings.actor, data, settings.now)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Returns the number of unused recovery codes.
    pub async fn recovery_codes_left(&self, account: Uuid) -> Result<i64, FlowError> {
        let mut tx = self.store.begin().await?;
        let sql = "select count(*) from recovery_code where account = $1 and used_at is null and exists (select 1 \
                   from method m where m.account = $1 and m.kind = 'recovery' and m.state = 'active')";
        Ok(tx.query(sql, &[Value::Uuid(account)]).await?.first().map_or(0, |r| r.int(0)))
    }

    /// Returns when support will turn an account off, if such a case is waiting.
    pub async fn off_due_at(&self, account: Uuid) -> Result<Option<jiff::Timestamp>, FlowError> {
        let mut tx = self.store.begin().await?;
        let waiting = "where account = $1 and state = 'waiting' and action = 'turn_off'";
        Ok(tx.find::<SupportCase>(waiting, &[Value::Uuid(account)]).await?.map(|case| case.due_at))
    }

    /// Returns a page of the history, newest first: the events before an event, or the newest. Also returns whether there
    /// are more.
    pub async fn history(
        &self, account: Uuid, before: Option<Uuid>,
    ) -> Result<(Vec<Event>, bool), FlowError> {
        let mut tx = self.store.begin().await?;
        let newest = "where account = $1 and id < $2 and kind <> $3 order by id desc limit $4";
        let values = [
            Value::Uuid(account),
            Value::Uuid(before.unwrap_or(Uuid::max())),
            Value::Text(ERASED_EVENT_KIND.to_owned()),
            Value::Int(HISTORY_ROWS + 1),
        ];
        let mut events = tx.select::<Event>(newest, &values).await?;
        let older = events.len() > HISTORY_ROWS as usize;
        events.truncate(HISTORY_ROWS as usize);
        Ok((events, older))
    }

    /// Ends the trust of a device at sign-out. Returns whether it was trusted.
    pub async fn revoke_at_sign_out(
        &self, product: &str, user: &str, device: Uuid,
    ) -> Result<bool, FlowError> {
        let mut tx = self.store.begin().await?;
        let account = find(&mut tx, product, user).await?;
        let sql = "delete from trust where account = $1 and device = $2";
        let ended = tx.execute(sql, &[Value::Uuid(account.id), Value::Uuid(device)]).await? > 0;
        if ended {
            let now = tx.now().await?;
            self.event(&mut tx, &account, "device.revoked", "product", json!({"device": device}), now)
                .await?;
        }
        tx.commit().await?;
        Ok(ended)
    }

    /// Returns the methods of a user that are not removed.
    pub async fn methods_of(&self, account: Uuid) -> Result<Vec<Method>, FlowError> {
        let mut tx = self.store.begin().await?;
        let kept = "where account = $1 and state <> 'removed' order by id";
        Ok(tx.select::<Method>(kept, &[Value::Uuid(account)]).await?)
    }
}

impl Core {
    /// Removes a lost phone after a sign-in with a recovery code. The recovery codes remain as a backup, so two-step
    /// verification stays on even without another method.
    pub async fn remove_lost_phone(
        &self, challenge: Uuid, who: &super::Requester, phone: Uuid,
    ) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, challenge) = super::lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        let proved = challenge.proof == Some(crate::challenge::Proof::Recovery)
            && challenge.state == crate::challenge::ChallengeState::Verified;
        let phone = locked.method(phone).filter(|m| m.is_active() && m.kind == Kind::Phone);
        if let Some(phone) =
            phone.filter(|p| proved && locked.signs_in_without(p.id, self.config().email.second_step))
        {
            self.notify(&mut tx, &locked.account, &locked.methods, "method_removed", locked.now).await?;
            let mut phone = phone.clone();
            self.remove_method(&mut tx, &mut phone, "lost", locked.now).await?;
            let data = json!({"method": phone.id, "kind": "phone", "reason": "lost"});
            self.event(&mut tx, &locked.account, "method.removed", "user", data, locked.now).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
