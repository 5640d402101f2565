//! Concurrent sends of codes.

use two_step::challenge::SendRefused;
use two_step::flow::Created;
use two_step::method::{Channel, Kind};
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::{User, number};
use crate::support::world::{Backend, World};
use crate::{CONCURRENT_ACTIONS, concurrently};

on_both! {
async fn one_of_fifty_concurrent_sends_is_allowed(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.advance(30);
    let sent = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let user = user.clone();
        async move { user.send(challenge, Channel::Sms).await }
    })
    .await;
    assert_eq!(sent.iter().filter(|s| s.is_ok()).count(), 1);
    assert!(sent.iter().all(|s| matches!(s, Ok(()) | Err(SendRefused::Limited { .. }))), "{sent:?}");
    assert_eq!((world.jobs(challenge).await.len(), user.challenge(challenge).await.sends), (2, 2));
}

async fn one_of_fifty_clicks_on_call_me_moves_to_the_call(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.advance(30);
    let sent = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let user = user.clone();
        async move { user.send(challenge, Channel::Voice).await }
    })
    .await;
    assert_eq!(sent.iter().filter(|s| s.is_ok()).count(), 1);
    assert_eq!((world.outbox(OutboxKind::Next).await.len(), world.jobs(challenge).await.len()), (1, 1));
    let dispatch = world.dispatch(challenge).await;
    concurrently(&world, 10, |_| {
        let core = world.core.clone();
        async move { core.place_call_again(dispatch).await.unwrap() }
    })
    .await;
    assert_eq!(world.jobs(challenge).await.len(), 2, "and one call is placed again");
}

async fn a_number_gets_exactly_five_codes_over_many_accounts(world) {
    let mut users = vec![];
    for n in 0..5 {
        users.push(User::with_phone(&world, &format!("u{n}"), 1).await.0);
    }
    let mut asked = vec![];
    for n in 0..30 {
        asked.push(users[n % 5].create_challenge().await);
    }
    concurrently(&world, asked.len(), |n| {
        let (user, handle) = (users[n % 5].clone(), asked[n].handle.clone());
        async move { user.world.core.claim(&handle, &user.visit).await.unwrap() }
    })
    .await;
    let mut sent = 0;
    for asked in &asked {
        sent += world.jobs(asked.id).await.len();
    }
    assert_eq!(sent, 5);
}

async fn users_with_different_numbers_do_not_block_each_other(world) {
    let mut users = vec![];
    for n in 0..10 {
        let user = User::new(&world, &format!("u{n}"));
        user.open_settings().await;
        user.add_phone(&number(n)).await;
        user.add_authenticator().await;
        user.turn_on(false).await;
        users.push(user);
    }
    world.advance(86_400);
    let signed_in = concurrently(&world, CONCURRENT_ACTIONS, |n| {
        let user = users[n % 10].elsewhere();
        async move {
            let challenge = user.world.core.create("shop", user.new_challenge()).await.unwrap();
            let Created::Challenge { id, url, .. } = challenge else { panic!("off") };
            let handle = crate::support::user::last_part(&url);
            user.world.core.claim(&handle, &user.visit).await.unwrap();
            let account = user.world.account(&user.name).await.id;
            let methods = user.world.core.methods_of(account).await.unwrap();
            let phone = methods.iter().find(|m| m.kind == Kind::Phone).unwrap().id;
            let sent = user.world.core.send(id, &user.requester(), Some(phone), None).await.unwrap();
            if sent.is_ok() {
                let code = user.world.code(id).await;
                user.must_verify(id, &code).await;
            }
            sent.is_ok()
        }
    })
    .await;
    assert_eq!(signed_in.into_iter().filter(|s| *s).count(), CONCURRENT_ACTIONS, "five per number are within all limits");
}
}
