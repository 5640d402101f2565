//! Authenticators and recovery codes.

use two_step::challenge::{Acr, Proof};
use two_step::flow::{Entered, Redeemed};
use two_step::method::{Kind, Method, MethodState};
use two_step::recovery::RecoveryCode;
use two_step::store::{OutboxKind, SupportAction};

use crate::support::on_both;
use crate::support::user::{User, number, ticket, verified};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

on_both! {
async fn an_authenticators_code_is_accepted_once(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let (one, two) = (user.open_challenge().await, user.open_challenge().await);
    let code = app.code(&world).await;
    verified(user.enter_for(one, app.method, &code).await);
    let entered = user.enter_for(two, app.method, &code).await;
    assert_eq!(entered, Entered::Wrong { left: 4, clock_behind_s: None, expired: false }, "the code was used in another challenge");
    let earlier = app.code_at(&world, -1).await;
    assert!(
        matches!(user.enter_for(two, app.method, &earlier).await, Entered::Wrong { left: 3, .. }),
        "a code of an earlier step"
    );
    world.advance(60);
    let code = app.code(&world).await;
    verified(user.enter_for(two, app.method, &code).await);
    assert_eq!(user.challenge(two).await.proof, Some(Proof::Totp));
}

async fn a_neighbouring_step_is_accepted_and_a_wrong_clock_is_reported(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let far = app.code_at(&world, -8).await;
    let Entered::Wrong { left: 4, clock_behind_s: Some(behind), .. } =
        user.enter_for(challenge, app.method, &far).await
    else {
        panic!("a code of eight steps ago should be wrong with a reason");
    };
    assert!((210..=270).contains(&behind), "{behind}");
    let near = app.code_at(&world, 1).await;
    verified(user.enter_for(challenge, app.method, &near).await);
}

async fn an_authenticators_code_is_accepted_only_on_its_page(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = app.code(&world).await;
    assert!(
        matches!(user.enter(challenge, &code).await, Entered::Wrong { left: 4, .. }),
        "the page shows the text"
    );
    verified(user.enter_for(challenge, app.method, &code).await);
}

async fn any_authenticator_of_the_account_is_accepted(world) {
    let (user, one) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let two = user.add_authenticator().await;
    world.advance(60);
    let challenge = user.open_challenge().await;
    let code = two.code(&world).await;
    verified(user.enter_for(challenge, one.method, &code).await);
    assert!(world.row::<Method>(two.method).await.used_at > world.row::<Method>(one.method).await.used_at);
}

async fn a_late_text_is_accepted_on_the_authenticators_page(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.core.send(challenge, &user.requester(), Some(app.method), None).await.unwrap().unwrap();
    let code = world.code(challenge).await;
    verified(user.enter(challenge, &code).await);
    assert_eq!(user.challenge(challenge).await.proof, Some(Proof::Sms));
}

async fn a_recovery_code_signs_in_once_and_is_replaced(world) {
    let (user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    let account = world.account("u1").await.id;
    let challenge = user.open_challenge().await;
    let typed = codes[3].to_lowercase().replace('-', " ");
    let Entered::Verified { location, new_recovery_code: Some(new), .. } =
        user.enter(challenge, &typed).await
    else {
        panic!("a recovery code signs in");
    };
    assert!(!codes.contains(&new));
    assert_eq!(user.challenge(challenge).await.acr, Some(Acr::Recovery));
    assert_eq!(world.core.recovery_codes_left(account).await.unwrap(), 10);
    let places: Vec<u32> = world.rows::<RecoveryCode>("order by n", &[]).await.iter().map(|c| c.n).collect();
    assert_eq!(places, (1..=10).collect::<Vec<_>>());
    assert_eq!(world.events("recovery.used").await, 1);
    let notices = world.outbox(OutboxKind::Dispatch).await;
    assert_eq!(notices.last().unwrap()["params"]["about"], "recovery_used");
    // The page shows the new code, so the ticket's life starts when the user continues.
    world.advance(120);
    assert_eq!(world.core.continue_sign_in(challenge, &user.requester()).await.unwrap(), location);
    let ticket = ticket(&location.unwrap());
    assert!(matches!(user.redeem(&ticket).await, Redeemed::Result(_)));

    let challenge = user.open_challenge().await;
    assert!(matches!(user.enter(challenge, &codes[3]).await, Entered::Wrong { left: 4, .. }), "used up");
    verified(user.enter(challenge, &new).await);
}

async fn a_ticket_after_a_recovery_code_expires_a_minute_after_continuing(world) {
    let (user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let location = verified(user.enter(challenge, &codes[0]).await).unwrap();
    world.core.continue_sign_in(challenge, &user.requester()).await.unwrap();
    world.advance(60);
    assert_eq!(user.redeem(&ticket(&location)).await, Redeemed::Over);
}

async fn new_recovery_codes_replace_the_old_ones(world) {
    let (user, old) = User::with_recovery_codes(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let new = user.save_recovery_codes().await;
    world.advance(60);
    let challenge = user.open_challenge().await;
    assert!(matches!(user.enter(challenge, &old[0]).await, Entered::Wrong { .. }));
    verified(user.enter(challenge, &new[0]).await);
    assert_eq!(world.events("recovery.renewed").await, 1);
}

async fn a_recovery_code_of_another_user_is_wrong(world) {
    let (_, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    let (two, _) = User::with_recovery_codes(&world, "u2", 2).await;
    let challenge = two.open_challenge().await;
    assert!(matches!(two.enter(challenge, &codes[0]).await, Entered::Wrong { .. }));
}

/// Fails if the remaining methods are not checked, because then the account is on and nobody can sign in.
async fn the_last_method_cannot_be_removed_as_a_lost_phone(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let phones = [user.add_phone(&number(1)).await, user.add_phone(&number(2)).await];
    user.turn_on(false).await;
    let case = |agent: &str| two_step::flow::NewCase {
        user: "u1".to_owned(),
        action: SupportAction::SendRecoveryCode,
        method: None,
        reason: "lost phone".to_owned(),
        evidence: vec![],
        agent: agent.to_owned(),
    };
    for (n, phone) in phones.into_iter().enumerate() {
        world.advance(ALL_LIMITS_FREE_S);
        world.core.open_case("shop", case("ada")).await.unwrap().unwrap();
        let codes = world.outbox(OutboxKind::Dispatch).await;
        let code = codes.iter().rev().find_map(|job| job["code"].as_str().filter(|c| c.len() == 8)).unwrap().to_owned();
        let challenge = user.open_challenge().await;
        user.must_verify(challenge, &code).await;
        world.core.remove_lost_phone(challenge, &user.requester(), phone).await.unwrap();
        let left = world.row::<Method>(phone).await.state;
        assert_eq!(left, if n == 0 { MethodState::Removed } else { MethodState::Active });
    }
}

async fn after_a_recovery_code_the_lost_phone_can_be_removed(world) {
    let (user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let phone = phone_of(&world).await;
    let remove = async |challenge, phone| {
        world.core.remove_lost_phone(challenge, &user.requester(), phone).await.unwrap();
    };
    remove(challenge, phone).await;
    assert_eq!(world.events("method.removed").await, 0, "the challenge is not verified yet");
    verified(user.enter(challenge, &codes[0]).await);
    remove(challenge, phone).await;
    remove(challenge, phone).await;
    assert_eq!(world.events("method.removed").await, 1, "a double click removes it once");
    let left = world.core.methods_of(world.account("u1").await.id).await.unwrap();
    assert_eq!(left.iter().map(|m| m.kind).collect::<Vec<_>>(), [Kind::Recovery]);
    let challenge = user.open_challenge().await;
    verified(user.enter(challenge, &codes[1]).await);
}
}

async fn phone_of(world: &World) -> uuid::Uuid {
    world.rows::<Method>("where kind = 'phone'", &[]).await[0].id
}
