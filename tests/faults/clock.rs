//! F13: wall clocks step forwards and back, by an hour and by a day, while back-offs are pending and quotas
//! are full.

use std::path::{Path, PathBuf};
use std::time::Duration;

use otpost::domain::attempt::State;
use serde_json::{Value, json};

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster, FRONT_END, WORKER};
use crate::disk::EmbeddedDeployment;
use crate::load::{BROKER, Kind, Load, Sent};
use crate::seed::Seed;
use crate::support::deployment::job;
use crate::support::deployment::process::Process;
use crate::support::wait;
use crate::support::world::{TempDir, connect};
use crate::under_load::in_flight;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Number of jobs before the first step, and with each step.
const JOBS: usize = 12;
/// A number with more jobs than its quota, `5/10m`, admits.
const CROWDED: &str = "+447719999901";
const ADMITTED: usize = 5;

/// The wall clock of one process. The test sets it; the process's other clocks are right.
struct WallClock(PathBuf);

impl WallClock {
    fn new(cluster: &Cluster, name: &str) -> Self {
        let clock = Self(cluster.deployment.config_file(name).with_extension("clock"));
        clock.step(0);
        clock
    }

    /// Sets the offset in seconds.
    fn step(&self, seconds: i64) {
        // The rename makes the write atomic.
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    async fn start(&self, cluster: &Cluster, name: &str, roles: &str) -> Process {
        let variables = [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let process = cluster.start_with(name, roles, &variables);
        cluster.deployment.serving(name).await;
        process
    }
}

/// libfaketime, from the Debian package `faketime`.
fn library() -> &'static str {
    const PLACES: [&str; 3] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/faketime/libfaketimeMT.so.1",
    ];
    let found = PLACES.into_iter().find(|place| Path::new(place).exists());
    found.expect("libfaketime is not installed: run scripts/faults, or install the package faketime")
}

/// Returns the statement that sets the ledger's clock to this offset in seconds.
fn ledgers_clock(step: i64) -> String {
    format!(
        "create or replace function clock_timestamp() returns timestamptz language sql volatile
         as $$ select pg_catalog.clock_timestamp() + interval '{step} seconds' $$"
    )
}

/// A cluster whose processes take the ledger's clock from [`ledgers_clock`], and a connection that sets it.
async fn with_a_steppable_ledger() -> (Cluster, tokio_postgres::Client) {
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    let url = cluster.deployment.ledger_url.clone();
    let look = connect(&url).await;
    // Before the processes connect: a prepared statement finds no function that is created later.
    look.batch_execute(&ledgers_clock(0)).await.unwrap();
    cluster.replacements.push((url.clone(), crate::support::world::replaced_clock(&url)));
    (cluster, look)
}

/// Publishes jobs for the crowded number.
async fn publish_crowd(cluster: &Cluster, jobs: usize) -> Vec<Sent> {
    let mut all = vec![];
    for _ in 0..jobs {
        let mut job = job(CROWDED, json!({}));
        all.push(Sent { kind: Kind::Crowd, ..Sent::by_hand(&mut job) });
        cluster.deployment.publish(&job).await;
    }
    all
}

/// Back-offs, snoozes and unknown outcomes are pending when the clock steps.
async fn start_waiting_dispatches(cluster: &Cluster, load: &mut Load<'_>) {
    let first = load.sent.len();
    for kind in [Kind::Twice503, Kind::Throttled, Kind::HangUp] {
        load.publish_one(kind).await;
    }
    // If the ledger's clock is ahead, they have expired, and no request is sent.
    for job in &load.sent[first..] {
        let began = |d: &otpost::domain::dispatch::Dispatch| d.state.is_final() || !d.attempts.is_empty();
        cluster.deployment.until(job.id, "begun, or over", |d| began(d)).await;
    }
}

/// O5: of a number's jobs the quota admits exactly as many as its rule allows, with any process clocks.
async fn assert_the_quota_holds(cluster: &Cluster, crowd: &[Sent]) {
    let mut limited = 0;
    for job in crowd {
        let d = cluster.deployment.until(job.id, "ended", |d| d.state.is_final()).await;
        match d.state {
            State::Delivered => {}
            State::Limited => limited += 1,
            other => panic!("O5: neither delivered nor limited, but {other}: {d:#?}"),
        }
    }
    assert_eq!(limited, crowd.len() - ADMITTED, "O5: of {} jobs for one number", crowd.len());
    assert_eq!(cluster.deployment.accepted(CROWDED).await, ADMITTED, "O5: at the carrier");
}

/// Each entry: the offset of the ledger's clock in seconds, the number of jobs for one number, and how many
/// of them fit into `5/10m` and `10/1d`. Uses with a time in the future count too. A step forwards frees
/// uses; a step back never does.
const CROWDS: [(i64, usize, usize); 9] = [
    (0, 8, 5),
    (-HOUR, 3, 0),
    (0, 3, 0),
    (HOUR, 8, 5),
    (0, 3, 0),
    (-DAY, 3, 0),
    (0, 3, 0),
    (DAY, 8, 5),
    (0, 3, 0),
];

/// A job for the crowded number that lives for five minutes by a clock with this offset.
fn crowded_job(step: i64) -> Value {
    let now = otpost::domain::clock::now().as_second();
    job(CROWDED, json!({"expires_at": jiff::Timestamp::from_second(now + step + 300).unwrap()}))
}

mod long {
    use super::*;

    /// O5: two workers compete for the number while the ledger's clock steps. Each time the quota admits
    /// exactly as many as its rule allows.
    ///
    /// Fails if quota uses in the future do not count (3 of 3 pass after a step back).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quota_holds_exactly_while_the_ledgers_clock_steps() {
        let (cluster, look) = with_a_steppable_ledger().await;
        let _front_end = cluster.start("front-end", FRONT_END).await;
        let names = ["a", "b"];
        let _workers = [cluster.start(names[0], WORKER).await, cluster.start(names[1], WORKER).await];
        let mut delivered = 0;
        for (step, jobs, fit) in CROWDS {
            look.batch_execute(&ledgers_clock(step)).await.unwrap();
            for name in names {
                let knows = async || cluster.ready(name).await.is_none() == (step == 0);
                wait::until("it knows the ledger's clock", knows).await;
            }
            let crowd: Vec<Value> = (0..jobs).map(|_| crowded_job(step)).collect();
            let ids =
                futures_util::future::join_all(crowd.iter().map(|job| cluster.deployment.publish(job))).await;
            let mut passed = 0;
            for id in ids {
                let d = cluster.deployment.until(id, "ended", |d| d.state.is_final()).await;
                assert!(matches!(d.state, State::Delivered | State::Limited), "{step}: {d:#?}");
                passed += usize::from(d.state == State::Delivered);
            }
            assert_eq!(passed, fit, "O5: of {jobs} jobs at {step} s from the true time");
            delivered += fit;
        }
        assert_eq!(cluster.deployment.accepted(CROWDED).await, delivered, "O5: at the carrier");
    }

    /// O5: the same with the embedded ledger, whose clock is the machine's.
    ///
    /// Fails if quota uses in the future do not count.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quota_holds_exactly_while_the_embedded_ledgers_clock_steps() {
        let files = TempDir::new();
        let mut embedded = EmbeddedDeployment::install(&files.0).await;
        embedded.cluster.extra_config += "[limits]\ndoor_number = \"600/1m\"\n";
        let cluster = &embedded.cluster;
        let clock = WallClock::new(cluster, "embedded");
        let _process = clock.start(cluster, "embedded", ALL).await;
        let api = cluster.api.to_string();
        let post = |body: &Value| {
            cluster.deployment.post_bytes(&api, &cluster.deployment.key, body.to_string().into_bytes())
        };
        let wait_of = |(_, answer): &(u16, Value)| answer["retry_after_s"].as_u64();
        let (mut delivered, mut last) = (0, None);
        for (step, jobs, fit) in CROWDS {
            clock.step(step);
            // The HTTP API caches refusals for some seconds by boot time. The ledger itself now returns a
            // time that differs by the step.
            let first = crowded_job(step);
            let decided = async || {
                let answer = post(&first).await;
                let is_old = wait_of(&answer).zip(last).is_some_and(|(now, last)| now.abs_diff(last) < 1800);
                if is_old { Err(Duration::from_millis(200)) } else { Ok(answer) }
            };
            let first = wait::retry(Duration::from_secs(20), decided).await.expect("the ledger decides anew");
            // If the ledger refused this job, the HTTP API refuses the others too.
            let others: Vec<Value> = (1..jobs).map(|_| crowded_job(step)).collect();
            let mut answers = futures_util::future::join_all(others.iter().map(post)).await;
            answers.push(first);
            last = answers.iter().find_map(wait_of);
            let with = |status: u16| answers.iter().filter(|(got, _)| *got == status).count();
            let of = format!("O5: of {jobs} jobs at {step} s from the true time: {answers:?}");
            assert_eq!((with(202), with(429)), (fit, jobs - fit), "{of}");
            delivered += fit;
            // No request is open at the next step.
            let url = |id: &Value| format!("http://{api}/v1/dispatches/{}", id.as_str().unwrap());
            for (_, answer) in answers.iter().filter(|(status, _)| *status == 202) {
                wait::until("delivered", async || {
                    let (_, timeline) = cluster.deployment.get(&url(&answer["id"])).await;
                    serde_json::from_str::<Value>(&timeline)
                        .is_ok_and(|timeline| timeline["state"] == "delivered")
                })
                .await;
            }
        }
        assert_eq!(cluster.deployment.accepted(CROWDED).await, delivered, "O5: at the carrier");
    }

    /// Every process has its own wrong clock. The results are the same as with right clocks, because codes
    /// and quotas are judged by the ledger's clock.
    ///
    /// Fails if a worker judges a job by its own clock (jobs become dead letters and have no row).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_processes_clocks_step() {
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        cluster.extra_config += "[limits]\nnumber = [\"5/10m\", \"10/1d\"]\n";
        checker::listen(&cluster).await;
        let names = ["front-end", "a", "b"];
        let clocks = names.map(|name| WallClock::new(&cluster, name));
        let _front_end = clocks[0].start(&cluster, "front-end", FRONT_END).await;
        let _a = clocks[1].start(&cluster, "a", WORKER).await;
        let ops = cluster.deployment.serving("a").await["ops"].as_str().unwrap().to_owned();
        let _b = clocks[2].start(&cluster, "b", WORKER).await;
        let mut load = Load::new(&cluster, Seed::of("the_processes_clocks_step"));
        load.publish_each_and(JOBS).await;
        let mut crowded = publish_crowd(&cluster, 3).await;
        for steps in [[HOUR, HOUR, -HOUR], [-HOUR, 0, DAY], [DAY, -DAY, -DAY], [-DAY, DAY, DAY], [0, 0, 0]] {
            start_waiting_dispatches(&cluster, &mut load).await;
            for (clock, step) in clocks.iter().zip(steps) {
                clock.step(step);
            }
            load.publish(JOBS).await;
            crowded.extend(publish_crowd(&cluster, 2).await);
            wait::until("a worker with a wrong clock reports it", async || {
                let (status, text) = cluster.deployment.get(&format!("http://{ops}/readyz/worker")).await;
                match steps[1] {
                    0 => status == 200,
                    step => status == 503 && text.contains("clock is -") == (step < 0),
                }
            })
            .await;
        }
        assert_the_quota_holds(&cluster, &crowded).await;
        let sent = [load.sent, crowded].concat();
        checker::settle(&cluster, &sent, Duration::from_secs(60)).await;
        checker::check(&cluster, &sent, Injected::default()).await;
    }

    /// The ledger's own clock steps. Open dispatches may end late or as expired, and report it. No code is
    /// sent late, and no message is sent twice without a repeat.
    ///
    /// Fails if the remaining life is not checked before the first byte (O3: begun too late).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_clock_steps() {
        let (cluster, look) = with_a_steppable_ledger().await;
        checker::listen(&cluster).await;
        let _front_end = cluster.start("front-end", FRONT_END).await;
        let _a = cluster.start("a", WORKER).await;
        let _b = cluster.start("b", WORKER).await;
        let mut load = Load::new(&cluster, Seed::of("the_ledgers_clock_steps"));
        // Over HTTP an expired code gets an error answer and no dispatch.
        load.ingresses = BROKER;
        load.publish_each_and(JOBS).await;
        for step in [HOUR, 0, -HOUR, 0, DAY, 0, -DAY, 0] {
            start_waiting_dispatches(&cluster, &mut load).await;
            look.batch_execute(&ledgers_clock(step)).await.unwrap();
            load.publish(JOBS).await;
            for name in ["a", "b"] {
                let knows = async || cluster.ready(name).await.is_none() == (step == 0);
                wait::until("it knows the ledger's clock", knows).await;
            }
        }
        let last = load.sent.len();
        load.publish(JOBS).await;
        checker::settle(&cluster, &load.sent, Duration::from_secs(100)).await;
        checker::check(&cluster, &load.sent, in_flight(64)).await;
        for job in &load.sent[last..] {
            let d = cluster.deployment.ledger.find("default", job.id).await.unwrap().unwrap();
            assert!(
                job.ends().contains(&d.state.as_str()),
                "no clock stepped after this job: {job:?} {d:#?}"
            );
        }
    }
}
