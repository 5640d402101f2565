//! The connection to otpost. In: jobs and commands from the outbox. Out: otpost's events. This module depends on otpost's
//! contracts only.

mod amqp;
mod http;
mod receiving;
mod seal;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use seal::TenantKey;

use crate::config::{BadConfig, Config, OtpostMode};
use crate::flow::DispatchEvent;
use crate::store::{DispatchState, OutboxKind};

/// otpost's template for messages with a code.
pub const CODE_TEMPLATE: &str = "two_step";
/// otpost's template for notices.
pub const NOTICE_TEMPLATE: &str = "two_step_notice";

/// otpost's answer to a job or a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// otpost accepted it.
    Taken,
    /// The dispatch has no further step, or it has ended. Only for `next`.
    NoNextStep,
    /// otpost rejected the job. The dispatch ended before it started.
    Refused {
        /// The final state.
        state: DispatchState,
        /// otpost's reason.
        reason: Option<String>,
        /// Seconds until the number's quota has room again.
        retry_after_s: Option<u64>,
    },
}

/// otpost is unreachable or did not answer. The relay retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OtpostUnavailable(pub String);

/// A connection to otpost.
#[async_trait]
pub trait OtpostClient: Send + Sync {
    /// Publishes a job or a command. Publishing the same one twice is harmless.
    async fn publish(&self, kind: OutboxKind, body: &Json) -> Result<Published, OtpostUnavailable>;

    /// Receives events until `stop` is cancelled, and sends them one by one. An event is acknowledged after its `stored`
    /// was signalled.
    async fn receive_events(&self, events: mpsc::Sender<Event>, stop: CancellationToken);

    /// Returns the state of a dispatch, or `None` if the carrier cannot be queried or does not know the dispatch.
    async fn read_back(&self, dispatch: Uuid) -> Result<Option<DispatchEvent>, OtpostUnavailable>;

    /// Returns whether events may have been missed since the last call. The caller then reads open dispatches back.
    fn may_have_missed(&self) -> bool;
}

/// An event, and the channel that confirms its storage.
#[derive(Debug)]
pub struct Event {
    /// The event.
    pub event: DispatchEvent,
    /// Signalled after the event is stored. If it is dropped without a signal, the event is delivered again if
    /// possible.
    pub stored: tokio::sync::oneshot::Sender<()>,
}

/// Opens the connection to otpost.
pub fn open(config: &Config) -> Result<Arc<dyn OtpostClient>, BadConfig> {
    let otpost = &config.otpost;
    let missing = |key: &str| BadConfig(format!("otpost.{key} is missing"));
    let url = otpost.url.as_ref().ok_or_else(|| missing("url"))?;
    let key = otpost.tenant_key.as_ref().map(|k| TenantKey::read(k.expose_secret())).transpose()?;
    Ok(match otpost.mode {
        OtpostMode::Http => {
            let bearer = otpost.key.clone().ok_or_else(|| missing("key_file"))?;
            Arc::new(http::Http::new(url.expose_secret(), bearer, otpost.tenant.clone(), key)?)
        }
        OtpostMode::Amqp => Arc::new(amqp::Amqp::new(url.expose_secret(), otpost.tenant.clone(), key)?),
    })
}

/// Returns the body to publish: sealed for the tenant if there is a key, else plain.
fn job(body: &Json, tenant: &str, key: Option<&TenantKey>) -> Result<Json, OtpostUnavailable> {
    let Some(key) = key else { return Ok(body.clone()) };
    let id = body["id"].as_str().and_then(|t| t.parse::<Uuid>().ok());
    let until = body["expires_at"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let (Some(id), Some(until)) = (id, until) else {
        return Err(OtpostUnavailable("a job without id and expiry".to_owned()));
    };
    Ok(key.seal_job(tenant, id, until, body))
}
