//! The outbox on both databases: events wait for their receiver, and only what is left is tried again.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use otpost::domain::attempt::{Reason, State};
use otpost::ledger::{Admission, Destinations, EventBatch, PendingEvents, Receiver, Refusal, Undelivered};
use support::ledger_driver::{LedgerDriver, SMS, job};
use support::on_both;
use support::world::{Backend, World, connect};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A job that is refused, so that its admission has an event.
fn refused(p: &LedgerDriver) -> Admission {
    let refusal = Some(Refusal { state: State::Expired, reason: Reason::Life });
    let destinations = Destinations { broker: true, webhook: true };
    Admission { refusal, destinations, ..job(&[SMS], &Uuid::new_v4().to_string(), p.t(300)) }
}

/// Admits jobs at the same time. PostgreSQL commits them in one group.
async fn admit_refused(p: &LedgerDriver, jobs: usize) -> Vec<Uuid> {
    let jobs: Vec<Admission> = (0..jobs).map(|_| refused(p)).collect();
    let admit = |job: &Admission| p.world.ledger.admit(job.clone());
    for answer in futures_util::future::join_all(jobs.iter().map(admit)).await {
        answer.unwrap();
    }
    jobs.iter().map(|job| job.order.uid).collect()
}

fn webhook() -> Receiver {
    Receiver::Webhook("default".to_owned())
}

fn uids(batches: &[EventBatch]) -> Vec<Uuid> {
    let mut uids: Vec<Uuid> =
        batches.iter().flat_map(|batch| &batch.events).map(|pending| pending.uid).collect();
    uids.sort_unstable();
    uids
}

/// Records that everything was delivered but the events of these dispatches.
async fn deliver_all_but(
    p: &LedgerDriver, batches: &[EventBatch], failed: &[Uuid], retry_after: Option<Duration>,
) {
    for batch in batches {
        let is_left = |pending: &&PendingEvents| failed.contains(&pending.uid);
        let events: Vec<PendingEvents> = batch.events.iter().filter(is_left).cloned().collect();
        if events.is_empty() {
            p.world.ledger.mark_delivered(batch);
        } else {
            let left = Undelivered {
                id: batch.id,
                tries: batch.tries,
                events,
                problem: "no answer".to_owned(),
                retry_after,
                counts: true,
            };
            p.world.ledger.record_undelivered(&left).await.unwrap();
        }
    }
    p.world.ledger.delete_delivered().await.unwrap();
}

on_both! {

/// Fails if the receivers share a row, or if both have the same lease.
async fn each_receiver_has_its_own_rows_and_lease(p) {
    let all = admit_refused(&p, 3).await;
    let due = async |receiver| p.world.ledger.take_events(&receiver, 100).await.unwrap();
    p.world.at(4.9).await;
    assert_eq!(due(Receiver::Broker).await, []);
    p.world.at(5.0).await;
    let batches = due(Receiver::Broker).await;
    assert_eq!(uids(&batches), all);
    deliver_all_but(&p, &batches, &[], None).await;
    p.world.at(29.9).await;
    assert_eq!(due(webhook()).await, []);
    p.world.at(30.0).await;
    assert_eq!(uids(&due(webhook()).await), all);
    assert_eq!(due(Receiver::Webhook("other".to_owned())).await, []);
    assert_eq!(due(Receiver::Broker).await, []);
}

/// Fails if a try that fails in part repeats what was delivered, or forgets what was not.
async fn what_a_try_did_not_deliver_is_tried_again_after_its_pause(p) {
    let all = admit_refused(&p, 3).await;
    p.world.at(30.0).await;
    let batches = p.world.ledger.take_events(&webhook(), 100).await.unwrap();
    assert!(batches.iter().all(|batch| batch.tries == 0));
    deliver_all_but(&p, &batches, &all[1..], Some(Duration::from_secs(300))).await;
    p.world.at(329.0).await;
    assert_eq!(p.world.ledger.take_events(&webhook(), 100).await.unwrap(), []);
    p.world.at(330.0).await;
    let again = p.world.ledger.take_events(&webhook(), 100).await.unwrap();
    assert_eq!(uids(&again), all[1..]);
    assert!(again.iter().all(|batch| batch.tries == 1), "{again:?}");
}

/// Fails if a replay of one event replays its neighbours, or if a replayed event counts as failed.
async fn a_failed_event_is_listed_and_replayed_alone(p) {
    let all = admit_refused(&p, 3).await;
    p.world.at(30.0).await;
    let batches = p.world.ledger.take_events(&webhook(), 100).await.unwrap();
    deliver_all_but(&p, &batches, &all[1..], None).await;
    let rows = p.world.ledger.webhook_rows("default", 10).await.unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in &rows {
        assert!(all[1..].contains(&row.uid) && row.due_at.is_none(), "{row:?}");
        assert_eq!((row.version, row.tries, row.state.as_str()), (1, 1, "expired"));
        assert_eq!(row.problem.as_deref(), Some("no answer"));
    }
    p.world.at(100.0).await;
    assert_eq!(p.world.ledger.take_events(&webhook(), 100).await.unwrap(), [], "they have failed for good");
    let replay = async |only| p.world.ledger.replay_webhooks("default", only).await.unwrap();
    assert_eq!(replay(Some((all[1], 2))).await, 0, "there is no such version");
    assert_eq!(replay(Some((all[1], 1))).await, 1);
    assert_eq!(replay(Some((all[1], 1))).await, 0, "it waits already");
    assert_eq!(uids(&p.world.ledger.take_events(&webhook(), 100).await.unwrap()), [all[1]]);
    assert_eq!(replay(None).await, 1);
    assert_eq!(uids(&p.world.ledger.take_events(&webhook(), 100).await.unwrap()), [all[2]]);
    assert_eq!(p.world.ledger.webhook_rows("default", 10).await.unwrap().len(), 2);
}

/// Fails if events are handed over before their commit, to the wrong receiver, or more than once.
async fn the_events_of_a_commit_are_handed_to_the_publisher(p) {
    let (publisher, mut committed) = mpsc::channel(1000);
    p.world.ledger.publish_to(publisher);
    let all = admit_refused(&p, 40).await;
    let mut batches = vec![];
    while let Ok(batch) = committed.try_recv() {
        batches.push(batch);
    }
    let (broker, webhooks): (Vec<_>, Vec<_>) =
        batches.into_iter().partition(|batch| batch.receiver == Receiver::Broker);
    assert_eq!((uids(&broker), uids(&webhooks)), (all.clone(), all.clone()));
    assert!(webhooks.iter().all(|batch| batch.receiver == webhook() && batch.events.len() <= 16));
    // Each batch names its row.
    deliver_all_but(&p, &broker, &[], None).await;
    deliver_all_but(&p, &webhooks, &[], None).await;
    p.world.at(1000.0).await;
    for receiver in [Receiver::Broker, webhook()] {
        assert_eq!(p.world.ledger.take_events(&receiver, 100).await.unwrap(), []);
    }
}

/// Fails if a late record of an earlier try replaces that of a later one.
async fn a_record_after_another_try_changes_nothing(p) {
    let all = admit_refused(&p, 1).await;
    p.world.at(30.0).await;
    let first = p.world.ledger.take_events(&webhook(), 100).await.unwrap();
    p.world.at(60.0).await;
    let second = p.world.ledger.take_events(&webhook(), 100).await.unwrap();
    deliver_all_but(&p, &second, &all, Some(Duration::from_secs(5))).await;
    deliver_all_but(&p, &first, &all, None).await;
    p.world.at(65.0).await;
    assert_eq!(uids(&p.world.ledger.take_events(&webhook(), 100).await.unwrap()), all, "it is tried again");
}

/// Fails if old events for a configured broker are deleted, or if other old events stay. Their dispatches would stay too. A webhook that
/// always asks for a pause has such events.
async fn old_events_are_deleted_except_those_for_a_configured_broker(p) {
    let all = admit_refused(&p, 3).await;
    p.world.at(30.0).await;
    let batches = p.world.ledger.take_events(&webhook(), 100).await.unwrap();
    deliver_all_but(&p, &batches, &all[..1], None).await;
    admit_refused(&p, 1).await;
    p.world.at(900_000.0).await;
    let (ten_days_later, configured) = (p.t(900_000), [Receiver::Broker, webhook()]);
    let forget = async |configured| p.world.ledger.forget_events(ten_days_later, configured, 100).await.unwrap();
    let rows = p.world.ledger.webhook_rows("default", 10).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.due_at.is_some()).count(), 1, "one failed and one waits: {rows:?}");
    assert_eq!(forget(&configured[..]).await, 2);
    assert_eq!(p.world.ledger.webhook_rows("default", 10).await.unwrap().len(), 0);
    assert_eq!(uids(&p.world.ledger.take_events(&Receiver::Broker, 100).await.unwrap()).len(), 4);
    assert!(forget(&configured[1..]).await > 0, "the broker was removed");
}

/// Fails if an event is stored although nobody gets it.
async fn without_a_broker_events_go_to_the_live_stream_alone(p) {
    let (publisher, mut committed) = mpsc::channel(10);
    p.world.ledger.publish_to(publisher);
    let job = Admission { destinations: Destinations::default(), ..refused(&p) };
    p.world.ledger.admit(job.clone()).await.unwrap();
    let batch = committed.try_recv().unwrap();
    assert_eq!((&batch.receiver, uids(std::slice::from_ref(&batch))), (&Receiver::LiveStream, vec![job.order.uid]));
    p.world.at(1000.0).await;
    assert_eq!(p.world.ledger.take_events(&Receiver::Broker, 100).await.unwrap(), []);
    assert_eq!(p.world.ledger.take_events(&Receiver::LiveStream, 100).await.unwrap(), []);
}

}

/// Fails if a replay of many events is one statement, which could reach its time limit, or if it ends after its first step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_many_events_is_done_in_bounded_steps() {
    let world = World::with_system_clock(Backend::Postgres).await;
    let look = connect(&world.url).await;
    look.batch_execute(
        "insert into outbox (id, receiver, created_at, uids, events)
           select gen_random_uuid(), 'webhook:default', clock_timestamp(), array[gen_random_uuid()], array['{}']
             from generate_series(1, 2500);
         create table step (events bigint not null);
         create function count_events() returns trigger language plpgsql as
           $$ begin insert into step select count(*) from changed; return null; end $$;
         create trigger count_events after update on outbox referencing new table as changed
           for each statement execute function count_events()",
    )
    .await
    .unwrap();
    assert_eq!(world.ledger.replay_webhooks("default", None).await.unwrap(), 2500);
    let steps =
        look.query("select events from step where events > 0 order by events desc", &[]).await.unwrap();
    assert_eq!(steps.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [1000, 1000, 500]);
}
