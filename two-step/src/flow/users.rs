//! Actions of a back end on a whole user.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Core, FlowError};
use crate::account::Account;
use crate::challenge::{Challenge, ChallengeState};
use crate::method::Method;
use crate::store::{Dispatch, SupportCase, Tx, Value};

/// Tables whose rows are deleted with an account.
const ACCOUNT_TABLES: [&str; 10] = [
    "challenge",
    "session",
    "recovery_code",
    "trust",
    "support_case",
    "notice",
    "method",
    "outbox",
    "app_key",
    "app_request",
];
/// The type of an erased user's events. The rows stay for the positions of readers.
pub(super) const ERASED_EVENT_KIND: &str = "erased";

impl Core {
    /// Returns a user and the methods that are not removed.
    pub async fn user(&self, product: &str, user: &str) -> Result<(Account, Vec<Method>), FlowError> {
        let mut tx = self.store.begin().await?;
        let account = find(&mut tx, product, user).await?;
        let kept = "where account = $1 and state <> 'removed' order by id";
        let methods = tx.select::<Method>(kept, &[Value::Uuid(account.id)]).await?;
        Ok((account, methods))
    }

    /// Erases all data of a user.
    pub async fn erase(&self, product: &str, user: &str) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = find(&mut tx, product, user).await?;
        let account = tx.lock::<Account>(seen.id).await?.ok_or(FlowError::Missing("user"))?;
        let id = [Value::Uuid(account.id)];
        let now = tx.now().await?;
        self.cancel_all(&mut tx, account.id, now).await?;
        let of_challenges = "in (select id from challenge where account = $1)";
        tx.execute(&format!("delete from code where challenge {of_challenges}"), &id).await?;
        let dispatches = format!(
            "delete from dispatch where challenge {of_challenges} or method in (select id from method where account = $1)"
        );
        tx.execute(&dispatches, &id).await?;
        let blank = "update event set kind = $2, account = $3, user_ref = '', actor = '', data = '{}' where account = $1";
        let [account_id] = id.clone();
        tx.execute(blank, &[account_id, Value::Text(ERASED_EVENT_KIND.to_owned()), Value::Uuid(Uuid::nil())])
            .await?;
        for table in ACCOUNT_TABLES {
            tx.execute(&format!("delete from {table} where account = $1"), &id).await?;
        }
        tx.delete::<Account>(account.id).await?;
        Ok(tx.commit().await?)
    }

    /// Ends a user's challenges and sessions, and optionally the trusts. A product calls it after a password change.
    pub async fn end_sessions(
        &self, product: &str, user: &str, forget_devices: bool,
    ) -> Result<(u64, u64), FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = find(&mut tx, product, user).await?;
        let account = tx.lock::<Account>(seen.id).await?.ok_or(FlowError::Missing("user"))?;
        let now = tx.now().await?;
        let id = Value::Uuid(account.id);
        let challenges =
            self.end_challenges(&mut tx, account.id, ChallengeState::Cancelled, now).await?.len() as u64;
        tx.execute("delete from session where account = $1", &[id]).await?;
        let mut devices = 0;
        if forget_devices {
            devices = self.end_trusts(&mut tx, &account, None, "product", now).await?;
        }
        tx.commit().await?;
        Ok((challenges, devices))
    }

    /// Returns the cases of a user, newest first.
    pub async fn cases(&self, product: &str, user: &str) -> Result<Vec<SupportCase>, FlowError> {
        let mut tx = self.store.begin().await?;
        let account = find(&mut tx, product, user).await?;
        Ok(tx
            .select::<SupportCase>("where account = $1 order by id desc", &[Value::Uuid(account.id)])
            .await?)
    }
}

impl Core {
    /// Ends the challenges of an account that are live or have an unredeemed ticket, and voids earlier proofs. Returns the
    /// challenges that ended.
    pub(super) async fn end_challenges(
        &self, tx: &mut Tx, account: Uuid, state: ChallengeState, now: Timestamp,
    ) -> Result<Vec<Challenge>, FlowError> {
        let id = [Value::Uuid(account)];
        // A confirmation gives access to the settings by its id.
        let proofs = "update challenge set jti = null where account = $1 and purpose = 'confirm' and state = 'redeemed'";
        tx.execute(proofs, &id).await?;
        let live = "where account = $1 and state in ('created', 'open', 'verified') order by id";
        let mut ended = tx.select_locked::<Challenge>(live, &id).await?;
        for challenge in &mut ended {
            let was_live = challenge.state.is_live();
            challenge.end(state, now);
            tx.update(challenge).await?;
            if was_live {
                self.delete_codes(tx, challenge, now).await?;
            }
        }
        Ok(ended)
    }

    /// Cancels the texts and calls of an account that are in progress. The commands do not name the user.
    async fn cancel_all(&self, tx: &mut Tx, account: Uuid, now: Timestamp) -> Result<(), FlowError> {
        let open =
            "where state in ('queued', 'sending') and method in (select id from method where account = $1)";
        for dispatch in tx.select::<Dispatch>(open, &[Value::Uuid(account)]).await? {
            self.enqueue_cancel(tx, &dispatch, None, now).await?;
        }
        Ok(())
    }
}

pub(super) async fn find(tx: &mut Tx, product: &str, user: &str) -> Result<Account, FlowError> {
    let by_name = [Value::Text(product.to_owned()), Value::Text(user.to_owned())];
    let found = tx.find::<Account>("where product = $1 and user_ref = $2", &by_name).await;
    match found {
        Ok(found) => found.ok_or(FlowError::Missing("user")),
        // PostgreSQL does not accept NUL in a text, so no such user exists.
        Err(_) if user.contains('\0') => Err(FlowError::Missing("user")),
        Err(e) => Err(e.into()),
    }
}
