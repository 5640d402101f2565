//! Concurrent users, otpost's events, the relay's confirmations and sweeps on the same rows.

use two_step::flow::{Claimed, Created, DispatchEvent, Entered, Entry, FlowError};
use two_step::limit::Rule;
use two_step::method::Channel;
use two_step::store::{Dispatch, DispatchState};
use two_step::sweep::sweep;
use uuid::Uuid;

use crate::concurrently;
use crate::support::on_both;
use crate::support::user::{User, last_part, other_code};
use crate::support::world::{Backend, World};

fn event(dispatch: Uuid, sequence: i64, state: DispatchState) -> DispatchEvent {
    DispatchEvent {
        dispatch,
        sequence,
        state,
        channel: Some(Channel::Sms),
        reason: None,
        retry_after_s: None,
    }
}

on_both! {
async fn events_confirmations_and_sweeps_do_not_disturb_an_entry(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for _ in 0..4 {
        world.advance(86_400);
        let challenge = user.open_challenge().await;
        let (code, dispatch) = (world.code(challenge).await, world.dispatch(challenge).await);
        concurrently(&world, 24, |n| {
            let (person, code, flows) = (user.clone(), code.clone(), world.core.clone());
            async move {
                match n % 6 {
                    0 => flows.receive_event(&event(dispatch, 2 + n as i64, DispatchState::Sent)).await.unwrap(),
                    1 => flows.receive_event(&event(dispatch, 99, DispatchState::Delivered)).await.unwrap(),
                    2 => flows.dispatch_confirmed(dispatch).await.unwrap(),
                    3 => assert!(sweep(&flows).await.is_ok()),
                    4 => drop(person.send(challenge, Channel::Voice).await),
                    _ => drop(person.enter(challenge, &code).await),
                }
            }
        })
        .await;
        let row = user.challenge(challenge).await;
        assert_eq!(row.state, two_step::challenge::ChallengeState::Verified);
        let row = world.row::<Dispatch>(dispatch).await;
        assert_eq!((row.state, row.sequence), (DispatchState::Delivered, 99));
        assert!(row.confirmed_at.is_some(), "an event does not undo the confirmation");
    }
    assert_eq!(world.events("challenge.verified").await, 4);
}

async fn sweeps_delete_no_row_in_use(world) {
    let world = world.configured(|c| {
        c.limits.number_sends = vec![Rule::per(1000, 1)];
        c.limits.account_sends = vec![Rule::per(1000, 1)];
        c.limits.product_sends = vec![Rule::per(10_000, 1)];
    });
    let mut users = vec![];
    for n in 0..6 {
        users.push(User::with_phone(&world, &format!("u{n}"), n).await.0);
    }
    for _ in 0..5 {
        // All counters have expired, so sweeps delete rows that these users are about to lock.
        world.advance(2);
        concurrently(&world, 18, |n| {
            let (user, flows) = (users[n % 6].clone(), world.core.clone());
            async move {
                if n % 3 == 0 {
                    sweep(&flows).await.unwrap();
                } else {
                    user.open_challenge().await;
                }
            }
        })
        .await;
    }
}

async fn concurrent_users_meet_no_deadlock(world) {
    let world = world.configured(|c| {
        c.limits.number_sends = vec![Rule::per(1000, 600)];
        c.limits.account_sends = vec![Rule::per(1000, 600)];
    });
    let mut users = vec![];
    for n in 0..5 {
        let mut user = User::with_phone(&world, &format!("u{n}"), 1 + n % 2).await.0;
        let challenge = user.open_challenge().await;
        let code = world.code(challenge).await;
        user.verify_and_trust(challenge, &code).await;
        users.push(user);
    }
    world.advance(120);
    let proved = "select count(*) from event where kind = 'challenge.verified' and data not like '%\"trust\"%'";
    let verified_before = world.count(proved).await;
    let right: usize =
        concurrently(&world, 50, |n| one_concurrent_user(users[n % 5].clone(), n)).await.into_iter().sum();
    assert_eq!(world.count(proved).await, verified_before + right as i64);
    for user in &users {
        assert!(world.account(&user.name).await.is_on());
    }
}
}

/// One concurrent user. Returns the number of verifications by a code.
async fn one_concurrent_user(user: User, n: usize) -> usize {
    let flows = user.world.core.clone();
    let trusting = n.is_multiple_of(4);
    let browser = if trusting { user.clone() } else { user.elsewhere() };
    let mut right = 0;
    for _ in 0..3 {
        let Created::Challenge { id, url, .. } = flows.create("shop", user.new_challenge()).await.unwrap()
        else {
            panic!("the account is off");
        };
        let (claimed, _) = flows.claim(&last_part(&url), &browser.visit).await.unwrap();
        if trusting {
            assert!(matches!(claimed, Claimed::Verified { .. }));
            continue;
        }
        if browser.world.jobs(id).await.is_empty() {
            continue; // The account is paused.
        }
        let (code, dispatch) = (browser.world.code(id).await, browser.world.dispatch(id).await);
        flows.receive_event(&event(dispatch, 1, DispatchState::Sent)).await.unwrap();
        let typed = if n.is_multiple_of(3) { other_code(&code) } else { code };
        let entry =
            Entry { text: typed.clone(), method: None, trust: n.is_multiple_of(2), ..Entry::default() };
        match browser.try_entry(id, entry).await {
            Ok(Entered::Verified { .. }) => {
                assert!(!n.is_multiple_of(3), "a wrong code");
                right += 1;
            }
            Ok(_) | Err(FlowError::Limited { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    right
}
