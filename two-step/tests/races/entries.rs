//! Concurrent entries of codes.

use std::collections::BTreeSet;

use two_step::challenge::ChallengeState;
use two_step::code::Code;
use two_step::flow::{Entered, Entry, Redeemed};
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::{User, other_code, ticket, verified};
use crate::support::world::{Backend, World};
use crate::{CONCURRENT_ACTIONS, concurrently};

fn is_right(entered: &Entered) -> bool {
    matches!(entered, Entered::Verified { .. })
}

on_both! {
async fn fifty_right_answers_verify_once(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let fed = world.outbox(OutboxKind::Feedback).await.len();
    let entered = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let (user, code) = (user.clone(), code.clone());
        async move { user.enter(challenge, &code).await }
    });
    let locations: Vec<_> = entered.await.into_iter().map(verified).collect();
    let distinct: BTreeSet<_> = locations.iter().collect();
    assert_eq!(distinct.len(), 1, "all answers have the same ticket");
    assert_eq!(world.events("challenge.verified").await, 1);
    assert_eq!(world.outbox(OutboxKind::Feedback).await.len(), fed + 1);
    assert_eq!(world.rows::<Code>("", &[]).await, []);
    assert!(matches!(user.redeem(&ticket(locations[0].as_ref().unwrap())).await, Redeemed::Result(_)));
}

async fn exactly_five_of_fifty_wrong_entries_count(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let entered = concurrently(&world, CONCURRENT_ACTIONS, |_| {
        let (user, wrong) = (user.clone(), other_code(&code));
        async move { user.enter(challenge, &wrong).await }
    })
    .await;
    let mut left: Vec<u32> = entered
        .iter()
        .filter_map(|e| if let Entered::Wrong { left, .. } = e { Some(*left) } else { None })
        .collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3, 4]);
    let ended = entered.iter().filter(|e| e.ended() == Some(ChallengeState::Locked)).count();
    assert_eq!(ended, CONCURRENT_ACTIONS - 4, "the fifth entry locks, and the others are refused");
    let (row, account) = (user.challenge(challenge).await, world.account("u1").await);
    assert_eq!((row.wrong, row.state, account.wrong), (5, ChallengeState::Locked, 5));
    assert_eq!((world.events("challenge.locked").await, world.events("account.paused").await), (1, 1));
}

async fn a_right_and_a_fifth_wrong_entry_give_one_result(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for round in 0..6 {
        world.advance(2 * 86_400);
        let challenge = user.open_challenge().await;
        let code = world.code(challenge).await;
        user.enter_wrong(challenge, 4).await;
        let entered = concurrently(&world, 20, |n| {
            let text = if n == round { code.clone() } else { other_code(&code) };
            let user = user.clone();
            async move { (n == round, user.enter(challenge, &text).await) }
        })
        .await;
        let row = user.challenge(challenge).await;
        let right = &entered.iter().find(|(right, _)| *right).unwrap().1;
        match row.state {
            ChallengeState::Verified => {
                assert!(is_right(right) && row.wrong == 4, "{right:?}");
                assert_eq!(world.account("u1").await.wrong, 0);
            }
            ChallengeState::Locked => {
                assert_eq!((right.ended(), row.wrong), (Some(ChallengeState::Locked), 5));
                assert!(!entered.iter().any(|(_, e)| is_right(e)));
            }
            other => panic!("{other}"),
        }
    }
}

async fn one_code_of_an_authenticator_in_two_challenges_verifies_one(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let challenges = [user.open_challenge().await, user.open_challenge().await];
    let code = app.code(&world).await;
    concurrently(&world, 8, |n| {
        let (user, code, method, challenge) = (user.clone(), code.clone(), app.method, challenges[n % 2]);
        async move { user.enter_for(challenge, method, &code).await }
    })
    .await;
    let mut states = [user.challenge(challenges[0]).await.state, user.challenge(challenges[1]).await.state];
    states.sort_by_key(|s| *s != ChallengeState::Verified);
    assert_eq!(states[0], ChallengeState::Verified);
    assert_ne!(states[1], ChallengeState::Verified);
    assert_eq!(world.events("challenge.verified").await, 1);
}

async fn one_recovery_code_in_two_challenges_verifies_one(world) {
    let (user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    let challenges = [user.open_challenge().await, user.open_challenge().await];
    let entered = concurrently(&world, 4, |n| {
        let (user, code, challenge) = (user.clone(), codes[0].clone(), challenges[n % 2]);
        async move { user.enter(challenge, &code).await }
    })
    .await;
    assert_eq!(entered.iter().filter(|e| is_right(e)).count(), 1, "{entered:?}");
    assert_eq!(world.events("recovery.used").await, 1);
    let account = world.account("u1").await.id;
    assert_eq!(world.core.recovery_codes_left(account).await.unwrap(), 10);
}

async fn right_answers_in_many_challenges_of_one_account_all_count(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let mut waiting = vec![];
    for _ in 0..5 {
        let challenge = user.open_challenge().await;
        waiting.push((challenge, world.code(challenge).await));
    }
    let entered = concurrently(&world, waiting.len(), |n| {
        let (user, (challenge, code)) = (user.clone(), waiting[n].clone());
        let entry = Entry { text: code, method: None, trust: true, ..Entry::default() };
        async move { user.try_entry(challenge, entry).await.unwrap() }
    })
    .await;
    assert!(entered.iter().all(is_right));
    assert_eq!(world.events("challenge.verified").await, 5);
}

async fn a_right_entry_and_a_cancellation_give_one_result(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for _ in 0..5 {
        world.advance(86_400);
        let challenge = user.open_challenge().await;
        let code = world.code(challenge).await;
        let outcome = concurrently(&world, 2, |n| {
            let (user, code) = (user.clone(), code.clone());
            async move {
                if n == 0 {
                    return user.world.core.cancel(challenge, &user.requester()).await.unwrap();
                }
                match user.enter(challenge, &code).await {
                    Entered::Verified { location, .. } => location,
                    other => {
                        assert_eq!(other.ended(), Some(ChallengeState::Cancelled));
                        user.world.core.location(&user.challenge(challenge).await)
                    }
                }
            }
        })
        .await;
        assert_eq!(outcome[0], outcome[1], "both have the same result");
    }
}
}
