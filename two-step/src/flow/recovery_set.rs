//! Sets of recovery codes: created, shown once, saved.

use serde_json::json;
use zeroize::Zeroizing;

use super::author::Author;
use super::counting::{LimitFor, count};
use super::{Core, FlowError, LockedRows};
use crate::method::{Kind, Method, MethodState};
use crate::recovery::{self, RecoveryCode, SET_SIZE};
use crate::store::{Value, new_id};

impl Core {
    /// Creates a set of recovery codes. It becomes valid when the user confirms saving it; over the API at once.
    pub async fn create_recovery_codes(
        &self, by: impl Into<Author>,
    ) -> Result<Vec<Zeroizing<String>>, FlowError> {
        let by = by.into();
        self.count_recovery_set(&by).await?;
        let salt = recovery::random_salt();
        let codes: Vec<Zeroizing<String>> = (0..SET_SIZE).map(|_| recovery::random()).collect();
        let mut hashed = vec![];
        for code in &codes {
            let canonical = recovery::canonical(code).unwrap_or_default();
            hashed.push(self.slow_hash(&canonical, &salt).await?);
        }
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by).await?;
        let account = settings.account.id;
        tx.execute("delete from recovery_code where account = $1", &[Value::Uuid(account)]).await?;
        for (n, hash) in hashed.into_iter().enumerate() {
            tx.insert(&RecoveryCode {
                id: new_id(),
                account,
                n: n as u32 + 1,
                salt: salt.clone(),
                hash,
                used_at: None,
            })
            .await?;
        }
        let known = settings.methods.iter().find(|m| m.kind == Kind::Recovery);
        let mut set =
            known.cloned().unwrap_or_else(|| Method::new(new_id(), account, Kind::Recovery, settings.now));
        set.proved_in = settings.visit();
        match known {
            Some(method) if method.is_active() && settings.account.is_on() => {
                let actor = settings.actor;
                self.event(&mut tx, &settings.account, "recovery.renewed", actor, json!({}), settings.now)
                    .await?;
                self.notify(&mut tx, &settings.account, &settings.methods, "recovery_renewed", settings.now)
                    .await?;
            }
            // For an account that is off, no set is valid before it is saved.
            Some(_) => {
                (set.state, set.created_at, set.verified_at) = (MethodState::Pending, settings.now, None);
            }
            None => tx.insert(&set).await?,
        }
        if settings.session.is_none() && !set.is_active() {
            set.activate(settings.now);
            let locked =
                LockedRows { account: settings.account, methods: vec![set.clone()], now: settings.now };
            self.enrolled(&mut tx, &locked, set.id, settings.actor).await?;
        }
        tx.update(&set).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Counts a set of recovery codes before its slow hashes are computed.
    async fn count_recovery_set(&self, by: &Author) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, by).await?;
        let limit = LimitFor {
            name: "recovery_sets",
            subject: settings.account.id.to_string(),
            rules: &self.config().limits.recovery_sets,
        };
        if let Some(until) = count(&mut tx, &self.keys, &[limit], settings.now).await? {
            return Err(FlowError::Limited { until, now: settings.now });
        }
        Ok(tx.commit().await?)
    }

    /// Activates the recovery codes after the user saved them, unless another visit created newer ones.
    pub async fn recovery_codes_saved(&self, by: impl Into<Author>) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let settings = self.settings(&mut tx, &by.into()).await?;
        let made_here = |m: &&Method| m.kind == Kind::Recovery && m.proved_in == settings.visit();
        if let Some(set) = settings.methods.iter().find(made_here).filter(|m| !m.is_active()) {
            let mut set = set.clone();
            set.activate(settings.now);
            tx.update(&set).await?;
            let locked =
                LockedRows { account: settings.account, methods: settings.methods, now: settings.now };
            self.enrolled(&mut tx, &locked, set.id, settings.actor).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
