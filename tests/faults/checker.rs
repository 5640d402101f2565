//! After every scenario: what otpost promises, read off from the outside.
//!
//! O1 nothing admitted is lost; O2 a step is accepted once, and once more at most, for an unknown outcome; O3 nothing is begun with
//! less than ten seconds to live; O4 states never go backwards; O6 no code and no number anywhere but at the carrier; O7
//! what is not final has a time at which it is looked at; O8 nothing older is begun after a newer code of its sign-in; each
//! final state and each correction is told. O5: of a crowded number's jobs exactly as many pass as its quota says. O9
//! (`resources`) is looked at beside it; `watch` looks at the rows while the scenario runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use otpost::domain::attempt::{Attempt, NotSentCause, Outcome, State};
use otpost::domain::dispatch::Dispatch;
use serde_json::Value;

use crate::excuse::Trouble;
use crate::leaks::leaks;
use crate::load::{ADMITTED, Kind, Sent};
use crate::site::Site;
use crate::support::wait;
use crate::support::world::connect;

/// The least life with which a request may begin.
const MIN_LIFE_MS: i64 = 10_000;
/// From its commit to its first byte a request takes no longer, and this machine's slowness.
const BEGIN_TO_SEND_MS: i64 = 3_500;
/// Nothing stands in its way: it arrives as soon as it is sent, and this machine has time for it.
const AT_ONCE_MS: i64 = 2_000;
const EVENTS: &str = "t.events";

/// What a scenario made happen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Injected {
    /// Requests that may have been under way when something broke: each may have left an outcome unknown.
    pub(crate) unknown: usize,
    /// Codes were lost time: they may end late, or without a receipt, if they say so.
    pub(crate) time: bool,
    /// When: nothing else is excused, neither a repeat nor an end.
    pub(crate) trouble: Option<Trouble>,
    /// Dead letters that were asked for.
    pub(crate) dead: u32,
    /// Nothing stands between worker and carrier: what is sent comes right after its begin, or never.
    pub(crate) prompt: bool,
    /// Rows of jobs that are not looked at one by one: a flood.
    pub(crate) others: i64,
}

/// Faults since the last check, for the figures.
static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// Counts a fault: one of several.
pub(crate) fn one_fault() {
    FAULTS.fetch_add(1, Ordering::Relaxed);
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) jobs: usize,
    pub(crate) accepted: usize,
    pub(crate) doubled: usize,
    pub(crate) ends: BTreeMap<String, usize>,
}

impl Report {
    /// Adds it to those of the whole run, which `scripts/faults` adds up.
    fn keep(&self, repeats: usize) {
        // A scenario that breaks one thing does not count it.
        let faults = FAULTS.swap(0, Ordering::Relaxed).max(1);
        let Some(file) = std::env::var_os("OTPOST_FAULTS_REPORTS") else { return };
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        let Self { jobs, accepted, doubled, .. } = self;
        writeln!(file, "{jobs} {accepted} {doubled} {repeats} {faults}").unwrap();
    }
}

/// Keeps every event from now on, whatever happens to the broker.
pub(crate) async fn listen(site: &Site) {
    let channel = site.channel().await;
    // A classic queue: in a broker that is killed (seen with RabbitMQ 3.10.8) a quorum queue that is published to before it
    // has a leader again may never take anything more, whoever publishes.
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(EVENTS.into(), durable, FieldTable::default()).await.unwrap();
    let (all, none) = ("dispatch.#".into(), FieldTable::default());
    channel
        .queue_bind(EVENTS.into(), "otpost.events".into(), all, QueueBindOptions::default(), none)
        .await
        .unwrap();
}

/// Takes all messages of a queue.
pub(crate) async fn drain(site: &Site, queue: &str) -> Vec<Vec<u8>> {
    let channel = site.channel().await;
    let mut all = vec![];
    while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
        all.push(got.delivery.data);
    }
    all
}

/// The events that were told over the broker. They stay where they are.
pub(crate) async fn heard(site: &Site) -> Vec<Value> {
    let channel = site.channel().await;
    let mut all = vec![];
    while let Some(got) = channel.basic_get(EVENTS.into(), BasicGetOptions::default()).await.unwrap() {
        all.push(serde_json::from_slice(&got.delivery.data).unwrap());
    }
    let every = BasicNackOptions { multiple: true, requeue: true };
    channel.basic_nack(0, every).await.unwrap();
    channel.close(200, "done".into()).await.unwrap();
    all
}

/// Messages that wait in a queue.
pub(crate) async fn waiting(site: &Site, queue: &str) -> u32 {
    let channel = site.channel().await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
}

/// Waits until every job has ended and everything is told.
pub(crate) async fn settle(site: &Site, sent: &[Sent], patience: Duration) {
    let look = connect(&site.house.ledger_url).await;
    let open = async || {
        let sql = "select count(*), count(*) filter (where tell_at is not null or wake_at is not null or state in ('queued', 'sending', 'sent'))
                     from dispatch";
        let row = look.query_one(sql, &[]).await.unwrap();
        let (all, open): (i64, i64) = (row.get(0), row.get(1));
        (all >= i64::try_from(sent.len()).unwrap() && open == 0).then_some(())
    };
    if wait::within(patience, open).await.is_none() {
        let sql = "select d.id || ': ' || d.state || ', ' || d.n || ' attempts, ' || coalesce(d.outcome, 'open') || ', '
                          || coalesce(d.receipt, 'no receipt') || ', wakes in ' || coalesce((d.wake_at - clock_timestamp())::text, 'never')
                     from dispatch d where d.wake_at is not null or d.tell_at is not null";
        let left: Vec<String> = look.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
        let rows: i64 = look.query_one("select count(*) from dispatch", &[]).await.unwrap().get(0);
        panic!("after {patience:?} {rows} of {} have rows, and these have not ended: {left:#?}", sent.len());
    }
}

/// Holds everything that can be seen against the promises.
pub(crate) async fn check(site: &Site, sent: &[Sent], injected: Injected) -> Report {
    let (mut wrong, ends) = site.watch.so_far();
    let mut report = Report { jobs: sent.len(), ..Report::default() };
    let accepted = site.house.record("accepted", None).await;
    let requests = site.house.record("requests", None).await;
    let events: Vec<Value> =
        drain(site, EVENTS).await.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let mut rows = BTreeMap::new();
    for job in sent {
        match site.house.ledger.find("default", job.id).await.unwrap() {
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
            // No plan of the load has two steps by one channel. A repeat that is known not to be sent is not the one.
            let sent = d.attempts.iter().filter(of).filter(|a| a.is_accepted() || a.is_unknown()).count();
            if times > 1 + repeated || times > 2 || sent > 1 {
                wrong.push(format!("O2: {times} by {channel}, {repeated} repeats: {job:?} {d:#?}"));
            }
        }
        unexplained += (repeats - before).saturating_sub(job.kind.unknown());
        let asked = requests.iter().filter(|r| r["method"] == "POST" && carries(r, job));
        let asked: Vec<&Value> = asked.collect();
        if asked.len() > d.attempts.len() {
            wrong.push(format!("O2: {} requests without as many attempts: {job:?} {d:#?}", asked.len()));
        }
        for request in asked {
            let at = time(request);
            let left = job.expires_at.as_millisecond() - at.as_millisecond();
            // What is held up on its way was sent in time.
            let free = injected.trouble.is_none_or(|trouble| !trouble.overlaps(at, at));
            let slack = if free { AT_ONCE_MS } else { BEGIN_TO_SEND_MS };
            if left < MIN_LIFE_MS - slack {
                wrong.push(format!("O3: asked with {left} ms to live: {job:?} {request}"));
            }
        }
        for message in mine {
            let attempt =
                d.attempts.iter().find(|a| a.details.message_id.as_deref() == message["sid"].as_str());
            let since = attempt.map_or(0, |a| time(message).as_millisecond() - a.begun_at.as_millisecond());
            if injected.prompt && since > BEGIN_TO_SEND_MS {
                wrong.push(format!("O3: it came {since} ms after its begin: {job:?} {d:#?}"));
            }
            let delivered = message["callbacks"].as_array().unwrap().iter().any(|c| {
                matches!(c["status"].as_str(), Some("delivered"))
                    && matches!(c["http_status"].as_u64(), Some(200..=299))
            });
            if delivered && d.state != State::Delivered {
                wrong.push(format!(
                    "O1: otpost took a receipt that says delivered, and is {}: {job:?} {d:#?}",
                    d.state
                ));
            }
        }
        let seen = ends.get(&job.id).map_or(&[][..], Vec::as_slice);
        wrong.extend(check_events(job, d, seen, &events));
    }
    if report.accepted != accepted.len() {
        wrong.push(format!("O2: {} messages at the carrier are nobody's", accepted.len() - report.accepted));
    }
    let all = connect(&site.house.ledger_url).await.query_one("select count(*) from dispatch", &[]).await;
    let (all, known) = (all.unwrap().get::<_, i64>(0), rows.len() as i64 + injected.others);
    if all != known {
        wrong.push(format!("O1: there are {all} rows, and {known} jobs that have one"));
    }
    // What the carrier was told to leave unknown explains a repeat of its own job, and of no other.
    if unexplained > injected.unknown {
        wrong.push(format!(
            "O2: {unexplained} repeats beyond the script, and {} outcomes can be unknown",
            injected.unknown
        ));
    }
    wrong.extend(crowds(sent, &rows, &accepted));
    wrong.extend(superseded(sent, &rows));
    let (left, queued) = queues(site, injected).await;
    wrong.extend(left);
    wrong.extend(leaks(site, sent, &events, queued).await);
    assert!(wrong.is_empty(), "{} promises are broken, the first of them: {:#}", wrong.len(), wrong[0]);
    println!("{report:?}, {repeats} repeats in the ledger");
    report.keep(repeats);
    report
}

/// When a request came.
fn time(entry: &Value) -> jiff::Timestamp {
    entry["at"].as_str().unwrap().parse().unwrap()
}

/// Whether a message at the carrier is this job's.
fn carries(message: &Value, job: &Sent) -> bool {
    // Some carriers' numbers have no plus.
    let digits = job.to.trim_start_matches('+');
    if message["to"].as_str().is_none_or(|to| to.trim_start_matches('+') != digits) {
        return false;
    }
    let spelled: Vec<String> = job.code.chars().map(String::from).collect();
    let said = |name: &str, what: &str| message[name].as_str().is_some_and(|text| text.contains(what));
    said("body", &job.code) || said("transcript", &spelled.join(", "))
}

/// What one row says of itself.
fn row(job: &Sent, d: &Dispatch, accepted: &[&Value], injected: Injected) -> Vec<String> {
    let mut wrong = vec![];
    if d.state.is_final() {
        let late = injected.time
            && injected.trouble.map_or_else(
                || matches!(d.state, State::Unconfirmed | State::Expired | State::Undelivered),
                |trouble| trouble.explains(job, d, accepted),
            );
        if !job.ends().contains(&d.state.as_str()) && !late {
            wrong.push(format!("O1: it ended as {}", d.state));
        }
        if d.code.is_some() {
            wrong.push("O6: the code of an ended dispatch is still there".to_owned());
        }
    } else if d.wake_at.is_none() {
        wrong.push("O7: nobody will ever look at it".to_owned());
    }
    // Too late between its commit and its first byte: nothing was sent.
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
        if injected.trouble.is_some_and(|trouble| !scripted && !trouble.touches(first)) {
            wrong.push(format!("O2: attempt {} repeats one that nothing had broken", attempt.n));
        }
    }
    wrong
}

/// Events: in order, none backwards, and the end among them.
fn check_events(job: &Sent, d: &Dispatch, seen: &[State], events: &[Value]) -> Vec<String> {
    let mut mine: BTreeMap<i64, (&Value, State)> = BTreeMap::new();
    for event in events.iter().filter(|e| e["data"]["id"] == job.id.to_string()) {
        let sequence: i64 = event["sequence"]
            .as_str()
            .map_or_else(|| event["sequence"].as_i64().unwrap(), |text| text.parse().unwrap());
        let state = serde_json::from_value(event["data"]["state"].clone()).unwrap();
        // Told again, it is the very same.
        let it = (&event["id"], state);
        if mine.insert(sequence, it).is_some_and(|before| before != it) {
            return vec![format!("O4: two events with sequence {sequence} differ: {job:?}")];
        }
    }
    let states: Vec<State> = mine.into_values().map(|(_, state)| state).collect();
    let mut wrong = vec![];
    for pair in states.windows(2) {
        if !pair[0].may_become(pair[1]) && pair[0] != pair[1] {
            wrong.push(format!("O4: {} was told after {}: {job:?}", pair[1], pair[0]));
        }
    }
    for end in seen.iter().filter(|end| !states.contains(end)) {
        wrong.push(format!("it was {end}, and nobody was told: {states:?} {job:?}"));
    }
    if d.state.is_final() && states.last() != Some(&d.state) {
        wrong.push(format!("its end was not told, but {states:?}: {job:?} {d:#?}"));
    }
    wrong
}

/// O5: of a crowded number's jobs exactly as many hold a slot as its quota has, unless one gave its slot back.
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
            wrong.push(format!("O5: {held} of {} hold a slot, {codes} were sent, for {to}", mine.len()));
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
            // A begin that was committed while the newer one waited for its turn has the later time.
            let late =
                |begun: jiff::Timestamp| begun.as_millisecond() - newer.admitted_at.as_millisecond() > 300;
            if older.attempts.iter().any(|attempt| late(attempt.begun_at)) {
                wrong.push(format!("O8: begun after a newer one was admitted: {older:#?} {newer:#?}"));
            }
        }
    }
    wrong
}

/// What is left in the queues, and is wrong there; and all that was, with its place.
async fn queues(site: &Site, injected: Injected) -> (Vec<String>, Vec<(String, String)>) {
    let (mut wrong, mut queued) = (vec![], vec![]);
    for queue in ["otpost.dispatch", "otpost.suspect", "otpost.receipts", "otpost.dead"] {
        let left = drain(site, queue).await;
        let expected = if queue == "otpost.dead" { injected.dead as usize } else { 0 };
        if left.len() > expected || (left.is_empty() && expected > 0) {
            wrong.push(format!("O1: {} messages are left in {queue}, not {expected}", left.len()));
        }
        queued.extend(left.iter().map(|body| (queue.to_owned(), String::from_utf8_lossy(body).into_owned())));
    }
    (wrong, queued)
}
