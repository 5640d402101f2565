//! F23: random faults of the other scenarios, in sequence and in parallel.

use std::time::Duration;

use tokio::time::Instant;

use crate::checker::{Injected, one_fault};
use crate::cluster::{Cluster, WORKER};
use crate::fault_guards::{Frozen, ReadOnly, backends, end_backends, lock};
use crate::seed::Seed;
use crate::stopping::stop;
use crate::support::deployment::process::Process;
use crate::support::deployment::stopped_server::StoppedServer;
use crate::support::node::{Alarm, close_all_connections};
use crate::support::relay::Direction;
use crate::support::wait;
use crate::support::world::connect;
use crate::under_load::{Lines, blocking, under_load};

const SOAK: Duration = Duration::from_secs(150);

/// Faults of the servers.
#[derive(Debug, Clone, Copy)]
enum Server {
    BrokerAway,
    BrokerClosesAll,
    BrokerAlarm,
    LedgerAway,
    LedgerEndsAll,
    LedgerReadOnly,
    LedgerLocked,
    LedgerFrozen,
}

const SERVERS: &[(u64, Server)] = &[
    (1, Server::BrokerAway),
    (3, Server::BrokerClosesAll),
    (2, Server::BrokerAlarm),
    (1, Server::LedgerAway),
    (3, Server::LedgerEndsAll),
    (2, Server::LedgerReadOnly),
    (2, Server::LedgerLocked),
    (2, Server::LedgerFrozen),
];

/// Faults of the workers, and of their connections to the servers.
#[derive(Debug, Clone, Copy)]
enum Way {
    Killed,
    Stopped,
    Frozen,
    Reset,
    Abandoned,
    Slow,
    Slices,
    CommitCut,
}

const WAYS: &[(u64, Way)] = &[
    (2, Way::Killed),
    (1, Way::Stopped),
    (2, Way::Frozen),
    (4, Way::Reset),
    (1, Way::Abandoned),
    (2, Way::Slow),
    (2, Way::Slices),
    (4, Way::CommitCut),
];

/// Waits for this long, while all readable rows must be right.
async fn meanwhile(cluster: &Cluster, time: Duration) {
    wait::throughout(time, async || cluster.watch.assert_right()).await;
}

async fn away(cluster: &Cluster, server: &'static str, how: &'static str, time: Duration) {
    let away = blocking(move || StoppedServer::stop(server, how)).await;
    meanwhile(cluster, time).await;
    blocking(move || drop(away)).await;
}

async fn break_server(cluster: &Cluster, seed: &mut Seed) {
    let (fault, time) = (seed.one_of(SERVERS), Duration::from_secs(1 + seed.below(4)));
    println!("{fault:?} for {time:?}");
    one_fault();
    let url = &cluster.deployment.ledger_url;
    match fault {
        Server::BrokerAway => away(cluster, "rabbitmq", "clean", time).await,
        Server::BrokerClosesAll => {
            let vhost = cluster.deployment.vhost.clone();
            blocking(move || close_all_connections(&vhost)).await;
        }
        Server::BrokerAlarm => {
            let alarm = if seed.below(2) == 0 { Alarm::Memory } else { Alarm::Disk };
            let raised = blocking(move || alarm.on()).await;
            meanwhile(cluster, time).await;
            blocking(move || drop(raised)).await;
        }
        Server::LedgerAway => away(cluster, "postgres", "immediate", time).await,
        Server::LedgerEndsAll => drop(end_backends(&connect(url).await).await),
        Server::LedgerReadOnly => {
            let read_only = ReadOnly::begin(url).await;
            meanwhile(cluster, time).await;
            drop(read_only);
        }
        Server::LedgerLocked => lock(url, meanwhile(cluster, 2 * time)).await,
        Server::LedgerFrozen => {
            let frozen = Frozen::begin(backends(url).await);
            meanwhile(cluster, 2 * time).await;
            drop(frozen);
        }
    }
}

async fn break_way(
    cluster: &Cluster, lines: &Lines, workers: &mut [Process; 2], started: &mut u32, seed: &mut Seed,
) {
    let (fault, time) = (seed.one_of(WAYS), Duration::from_secs(1 + seed.below(6)));
    let which = seed.below(6) as usize;
    let line = [&lines.ledger, &lines.broker, &lines.carrier][which % 3];
    let name = ["the ledger", "the broker", "the carrier"][which % 3];
    let worker = which % 2;
    println!("{fault:?}: worker {worker}, or the connection to {name}, for {time:?}");
    one_fault();
    match fault {
        Way::Killed => {
            *started += 1;
            let name = format!("s{started}");
            workers[worker] = cluster.start_with(&name, WORKER, &[]);
        }
        Way::Stopped => {
            *started += 1;
            stop(&mut workers[worker]).await;
            workers[worker] = cluster.start_with(&format!("s{started}"), WORKER, &[]);
        }
        Way::Frozen => {
            workers[worker].signal("STOP");
            meanwhile(cluster, time).await;
            workers[worker].signal("CONT");
        }
        Way::Reset => line.reset(),
        Way::Abandoned => line.abandon(),
        Way::Slow => {
            line.delay(Duration::from_millis(20));
            meanwhile(cluster, time).await;
            line.pass();
        }
        Way::Slices => {
            line.slice(1);
            meanwhile(cluster, Duration::from_secs(1)).await;
            line.pass();
        }
        Way::CommitCut => {
            let needle = ["keep_refusal", "conclusion", "deadline_ms"][which % 3];
            lines.ledger.cut_when(Direction::ToUpstream, needle.as_bytes(), false);
            let _ = tokio::time::timeout(Duration::from_secs(1), lines.ledger.triggered()).await;
            lines.ledger.pass();
        }
    }
}

mod long {
    use super::*;

    /// A defect that a seed reveals gets its own scenario.
    ///
    /// Fails if events are removed from the row before they are confirmed (240 final states without an
    /// event). It may also fail for the reasons of the other scenarios.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn anything_breaks_at_any_time() {
        let name = "anything_breaks_at_any_time";
        let injected = Injected { unknown: 1000, time: true, ..Injected::default() };
        under_load(name, injected, async |cluster, lines, workers| {
            let end = Instant::now() + SOAK;
            let (mut chance, mut others) = (Seed::of("servers"), Seed::of("ways"));
            let servers = async {
                while Instant::now() < end {
                    break_server(cluster, &mut chance).await;
                    meanwhile(cluster, Duration::from_millis(500 + chance.below(4000))).await;
                }
            };
            let ways = async {
                let mut started = 0;
                while Instant::now() < end {
                    break_way(cluster, lines, workers, &mut started, &mut others).await;
                    meanwhile(cluster, Duration::from_millis(500 + others.below(3000))).await;
                }
            };
            tokio::join!(servers, ways);
        })
        .await;
    }
}
