//! Starts a gateway on a listener, and stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::callbacks::CallbackSender;
use crate::choice::Choice;
use crate::config::Config;
use crate::connection::{ConnectionHandle, CuttableListener};
use crate::host::Hosts;
use crate::record::Record;
use crate::shared::Shared;
use crate::{api, infobip, page, twilio};

/// Maximum size of a request body. Real requests are much smaller.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Maximum time that a stop waits for open requests.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A running gateway. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Gateway {
    addr: SocketAddr,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Gateway {
    /// Serves on this listener until [`shutdown`](Self::shutdown). Must be called within a Tokio runtime.
    ///
    /// Fails if other machines can reach the listener and [`Config::allow_remote`] is not set, or if the
    /// record file cannot be opened.
    pub fn start(listener: TcpListener, config: Config) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        if !addr.ip().is_loopback() && !config.allow_remote {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{addr} can be reached from other machines, and they could read every code; \
                     listen on 127.0.0.1, or set allow_remote (--allow-remote)"
                ),
            ));
        }
        // An error means that the program has installed a provider itself, which also works.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

        let record = Record::new(config.record_cap, config.record_file.as_deref())?;
        let hosts = Arc::new(Hosts::new(addr, config.allow_remote, &config.allowed_hosts));
        let (stopping, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            callbacks: CallbackSender::new(config.callbacks_at_once),
            choice: Choice::default(),
            stopping: stopped.clone(),
            record,
            config,
        });
        let app = routes(shared, hosts).into_make_service_with_connect_info::<ConnectionHandle>();
        let serving = tokio::spawn(async move {
            let until = async move {
                let mut stopped = stopped;
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            // It ends at shutdown and reports no error before that.
            let _ = axum::serve(CuttableListener(listener), app).with_graceful_shutdown(until).await;
        });
        Ok(Self { addr, stopping, serving })
    }

    /// Returns the address of the listener, with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops: no new connections, no further callbacks. Open requests have five seconds to end.
    pub async fn shutdown(mut self) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

/// All routes. A further carrier needs one more `merge`.
fn routes(shared: Arc<Shared>, hosts: Arc<Hosts>) -> Router {
    let for_this_machine = Router::new().merge(page::router()).merge(api::router());
    Router::new()
        .merge(for_this_machine.layer(axum::middleware::from_fn_with_state(hosts, crate::host::check)))
        .merge(twilio::router())
        .merge(infobip::router())
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}
