//! Checks the promises O1 to O8 after every scenario (docs/reliability.md).
//!
//! O1: no admitted job is lost. O2: a carrier accepts a step once, and a second time only after an unknown
//! outcome. O3: no request begins with less than ten seconds to live. O4: states never go backwards. O5: of a
//! crowded number's jobs the quota admits exactly as many as its rule allows. O6: codes and numbers appear
//! only at the carrier. O7: a dispatch that is not final has a `wake_at`. O8: no older code begins after a
//! newer code of its sign-in. Each final state and each correction is published. `resources` checks O9, and
//! `watch` checks the rows while the scenario runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use otpost::domain::attempt::{Attempt, NotSentCause, Outcome, State};
use otpost::domain::dispatch::Dispatch;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::excuse::FaultPeriod;
use crate::leaks::leaks;
use crate::load::{ADMITTED, Kind, Sent};
use crate::support::wait;
use crate::support::world::connect;

/// Minimum remaining life at the begin of a request.
const MIN_LIFE_MS: i64 = 10_000;
/// Maximum time from the commit to the first byte, plus a margin for a slow machine.
const BEGIN_TO_SEND_MS: i64 = 3_500;
/// Maximum time from send to arrival without a fault, plus a margin for a slow machine.
const MAX_DELAY_MS: i64 = 2_000;
const EVENTS: &str = "t.events";

/// The faults of a scenario.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Injected {
    /// Requests that may have been open at a fault. Each may have left an unknown outcome.
    pub(crate) unknown: usize,
    /// The fault delayed codes: they may end late or without a receipt.
    pub(crate) time: bool,
    /// The time of the fault. Only attempts and final states during it are excused.
    pub(crate) fault_period: Option<FaultPeriod>,
    /// Expected number of dead letters.
    pub(crate) dead: u32,
    /// The path from the worker to the carrier has no fault: a request arrives right after its begin, or
    /// never.
    pub(crate) prompt: bool,
    /// Jobs whose rows are not checked one by one: a flood.
    pub(crate) others: i64,
}

/// Faults since the last check, for the statistics.
static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// Counts one of several faults.
pub(crate) fn one_fault() {
    FAULTS.fetch_add(1, Ordering::Relaxed);
}

/// The observed result.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) jobs: usize,
    pub(crate) accepted: usize,
    pub(crate) doubled: usize,
    pub(crate) ends: BTreeMap<String, usize>,
}

impl Report {
    /// Appends the report to the file whose lines `scripts/faults` adds up.
    fn add_to_run_report(&self, repeats: usize) {
        // A scenario with a single fault does not count it.
        let faults = FAULTS.swap(0, Ordering::Relaxed).max(1);
        let Some(file) = std::env::var_os("OTPOST_FAULTS_REPORTS") else { return };
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        let Self { jobs, accepted, doubled, .. } = self;
        writeln!(file, "{jobs} {accepted} {doubled} {repeats} {faults}").unwrap();
    }
}

/// Declares a queue that stores every event, also through broker faults.
pub(crate) async fn listen(cluster: &Cluster) {
    // In a killed broker (RabbitMQ 3.10.8) a quorum queue that gets messages before it has a leader may stop
    // accepting messages for good.
    listen_on(cluster, "classic").await;
}

/// The same with a queue of this type.
pub(crate) async fn listen_on(cluster: &Cluster, queue_type: &str) {
    let channel = cluster.channel().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.into()));
    channel.queue_declare(EVENTS.into(), durable, arguments).await.unwrap();
    let (all, none) = ("dispatch.#".into(), FieldTable::default());
    channel
        .queue_bind(EVENTS.into(), "otpost.events".into(), all, QueueBindOptions::default(), none)
        .await
        .unwrap();
}

/// Removes all messages of a queue and returns their bodies.
pub(crate) async fn drain(cluster: &Cluster, queue: &str) -> Vec<Vec<u8>> {
    let channel = cluster.channel().await;
    let mut all = vec![];
    while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
        all.push(got.delivery.data);
    }
    all
}

/// Reads the published events without removing them.
pub(crate) async fn published_events(cluster: &Cluster) -> Vec<Value> {
    let channel = cluster.channel().await;
    let mut all = vec![];
    while let Some(got) = channel.basic_get(EVENTS.into(), BasicGetOptions::default()).await.unwrap() {
        all.push(serde_json::from_slice(&got.delivery.data).unwrap());
    }
    let every = BasicNackOptions { multiple: true, requeue: true };
    channel.basic_nack(0, every).await.unwrap();
    channel.close(200, "done".into()).await.unwrap();
    all
}

/// Returns the number of messages in a queue.
pub(crate) async fn waiting(cluster: &Cluster, queue: &str) -> u32 {
    let channel = cluster.channel().await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
}

/// Waits until every job is final and every event is published.
pub(crate) async fn settle(cluster: &Cluster, sent: &[Sent], time_limit: Duration) {
    let look = connect(&cluster.deployment.ledger_url).await;
    let open = async || {
        let sql = "select count(*), count(*) filter (where wake_at is not null or state in ('queued', 'sending', 'sent'))
                          + (select count(*) from outbox) from dispatch";
        let row = look.query_one(sql, &[]).await.unwrap();
        let (all, open): (i64, i64) = (row.get(0), row.get(1));
        (all >= i64::try_from(sent.len()).unwrap() && open == 0).then_some(())
    };
    if wait::within(time_limit, open).await.is_none() {
        let sql = "select d.id || ': ' || d.state || ', ' || coalesce(d.n, 0) || ' attempts, ' || coalesce(d.outcome, 'open') || ', '
                          || coalesce(d.receipt, 'no receipt') || ', wakes in ' || coalesce((d.wake_at - clock_timestamp())::text, 'never')
                     from dispatch d where d.wake_at is not null";
        let left: Vec<String> = look.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
        let counts = look
            .query_one("select (select count(*) from dispatch), (select count(*) from outbox)", &[])
            .await
            .unwrap();
        let (rows, events): (i64, i64) = (counts.get(0), counts.get(1));
        panic!(
            "after {time_limit:?} {rows} of {} have rows, the outbox has {events} rows, and these are not final: {left:#?}",
            sent.len()
        );
    }
}

/// Checks everything that is visible from outside.
pub(crate) async fn check(cluster: &Cluster, sent: &[Sent], injected: Injected) -> Report {
    let (mut wrong, ends) = cluster.watch.findings();
    let mut report = Report { jobs: sent.len(), ..Report::default() };
    let accepted = cluster.deployment.record("accepted", None).await;
    let requests = cluster.deployment.record("requests", None).await;
    let events: Vec<Value> =
        drain(cluster, EVENTS).await.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let mut rows = BTreeMap::new();
    for job in sent {
        match cluster.deployment.ledger.find("default", job.id).await.unwrap() {
            Some(d) => drop(rows.insert(job.id, d)),
            None => wrong.push(format!("O1: {} {:?} has no row", job.id, job.kind)),
        }
    }
    let (mut repeats, mut unexplained) = (0, 0);
    for job in sent {
        let Some(d) = rows.get(&job.id) else { continue };
        *report.ends.entry(d.state.as_str().to_owned()).or_default() += 1;
        let mine: Vec<&Value> = accepted.iter().filter(|m| carries(m, job)).collect();
        wrong.extend(row(job, d, &mine, injected).into_iter().map(|what| format!("{what}: {job:?} {d:#?}")));
        report.accepted += mine.len();
        let before = repeats;
        for channel in ["sms", "voice"] {
            let times = mine.iter().filter(|m| m["channel"] == channel).count();
            let of = |a: &&Attempt| a.channel.as_str() == channel && a.repeats.is_some();
            let repeated = d.attempts.iter().filter(of).count();
            repeats += repeated;
            report.doubled += times.saturating_sub(1);
            // No plan of the load has two steps on one channel. A repeat that was certainly not sent does not
            // count.
            let sent = d.attempts.iter().filter(of).filter(|a| a.is_accepted() || a.is_unknown()).count();
            if times > 1 + repeated || times > 2 || sent > 1 {
                wrong.push(format!("O2: {times} by {channel}, {repeated} repeats: {job:?} {d:#?}"));
            }
        }
        unexplained += (repeats - before).saturating_sub(job.kind.unknown());
        let sent_requests = requests.iter().filter(|r| r["method"] == "POST" && carries(r, job));
        let sent_requests: Vec<&Value> = sent_requests.collect();
        if sent_requests.len() > d.attempts.len() {
            wrong.push(format!(
                "O2: {} requests without as many attempts: {job:?} {d:#?}",
                sent_requests.len()
            ));
        }
        for request in sent_requests {
            let at = time(request);
            let left = job.expires_at.as_millisecond() - at.as_millisecond();
            // A delayed message was sent in time.
            let free = injected.fault_period.is_none_or(|fault_period| !fault_period.overlaps(at, at));
            let slack = if free { MAX_DELAY_MS } else { BEGIN_TO_SEND_MS };
            if left < MIN_LIFE_MS - slack {
                wrong.push(format!("O3: requested with {left} ms to live: {job:?} {request}"));
            }
        }
        for message in mine {
            let attempt =
                d.attempts.iter().find(|a| a.details.message_id.as_deref() == message["sid"].as_str());
            let since = attempt.map_or(0, |a| time(message).as_millisecond() - a.begun_at.as_millisecond());
            if injected.prompt && since > BEGIN_TO_SEND_MS {
                wrong.push(format!("O3: it arrived {since} ms after its begin: {job:?} {d:#?}"));
            }
            let delivered = message["callbacks"].as_array().unwrap().iter().any(|c| {
                matches!(c["status"].as_str(), Some("delivered"))
                    && matches!(c["http_status"].as_u64(), Some(200..=299))
            });
            if delivered && d.state != State::Delivered {
                wrong.push(format!(
                    "O1: otpost answered 2xx to a `delivered` receipt, but the state is {}: {job:?} {d:#?}",
                    d.state
                ));
            }
        }
        let seen = ends.get(&job.id).map_or(&[][..], Vec::as_slice);
        wrong.extend(check_events(job, d, seen, &events));
    }
    if report.accepted != accepted.len() {
        wrong.push(format!(
            "O2: {} messages at the carrier belong to no job",
            accepted.len() - report.accepted
        ));
    }
    let all =
        connect(&cluster.deployment.ledger_url).await.query_one("select count(*) from dispatch", &[]).await;
    let (all, known) = (all.unwrap().get::<_, i64>(0), rows.len() as i64 + injected.others);
    if all != known {
        wrong.push(format!("O1: there are {all} rows, and {known} jobs that have one"));
    }
    // A scripted unknown outcome explains a repeat of its own job only.
    if unexplained > injected.unknown {
        wrong.push(format!(
            "O2: {unexplained} repeats beyond the script, but only {} outcomes can be unknown",
            injected.unknown
        ));
    }
    wrong.extend(crowds(sent, &rows, &accepted));
    wrong.extend(superseded(sent, &rows));
    let (left, queued) = queues(cluster, injected).await;
    wrong.extend(left);
    wrong.extend(leaks(cluster, sent, &events, queued).await);
    assert!(wrong.is_empty(), "{} promises are broken, the first of them: {:#}", wrong.len(), wrong[0]);
    println!("{report:?}, {repeats} repeats in the ledger");
    report.add_to_run_report(repeats);
    report
}

/// Returns the time of a request.
fn time(entry: &Value) -> jiff::Timestamp {
    entry["at"].as_str().unwrap().parse().unwrap()
}

/// Whether a message at the carrier belongs to this job.
fn carries(message: &Value, job: &Sent) -> bool {
    // Some carriers' numbers have no plus.
    let digits = job.to.trim_start_matches('+');
    if message["to"].as_str().is_none_or(|to| to.trim_start_matches('+') != digits) {
        return false;
    }
    let spelled: Vec<String> = job.code.chars().map(String::from).collect();
    let has_text = |name: &str, what: &str| message[name].as_str().is_some_and(|text| text.contains(what));
    has_text("body", &job.code) || has_text("transcript", &spelled.join(", "))
}

/// Checks one row.
fn row(job: &Sent, d: &Dispatch, accepted: &[&Value], injected: Injected) -> Vec<String> {
    let mut wrong = vec![];
    if d.state.is_final() {
        let late = injected.time
            && injected.fault_period.map_or_else(
                || matches!(d.state, State::Unconfirmed | State::Expired | State::Undelivered),
                |fault_period| fault_period.explains(job, d, accepted),
            );
        if !job.ends().contains(&d.state.as_str()) && !late {
            wrong.push(format!("O1: it ended as {}", d.state));
        }
        if d.code.is_some() {
            wrong.push("O6: the code of an ended dispatch is still there".to_owned());
        }
    } else if d.wake_at.is_none() {
        wrong.push("O7: not final, but wake_at is null".to_owned());
    }
    // Too late between its commit and its first byte: no request was sent.
    let sent = |a: &&Attempt| a.outcome != Some(Outcome::NotSent(NotSentCause::TooLate));
    for attempt in d.attempts.iter().filter(sent) {
        if job.expires_at.as_millisecond() - attempt.begun_at.as_millisecond() < MIN_LIFE_MS {
            wrong.push(format!("O3: attempt {} was begun too late", attempt.n));
        }
    }
    for attempt in &d.attempts {
        let Some(first) = attempt.repeats.and_then(|n| d.attempts.iter().find(|a| a.n == n)) else {
            continue;
        };
        if !(first.is_unknown() || first.is_accepted()) {
            wrong.push(format!("O2: attempt {} repeats one whose outcome is known", attempt.n));
        }
        let scripted = job.kind.unknown() > 0;
        if injected.fault_period.is_some_and(|fault_period| !scripted && !fault_period.touches(first)) {
            wrong.push(format!("O2: attempt {} repeats one that nothing had broken", attempt.n));
        }
    }
    wrong
}

/// Checks the events: in order, never backwards, and with the final state.
fn check_events(job: &Sent, d: &Dispatch, seen: &[State], events: &[Value]) -> Vec<String> {
    let mut mine: BTreeMap<i64, (&Value, State)> = BTreeMap::new();
    for event in events.iter().filter(|e| e["data"]["id"] == job.id.to_string()) {
        let sequence: i64 = event["sequence"]
            .as_str()
            .map_or_else(|| event["sequence"].as_i64().unwrap(), |text| text.parse().unwrap());
        let state = serde_json::from_value(event["data"]["state"].clone()).unwrap();
        // A repeated event is identical.
        let it = (&event["id"], state);
        if mine.insert(sequence, it).is_some_and(|before| before != it) {
            return vec![format!("O4: two events with sequence {sequence} differ: {job:?}")];
        }
    }
    let states: Vec<State> = mine.into_values().map(|(_, state)| state).collect();
    let mut wrong = vec![];
    for pair in states.windows(2) {
        if !pair[0].may_become(pair[1]) && pair[0] != pair[1] {
            wrong.push(format!("O4: {} was published after {}: {job:?}", pair[1], pair[0]));
        }
    }
    for end in seen.iter().filter(|end| !states.contains(end)) {
        wrong.push(format!("the final state {end} was not published: {states:?} {job:?}"));
    }
    if d.state.is_final() && states.last() != Some(&d.state) {
        wrong.push(format!("no event for the final state; events: {states:?}: {job:?} {d:#?}"));
    }
    wrong
}

/// O5: of a crowded number's jobs exactly N hold a quota use, unless one returned it.
fn crowds(sent: &[Sent], rows: &BTreeMap<uuid::Uuid, Dispatch>, accepted: &[Value]) -> Vec<String> {
    let mut wrong = vec![];
    let mut crowds: BTreeMap<&str, Vec<&Sent>> = BTreeMap::new();
    for job in sent.iter().filter(|job| job.kind == Kind::Crowd) {
        crowds.entry(&job.to).or_default().push(job);
    }
    for (to, jobs) in crowds {
        let mine: Vec<&Dispatch> = jobs.iter().filter_map(|job| rows.get(&job.id)).collect();
        let held = mine.iter().filter(|d| d.holds_quota_uses).count();
        let given_back = mine.iter().any(|d| !d.holds_quota_uses && d.state != State::Limited);
        let codes = jobs.iter().filter(|job| accepted.iter().any(|m| carries(m, job))).count();
        if held > ADMITTED || codes > ADMITTED || (held < ADMITTED && mine.len() >= ADMITTED && !given_back) {
            wrong.push(format!("O5: {held} of {} hold a quota use, {codes} were sent, for {to}", mine.len()));
        }
    }
    wrong
}

/// O8, by the ledger's clock.
fn superseded(sent: &[Sent], rows: &BTreeMap<uuid::Uuid, Dispatch>) -> Vec<String> {
    let mut wrong = vec![];
    for older in sent {
        for newer in sent {
            let (Some((a, a_at)), Some((b, b_at))) = (&older.sign_in, &newer.sign_in) else { continue };
            if a != b || a_at >= b_at {
                continue;
            }
            let (Some(older), Some(newer)) = (rows.get(&older.id), rows.get(&newer.id)) else { continue };
            // A begin that was committed while the newer job waited for its lock has the later time.
            let late =
                |begun: jiff::Timestamp| begun.as_millisecond() - newer.admitted_at.as_millisecond() > 300;
            if older.attempts.iter().any(|attempt| late(attempt.begun_at)) {
                wrong.push(format!("O8: begun after a newer one was admitted: {older:#?} {newer:#?}"));
            }
        }
    }
    wrong
}

/// Returns wrong messages in the queues, and all messages with their queue.
async fn queues(cluster: &Cluster, injected: Injected) -> (Vec<String>, Vec<(String, String)>) {
    let (mut wrong, mut queued) = (vec![], vec![]);
    for queue in ["otpost.dispatch", "otpost.suspect", "otpost.receipts", "otpost.returned", "otpost.dead"] {
        let left = drain(cluster, queue).await;
        let expected = if queue == "otpost.dead" { injected.dead as usize } else { 0 };
        if left.len() > expected || (left.is_empty() && expected > 0) {
            wrong.push(format!("O1: {} messages are left in {queue}, not {expected}", left.len()));
        }
        queued.extend(left.iter().map(|body| (queue.to_owned(), String::from_utf8_lossy(body).into_owned())));
    }
    (wrong, queued)
}
