//! Outages under load: the broker (F3, F5), the ledger (F9), the network to both and to the carrier (F7, F8),
//! and frozen workers (F17).

use std::time::Duration;

use crate::checker::one_fault;
use crate::fault_guards::end_backends;
use crate::support::deployment::stopped_server::StoppedServer;
use crate::support::relay::Direction;
use crate::support::wait;
use crate::support::world::connect;
use crate::under_load::{blocking, in_flight, under_load, wait_for_reconnect, wait_for_workers_log};

/// Fails without the reconnect loop (not all jobs have rows).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed() {
    under_load("the_broker_is_killed", in_flight(0), async |cluster, _, _| {
        let away = blocking(|| StoppedServer::stop("rabbitmq", "kill")).await;
        wait_for_workers_log(cluster, "no connection to RabbitMQ").await;
        blocking(move || drop(away)).await;
    })
    .await;
}

/// Fails if a job is acknowledged although its admission was not answered (it has no row).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_restarted_immediate() {
    under_load("the_ledger_is_restarted_immediate", in_flight(64), async |cluster, _, _| {
        let away = blocking(|| StoppedServer::stop("postgres", "immediate")).await;
        wait_for_workers_log(cluster, "the ledger is unreachable").await;
        blocking(move || drop(away)).await;
    })
    .await;
}

/// Without an answer from the ledger no process knows what was committed. Each process finds its own claims
/// later.
///
/// Fails if an open attempt with the process's own claim counts as another's (O2: repeats without an unknown
/// outcome).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledgers_connections_are_closed_repeatedly() {
    under_load("the_ledgers_connections_are_closed_repeatedly", in_flight(0), async |cluster, relays, _| {
        let look = connect(&cluster.deployment.ledger_url).await;
        // Bytes that occur in an admission, an outcome and a begin. The statement is committed, and its
        // answer is lost. Only one at a time, because a worker that gets no answer for longer than the
        // group is retried cannot know its begin.
        let (commit, outcome) = ((Direction::ToClient, "COMMIT"), (Direction::ToUpstream, "accepted"));
        let passed = [commit, commit, commit, outcome, commit, outcome];
        let mut cut = 0;
        for (direction, needle) in passed {
            let before = relays.ledger.counts();
            relays.ledger.cut_when(direction, needle.as_bytes(), direction == Direction::ToClient);
            let cut_in_time =
                tokio::time::timeout(Duration::from_millis(500), relays.ledger.triggered()).await;
            cut += usize::from(cut_in_time.is_ok());
            one_fault();
            wait_for_reconnect(&relays.ledger, before).await;
        }
        relays.ledger.pass();
        assert!(cut > passed.len() / 2, "only {cut} commits were cut");
        for _ in 0..20 {
            let before = relays.ledger.counts();
            wait::until("there are connections to end", async || end_backends(&look).await > 0).await;
            one_fault();
            wait_for_reconnect(&relays.ledger, before).await;
        }
    })
    .await;
}

mod long {
    use futures_util::future::join_all;
    use serde_json::json;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::cluster::{Cluster, WORKER};
    use crate::fault_guards::{Frozen, ReadOnly, SmallDisk, lock, server};
    use crate::load::{LIFE, Sent};
    use crate::seed::Seed;
    use crate::stopping::stop;
    use crate::support::deployment::job;
    use crate::support::node::{Alarm, close_all_connections, rabbitmqctl};
    use crate::support::relay::Relay;
    use crate::under_load::{WORKERS, wait_for_final, wait_until_past};

    /// F17: one of four workers is frozen, and continues after the others have made decisions.
    ///
    /// Fails if decisions are written without a version check (a state ignores an accepted receipt).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_are_frozen() {
        under_load("workers_are_frozen", in_flight(256), async |cluster, _, workers| {
            let mut more = [cluster.start("c", WORKER).await, cluster.start("d", WORKER).await];
            for (worker, ends) in [(0, 20), (1, 70), (0, 70)] {
                workers[worker].signal("STOP");
                one_fault();
                wait_for_final(cluster, ends).await;
                workers[worker].signal("CONT");
            }
            for worker in &mut more {
                stop(worker).await;
            }
        })
        .await;
    }

    /// Waits until this many further chunks have passed.
    async fn wait_for_chunks(relay: &Relay, pieces: u64) {
        let all = relay.counts().writes + pieces;
        wait::until("pieces pass", async || relay.counts().writes >= all).await;
    }

    /// F8: bytes arrive one at a time, or as slowly as over a bad network. Connections are reset in the
    /// middle of a frame.
    ///
    /// Fails if a reset connection to the carrier counts as one that was never established (O2: two messages
    /// without a repeat).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn frames_arrive_in_pieces_and_connections_are_reset() {
        let name = "frames_arrive_in_pieces_and_connections_are_reset";
        let mut seed = Seed::of("where frames are cut");
        under_load(name, in_flight(128), async |_, relays, _| {
            let (mut cut, mut tried) = (0, 0);
            for relay in [&relays.ledger, &relays.broker, &relays.carrier] {
                relay.slice(1);
                wait_for_chunks(relay, 2_000).await;
                relay.pass();
                // About 50 kB per second.
                relay.slice(100);
                relay.delay(Duration::from_millis(2));
                wait_for_chunks(relay, 100).await;
                for direction in [Direction::ToUpstream, Direction::ToClient].into_iter().cycle().take(8) {
                    let before = relay.counts();
                    relay.cut_after(direction, 1 + seed.below(400) as usize);
                    let cut_in_time = tokio::time::timeout(Duration::from_secs(3), relay.triggered()).await;
                    (cut, tried) = (cut + usize::from(cut_in_time.is_ok()), tried + 1);
                    one_fault();
                    relay.reset();
                    wait_for_reconnect(relay, before).await;
                }
                relay.pass();
            }
            assert!(cut > tried / 2, "only {cut} of {tried} connections were cut");
        })
        .await;
    }

    /// Fails if events are removed from the row before they are confirmed (final states are not published).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_closes_all_connections_twenty_times() {
        under_load(
            "the_broker_closes_all_connections_twenty_times",
            in_flight(0),
            async |cluster, relays, _| {
                for _ in 0..20 {
                    let (before, vhost) = (relays.broker.counts(), cluster.deployment.vhost.clone());
                    blocking(move || close_all_connections(&vhost)).await;
                    one_fault();
                    let anew =
                        async || (relays.broker.counts().connections > before.connections).then_some(());
                    assert!(
                        wait::within(Duration::from_secs(20), anew).await.is_some(),
                        "no process reconnects"
                    );
                }
            },
        )
        .await;
    }

    /// While the ledger is read-only, no job is acknowledged or rejected. Processing continues afterwards.
    ///
    /// Fails if a read-only ledger counts as a refusal of the data (a job is answered with 422).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_read_only_for_a_while() {
        under_load("the_ledger_is_read_only_for_a_while", in_flight(64), async |cluster, _, _| {
            let read_only = ReadOnly::begin(&cluster.deployment.ledger_url).await;
            wait_for_log(cluster, "the ledger is read-only").await;
            blocking(move || drop(read_only)).await;
        })
        .await;
    }

    /// F9: the disk under the ledger's tables is full. Each process reports it until there is space, and no
    /// job is acknowledged or rejected.
    ///
    /// Fails if a readable server counts as a writable one (the process reports ready).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_disk_is_full() {
        under_load("the_ledgers_disk_is_full", in_flight(64), async |cluster, _, _| {
            let small = SmallDisk::begin(&cluster.deployment.ledger_url).await;
            small.disk.fill();
            wait_for_log(cluster, "disk is full; free space").await;
            blocking(move || drop(small)).await;
        })
        .await;
    }

    /// F4: the broker blocks publishers. Jobs in its queues and jobs over HTTP are still sent. Their events
    /// stay pending, and are published after the alarm.
    ///
    /// Fails if an unconfirmed event counts as published.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_brokers_memory_or_disk_alarm_is_on() {
        under_load("the_brokers_memory_or_disk_alarm_is_on", in_flight(0), async |cluster, _, _| {
            for (alarm, queued, to) in [
                (Alarm::Memory, "+447730000001", "+447730000002"),
                (Alarm::Disk, "+447730000003", "+447730000004"),
            ] {
                let [mut queued, mut posted] = [queued, to].map(|to| job(to, json!({})));
                cluster.by_hand.lock().unwrap().extend([&mut queued, &mut posted].map(Sent::by_hand));
                // A request is open at this moment.
                let slow = json!([{"outcome": "slow", "ms": 2500}]);
                cluster.deployment.script(queued["to"].as_str().unwrap(), slow).await;
                let queued = cluster.deployment.publish(&queued).await;
                cluster.deployment.until_state(queued, "sending").await;
                let raised = blocking(move || alarm.on()).await;
                cluster.deployment.until_state(queued, "delivered").await;
                let api = cluster.api.to_string();
                let body = posted.to_string();
                let (status, answer) =
                    cluster.deployment.post_bytes(&api, &cluster.deployment.key, body.into()).await;
                assert_eq!(status, 202, "{answer}");
                let look = connect(&cluster.deployment.ledger_url).await;
                let uid: uuid::Uuid = answer["uid"].as_str().unwrap().parse().unwrap();
                let sql = "select d.state = 'delivered' and exists (select from outbox o where o.uids @> array[d.uid])
                             from dispatch d where d.uid = $1";
                let pending = async || look.query_one(sql, &[&uid]).await.unwrap().get::<_, bool>(0);
                wait::until("it is delivered, and its end is pending", pending).await;
                wait_for_log(cluster, "alarm for memory or disk space is on").await;
                assert!(pending().await, "{alarm:?}: the blocked broker has confirmed it");
                blocking(move || drop(raised)).await;
            }
        })
        .await;
    }

    /// Waits until both workers have reported this reason, which may take five seconds.
    async fn wait_for_log(cluster: &Cluster, why: &str) {
        for name in WORKERS {
            let reason_of = async || cluster.ready(name).await;
            let all = async || reason_of().await.is_some_and(|reason| reason.contains(why)).then_some(());
            let found = wait::within(Duration::from_secs(20), all).await;
            assert!(found.is_some(), "{name} does not log {why}, but {:?}", reason_of().await);
        }
        wait::throughout(Duration::from_secs(5), async || {
            for name in WORKERS {
                let reason = cluster.ready(name).await;
                assert!(reason.as_ref().is_some_and(|reason| reason.contains(why)), "{name}: {reason:?}");
            }
        })
        .await;
    }

    /// F7: connections are half-open. First only new connections work, then none, until the heartbeat
    /// notices.
    ///
    /// Fails without a time limit for the ledger's answer, and without heartbeats (jobs never end).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_are_half_open() {
        under_load("connections_are_half_open", in_flight(128), async |cluster, relays, _| {
            let look = connect(&cluster.deployment.ledger_url).await;
            // The newest attempt has begun since then, and ended by time-out and not by an answer.
            let unanswered = async |since: f64| {
                let sql = "select exists (select from dispatch where outcome = 'unknown' and begun_at > to_timestamp($1)
                                             and closed_at - begun_at > interval '2.5 s')";
                look.query_one(sql, &[&since]).await.unwrap().get::<_, bool>(0)
            };
            for relay in [&relays.ledger, &relays.broker, &relays.carrier] {
                let before = relay.counts();
                relay.abandon();
                one_fault();
                let anew = async || relay.counts().connections > before.connections;
                wait::until("otpost reconnects", anew).await;
                wait_for_final(cluster, 10).await;
            }
            // The carrier comes first: its requests time out and are retried before the other outages end.
            relays.carrier.stall();
            one_fault();
            let stalled = otpost::domain::clock::now().as_millisecond() as f64 / 1000.0;
            wait::until("a request is not answered", async || unanswered(stalled).await).await;
            relays.carrier.pass();
            for (relay, why) in [(&relays.ledger, "the ledger does not answer"), (&relays.broker, "RabbitMQ")] {
                wait::until("it is ready", async || cluster.ready("a").await.is_none()).await;
                relay.stall();
                one_fault();
                let reason = async || cluster.ready("a").await.is_some_and(|reason| reason.contains(why));
                wait::until(why, reason).await;
                relay.pass();
            }
        })
        .await;
    }

    /// F5: queues, exchanges and permissions that otpost needs are removed at run time.
    ///
    /// Fails if a refused broker operation is not retried (jobs without a row, events that stay pending).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn queues_and_permissions_are_removed() {
        under_load("queues_and_permissions_are_removed", in_flight(0), async |cluster, _, _| {
            let vhost = &cluster.deployment.vhost;
            let permissions = async |configure, write, read| {
                let vhost = vhost.clone();
                let set = move || {
                    rabbitmqctl(&["set_permissions", "-p", &vhost, "guest", configure, write, read]);
                    close_all_connections(&vhost);
                };
                blocking(set).await;
            };
            permissions("^t[.].*", "^$", "^$").await;
            wait_for_workers_log(cluster, "does not permit").await;
            wait_for_log(cluster, "does not permit").await;
            permissions(".*", ".*", ".*").await;
        })
        .await;
    }

    /// Reads dispatches on a worker's page again and again. Each read uses a connection to the ledger.
    async fn read_on(cluster: &Cluster, ops: String) {
        loop {
            cluster.deployment.get(&format!("http://{ops}/dispatches/default/{}", Uuid::new_v4())).await;
        }
    }

    /// F9: all ledger connections of both workers wait for a lock, and the workers report it meanwhile.
    ///
    /// Fails without a statement time-out (no worker reports that the ledger is overloaded).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_ledger_connection_waits_for_a_lock() {
        Box::pin(under_load(
            "every_ledger_connection_waits_for_a_lock",
            in_flight(128),
            async |cluster, _, _| {
                let look = connect(&cluster.deployment.ledger_url).await;
                let requests = async {
                    let wait = "select count(*) from pg_stat_activity
                             where application_name = 'otpost' and wait_event_type = 'Lock'";
                    let pool = otpost::ledger::Options::default().pool;
                    let most = (WORKERS.len() * pool) as i64;
                    let all = async || look.query_one(wait, &[]).await.unwrap().get::<_, i64>(0) >= most;
                    // The workers' own groups need only some of their connections at a time.
                    let mut readers = vec![];
                    for worker in WORKERS {
                        let ops =
                            cluster.deployment.serving(worker).await["ops"].as_str().unwrap().to_owned();
                        readers.extend((0..pool).map(|_| read_on(cluster, ops.clone())));
                    }
                    tokio::select! {
                        _ = join_all(readers) => unreachable!("they read on"),
                        () = wait::until("all connections of the workers wait", all) => {}
                    }
                    wait_for_workers_log(cluster, "the ledger is overloaded").await;
                    let (body, began) = (job("+447730000003", json!({})).to_string(), Instant::now());
                    let (status, answer) = cluster
                        .deployment
                        .post_bytes(&cluster.api.to_string(), &cluster.deployment.key, body.into())
                        .await;
                    let took = began.elapsed();
                    assert!(
                        status == 503 && took < Duration::from_secs(12),
                        "{status} {answer} after {took:?}"
                    );
                };
                lock(&cluster.deployment.ledger_url, requests).await;
            },
        ))
        .await;
    }

    /// F7, F9: the whole server is frozen. Statements run when the server continues, after their clients have
    /// given up.
    ///
    /// Fails if an admission that was committed without an answer counts as another's (O2: repeats without an
    /// unknown outcome).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_server_is_frozen() {
        under_load("the_ledgers_server_is_frozen", in_flight(0), async |cluster, _, _| {
            let frozen = Frozen::begin(server(&cluster.deployment.ledger_url).await);
            wait_for_workers_log(cluster, "the ledger is unreachable").await;
            drop(frozen);
        })
        .await;
    }

    /// F7: the broker is frozen for longer than two heartbeats, and consumers notice it.
    ///
    /// Fails without heartbeats (a connection without data looks like a healthy one).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_brokers_server_is_frozen() {
        under_load("the_brokers_server_is_frozen", in_flight(0), async |cluster, _, _| {
            let pid = blocking(|| rabbitmqctl(&["eval", "list_to_integer(os:getpid())."])).await;
            let frozen = Frozen::begin(vec![pid.trim().parse().unwrap()]);
            wait_for_workers_log(cluster, "no connection to RabbitMQ").await;
            drop(frozen);
        })
        .await;
    }

    /// The outage is longer than any pause between two connection attempts, and longer than most codes live.
    /// The codes expire and report it.
    ///
    /// Fails if the ninth connection attempt is the last (not all jobs have rows).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_is_unreachable_for_minutes() {
        const WAITING: usize = 20;
        let report =
            under_load("the_broker_is_unreachable_for_minutes", in_flight(0), async |cluster, relays, _| {
                // No worker consumes now, so the jobs are in the queue when the broker stops.
                relays.broker.abandon();
                relays.broker.stall();
                let expires_at =
                    otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(90));
                for n in 0..WAITING {
                    let mut job = job(&format!("+4477300002{n:02}"), json!({"expires_at": expires_at}));
                    cluster.by_hand.lock().unwrap().push(Sent::by_hand(&mut job));
                    cluster.deployment.publish(&job).await;
                }
                let away = blocking(|| StoppedServer::stop("rabbitmq", "clean")).await;
                relays.broker.pass();
                wait_until_past(expires_at).await;
                blocking(move || drop(away)).await;
            })
            .await;
        assert!(report.ends.get("expired").is_some_and(|expired| *expired >= WAITING), "{report:?}");
    }

    /// The outage is longer than most codes live. Held jobs end as expired, and no request begins for them.
    ///
    /// Fails if a job's expiry is not checked again after the outage (O3: begun too late).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_unreachable_for_minutes() {
        let report = under_load("the_ledger_is_unreachable_for_minutes", in_flight(128), async |_, _, _| {
            let away = blocking(|| StoppedServer::stop("postgres", "fast")).await;
            // It also exceeds the life of jobs from its first half minute.
            wait_until_past(otpost::domain::clock::after(
                otpost::domain::clock::now(),
                LIFE + Duration::from_secs(30),
            ))
            .await;
            blocking(move || drop(away)).await;
        })
        .await;
        assert!(report.ends["expired"] > 0, "{report:?}");
    }
}
