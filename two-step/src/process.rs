//! Builds the running process from a configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::flow::Core;
use crate::mail::Mailer;
use crate::otpost_client::{self, OtpostClient};
use crate::pages::Pages;
use crate::push::Vapid;
use crate::relay::{ConcurrencyLimit, Relay};
use crate::seal::Keys;
use crate::store::Store;
use crate::{api, ops, otpost_events, sweep};

/// Interval of the deletion of expired rows.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum time for requests in progress at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A running process.
pub struct App {
    /// Address of the pages.
    pub pages: SocketAddr,
    /// Address of the API.
    pub api: SocketAddr,
    /// Address of the ops listener.
    pub ops: SocketAddr,
    /// The flows.
    pub core: Arc<Core>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The listeners of a process. They are bound before anything else starts.
pub struct Listeners {
    /// The listener of the pages.
    pub pages: TcpListener,
    /// The listener of the API.
    pub api: TcpListener,
    /// The listener of health and metrics.
    pub ops: TcpListener,
}

impl Listeners {
    /// Binds the listeners of a configuration.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            pages: bind("pages", config.pages.listen).await?,
            api: bind("api", config.api.listen).await?,
            ops: bind("ops", config.ops.listen).await?,
        })
    }
}

async fn bind(section: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| {
        format!("{section}.listen: cannot bind {address}; stop the process that uses it, or choose another address")
    })
}

/// Starts a process. `framed_by` is an origin that may frame the pages. Only the demo sets it.
pub async fn start(
    config: Config, keys: Keys, listeners: Listeners, migrate: bool, framed_by: Option<String>,
) -> anyhow::Result<App> {
    let otpost = otpost_client::open(&config)?;
    let mailer = Mailer::open(&config.smtp)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let store = Store::open(config.database.url(), config.database.pool)?;
    if migrate {
        store.migrate().await?;
    }
    store.check_schema().await?;
    let core = Arc::new(Core::new(store, keys, Arc::new(config)));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let pages = match framed_by {
        Some(origin) => Pages::framed_by(Arc::clone(&core), origin),
        None => Pages::new(Arc::clone(&core)),
    };
    let addresses = (listeners.pages.local_addr()?, listeners.api.local_addr()?, listeners.ops.local_addr()?);
    serve(&tasks, &stop, listeners.pages, pages.router());
    serve(&tasks, &stop, listeners.api, api::router(Arc::clone(&core)));
    serve(&tasks, &stop, listeners.ops, ops::router(Arc::clone(&core)));
    // No redirects: a redirecting webhook would send its body to another server.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    spawn_workers(&tasks, &stop, &core, otpost, mailer, client);
    Ok(App { pages: addresses.0, api: addresses.1, ops: addresses.2, core, tasks, stop })
}

fn spawn_workers(
    tasks: &TaskTracker, stop: &CancellationToken, core: &Arc<Core>, otpost: Arc<dyn OtpostClient>,
    mailer: Option<Mailer>, client: reqwest::Client,
) {
    let relay = Relay {
        core: Arc::clone(core),
        otpost: Arc::clone(&otpost),
        mailer,
        client,
        vapid: Vapid::of(&core.keys),
        webhooks: ConcurrencyLimit::default(),
    };
    let (relay_stop, events_stop, sweep_stop) = (stop.clone(), stop.clone(), stop.clone());
    let (watching, watch_stop) = (Arc::clone(core), stop.clone());
    tasks.spawn(async move { watching.watch_apps(watch_stop).await });
    tasks.spawn(async move { relay.run(relay_stop).await });
    tasks.spawn(otpost_events::run(Arc::clone(core), otpost, events_stop));
    let core = Arc::clone(core);
    tasks.spawn(async move {
        loop {
            if let Err(e) = sweep::sweep(&core).await {
                tracing::warn!(reason = %e, "expired rows were not deleted; the next run tries again");
            }
            tokio::select! {
                () = sweep_stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
        }
    });
}

fn serve(tasks: &TaskTracker, stop: &CancellationToken, listener: TcpListener, router: Router) {
    let stop = stop.clone();
    tasks.spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let served =
            axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(e) = served.await {
            tracing::error!(reason = %e.kind(), "a listener ended");
        }
    });
}

impl App {
    /// Stops accepting requests, and waits for those in progress.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.tasks.wait()).await;
    }
}
