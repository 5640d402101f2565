//! Authenticates a signed request of an app: the key, the time, and that it is not replayed.

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

/// Allowed difference between the clocks of app and database.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// How long a nonce is stored. Longer than a request with it can be valid.
const NONCE_LIFE: Duration = Duration::from_secs(180);
/// A higher rate indicates a loop, or an attack with the attacker's own key.
const CALLS_PER_SECOND: NonZero<u32> = NonZero::new(2).unwrap();
const CALL_BURST: NonZero<u32> = NonZero::new(120).unwrap();
/// Minimum time between two updates of "last seen".
const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(60);

/// An authenticated request.
#[derive(Debug, Clone)]
pub struct VerifiedRequest {
    /// The app.
    pub key: AppKey,
    /// The keyed hash of the client's address.
    pub client_hash: Option<String>,
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppRefused {
    /// The signature is missing or invalid.
    Signature(BadSignature),
    /// The key is unknown: the app was removed, or never registered.
    UnknownKey,
    /// The app's clock is off by more than a minute.
    Clock {
        /// The database's time.
        now: Timestamp,
    },
    /// The nonce was used before.
    Replayed,
    /// The app exceeds its rate limit.
    TooOften,
}

/// The rate limiter of apps, by method.
pub(super) type AppRequestRates = DefaultKeyedRateLimiter<Uuid>;

/// Creates a rate limiter without calls.
pub(super) fn app_request_rates() -> AppRequestRates {
    RateLimiter::keyed(Quota::per_second(CALLS_PER_SECOND).allow_burst(CALL_BURST))
}

impl Core {
    /// Authenticates a request of a registered app.
    pub async fn verified_request(
        &self, request: &Request<'_>, client: Option<IpAddr>,
    ) -> Result<Result<VerifiedRequest, AppRefused>, FlowError> {
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
        // Counted after the signature check, so that nobody else can use up an app's rate limit.
        if self.app_request_rates.check_key(&key.method).is_err() {
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
        Ok(Ok(VerifiedRequest { key, client_hash: client.map(|client| self.client_hash(client)) }))
    }

    /// Removes apps without recent calls from the rate limiter.
    pub fn remove_idle_apps(&self) {
        self.app_request_rates.retain_recent();
        self.app_request_rates.shrink_to_fit();
    }

    /// Checks that a request was signed now, and stores its nonce. Fails for a replay.
    pub(super) async fn check_freshness(
        &self, tx: &mut Tx, claim: &Claim,
    ) -> Result<Result<(), AppRefused>, FlowError> {
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
