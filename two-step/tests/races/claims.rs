//! Concurrent claims of challenges and sessions, rotations of devices, and redemptions of tickets.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use two_step::device::Device;
use two_step::flow::{Claimed, Created, DeviceCookie, Redeemed, SessionClaimed};

use crate::support::on_both;
use crate::support::user::{User, last_part};
use crate::support::world::{Backend, World};
use crate::{CONCURRENT_ACTIONS, concurrently};

/// The payload of a result, unchecked.
fn claims(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

on_both! {
async fn one_of_many_browsers_gets_the_challenge_and_one_code_is_sent(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let asked = user.create_challenge().await;
    let claimed = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let (browser, handle) = (user.elsewhere(), asked.handle.clone());
        async move { browser.world.core.claim(&handle, &browser.visit).await.unwrap().0 }
    })
    .await;
    let open = claimed.iter().filter(|c| **c == Claimed::Open { challenge: asked.id }).count();
    let other = claimed.iter().filter(|c| matches!(c, Claimed::OtherBrowser { .. })).count();
    assert_eq!((open, other), (1, CONCURRENT_ACTIONS - 1));
    assert_eq!(world.jobs(asked.id).await.len(), 1);
}

async fn all_tabs_of_one_browser_get_the_challenge_and_one_code_is_sent(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let asked = user.create_challenge().await;
    let claimed = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let (user, handle) = (user.clone(), asked.handle.clone());
        async move { user.world.core.claim(&handle, &user.visit).await.unwrap().0 }
    })
    .await;
    assert!(claimed.iter().all(|c| *c == Claimed::Open { challenge: asked.id }));
    assert_eq!(world.jobs(asked.id).await.len(), 1);
}

async fn one_of_many_browsers_gets_the_session(world) {
    let user = User::new(&world, "u1");
    let opened = world.core.open_session("shop", user.new_session().await).await.unwrap();
    let handle = last_part(&opened.url);
    let claimed = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let (browser, handle) = (user.elsewhere(), handle.clone());
        async move { browser.world.core.claim_session(&handle, &browser.visit).await.unwrap() }
    })
    .await;
    assert_eq!(claimed.iter().filter(|c| **c == SessionClaimed::Settings).count(), 1);
}

async fn fifty_concurrent_rotations_keep_a_device_valid(world) {
    let (mut user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    user.verify_and_trust(challenge, &code).await;
    for _ in 0..3 {
        world.advance(3600);
        let mut asked = vec![];
        for _ in 0..CONCURRENT_ACTIONS {
            asked.push(user.create_challenge().await.handle);
        }
        let claimed = concurrently(&world, CONCURRENT_ACTIONS, |n| {
            let (user, handle) = (user.clone(), asked[n].clone());
            async move { user.world.core.claim(&handle, &user.visit).await.unwrap() }
        })
        .await;
        assert!(claimed.iter().all(|(c, _)| matches!(c, Claimed::Verified { .. })));
        let cookies: BTreeSet<_> = claimed.into_iter().map(|(_, cookie)| cookie.unwrap()).collect();
        assert_eq!(cookies.len(), 1, "all tabs get the same new cookie");
        let before = DeviceCookie::read(&world.core.keys, user.visit.device.as_deref().unwrap()).unwrap();
        user.visit.device = cookies.into_iter().next();
        let after = DeviceCookie::read(&world.core.keys, user.visit.device.as_deref().unwrap()).unwrap();
        assert_eq!((after.id, after.generation), (before.id, before.generation + 1));
    }
    assert_eq!(world.events("device.replayed").await, 0);
    assert!(!world.rows::<Device>("", &[]).await[0].void);
}

async fn fifty_redeems_of_one_ticket_give_the_same_claims(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let ticket = user.sign_in().await;
    let redeemed = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let (user, ticket) = (user.clone(), ticket.clone());
        async move { user.redeem(&ticket).await }
    })
    .await;
    let distinct: BTreeSet<String> = redeemed
        .iter()
        .map(|r| if let Redeemed::Result(token) = r { claims(token) } else { panic!("over") })
        .collect();
    assert_eq!(distinct.len(), 1);
    assert_eq!(world.core.published_keys().await.unwrap().len(), 1);
}

async fn the_first_key_and_its_successor_are_created_once(world) {
    concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let core = world.core.clone();
        async move { core.published_keys().await.unwrap() }
    })
    .await;
    assert_eq!(world.core.published_keys().await.unwrap().len(), 1);
    concurrently(&world, 10, |_| {
        let core = world.core.clone();
        async move { core.rotate_signing_keys(true).await.unwrap() }
    })
    .await;
    assert_eq!(world.core.published_keys().await.unwrap().len(), 2);
}

async fn concurrent_requests_for_a_new_user_create_one_account(world) {
    let user = User::new(&world, "u1");
    let created = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let user = user.clone();
        async move { user.world.core.create("shop", user.new_challenge()).await.unwrap() }
    })
    .await;
    assert!(created.iter().all(|c| *c == Created::NotRequired));
    assert_eq!(world.count("select count(*) from account").await, 1);
}
}
