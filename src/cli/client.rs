//! Client of the HTTP API, for the commands that use a running otpost.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Failure;
use super::state_file::StateFile;
use crate::carriers::client::{Auth, Lines, Method};
use crate::carriers::{Answer, Client, Request};
use crate::domain::server_url::ServerUrl;

/// The API to connect to, and the key to use.
#[derive(Args)]
pub(super) struct Server {
    /// Base URL of the API; without it, a running `otpost dev` is used
    #[arg(long, env = "OTPOST_URL")]
    url: Option<String>,
    /// API key
    #[arg(long, env = "OTPOST_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl std::fmt::Debug for Server {
    /// Leaves out the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A client of a running otpost.
pub(super) struct Api {
    base: String,
    key: Zeroizing<String>,
    client: Client,
}

impl Server {
    /// Connects as a tenant.
    pub(super) fn connect(self) -> Result<Api, Failure> {
        self.connect_with(|state, given| (state.api, given.unwrap_or(state.key)))
    }

    /// Connects as an operator. A given key of the tenant of `otpost dev` is replaced by that of its operator.
    pub(super) fn connect_operator(self) -> Result<Api, Failure> {
        self.connect_with(|state, given| {
            (state.api, given.filter(|key| *key != state.key).unwrap_or(state.operator_key))
        })
    }

    fn connect_with(
        self, of_dev: impl FnOnce(StateFile, Option<String>) -> (String, String),
    ) -> Result<Api, Failure> {
        let (base, key) = match (self.url, self.key) {
            (Some(url), Some(key)) => (url, key),
            (Some(_), None) => {
                return Err(Failure::Usage("a URL needs a key: --key or OTPOST_KEY".to_owned()));
            }
            // The key may be that of `otpost dev`, exported for curl.
            (None, key) => {
                let found = StateFile::read().ok_or_else(|| {
                    Failure::Usage(
                        "no running otpost dev was found: start one, or give --url and --key".to_owned(),
                    )
                })?;
                of_dev(found, key)
            }
        };
        ServerUrl::http_base(&base).map_err(|why| Failure::Usage(format!("--url {why}")))?;
        Api::new(&base, &key)
    }
}

impl Api {
    pub(super) fn new(base: &str, key: &str) -> Result<Self, Failure> {
        let client =
            Client::new(Duration::from_secs(20)).map_err(|_| Failure::Failed("no HTTP client".to_owned()))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), key: Zeroizing::new(key.to_owned()), client })
    }

    /// Sends a POST request. Returns the status, including error statuses, and the body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), Failure> {
        self.send(Method::Post, path, Zeroizing::new(body.to_string())).await
    }

    pub(super) async fn get(&self, path: &str) -> Result<(u16, Value), Failure> {
        self.send(Method::Get, path, Zeroizing::default()).await
    }

    /// Opens a stream of lines that does not end by itself.
    pub(super) async fn stream(&self, path: &str) -> Result<Lines, Failure> {
        let request = self.request(Method::Get, path, Zeroizing::default());
        let unreachable =
            |_| Failure::Failed(format!("{} does not answer; is otpost running there?", self.base));
        match self.client.stream(&request).await.map_err(unreachable)? {
            Ok(lines) => Ok(lines),
            Err(answer) => Err(problem(answer.status, &answer.json().unwrap_or_default())),
        }
    }

    async fn send(
        &self, method: Method, path: &str, body: Zeroizing<String>,
    ) -> Result<(u16, Value), Failure> {
        let request = self.request(method, path, body);
        let answer: Answer = self.client.send(&request, Duration::from_secs(20)).await.map_err(|_| {
            Failure::Failed(format!("{} does not answer; is otpost running there?", self.base))
        })?;
        let body = answer.json().unwrap_or_default();
        Ok((answer.status, body))
    }
}

impl Api {
    fn request(&self, method: Method, path: &str, body: Zeroizing<String>) -> Request {
        Request {
            method,
            url: format!("{}{path}", self.base),
            auth: Auth::Bearer(self.key.clone()),
            content_type: "application/json",
            body,
        }
    }
}

/// The failure for a problem document.
pub(super) fn problem(status: u16, body: &Value) -> Failure {
    let detail = body["detail"].as_str().unwrap_or("no reason was given");
    let wait = body["retry_after_s"].as_u64().map(|s| format!("; again in {s} s")).unwrap_or_default();
    Failure::Failed(format!("{status}: {detail}{wait}"))
}
