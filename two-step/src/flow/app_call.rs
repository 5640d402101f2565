//! A signed request of an app: whose key made it, and whether it came now and once.

use std::net::IpAddr;
use std::num::NonZero;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Core, FlowError};
use crate::app_key::AppKey;
use crate::clock::{after, between};
use crate::seal::Hashed;
use crate::signature::{BadSignature, Claim, Request};
use crate::store::{Tx, Value};

/// The clocks of app and database may differ by this much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// Longer than any call with this nonce can be valid.
const NONCE_LIFE: Duration = Duration::from_secs(180);
/// A higher rate than this means a loop, or an attack with the attacker's own key.
const CALLS_PER_SECOND: NonZero<u32> = NonZero::new(2).unwrap();
const CALL_BURST: NonZero<u32> = NonZero::new(120).unwrap();
/// The least time between two writes of "last seen".
const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(60);

/// A request whose signature was checked.
#[derive(Debug, Clone)]
pub struct AppCall {
    /// The app.
    pub key: AppKey,
    /// The keyed hash of its address.
    pub client_hash: Option<String>,
}

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppRefused {
    /// It is not signed as it must be.
    Signature(BadSignature),
    /// No app of ours has this key: it was removed, or never finished.
    UnknownKey,
    /// Its clock is off by more than a minute.
    Clock {
        /// The database's time.
        now: Timestamp,
    },
    /// A request with this nonce was here before.
    Replayed,
    /// The app calls more often than it may.
    TooOften,
}

/// How often each app calls, by its method.
pub(super) type AppCalls = DefaultKeyedRateLimiter<Uuid>;

/// An empty count of calls.
pub(super) fn app_calls() -> AppCalls {
    RateLimiter::keyed(Quota::per_second(CALLS_PER_SECOND).allow_burst(CALL_BURST))
}

impl Core {
    /// Checks a request of an app that is registered.
    pub async fn app_call(
        &self, request: &Request<'_>, client: Option<IpAddr>,
    ) -> Result<Result<AppCall, AppRefused>, FlowError> {
        let claim = match Claim::read(request) {
            Ok(claim) => claim,
            Err(bad) => return Ok(Err(AppRefused::Signature(bad))),
        };
        let mut tx = self.store.begin().await?;
        let found = tx.find::<AppKey>("where thumbprint = $1", &[Value::Text(claim.key.clone())]).await?;
        let Some((mut key, public)) = found.and_then(|key| key.public_key().map(|public| (key, public)))
        else {
            return Ok(Err(AppRefused::UnknownKey));
        };
        if let Err(bad) = claim.verify(&public) {
            return Ok(Err(AppRefused::Signature(bad)));
        }
        // Counted after the signature check, so that nobody uses up another app's calls.
        if self.app_calls.check_key(&key.method).is_err() {
            return Ok(Err(AppRefused::TooOften));
        }
        if let Err(refused) = self.check_freshness(&mut tx, &claim).await? {
            return Ok(Err(refused));
        }
        let now = tx.now().await?;
        if key.seen_at.is_none_or(|at| after(at, LAST_SEEN_INTERVAL) <= now) {
            key.seen_at = Some(now);
            let sql = "update app_key set seen_at = $2 where method = $1";
            tx.execute(sql, &[Value::Uuid(key.method), Value::Int(now.as_millisecond())]).await?;
        }
        tx.commit().await?;
        Ok(Ok(AppCall { key, client_hash: client.map(|client| self.client_hash(client)) }))
    }

    /// Forgets apps that have not called lately.
    pub fn forget_app_calls(&self) {
        self.app_calls.retain_recent();
        self.app_calls.shrink_to_fit();
    }

    /// Whether a request was signed now, and is here for the first time.
    pub(super) async fn check_freshness(&self, tx: &mut Tx, claim: &Claim) -> Result<Result<(), AppRefused>, FlowError> {
        let now = tx.now().await?;
        let at = Timestamp::from_second(claim.created).unwrap_or(Timestamp::MIN);
        if between(at, now).max(between(now, at)) > CLOCK_TOLERANCE {
            return Ok(Err(AppRefused::Clock { now }));
        }
        let hash = self.keys.hash(Hashed::AppNonce, &[claim.key.as_bytes(), claim.nonce.as_bytes()]);
        let sql =
            "insert into app_nonce (key_hash, expires_at) values ($1, $2) on conflict (key_hash) do nothing";
        let until = after(now, NONCE_LIFE).as_millisecond();
        let is_new = tx.execute(sql, &[Value::Text(hash), Value::Int(until)]).await? > 0;
        Ok(if is_new { Ok(()) } else { Err(AppRefused::Replayed) })
    }
}
