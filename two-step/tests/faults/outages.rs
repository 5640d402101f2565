//! Faults of the services that two-step needs: the broker, otpost, the database, the mail server.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use uuid::Uuid;

use crate::checker;
use crate::journal::ObservedResult;
use crate::killed::{kill_otpost, prepared};
use crate::relay::{Direction, Relay};
use crate::site::{Site, Transport};
use crate::user::{User, none_of};
use crate::wait;

/// Minimum duration of an outage.
const MIN_OUTAGE: Duration = Duration::from_secs(7);
/// Maximum time after an outage until waiting codes arrive.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The kind of outage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outage {
    /// Connections are refused.
    Refused,
    /// Connections are reset again and again.
    Reset,
    /// Connections are accepted, and no bytes pass.
    Hanging,
}

impl Outage {
    /// Keeps a server unreachable during an action, and for a minimum time.
    pub(crate) async fn during<T>(self, site: &Site, relay: &Relay, work: impl Future<Output = T>) -> T {
        site.journal.fault();
        match self {
            Self::Refused => {
                relay.refuse(true);
                relay.cut();
            }
            Self::Reset => relay.reset(),
            Self::Hanging => relay.stall(),
        }
        let resetting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(150));
            loop {
                ticks.tick().await;
                if matches!(self, Self::Reset) {
                    relay.reset();
                }
            }
        };
        let both = async { tokio::join!(work, tokio::time::sleep(MIN_OUTAGE)).0 };
        let done = tokio::select! {
            done = both => done,
            () = resetting => unreachable!("the loop never ends"),
        };
        relay.pass();
        relay.cut();
        done
    }
}

/// Requests a code for each user, and checks the reported delivery meanwhile.
async fn request_codes(site: &Site, users: &[User], expected: &[&str]) -> Vec<(Uuid, usize)> {
    let asked = join_all(users.iter().map(|user| user.request_code(site))).await;
    let end = Instant::now() + MIN_OUTAGE;
    let looked = async {
        for (challenge, _) in asked.iter().cycle() {
            let delivery = site.backend.show(*challenge).await.body["delivery"].as_str().map(str::to_owned);
            let delivery = delivery.unwrap_or_default();
            assert!(expected.contains(&delivery.as_str()), "during the outage: {delivery}");
        }
    };
    let _ = tokio::time::timeout_at(end, looked).await;
    asked
}

/// Checks that the requested codes arrive, once each, and sign in.
async fn all_sign_in(site: &Site, users: &[User], asked: &[(Uuid, usize)]) {
    let back = Instant::now();
    let each = users.iter().zip(asked).map(async |(user, (challenge, before))| {
        let code = site.phones.code_after(&user.number, *before).await;
        let waited = back.elapsed();
        assert!(waited < RECOVERY_TIMEOUT, "the code arrived {waited:?} after the end of the outage");
        assert_eq!(site.backend.verify(*challenge, &code, true).await, ObservedResult::Verified);
        waited
    });
    let waited = join_all(each).await.into_iter().max().unwrap_or_default();
    println!("the last code arrived {waited:?} after the end of the outage");
}

async fn three_users(site: &Site, first: User) -> Vec<User> {
    vec![first, User::set_up(site, "bob").await, User::set_up(site, "eve").await]
}

async fn outage_of_otpost(way: Transport, outage: Outage) {
    let (site, user, _otpost, _two_step) = prepared(way).await;
    let users = three_users(&site, user).await;
    let relay = match way {
        Transport::Amqp => &site.links.broker,
        Transport::Http => &site.links.otpost,
    };
    // A job may pass between two resets.
    let expected: &[&str] = match outage {
        Outage::Reset => &["waiting", "queued", "sending", "sent", "delivered"],
        Outage::Refused | Outage::Hanging => &["waiting"],
    };
    let asked = outage.during(&site, relay, request_codes(&site, &users, expected)).await;
    all_sign_in(&site, &users, &asked).await;
    checker::check(&site).await;
}

macro_rules! scenarios {
    ($($(#[$meta:meta])* $name:ident => $run:expr;)+) => {$(
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $run.await;
        }
    )+};
}

scenarios! {
    /// Fails, like the other four, if rows are deleted before they are published, because then no code arrives.
    while_the_broker_refuses_codes_wait_and_are_sent_once => outage_of_otpost(Transport::Amqp, Outage::Refused);
    while_the_broker_hangs_codes_wait_and_are_sent_once => outage_of_otpost(Transport::Amqp, Outage::Hanging);
    while_otposts_api_hangs_codes_wait_and_are_sent_once => outage_of_otpost(Transport::Http, Outage::Hanging);
    /// Fails, like the scenario in which it hangs, if challenges are not required while the database is unreachable.
    while_the_database_refuses_nobody_signs_in => outage_of_the_database(Outage::Refused);
}

mod long {
    use super::*;

    scenarios! {
        while_the_broker_resets_codes_wait_and_are_sent_once => outage_of_otpost(Transport::Amqp, Outage::Reset);
        while_otposts_api_refuses_codes_wait_and_are_sent_once => outage_of_otpost(Transport::Http, Outage::Refused);
        while_the_database_hangs_nobody_signs_in => outage_of_the_database(Outage::Hanging);
        while_the_database_resets_nobody_signs_in_without_a_code => resets_of_the_database();
    }
}

/// otpost is killed, and the queue keeps the jobs.
///
/// Fails if dispatches count as sent when the broker has them (T4: reported as sent although no carrier has them).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_otpost_is_down_the_queue_keeps_codes() {
    let (site, user, otpost, _two_step) = prepared(Transport::Amqp).await;
    let users = three_users(&site, user).await;
    kill_otpost(otpost, &site.journal);
    let asked = request_codes(&site, &users, &["waiting", "queued"]).await;
    let _otpost = site.start_otpost().await;
    all_sign_in(&site, &users, &asked).await;
    checker::check(&site).await;
}

/// otpost has no queue for jobs. The broker returns them, and they wait in the outbox.
///
/// Fails without `mandatory`, because then the job is lost, and its dispatch stays `queued`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unroutable_job_waits_and_is_sent_once() {
    let site = Site::build(Transport::Amqp).await;
    let (_otpost, _two_step) = (site.start_otpost().await, site.start().await);
    let users = [User::set_up(&site, "ada").await];
    site.tap.bind_jobs(false).await;
    site.journal.fault();
    let asked = request_codes(&site, &users, &["waiting"]).await;
    site.tap.bind_jobs(true).await;
    all_sign_in(&site, &users, &asked).await;
    checker::check(&site).await;
}

/// otpost accepts a job over HTTP, and its answer is lost. The job is sent again with the same id.
///
/// Fails if a retry has a new id (T5: otpost does not know the dispatches).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_answer_of_otposts_api_the_code_is_sent_once() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Http).await;
    for _ in 0..3 {
        site.links.otpost.cut_when(Direction::ToUpstream, b"\"template\":\"two_step\"", false);
        site.journal.fault();
        let (challenge, before) = user.request_code(&site).await;
        site.links.otpost.triggered().await;
        let code = site.phones.code_after(&user.number, before).await;
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    }
    checker::check(&site).await;
}

/// The event stream breaks before each delivery event. The dispatch is read back.
///
/// Fails if dispatches are not read back, because then the delivery is never reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_event_stream_loses_no_delivery() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Http).await;
    for _ in 0..3 {
        site.links.otpost.cut_when(Direction::ToClient, b"\"delivered\"", true);
        site.journal.fault();
        let (challenge, before) = user.request_code(&site).await;
        let code = site.phones.code_after(&user.number, before).await;
        let reported = async || site.backend.show(challenge).await.body["delivery"] == "delivered";
        wait::until("the delivery is reported", reported).await;
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    }
    checker::check(&site).await;
}

/// While the database is unreachable, each request gets 503 with `Retry-After`, and no action is done in part.
async fn outage_of_the_database(outage: Outage) {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    let (challenge, before) = user.request_code(&site).await;
    let code = site.phones.code_after(&user.number, before).await;
    let mut browser = site.browser();
    let (by_page, page_code) = user.open_challenge(&site, &mut browser).await;
    let requests = async {
        let answer = site.backend.create(&user.name).await;
        assert!(answer.is_unavailable(), "{answer:?}");
        let answer = site.backend.send(challenge, user.phone).await;
        assert!(answer.is_unavailable(), "{answer:?}");
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Unknown);
        assert_eq!(browser.clone().enter(by_page, &page_code, true, false).await, ObservedResult::Unknown);
    };
    let slowest = async {
        let asked = Instant::now();
        requests.await;
        asked.elapsed()
    };
    let took = outage.during(&site, &site.links.database, slowest).await;
    println!("four requests were answered in {took:?}");
    let signed_in = async || site.backend.verify(challenge, &code, true).await == ObservedResult::Verified;
    wait::until("the code signs in after the outage of the database", signed_in).await;
    assert_eq!(browser.enter(by_page, &page_code, true, false).await, ObservedResult::Verified);
    assert!(site.backend.redeem(&browser.ticket().unwrap()).await.is_some());
    checker::check(&site).await;
}

/// Requests succeed or fail at random, and each answer must be correct.
///
/// Fails if wrong entries are answered before they are counted (T2).
async fn resets_of_the_database() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    let (challenge, before) = user.request_code(&site).await;
    let code = site.phones.code_after(&user.number, before).await;
    let wrong = none_of(std::slice::from_ref(&code));
    let entries = async {
        let mut observed = vec![];
        for _ in 0..4 {
            observed.push(site.backend.verify(challenge, &wrong, false).await);
        }
        for _ in 0..200 {
            observed.push(site.backend.verify(challenge, &code, true).await);
        }
        observed
    };
    let observed = Outage::Reset.during(&site, &site.links.database, entries).await;
    println!(
        "entries without an answer: {}",
        observed.iter().filter(|h| **h == ObservedResult::Unknown).count()
    );
    checker::check(&site).await;
}
