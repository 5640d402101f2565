//! F14: receipts that arrive twice, a hundred times, in any order, before the carrier's answer was stored,
//! after the code's expiry, and days late. (`tests/bad_input.rs` has forged receipts, receipts for unknown
//! attempts, with another tenant's token, and of 10 MB.)

use std::time::Duration;

use futures_util::StreamExt;
use otpost::domain::attempt::{Outcome, Reason, ReceiptStatus, State};
use otpost::ledger::RecordResult;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::load::Sent;
use crate::seed::Seed;
use crate::support::deployment;
use crate::support::ledger_driver::{LedgerDriver, SMS, accepted, job, with_begin};
use crate::support::wait;
use crate::support::world::{Backend, World};

/// An event for a dispatch whose only attempt is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequenceEvent {
    Receipt(ReceiptStatus, Option<Reason>),
    /// The carrier's answer is stored: accepted or unknown.
    Answer(Outcome),
    /// A worker takes the due dispatch.
    Turn,
    /// The code expires, the wait for receipts ends, and days pass.
    Days,
}

/// Generates receipts in any order and number, with turns in between, an answer, and sometimes a pause of
/// days.
fn sequences() -> impl Strategy<Value = Vec<SequenceEvent>> {
    let receipt = prop_oneof![
        Just(SequenceEvent::Receipt(ReceiptStatus::Interim, None)),
        Just(SequenceEvent::Receipt(ReceiptStatus::Delivered, None)),
        Just(SequenceEvent::Receipt(ReceiptStatus::Bad, Some(Reason::Unreachable))),
        Just(SequenceEvent::Receipt(ReceiptStatus::Bad, Some(Reason::Landline))),
    ];
    let kinds = prop::collection::vec(receipt, 0..4);
    let answer = prop_oneof![Just(Outcome::Accepted), Just(Outcome::Unknown)];
    (kinds, answer, any::<bool>()).prop_flat_map(|(kinds, answer, days)| {
        let mut all = vec![SequenceEvent::Turn];
        all.extend(kinds);
        let more = prop::collection::vec(prop::sample::select(all.clone()), 0..12);
        more.prop_map(move |more| {
            let mut all = [all.clone(), more, vec![SequenceEvent::Answer(answer)]].concat();
            all.extend(days.then_some(SequenceEvent::Days));
            all
        })
        .prop_shuffle()
    })
}

/// Returns the expected final state. The order of events before the pause does not matter. After it, only
/// `delivered` changes the state.
fn end(sequence: &[SequenceEvent]) -> State {
    let of = |status, part: &[SequenceEvent]| {
        part.iter().any(|h| matches!(h, SequenceEvent::Receipt(other, _) if *other == status))
    };
    let days = sequence.iter().position(|h| *h == SequenceEvent::Days);
    let in_time = &sequence[..days.unwrap_or(sequence.len())];
    if of(ReceiptStatus::Delivered, sequence) {
        State::Delivered
    } else if of(ReceiptStatus::Bad, in_time) {
        State::Undelivered
    } else if days.is_some() {
        State::Unconfirmed
    } else if of(ReceiptStatus::Interim, sequence)
        || sequence.contains(&SequenceEvent::Answer(Outcome::Accepted))
    {
        State::Sent
    } else {
        State::Sending
    }
}

/// Runs a sequence, and checks the row after each event.
async fn run_sequence(p: &LedgerDriver, start: f64, sequence: &[SequenceEvent]) {
    p.world.at(start).await;
    let number = format!("{start}");
    let uid = p.admit(&with_begin(job(&[SMS], &number, p.world.time(start + 300.0)))).await;
    let begun = p.read(uid).await;
    let (mut version, mut recorded_statuses) = (begun.version, vec![]);
    for happens in sequence {
        match happens {
            SequenceEvent::Receipt(status, reason) => {
                let recorded = p.receipt(uid, 1, *status, *reason).await;
                assert!(
                    recorded == RecordResult::NothingNew || !recorded_statuses.contains(status),
                    "a repeated receipt changed something: {recorded:?}"
                );
                recorded_statuses.push(*status);
            }
            SequenceEvent::Answer(Outcome::Accepted) => drop(p.finish(&begun, accepted("R1")).await),
            SequenceEvent::Answer(outcome) => drop(p.finish(&begun, (*outcome).into()).await),
            SequenceEvent::Turn => turn(p, uid).await,
            SequenceEvent::Days => {
                // The code's expiry makes the dispatch due, and then the end of the wait does.
                p.world.at(start + 400.0).await;
                turn(p, uid).await;
                p.world.at(start + 300_000.0).await;
                turn(p, uid).await;
            }
        }
        let d = p.read(uid).await;
        assert!(d.version >= version, "a version went back: {d:#?}");
        version = d.version;
    }
    turn(p, uid).await;
    let d = p.read(uid).await;
    assert_eq!(d.state, end(sequence), "{d:#?}");
    assert_eq!(d.attempts.len(), 1, "a receipt begins no attempt here");
    let bad = sequence
        .iter()
        .find_map(|h| if let SequenceEvent::Receipt(ReceiptStatus::Bad, why) = h { *why } else { None });
    if d.state == State::Undelivered {
        assert_eq!(d.attempts[0].receipt_reason, bad, "the first bad receipt stays");
    }
    if d.state.is_final() {
        assert!(d.code.is_none() && d.wake_at.is_none(), "ended: {d:#?}");
    }
    // No publisher runs, so all events are still pending.
    for pair in d.pending_events.windows(2) {
        assert!(pair[0].version < pair[1].version, "O4: {:#?}", d.pending_events);
        assert!(pair[0].state.may_become(pair[1].state), "O4: {:#?}", d.pending_events);
    }
    assert_eq!(d.pending_events.last().map(|e| e.state), (d.state != State::Sending).then_some(d.state));
}

async fn turn(p: &LedgerDriver, uid: uuid::Uuid) {
    if let Some(due) = p.world.ledger.take(uid).await.unwrap() {
        p.decide(&due).await;
    }
}

fn check_sequences(name: &str, backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let p = runtime.block_on(async { LedgerDriver::new(World::with_test_clock(backend).await) });
    let start = std::cell::Cell::new(0.0);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut seed = Seed::of(name);
    let bytes: Vec<u8> = (0..4).flat_map(|_| seed.next().to_be_bytes()).collect();
    let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let result = TestRunner::new_with_rng(config, chance).run(&sequences(), |sequence| {
        start.set(start.get() + 1_000_000.0);
        runtime.block_on(run_sequence(&p, start.get(), &sequence));
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

/// Fails, like the next test, if a repeated final receipt counts as a new one.
#[test]
fn the_order_of_receipts_does_not_matter_on_sqlite() {
    check_sequences("the_order_of_receipts_does_not_matter_on_sqlite", Backend::Sqlite, 400);
}

#[test]
fn the_order_of_receipts_does_not_matter_on_postgres() {
    check_sequences("the_order_of_receipts_does_not_matter_on_postgres", Backend::Postgres, 400);
}

/// A hundred replays of each of three receipts, in parallel.
///
/// Fails if a repeated final receipt counts as a new one (203 versions for two facts).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_replays_change_nothing() {
    let cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let _all = cluster.start("all", ALL).await;
    let to = "+447719999902";
    cluster.deployment.script(to, json!(["silent"])).await;
    let mut job = deployment::job(to, json!({}));
    let all = [Sent::by_hand(&mut job)];
    let id = cluster.deployment.publish(&job).await;
    let sent = cluster.deployment.until_state(id, "sent").await;
    let sid = sent.attempts[0].details.message_id.clone().unwrap();
    let replays =
        (0..300).map(|n| cluster.deployment.receipt(&sid, ["sent", "undelivered", "delivered"][n % 3]));
    futures_util::stream::iter(replays).buffer_unordered(50).collect::<Vec<()>>().await;
    let metrics =
        format!("http://{}/metrics", cluster.deployment.serving("all").await["ops"].as_str().unwrap());
    wait::until("all callbacks have arrived", async || {
        let (_, text) = cluster.deployment.get(&metrics).await;
        let counts = text.lines().filter(|line| line.starts_with("otpost_receipts_total{"));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum::<u64>() >= 300
    })
    .await;
    let d = cluster
        .deployment
        .until(id, "delivered", |d| d.state == State::Delivered && d.pending_events.is_empty())
        .await;
    // At most: a bad receipt was recorded and decided on, and then the good one.
    assert!(d.version <= sent.version + 4, "{} versions for two facts", d.version - sent.version);
    let events = cluster.deployment.events(id);
    let states: Vec<&str> = events.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(
        [&["sent", "delivered"][..], &["sent", "undelivered", "delivered"]].contains(&&states[..]),
        "{events:?}"
    );
    assert_eq!(cluster.deployment.accepted(to).await, 1);
    checker::check(&cluster, &all, Injected::default()).await;
}
