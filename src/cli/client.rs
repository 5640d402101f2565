//! Client of the HTTP API, for the commands that use a running otpost. They find a running `otpost dev` by its state file. If several run,
//! they use the one that was started last.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Failure;
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

/// The state file of a running `otpost dev`, with mode 0600. Other commands read it.
#[derive(Serialize, Deserialize)]
pub(super) struct StateFile {
    pub(super) api: String,
    pub(super) key: String,
    pub(super) operator_key: String,
    pub(super) gateway: String,
}

impl StateFile {
    /// The folder of `otpost dev`: `$XDG_STATE_HOME/otpost`.
    pub(super) fn folder() -> PathBuf {
        let home =
            || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(".local/state");
        std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("otpost")
    }

    /// The port of the API is part of the name, so that a second `otpost dev` does not replace the file of the first.
    #[cfg(feature = "dev")]
    fn path(&self) -> PathBuf {
        let port = self.api.rsplit(':').next().unwrap_or_default();
        Self::folder().join(format!("dev-{port}.json"))
    }

    /// Writes the file, and locks it while the value lives.
    #[cfg(feature = "dev")]
    pub(super) fn write(&self) -> std::io::Result<OwnStateFile> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::create_dir_all(Self::folder())?;
        let path = self.path();
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        file.try_lock()?;
        Ok(OwnStateFile { path, _locked: file })
    }

    /// The state of the `otpost dev` that was started last and still runs.
    fn read() -> Option<Self> {
        let is_state =
            |name: &str| name.strip_prefix("dev-").is_some_and(|n| n.strip_suffix(".json").is_some());
        let mut files: Vec<(_, PathBuf)> = std::fs::read_dir(Self::folder())
            .ok()?
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_state))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        files.into_iter().find_map(|(_, path)| Self::read_locked(&path))
    }

    /// A killed process leaves its file, but not the lock.
    fn read_locked(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            _ => return None,
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// The state file of this process. It is deleted with the value.
#[cfg(feature = "dev")]
pub(super) struct OwnStateFile {
    path: PathBuf,
    _locked: File,
}

#[cfg(feature = "dev")]
impl Drop for OwnStateFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
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
