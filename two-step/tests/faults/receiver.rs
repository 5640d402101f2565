//! The product's webhook receiver. It stores what it receives.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A receiver on loopback.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    kept: Arc<Kept>,
    serving: AbortHandle,
}

#[derive(Default)]
struct Kept {
    bodies: Mutex<Vec<String>>,
    hangs: AtomicBool,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, kept) = (listener.local_addr().unwrap(), Arc::<Kept>::default());
        let router = Router::new().route("/", post(take)).with_state(Arc::clone(&kept));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, kept, serving: serving.abort_handle() }
    }

    /// Sets whether it accepts requests without answering.
    pub(crate) fn hang(&self, on: bool) {
        self.kept.hangs.store(on, Ordering::Relaxed);
    }

    /// Returns the received bodies, oldest first.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.kept.bodies.lock().unwrap().clone()
    }
}

async fn take(State(kept): State<Arc<Kept>>, body: String) -> StatusCode {
    if kept.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    kept.bodies.lock().unwrap().push(body);
    StatusCode::NO_CONTENT
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
