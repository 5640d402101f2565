//! Open requests of apps, and long polls for them. All waiting apps of a process share one query.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::verified_request::VerifiedRequest;
use super::{Core, FlowError};
use crate::account::Account;
use crate::app_key::AppKey;
use crate::app_request::AppRequest;
use crate::challenge::Challenge;
use crate::store::{Row, Value};

/// Interval of the query. Another process may have created or ended a request.
const QUERY_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two queries, however many requests change.
const MIN_QUERY_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of accounts in one query.
const ACCOUNTS_PER_QUERY: usize = 500;

/// An open request with the data that the app shows.
#[derive(Debug, Clone)]
pub struct OpenAppRequest {
    /// The request.
    pub request: AppRequest,
    /// The challenge.
    pub challenge: Challenge,
    /// The product.
    pub product: String,
    /// Whether the browser is on another network than the app; `None` if the browser's network is unknown.
    pub other_network: Option<bool>,
}

/// The apps that wait for a change of their requests.
#[derive(Debug, Default)]
pub(crate) struct AppWaits {
    /// Wakes the query loop after a commit that created or ended a request.
    pub(super) changed: Arc<Notify>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    count: AtomicU64,
    /// Set at shutdown. Then no app waits any more.
    closed: AtomicBool,
}

/// The state that a waiting app knows or that a query returned: the thumbprint of its key, and the open request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AppState {
    thumbprint: Option<String>,
    request: Option<Uuid>,
}

#[derive(Debug)]
struct Waiting {
    account: Uuid,
    method: Uuid,
    known: AppState,
    wake: oneshot::Sender<()>,
}

impl AppWaits {
    /// Returns the waiting apps: number of the wait, account, method, and known state.
    fn now(&self) -> Vec<(u64, Uuid, Uuid, AppState)> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().map(|(n, w)| (*n, w.account, w.method, w.known.clone())).collect()
    }

    /// Wakes all waiting apps, and prevents new waits.
    fn close(&self) {
        // Set before the map is cleared, so that every later wait sees it.
        self.closed.store(true, Ordering::SeqCst);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn wake(&self, number: u64) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        // The app may have disconnected.
        let _ = waiting.map(|waiting| waiting.wake.send(()));
    }
}

/// The wait of one app. Dropping it ends the wait.
struct WaitGuard<'w> {
    waits: &'w AppWaits,
    number: u64,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.waits.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Core {
    /// Returns the open requests of an app, and the database's time. Fails if the key was removed or replaced since the
    /// call.
    pub async fn app_requests(
        &self, call: &VerifiedRequest,
    ) -> Result<(Vec<OpenAppRequest>, Timestamp), FlowError> {
        let mut tx = self.store.begin().await?;
        let key = tx.get::<AppKey>(call.key.method).await?;
        if key.is_none_or(|key| key.thumbprint != call.key.thumbprint) {
            return Err(FlowError::Missing("app"));
        }
        let now = tx.now().await?;
        // By account, which has an index of open requests. An account has at most one.
        let open = "where account = $1 and state = 'open' order by id";
        let mut found = vec![];
        let mut requests = tx.select::<AppRequest>(open, &[Value::Uuid(call.key.account)]).await?;
        requests.retain(|request| request.method == call.key.method);
        for request in requests {
            let challenge = tx.get::<Challenge>(request.challenge).await?;
            let Some(challenge) = challenge.filter(|c| c.state.is_live() && now < c.expires_at) else {
                continue;
            };
            let account = tx.get::<Account>(request.account).await?;
            let product = account.ok_or(FlowError::Missing("account"))?.product;
            let other_network = is_other_network(call, &challenge);
            found.push(OpenAppRequest { request, challenge, product, other_network });
        }
        Ok((found, now))
    }

    /// The number of waiting apps in this process.
    pub fn waiting_apps(&self) -> usize {
        self.app_waits.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns whether the process is shutting down.
    pub fn waits_are_closed(&self) -> bool {
        self.app_waits.closed.load(Ordering::SeqCst)
    }

    /// Waits until the app's open request differs from `seen`, its key changes, or the process shuts down.
    /// [`Core::watch_apps`] must run.
    pub async fn wait_for_app_change(&self, key: &AppKey, seen: Option<Uuid>) {
        let (wake, woken) = oneshot::channel();
        let number = self.app_waits.count.fetch_add(1, Ordering::Relaxed);
        let known = AppState { thumbprint: key.thumbprint.clone(), request: seen };
        let waiting = Waiting { account: key.account, method: key.method, known, wake };
        self.app_waits.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, waiting);
        let _guard = WaitGuard { waits: &self.app_waits, number };
        if self.waits_are_closed() {
            return;
        }
        // An error also means a wake-up: the map was cleared.
        let _ = woken.await;
    }

    /// Queries for changes for all waiting apps, until `stop` is cancelled.
    pub async fn watch_apps(&self, stop: CancellationToken) {
        loop {
            let changed = self.app_waits.changed.notified();
            tokio::pin!(changed);
            // Registered before the query, so that a commit during the query causes another one.
            changed.as_mut().enable();
            if let Err(e) = self.wake_changed_apps().await {
                tracing::debug!(reason = %e, "cannot query app requests: waiting apps are notified later");
            }
            tokio::select! {
                () = stop.cancelled() => return self.app_waits.close(),
                () = changed => {}
                () = tokio::time::sleep(QUERY_INTERVAL) => {}
            }
            tokio::time::sleep(MIN_QUERY_INTERVAL).await;
        }
    }

    async fn wake_changed_apps(&self) -> Result<(), FlowError> {
        // The waiting apps are read first, so the query is newer than their known states.
        let waiting = self.app_waits.now();
        if waiting.is_empty() {
            return Ok(());
        }
        let mut accounts: Vec<Uuid> = waiting.iter().map(|(_, account, ..)| *account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut found = HashMap::new();
        for group in accounts.chunks(ACCOUNTS_PER_QUERY) {
            found.extend(self.query_apps(group).await?);
        }
        for (number, _, method, known) in waiting {
            if found.get(&method) != Some(&known) {
                self.app_waits.wake(number);
            }
        }
        Ok(())
    }

    /// Returns the state of the apps of these accounts, by method.
    async fn query_apps(&self, accounts: &[Uuid]) -> Result<Vec<(Uuid, AppState)>, FlowError> {
        let mut tx = self.store.begin().await?;
        let now = tx.now().await?;
        let places: Vec<String> = (2..accounts.len() + 2).map(|n| format!("${n}")).collect();
        let sql = format!(
            "select k.method, k.thumbprint, c.request from app_key k left join \
             (select r.account, r.method, r.id as request from app_request r join challenge c on c.id = r.challenge \
              where r.state = 'open' and c.state in ('created', 'open') and c.expires_at > $1) c \
             on c.account = k.account and c.method = k.method where k.account in ({})",
            places.join(", ")
        );
        let ids = accounts.iter().map(|id| Value::Uuid(*id));
        let values: Vec<Value> = std::iter::once(Value::Int(now.as_millisecond())).chain(ids).collect();
        let rows = tx.query(&sql, &values).await?;
        let known = |row: &Row| {
            let thumbprint = Some(row.text(1)).filter(|text| !text.is_empty()).map(str::to_owned);
            Some((row.uuid(0)?, AppState { thumbprint, request: row.uuid(2) }))
        };
        Ok(rows.iter().filter_map(known).collect())
    }
}

/// Returns whether the app's network differs from the browser's, if both are known.
pub(super) fn is_other_network(call: &VerifiedRequest, challenge: &Challenge) -> Option<bool> {
    Some(call.client_hash.as_ref()? != challenge.client_hash.as_ref()?)
}
