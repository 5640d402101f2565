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
use crate::under_load::{Relays, blocking, under_load};

const DURATION: Duration = Duration::from_secs(150);

/// Faults of the servers.
#[derive(Debug, Clone, Copy)]
enum ServerFault {
    BrokerStopped,
    BrokerClosesAll,
    BrokerAlarm,
    LedgerStopped,
    LedgerEndsAll,
    LedgerReadOnly,
    LedgerLocked,
    LedgerFrozen,
}

const SERVER_FAULTS: &[(u64, ServerFault)] = &[
    (1, ServerFault::BrokerStopped),
    (3, ServerFault::BrokerClosesAll),
    (2, ServerFault::BrokerAlarm),
    (1, ServerFault::LedgerStopped),
    (3, ServerFault::LedgerEndsAll),
    (2, ServerFault::LedgerReadOnly),
    (2, ServerFault::LedgerLocked),
    (2, ServerFault::LedgerFrozen),
];

/// Faults of the workers, and of their connections to the servers.
#[derive(Debug, Clone, Copy)]
enum WorkerFault {
    Killed,
    Stopped,
    Frozen,
    Reset,
    Abandoned,
    Slow,
    Slices,
    CommitCut,
}

const WORKER_FAULTS: &[(u64, WorkerFault)] = &[
    (2, WorkerFault::Killed),
    (1, WorkerFault::Stopped),
    (2, WorkerFault::Frozen),
    (4, WorkerFault::Reset),
    (1, WorkerFault::Abandoned),
    (2, WorkerFault::Slow),
    (2, WorkerFault::Slices),
    (4, WorkerFault::CommitCut),
];

/// Waits for this long, while all readable rows must be right.
async fn meanwhile(cluster: &Cluster, time: Duration) {
    wait::throughout(time, async || cluster.watch.assert_right()).await;
}

async fn stop_server(cluster: &Cluster, server: &'static str, how: &'static str, time: Duration) {
    let stopped = blocking(move || StoppedServer::stop(server, how)).await;
    meanwhile(cluster, time).await;
    blocking(move || drop(stopped)).await;
}

async fn break_server(cluster: &Cluster, seed: &mut Seed) {
    let (fault, time) = (seed.one_of(SERVER_FAULTS), Duration::from_secs(1 + seed.below(4)));
    println!("{fault:?} for {time:?}");
    one_fault();
    let url = &cluster.deployment.ledger_url;
    match fault {
        ServerFault::BrokerStopped => stop_server(cluster, "rabbitmq", "clean", time).await,
        ServerFault::BrokerClosesAll => {
            let vhost = cluster.deployment.vhost.clone();
            blocking(move || close_all_connections(&vhost)).await;
        }
        ServerFault::BrokerAlarm => {
            let alarm = if seed.below(2) == 0 { Alarm::Memory } else { Alarm::Disk };
            let raised = blocking(move || alarm.on()).await;
            meanwhile(cluster, time).await;
            blocking(move || drop(raised)).await;
        }
        ServerFault::LedgerStopped => stop_server(cluster, "postgres", "immediate", time).await,
        ServerFault::LedgerEndsAll => drop(end_backends(&connect(url).await).await),
        ServerFault::LedgerReadOnly => {
            let read_only = ReadOnly::begin(url).await;
            meanwhile(cluster, time).await;
            drop(read_only);
        }
        ServerFault::LedgerLocked => lock(url, meanwhile(cluster, 2 * time)).await,
        ServerFault::LedgerFrozen => {
            let frozen = Frozen::begin(backends(url).await);
            meanwhile(cluster, 2 * time).await;
            drop(frozen);
        }
    }
}

async fn break_worker(
    cluster: &Cluster, relays: &Relays, workers: &mut [Process; 2], started: &mut u32, seed: &mut Seed,
) {
    let (fault, time) = (seed.one_of(WORKER_FAULTS), Duration::from_secs(1 + seed.below(6)));
    let which = seed.below(6) as usize;
    let relay = [&relays.ledger, &relays.broker, &relays.carrier][which % 3];
    let name = ["the ledger", "the broker", "the carrier"][which % 3];
    let worker = which % 2;
    println!("{fault:?}: worker {worker}, or the connection to {name}, for {time:?}");
    one_fault();
    match fault {
        WorkerFault::Killed => {
            *started += 1;
            let name = format!("s{started}");
            workers[worker] = cluster.start_with(&name, WORKER, &[]);
        }
        WorkerFault::Stopped => {
            *started += 1;
            stop(&mut workers[worker]).await;
            workers[worker] = cluster.start_with(&format!("s{started}"), WORKER, &[]);
        }
        WorkerFault::Frozen => {
            workers[worker].signal("STOP");
            meanwhile(cluster, time).await;
            workers[worker].signal("CONT");
        }
        WorkerFault::Reset => relay.reset(),
        WorkerFault::Abandoned => relay.abandon(),
        WorkerFault::Slow => {
            relay.delay(Duration::from_millis(20));
            meanwhile(cluster, time).await;
            relay.pass();
        }
        WorkerFault::Slices => {
            relay.slice(1);
            meanwhile(cluster, Duration::from_secs(1)).await;
            relay.pass();
        }
        WorkerFault::CommitCut => {
            match which % 3 {
                0 => relays.ledger.cut_when(Direction::ToClient, b"COMMIT", true),
                1 => relays.ledger.cut_when(Direction::ToUpstream, b"accepted", false),
                _ => relays.ledger.cut_when(Direction::ToUpstream, b"commit -- begin", true),
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), relays.ledger.triggered()).await;
            relays.ledger.pass();
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
        under_load(name, injected, async |cluster, relays, workers| {
            let end = Instant::now() + DURATION;
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
                    break_worker(cluster, relays, workers, &mut started, &mut others).await;
                    meanwhile(cluster, Duration::from_millis(500 + others.below(3000))).await;
                }
            };
            tokio::join!(servers, ways);
        })
        .await;
    }
}
