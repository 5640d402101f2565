//! F22, trace 18: the ledger connection closes during a commit, after every byte of the exchange, for each
//! kind of statement and for groups. The result of the write is then unknown. The repeated call returns it,
//! and the rows are as without the fault.

mod http;
mod kinds;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use otpost::domain::clock::Clock;
use otpost::ledger::{Ledger, LedgerError};

use crate::seed::Seed;
use crate::support::ledger_driver::{LedgerDriver, policy};
use crate::support::relay::{Direction, Relay};
use crate::support::seen::Seen;
use crate::support::world::{Backend, World, connect, ledger_at};
use kinds::{Calls, GROUPS, Kind, SINGLE, prepare};

/// Number of parallel connections. Each is cut repeatedly.
const CONNECTIONS: usize = 24;

/// Submits all items at once. On a single-threaded runtime they form one group.
async fn submit(calls: &Calls, ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    join_all(calls.acts.iter().map(|act| act.on(ledger))).await.into_iter().collect()
}

/// Returns the rows, and the number of quota uses of each number.
async fn left(driver: &LedgerDriver, look: &tokio_postgres::Client, calls: &Calls) -> String {
    let mut rows = vec![];
    for job in calls.written.iter().chain(&calls.others) {
        let uses = "select coalesce(max(length(uses) / 8), 0) from quota where key = $1";
        let uses: i32 = look.query_one(uses, &[&job.limits[0].key]).await.unwrap().get(0);
        let row = driver.world.ledger.read(job.order.uid).await.unwrap();
        let row = match row {
            Some(d) => {
                let seen = Seen::of(&driver.world.ledger, d).await.unwrap();
                driver.show(&seen, &seen.pending_events)
            }
            None => "no row".to_owned(),
        };
        rows.push(format!("{row}; {uses} quota uses"));
    }
    rows.join("\n")
}

/// Number of transactions that have written the items.
async fn transactions(look: &tokio_postgres::Client, calls: &Calls) -> i64 {
    let written: Vec<uuid::Uuid> = calls.written.iter().map(|job| job.order.uid).collect();
    let by = "select count(distinct xmin::text) from dispatch where uid = any($1)";
    look.query_one(by, &[&written]).await.unwrap().get(0)
}

/// A byte position at which the connection is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    kind: Kind,
    direction: Direction,
    after: usize,
}

/// A ledger behind a relay that cuts connections.
struct RelayedLedger {
    relay: Relay,
    ledger: Ledger,
}

impl RelayedLedger {
    async fn open(world: &World) -> Self {
        let place = world.url.split_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let relay = Relay::start(place.parse().unwrap()).await;
        let ledger = ledger_at(&world.url.replace(&place, &relay.addr().to_string()), Clock::System);
        Self { relay, ledger }
    }
}

/// Makes the same call once, so that the connection has its statements. Their texts are most of a first call's bytes.
async fn prepare_statements(driver: &LedgerDriver, kind: Kind, ledger: &Ledger) {
    submit(&prepare(driver, kind).await, ledger).await.unwrap();
}

/// Returns the number of bytes in each direction for this call, and the resulting rows.
async fn whole(driver: &LedgerDriver, look: &tokio_postgres::Client, kind: Kind) -> ([usize; 2], String) {
    let relayed = RelayedLedger::open(&driver.world).await;
    relayed.ledger.check().await.unwrap();
    prepare_statements(driver, kind, &relayed.ledger).await;
    let calls = prepare(driver, kind).await;
    let before = relayed.relay.counts();
    submit(&calls, &relayed.ledger).await.unwrap();
    // Outcomes are one statement, and a second transaction for those that need locks.
    let most = if kind == Kind::Finishes { 2 } else { 1 };
    assert!(transactions(look, &calls).await <= most, "{kind:?} is written as a group");
    let after = relayed.relay.counts();
    let bytes =
        [after.bytes_to_upstream - before.bytes_to_upstream, after.bytes_to_client - before.bytes_to_client];
    (bytes.map(|n| usize::try_from(n).unwrap()), left(driver, look, &calls).await)
}

/// Cuts after each `stride`th byte.
async fn cut_everywhere(kinds: &[Kind], stride: usize, seed: &mut Seed) {
    let mut driver = LedgerDriver::new(World::with_test_clock(Backend::Postgres).await);
    driver.policy = policy(&["c1", "c2"]);
    let driver = Arc::new(driver);
    let look = connect(&driver.world.url).await;
    let (mut cuts, mut expected) = (vec![], HashMap::new());
    for &kind in kinds {
        let (bytes, row) = whole(&driver, &look, kind).await;
        println!("{kind:?}: {} bytes there, {} back\n{row}", bytes[0], bytes[1]);
        for (direction, bytes) in [Direction::ToUpstream, Direction::ToClient].into_iter().zip(bytes) {
            let first = 1 + usize::try_from(seed.below(stride as u64)).unwrap();
            cuts.extend((first..=bytes).step_by(stride).map(|after| Cut { kind, direction, after }));
        }
        expected.insert(kind, row);
    }
    let (cuts, expected, at) = (Arc::new(cuts), Arc::new(expected), Arc::new(AtomicUsize::new(0)));
    let early = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (driver, cuts, expected) = (Arc::clone(&driver), Arc::clone(&cuts), Arc::clone(&expected));
        let (at, early) = (Arc::clone(&at), Arc::clone(&early));
        tasks.spawn(async move {
            let look = connect(&driver.world.url).await;
            let relayed = RelayedLedger::open(&driver.world).await;
            while let Some(cut) = cuts.get(at.fetch_add(1, Ordering::Relaxed)) {
                let mut tries = 0;
                while relayed.ledger.check().await.is_err() {
                    tries += 1;
                    assert!(tries < 50, "it does not reconnect");
                }
                prepare_statements(&driver, cut.kind, &relayed.ledger).await;
                let calls = prepare(&driver, cut.kind).await;
                let connections = relayed.relay.counts().connections;
                relayed.relay.cut_after(cut.direction, cut.after);
                let answers =
                    submit(&calls, &relayed.ledger).await.unwrap_or_else(|e| panic!("{cut:?}: {e}"));
                assert!(
                    cut.kind.is_expected(&answers[0]),
                    "{cut:?}: it does not recognise its own claim: {answers:?}"
                );
                early.fetch_add(
                    usize::from(relayed.relay.counts().connections > connections),
                    Ordering::Relaxed,
                );
                relayed.relay.pass();
                // After a cut at the very last byte only the next call fails.
                relayed.relay.cut();
                let left = left(&driver, &look, &calls).await;
                assert_eq!(left, expected[&cut.kind], "{cut:?}: {answers:?}");
            }
        });
    }
    tasks.join_all().await;
    let early = early.load(Ordering::Relaxed);
    println!("{} cuts, {early} of them before the whole answer had arrived", cuts.len());
    assert!(early * 10 > cuts.len() * 9, "most cuts are in the middle of an exchange: {early}");
}

/// Fails if a begin that finds an open attempt with its own claim gets a conflict. Fails if a late answer
/// that is written twice is recorded twice (`Finishes`: the version is one too high).
#[tokio::test]
async fn a_commit_is_cut_at_many_bytes() {
    cut_everywhere(&[SINGLE, GROUPS].concat(), 31, &mut Seed::of("a_commit_is_cut_at_many_bytes")).await;
}

mod long {
    use super::*;

    /// Fails like `a_commit_is_cut_at_many_bytes`, which cuts at some of these bytes.
    #[tokio::test]
    async fn a_commit_is_cut_at_every_seventh_byte() {
        cut_everywhere(SINGLE, 7, &mut Seed::of("a_commit_is_cut_at_every_seventh_byte")).await;
    }

    /// Fails like `a_commit_is_cut_at_many_bytes`.
    #[tokio::test]
    async fn a_commit_of_a_group_is_cut_at_every_seventh_byte() {
        cut_everywhere(GROUPS, 7, &mut Seed::of("a_commit_of_a_group_is_cut_at_every_seventh_byte")).await;
    }
}
