//! The stop page ("It was not me") that each notice links to.

use jiff::Timestamp;
use serde_json::json;

use super::{Core, FlowError, LockedRows, lock_account};
use crate::account::Account;
use crate::challenge::ChallengeState;
use crate::clock::before;
use crate::method::{Method, MethodState, STOPPED as PAUSED};
use crate::seal::Hashed;
use crate::store::{NoticeToken, Value};

/// Stored as the kind of a notice after it was stopped.
const STOPPED_NOTICE: &str = "stopped";
/// Life of a notice's link.
const STOP_LINK_LIFE: std::time::Duration = std::time::Duration::from_secs(7 * 86400);

/// A notice with the data of its stop page.
#[derive(Debug, Clone)]
pub struct NoticeDetails {
    /// The account.
    pub account: Account,
    /// The kind of notice; `None` after it was stopped.
    pub about: Option<String>,
    /// The added or resumed method, if the account still has it.
    pub method: Option<Method>,
    /// The time of the notice.
    pub at: Timestamp,
}

/// The result of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    /// Everything was stopped now.
    Stopped,
    /// It was already stopped.
    Before,
    /// The link has expired or is unknown.
    TooLate,
}

impl Core {
    /// Returns a notice by the token of its link; `None` if the link has expired or is unknown.
    pub async fn notice_details(&self, token: &str) -> Result<Option<NoticeDetails>, FlowError> {
        let mut tx = self.store.begin().await?;
        let hash = self.keys.hash_text(Hashed::Notice, token);
        let now = tx.now().await?;
        let found = tx.get::<NoticeToken>(hash).await?.filter(|n| now < n.until);
        let Some(notice) = found else { return Ok(None) };
        let account = tx.get::<Account>(notice.account).await?.ok_or(FlowError::Missing("account"))?;
        let about = Some(notice.about).filter(|a| a != STOPPED_NOTICE);
        let method = match notice.method {
            Some(id) => tx.get::<Method>(id).await?.filter(|m| m.state != MethodState::Removed),
            None => None,
        };
        Ok(Some(NoticeDetails { account, about, method, at: before(notice.until, STOP_LINK_LIFE) }))
    }

    /// Ends the account's challenges, sessions, trusts and support cases, and pauses the added method. Writes the event
    /// `account.alarm` for the product.
    pub async fn stop(&self, token: &str) -> Result<StopOutcome, FlowError> {
        let mut tx = self.store.begin().await?;
        let hash = self.keys.hash_text(Hashed::Notice, token);
        let Some(seen) = tx.get::<NoticeToken>(hash.clone()).await? else { return Ok(StopOutcome::TooLate) };
        let mut locked: LockedRows = lock_account(&mut tx, seen.account).await?;
        let notice = tx.lock::<NoticeToken>(hash).await?.filter(|n| locked.now < n.until);
        let Some(mut notice) = notice else { return Ok(StopOutcome::TooLate) };
        if notice.about == STOPPED_NOTICE {
            return Ok(StopOutcome::Before);
        }
        let about = std::mem::replace(&mut notice.about, STOPPED_NOTICE.to_owned());
        tx.update(&notice).await?;
        let (id, now) = (Value::Uuid(locked.account.id), locked.now);
        for challenge in self.end_challenges(&mut tx, locked.account.id, ChallengeState::Denied, now).await? {
            let data = json!({"challenge": challenge.id});
            self.event(&mut tx, &locked.account, "challenge.denied", "user", data, now).await?;
        }
        tx.execute("delete from session where account = $1", &[id]).await?;
        self.end_trusts(&mut tx, &locked.account, None, "user", now).await?;
        self.end_support_cases(&mut tx, &mut locked, now).await?;
        tx.update(&locked.account).await?;
        if let Some(added) = notice.method.and_then(|m| locked.methods.iter_mut().find(|x| x.id == m)) {
            added.pause(PAUSED);
            tx.update(added).await?;
            let data = json!({"method": added.id, "reason": PAUSED});
            self.event(&mut tx, &locked.account, "method.paused", "user", data, now).await?;
        }
        self.event(&mut tx, &locked.account, "account.alarm", "user", json!({"about": about}), now).await?;
        self.notify(&mut tx, &locked.account, &locked.methods, "denied", now).await?;
        tx.commit().await?;
        Ok(StopOutcome::Stopped)
    }
}
