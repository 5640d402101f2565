//! F17, trace 11: a worker is frozen between its begin and its request, or between the carrier's answer and
//! its finish.

use std::time::Duration;

use otpost::domain::attempt::Outcome;
use otpost::domain::dispatch::Dispatch;
use serde_json::json;

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster, FRONT_END, WORKER};
use crate::load::{BROKER, Kind, Load, Sent};
use crate::seed::Seed;
use crate::support::deployment::job;
use crate::support::deployment::process::Process;
use crate::support::wait;

/// Longer than the limit between begin and request, shorter than an attempt's deadline.
const FREEZE_DURATION: Duration = Duration::from_secs(5);

/// A request that would be this late is not sent. The attempt is closed as not sent, and another begins.
///
/// Fails without the limit of three seconds between begin and request (O3: it comes 5 s after its begin).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_frozen_between_its_begin_and_its_request() {
    let name = "a_worker_is_frozen_between_its_begin_and_its_request";
    // Receipts arrive a second after the answer. None arrives before the answer, because it would add a
    // version.
    let cluster = Cluster::build(Duration::from_secs(1)).await;
    checker::listen(&cluster).await;
    let worker = cluster.start_with("w", ALL, &[("OTPOST_FREEZE_AT", "AttemptBegun:2")]);
    cluster.deployment.serving("w").await;
    let mut load = Load::new(&cluster, Seed::of(name));
    load.ingresses = BROKER;
    // In sequence, so that no other request is open at that moment.
    load.publish_one(Kind::Plain).await;
    cluster.deployment.until_state(load.sent[0].id, "delivered").await;
    load.publish_one(Kind::Plain).await;
    wait::until("it is frozen", async || is_frozen(worker.0.id())).await;
    wait::throughout(FREEZE_DURATION, async || assert!(is_frozen(worker.0.id()))).await;
    worker.signal("CONT");
    let thawed = cluster.deployment.until_state(load.sent[1].id, "delivered").await;
    checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
    checker::check(&cluster, &load.sent, Injected { prompt: true, ..Injected::default() }).await;
    let outcomes: Vec<&str> =
        thawed.attempts.iter().map(|a| a.outcome.map_or("open", Outcome::word)).collect();
    assert_eq!((outcomes, thawed.version), (vec!["not_sent", "accepted"], 6), "{thawed:#?}");
    cluster.deployment.until_events(load.sent[1].id, &["sent 4", "delivered 6"]).await;
}

/// Stopped by a signal: the state is `T` after the name in parentheses.
fn is_frozen(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// A dispatch whose worker was frozen past its attempt's deadline. Another worker has closed and repeated the
/// attempt. The carrier sends no receipts.
struct RepeatedDispatch<'a> {
    cluster: &'a Cluster,
    sent: Sent,
    a: Process,
    _others: [Process; 2],
}

impl<'a> RepeatedDispatch<'a> {
    /// Runs rows 1 to 5, with the worker frozen at this point.
    async fn at(point: &str, cluster: &'a Cluster) -> Self {
        checker::listen(cluster).await;
        let front_end = cluster.start("front-end", FRONT_END).await;
        let a = cluster.start_with("a", WORKER, &[("OTPOST_FREEZE_AT", point)]);
        cluster.deployment.serving("a").await;
        let to = "+447719999701";
        cluster.deployment.script(to, json!(["silent", "silent"])).await;
        let mut job = job(to, json!({}));
        let sent = Sent::by_hand(&mut job);
        let id = cluster.deployment.publish(&job).await;

        wait::until("it is frozen", async || is_frozen(a.0.id())).await;
        let b = cluster.start("b", WORKER).await;
        cluster.deployment.until_state(id, "sent").await;
        let overtaken = Self { cluster, sent, a, _others: [front_end, b] };
        let row = overtaken.assert_row("sent", 4, ["unknown", "accepted"]).await;
        assert_eq!(row.attempts[1].repeats, Some(1), "{row:#?}");
        overtaken
    }

    /// Asserts the row.
    async fn assert_row(&self, state: &str, version: i64, outcomes: [&str; 2]) -> Dispatch {
        let d = self.cluster.deployment.ledger.find("default", self.sent.id).await.unwrap().unwrap();
        let is: Vec<&str> = d.attempts.iter().map(|a| a.outcome.map_or("open", Outcome::word)).collect();
        assert_eq!((d.state.as_str(), d.version, is), (state, version, outcomes.to_vec()), "{d:#?}");
        d
    }

    /// Continues the frozen worker and asserts the row. No further request is sent.
    async fn continue_worker(&self, version: i64, outcomes: [&str; 2]) {
        let requests = self.cluster.deployment.record("requests", None).await.len();
        self.a.signal("CONT");
        self.cluster
            .deployment
            .until(self.sent.id, "noted", |d| d.version == version && d.wake_at > Some(d.now))
            .await;
        // As long as an attempt may take: a further request would be visible by now.
        wait::throughout(FREEZE_DURATION, async || {
            self.assert_row("sent", version, outcomes).await;
            assert_eq!(
                self.cluster.deployment.record("requests", None).await.len(),
                requests,
                "a further request was sent"
            );
        })
        .await;
    }

    /// Row 8: the carrier reports that this attempt is delivered.
    async fn ends_delivered(self, n: usize, version: i64, outcomes: [&str; 2], texts: usize) {
        let (cluster, id) = (self.cluster, self.sent.id);
        let d = cluster.deployment.ledger.find("default", id).await.unwrap().unwrap();
        cluster.deployment.receipt(d.attempts[n - 1].details.message_id.as_ref().unwrap(), "delivered").await;
        cluster.deployment.until_state(id, "delivered").await;
        self.assert_row("delivered", version, outcomes).await;
        cluster.deployment.until_events(id, &["sent 4", &format!("delivered {version}")]).await;
        let all = [self.sent.clone()];
        checker::settle(cluster, &all, Duration::from_secs(60)).await;
        let injected = Injected { unknown: 1, prompt: true, ..Injected::default() };
        let report = checker::check(cluster, &all, injected).await;
        assert_eq!(report.accepted, texts);
    }
}

/// Trace 11, its last row: a worker is frozen with the answer, and the carrier reports before the attempt's
/// deadline. The receipt closes the attempt, nothing is repeated, and the late answer begins nothing.
///
/// Fails if a receipt does not close an open attempt (it is unknown at its deadline, and repeated).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_comes_while_the_worker_with_the_answer_is_frozen() {
    let cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let _front_end = cluster.start("front-end", FRONT_END).await;
    let a = cluster.start_with("a", WORKER, &[("OTPOST_FREEZE_AT", "AttemptAnswered")]);
    cluster.deployment.serving("a").await;
    let to = "+447719999702";
    cluster.deployment.script(to, json!(["silent"])).await;
    let mut job = job(to, json!({}));
    let sent = [Sent::by_hand(&mut job)];
    let id = cluster.deployment.publish(&job).await;
    wait::until("it is frozen", async || is_frozen(a.0.id())).await;
    let sid = cluster.deployment.record("accepted", Some(to)).await[0]["sid"].as_str().unwrap().to_owned();
    cluster.deployment.receipt(&sid, "delivered").await;
    let _b = cluster.start("b", WORKER).await;
    cluster.deployment.until_state(id, "delivered").await;
    a.signal("CONT");
    // As long as an attempt may take: a further request would be visible by now.
    wait::throughout(FREEZE_DURATION, async || {
        assert_eq!(cluster.deployment.record("requests", Some(to)).await.len(), 1, "a further request");
    })
    .await;
    let d = cluster.deployment.ledger.find("default", id).await.unwrap().unwrap();
    assert_eq!(d.attempts.len(), 1, "{d:#?}");
    checker::settle(&cluster, &sent, Duration::from_secs(60)).await;
    checker::check(&cluster, &sent, Injected { prompt: true, ..Injected::default() }).await;
}

/// Trace 11 b: it has sent nothing before the freeze, and sends nothing afterwards. The carrier has one text
/// for two attempts.
///
/// Fails without the limit of three seconds between begin and request (a further request is sent).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_frozen_before_its_request_until_another_has_repeated_it() {
    let cluster = Cluster::build(Duration::from_millis(20)).await;
    let overtaken = RepeatedDispatch::at("AttemptBegun", &cluster).await;
    overtaken.continue_worker(4, ["unknown", "accepted"]).await;
    let log = cluster.deployment.log("a");
    assert!(log.contains("attempt too late after its commit"), "it logs this: {log}");
    overtaken.ends_delivered(2, 6, ["unknown", "accepted"], 1).await;
}

mod long {
    use super::*;

    /// Trace 11 c: the worker has an answer when it continues, and the late answer is only recorded as a
    /// fact. The carrier has two texts for two attempts.
    ///
    /// Fails, like trace 11 b, if a finish does not check whose attempt is open (it overwrites the other
    /// worker's attempt, and a further attempt begins).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_is_frozen_after_its_request_until_another_has_repeated_it() {
        let cluster = Cluster::build(Duration::from_millis(20)).await;
        let overtaken = RepeatedDispatch::at("AttemptAnswered", &cluster).await;
        overtaken.continue_worker(6, ["accepted", "accepted"]).await;
        // The reference is only in the late answer.
        overtaken.ends_delivered(1, 8, ["accepted", "accepted"], 2).await;
    }
}
