//! The API for a product's own app, ours at `/app` or a native one. It is on the pages' listener, which phones can reach.
//! Every request is signed with the app's key. There are no cookies and no API keys.

mod account;
mod contract;
mod register;
mod requests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::routing::{any, get, post, put};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::body;
use super::problem::Problem;
use crate::client;
use crate::flow::{Core, VerifiedRequest};
use crate::signature;

pub use contract::document;

/// The state that all handlers share.
pub(crate) struct App {
    core: Arc<Core>,
    /// Limits the concurrent waits of each app.
    waits: Mutex<HashMap<Uuid, Arc<Semaphore>>>,
}

/// Maximum number of concurrent long polls and streams of one app, one for each tab.
const MAX_WAITS: usize = 8;

/// The routes.
pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/app/v1/register", post(register::register))
        .route("/app/v1/account", get(account::show).delete(account::unregister))
        .route("/app/v1/key", put(account::change_key))
        .route("/app/v1/push", put(account::set_push))
        .route("/app/v1/requests", get(requests::list))
        .route("/app/v1/stream", get(requests::stream))
        .route("/app/v1/requests/{id}/approve", post(requests::approve))
        .route("/app/v1/requests/{id}/deny", post(requests::deny))
        .route("/app/v1/requests/{id}/code", post(requests::code))
        .route("/app/v1/openapi.json", get(contract::serve))
        .route("/app/v1/{*rest}", any(|| async { Problem::not_found() }))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(Arc::new(App { core, waits: Mutex::default() }))
}

fn too_many_waits() -> Problem {
    Problem::limited("this app already has eight open long polls or streams", 5)
}

/// A request with its body.
struct Signed {
    parts: Parts,
    body: Bytes,
}

impl Signed {
    async fn read(request: Request) -> Result<Self, Problem> {
        let (parts, sent) = request.into_parts();
        Ok(Self { parts, body: body::bytes(sent).await? })
    }

    /// Returns the signed parts. `authority` is the host of our public URL.
    fn request<'r>(&'r self, authority: &'r str) -> signature::Request<'r> {
        let header = |name: &str| self.parts.headers.get(name).and_then(|value| value.to_str().ok());
        signature::Request {
            method: self.parts.method.as_str(),
            authority,
            path: self.parts.uri.path(),
            query: self.parts.uri.query(),
            body: &self.body,
            content_digest: header("content-digest"),
            signature_input: header("signature-input"),
            signature: header("signature"),
        }
    }

    fn client(&self, core: &Core) -> Option<std::net::IpAddr> {
        let peer = self.parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
        peer.map(|peer| client::address(peer, &self.parts.headers, &core.config()))
    }
}

impl App {
    /// Returns a permit for a wait of an app.
    fn start_wait(&self, app: Uuid) -> Result<OwnedSemaphorePermit, Problem> {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, places| places.available_permits() < MAX_WAITS);
        let places = waits.entry(app).or_insert_with(|| Arc::new(Semaphore::new(MAX_WAITS)));
        Arc::clone(places).try_acquire_owned().map_err(|_| too_many_waits())
    }

    /// Reads a request of a registered app, and checks its signature.
    async fn call(&self, request: Request) -> Result<(VerifiedRequest, Bytes), Problem> {
        let signed = Signed::read(request).await?;
        let config = self.core.config();
        let (authority, client) = (config.public_url.authority(), signed.client(&self.core));
        let call = self.core.verified_request(&signed.request(authority), client).await??;
        Ok((call, signed.body))
    }
}
