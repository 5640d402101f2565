//! API keys: `otp_<id>_<secret>`, with a secret of 256 random bits. A key is shown once and stored as a hash.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::{Problem, ProblemKind};
use crate::domain::words::words;
use crate::ledger::{KeyRow, Ledger};

/// How long a key is cached. A revoked key may work for this long.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Maximum number of cached keys.
const MAX_KEYS: usize = 10_000;
/// Maximum number of ledger look-ups per second for ids that are not cached. It limits the load of guessed keys.
const STRANGERS: NonZeroU32 = NonZeroU32::new(50).unwrap();

words! {
    /// A permission of an API key.
    Scope {
        /// Create dispatches.
        Dispatch = "dispatch",
        /// Read timelines and events.
        Read = "read",
        /// Cancel, request the next step, give feedback.
        Act = "act",
        /// Manage the tenant's webhook.
        Admin = "admin",
    }
}

/// A new API key: the text that is shown once, and the row that is stored.
pub struct NewKey {
    /// The whole key: `otp_<id>_<secret>`.
    pub text: String,
    /// The row with the hash of the key.
    pub row: KeyRow,
}

impl NewKey {
    /// Creates a random key for a tenant.
    pub fn make(tenant: &str, scopes: &[Scope]) -> Self {
        let id: String =
            crate::seal::random::<6>().iter().fold(String::new(), |id, b| id + &format!("{b:02x}"));
        let text = format!("otp_{id}_{}", BASE64.encode(crate::seal::random::<32>()));
        Self::with(id, text, tenant, scopes)
    }

    /// Rebuilds a key from its text. `None` when the text does not have the form of a key.
    pub fn of(text: &str, tenant: &str, scopes: &[Scope]) -> Option<Self> {
        let (id, _) = text.strip_prefix("otp_")?.split_once('_')?;
        Some(Self::with(id.to_owned(), text.to_owned(), tenant, scopes))
    }

    fn with(id: String, text: String, tenant: &str, scopes: &[Scope]) -> Self {
        let scopes = scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" ");
        let row = KeyRow {
            id,
            tenant: tenant.to_owned(),
            scopes,
            hash: hash(&text),
            created_at: None,
            revoked_at: None,
        };
        Self { text, row }
    }
}

/// The bearer key of a request, not verified yet.
#[derive(Clone, Copy)]
pub struct Bearer<'a>(&'a str);

impl<'a> Bearer<'a> {
    /// Reads the header `authorization`. `None` without a bearer key.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        let text = headers.get("authorization")?.to_str().ok()?;
        text.strip_prefix("Bearer ").map(|key| Self(key.trim()))
    }

    /// The id part of the key. `None` when the text does not have the form of a key.
    pub fn id(self) -> Option<&'a str> {
        self.0.strip_prefix("otp_")?.split('_').next()
    }

    /// Compares the hash of the key with the row, in constant time.
    pub fn opens(self, row: &KeyRow) -> bool {
        row.hash.as_bytes().ct_eq(hash(self.0).as_bytes()).into()
    }
}

/// Looks API keys up in the ledger and caches them for a short time.
pub(super) struct Keyring {
    ledger: Ledger,
    known: Mutex<HashMap<String, (KeyRow, Instant)>>,
    strangers: DefaultDirectRateLimiter,
}

impl Keyring {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, known: Mutex::default(), strangers: RateLimiter::direct(Quota::per_second(STRANGERS)) }
    }

    /// Verifies the key of a request and its scope.
    pub(super) async fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<KeyRow, Problem> {
        let given = Bearer::of(headers).ok_or_else(denied)?;
        let row = self.row(given.id().ok_or_else(not_known)?).await?.ok_or_else(not_known)?;
        if !given.opens(&row) {
            return Err(not_known());
        }
        if !row.scopes.split(' ').any(|s| s == scope.as_str()) {
            return Err(lacks(scope));
        }
        Ok(row)
    }

    async fn row(&self, id: &str) -> Result<Option<KeyRow>, Problem> {
        let fresh = |at: &Instant| at.elapsed() < REMEMBERED;
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = known().get(id).cloned();
        let seen = remembered.is_some();
        if let Some((row, _)) = remembered.filter(|(_, at)| fresh(at)) {
            return Ok(Some(row));
        }
        if !seen && self.strangers.check().is_err() {
            return Err(too_many_strangers());
        }
        let row = self.ledger.key(id).await?;
        let mut known = known();
        if known.len() >= MAX_KEYS {
            known.retain(|_, (_, at)| fresh(at));
        }
        let there = row.as_ref().filter(|_| known.len() < MAX_KEYS);
        if let Some(row) = there {
            known.insert(id.to_owned(), (row.clone(), Instant::now()));
        } else {
            known.remove(id);
        }
        Ok(row)
    }
}

/// The problems that every authenticated request may be answered with.
pub(super) fn problems(scope: Scope) -> Vec<Problem> {
    vec![
        denied(),
        not_known(),
        lacks(scope),
        too_many_strangers(),
        Problem::ledger_away(),
        Problem::time_out(),
    ]
}

fn denied() -> Problem {
    let detail = "a bearer key is needed: Authorization: Bearer otp_…; make one with: otpost keys create";
    Problem::new(StatusCode::UNAUTHORIZED, ProblemKind::Unauthorized, detail)
}

fn not_known() -> Problem {
    let detail =
        "this key is not known here: it is mistyped, revoked, or of another ledger; see: otpost keys list";
    Problem::new(StatusCode::UNAUTHORIZED, ProblemKind::Unauthorized, detail)
}

fn lacks(scope: Scope) -> Problem {
    let detail =
        format!("this key lacks the scope {scope}; make one with: otpost keys create --scope {scope}");
    Problem::new(StatusCode::FORBIDDEN, ProblemKind::Forbidden, detail)
}

fn too_many_strangers() -> Problem {
    let detail = "too many requests with unknown keys: try again in 1 s";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, ProblemKind::TooMany, detail).retry_after(1)
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().fold(String::with_capacity(64), |hex, b| hex + &format!("{b:02x}"))
}
