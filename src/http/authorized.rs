//! Authorisation. A handler gets the API only from an argument of type [`Authorized`], which verifies the API key and its
//! scope. A handler of the API that reads or changes anything does not compile without it, or without an
//! [`Operator`](super::operator::Operator).

use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use governor::{DefaultDirectRateLimiter, Quota as RequestRate, RateLimiter};
use moka::sync::Cache;

use super::key::{Bearer, Scope};
use super::problem::{Problem, ProblemKind};
use super::{Api, scope};
use crate::domain::tenant::ALL_TENANTS;
use crate::ledger::{KeyRow, Ledger};
use crate::ops::metrics::Metrics;

/// How long a key is valid without another look-up. A revoked key may work for this long.
const RECHECK_AFTER: Duration = Duration::from_secs(10);
/// How long a key stays known after its last look-up. Looking up a known key is not limited.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Maximum number of cached keys.
const MAX_KEYS: u64 = 10_000;
/// Maximum number of ledger look-ups per second for unknown ids. It limits the load of guessed keys.
const MAX_UNKNOWN_KEYS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// The API, protected: handlers reach it only through [`Authorized`] or [`Operator`](super::operator::Operator).
#[derive(Clone)]
pub(super) struct Protected(Arc<Api>);

impl Protected {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self(api)
    }

    /// Verifies the key of an operator: it has the scope `admin`, and belongs to no tenant.
    pub(super) async fn operator(&self, headers: &HeaderMap) -> Result<(Arc<Api>, KeyRow), Problem> {
        let api = &self.0;
        let key = api.keys.of(headers).await?;
        // A tenant's key is not told to get the scope, which would not help it.
        if key.tenant != ALL_TENANTS {
            return Err(of_a_tenant());
        }
        Ok((Arc::clone(api), with_scope(key, Scope::Admin)?))
    }

    /// The counters, which also count requests without a valid key.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.state.metrics
    }
}

/// A request whose API key is valid, belongs to one tenant, and has the scope `S`.
pub(super) struct Authorized<S> {
    /// The API.
    pub(super) api: Arc<Api>,
    /// The key's row: its tenant and its id.
    pub(super) key: KeyRow,
    scope: PhantomData<S>,
}

impl<S: scope::Required> FromRequestParts<Protected> for Authorized<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, Protected(api): &Protected) -> Result<Self, Problem> {
        let key = api.keys.verify(&parts.headers, S::SCOPE).await?;
        if key.tenant == ALL_TENANTS {
            return Err(no_tenant());
        }
        Ok(Self { api: Arc::clone(api), key, scope: PhantomData })
    }
}

/// Looks API keys up in the ledger, and caches them.
pub(super) struct KeyCache {
    ledger: Ledger,
    cache: Cache<String, (KeyRow, Instant)>,
    unknown: DefaultDirectRateLimiter,
}

impl KeyCache {
    pub(super) fn new(ledger: Ledger) -> Self {
        let cache = Cache::builder().max_capacity(MAX_KEYS).time_to_live(FORGET_AFTER).build();
        Self {
            ledger,
            cache,
            unknown: RateLimiter::direct(RequestRate::per_second(MAX_UNKNOWN_KEYS_PER_SECOND)),
        }
    }

    /// Number of cached keys.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.cache.entry_count()).unwrap_or(usize::MAX)
    }

    /// Verifies the key of a request and its scope.
    async fn verify(&self, headers: &HeaderMap, scope: Scope) -> Result<KeyRow, Problem> {
        with_scope(self.of(headers).await?, scope)
    }

    /// Verifies the key of a request.
    async fn of(&self, headers: &HeaderMap) -> Result<KeyRow, Problem> {
        let given = Bearer::of(headers).ok_or_else(no_key)?;
        let row = self.row(given.id().ok_or_else(unknown_key)?).await?.ok_or_else(unknown_key)?;
        if !given.opens(&row) {
            return Err(unknown_key());
        }
        Ok(row)
    }

    async fn row(&self, id: &str) -> Result<Option<KeyRow>, Problem> {
        let known = self.cache.get(id);
        if known.is_none() && self.unknown.check().is_err() {
            return Err(too_many_unknown_keys());
        }
        if let Some((row, _)) = known.filter(|(_, read_at)| read_at.elapsed() < RECHECK_AFTER) {
            return Ok(Some(row));
        }
        let row = self.ledger.key(id).await?;
        match &row {
            Some(row) => self.cache.insert(id.to_owned(), (row.clone(), Instant::now())),
            None => self.cache.invalidate(id),
        }
        Ok(row)
    }
}

/// The problems that every authorised request may be answered with.
pub(super) fn problems<S: scope::Required>() -> Vec<Problem> {
    vec![
        no_key(),
        unknown_key(),
        lacks(S::SCOPE),
        no_tenant(),
        too_many_unknown_keys(),
        Problem::ledger_away(),
        Problem::time_out(),
    ]
}

/// The problems that every request of an operator may be answered with.
pub(super) fn operator_problems() -> Vec<Problem> {
    vec![
        no_key(),
        unknown_key(),
        lacks(Scope::Admin),
        of_a_tenant(),
        too_many_unknown_keys(),
        Problem::ledger_away(),
        Problem::time_out(),
    ]
}

fn with_scope(key: KeyRow, scope: Scope) -> Result<KeyRow, Problem> {
    if key.scopes.split(' ').any(|s| s == scope.as_str()) { Ok(key) } else { Err(lacks(scope)) }
}

fn no_key() -> Problem {
    let detail = "a bearer key is needed: Authorization: Bearer otp_…; create one with: otpost keys create";
    Problem::new(StatusCode::UNAUTHORIZED, ProblemKind::Unauthorized, detail)
}

fn unknown_key() -> Problem {
    let detail =
        "the key is unknown: it is mistyped, revoked, or stored in another ledger; see: otpost keys list";
    Problem::new(StatusCode::UNAUTHORIZED, ProblemKind::Unauthorized, detail)
}

fn lacks(scope: Scope) -> Problem {
    let detail =
        format!("this key lacks the scope {scope}; create one with: otpost keys create --scope {scope}");
    Problem::new(StatusCode::FORBIDDEN, ProblemKind::Forbidden, detail)
}

fn no_tenant() -> Problem {
    let detail = "this key is for operators and belongs to no tenant; create a tenant's key with: otpost keys create --tenant NAME";
    Problem::new(StatusCode::FORBIDDEN, ProblemKind::Forbidden, detail)
}

fn of_a_tenant() -> Problem {
    let detail = "this key belongs to one tenant, and the request concerns all; create an operator's key with: otpost keys create --all-tenants --scope admin";
    Problem::new(StatusCode::FORBIDDEN, ProblemKind::Forbidden, detail)
}

fn too_many_unknown_keys() -> Problem {
    let detail = "too many requests with unknown keys: try again in 1 s";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, ProblemKind::TooMany, detail).retry_after(1)
}
