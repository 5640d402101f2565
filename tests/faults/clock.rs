//! F13: wall clocks step, forth and back, by an hour and by a day, while codes wait for their next try and quotas are full.

use std::path::{Path, PathBuf};
use std::time::Duration;

use otpost::attempt::State;
use serde_json::json;

use crate::checker::{self, Injected};
use crate::load::{BROKER, Load};
use crate::seed::Seed;
use crate::site::{DOORS, Site, WORKER};
use crate::support::house::job;
use crate::support::house::process::Process;
use crate::support::world::connect;

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

/// Jobs for the crowded number.
async fn crowd(site: &Site, jobs: usize) -> Vec<uuid::Uuid> {
    let mut ids = vec![];
    for _ in 0..jobs {
        ids.push(site.house.publish(&job(CROWDED, json!({}))).await);
    }
    ids
}

/// O5: of a number's jobs exactly as many pass as its quota says, whatever the processes' clocks say.
async fn holds_its_quota(site: &Site, ids: &[uuid::Uuid]) {
    let mut limited = 0;
    for id in ids {
        let d = site.house.until(*id, "ended", |d| d.state.is_final()).await;
        match d.state {
            State::Delivered => {}
            State::Limited => limited += 1,
            other => panic!("O5: neither delivered nor limited, but {other}: {d:#?}"),
        }
    }
    assert_eq!(limited, ids.len() - ADMITTED, "O5: of {} jobs for one number", ids.len());
    assert_eq!(site.house.accepted(CROWDED).await, ADMITTED, "O5: at the carrier");
}

mod long {
    use super::*;

    /// Every process has a clock of its own, and each is wrong in another way. Everything ends as if they were right: codes and
    /// quotas are judged by the ledger's clock.
    ///
    /// Fails where a worker judges a job by its own clock (jobs end as dead letters, or as expired).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_processes_clocks_step() {
        let mut site = Site::build(Duration::from_millis(20)).await;
        site.more += "[limits]\nnumber = [\"5/10m\", \"10/1d\"]\n";
        checker::listen(&site).await;
        let names = ["doors", "a", "b"];
        let clocks = names.map(|name| WallClock::new(&site, name));
        let _doors = clocks[0].start(&site, "doors", DOORS).await;
        let _a = clocks[1].start(&site, "a", WORKER).await;
        let ops = site.house.serving("a").await["ops"].as_str().unwrap().to_owned();
        let _b = clocks[2].start(&site, "b", WORKER).await;
        let mut load = Load::new(&site, Seed::of("the_processes_clocks_step"));
        load.publish_each_and(JOBS).await;
        let mut crowded = crowd(&site, 3).await;
        for steps in [[HOUR, HOUR, -HOUR], [-HOUR, 0, DAY], [DAY, -DAY, -DAY], [-DAY, DAY, DAY], [0, 0, 0]] {
            for (clock, step) in clocks.iter().zip(steps) {
                clock.step(step);
            }
            load.publish(JOBS).await;
            crowded.extend(crowd(&site, 2).await);
            // Longer than a back-off, a snooze, and the time from one look at the ledger's clock to the next.
            tokio::time::sleep(Duration::from_secs(6)).await;
            let wrong = steps[1] != 0;
            let ready = site.house.get(&format!("http://{ops}/readyz/worker")).await;
            assert_eq!(
                ready.0,
                if wrong { 503 } else { 200 },
                "a worker whose clock is wrong says so: {ready:?}"
            );
        }
        holds_its_quota(&site, &crowded).await;
        checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
        checker::check(&site, &load.sent, Injected::default()).await;
    }

    /// The clock by which everything is judged steps itself. What was under way may end late, or as expired, and says so; no
    /// code goes late by it, and nothing goes twice without a repeat.
    ///
    /// Fails where the life that is left is not looked at before the first byte (O3).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledgers_clock_steps() {
        let site = Site::build(Duration::from_millis(20)).await;
        checker::listen(&site).await;
        let _doors = site.start("doors", DOORS).await;
        let _a = site.start("a", WORKER).await;
        let _b = site.start("b", WORKER).await;
        let look = connect(&site.house.ledger_url).await;
        let mut load = Load::new(&site, Seed::of("the_ledgers_clock_steps"));
        // Over HTTP an expired code is an answer, and no dispatch.
        load.doors = BROKER;
        load.publish_each_and(JOBS).await;
        for step in [HOUR, 0, -HOUR, 0, DAY, 0, -DAY, 0] {
            let now = format!(
                "create or replace function otpost_now() returns timestamptz language sql volatile
             as $$ select clock_timestamp() + interval '{step} seconds' $$"
            );
            look.batch_execute(&now).await.unwrap();
            load.publish(JOBS).await;
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        load.publish(JOBS).await;
        checker::settle(&site, &load.sent, Duration::from_secs(100)).await;
        let injected = Injected { unknown: 64, time: true, ..Injected::default() };
        checker::check(&site, &load.sent, injected).await;
    }
}
