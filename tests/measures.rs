//! What the ledger says about the work that waits in it, on both databases.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use otpost::domain::attempt::{Reason, State};
use otpost::ledger::{Admission, Backlog, Destinations, Receiver, Refusal, Undelivered, Waiting};
use support::ledger_driver::{LedgerDriver, SMS, job};
use support::on_both;
use support::world::{Backend, World};

async fn backlog(p: &LedgerDriver) -> Backlog {
    p.world.ledger.backlog().await.unwrap()
}

fn waiting(rows: u64, seconds: u64) -> Waiting {
    Waiting { rows, oldest: Duration::from_secs(seconds) }
}

on_both! {

/// Fails if a dispatch that waits for a later time counts as due, or one that was taken.
async fn a_dispatch_is_due_from_its_wake_up_until_it_is_taken(p) {
    assert_eq!(backlog(&p).await, Backlog::default());
    let uid = p.admit(&job(&[SMS], "1", p.t(300))).await;
    let later = Admission { snooze: Some(Duration::from_secs(100)), ..job(&[SMS], "2", p.t(300)) };
    p.admit(&later).await;
    p.world.at(30.0).await;
    assert_eq!(backlog(&p).await.due, waiting(1, 30));
    p.world.at(120.0).await;
    let both = backlog(&p).await.due;
    assert_eq!((both.rows, both.oldest), (2, Duration::from_secs(120)));
    assert_eq!(p.world.ledger.take_due(10, 10).await.unwrap().len(), 2);
    assert_eq!(backlog(&p).await.due, waiting(0, 0), "they have a lease");
    p.world.at(150.0).await;
    assert!(p.world.ledger.take(uid).await.unwrap().is_some(), "the lease has ended");
}

/// Fails if delivered events count, or if those that are given up count as waiting.
async fn events_wait_until_they_are_delivered_or_given_up(p) {
    let refusal = Some(Refusal { state: State::Expired, reason: Reason::Life });
    let destinations = Destinations { broker: true, webhook: true };
    let refused = Admission { refusal, destinations, ..job(&[SMS], "1", p.t(300)) };
    p.world.ledger.admit(refused).await.unwrap();
    p.world.at(40.0).await;
    let expected = Backlog { broker: waiting(1, 40), webhooks: waiting(1, 40), ..Backlog::default() };
    assert_eq!(backlog(&p).await, expected);

    for batch in p.world.ledger.take_events(&Receiver::Broker, 10).await.unwrap() {
        p.world.ledger.mark_delivered(&batch);
    }
    p.world.ledger.delete_delivered().await.unwrap();
    let webhook = Receiver::Webhook("default".to_owned());
    let batch = p.world.ledger.take_events(&webhook, 10).await.unwrap().remove(0);
    let (problem, tries) = ("no answer".to_owned(), batch.tries);
    let failed = Undelivered { id: batch.id, tries, events: batch.events, problem, retry_after: None, counts: true };
    p.world.ledger.record_undelivered(&failed).await.unwrap();
    assert_eq!(backlog(&p).await, Backlog { given_up: 1, ..Backlog::default() });
}

}

/// Fails if a ledger in PostgreSQL hides its pool, or if SQLite invents one.
#[tokio::test]
async fn only_postgresql_has_a_pool_of_connections() {
    let world = World::with_system_clock(Backend::Postgres).await;
    world.ledger.check().await.unwrap();
    let pool = world.ledger.pool().unwrap();
    assert_eq!((pool.max, pool.in_use, pool.waiting), (8, 0, 0));
    assert!(pool.idle >= 1, "{pool:?}");
    assert_eq!(World::with_system_clock(Backend::Sqlite).await.ledger.pool(), None);
}
