//! The database's clock steps by ten minutes. A second process on the same rows has the clock before a step forward, or
//! after a step back.

use two_step::challenge::SendRefused;
use two_step::flow::{Entered, Redeemed};
use two_step::method::Channel;

use crate::support::on_both;
use crate::support::user::{User, ticket, verified};
use crate::support::world::{Backend, World};

const STEP_S: u64 = 600;

/// Returns a user, and the same user in a world whose clock is ten minutes earlier.
async fn before_a_step_back(world: &World) -> (User, World) {
    let earlier = world.second_process();
    let (user, _) = User::with_phone(world, "u1", 1).await;
    earlier.advance(crate::support::world::ALL_LIMITS_FREE_S);
    world.advance(STEP_S);
    (user, earlier)
}

on_both! {
async fn after_a_step_forward_codes_have_expired_and_a_new_one_signs_in(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    world.advance(STEP_S);
    assert!(matches!(user.enter(challenge, &code).await, Entered::Wrong { left: 4, .. }));
    user.send(challenge, Channel::Sms).await.unwrap();
    let location = user.must_verify(challenge, &world.code(challenge).await).await.unwrap();
    assert!(matches!(user.redeem(&ticket(&location)).await, Redeemed::Result(_)));
}

async fn after_a_step_back_a_code_signs_in(world) {
    let (user, earlier) = before_a_step_back(&world).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let then = user.at(&earlier);
    assert!(matches!(then.enter_wrong(challenge, 1).await, Entered::Wrong { left: 4, .. }));
    let location = then.must_verify(challenge, &code).await.unwrap();
    assert!(matches!(then.redeem(&ticket(&location)).await, Redeemed::Result(_)));
    assert!(
        matches!(user.redeem(&ticket(&location)).await, Redeemed::Over),
        "ten minutes after the step back"
    );
}

async fn a_step_back_allows_no_extra_entries_and_sends(world) {
    let (user, earlier) = before_a_step_back(&world).await;
    let challenge = user.open_challenge().await;
    let then = user.at(&earlier);
    let refused = then.send(challenge, Channel::Sms).await;
    assert!(matches!(refused, Err(SendRefused::Limited { .. })), "the minimum gap has not passed: {refused:?}");
    user.enter_wrong(challenge, 3).await;
    assert!(matches!(then.enter_wrong(challenge, 1).await, Entered::Wrong { left: 1, .. }));
    then.enter_wrong(challenge, 1).await;
    let until = world.account("u1").await.paused_until;
    assert!(until > Some(earlier.now().await));
    for _ in 0..4 {
        world.advance(3600);
        earlier.advance(3600);
        // Five codes to the number in ten minutes, in both directions of the step.
        let mut sent = 0;
        for n in 0..8 {
            let browser = if n % 2 == 0 { &user } else { &then };
            let challenge = browser.open_challenge().await;
            sent += world.jobs(challenge).await.len();
        }
        assert!(sent <= 5, "{sent}");
    }
}

async fn a_used_authenticator_code_stays_used_after_a_step_back(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let app = user.add_authenticator().await;
    let earlier = world.second_process();
    earlier.advance(crate::support::world::ALL_LIMITS_FREE_S);
    world.advance(STEP_S);
    let challenge = user.open_challenge().await;
    let spent = app.code(&world).await;
    verified(user.enter_for(challenge, app.method, &spent).await);
    let then = user.at(&earlier);
    let challenge = then.open_challenge().await;
    for text in [spent, app.code(&earlier).await] {
        let entered = then.enter_for(challenge, app.method, &text).await;
        assert!(matches!(entered, Entered::Wrong { .. }), "{entered:?}");
    }
    // The text is still accepted.
    earlier.advance(60);
    then.send(challenge, Channel::Sms).await.unwrap();
}

async fn after_a_step_back_results_are_signed(world) {
    let (user, earlier) = before_a_step_back(&world).await;
    assert!(
        matches!(user.redeem(&user.sign_in().await).await, Redeemed::Result(_)),
        "the first key was created before the step back"
    );
    earlier.advance(60);
    let then = user.at(&earlier);
    let ticket = then.sign_in().await;
    assert!(matches!(then.redeem(&ticket).await, Redeemed::Result(_)));
}
}
