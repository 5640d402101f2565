//! Clock changes of the database, whose clock is used for all decisions, and of a process, whose clock is not used.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use uuid::Uuid;

use crate::checker;
use crate::journal::ObservedResult;
use crate::killed::{kill, prepared};
use crate::site::{Addresses, Site, Transport};
use crate::user::User;
use crate::wait;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The wall clock of one process, set by the scenario. Its other clocks are not changed.
struct WallClock(PathBuf);

impl WallClock {
    fn new(site: &Site) -> Self {
        let clock = Self(site.file("clock"));
        clock.step(0);
        clock
    }

    /// Sets the offset from the true time in seconds.
    fn step(&self, seconds: i64) {
        // Renamed into place, so that a partial file is never read.
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    fn variables(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
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

/// Replaces the database's clock: new processes find this `clock_timestamp()` first.
async fn replace_clock(site: &Site) {
    let client = site.database.connect_directly().await;
    let name: String = client.query_one("select current_database()::text", &[]).await.unwrap().get(0);
    client.batch_execute("create schema held").await.unwrap();
    set_clock(site, 0).await;
    client
        .batch_execute(&format!("alter database {name} set search_path = held, public, pg_catalog"))
        .await
        .unwrap();
}

/// Sets the offset of the database's clock from the true time in seconds.
async fn set_clock(site: &Site, seconds: i64) {
    let sql = format!(
        "create or replace function held.clock_timestamp() returns timestamptz language sql volatile
         as $$ select pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$"
    );
    site.database.connect_directly().await.batch_execute(&sql).await.unwrap();
}

/// The clock of one of two processes is wrong by an hour or a day, ahead and behind. Codes, limits and tickets follow
/// the database's clock. The product polls for new events and misses none, and webhooks keep their order.
///
/// Fails if ids of events begin with the process's own time, because then events of the other process are never
/// received.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_of_a_process_changes_nothing() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    two_step.kill();
    let (clock, addresses) = (WallClock::new(&site), Addresses::reserve());
    let _two_step = site.start_with("two-step", site.addresses, &clock.variables()).await;
    let _second = site.start_with("second", addresses, &[]).await;
    let there = site.backend.at(addresses.api);
    let mut observed: Vec<Json> = site.backend.events(Uuid::nil()).await;
    for step in [0, DAY, HOUR, -HOUR, -DAY, 0] {
        clock.step(step);
        site.journal.fault();
        user.sign_in(&site).await;
        let (challenge, before) = user.request_code(&site).await;
        let code = site.phones.code_after(&user.number, before).await;
        assert_eq!(there.verify(challenge, &code, true).await, ObservedResult::Verified);
        let mut browser = site.browser();
        let (challenge, code) = user.open_challenge(&site, &mut browser).await;
        assert_eq!(browser.enter(challenge, &code, true, step == 0).await, ObservedResult::Verified);
        assert!(site.backend.redeem(&browser.ticket().unwrap()).await.is_some());
        let last =
            observed.last().map_or(Uuid::nil(), |event| event["id"].as_str().unwrap().parse().unwrap());
        observed.extend(site.backend.events(last).await);
    }
    let happened: i64 = site
        .database
        .connect_directly()
        .await
        .query_one("select count(*) from event", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(observed.len() as i64, happened, "the product has received every event");
    checker::check(&site).await;
}

/// The database's clock is set ahead: old codes have expired, and new ones are valid. It is set back: nothing is accepted
/// twice, and rows that were written meanwhile are published.
///
/// Fails if the life of codes follows the process's clock, because then an old code is right. Fails if outbox rows wait
/// only for their due time (T5: feedback waits for ten minutes).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_clock_decides_when_a_code_expires() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    replace_clock(&site).await;
    two_step.kill();
    let _two_step = site.start().await;
    let (old, before) = user.request_code(&site).await;
    let code = site.phones.code_after(&user.number, before).await;
    set_clock(&site, 11 * MINUTE).await;
    site.journal.fault();
    assert_eq!(site.backend.verify(old, &code, false).await, ObservedResult::Wrong, "the code has expired");
    set_clock(&site, 0).await;
    site.journal.fault();
    assert_eq!(
        site.backend.verify(old, &code, true).await,
        ObservedResult::Verified,
        "after the step back the code is valid again"
    );
    // For a minute the same answer is repeated. The checker verifies that it has the same result.
    set_clock(&site, 2 * MINUTE).await;
    site.journal.fault();
    assert_eq!(
        site.backend.verify(old, &code, true).await,
        ObservedResult::Refused,
        "a used code is not accepted again"
    );
    set_clock(&site, 0).await;
    user.sign_in(&site).await;
    checker::check(&site).await;
}

/// The broker is unreachable until the code has expired. Then no text is sent, and the page shows it.
///
/// Fails if rows are dropped without an update of their dispatch, because then it stays `waiting` for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_expired_during_an_outage_is_reported_as_expired() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    replace_clock(&site).await;
    two_step.kill();
    let two_step = site.start().await;
    site.links.broker.refuse(true);
    site.links.broker.cut();
    let (challenge, before) = user.request_code(&site).await;
    assert_eq!(site.backend.show(challenge).await.body["delivery"], "waiting");
    set_clock(&site, 10 * MINUTE).await;
    site.journal.fault();
    wait::until("the row is dropped", async || site.outbox("kind = 'dispatch'").await == 0).await;
    let reported = async || site.backend.show(challenge).await.body["delivery"] == "expired";
    wait::until("`expired` is reported", reported).await;
    kill(two_step, &site.journal);
    site.links.broker.refuse(false);
    set_clock(&site, 0).await;
    let _two_step = site.start().await;
    let another = User::set_up(&site, "bob").await;
    another.sign_in(&site).await;
    assert_eq!(user.codes(&site).await, before, "no text is sent after the code expired");
    checker::check(&site).await;
}
