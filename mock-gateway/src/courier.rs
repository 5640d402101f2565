//! Carries callbacks to the customer: one shared HTTP client, no redirects, no proxy, so many at once and no
//! more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::clock;

/// Between two attempts. Carriers do not say how long they wait; short, so that tests need not.
const BEFORE_RETRY: Duration = Duration::from_millis(100);

/// How much of an answer is read, so that the connection can be used again. A longer one costs its
/// connection.
const ANSWER_AT_MOST: usize = 64 * 1024;

/// One callback, ready to go.
#[derive(Debug)]
pub(crate) struct Callback {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) patience: Patience,
}

/// What a callback says, in the carrier's form.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Form(Vec<(String, String)>),
    Json(serde_json::Value),
    /// A `GET`: the URL has it all.
    InUrl,
}

/// How long and how often a callback is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Attempts after the first.
    pub(crate) retries: u8,
    /// What is worth a retry.
    pub(crate) retry_on: Vec<Trouble>,
    pub(crate) connect: Duration,
    /// Until the answer is there, for one attempt.
    pub(crate) read: Duration,
    /// For all attempts together.
    pub(crate) total: Duration,
}

/// What can go wrong with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection.
    Connect,
    /// A connection, but no answer.
    Read,
    /// An answer that blames the sender (4xx).
    Refused,
    /// An answer that blames the receiver (5xx).
    Broken,
}

/// How a callback went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// When it was settled.
    pub(crate) at: Timestamp,
    /// The status word it carried.
    pub(crate) status: String,
    pub(crate) attempts: u32,
    /// The last answer, if there was one.
    pub(crate) http_status: Option<u16>,
    /// Why there was none.
    pub(crate) error: Option<String>,
}

/// Sends callbacks.
pub(crate) struct Courier {
    /// One client for each connect time-out in use, in tenths of a second: the client library knows no other
    /// place for it. At most 100 by the carriers' ranges, nearly always one.
    clients: Mutex<HashMap<u128, reqwest::Client>>,
    slots: Semaphore,
}

impl Courier {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { clients: Mutex::default(), slots: Semaphore::new(at_once.max(1)) }
    }

    /// Carry one callback through all its attempts.
    pub(crate) async fn carry(&self, callback: Callback, status: String) -> Told {
        let _slot = self.slots.acquire().await;
        let mut attempts = 0;
        let result =
            tokio::time::timeout(callback.patience.total, self.attempts(&callback, &mut attempts)).await;
        let (http_status, error) = match result {
            Ok(Ok(status)) => (Some(status), None),
            Ok(Err(error)) => (None, Some(error)),
            Err(_) => (None, Some("gave up: the total time is over".to_owned())),
        };
        if http_status.is_none_or(|status| status >= 300) {
            let url = &callback.url;
            tracing::warn!(
                url,
                callback.status = status,
                http_status,
                error,
                attempts,
                "callback was not taken"
            );
        }
        Told { at: clock::now(), status, attempts, http_status, error }
    }

    async fn attempts(&self, callback: &Callback, attempts: &mut u32) -> Result<u16, String> {
        let patience = &callback.patience;
        loop {
            *attempts += 1;
            let result = self.attempt(callback).await;
            let trouble = match &result {
                Ok(400..500) => Trouble::Refused,
                Ok(500..) => Trouble::Broken,
                Ok(_) => return result.map_err(describe),
                Err(error) if error.is_connect() => Trouble::Connect,
                Err(_) => Trouble::Read,
            };
            if *attempts > u32::from(patience.retries) || !patience.retry_on.contains(&trouble) {
                return result.map_err(describe);
            }
            tokio::time::sleep(BEFORE_RETRY).await;
        }
    }

    async fn attempt(&self, callback: &Callback) -> Result<u16, reqwest::Error> {
        let mut headers = callback.headers.clone();
        let kind = match callback.body {
            Body::Form(_) => Some("application/x-www-form-urlencoded; charset=UTF-8"),
            Body::Json(_) => Some("application/json"),
            Body::InUrl => None,
        };
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, reqwest::header::HeaderValue::from_static(kind));
        }
        let client = self.client(callback.patience.connect)?;
        let request = match &callback.body {
            Body::Form(form) => client.post(&callback.url).headers(headers).form(form),
            Body::Json(value) => client.post(&callback.url).headers(headers).json(value),
            Body::InUrl => client.get(&callback.url).headers(headers),
        };
        let mut answer = request.timeout(callback.patience.read).send().await?;
        let mut read = 0;
        while let Some(chunk) = answer.chunk().await? {
            read += chunk.len();
            if read > ANSWER_AT_MOST {
                break;
            }
        }
        Ok(answer.status().as_u16())
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

/// An error in one line, with its causes: the client's own text alone hides the reason.
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
