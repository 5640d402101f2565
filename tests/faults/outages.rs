//! What otpost stands on breaks under load: the broker (F3, F5), the ledger (F9), the network to each of them and to the
//! carrier (F7, F8), and workers themselves (F17).

use std::time::Duration;

use crate::breaking::end_backends;
use crate::checker::one_fault;
use crate::support::house::away::Away;
use crate::support::relay::Direction;
use crate::support::wait;
use crate::support::world::connect;
use crate::under_load::{blocking, connected_anew, in_flight, under_load, workers_say};

/// Seen to fail: without the loop that connects again (not all jobs have rows).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed() {
    under_load("the_broker_is_killed", in_flight(0), async |site, _, _| {
        let away = blocking(|| Away::stop("rabbitmq", "kill")).await;
        workers_say(site, "no connection to RabbitMQ").await;
        blocking(move || drop(away)).await;
    })
    .await;
}

/// Seen to fail: where a job whose admission was not answered is acked (it has no row).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_restarted_immediate() {
    under_load("the_ledger_is_restarted_immediate", in_flight(64), async |site, _, _| {
        let away = blocking(|| Away::stop("postgres", "immediate")).await;
        workers_say(site, "the ledger is unreachable").await;
        blocking(move || drop(away)).await;
    })
    .await;
}

/// Without an answer from the ledger no process knows what was committed: it finds its own claims again.
///
/// Seen to fail: where an open attempt with one's own claim counts as anybody's (O2: repeats, and nothing was unknown).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledgers_connections_are_ended_again_and_again() {
    under_load("the_ledgers_connections_are_ended_again_and_again", in_flight(0), async |site, lines, _| {
        let look = connect(&site.house.ledger_url).await;
        // What an admission, an outcome and a begin have in them: it is committed, and its answer never comes. One at a
        // time: who is not answered for longer than a group runs again cannot know its begin.
        let passed =
            ["keep_refusal", "keep_refusal", "keep_refusal", "conclusion", "deadline_ms", "conclusion"];
        let mut cut = 0;
        for needle in passed {
            let before = lines.ledger.counts();
            lines.ledger.cut_when(Direction::ToUpstream, needle.as_bytes(), false);
            let sprung = tokio::time::timeout(Duration::from_millis(500), lines.ledger.sprung()).await;
            cut += usize::from(sprung.is_ok());
            one_fault();
            connected_anew(&lines.ledger, before).await;
        }
        lines.ledger.pass();
        assert!(cut > passed.len() / 2, "only {cut} commits came by and were cut");
        for _ in 0..20 {
            let before = lines.ledger.counts();
            wait::until("there are connections to end", async || end_backends(&look).await > 0).await;
            one_fault();
            connected_anew(&lines.ledger, before).await;
        }
    })
    .await;
}

mod long {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::breaking::{Frozen, ReadOnly, SmallDisk, lock, server};
    use crate::load::{LIFE, Sent};
    use crate::seed::Seed;
    use crate::site::{Site, WORKER};
    use crate::stopping::stop;
    use crate::support::house::job;
    use crate::support::node::{Alarm, close_all_connections, rabbitmqctl};
    use crate::support::relay::Relay;
    use crate::under_load::{WORKERS, ends_come, is_past};

    /// F17: of four workers one was frozen, and wakes up among decisions that the others made without it.
    ///
    /// Seen to fail: where conclusions are written whatever the version (a state without the receipt that was taken).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_are_frozen() {
        under_load("workers_are_frozen", in_flight(256), async |site, _, workers| {
            let mut more = [site.start("c", WORKER).await, site.start("d", WORKER).await];
            for (worker, ends) in [(0, 20), (1, 70), (0, 70)] {
                workers[worker].signal("STOP");
                one_fault();
                ends_come(site, ends).await;
                workers[worker].signal("CONT");
            }
            for worker in &mut more {
                stop(worker).await;
            }
        })
        .await;
    }

    /// Waits until so many more have passed.
    async fn pieces_come(relay: &Relay, pieces: u64) {
        let all = relay.counts().writes + pieces;
        wait::until("pieces pass", async || relay.counts().writes >= all).await;
    }

    /// F8: bytes come one at a time, or as slowly as by a bad line; connections are reset in the midst of a frame.
    ///
    /// Seen to fail: where a connection to the carrier that is reset counts as one that never stood (O2: two without a repeat).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn frames_come_in_pieces_and_connections_are_reset() {
        let name = "frames_come_in_pieces_and_connections_are_reset";
        let mut seed = Seed::of("where frames are cut");
        under_load(name, in_flight(128), async |_, lines, _| {
            let (mut cut, mut tried) = (0, 0);
            for relay in [&lines.ledger, &lines.broker, &lines.carrier] {
                relay.slice(1);
                pieces_come(relay, 2_000).await;
                relay.pass();
                // Some 50 kB a second.
                relay.slice(100);
                relay.delay(Duration::from_millis(2));
                pieces_come(relay, 100).await;
                for direction in [Direction::ToUpstream, Direction::ToClient].into_iter().cycle().take(8) {
                    let before = relay.counts();
                    relay.cut_after(direction, 1 + seed.below(400) as usize);
                    let sprung = tokio::time::timeout(Duration::from_secs(3), relay.sprung()).await;
                    (cut, tried) = (cut + usize::from(sprung.is_ok()), tried + 1);
                    one_fault();
                    relay.reset();
                    connected_anew(relay, before).await;
                }
                relay.pass();
            }
            assert!(cut > tried / 2, "only {cut} of {tried} times bytes came by and were cut");
        })
        .await;
    }

    /// Seen to fail: with events that are taken off the row before they are confirmed (ends are not told).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_closes_all_connections_twenty_times() {
        under_load("the_broker_closes_all_connections_twenty_times", in_flight(0), async |site, lines, _| {
            for _ in 0..20 {
                let (before, vhost) = (lines.broker.counts(), site.house.vhost.clone());
                blocking(move || close_all_connections(&vhost)).await;
                one_fault();
                let anew = async || (lines.broker.counts().connections > before.connections).then_some(());
                assert!(wait::within(Duration::from_secs(20), anew).await.is_some(), "nobody connects again");
            }
        })
        .await;
    }

    /// What cannot be written is not pretended: the intake closes, nothing is rejected, and it goes on when writing is possible.
    ///
    /// Seen to fail: where a ledger that takes no writes counts as data that it refuses (a job is answered 422).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_read_only_for_a_while() {
        under_load("the_ledger_is_read_only_for_a_while", in_flight(64), async |site, _, _| {
            let read_only = ReadOnly::begin(&site.house.ledger_url).await;
            wait_for_log(site, "takes no writes").await;
            blocking(move || drop(read_only)).await;
        })
        .await;
    }

    /// F9: the disk under the ledger's tables is full: each process says so until there is room, and nothing is pretended.
    ///
    /// Seen to fail: where a server that can be read counts as one that takes writes (it says that it is ready).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_disk_is_full() {
        under_load("the_ledgers_disk_is_full", in_flight(64), async |site, _, _| {
            let small = SmallDisk::begin(&site.house.ledger_url).await;
            small.disk.fill();
            wait_for_log(site, "disk is full; make room").await;
            blocking(move || drop(small)).await;
        })
        .await;
    }

    /// F4: the broker takes nothing from whoever publishes. What it has is sent all the same, and what comes over HTTP;
    /// events are owed, and told when it takes them again.
    ///
    /// Seen to fail: where an event that was not confirmed counts as told.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_has_no_memory_or_no_disk_left() {
        under_load("the_broker_has_no_memory_or_no_disk_left", in_flight(0), async |site, _, _| {
            for (alarm, taken, to) in [
                (Alarm::Memory, "+447730000001", "+447730000002"),
                (Alarm::Disk, "+447730000003", "+447730000004"),
            ] {
                let [mut taken, mut posted] = [taken, to].map(|to| job(to, json!({})));
                site.by_hand.lock().unwrap().extend([&mut taken, &mut posted].map(Sent::by_hand));
                // In the midst of its request.
                let slow = json!([{"outcome": "slow", "ms": 2500}]);
                site.house.script(taken["to"].as_str().unwrap(), slow).await;
                let taken = site.house.publish(&taken).await;
                site.house.until_state(taken, "sending").await;
                let raised = blocking(move || alarm.on()).await;
                site.house.until_state(taken, "delivered").await;
                let api = site.api.to_string();
                let body = posted.to_string();
                let (status, answer) = site.house.post_bytes(&api, &site.house.key, body.into()).await;
                assert_eq!(status, 202, "{answer}");
                let look = connect(&site.house.ledger_url).await;
                let uid: uuid::Uuid = answer["uid"].as_str().unwrap().parse().unwrap();
                let sql = "select state = 'delivered' and tell_at is not null from dispatch where uid = $1";
                let pending = async || look.query_one(sql, &[&uid]).await.unwrap().get::<_, bool>(0);
                wait::until("it is delivered, and its end is pending", pending).await;
                wait_for_log(site, "alarm for memory or disk space is on").await;
                assert!(pending().await, "{alarm:?}: it was told by a broker that takes nothing");
                blocking(move || drop(raised)).await;
            }
        })
        .await;
    }

    /// Both workers are not ready, and say why, for as long as five seconds.
    async fn wait_for_log(site: &Site, why: &str) {
        for name in WORKERS {
            let said = async || site.ready(name).await;
            let all = async || said().await.is_some_and(|says| says.contains(why)).then_some(());
            let found = wait::within(Duration::from_secs(20), all).await;
            assert!(found.is_some(), "{name} never says that it {why}, but {:?}", said().await);
        }
        wait::throughout(Duration::from_secs(5), async || {
            for name in WORKERS {
                let says = site.ready(name).await;
                assert!(says.as_ref().is_some_and(|says| says.contains(why)), "{name}: {says:?}");
            }
        })
        .await;
    }

    /// F7: nobody closes anything, and nothing comes through any more but by a new connection; then by none at all, as from a
    /// peer that is stopped, until somebody notices.
    ///
    /// Seen to fail: without a limit to the wait for the ledger's answer, and without heartbeats (jobs never end).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_are_half_open() {
        under_load("connections_are_half_open", in_flight(128), async |site, lines, _| {
            let look = connect(&site.house.ledger_url).await;
            // A newest attempt that has begun since then, and ended by the time-out and not by an answer.
            let unanswered = async |since: f64| {
                let sql = "select exists (select from dispatch where outcome = 'unknown' and begun_at > to_timestamp($1)
                                             and closed_at - begun_at > interval '2.5 s')";
                look.query_one(sql, &[&since]).await.unwrap().get::<_, bool>(0)
            };
            for relay in [&lines.ledger, &lines.broker, &lines.carrier] {
                let before = relay.counts();
                relay.abandon();
                one_fault();
                let anew = async || relay.counts().connections > before.connections;
                wait::until("somebody connects anew", anew).await;
                ends_come(site, 10).await;
            }
            // The carrier first: what is no longer asked of it is asked again before all of this is over.
            lines.carrier.stall();
            one_fault();
            let stalled = otpost::domain::clock::now().as_millisecond() as f64 / 1000.0;
            wait::until("a request is not answered", async || unanswered(stalled).await).await;
            lines.carrier.pass();
            for (relay, why) in [(&lines.ledger, "the ledger does not answer"), (&lines.broker, "RabbitMQ")] {
                wait::until("it is ready", async || site.ready("a").await.is_none()).await;
                relay.stall();
                one_fault();
                let says = async || site.ready("a").await.is_some_and(|says| says.contains(why));
                wait::until(why, says).await;
                relay.pass();
            }
        })
        .await;
    }

    /// F5: what otpost needs of the broker is taken away under it.
    ///
    /// Seen to fail: where what the broker does not permit is not tried again (jobs without a row, events that stay owed).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn queues_and_permissions_are_taken_away() {
        under_load("queues_and_permissions_are_taken_away", in_flight(0), async |site, _, _| {
            let vhost = &site.house.vhost;
            let permissions = async |configure, write, read| {
                let vhost = vhost.clone();
                let set = move || {
                    rabbitmqctl(&["set_permissions", "-p", &vhost, "guest", configure, write, read]);
                    close_all_connections(&vhost);
                };
                blocking(set).await;
            };
            permissions("^t[.].*", "^$", "^$").await;
            workers_say(site, "does not permit").await;
            wait_for_log(site, "does not permit").await;
            permissions(".*", ".*", ".*").await;
        })
        .await;
    }

    /// F9: whoever asks the ledger waits for a lock, until as many wait as both workers have connections; and is told so before
    /// the lock is gone.
    ///
    /// Seen to fail: without a limit to how long a statement may run (no worker says that the ledger is away).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_connection_to_the_ledger_waits() {
        Box::pin(under_load("every_connection_to_the_ledger_waits", in_flight(128), async |site, _, _| {
            let look = connect(&site.house.ledger_url).await;
            let asked = async {
                let wait = "select count(*) from pg_stat_activity
                             where application_name = 'otpost' and wait_event_type = 'Lock'";
                let most = WORKERS.len() as i64 * otpost::ledger::Options::default().pool as i64;
                let all = async || look.query_one(wait, &[]).await.unwrap().get::<_, i64>(0) >= most;
                wait::until("as many wait as the workers have connections", all).await;
                workers_say(site, "the ledger is unreachable").await;
                let (body, began) = (job("+447730000003", json!({})).to_string(), Instant::now());
                let (status, answer) =
                    site.house.post_bytes(&site.api.to_string(), &site.house.key, body.into()).await;
                let took = began.elapsed();
                assert!(status == 503 && took < Duration::from_secs(12), "{status} {answer} after {took:?}");
            };
            lock(&site.house.ledger_url, asked).await;
        }))
        .await;
    }

    /// F7, F9: all of the server is frozen. What it was asked is done when it wakes, after nobody waits for it any more.
    ///
    /// Seen to fail: where an admission that was done unseen counts as anybody's (O2: repeats, and nothing was unknown).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_server_is_frozen() {
        under_load("the_ledgers_server_is_frozen", in_flight(0), async |site, _, _| {
            let frozen = Frozen::begin(server(&site.house.ledger_url).await);
            workers_say(site, "the ledger is unreachable").await;
            drop(frozen);
        })
        .await;
    }

    /// F7: the broker is frozen for longer than two heartbeats, and whoever consumes notices.
    ///
    /// Seen to fail: without heartbeats (a connection on which nothing comes is taken for one on which nothing is to come).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_brokers_server_is_frozen() {
        under_load("the_brokers_server_is_frozen", in_flight(0), async |site, _, _| {
            let pid = blocking(|| rabbitmqctl(&["eval", "list_to_integer(os:getpid())."])).await;
            let frozen = Frozen::begin(vec![pid.trim().parse().unwrap()]);
            workers_say(site, "no connection to RabbitMQ").await;
            drop(frozen);
        })
        .await;
    }

    /// Longer than any pause between two tries to reconnect, and than most codes live: they expire, and say so.
    ///
    /// Seen to fail: with a ninth try to reconnect as the last (not all jobs have rows).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_is_away_for_minutes() {
        const WAITING: usize = 20;
        let report = under_load("the_broker_is_away_for_minutes", in_flight(0), async |site, lines, _| {
            // Nobody reads what comes now, and so it is in the queue when the broker goes.
            lines.broker.abandon();
            lines.broker.stall();
            let expires_at =
                otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(90));
            for n in 0..WAITING {
                let mut job = job(&format!("+4477300002{n:02}"), json!({"expires_at": expires_at}));
                site.by_hand.lock().unwrap().push(Sent::by_hand(&mut job));
                site.house.publish(&job).await;
            }
            let away = blocking(|| Away::stop("rabbitmq", "clean")).await;
            lines.broker.pass();
            is_past(expires_at).await;
            blocking(move || drop(away)).await;
        })
        .await;
        assert!(report.ends.get("expired").is_some_and(|expired| *expired >= WAITING), "{report:?}");
    }

    /// Longer than most codes live: what was held meanwhile ends as expired, and nothing is begun for it.
    ///
    /// Seen to fail: where the life of a job is not looked at again when the ledger is back (O3: begun too late).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_away_for_minutes() {
        let report = under_load("the_ledger_is_away_for_minutes", in_flight(128), async |_, _, _| {
            let away = blocking(|| Away::stop("postgres", "fast")).await;
            // Past the life of what comes in its first half minute, too.
            is_past(otpost::domain::clock::after(
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
