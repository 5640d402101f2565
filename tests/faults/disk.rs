//! F16: the ledger is one file, and its disk is full, or does not keep what it is given.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use otpost::domain::attempt::AttemptId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::{ALL, Site};
use crate::small_disk::{Disk, NoSync};
use crate::support::house::asking::signature;
use crate::support::house::process::Process;
use crate::support::wait;

/// Jobs of each part of a scenario.
const JOBS: usize = 6;
/// A disk's trouble is told again and again for so long, and nothing else.
const TROUBLE: Duration = Duration::from_secs(5);

/// A job, and what it was answered.
struct Posted {
    job: Value,
    status: u16,
    /// Our own name for it, where it was taken.
    uid: Option<Uuid>,
}

/// otpost with no broker, on a file.
pub(crate) struct Laptop {
    pub(crate) site: Site,
    ops: String,
    posted: u32,
}

impl Laptop {
    async fn on(disk: &Disk) -> (Self, Process) {
        let mut laptop = Self::install(disk.path()).await;
        let process = laptop.start("w").await;
        (laptop, process)
    }

    /// Everything but a process.
    pub(crate) async fn install(folder: &Path) -> Self {
        let mut site = Site::build(Duration::from_millis(20)).await;
        site.house.ledger_url = format!("sqlite:{}/ledger.db", folder.display());
        site.instead.push((format!("url = \"{}\"", site.house.amqp_url), String::new()));
        let file = site.house.config_file("w");
        let run = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
            let out = command.args(args).arg("--config").arg(&file).output().unwrap();
            assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).unwrap()
        };
        run(&["migrate"]);
        let key: Value = serde_json::from_str(&run(&["keys", "create", "--json"])).unwrap();
        key["key"].as_str().unwrap().clone_into(&mut site.house.key);
        Self { site, ops: String::new(), posted: 0 }
    }

    async fn start(&mut self, name: &str) -> Process {
        let process = self.site.start_with(name, ALL, &[]);
        self.site.house.serving(name).await["ops"].as_str().unwrap().clone_into(&mut self.ops);
        process
    }

    /// Posts so many jobs, for whose numbers the carrier has this outcome.
    async fn post(&mut self, jobs: usize, outcome: Value) -> Vec<Posted> {
        let mut all = vec![];
        for _ in 0..jobs {
            self.posted += 1;
            let to = format!("+4477300{:05}", 1000 + self.posted);
            self.site.house.script(&to, outcome.clone()).await;
            all.push(self.post_again(crate::support::house::job(&to, json!({}))).await);
        }
        all
    }

    async fn post_again(&self, job: Value) -> Posted {
        let (house, api) = (&self.site.house, self.site.api.to_string());
        let (status, answer) = house.post_bytes(&api, &house.key, job.to_string().into_bytes()).await;
        let uid = answer["uid"].as_str().map(|uid| uid.parse().unwrap());
        Posted { job, status, uid }
    }

    /// Its timeline, in the ledger's words; none where there is no row.
    async fn timeline(&self, posted: &Posted) -> Option<Value> {
        let url = format!("http://{}/v1/dispatches/{}", self.site.api, posted.job["id"].as_str().unwrap());
        let (status, timeline) = self.site.house.get(&url).await;
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

    /// The carrier reports that the first attempt is delivered; answers what it is answered.
    async fn report(&self, posted: &Posted) -> u16 {
        let id = AttemptId { uid: posted.uid.unwrap(), n: 1 };
        let token = self.site.house.keys.callback_token("c1", id);
        let url = format!("http://{}/v1/receipts/c1/{id}/{token}", self.site.receipts);
        let signed = signature(&url, "MessageSidSM1MessageStatusdelivered");
        let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
        self.site.house.post_form(&url, &[("x-twilio-signature", &signed)], body).await.0
    }

    /// What each role says that is not ready.
    async fn troubles(&self) -> Vec<String> {
        let (status, body) = self.site.house.get(&format!("http://{}/readyz", self.ops)).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let roles = body["roles"].as_object().unwrap().values().map(|says| says.as_str().unwrap().to_owned());
        let troubles: Vec<String> = roles.filter(|says| says != "ready").collect();
        assert_eq!(status == 200, troubles.is_empty(), "{body}");
        troubles
    }

    async fn until_ready(&self) {
        wait::until("ready", async || self.troubles().await.is_empty()).await;
    }

    /// Nothing is taken in and nothing begun while the disk takes nothing, and each role says so all the time.
    async fn refuses(&mut self, because: &str, waiting: &[Posted]) -> Vec<Posted> {
        let refused = self.post(JOBS, json!([])).await;
        let red = async || (self.troubles().await.len() == 3).then_some(());
        let red = wait::within(Duration::from_secs(5), red).await;
        assert!(
            red.is_some(),
            "within 5 s all roles say that they are not ready: {:?}",
            self.troubles().await
        );
        let asked = self.site.house.record("requests", None).await.len();
        wait::throughout(TROUBLE, async || {
            let said = self.troubles().await;
            assert!(said.len() == 3 && said.iter().all(|says| says.contains(because)), "{said:?}");
        })
        .await;
        for posted in waiting {
            assert_eq!(self.report(posted).await, 503, "a receipt that cannot be kept");
        }
        for posted in &refused {
            assert_eq!(posted.status, 503, "{}", posted.job);
            assert!(self.timeline(posted).await.is_none(), "refused, and there: {}", posted.job);
        }
        let now = self.site.house.record("requests", None).await.len();
        assert_eq!(now, asked, "no request without a committed attempt");
        refused
    }

    /// What was answered as taken is in the file, and every request to the carrier has its attempt there.
    async fn check(&self, all: &[&[Posted]]) {
        for posted in all.iter().flat_map(|part| part.iter()) {
            let timeline = self.timeline(posted).await;
            assert!(timeline.is_some() || posted.status == 503, "O1: {} has no row", posted.job);
            let to = posted.job["to"].as_str().unwrap();
            let asked = self.site.house.record("requests", Some(to)).await.len();
            let attempts =
                timeline.as_ref().map_or(0, |timeline| timeline["attempts"].as_array().unwrap().len());
            assert!(asked <= attempts, "{asked} requests for {attempts} attempts: {timeline:#?}");
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

    /// Seen to fail: where a ledger that can be read counts as one that answers (it says that it is ready).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_disk_is_full() {
        let disk = Disk::mount();
        let (mut laptop, process) = Laptop::on(&disk).await;
        let waiting = laptop.post(JOBS, json!(["silent"])).await;
        laptop.until_state(&waiting, "sent").await;
        // Their answers, and the time for their next try, come when nothing can be written.
        let slow = laptop.post(JOBS, json!([{"outcome": "slow", "ms": 2500}])).await;
        let retried = laptop.post(JOBS, json!(["unavailable", "unavailable"])).await;
        disk.fill();
        let refused = laptop.refuses("disk is full; make room", &waiting).await;
        disk.make_room();
        laptop.until_ready().await;
        // What the carrier could not report, it reports again.
        for posted in waiting.iter().chain(&slow) {
            assert_eq!(laptop.report(posted).await, 204);
        }
        let again = laptop.post_all_again(&refused).await;
        let all = [&waiting[..], &slow, &retried, &again];
        for part in all {
            laptop.until_state(part, "delivered").await;
        }
        drop(process);
        let _process = laptop.start("again").await;
        laptop.check(&all).await;
    }

    /// Seen to fail: where a commit that failed is answered as one that was done (it says that it is ready).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_disk_fails_to_keep() {
        let disk = Disk::mount();
        let (mut laptop, process) = Laptop::on(&disk).await;
        let waiting = laptop.post(JOBS, json!(["silent"])).await;
        laptop.until_state(&waiting, "sent").await;
        let failing = NoSync::begin(&process);
        let refused = laptop.refuses("disk fails; see", &waiting).await;
        drop(failing);
        laptop.until_ready().await;
        let again = laptop.post_all_again(&refused).await;
        laptop.until_state(&again, "delivered").await;
        // It ends in the midst of it.
        let fresh = laptop.post(JOBS, json!([])).await;
        laptop.until_state(&fresh, "delivered").await;
        let failing = NoSync::begin(&process);
        let lost = laptop.refuses("disk fails; see", &waiting).await;
        drop(process);
        drop(failing);
        let _process = laptop.start("again").await;
        laptop.check(&[&waiting, &again, &fresh, &lost]).await;
        for posted in &waiting {
            assert_eq!(laptop.report(posted).await, 204);
        }
        let found = laptop.post_all_again(&lost).await;
        for part in [&waiting[..], &again, &fresh, &found] {
            laptop.until_state(part, "delivered").await;
        }
        laptop.check(&[&waiting, &again, &fresh, &found]).await;
    }
}
