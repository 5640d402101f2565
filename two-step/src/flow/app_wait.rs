//! What an app is asked, and how it waits for that. All waiting apps of a process share one look into the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::app_call::AppCall;
use super::{Core, FlowError};
use crate::account::Account;
use crate::app_key::AppKey;
use crate::app_request::AppRequest;
use crate::challenge::Challenge;
use crate::store::Value;

/// Another process may have made or ended a request: the table is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time between two looks, however many requests are made and ended.
const LOOK_GAP: Duration = Duration::from_millis(50);
/// Accounts in one statement.
const GROUP: usize = 500;

/// A request as the app shows it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request.
    pub request: AppRequest,
    /// What it proves.
    pub challenge: Challenge,
    /// The product.
    pub product: String,
    /// Whether the browser is on another network than the app.
    pub other_network: bool,
}

/// The apps that wait for a change of what they are asked.
#[derive(Debug, Default)]
pub(crate) struct AppWaits {
    /// Wakes the look after a commit that made or ended a request.
    pub(super) changed: Arc<Notify>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    count: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    account: Uuid,
    method: Uuid,
    /// The open request that the app knows of.
    seen: Option<Uuid>,
    wake: oneshot::Sender<()>,
}

impl AppWaits {
    /// Apps that wait now: account, method, and the request that each knows of, by the number of its wait.
    fn now(&self) -> Vec<(u64, Uuid, Uuid, Option<Uuid>)> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().map(|(n, w)| (*n, w.account, w.method, w.seen)).collect()
    }

    fn wake(&self, number: u64) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        // The app may have gone meanwhile.
        let _ = waiting.map(|waiting| waiting.wake.send(()));
    }
}

/// The wait of one app; it ends when this is dropped.
struct Place<'w> {
    waits: &'w AppWaits,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waits.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Core {
    /// What an app is asked now, and the database's time.
    pub async fn app_requests(&self, call: &AppCall) -> Result<(Vec<Asked>, Timestamp), FlowError> {
        let mut tx = self.store.begin().await?;
        let now = tx.now().await?;
        // By account: it has an index of the open requests, and one open request at most.
        let open = "where account = $1 and state = 'open' order by id";
        let mut asked = vec![];
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
            asked.push(Asked { request, challenge, product, other_network });
        }
        Ok((asked, now))
    }

    /// Returns when the app is asked something else than `seen`. Works while [`Core::watch_apps`] runs.
    pub async fn app_changed(&self, key: &AppKey, seen: Option<Uuid>) {
        let (wake, woken) = oneshot::channel();
        let number = self.app_waits.count.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { account: key.account, method: key.method, seen, wake };
        self.app_waits.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, waiting);
        let _place = Place { waits: &self.app_waits, number };
        // An error cannot come: the sender goes with the place, or with a wake.
        let _ = woken.await;
    }

    /// Looks for changes, for all apps that wait, until `stop`.
    pub async fn watch_apps(&self, stop: CancellationToken) {
        loop {
            let changed = self.app_waits.changed.notified();
            tokio::pin!(changed);
            // A commit during the look leads to another look.
            changed.as_mut().enable();
            if let Err(e) = self.wake_apps().await {
                tracing::debug!(reason = %e, "apps that wait learn of changes later");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::time::sleep(LOOK_GAP).await;
        }
    }

    async fn wake_apps(&self) -> Result<(), FlowError> {
        // Who waits is read first: the look is newer than what each of them has seen.
        let waiting = self.app_waits.now();
        if waiting.is_empty() {
            return Ok(());
        }
        let mut accounts: Vec<Uuid> = waiting.iter().map(|(_, account, ..)| *account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut open = HashMap::new();
        for group in accounts.chunks(GROUP) {
            open.extend(self.open_requests(group).await?);
        }
        for (number, _, method, seen) in waiting {
            if open.get(&method).copied() != seen {
                self.app_waits.wake(number);
            }
        }
        Ok(())
    }

    /// The open requests of some accounts, by method.
    async fn open_requests(&self, accounts: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, FlowError> {
        let mut tx = self.store.begin().await?;
        let now = tx.now().await?;
        let places: Vec<String> = (2..accounts.len() + 2).map(|n| format!("${n}")).collect();
        let sql = format!(
            "select r.method, r.id from app_request r join challenge c on c.id = r.challenge \
             where r.state = 'open' and c.state in ('created', 'open') and c.expires_at > $1 and r.account in ({})",
            places.join(", ")
        );
        let ids = accounts.iter().map(|id| Value::Uuid(*id));
        let values: Vec<Value> = std::iter::once(Value::Int(now.as_millisecond())).chain(ids).collect();
        let rows = tx.query(&sql, &values).await?;
        Ok(rows.iter().filter_map(|row| Some((row.uuid(0)?, row.uuid(1)?))).collect())
    }
}

/// Whether the app speaks from another network than the browser's, as far as both are known.
pub(super) fn is_other_network(call: &AppCall, challenge: &Challenge) -> bool {
    match (&call.client_hash, &challenge.client_hash) {
        (Some(app), Some(browser)) => app != browser,
        _ => false,
    }
}
