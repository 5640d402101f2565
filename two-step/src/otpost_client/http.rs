//! otpost over its HTTP API: jobs and commands by POST, events as Server-Sent Events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use otpost::domain::server_url::ServerUrl;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::receiving::receive_until_stopped;
use super::{Event, OtpostClient, OtpostUnavailable, Published, TenantKey, job, wire};
use crate::config::BadConfig;
use crate::flow::DispatchEvent;
use crate::store::{DispatchState, OutboxKind};

/// Time-out of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time after which the event stream is opened again. otpost sends a comment every 15 s.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum bytes of an incomplete event.
const MAX_EVENT_BYTES: usize = 256 * 1024;

pub(super) struct Http {
    client: reqwest::Client,
    base: String,
    bearer: SecretString,
    tenant: String,
    key: Option<TenantKey>,
    missed: AtomicBool,
}

/// A problem document of otpost.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    r#type: String,
    reason: Option<String>,
    retry_after_s: Option<u64>,
}

impl Http {
    pub(super) fn new(
        url: &str, bearer: SecretString, tenant: String, key: Option<TenantKey>,
    ) -> Result<Self, BadConfig> {
        ServerUrl::http_base(url).map_err(|why| BadConfig(format!("otpost.url {why}")))?;
        let base = url.trim_end_matches('/').to_owned();
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| BadConfig("the HTTP client cannot be built".to_owned()))?;
        Ok(Self { client, base, bearer, tenant, key, missed: AtomicBool::new(true) })
    }

    async fn post(
        &self, path: &str, body: &Json,
    ) -> Result<(StatusCode, Problem, Option<u64>), OtpostUnavailable> {
        let request =
            self.client.post(format!("{}{path}", self.base)).bearer_auth(self.bearer.expose_secret());
        let answer = request.json(body).timeout(TIMEOUT).send().await.map_err(|e| describe_error(&e))?;
        let status = answer.status();
        let retry_after =
            answer.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|t| t.parse().ok());
        let problem =
            answer.bytes().await.ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        Ok((status, problem, retry_after))
    }

    async fn dispatch(&self, body: &Json) -> Result<Published, OtpostUnavailable> {
        let job = job(body, &self.tenant, self.key.as_ref())?;
        let (status, problem, retry_after) = self.post("/v1/dispatches", &job).await?;
        let refused = |state| {
            let retry_after_s = problem.retry_after_s.or(retry_after);
            Ok(Published::Refused { state, reason: problem.reason.clone(), retry_after_s })
        };
        match status.as_u16() {
            200 | 202 => Ok(Published::Taken),
            // A 429 with a reason is the number's quota. Without a reason otpost is overloaded, and the job is retried.
            429 if problem.reason.is_some() => refused(DispatchState::Limited),
            409 if problem.r#type.contains("superseded") => refused(DispatchState::Superseded),
            422 if problem.reason.as_deref() == Some("life") => refused(DispatchState::Expired),
            409 | 422 => {
                let reason = problem.reason.as_deref().unwrap_or("none");
                tracing::error!(status = status.as_u16(), reason, "otpost rejected a job");
                refused(DispatchState::Refused)
            }
            401 | 403 => Err(OtpostUnavailable(
                "otpost does not accept otpost.key; create one with `otpost keys create`".to_owned(),
            )),
            other => Err(OtpostUnavailable(format!("otpost answered {other}"))),
        }
    }

    /// Reads one event stream until it ends.
    async fn read_stream(&self, events: &mpsc::Sender<Event>) -> Result<(), OtpostUnavailable> {
        let request =
            self.client.get(format!("{}/v1/events", self.base)).bearer_auth(self.bearer.expose_secret());
        let answer = tokio::time::timeout(TIMEOUT, request.send())
            .await
            .map_err(|_| OtpostUnavailable("no answer in time".to_owned()))?;
        let answer = answer.map_err(|e| describe_error(&e))?;
        if answer.status() != StatusCode::OK {
            return Err(OtpostUnavailable(format!(
                "otpost's event stream answered {}",
                answer.status().as_u16()
            )));
        }
        self.missed.store(true, Ordering::Relaxed);
        let mut stream = answer.bytes_stream();
        let mut held: Vec<u8> = vec![];
        loop {
            let chunk = tokio::time::timeout(STREAM_IDLE_TIMEOUT, stream.next())
                .await
                .map_err(|_| OtpostUnavailable("otpost's event stream was idle for too long".to_owned()))?;
            let Some(chunk) = chunk else {
                return Err(OtpostUnavailable("otpost closed the event stream".to_owned()));
            };
            held.extend_from_slice(&chunk.map_err(|e| describe_error(&e))?);
            while let Some(end) = held.windows(2).position(|w| w == b"\n\n") {
                let message: Vec<u8> = held.drain(..end + 2).collect();
                self.read(&message, events).await;
            }
            if held.len() > MAX_EVENT_BYTES {
                return Err(OtpostUnavailable("an otpost event exceeds the size limit".to_owned()));
            }
        }
    }

    /// Handles one message of the stream.
    async fn read(&self, message: &[u8], events: &mpsc::Sender<Event>) {
        let text = String::from_utf8_lossy(message);
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        if field("event:") == Some("missed") {
            self.missed.store(true, Ordering::Relaxed);
            return;
        }
        if let Some(event) = field("data:").and_then(|data| wire::read_event(data.as_bytes())) {
            let (stored, done) = oneshot::channel();
            if events.send(Event { event, stored }).await.is_err() || done.await.is_err() {
                // The stream does not repeat events. A lost event is found by reading the dispatch back.
                self.missed.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[async_trait]
impl OtpostClient for Http {
    async fn publish(&self, kind: OutboxKind, body: &Json) -> Result<Published, OtpostUnavailable> {
        let id = body["id"].as_str().unwrap_or_default();
        let act = match kind {
            OutboxKind::Next => "next",
            OutboxKind::Cancel => "cancel",
            OutboxKind::Feedback => "feedback",
            _ => return self.dispatch(body).await,
        };
        let mut act_body = body.clone();
        if let Some(fields) = act_body.as_object_mut() {
            fields.remove("id");
        }
        let (status, _, _) = self.post(&format!("/v1/dispatches/{id}/{act}"), &act_body).await?;
        match status.as_u16() {
            200 | 202 => Ok(Published::Taken),
            // The dispatch was refused, or it has ended.
            404 | 409 => Ok(Published::NoNextStep),
            422 => {
                tracing::error!(act, "otpost rejected a command");
                Ok(Published::NoNextStep)
            }
            other => Err(OtpostUnavailable(format!("otpost answered {other}"))),
        }
    }

    async fn receive_events(&self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        receive_until_stopped(&stop, STREAM_IDLE_TIMEOUT, || self.read_stream(&events)).await;
    }

    async fn read_back(&self, dispatch: Uuid) -> Result<Option<DispatchEvent>, OtpostUnavailable> {
        let request = self
            .client
            .get(format!("{}/v1/dispatches/{dispatch}", self.base))
            .bearer_auth(self.bearer.expose_secret());
        let answer = request.timeout(TIMEOUT).send().await.map_err(|e| describe_error(&e))?;
        match answer.status().as_u16() {
            200 => Ok(wire::read_timeline(&answer.bytes().await.map_err(|e| describe_error(&e))?)),
            404 => Ok(None),
            other => Err(OtpostUnavailable(format!("otpost answered {other}"))),
        }
    }

    fn may_have_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

/// Describes why a request failed, without the URL.
fn describe_error(e: &reqwest::Error) -> OtpostUnavailable {
    let what = match e {
        e if e.is_timeout() => "otpost did not answer in time",
        e if e.is_connect() => "cannot connect to otpost",
        _ => "the connection to otpost broke",
    };
    OtpostUnavailable(what.to_owned())
}
