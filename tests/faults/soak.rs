//! F23: what breaks in the other scenarios breaks here one after the other and at once, as a seed has it.

use std::time::Duration;

use tokio::time::Instant;

use crate::breaking::{Frozen, ReadOnly, backends, end_backends, lock};
use crate::checker::{Injected, one_fault};
use crate::seed::Seed;
use crate::site::{Site, WORKER};
use crate::stopping::stop;
use crate::support::house::away::Away;
use crate::support::house::process::Process;
use crate::support::node::{Alarm, close_all_connections};
use crate::support::relay::Direction;
use crate::support::wait;
use crate::support::world::connect;
use crate::under_load::{Lines, blocking, under_load};

const SOAK: Duration = Duration::from_secs(150);

/// What breaks in the servers.
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

/// What breaks in the workers, and on the way from them to the servers.
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

/// As long as the seed has it; meanwhile each row that can be read is right.
async fn meanwhile(site: &Site, time: Duration) {
    wait::throughout(time, async || site.watch.assert_right()).await;
}

async fn away(site: &Site, server: &'static str, how: &'static str, time: Duration) {
    let away = blocking(move || Away::stop(server, how)).await;
    meanwhile(site, time).await;
    blocking(move || drop(away)).await;
}

async fn break_server(site: &Site, seed: &mut Seed) {
    let (fault, time) = (seed.one_of(SERVERS), Duration::from_secs(1 + seed.below(4)));
    println!("{fault:?} for {time:?}");
    one_fault();
    let url = &site.house.ledger_url;
    match fault {
        Server::BrokerAway => away(site, "rabbitmq", "clean", time).await,
        Server::BrokerClosesAll => {
            let vhost = site.house.vhost.clone();
            blocking(move || close_all_connections(&vhost)).await;
        }
        Server::BrokerAlarm => {
            let alarm = if seed.below(2) == 0 { Alarm::Memory } else { Alarm::Disk };
            let raised = blocking(move || alarm.on()).await;
            meanwhile(site, time).await;
            blocking(move || drop(raised)).await;
        }
        Server::LedgerAway => away(site, "postgres", "immediate", time).await,
        Server::LedgerEndsAll => drop(end_backends(&connect(url).await).await),
        Server::LedgerReadOnly => {
            let read_only = ReadOnly::begin(url).await;
            meanwhile(site, time).await;
            drop(read_only);
        }
        Server::LedgerLocked => lock(url, meanwhile(site, 2 * time)).await,
        Server::LedgerFrozen => {
            let frozen = Frozen::begin(backends(url).await);
            meanwhile(site, 2 * time).await;
            drop(frozen);
        }
    }
}

async fn break_way(
    site: &Site, lines: &Lines, workers: &mut [Process; 2], started: &mut u32, seed: &mut Seed,
) {
    let (fault, time) = (seed.one_of(WAYS), Duration::from_secs(1 + seed.below(6)));
    let which = seed.below(6) as usize;
    let line = [&lines.ledger, &lines.broker, &lines.carrier][which % 3];
    let name = ["the ledger", "the broker", "the carrier"][which % 3];
    let worker = which % 2;
    println!("{fault:?}: worker {worker}, or the way to {name}, for {time:?}");
    one_fault();
    match fault {
        Way::Killed => {
            *started += 1;
            let name = format!("s{started}");
            workers[worker] = site.start_with(&name, WORKER, &[]);
        }
        Way::Stopped => {
            *started += 1;
            stop(&mut workers[worker]).await;
            workers[worker] = site.start_with(&format!("s{started}"), WORKER, &[]);
        }
        Way::Frozen => {
            workers[worker].signal("STOP");
            meanwhile(site, time).await;
            workers[worker].signal("CONT");
        }
        Way::Reset => line.reset(),
        Way::Abandoned => line.abandon(),
        Way::Slow => {
            line.delay(Duration::from_millis(20));
            meanwhile(site, time).await;
            line.pass();
        }
        Way::Slices => {
            line.slice(1);
            meanwhile(site, Duration::from_secs(1)).await;
            line.pass();
        }
        Way::CommitCut => {
            let needle = ["keep_refusal", "conclusion", "deadline_ms"][which % 3];
            lines.ledger.cut_when(Direction::ToUpstream, needle.as_bytes(), false);
            let _ = tokio::time::timeout(Duration::from_secs(1), lines.ledger.sprung()).await;
            lines.ledger.pass();
        }
    }
}

mod long {
    use super::*;

    /// What a seed has found is put into a scenario of its own.
    ///
    /// Seen to fail: with events that are taken off the row before they are confirmed (240 ends that nobody was told of); and where
    /// any of the others does, with luck.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn anything_breaks_at_any_time() {
        let name = "anything_breaks_at_any_time";
        let injected = Injected { unknown: 1000, time: true, ..Injected::default() };
        under_load(name, injected, async |site, lines, workers| {
            let end = Instant::now() + SOAK;
            let (mut chance, mut others) = (Seed::of("servers"), Seed::of("ways"));
            let servers = async {
                while Instant::now() < end {
                    break_server(site, &mut chance).await;
                    meanwhile(site, Duration::from_millis(500 + chance.below(4000))).await;
                }
            };
            let ways = async {
                let mut started = 0;
                while Instant::now() < end {
                    break_way(site, lines, workers, &mut started, &mut others).await;
                    meanwhile(site, Duration::from_millis(500 + others.below(3000))).await;
                }
            };
            tokio::join!(servers, ways);
        })
        .await;
    }
}
