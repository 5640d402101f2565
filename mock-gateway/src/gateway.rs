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

use crate::choice::Choice;
use crate::config::Config;
use crate::courier::Courier;
use crate::host::Hosts;
use crate::line::{Line, LineListener};
use crate::record::Record;
use crate::switchboard::Switchboard;
use crate::{api, infobip, page, twilio};

/// No request of a carrier's API, nor of the gateway's own, is nearly as long.
const BODY_AT_MOST: usize = 64 * 1024;

/// How long a stop waits for requests that are being answered.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running gateway. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Gateway {
    addr: SocketAddr,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Gateway {
    /// Serve on this listener until [`shutdown`](Self::shutdown). Must be called within a Tokio runtime.
    ///
    /// Fails if the listener can be reached from other machines and [`Config::allow_remote`] does not say so,
    /// or if the record file cannot be opened.
    pub fn start(listener: TcpListener, config: Config) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        if !addr.ip().is_loopback() && !config.allow_remote {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{addr} can be reached from other machines, and whoever reaches it can read every code; \
                     listen on 127.0.0.1, or allow it on purpose (allow_remote, --allow-remote)"
                ),
            ));
        }
        // An error means that the program installed a provider itself, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

        let record = Record::new(config.record_cap, config.record_file.as_deref())?;
        let hosts = Arc::new(Hosts::new(addr, config.allow_remote, &config.allowed_hosts));
        let (stopping, stopped) = watch::channel(false);
        let board = Arc::new(Switchboard {
            courier: Courier::new(config.callbacks_at_once),
            choice: Choice::default(),
            stopping: stopped.clone(),
            record,
            config,
        });
        let app = routes(board, hosts).into_make_service_with_connect_info::<Line>();
        let serving = tokio::spawn(async move {
            let until = async move {
                let mut stopped = stopped;
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            // It ends when told to and reports no error before that.
            let _ = axum::serve(LineListener(listener), app).with_graceful_shutdown(until).await;
        });
        Ok(Self { addr, stopping, serving })
    }

    /// The address it listens on, with the port that the system chose if it was asked to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stop: no new connections, no further callbacks. Requests being answered have five seconds to end.
    pub async fn shutdown(mut self) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(GOODBYE, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

/// All routes. A further carrier is one more `merge`.
fn routes(board: Arc<Switchboard>, hosts: Arc<Hosts>) -> Router {
    let for_this_machine = Router::new().merge(page::router()).merge(api::router());
    Router::new()
        .merge(for_this_machine.layer(axum::middleware::from_fn_with_state(hosts, crate::host::check)))
        .merge(twilio::router())
        .merge(infobip::router())
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::max(BODY_AT_MOST))
        .with_state(board)
}
