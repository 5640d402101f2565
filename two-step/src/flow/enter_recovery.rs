//! Recovery codes as entries: the slow hash, the look-up, and the code that takes the place of a used one.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::enter::{Match, Who};
use super::{Core, FlowError, Locked};
use crate::account::Account;
use crate::challenge::{Challenge, Proof};
use crate::code::Digits;
use crate::method::Kind;
use crate::recovery::{self, RecoveryCode};
use crate::seal::{Hashed, same};
use crate::store::{Tx, Value, new_id};

impl Core {
    /// The slow hash of a recovery code under the account's salt, made before any lock is taken. None where the challenge is
    /// not the caller's or has ended: a stranger gets no work done.
    pub(super) async fn slow_hash(
        &self, challenge: Uuid, who: &Who, code: &Digits,
    ) -> Result<Option<String>, FlowError> {
        let mut tx = self.store.begin().await?;
        let Some(challenge) = tx.get::<Challenge>(challenge).await? else { return Ok(None) };
        let Some(account) = tx.get::<Account>(challenge.account).await? else { return Ok(None) };
        who.must_own(self, &account, &challenge)?;
        if !challenge.state.is_live() {
            return Ok(None);
        }
        let rows =
            tx.select::<RecoveryCode>("where account = $1 limit 1", &[Value::Uuid(account.id)]).await?;
        tx.commit().await?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let (code, salt) = (code.clone(), row.salt);
        let slow = tokio::task::spawn_blocking(move || recovery::slow_hash(code.expose(), &salt)).await;
        Ok(slow.ok().map(|hash| self.keys.hash(Hashed::Recovery, &[&*hash])))
    }

    pub(super) async fn find_recovery(
        &self, tx: &mut Tx, locked: &Locked, hash: Option<&str>,
    ) -> Result<Option<Match>, FlowError> {
        let (Some(hash), Some(set)) =
            (hash, locked.methods.iter().find(|m| m.kind == Kind::Recovery && m.is_active()))
        else {
            return Ok(None);
        };
        let rows = tx
            .select::<RecoveryCode>(
                "where account = $1 and used_at is null",
                &[Value::Uuid(locked.account.id)],
            )
            .await?;
        let Some(mut row) = rows.into_iter().find(|r| same(&r.hash, hash)) else { return Ok(None) };
        row.used_at = Some(locked.now);
        tx.update(&row).await?;
        Ok(Some(Match { method: set.id, proof: Proof::Recovery, group: None, totp_step: None }))
    }

    /// A recovery code that was used is replaced by a new one, which is shown once.
    pub(super) async fn replace_recovery_code(
        &self, tx: &mut Tx, locked: &Locked,
    ) -> Result<Zeroizing<String>, FlowError> {
        let account = Value::Uuid(locked.account.id);
        let used = tx
            .find::<RecoveryCode>(
                "where account = $1 and used_at is not null order by used_at desc limit 1",
                &[account],
            )
            .await?
            .ok_or(FlowError::Missing("recovery code"))?;
        let code = recovery::random();
        let canonical = recovery::canonical(&code).unwrap_or_default();
        let salt = used.salt.clone();
        let slow = tokio::task::spawn_blocking(move || recovery::slow_hash(&canonical, &salt)).await;
        let slow = slow.map_err(|_| FlowError::Missing("thread"))?;
        tx.delete::<RecoveryCode>(used.id).await?;
        let fresh = RecoveryCode {
            id: new_id(),
            hash: self.keys.hash(Hashed::Recovery, &[&*slow]),
            used_at: None,
            ..used
        };
        tx.insert(&fresh).await?;
        Ok(code)
    }
}
