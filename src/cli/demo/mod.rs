//! `otpost demo`: runs example scenarios on free ports and a temporary file.

mod scenarios;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Failure;
use super::client::Api;
use super::dev::{ApiKeys, Embedded};
use super::serve::stop_signal;
use super::show::watch;
use crate::carriers::{Client, Request};
use crate::domain::clock::after;
use crate::http::timeline::Timeline;
use crate::seal::Keys;
use scenarios::SCENARIOS;
use table::Table;

/// Time limit of a scenario.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(60);

/// Run example scenarios with a mock carrier.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write otpost's log to standard error, and the ids of each scenario
    #[arg(long)]
    log: bool,
}

/// The result of a scenario.
pub(super) struct ScenarioResult {
    /// Whether the result is the expected one.
    pub(super) passed: bool,
    /// The observed result, in one sentence.
    pub(super) observed: String,
}

/// A change of a table row.
pub(super) struct RowUpdate {
    row: usize,
    update: Update,
}

pub(super) enum Update {
    State(String),
    /// The id of a dispatch that the scenario posts.
    Id(Uuid),
    End(ScenarioResult, Duration),
}

/// The environment of a scenario.
#[derive(Clone)]
pub(super) struct ScenarioContext {
    row: usize,
    rows: mpsc::UnboundedSender<RowUpdate>,
    api: Arc<Api>,
    phones: String,
    client: Client,
}

impl ScenarioContext {
    /// Posts a job to a number. `more` holds further fields of the job.
    async fn post(&self, to: &str, mut more: Value) -> Result<(u16, Value, Uuid), Failure> {
        let id = more["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(Uuid::new_v4);
        let _ = self.rows.send(RowUpdate { row: self.row, update: Update::Id(id) });
        let life = more["life_s"].as_u64().unwrap_or(300);
        let fields = more.as_object_mut().map(std::mem::take).unwrap_or_default();
        let mut job = json!({"id": id, "to": to, "code": "481516",
                             "expires_at": after(crate::domain::clock::now(), Duration::from_secs(life))});
        if let Some(job) = job.as_object_mut() {
            job.extend(fields.into_iter().filter(|(name, _)| name != "life_s" && name != "id"));
        }
        let (status, body) = self.api.post("/v1/dispatches", &job).await?;
        Ok((status, body, id))
    }

    /// Follows a dispatch to its final state and shows each state in the table.
    async fn follow(&self, id: Uuid) -> Result<Timeline, Failure> {
        let mut states: Vec<String> = vec![];
        watch(&self.api, id, None, |timeline| {
            let state = timeline.state.to_string();
            if states.last() != Some(&state) {
                states.push(state);
                self.show(states.join(" → "));
            }
        })
        .await
    }

    /// Shows a text in the scenario's row.
    fn show(&self, what: String) {
        let _ = self.rows.send(RowUpdate { row: self.row, update: Update::State(what) });
    }

    /// Number of messages that the mock carrier accepted for a number.
    async fn accepted(&self, to: &str, channel: &str) -> Result<usize, Failure> {
        let url = format!("{}/api/accepted?to={}", self.phones, to.trim_start_matches('+'));
        let unread = || Failure::Failed("the mock carrier's record cannot be read".to_owned());
        let answer =
            self.client.send(&Request::get(url), Duration::from_secs(5)).await.map_err(|_| unread())?;
        let body = answer.json().ok_or_else(unread)?;
        let entries = body["entries"].as_array().ok_or_else(unread)?;
        Ok(entries.iter().filter(|e| e["channel"] == channel).count())
    }
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failure> {
        // The temporary folder is also deleted when the demo is interrupted.
        tokio::select! {
            result = self.play() => result,
            () = stop_signal() => Err(Failure::Failed("the demo was stopped before its end".to_owned())),
        }
    }

    async fn play(self) -> Result<(), Failure> {
        if self.log {
            crate::ops::telemetry::start(&crate::config::LogConfig::default())?;
        } else {
            crate::ops::telemetry::install_panic_hook();
        }
        let folder = Folder::make()?;
        let pace = Duration::from_millis(250);
        let file = folder.0.join("demo.db");
        let embedded =
            Embedded::start(&file, Keys::ephemeral(), ApiKeys::new(), (0, 0), pace, |_| {}).await?;
        let started = Instant::now();
        let mut table = Table::new(self.json, self.log, &embedded.gateway_url());
        let (rows, mut changes) = mpsc::unbounded_channel();
        let api = Arc::new(Api::new(&embedded.api_url(), &embedded.key)?);
        let client =
            Client::new(Duration::from_secs(5)).map_err(|_| Failure::Failed("no HTTP client".to_owned()))?;
        for (row, scenario) in SCENARIOS.iter().enumerate() {
            let context = ScenarioContext {
                row,
                rows: rows.clone(),
                api: Arc::clone(&api),
                phones: embedded.gateway_url(),
                client: client.clone(),
            };
            tokio::spawn(async move {
                let began = Instant::now();
                let failed = |observed: &str| ScenarioResult { passed: false, observed: observed.to_owned() };
                let ending =
                    match tokio::time::timeout(SCENARIO_TIMEOUT, (scenario.play)(context.clone())).await {
                        Ok(Ok(ending)) => ending,
                        Ok(Err(Failure::Failed(why) | Failure::Usage(why))) => failed(&why),
                        Ok(Err(Failure::AlreadyReported)) => failed("it failed"),
                        Err(_) => failed("it did not end within a minute"),
                    };
                let _ = context.rows.send(RowUpdate { row, update: Update::End(ending, began.elapsed()) });
            });
        }
        drop(rows);
        while let Some(change) = changes.recv().await {
            table.change(change);
        }
        let passed = table.finish(started.elapsed());
        embedded.stop().await;
        if passed { Ok(()) } else { Err(Failure::AlreadyReported) }
    }
}

/// A temporary folder that is deleted on drop.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("otpost-demo-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&path)
            .map_err(|e| Failure::Failed(format!("no temporary folder: {}", e.kind())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
