//! otpost's events arrive twice, late, reordered, and mixed with invalid messages.

use serde_json::Value as Json;

use crate::checker;
use crate::journal::ObservedResult;
use crate::killed::{kill, prepared};
use crate::seed::Seed;
use crate::site::{Site, Transport};
use crate::tap::Message;
use crate::user::User;
use crate::wait;

/// Number of dispatches whose events are shuffled.
const DISPATCHES: usize = 6;
/// Messages that are not valid events.
const INVALID_EVENTS: [&[u8]; 5] = [
    b"",
    b"{\"nonsense\"",
    b"{\"sequence\":1,\"data\":{\"id\":\"0190f0f0-0000-7000-8000-000000000000\",\"state\":\"delivered\"}}",
    b"{\"sequence\":99,\"data\":{\"id\":\"no id\",\"state\":\"delivered\"}}",
    b"{\"sequence\":99,\"data\":{\"id\":\"0190f0f0-0000-7000-8000-000000000000\",\"state\":\"eaten\"}}",
];

/// The scenario forwards every event to two-step, and repeats, delays and reorders them.
///
/// Fails if the sequence is not checked (T4: a delivered text is `queued` again).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_late_and_reordered_events_give_the_right_state() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    let mut seed = Seed::of("repeated_late_and_reordered_events_give_the_right_state");
    site.tap.drain().await;
    site.tap.bind("otpost.events", &["#"]).await;
    site.tap.bind_events(false).await;
    let mut asked = vec![];
    for _ in 0..DISPATCHES {
        let (challenge, before) = user.request_code(&site).await;
        site.phones.code_after(&user.number, before).await;
        asked.push((challenge, before));
    }
    let mut events: Vec<Message> = vec![];
    let delivered = |events: &[Message]| events.iter().filter(|(key, _)| key == "dispatch.delivered").count();
    wait::until("otpost has published all events", async || {
        events.extend(site.tap.drain().await.into_iter().filter(|(key, _)| key.starts_with("dispatch.")));
        delivered(&events) >= DISPATCHES
    })
    .await;
    for (challenge, _) in &asked {
        assert_ne!(
            site.backend.show(*challenge).await.body["delivery"],
            "delivered",
            "two-step has not received them yet"
        );
    }
    let mut said: Vec<Vec<u8>> = events.iter().map(|(_, body)| body.clone()).collect();
    said.extend(events.iter().map(|(_, body)| body.clone()));
    said.extend(INVALID_EVENTS.iter().map(|body| body.to_vec()));
    for n in (1..said.len()).rev() {
        said.swap(n, seed.below(n as u64 + 1) as usize);
    }
    for body in &said {
        site.tap.publish_event(body).await;
        site.journal.fault();
    }
    site.vhost.has_depth("two-step.events", (0, 0)).await;
    // Late events after the final state, the oldest last.
    for (_, body) in events.iter().rev() {
        site.tap.publish_event(body).await;
    }
    site.vhost.has_depth("two-step.events", (0, 0)).await;
    site.tap.bind_events(true).await;
    for (challenge, before) in asked {
        let code = site.phones.code_after(&user.number, before).await;
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
        assert_eq!(site.backend.show(challenge).await.body["delivery"], "delivered");
    }
    checker::check(&site).await;
}

/// Events that otpost publishes while two-step is down are received afterwards.
///
/// Fails if each start declares a new queue (T4: a delivered text stays `sent`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_published_while_two_step_is_down_are_received_later() {
    let (site, user, _otpost, two_step) = prepared(Transport::Amqp).await;
    site.tap.bind("otpost.events", &["#"]).await;
    let (challenge, before) = user.request_code(&site).await;
    wait::until("the job is published", async || site.outbox("kind = 'dispatch'").await == 0).await;
    kill(two_step, &site.journal);
    let mut observed: Vec<Json> = vec![];
    wait::until("otpost has published `delivered`", async || {
        let new = site.tap.drain().await;
        observed.extend(new.iter().filter_map(|(_, body)| serde_json::from_slice(body).ok()));
        observed.iter().any(|event: &Json| event["data"]["state"] == "delivered")
    })
    .await;
    let _two_step = site.start().await;
    let reported = async || site.backend.show(challenge).await.body["delivery"] == "delivered";
    wait::until("the delivery is reported", reported).await;
    let code = site.phones.code_after(&user.number, before).await;
    assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    checker::check(&site).await;
}

/// The broker is unreachable at the first start, so there is no queue for events. The first job is published while the
/// consumer still waits for its retry. Its events must not be lost.
///
/// Fails if only the consumer declares the queue (T4: a delivered text stays `queued`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_without_a_broker_misses_no_event() {
    let site = Site::build(Transport::Amqp).await;
    let _otpost = site.start_otpost().await;
    site.links.broker.refuse(true);
    site.journal.fault();
    let _two_step = site.start().await;
    // The pauses between retries grow.
    let tries = async || site.links.broker.counts().refused >= 6;
    wait::until("the consumer has retried some times", tries).await;
    site.links.broker.pass();
    User::set_up(&site, "ada").await.sign_in(&site).await;
    checker::check(&site).await;
}
