//! The order in which products read their events.

use two_step::store::{Event, new_id};
use uuid::Uuid;

use crate::support::on_both;
use crate::support::world::{Backend, World};

fn event(id: Uuid, kind: &str) -> Event {
    Event {
        id,
        product: "shop".to_owned(),
        account: Uuid::nil(),
        user_ref: "u1".to_owned(),
        kind: kind.to_owned(),
        at: two_step::clock::machine_now(),
        actor: "user".to_owned(),
        data: "{}".to_owned(),
    }
}

async fn read(world: &World, after: Uuid) -> Vec<String> {
    let events = world.core.events_after("shop", after, 100).await.unwrap();
    events.into_iter().map(|e| e.kind).collect()
}

async fn add(world: &World, row: &Event) {
    let mut tx = world.core.store.begin().await.unwrap();
    tx.insert(row).await.unwrap();
    tx.commit().await.unwrap();
}

/// Only PostgreSQL: `SQLite` has one writer at a time, so its transactions commit in the order in which they begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_commits_late_is_not_missed() {
    let world = World::new(Backend::Postgres).await;
    let (early, later) = (new_id(), new_id());
    let mut slow = world.core.store.begin().await.unwrap();
    slow.insert(&event(early, "slow")).await.unwrap();
    add(&world, &event(later, "fast")).await;
    assert_eq!(read(&world, Uuid::nil()).await, ["fast"]);
    slow.commit().await.unwrap();
    assert!(early < later);
    assert_eq!(read(&world, later).await, ["slow"]);
    assert_eq!(read(&world, Uuid::nil()).await, ["fast", "slow"], "and the order is stable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_after_an_event_of_an_erased_user_misses_no_late_event() {
    let world = World::new(Backend::Postgres).await;
    let gone = crate::support::user::User::new(&world, "gone");
    gone.open_settings().await;
    let late = new_id();
    gone.add_authenticator().await;
    let read_so_far = world.core.events_after("shop", Uuid::nil(), 100).await.unwrap();
    let last = read_so_far.last().unwrap();
    assert!(late < last.id);
    add(&world, &event(late, "late")).await;
    assert_eq!(read(&world, last.id).await, ["late"]);
    world.core.erase("shop", "gone").await.unwrap();
    assert_eq!(read(&world, last.id).await, ["late"]);
    assert_eq!(read(&world, Uuid::nil()).await, ["late"], "events of the erased user are hidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_readers_and_writers_lose_no_event() {
    let world = World::new(Backend::Postgres).await;
    let writing = (0..200).map(|n| {
        let world = world.clone();
        tokio::spawn(async move { add(&world, &event(new_id(), &format!("n{n}"))).await })
    });
    let writing: Vec<_> = writing.collect();
    let mut readers = vec![];
    for _ in 0..4 {
        let world = world.clone();
        readers.push(tokio::spawn(async move {
            let (mut seen, mut after) = (vec![], Uuid::nil());
            while seen.len() < 200 {
                let events = world.core.events_after("shop", after, 7).await.unwrap();
                after = events.last().map_or(after, |e| e.id);
                seen.extend(events.into_iter().map(|e| e.id));
            }
            seen
        }));
    }
    for write in writing {
        write.await.unwrap();
    }
    let mut orders = vec![];
    for reader in readers {
        orders.push(reader.await.unwrap());
    }
    orders.dedup();
    assert_eq!(orders.len(), 1, "all readers see the same order");
}

on_both! {
async fn a_reader_continues_after_a_deleted_event(world) {
    let (one, two, three) = (new_id(), new_id(), new_id());
    for (id, kind) in [(one, "one"), (two, "two"), (three, "three")] {
        add(&world, &event(id, kind)).await;
    }
    assert_eq!(read(&world, one).await, ["two", "three"]);
    let mut tx = world.core.store.begin().await.unwrap();
    tx.delete::<Event>(two).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(read(&world, two).await, ["three"]);
    assert_eq!(read(&world, new_id()).await, Vec::<String>::new());
}
}

on_both! {
async fn the_history_is_read_in_pages_newest_first(world) {
    let rows: Vec<Event> = (0..120).map(|n| event(new_id(), &format!("n{n}"))).collect();
    let mut tx = world.core.store.begin().await.unwrap();
    for row in &rows {
        tx.insert(row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (mut before, mut pages, mut seen) = (None, 0, vec![]);
    loop {
        let (page, older) = world.core.history(Uuid::nil(), before).await.unwrap();
        assert!(page.len() <= 50);
        pages += 1;
        before = page.last().map(|e| e.id);
        seen.extend(page.into_iter().map(|e| e.id));
        if !older {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert!(seen.iter().eq(rows.iter().rev().map(|e| &e.id)));
}
}
