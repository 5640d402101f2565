//! Recovery codes as entries: the slow hash, the look-up, and the replacement of a used code.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::enter::{Match, Requester};
use super::{Core, FlowError, LockedRows};
use crate::account::Account;
use crate::challenge::{Challenge, Proof};
use crate::code::SecretText;
use crate::method::Kind;
use crate::recovery::{self, RecoveryCode};
use crate::seal::{Hashed, same};
use crate::store::{Tx, Value, new_id};

/// The slow hashes of an entry, computed before any lock is taken.
pub(super) struct SlowHashes {
    /// The hash of the entry.
    typed: String,
    /// The replacement code and its hash, if the entry seems right.
    replacement: Option<(Zeroizing<String>, String)>,
}

impl Core {
    /// Hashes a recovery code with the account's salt, and counts the entry for the client's address. Returns `None` if the
    /// challenge is not the caller's, has ended or is paused, so that no work is wasted.
    pub(super) async fn slow_hashes(
        &self, challenge: Uuid, who: &Requester, code: &SecretText,
    ) -> Result<Option<SlowHashes>, FlowError> {
        let mut tx = self.store.begin().await?;
        let Some(challenge) = tx.get::<Challenge>(challenge).await? else { return Ok(None) };
        let Some(account) = tx.get::<Account>(challenge.account).await? else { return Ok(None) };
        who.must_own(self, &account, &challenge)?;
        let now = tx.now().await?;
        if challenge.may_enter(&account, now).is_err() {
            return Ok(None);
        }
        let rows = tx.select::<RecoveryCode>("where account = $1", &[Value::Uuid(account.id)]).await?;
        let Some(salt) = rows.first().map(|row| row.salt.clone()) else { return Ok(None) };
        self.count_against_client_limit(&mut tx, &challenge, now).await?;
        tx.commit().await?;
        let typed = self.slow_hash(code.expose(), &salt).await?;
        let fits = rows.iter().any(|row| row.used_at.is_none() && same(&row.hash, &typed));
        let mut replacement = None;
        if fits {
            let code = recovery::random();
            let hash = self.slow_hash(&recovery::canonical(&code).unwrap_or_default(), &salt).await?;
            replacement = Some((code, hash));
        }
        Ok(Some(SlowHashes { typed, replacement }))
    }

    /// Computes the keyed hash of a code's slow hash. At most one per core runs at a time.
    pub(super) async fn slow_hash(&self, canonical: &str, salt: &str) -> Result<String, FlowError> {
        let gone = |_| FlowError::Internal("the hash could not be computed");
        let _permit = self.slow_hashes.acquire().await.map_err(gone)?;
        let (canonical, salt) = (Zeroizing::new(canonical.to_owned()), salt.to_owned());
        let slow = tokio::task::spawn_blocking(move || recovery::slow_hash(&canonical, &salt)).await;
        let slow = slow.map_err(|_| FlowError::Internal("the hash could not be computed"))?;
        Ok(self.keys.hash(Hashed::Recovery, &[&*slow]))
    }

    pub(super) async fn find_recovery(
        &self, tx: &mut Tx, locked: &LockedRows, slow: Option<&SlowHashes>,
    ) -> Result<Option<Match>, FlowError> {
        let (Some(slow), Some(set)) =
            (slow, locked.methods.iter().find(|m| m.kind == Kind::Recovery && m.is_active()))
        else {
            return Ok(None);
        };
        let rows = tx
            .select::<RecoveryCode>(
                "where account = $1 and used_at is null",
                &[Value::Uuid(locked.account.id)],
            )
            .await?;
        let Some(mut row) = rows.into_iter().find(|r| same(&r.hash, &slow.typed)) else { return Ok(None) };
        row.used_at = Some(locked.now);
        tx.update(&row).await?;
        Ok(Some(Match::of(set.id, Proof::Recovery)))
    }

    /// Replaces a used recovery code by a new one, which is shown once.
    pub(super) async fn replace_recovery_code(
        &self, tx: &mut Tx, locked: &LockedRows, slow: Option<SlowHashes>,
    ) -> Result<Zeroizing<String>, FlowError> {
        let (code, hash) = slow
            .and_then(|s| s.replacement)
            .ok_or(FlowError::Internal("the replacement of a recovery code is missing"))?;
        let account = Value::Uuid(locked.account.id);
        let used = tx
            .find::<RecoveryCode>(
                "where account = $1 and used_at is not null order by used_at desc limit 1",
                &[account],
            )
            .await?
            .ok_or(FlowError::Internal("the replacement of a recovery code is missing"))?;
        tx.delete::<RecoveryCode>(used.id).await?;
        tx.insert(&RecoveryCode { id: new_id(), hash, used_at: None, ..used }).await?;
        Ok(code)
    }
}
