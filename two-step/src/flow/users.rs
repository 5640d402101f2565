//! What a back end does with a user as a whole.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{Core, FlowError};
use crate::account::Account;
use crate::challenge::ChallengeState;
use crate::method::Method;
use crate::store::{SupportCase, Tx, Value};

/// Tables whose rows go with an account.
const OF_ACCOUNT: [&str; 7] =
    ["challenge", "session", "recovery_code", "trust", "support_case", "notice", "event"];

/// The subjects of an account's outbox rows: texts and calls, codes by mail, notices by mail, codes from support, webhooks.
const OF_OUTBOX: [&str; 5] = [
    "select id from dispatch where method in (select id from method where account = $1)",
    "select group_id from code where challenge in (select id from challenge where account = $1)",
    "select id from method where account = $1",
    "select id from support_case where account = $1",
    "select id from account where id = $1",
];

impl Core {
    /// A user and the methods, removed ones apart.
    pub async fn user(&self, product: &str, user: &str) -> Result<(Account, Vec<Method>), FlowError> {
        let mut tx = self.store.begin().await?;
        let account = find(&mut tx, product, user).await?;
        let kept = "where account = $1 and state <> 'removed' order by id";
        let methods = tx.select::<Method>(kept, &[Value::Uuid(account.id)]).await?;
        Ok((account, methods))
    }

    /// Erases all that is known of a user.
    pub async fn erase(&self, product: &str, user: &str) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = find(&mut tx, product, user).await?;
        let account = tx.lock::<Account>(seen.id).await?.ok_or(FlowError::Missing("user"))?;
        let id = [Value::Uuid(account.id)];
        for subjects in OF_OUTBOX {
            tx.execute(&format!("delete from outbox where subject in ({subjects})"), &id).await?;
        }
        tx.execute("delete from code where challenge in (select id from challenge where account = $1)", &id)
            .await?;
        tx.execute("delete from dispatch where method in (select id from method where account = $1)", &id)
            .await?;
        tx.execute("delete from method where account = $1", &id).await?;
        for table in OF_ACCOUNT {
            tx.execute(&format!("delete from {table} where account = $1"), &id).await?;
        }
        tx.delete::<Account>(account.id).await?;
        Ok(tx.commit().await?)
    }

    /// Ends a user's challenges and sessions, and forgets devices if asked to. A product calls it after a password change.
    pub async fn end_all(
        &self, product: &str, user: &str, forget_devices: bool,
    ) -> Result<(u64, u64), FlowError> {
        let mut tx = self.store.begin().await?;
        let seen = find(&mut tx, product, user).await?;
        let account = tx.lock::<Account>(seen.id).await?.ok_or(FlowError::Missing("user"))?;
        let now = tx.now().await?;
        let id = Value::Uuid(account.id);
        let challenges = end_challenges(&mut tx, account.id, ChallengeState::Cancelled, now).await?;
        tx.execute("delete from session where account = $1", std::slice::from_ref(&id)).await?;
        let mut devices = 0;
        if forget_devices {
            devices = tx.execute("delete from trust where account = $1", &[id]).await?;
            if devices > 0 {
                self.event(&mut tx, &account, "device.revoked", "product", json!({"devices": devices}), now)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok((challenges, devices))
    }

    /// The cases of a user, newest first.
    pub async fn cases(&self, product: &str, user: &str) -> Result<Vec<SupportCase>, FlowError> {
        let mut tx = self.store.begin().await?;
        let account = find(&mut tx, product, user).await?;
        Ok(tx
            .select::<SupportCase>("where account = $1 order by id desc", &[Value::Uuid(account.id)])
            .await?)
    }
}

/// Ends the challenges of an account that are live, or whose ticket was not redeemed yet, and makes earlier proofs void.
/// Returns how many ended.
pub(super) async fn end_challenges(
    tx: &mut Tx, account: Uuid, state: ChallengeState, now: Timestamp,
) -> Result<u64, FlowError> {
    let id = Value::Uuid(account);
    let codes = "delete from code where challenge in (select id from challenge where account = $1)";
    tx.execute(codes, std::slice::from_ref(&id)).await?;
    // A confirmation opens settings by its id.
    let proofs =
        "update challenge set jti = null where account = $1 and purpose = 'confirm' and state = 'redeemed'";
    tx.execute(proofs, std::slice::from_ref(&id)).await?;
    let end = "update challenge set state = $3, ended_at = $2 where account = $1 and state in ('created', 'open', 'verified')";
    let values = [id, Value::Int(now.as_millisecond()), Value::Text(state.to_string())];
    Ok(tx.execute(end, &values).await?)
}

pub(super) async fn find(tx: &mut Tx, product: &str, user: &str) -> Result<Account, FlowError> {
    let by_name = [Value::Text(product.to_owned()), Value::Text(user.to_owned())];
    let found = tx.find::<Account>("where product = $1 and user_ref = $2", &by_name).await;
    match found {
        Ok(found) => found.ok_or(FlowError::Missing("user")),
        // PostgreSQL takes no NUL in a text: there is no such user.
        Err(_) if user.contains('\0') => Err(FlowError::Missing("user")),
        Err(e) => Err(e.into()),
    }
}
