//! What otpost stands on breaks under load: the broker (F3, F5), the ledger (F9), the network to each of them and to the
//! carrier (F7, F8), and workers themselves (F17, F19).
//!
//! Should fail: without the broker's supervisor (nothing ends after `the_broker_is_killed`), without the version condition
//! (`workers_are_frozen`: a second request without a repeat), without the three seconds between begin and send
//! (`workers_are_frozen`: O3).

use std::time::Duration;

use crate::checker::{self, Injected};
use crate::load::Load;
use crate::resources::Holds;
use crate::seed::Seed;
use crate::site::{DOORS, Site, WORKER};
use crate::support::house::away::Away;
use crate::support::house::process::Process;
use crate::support::house::rabbitmqctl;
use crate::support::relay::Relay;
use crate::support::wait;
use crate::support::world::connect;

/// Jobs before and after what breaks.
const JOBS: usize = 40;
const WORKERS: [&str; 2] = ["a", "b"];

/// Relays in front of what otpost stands on.
struct Lines {
    ledger: Relay,
    broker: Relay,
    carrier: Relay,
}

/// A whole site under load. `breaks` breaks something and puts it right again, while jobs go on coming.
async fn under_load(
    name: &str, injected: Injected, breaks: impl AsyncFnOnce(&Site, &Lines, &mut [Process; 2]),
) {
    let mut site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let [ledger, broker, carrier] = [site.postgres(), site.house.broker(), site.house.gateway.addr()];
    let lines = Lines {
        ledger: Relay::start(ledger).await,
        broker: Relay::start(broker).await,
        carrier: Relay::start(carrier).await,
    };
    writable(&site).await;
    let doors = site.start("doors", DOORS).await;
    for (at, relay) in [(ledger, &lines.ledger), (broker, &lines.broker), (carrier, &lines.carrier)] {
        site.instead.push((at.to_string(), relay.addr().to_string()));
    }
    let mut workers = [site.start(WORKERS[0], WORKER).await, site.start(WORKERS[1], WORKER).await];
    let mut load = Load::new(&site, Seed::of(name));
    load.publish_each_and(JOBS).await;
    let before = [&doors, &workers[0], &workers[1]].map(Holds::now);
    let going_on = async {
        load.publish(JOBS).await;
    };
    tokio::join!(going_on, breaks(&site, &lines, &mut workers));
    load.publish(JOBS / 4).await;
    checker::settle(&site, &load.sent, Duration::from_secs(110)).await;
    checker::check(&site, &load.sent, injected, &["doors", "a", "b"]).await;
    for held in before {
        held.come_back().await;
    }
}

/// Whatever an earlier run has left behind.
async fn writable(site: &Site) {
    let look = connect(&site.house.ledger_url).await;
    look.batch_execute("set default_transaction_read_only = off").await.unwrap();
    look.batch_execute("alter role otpost reset default_transaction_read_only").await.unwrap();
}

/// At most so many requests were under way when something broke.
fn in_flight(unknown: usize) -> Injected {
    Injected { unknown, time: true, dead: 0 }
}

async fn a_while(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed() {
    under_load("the_broker_is_killed", in_flight(0), async |_, _, _| {
        let away = Away::stop("rabbitmq", "kill");
        a_while(3).await;
        drop(away);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_restarted_immediate() {
    under_load("the_ledger_is_restarted_immediate", in_flight(64), async |_, _, _| {
        let away = Away::stop("postgres", "immediate");
        a_while(5).await;
        drop(away);
    })
    .await;
}

/// Without an answer from the ledger no process knows what was committed: it finds its own claims again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledgers_connections_are_ended_again_and_again() {
    under_load("the_ledgers_connections_are_ended_again_and_again", in_flight(0), async |site, _, _| {
        let look = connect(&site.house.ledger_url).await;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
                    where pid <> pg_backend_pid() and backend_type = 'client backend' and query like '%otpost%'";
        for _ in 0..20 {
            look.query(end, &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

/// F8: bytes come one at a time, connections are reset in the midst of a frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_come_in_pieces_and_connections_are_reset() {
    under_load("frames_come_in_pieces_and_connections_are_reset", in_flight(128), async |_, lines, _| {
        for relay in [&lines.ledger, &lines.broker, &lines.carrier] {
            relay.slice(1);
            a_while(2).await;
            relay.pass();
            for _ in 0..5 {
                relay.reset();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    })
    .await;
}

/// F17: a worker that was frozen wakes up among decisions that others made without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_frozen() {
    under_load("workers_are_frozen", in_flight(256), async |_, _, workers| {
        for (worker, seconds) in [(0, 5), (1, 10), (0, 10)] {
            workers[worker].signal("STOP");
            a_while(seconds).await;
            workers[worker].signal("CONT");
        }
    })
    .await;
}

mod long {
    use std::time::Duration;

    use super::{Away, WORKER, a_while, connect, in_flight, rabbitmqctl, under_load, wait};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_closes_all_connections_twenty_times() {
        under_load("the_broker_closes_all_connections_twenty_times", in_flight(0), async |site, _, _| {
            let vhost = site.house.amqp_url.rsplit_once('/').unwrap().1;
            for _ in 0..20 {
                rabbitmqctl(&["close_all_connections", "--vhost", vhost, "a test"]);
            }
        })
        .await;
    }

    /// What cannot be written is not pretended: the intake closes, nothing is rejected, and it goes on when writing is possible.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_read_only_for_a_while() {
        under_load("the_ledger_is_read_only_for_a_while", in_flight(64), async |site, _, _| {
            let look = connect(&site.house.ledger_url).await;
            let set = async |on: &str| {
                let all = format!(
                    "alter role otpost set default_transaction_read_only = {on};
                     select pg_terminate_backend(pid) from pg_stat_activity
                      where pid <> pg_backend_pid() and backend_type = 'client backend' and query like '%otpost%'"
                );
                let _ = look.batch_execute("set default_transaction_read_only = off").await;
                look.batch_execute(&all).await.unwrap();
            };
            set("on").await;
            a_while(5).await;
            set("off").await;
        })
        .await;
    }

    /// F7: nobody closes anything, and nothing comes through any more.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_are_half_open() {
        under_load("connections_are_half_open", in_flight(128), async |_, lines, _| {
            for relay in [&lines.ledger, &lines.broker, &lines.carrier] {
                relay.stall();
                a_while(6).await;
                relay.pass();
                relay.cut();
            }
        })
        .await;
    }

    /// F19: who is told to stop finishes what it holds, within its grace, and another goes on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_are_stopped_under_load() {
        under_load("workers_are_stopped_under_load", in_flight(0), async |site, _, workers| {
            for (n, name) in ["c", "d"].into_iter().enumerate() {
                let began = tokio::time::Instant::now();
                workers[n].signal("TERM");
                let ended = async || workers[n].0.try_wait().unwrap();
                let status = wait::within(Duration::from_secs(30), ended).await.expect("it ends");
                assert!(status.success(), "{status}");
                assert!(
                    began.elapsed() < Duration::from_secs(26),
                    "the grace is 20 s: {:?}",
                    began.elapsed()
                );
                workers[n] = site.start(name, WORKER).await;
            }
        })
        .await;
    }

    /// F5: what otpost needs of the broker is taken away under it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn queues_and_permissions_are_taken_away() {
        under_load("queues_and_permissions_are_taken_away", in_flight(0), async |site, _, _| {
            let vhost = site.house.amqp_url.rsplit_once('/').unwrap().1.to_owned();
            let permissions = |configure: &str, write: &str, read: &str| {
                rabbitmqctl(&["set_permissions", "-p", &vhost, "guest", configure, write, read]);
                rabbitmqctl(&["close_all_connections", "--vhost", &vhost, "a test"]);
            };
            permissions("^t[.].*", "^$", "^$");
            a_while(5).await;
            permissions(".*", ".*", ".*");
        })
        .await;
    }

    /// Longer than any pause between two tries to reconnect, and than most codes live: they expire, and say so.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_is_away_for_minutes() {
        under_load("the_broker_is_away_for_minutes", in_flight(0), async |_, _, _| {
            let away = Away::stop("rabbitmq", "clean");
            a_while(90).await;
            drop(away);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_away_for_minutes() {
        under_load("the_ledger_is_away_for_minutes", in_flight(128), async |_, _, _| {
            let away = Away::stop("postgres", "fast");
            a_while(90).await;
            drop(away);
        })
        .await;
    }
}
