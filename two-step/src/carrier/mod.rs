//! The way to otpost. What comes in are jobs and acts from the outbox; what goes out are otpost's events. This module knows
//! otpost by its contracts alone.

mod amqp;
mod http;
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
use crate::flow::Heard;
use crate::store::{DispatchState, OutboxKind};

/// What otpost made of a job or an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// otpost has it.
    Taken,
    /// The dispatch has no further step, or has ended. Only for `next`.
    NoNextStep,
    /// otpost takes no such job: the dispatch has ended before it began.
    Refused {
        /// How.
        state: DispatchState,
        /// otpost's reason.
        reason: Option<String>,
        /// Seconds until the number's quota has room again.
        retry_after_s: Option<u64>,
    },
}

/// otpost, or the way to it, does not answer. The relay tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CarrierAway(pub String);

/// The way to otpost.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Publishes a job or an act. The same one may be published twice.
    async fn publish(&self, kind: OutboxKind, body: &Json) -> Result<Published, CarrierAway>;

    /// Hears events until told to stop, and hands them over one by one. Each is acknowledged once it was handed over and
    /// its answer came.
    async fn hear(&self, events: mpsc::Sender<Event>, stop: CancellationToken);

    /// How far a dispatch has come, where the carrier can be asked. None: it cannot, or knows no such dispatch.
    async fn read_back(&self, dispatch: Uuid) -> Result<Option<Heard>, CarrierAway>;

    /// Whether events may have been missed since the last call, so that open dispatches are read back.
    fn may_have_missed(&self) -> bool;
}

/// An event, and whom to tell that it was written down.
#[derive(Debug)]
pub struct Event {
    /// What it says.
    pub heard: Heard,
    /// Told once it is written down. Dropped untold, the event comes again where the carrier can repeat it.
    pub written: tokio::sync::oneshot::Sender<()>,
}

/// The carrier of a configuration.
pub fn open(config: &Config) -> Result<Arc<dyn Carrier>, BadConfig> {
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

/// The body that goes out: sealed for the tenant where there is a key, else plain.
fn job(body: &Json, tenant: &str, key: Option<&TenantKey>) -> Result<Json, CarrierAway> {
    let Some(key) = key else { return Ok(body.clone()) };
    let id = body["id"].as_str().and_then(|t| t.parse::<Uuid>().ok());
    let until = body["expires_at"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let (Some(id), Some(until)) = (id, until) else {
        return Err(CarrierAway("a job without id and expiry".to_owned()));
    };
    Ok(key.seal_job(tenant, id, until, body))
}
