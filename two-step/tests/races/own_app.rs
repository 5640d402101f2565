//! Concurrent answers of the app: approvals, denials, expiry, and codes on the page.

use two_step::app_request::{AppRequest, RequestState};
use two_step::challenge::ChallengeState;
use two_step::flow::{Answered, Entered, RegisterRefused};

use crate::concurrently;
use crate::support::app::PhoneApp;
use crate::support::on_both;
use crate::support::user::{User, other_code};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

on_both! {
async fn twenty_concurrent_approvals_verify_once_and_get_the_same_answer(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    let call = app.call().await;
    let answered = concurrently(&world, 20, |_| {
        let (world, call, digits) = (world.clone(), call.clone(), digits.clone());
        async move { world.core.approve(&call, request, &digits).await.unwrap() }
    })
    .await;
    assert!(answered.iter().all(|a| *a == Answered::Approved), "{answered:?}");
    assert_eq!(world.events("challenge.verified").await, 1);
    assert_eq!(user.challenge(challenge).await.state, ChallengeState::Verified);
}

async fn exactly_five_of_twenty_wrong_numbers_count(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    let call = app.call().await;
    let answered = concurrently(&world, 20, |_| {
        let (world, call, digits) = (world.clone(), call.clone(), other_code(&digits));
        async move { world.core.approve(&call, request, &digits).await.unwrap() }
    })
    .await;
    assert_eq!(answered.iter().filter(|a| matches!(a, Answered::Wrong { .. })).count(), 4);
    let (row, account) = (user.challenge(challenge).await, world.account("u1").await);
    assert_eq!((row.wrong, row.state, account.wrong), (5, ChallengeState::Locked, 5));
}

async fn an_approval_and_a_denial_give_one_result(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    for _ in 0..4 {
        world.advance(ALL_LIMITS_FREE_S);
        let challenge = user.open_challenge().await;
        let (request, digits) = app.asked().await;
        let call = app.call().await;
        let answered = concurrently(&world, 10, |n| {
            let (world, call, digits) = (world.clone(), call.clone(), digits.clone());
            async move {
                if n % 2 == 0 {
                    world.core.approve(&call, request, &digits).await.unwrap()
                } else {
                    world.core.deny(&call, request).await.unwrap()
                }
            }
        })
        .await;
        let approved = answered.contains(&Answered::Approved);
        let denied = answered.iter().any(|a| matches!(a, Answered::Denied { .. }));
        assert!(approved != denied, "{answered:?}");
        let (state, request) = if approved {
            (ChallengeState::Verified, RequestState::Approved)
        } else {
            (ChallengeState::Denied, RequestState::Denied)
        };
        assert_eq!(user.challenge(challenge).await.state, state);
        let row = world.rows::<AppRequest>("order by id desc limit 1", &[]).await.pop().unwrap();
        assert_eq!(row.state, request);
    }
}

async fn an_approval_and_a_cancellation_give_one_result(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    for _ in 0..4 {
        world.advance(ALL_LIMITS_FREE_S);
        let challenge = user.open_challenge().await;
        let (request, digits) = app.asked().await;
        let call = app.call().await;
        let answered = concurrently(&world, 6, |n| {
            let (world, user, call, digits) = (world.clone(), user.clone(), call.clone(), digits.clone());
            async move {
                if n % 2 == 0 {
                    Some(world.core.approve(&call, request, &digits).await.unwrap())
                } else {
                    world.core.cancel(challenge, &user.requester()).await.unwrap();
                    None
                }
            }
        })
        .await;
        let approved = answered.contains(&Some(Answered::Approved));
        let state = user.challenge(challenge).await.state;
        assert_eq!(state, if approved { ChallengeState::Verified } else { ChallengeState::Cancelled });
    }
}

async fn an_approval_and_its_code_on_the_page_verify_once(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    let call = app.call().await;
    let code = world.core.app_code(&call, request).await.unwrap().unwrap().0;
    concurrently(&world, 10, |n| {
        let (world, user, call) = (world.clone(), user.clone(), call.clone());
        let (digits, code) = (digits.clone(), code.clone());
        async move {
            if n % 2 == 0 {
                world.core.approve(&call, request, &digits).await.map(drop).unwrap();
            } else {
                let entered = user.enter(challenge, code.expose()).await;
                assert!(!matches!(entered, Entered::Wrong { .. }), "{entered:?}");
            }
        }
    })
    .await;
    assert_eq!(world.events("challenge.verified").await, 1);
    assert_eq!(world.account("u1").await.wrong, 0);
}

async fn one_of_ten_apps_with_one_set_up_code_registers(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let code = world.core.add_app(&user.visit).await.unwrap().unwrap().code.unwrap().spelled();
    let registered = concurrently(&world, 10, |_| {
        let (app, code) = (PhoneApp::new(&world), code.clone());
        async move { app.try_register(&code).await.map(drop) }
    })
    .await;
    assert_eq!(registered.iter().filter(|r| r.is_ok()).count(), 1, "{registered:?}");
    assert!(registered.iter().all(|r| matches!(r, Ok(()) | Err(RegisterRefused::Code))), "{registered:?}");
}

async fn one_of_twenty_copies_of_a_request_is_accepted(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let request = app.signed("GET", "/app/v1/account", b"").await;
    let taken = concurrently(&world, 20, |_| {
        let (world, request) = (world.clone(), request.clone());
        async move { world.core.verified_request(&request.as_request(), None).await.unwrap().is_ok() }
    })
    .await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

async fn concurrent_sign_ins_leave_one_open_request(world) {
    let (user, _) = PhoneApp::first_way(&world).await;
    concurrently(&world, 8, |_| {
        let browser = user.elsewhere();
        async move { browser.open_challenge().await }
    })
    .await;
    let all = world.rows::<AppRequest>("", &[]).await;
    assert_eq!(all.len(), 5, "five requests an hour");
    assert_eq!(all.iter().filter(|r| r.state == RequestState::Open).count(), 1);
}

async fn an_approval_and_an_expiry_give_one_result(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    for _ in 0..4 {
        world.advance(ALL_LIMITS_FREE_S);
        let challenge = user.open_challenge().await;
        let (request, digits) = app.asked().await;
        let call = app.call().await;
        // The challenge expires while the answers are in progress.
        let left = user.challenge(challenge).await.expires_at;
        let now = world.now().await;
        world.advance((left.as_second() - now.as_second() - 1).max(0) as u64);
        let answered = concurrently(&world, 6, |n| {
            let (world, call, digits) = (world.clone(), call.clone(), digits.clone());
            async move {
                if n == 3 {
                    world.advance(2);
                }
                world.core.approve(&call, request, &digits).await.unwrap()
            }
        })
        .await;
        let state = user.challenge(challenge).await.state;
        if answered.contains(&Answered::Approved) {
            assert_eq!(state, ChallengeState::Verified);
        } else {
            assert!(answered.iter().all(|a| *a == Answered::Ended(ChallengeState::Expired)), "{answered:?}");
            assert_eq!(state, ChallengeState::Expired);
        }
    }
}
}
