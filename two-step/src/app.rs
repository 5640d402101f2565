//! Puts the parts together: from a configuration to a running process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carrier::{self, Carrier};
use crate::config::Config;
use crate::flow::Core;
use crate::mail::Mailer;
use crate::pages::Pages;
use crate::push::Vapid;
use crate::relay::{Crowd, Relay};
use crate::seal::Keys;
use crate::store::Store;
use crate::{api, hear, ops, sweep};

/// Rows that are over are deleted so often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Time for what is under way when the process stops.
const GRACE: Duration = Duration::from_secs(10);

/// A running process.
pub struct App {
    /// Where the pages are.
    pub pages: SocketAddr,
    /// Where the API is.
    pub api: SocketAddr,
    /// Where health is.
    pub ops: SocketAddr,
    /// All flows.
    pub core: Arc<Core>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The listeners of a process, bound before anything else starts.
pub struct Listeners {
    /// The pages'.
    pub pages: TcpListener,
    /// The API's.
    pub api: TcpListener,
    /// Health's.
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
        format!("{section}.listen: {address} cannot be listened on; stop what uses it, or choose another")
    })
}

/// Starts a process. `framed_by` is an origin that may frame the pages: the demo's.
pub async fn start(
    config: Config, keys: Keys, listeners: Listeners, migrate: bool, framed_by: Option<String>,
) -> anyhow::Result<App> {
    let carrier = carrier::open(&config)?;
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
    // A webhook that redirects would hand its body to another server.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    spawn_workers(&tasks, &stop, &core, carrier, mailer, client);
    Ok(App { pages: addresses.0, api: addresses.1, ops: addresses.2, core, tasks, stop })
}

fn spawn_workers(
    tasks: &TaskTracker, stop: &CancellationToken, core: &Arc<Core>, carrier: Arc<dyn Carrier>,
    mailer: Option<Mailer>, client: reqwest::Client,
) {
    let relay = Relay {
        core: Arc::clone(core),
        carrier: Arc::clone(&carrier),
        mailer,
        client,
        vapid: Vapid::of(&core.keys),
        webhooks: Crowd::default(),
    };
    let (relay_stop, hear_stop, sweep_stop) = (stop.clone(), stop.clone(), stop.clone());
    let (watching, watch_stop) = (Arc::clone(core), stop.clone());
    tasks.spawn(async move { watching.watch_apps(watch_stop).await });
    tasks.spawn(async move { relay.run(relay_stop).await });
    tasks.spawn(hear::run(Arc::clone(core), carrier, hear_stop));
    let core = Arc::clone(core);
    tasks.spawn(async move {
        loop {
            if let Err(e) = sweep::sweep(&core).await {
                tracing::warn!(reason = %e, "rows that are over are not deleted yet");
            }
            tokio::select! {
                () = sweep_stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
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
    /// Stops taking requests, and ends what is under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(GRACE, self.tasks.wait()).await;
    }
}
