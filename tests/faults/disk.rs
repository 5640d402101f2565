//! F16: the ledger is one file, and its disk is full, or fsync fails.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use otpost::domain::attempt::AttemptId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cluster::{ALL, Cluster};
use crate::small_disk::{Disk, NoSync};
use crate::support::deployment::process::Process;
use crate::support::deployment::requests::signature;
use crate::support::wait;

/// Number of jobs in each part of a scenario.
const JOBS: usize = 6;
/// Duration for which only the disk's error is reported.
const ERROR_DURATION: Duration = Duration::from_secs(5);

/// A job, and the status of its answer.
struct Posted {
    job: Value,
    status: u16,
    /// The dispatch's id, if it was admitted.
    uid: Option<Uuid>,
}

/// otpost without a broker, with a ledger in one file.
pub(crate) struct EmbeddedDeployment {
    pub(crate) cluster: Cluster,
    ops: String,
    posted: u32,
}

impl EmbeddedDeployment {
    async fn on(disk: &Disk) -> (Self, Process) {
        let mut embedded = Self::install(disk.path()).await;
        let process = embedded.start("w").await;
        (embedded, process)
    }

    /// Prepares everything except a process.
    pub(crate) async fn install(folder: &Path) -> Self {
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        cluster.deployment.ledger_url = format!("sqlite:{}/ledger.db", folder.display());
        cluster.replacements.push((format!("url = \"{}\"", cluster.deployment.amqp_url), String::new()));
        let file = cluster.deployment.config_file("w");
        let run = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
            let out = command.args(args).arg("--config").arg(&file).output().unwrap();
            assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).unwrap()
        };
        run(&["migrate"]);
        let key: Value = serde_json::from_str(&run(&["keys", "create", "--json"])).unwrap();
        key["key"].as_str().unwrap().clone_into(&mut cluster.deployment.key);
        Self { cluster, ops: String::new(), posted: 0 }
    }

    async fn start(&mut self, name: &str) -> Process {
        let process = self.cluster.start_with(name, ALL, &[]);
        self.cluster.deployment.serving(name).await["ops"].as_str().unwrap().clone_into(&mut self.ops);
        process
    }

    /// Posts this many jobs. The carrier has the given outcome for their numbers.
    async fn post(&mut self, jobs: usize, outcome: Value) -> Vec<Posted> {
        let mut all = vec![];
        for _ in 0..jobs {
            self.posted += 1;
            let to = format!("+4477300{:05}", 1000 + self.posted);
            self.cluster.deployment.script(&to, outcome.clone()).await;
            all.push(self.post_again(crate::support::deployment::job(&to, json!({}))).await);
        }
        all
    }

    async fn post_again(&self, job: Value) -> Posted {
        let (deployment, api) = (&self.cluster.deployment, self.cluster.api.to_string());
        let (status, answer) =
            deployment.post_bytes(&api, &deployment.key, job.to_string().into_bytes()).await;
        let uid = answer["uid"].as_str().map(|uid| uid.parse().unwrap());
        Posted { job, status, uid }
    }

    /// Returns its dispatch in the ledger, or `None` without a row.
    async fn timeline(&self, posted: &Posted) -> Option<Value> {
        let url = format!("http://{}/v1/dispatches/{}", self.cluster.api, posted.job["id"].as_str().unwrap());
        let (status, timeline) = self.cluster.deployment.get(&url).await;
        assert!(status == 200 || status == 404, "{status} {timeline}");
        (status == 200).then(|| serde_json::from_str(&timeline).unwrap())
    }

    async fn until_state(&self, all: &[Posted], state: &str) {
        for posted in all {
            let mut last = None;
            let reached = wait::within(Duration::from_secs(40), async || {
                last = self.timeline(posted).await;
                last.as_ref().is_some_and(|timeline| timeline["state"] == state).then_some(())
            });
            assert!(reached.await.is_some(), "never {state}: {last:#?}");
        }
    }

    /// Sends a receipt that the first attempt is delivered. Returns the status of the answer.
    async fn report(&self, posted: &Posted) -> u16 {
        let id = AttemptId { uid: posted.uid.unwrap(), n: 1 };
        let token = self.cluster.deployment.keys.callback_token("c1", id);
        let url = format!("http://{}/v1/receipts/c1/{id}/{token}", self.cluster.receipts);
        let signed = signature(&url, "MessageSidSM1MessageStatusdelivered");
        let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
        self.cluster.deployment.post_form(&url, &[("x-twilio-signature", &signed)], body).await.0
    }

    /// Returns the reasons of all roles that are not ready.
    async fn unready_reasons(&self) -> Vec<String> {
        let (status, body) = self.cluster.deployment.get(&format!("http://{}/readyz", self.ops)).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let roles =
            body["roles"].as_object().unwrap().values().map(|state| state.as_str().unwrap().to_owned());
        let unready_reasons: Vec<String> = roles.filter(|state| state != "ready").collect();
        assert_eq!(status == 200, unready_reasons.is_empty(), "{body}");
        unready_reasons
    }

    async fn until_ready(&self) {
        wait::until("ready", async || self.unready_reasons().await.is_empty()).await;
    }

    /// While writes fail, no job is admitted, no request begins, and every role reports not ready.
    async fn refuses(&mut self, because: &str, waiting: &[Posted]) -> Vec<Posted> {
        let refused = self.post(JOBS, json!([])).await;
        let red = async || (self.unready_reasons().await.len() == 3).then_some(());
        let red = wait::within(Duration::from_secs(5), red).await;
        assert!(red.is_some(), "after 5 s all roles report not ready: {:?}", self.unready_reasons().await);
        let requests = self.cluster.deployment.record("requests", None).await.len();
        wait::throughout(ERROR_DURATION, async || {
            let printed = self.unready_reasons().await;
            assert!(printed.len() == 3 && printed.iter().all(|state| state.contains(because)), "{printed:?}");
        })
        .await;
        for posted in waiting {
            assert_eq!(self.report(posted).await, 503, "a receipt that cannot be stored");
        }
        for posted in &refused {
            assert_eq!(posted.status, 503, "{}", posted.job);
            assert!(self.timeline(posted).await.is_none(), "refused, but it has a row: {}", posted.job);
        }
        let now = self.cluster.deployment.record("requests", None).await.len();
        assert_eq!(now, requests, "no request without a committed attempt");
        refused
    }

    /// Every accepted job is in the file, and every request to the carrier has its attempt there.
    async fn check(&self, all: &[&[Posted]]) {
        for posted in all.iter().flat_map(|part| part.iter()) {
            let timeline = self.timeline(posted).await;
            assert!(timeline.is_some() || posted.status == 503, "O1: {} has no row", posted.job);
            let to = posted.job["to"].as_str().unwrap();
            let requests = self.cluster.deployment.record("requests", Some(to)).await.len();
            let attempts =
                timeline.as_ref().map_or(0, |timeline| timeline["attempts"].as_array().unwrap().len());
            assert!(requests <= attempts, "{requests} requests for {attempts} attempts: {timeline:#?}");
        }
    }

    async fn post_all_again(&self, refused: &[Posted]) -> Vec<Posted> {
        let mut all = vec![];
        for posted in refused {
            let again = self.post_again(posted.job.clone()).await;
            assert!(matches!(again.status, 200 | 202), "{} {}", again.status, again.job);
            all.push(again);
        }
        all
    }
}

mod long {
    use super::*;

    /// Fails if a readable ledger counts as a writable one (the process reports ready).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_disk_is_full() {
        let disk = Disk::mount();
        let (mut embedded, process) = EmbeddedDeployment::on(&disk).await;
        let waiting = embedded.post(JOBS, json!(["silent"])).await;
        embedded.until_state(&waiting, "sent").await;
        // Their answers and their next attempts are due while writes fail.
        let slow = embedded.post(JOBS, json!([{"outcome": "slow", "ms": 2500}])).await;
        let retried = embedded.post(JOBS, json!(["unavailable", "unavailable"])).await;
        disk.fill();
        let refused = embedded.refuses("disk is full; make room", &waiting).await;
        disk.make_room();
        embedded.until_ready().await;
        // The carrier repeats the receipts that failed.
        for posted in waiting.iter().chain(&slow) {
            assert_eq!(embedded.report(posted).await, 204);
        }
        let again = embedded.post_all_again(&refused).await;
        let all = [&waiting[..], &slow, &retried, &again];
        for part in all {
            embedded.until_state(part, "delivered").await;
        }
        drop(process);
        let _process = embedded.start("again").await;
        embedded.check(&all).await;
    }

    /// Fails if a failed commit is answered as a successful one (the process reports ready).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_disk_fails_to_sync() {
        let disk = Disk::mount();
        let (mut embedded, process) = EmbeddedDeployment::on(&disk).await;
        let waiting = embedded.post(JOBS, json!(["silent"])).await;
        embedded.until_state(&waiting, "sent").await;
        let failing = NoSync::begin(&process);
        let refused = embedded.refuses("disk fails; see", &waiting).await;
        drop(failing);
        embedded.until_ready().await;
        let again = embedded.post_all_again(&refused).await;
        embedded.until_state(&again, "delivered").await;
        // The fault ends during the load.
        let fresh = embedded.post(JOBS, json!([])).await;
        embedded.until_state(&fresh, "delivered").await;
        let failing = NoSync::begin(&process);
        let lost = embedded.refuses("disk fails; see", &waiting).await;
        drop(process);
        drop(failing);
        let _process = embedded.start("again").await;
        embedded.check(&[&waiting, &again, &fresh, &lost]).await;
        for posted in &waiting {
            assert_eq!(embedded.report(posted).await, 204);
        }
        let found = embedded.post_all_again(&lost).await;
        for part in [&waiting[..], &again, &fresh, &found] {
            embedded.until_state(part, "delivered").await;
        }
        embedded.check(&[&waiting, &again, &fresh, &found]).await;
    }
}
