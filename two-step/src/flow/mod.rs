//! The actions of users and back ends. Each is one transaction: it locks and loads the rows, calls the pure rules,
//! writes the result, and commits. Locks are taken in the order account, challenge, session, method, counters.

mod accepted_entry;
mod app_answer;
mod app_approved;
mod app_changes;
mod app_poll;
mod app_send;
mod app_set_up;
mod author;
mod challenge_snapshot;
mod claim;
mod counting;
mod create;
mod dispatch_events;
mod email;
mod enrol;
mod enter;
mod enter_code;
mod enter_recovery;
mod event_order;
mod events;
mod feedback;
mod on_off;
mod recovery_set;
mod redeem;
mod removal;
mod send;
mod session;
mod settings;
mod stop;
mod support;
mod support_code;
mod support_due;
mod users;
mod verified_request;

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

pub use app_answer::Answered;
pub use app_changes::{AppAccount, KeyRefused};
pub use app_poll::OpenAppRequest;
pub use app_set_up::{NewApp, NewAppKey, RegisterRefused, Registered};
pub use author::Author;
pub use challenge_snapshot::{ChallengeSnapshot, MailState};
pub use claim::{Claimed, DeviceCookie, Visit};
pub use create::{Created, NewChallenge};
pub use dispatch_events::DispatchEvent;
pub use enrol::{AddRefused, NewAuthenticator};
pub use enter::{Entered, Entry, Requester};
pub use on_off::TurnOnRefused;
pub use redeem::Redeemed;
pub use session::{NewSession, Opened, SessionClaimed, Visitor};
pub use settings::{Change, ChangeRefused, MAX_LABEL_CHARS};
pub use stop::{NoticeDetails, StopOutcome};
pub use support::{NewCase, SupportRefused};
pub use verified_request::{AppRefused, VerifiedRequest};

use app_poll::AppWaits;
use verified_request::{AppRequestRates, app_request_rates};

use crate::account::Account;
use crate::challenge::Challenge;
use crate::config::{Config, Live, ProductConfig};
use crate::method::{Method, signs_in_without};
use crate::metrics::Metrics;
use crate::seal::{Hashed, Keys, SealError};
use crate::store::{Store, StoreError, Tx};

/// Why a flow failed.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The database failed. Nothing was committed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed value cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The challenge, session, method or user does not exist.
    #[error("the {0} does not exist")]
    Missing(&'static str),
    /// Two-step verification is on, and there was no recent proof.
    #[error("a fresh proof is required")]
    ProofMissing,
    /// A bug or a fault of the service. Nothing was committed.
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// A value of the request is invalid.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// A limit is reached.
    #[error("a rate limit is reached")]
    Limited {
        /// When the next event is allowed.
        until: Timestamp,
        /// The database's time.
        now: Timestamp,
    },
}

impl FlowError {
    /// Creates an error for an invalid field.
    pub fn invalid(field: &'static str, rule: &'static str) -> Self {
        Self::Invalid { field, rule }
    }
}

/// The state that all flows share.
pub struct Core {
    /// The database.
    pub store: Store,
    /// The keys.
    pub keys: Keys,
    config: Live,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Wakes the relay after a commit that wrote to the outbox.
    pub outbox_filled: Arc<Notify>,
    /// The apps that wait for requests.
    app_waits: AppWaits,
    /// The rate limiter of apps.
    app_request_rates: AppRequestRates,
    /// Limits concurrent slow hashes. Each uses a core and 19 MiB.
    slow_hashes: Semaphore,
}

impl Core {
    /// Creates the flows.
    pub fn new(store: Store, keys: Keys, config: Arc<Config>) -> Self {
        Self {
            store,
            keys,
            config: Live::new(config),
            metrics: Arc::default(),
            outbox_filled: Arc::default(),
            app_waits: AppWaits::default(),
            app_request_rates: app_request_rates(),
            slow_hashes: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
        }
    }

    /// Returns the current configuration.
    pub fn config(&self) -> Arc<Config> {
        self.config.now()
    }

    /// Replaces the configuration. Resources that were opened at the start do not change: listeners, database, keys, the
    /// connections to otpost and to the mail server.
    pub fn replace_config(&self, config: Config) {
        self.config.replace(config);
    }

    /// Returns a product's section.
    pub fn product(&self, name: &str) -> Result<ProductConfig, FlowError> {
        self.config()
            .product(name)
            .cloned()
            .ok_or(FlowError::Internal("the product has no section in the configuration"))
    }

    /// Returns the keyed hash of a browser's secret.
    pub fn browser_hash(&self, secret: &str) -> String {
        self.keys.hash_text(Hashed::Browser, secret)
    }

    /// Returns the CSRF value of forms for one browser and one challenge or session.
    pub fn csrf(&self, browser_secret: &str, subject: Uuid) -> String {
        self.keys.hash(Hashed::Csrf, &[browser_secret.as_bytes(), subject.as_bytes()])
    }

    /// Returns the keyed hash of a client's address. For IPv6 it covers the /64.
    pub fn client_hash(&self, client: IpAddr) -> String {
        let bytes = match client.to_canonical() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
        };
        self.keys.hash(Hashed::Client, &[&bytes])
    }
}

/// A locked account and its methods.
pub(crate) struct LockedRows {
    pub(crate) account: Account,
    pub(crate) methods: Vec<Method>,
    pub(crate) now: Timestamp,
}

impl LockedRows {
    pub(crate) fn method(&self, id: Uuid) -> Option<&Method> {
        self.methods.iter().find(|m| m.id == id)
    }

    /// Returns whether the user could still sign in without this method.
    pub(crate) fn signs_in_without(&self, id: Uuid, email_second_step: bool) -> bool {
        signs_in_without(&self.methods, id, email_second_step)
    }
}

/// Locks an account, then its methods, and reads the time.
pub(crate) async fn lock_account(tx: &mut Tx, id: Uuid) -> Result<LockedRows, FlowError> {
    let account = tx.lock::<Account>(id).await?.ok_or(FlowError::Missing("account"))?;
    let methods = tx
        .select_locked::<Method>(
            "where account = $1 and state <> 'removed' order by id",
            &[crate::store::Value::Uuid(id)],
        )
        .await?;
    let now = tx.now().await?;
    Ok(LockedRows { account, methods, now })
}

/// Locks an account and one of its challenges, and expires the challenge if its time has passed.
pub(crate) async fn lock_challenge(tx: &mut Tx, id: Uuid) -> Result<(LockedRows, Challenge), FlowError> {
    let missing = || FlowError::Missing("challenge");
    let seen = tx.get::<Challenge>(id).await?.ok_or_else(missing)?;
    let account = tx.lock::<Account>(seen.account).await?.ok_or_else(missing)?;
    let mut challenge = tx.lock::<Challenge>(id).await?.ok_or_else(missing)?;
    let methods = tx
        .select_locked::<Method>(
            "where account = $1 and state <> 'removed' order by id",
            &[crate::store::Value::Uuid(account.id)],
        )
        .await?;
    let now = tx.now().await?;
    if challenge.pass_time(now) {
        tx.update(&challenge).await?;
    }
    Ok((LockedRows { account, methods, now }, challenge))
}
