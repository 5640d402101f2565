//! Sends callbacks with one shared HTTP client: no redirects, no proxy, limited concurrency.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::clock;

/// Pause between two attempts. Carriers do not document theirs; it is short for tests.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of bytes that are read of an answer, so that the connection can be reused. A longer answer
/// closes its connection.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A callback to send.
#[derive(Debug)]
pub(crate) struct Callback {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) retry_policy: RetryPolicy,
}

/// The body of a callback.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Form(Vec<(String, String)>),
    Json(serde_json::Value),
    /// A `GET`, with all fields in the URL.
    InUrl,
}

/// The time limits and retries of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// Attempts after the first.
    pub(crate) retries: u8,
    /// The failures that are retried.
    pub(crate) retry_on: Vec<Failure>,
    pub(crate) connect: Duration,
    /// Time limit of one attempt.
    pub(crate) read: Duration,
    /// Time limit of all attempts together.
    pub(crate) total: Duration,
}

/// The failure of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// A connection without an answer.
    Read,
    /// A 4xx answer.
    Refused,
    /// A 5xx answer.
    Broken,
}

/// The result of a callback.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallbackResult {
    /// When it succeeded or finally failed.
    pub(crate) at: Timestamp,
    /// The carrier's status word in the callback.
    pub(crate) status: String,
    pub(crate) attempts: u32,
    /// The status of the last answer.
    pub(crate) http_status: Option<u16>,
    /// Why there was no answer.
    pub(crate) error: Option<String>,
}

/// Sends callbacks.
pub(crate) struct CallbackSender {
    /// One client for each connect time-out in tenths of a second, because the client library sets it for a
    /// whole client. At most 100 by the carriers' ranges, nearly always one.
    clients: Mutex<HashMap<u128, reqwest::Client>>,
    permits: Semaphore,
}

impl CallbackSender {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { clients: Mutex::default(), permits: Semaphore::new(at_once.max(1)) }
    }

    /// Sends a callback, with all its attempts.
    pub(crate) async fn send(&self, callback: Callback, status: String) -> CallbackResult {
        let _permit = self.permits.acquire().await;
        let mut attempts = 0;
        let result =
            tokio::time::timeout(callback.retry_policy.total, self.attempts(&callback, &mut attempts)).await;
        let (http_status, error) = match result {
            Ok(Ok(status)) => (Some(status), None),
            Ok(Err(error)) => (None, Some(error)),
            Err(_) => (None, Some("total time limit exceeded".to_owned())),
        };
        if http_status.is_none_or(|status| status >= 300) {
            let url = &callback.url;
            tracing::warn!(url, callback.status = status, http_status, error, attempts, "callback failed");
        }
        CallbackResult { at: clock::now(), status, attempts, http_status, error }
    }

    /// Sends a request once. Returns the text of a successful answer, or why there is none.
    pub(crate) async fn fetch(&self, callback: &Callback) -> Result<String, String> {
        let _permit = self.permits.acquire().await;
        let answer = self.request(callback).await.map_err(describe)?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        let mut answer = answer;
        let mut bytes = vec![];
        while let Some(chunk) = answer.chunk().await.map_err(describe)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err("the answer is too long".to_owned());
            }
        }
        String::from_utf8(bytes).map_err(|_| "the answer is not UTF-8".to_owned())
    }

    async fn attempts(&self, callback: &Callback, attempts: &mut u32) -> Result<u16, String> {
        let retry_policy = &callback.retry_policy;
        loop {
            *attempts += 1;
            let result = self.attempt(callback).await;
            let trouble = match &result {
                Ok(400..500) => Failure::Refused,
                Ok(500..) => Failure::Broken,
                Ok(_) => return result.map_err(describe),
                Err(error) if error.is_connect() => Failure::Connect,
                Err(_) => Failure::Read,
            };
            if *attempts > u32::from(retry_policy.retries) || !retry_policy.retry_on.contains(&trouble) {
                return result.map_err(describe);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt(&self, callback: &Callback) -> Result<u16, reqwest::Error> {
        let mut answer = self.request(callback).await?;
        let mut read = 0;
        while let Some(chunk) = answer.chunk().await? {
            read += chunk.len();
            if read > MAX_ANSWER_BYTES {
                break;
            }
        }
        Ok(answer.status().as_u16())
    }

    async fn request(&self, callback: &Callback) -> Result<reqwest::Response, reqwest::Error> {
        let mut headers = callback.headers.clone();
        let kind = match callback.body {
            Body::Form(_) => Some("application/x-www-form-urlencoded; charset=UTF-8"),
            Body::Json(_) => Some("application/json"),
            Body::InUrl => None,
        };
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, reqwest::header::HeaderValue::from_static(kind));
        }
        let client = self.client(callback.retry_policy.connect)?;
        let request = match &callback.body {
            Body::Form(form) => client.post(&callback.url).headers(headers).form(form),
            Body::Json(value) => client.post(&callback.url).headers(headers).json(value),
            Body::InUrl => client.get(&callback.url).headers(headers),
        };
        request.timeout(callback.retry_policy.read).send().await
    }

    fn client(&self, connect: Duration) -> Result<reqwest::Client, reqwest::Error> {
        let tenths = connect.as_millis().div_ceil(100);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&tenths) {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_millis(tenths as u64 * 100))
            .build()?;
        clients.insert(tenths, client.clone());
        Ok(client)
    }
}

/// Returns an error with its causes in one line. The client's own text hides the reason.
#[expect(clippy::needless_pass_by_value, reason = "so that map_err can take it")]
fn describe(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
