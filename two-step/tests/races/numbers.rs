//! Concurrent additions of numbers and changes of methods.

use two_step::challenge::ChallengeState;
use two_step::flow::{AddRefused, Change, ChangeRefused, Entered};
use two_step::limit::Rule;
use two_step::method::{Channel, Method};

use crate::concurrently;
use crate::support::on_both;
use crate::support::user::{User, number};
use crate::support::world::{Backend, World};

/// Raises the limits of sends, so that they do not refuse these users.
fn generous(world: &World) -> World {
    world.configured(|c| {
        c.limits.number_sends = vec![Rule::per(1000, 600)];
        c.limits.prefix_new_numbers = vec![Rule::per(1000, 600)];
    })
}

on_both! {
async fn five_of_twenty_accounts_can_add_one_number(world) {
    let world = generous(&world);
    let mut waiting = vec![];
    for n in 0..20 {
        let user = User::new(&world, &format!("u{n}"));
        user.open_settings().await;
        waiting.push(user);
    }
    let added = concurrently(&world, 20, |n| {
        let user = waiting[n].clone();
        async move { user.begin_phone(&number(1)).await }
    })
    .await;
    // The tasks may finish in another order than their users.
    let mut entries = vec![];
    for challenge in added {
        let account = world.row::<two_step::challenge::Challenge>(challenge).await.account;
        let name = world.row::<two_step::account::Account>(account).await.user_ref;
        let user = waiting.iter().find(|u| u.name == name).unwrap().clone();
        let code = world.code(challenge).await;
        entries.push((user, challenge, code));
    }
    let entered = concurrently(&world, 20, |n| {
        let (user, challenge, code) = entries[n].clone();
        async move { user.enter(challenge, &code).await }
    })
    .await;
    let right = entered.iter().filter(|e| matches!(e, Entered::Verified { .. })).count();
    let given_up = entered.iter().filter(|e| e.ended() == Some(ChallengeState::Cancelled)).count();
    assert_eq!((right, given_up), (5, 15), "{entered:?}");
    assert_eq!(world.rows::<Method>("where state = 'active'", &[]).await.len(), 5);
    let late = world.core.add_phone(&entries[0].0.visit, &number(1), "GB", Channel::Sms).await.unwrap();
    assert!(matches!(late, Err(AddRefused::Known | AddRefused::Shared)));
}

async fn twenty_accounts_that_add_one_number_get_five_codes(world) {
    let mut users = vec![];
    for n in 0..20 {
        let user = User::new(&world, &format!("u{n}"));
        user.open_settings().await;
        users.push(user);
    }
    let added = concurrently(&world, 20, |n| {
        let user = users[n].clone();
        async move { user.world.core.add_phone(&user.visit, &number(1), "GB", Channel::Sms).await.unwrap() }
    })
    .await;
    assert_eq!(added.iter().filter(|a| a.is_ok()).count(), 5);
    assert!(added.iter().all(|a| matches!(a, Ok(_) | Err(AddRefused::Send { .. }))));
    assert_eq!(world.outbox(two_step::store::OutboxKind::Dispatch).await.len(), 5);
}

async fn twenty_concurrent_additions_of_a_number_create_one_method(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let added = concurrently(&world, 20, |_| {
        let user = user.clone();
        async move { user.begin_phone(&number(1)).await }
    })
    .await;
    assert!(added.iter().all(|c| *c == added[0]), "one challenge");
    assert_eq!(world.rows::<Method>("", &[]).await.len(), 1);
    assert_eq!(world.jobs(added[0]).await.len(), 1, "one code");
    let code = world.code(added[0]).await;
    user.must_verify(added[0], &code).await;
}

async fn one_of_two_concurrently_removed_methods_stays(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap().id;
    let second = user.add_phone(&number(2)).await;
    let removed = concurrently(&world, 3, |n| {
        let (user, method) = (user.clone(), [phone, app.method, second][n]);
        async move { user.world.core.change(&user.visit, method, &Change::Remove).await.unwrap() }
    })
    .await;
    assert_eq!(removed.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(removed.iter().filter(|r| **r == Err(ChangeRefused::Last)).count(), 2);
}
}
