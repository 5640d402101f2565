//! two-step is killed between commit, publish and confirm, and starts again.

use crate::checker;
use crate::journal::{Journal, ObservedResult};
use crate::process::Process;
use crate::relay::Direction;
use crate::seed::Seed;
use crate::site::{Site, Transport};
use crate::user::{User, none_of};
use crate::wait;

/// Returns a site with a user, both services running, and a tap on the jobs.
pub(crate) async fn prepared(way: Transport) -> (Site, User, Process, Process) {
    let site = Site::build(way).await;
    site.tap.bind("otpost", &["dispatch", "next", "cancel", "feedback"]).await;
    let (otpost, two_step) = (site.start_otpost().await, site.start().await);
    let user = User::set_up(&site, "ada").await;
    (site, user, otpost, two_step)
}

/// Kills the process, and records it.
pub(crate) fn kill(process: Process, journal: &Journal) {
    process.kill();
    journal.fault();
}

/// Kills otpost, and records it.
pub(crate) fn kill_otpost(process: Process, journal: &Journal) {
    kill(process, journal);
    journal.notes().receipts_are_lost = true;
}

/// Fails if rows are deleted before they are published, because then the row is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_commit_and_publish_the_code_is_sent_once() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    site.links.broker.refuse(true);
    site.links.broker.reset();
    let (challenge, before) = user.request_code(&site).await;
    let tried = async || site.outbox("kind = 'dispatch' and tries > 0").await == 1;
    wait::until("the relay's first attempt has failed", tried).await;
    kill(two_step, &site.journal);
    site.links.broker.refuse(false);
    let _two_step = site.start().await;
    let code = site.phones.code_after(&user.number, before).await;
    assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    checker::check(&site).await;
}

/// The row is under its lease when the process dies.
///
/// Fails like the scenario before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_a_publish_hangs_the_code_is_sent_once() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    site.links.broker.stall();
    let (challenge, before) = user.request_code(&site).await;
    let taken = async || site.outbox("kind = 'dispatch' and tries > 0").await == 1;
    wait::until("the relay has taken the row", taken).await;
    kill(two_step, &site.journal);
    site.links.broker.pass();
    let _two_step = site.start().await;
    let code = site.phones.code_after(&user.number, before).await;
    assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    checker::check(&site).await;
}

/// The broker has the job, and the process is killed before the confirm arrives.
///
/// Fails if a retry has a new id, because then a second text is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_publish_and_confirm_the_code_is_sent_once() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    site.links.broker.cut_when(Direction::ToUpstream, b"\"template\":\"two_step\"", false);
    let (challenge, before) = user.request_code(&site).await;
    site.links.broker.triggered().await;
    kill(two_step, &site.journal);
    // The job is sent while two-step is down.
    let code = site.phones.code_after(&user.number, before).await;
    assert_eq!(
        site.outbox("kind = 'dispatch'").await,
        1,
        "the row still exists, because the confirm was lost"
    );
    let _two_step = site.start().await;
    assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    checker::check(&site).await;
}

/// The process receives the confirm, and is killed before it stores it.
///
/// Fails like the scenario before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_confirm_and_its_commit_the_code_is_sent_once() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    // A connection sends the text of a statement only once. A new process sends it again.
    two_step.kill();
    let two_step = site.start().await;
    site.links.database.cut_when(Direction::ToUpstream, b"delete from outbox", true);
    let (challenge, before, _) = user.try_to_request_code(&site).await;
    site.links.database.triggered().await;
    kill(two_step, &site.journal);
    let code = site.phones.code_after(&user.number, before).await;
    assert_eq!(site.outbox("kind = 'dispatch'").await, 1, "the row still exists");
    let _two_step = site.start().await;
    assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    checker::check(&site).await;
}

/// An event is acknowledged after its commit, so the next process receives it again.
///
/// Fails if the event is acknowledged before it is stored, because then the delivery is never reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_an_event_is_stored_the_delivery_is_still_reported() {
    let (site, user, _otpost, mut two_step) = prepared(Transport::Amqp).await;
    for reaches_the_database in [false, true] {
        // The bytes of a bound value with its length, because a column's name contains the word too.
        let value = b"\0\0\0\x09delivered";
        site.links.database.cut_when(Direction::ToUpstream, value, !reaches_the_database);
        let (challenge, before, _) = user.try_to_request_code(&site).await;
        site.links.database.triggered().await;
        kill(two_step, &site.journal);
        two_step = site.start().await;
        let reported = async || site.backend.show(challenge).await.body["delivery"] == "delivered";
        wait::until("the delivery is reported", reported).await;
        let code = site.phones.code_after(&user.number, before).await;
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    }
    checker::check(&site).await;
}

/// Before the commit nothing is changed, so the same code signs in afterwards.
///
/// Fails if the codes are deleted in an earlier transaction than the proof, because then the right code is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_commit_of_a_right_code_nothing_is_verified() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    let (challenge, before) = user.request_code(&site).await;
    let code = site.phones.code_after(&user.number, before).await;
    site.links.database.cut_when(Direction::ToUpstream, b"challenge.verified", false);
    let (observed, ()) = tokio::join!(site.backend.verify(challenge, &code, true), async {
        site.links.database.triggered().await;
        kill(two_step, &site.journal);
    });
    assert_eq!(observed, ObservedResult::Unknown);
    let _two_step = site.start().await;
    assert_eq!(site.backend.show(challenge).await.body["status"], "open");
    assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    checker::check(&site).await;
}

/// The browser enters the code again, and gets the same ticket. Another browser with the same code gets none.
///
/// Fails if each answer has a random ticket, because then the ticket of the last answer is invalid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_the_commit_of_a_right_code_and_its_answer_the_browser_gets_its_ticket() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    let mut browser = site.browser();
    let (challenge, code) = user.open_challenge(&site, &mut browser).await;
    // The answer to the commit is delayed, so that the scenario can see the commit and kill the process.
    site.links.database.delay(std::time::Duration::from_millis(100));
    let mut first = browser.clone();
    let client = site.database.connect_directly().await;
    let (observed, ()) = tokio::join!(first.enter(challenge, &code, true, false), async {
        let sql = "select state from challenge where id = $1";
        let committed =
            async || client.query_one(sql, &[&challenge]).await.unwrap().get::<_, String>(0) == "verified";
        wait::until("the proof is committed", committed).await;
        kill(two_step, &site.journal);
    });
    assert_eq!(observed, ObservedResult::Unknown, "the answer was lost");
    site.links.database.pass();
    let _two_step = site.start().await;
    assert_eq!(browser.clone().enter(challenge, &code, true, false).await, ObservedResult::Verified);
    let mut again = browser.clone();
    assert_eq!(
        again.enter(challenge, &code, true, false).await,
        ObservedResult::Verified,
        "a third entry gets the same ticket"
    );
    let ticket = again.ticket().unwrap();
    assert!(site.backend.redeem(&ticket).await.is_some());
    assert_eq!(
        site.backend.verify(challenge, &code, true).await,
        ObservedResult::Refused,
        "the back end's request is too late"
    );
    checker::check(&site).await;
}

/// Wrong codes are entered while the process is killed again and again. Exactly five count.
///
/// Fails if the count of wrong entries is not stored, because then the entries never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_wrong_codes_exactly_five_count() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    let mut seed = Seed::of("killed_during_wrong_codes_exactly_five_count");
    let (challenge, before) = user.request_code(&site).await;
    let code = site.phones.code_after(&user.number, before).await;
    let wrong = none_of(std::slice::from_ref(&code));
    let mut two_step = Some(two_step);
    for _ in 0..4 {
        let pause = std::time::Duration::from_millis(seed.below(60));
        let entries = (0..3).map(|_| site.backend.verify(challenge, &wrong, false));
        let dying = async {
            // The seed selects the moment.
            tokio::time::sleep(pause).await;
            two_step.take().into_iter().for_each(|process| kill(process, &site.journal));
        };
        tokio::join!(futures_util::future::join_all(entries), dying);
        two_step = Some(site.start().await);
    }
    let mut last = ObservedResult::Unknown;
    for _ in 0..5 {
        last = site.backend.verify(challenge, &wrong, false).await;
    }
    assert_eq!(last, ObservedResult::Locked);
    assert_eq!(
        site.backend.verify(challenge, &code, true).await,
        ObservedResult::Locked,
        "the right code is refused after the lock"
    );
    checker::check(&site).await;
}

/// The mail server has the e-mail, and the process is killed before the reply arrives. The same code is sent again, and is
/// valid.
///
/// Fails if a mail's row is deleted before the mail server has accepted it, because then no mail arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_a_mail_is_sent_its_code_arrives() {
    let (site, _, _otpost, mut two_step) = prepared(Transport::Amqp).await;
    for (n, needle) in ["220 here", "250 kept"].into_iter().enumerate() {
        site.links.mail.cut_when(Direction::ToClient, needle.as_bytes(), true);
        let address = format!("somebody{n}@mail.example");
        let mut browser = crate::user::request_code_by_email(&site, &format!("bob{n}"), &address).await;
        site.links.mail.triggered().await;
        kill(two_step, &site.journal);
        two_step = site.start().await;
        site.outbox_is_empty().await;
        let emails = site.mailbox.emails(&address);
        assert_eq!(emails.len(), n + 1, "{needle}: {emails:?}");
        let codes: Vec<String> = emails.iter().filter_map(crate::mailbox::Email::code).collect();
        for code in &codes {
            site.journal.secret("code", code);
        }
        assert_eq!(codes.first(), codes.last(), "the same code");
        browser.send("/settings/email", &[("code", &codes[0])]).await.unwrap();
        assert_eq!(browser.url.path(), "/settings", "the code is right: {}", browser.page);
    }
    checker::check(&site).await;
}
