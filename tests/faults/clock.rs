//! F13: wall clocks step, forth and back, by an hour and by a day, while codes wait for their next try and quotas are full.

use std::path::{Path, PathBuf};
use std::time::Duration;

use otpost::domain::attempt::State;
use serde_json::{Value, json};

use crate::checker::{self, Injected};
use crate::disk::Laptop;
use crate::load::{BROKER, Kind, Load, Sent};
use crate::seed::Seed;
use crate::site::{ALL, FRONT_END, Site, WORKER};
use crate::support::house::job;
use crate::support::house::process::Process;
use crate::support::wait;
use crate::support::world::{TempDir, connect};
use crate::under_load::in_flight;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Jobs before the first step, and with each.
const JOBS: usize = 12;
/// The number that gets more jobs than its quota, `5/10m`, lets through.
const CROWDED: &str = "+447719999901";
const ADMITTED: usize = 5;

/// The wall clock of one process, which the test sets. Its other clocks go on.
struct WallClock(PathBuf);

impl WallClock {
    fn new(site: &Site, name: &str) -> Self {
        let clock = Self(site.house.config_file(name).with_extension("clock"));
        clock.step(0);
        clock
    }

    /// So many seconds from the true time.
    fn step(&self, seconds: i64) {
        // Never half written.
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    async fn start(&self, site: &Site, name: &str, roles: &str) -> Process {
        let variables = [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let process = site.start_with(name, roles, &variables);
        site.house.serving(name).await;
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

/// Puts the ledger's clock so many seconds from the true time.
fn ledgers_clock(step: i64) -> String {
    format!(
        "create or replace function otpost_now() returns timestamptz language sql volatile
         as $$ select clock_timestamp() + interval '{step} seconds' $$"
    )
}

/// Jobs for the crowded number.
async fn crowd(site: &Site, jobs: usize) -> Vec<Sent> {
    let mut all = vec![];
    for _ in 0..jobs {
        let mut job = job(CROWDED, json!({}));
        all.push(Sent { kind: Kind::Crowd, ..Sent::by_hand(&mut job) });
        site.house.publish(&job).await;
    }
    all
}

/// Waits for a next try, a carrier's patience, and an unknown outcome are open when the clock steps.
async fn open_waits(site: &Site, load: &mut Load<'_>) {
    let first = load.sent.len();
    for kind in [Kind::Twice503, Kind::Throttled, Kind::HangUp] {
        load.publish_one(kind).await;
    }
    // A ledger whose clock is ahead takes them for expired, and nobody is asked.
    for job in &load.sent[first..] {
        let began = |d: &otpost::domain::dispatch::Dispatch| d.state.is_final() || !d.attempts.is_empty();
        site.house.until(job.id, "begun, or over", began).await;
    }
}

/// O5: of a number's jobs exactly as many pass as its quota says, whatever the processes' clocks say.
async fn holds_its_quota(site: &Site, crowd: &[Sent]) {
    let mut limited = 0;
    for job in crowd {
        let d = site.house.until(job.id, "ended", |d| d.state.is_final()).await;
        match d.state {
            State::Delivered => {}
            State::Limited => limited += 1,
            other => panic!("O5: neither delivered nor limited, but {other}: {d:#?}"),
        }
    }
    assert_eq!(limited, crowd.len() - ADMITTED, "O5: of {} jobs for one number", crowd.len());
    assert_eq!(site.house.accepted(CROWDED).await, ADMITTED, "O5: at the carrier");
}

/// Jobs for one number with the ledger's clock so many seconds from the true time, and how many of them fit into `5/10m` and
/// `10/1d`: the quota counts what was admitted, be it in the future. A step to a later time makes room as the time itself
/// would; one back never does.
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

/// A job for the crowded number that lives for five minutes by a clock that is so wrong.
fn crowded(step: i64) -> Value {
    let now = otpost::domain::clock::now().as_second();
    job(CROWDED, json!({"expires_at": jiff::Timestamp::from_second(now + step + 300).unwrap()}))
}

mod long {
    use super::*;

    /// O5: two workers race for the number while the clock of their ledger steps. As many pass as the quota says, each time.
    ///
    /// Seen to fail: where slots that lie in the future do not count (3 of 3 pass after a step back).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quota_holds_exactly_while_the_ledgers_clock_steps() {
        let site = Site::build(Duration::from_millis(20)).await;
        let _front_end = site.start("front-end", FRONT_END).await;
        let names = ["a", "b"];
        let _workers = [site.start(names[0], WORKER).await, site.start(names[1], WORKER).await];
        let look = connect(&site.house.ledger_url).await;
        let mut delivered = 0;
        for (step, jobs, fit) in CROWDS {
            look.batch_execute(&ledgers_clock(step)).await.unwrap();
            for name in names {
                let knows = async || site.ready(name).await.is_none() == (step == 0);
                wait::until("it knows the ledger's clock", knows).await;
            }
            let crowd: Vec<Value> = (0..jobs).map(|_| crowded(step)).collect();
            let ids = futures_util::future::join_all(crowd.iter().map(|job| site.house.publish(job))).await;
            let mut passed = 0;
            for id in ids {
                let d = site.house.until(id, "ended", |d| d.state.is_final()).await;
                assert!(matches!(d.state, State::Delivered | State::Limited), "{step}: {d:#?}");
                passed += usize::from(d.state == State::Delivered);
            }
            assert_eq!(passed, fit, "O5: of {jobs} jobs at {step} s from the true time");
            delivered += fit;
        }
        assert_eq!(site.house.accepted(CROWDED).await, delivered, "O5: at the carrier");
    }

    /// O5: the same on the embedded ledger, whose clock is the machine's.
    ///
    /// Seen to fail: likewise.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quota_holds_exactly_while_a_laptops_clock_steps() {
        let files = TempDir::new();
        let mut laptop = Laptop::install(&files.0).await;
        laptop.site.more += "[limits]\ndoor_number = \"600/1m\"\n";
        let site = &laptop.site;
        let clock = WallClock::new(site, "laptop");
        let _process = clock.start(site, "laptop", ALL).await;
        let api = site.api.to_string();
        let post = |body: &Value| site.house.post_bytes(&api, &site.house.key, body.to_string().into_bytes());
        let wait_of = |(_, answer): &(u16, Value)| answer["retry_after_s"].as_u64();
        let (mut delivered, mut last) = (0, None);
        for (step, jobs, fit) in CROWDS {
            clock.step(step);
            // For some seconds the door repeats what the ledger refused before, by a clock that nobody sets; the ledger itself
            // now names a time that is further or nearer by the step.
            let first = crowded(step);
            let decided = async || {
                let answer = post(&first).await;
                let is_old = wait_of(&answer).zip(last).is_some_and(|(now, last)| now.abs_diff(last) < 1800);
                if is_old { Err(Duration::from_millis(200)) } else { Ok(answer) }
            };
            let first = wait::retry(Duration::from_secs(20), decided).await.expect("the ledger decides anew");
            // Where the ledger refused that one, the door says so of the others too.
            let others: Vec<Value> = (1..jobs).map(|_| crowded(step)).collect();
            let mut answers = futures_util::future::join_all(others.iter().map(post)).await;
            answers.push(first);
            last = answers.iter().find_map(wait_of);
            let with = |status: u16| answers.iter().filter(|(said, _)| *said == status).count();
            let of = format!("O5: of {jobs} jobs at {step} s from the true time: {answers:?}");
            assert_eq!((with(202), with(429)), (fit, jobs - fit), "{of}");
            delivered += fit;
            // The next step finds nothing under way.
            let url = |id: &Value| format!("http://{api}/v1/dispatches/{}", id.as_str().unwrap());
            for (_, answer) in answers.iter().filter(|(status, _)| *status == 202) {
                wait::until("delivered", async || {
                    let (_, timeline) = site.house.get(&url(&answer["id"])).await;
                    serde_json::from_str::<Value>(&timeline)
                        .is_ok_and(|timeline| timeline["state"] == "delivered")
                })
                .await;
            }
        }
        assert_eq!(site.house.accepted(CROWDED).await, delivered, "O5: at the carrier");
    }

    /// Every process has a clock of its own, and each is wrong in another way. Everything ends as if they were right: codes and
    /// quotas are judged by the ledger's clock.
    ///
    /// Seen to fail: where a worker judges a job by its own clock (jobs become dead letters, and have no row).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_processes_clocks_step() {
        let mut site = Site::build(Duration::from_millis(20)).await;
        site.more += "[limits]\nnumber = [\"5/10m\", \"10/1d\"]\n";
        checker::listen(&site).await;
        let names = ["front-end", "a", "b"];
        let clocks = names.map(|name| WallClock::new(&site, name));
        let _front_end = clocks[0].start(&site, "front-end", FRONT_END).await;
        let _a = clocks[1].start(&site, "a", WORKER).await;
        let ops = site.house.serving("a").await["ops"].as_str().unwrap().to_owned();
        let _b = clocks[2].start(&site, "b", WORKER).await;
        let mut load = Load::new(&site, Seed::of("the_processes_clocks_step"));
        load.publish_each_and(JOBS).await;
        let mut crowded = crowd(&site, 3).await;
        for steps in [[HOUR, HOUR, -HOUR], [-HOUR, 0, DAY], [DAY, -DAY, -DAY], [-DAY, DAY, DAY], [0, 0, 0]] {
            open_waits(&site, &mut load).await;
            for (clock, step) in clocks.iter().zip(steps) {
                clock.step(step);
            }
            load.publish(JOBS).await;
            crowded.extend(crowd(&site, 2).await);
            wait::until("a worker whose clock is wrong says so, and how", async || {
                let (status, says) = site.house.get(&format!("http://{ops}/readyz/worker")).await;
                match steps[1] {
                    0 => status == 200,
                    step => status == 503 && says.contains("clock is -") == (step < 0),
                }
            })
            .await;
        }
        holds_its_quota(&site, &crowded).await;
        let sent = [load.sent, crowded].concat();
        checker::settle(&site, &sent, Duration::from_secs(60)).await;
        checker::check(&site, &sent, Injected::default()).await;
    }

    /// The clock by which everything is judged steps itself. What was under way may end late, or as expired, and says so; no
    /// code goes late by it, and nothing goes twice without a repeat.
    ///
    /// Seen to fail: where the life that is left is not looked at before the first byte (O3: begun too late).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_clock_steps() {
        let site = Site::build(Duration::from_millis(20)).await;
        checker::listen(&site).await;
        let _front_end = site.start("front-end", FRONT_END).await;
        let _a = site.start("a", WORKER).await;
        let _b = site.start("b", WORKER).await;
        let look = connect(&site.house.ledger_url).await;
        let mut load = Load::new(&site, Seed::of("the_ledgers_clock_steps"));
        // Over HTTP an expired code is an answer, and no dispatch.
        load.ingresses = BROKER;
        load.publish_each_and(JOBS).await;
        for step in [HOUR, 0, -HOUR, 0, DAY, 0, -DAY, 0] {
            open_waits(&site, &mut load).await;
            look.batch_execute(&ledgers_clock(step)).await.unwrap();
            load.publish(JOBS).await;
            for name in ["a", "b"] {
                let knows = async || site.ready(name).await.is_none() == (step == 0);
                wait::until("it knows the ledger's clock", knows).await;
            }
        }
        let last = load.sent.len();
        load.publish(JOBS).await;
        checker::settle(&site, &load.sent, Duration::from_secs(100)).await;
        checker::check(&site, &load.sent, in_flight(64)).await;
        for job in &load.sent[last..] {
            let d = site.house.ledger.find("default", job.id).await.unwrap().unwrap();
            assert!(job.ends().contains(&d.state.as_str()), "no clock stepped any more: {job:?} {d:#?}");
        }
    }
}
