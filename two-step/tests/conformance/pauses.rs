//! Methods that a carrier or a stop page paused.

use two_step::challenge::ChallengeState;
use two_step::flow::{AddRefused, Change, DispatchEvent, NewSession, StopOutcome};
use two_step::method::{Channel, Kind, Method, MethodState, STOPPED};
use two_step::seal::Sealed;
use two_step::store::{DispatchState, OutboxKind, Value};

use crate::support::on_both;
use crate::support::user::{User, last_part, verified};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

/// Returns a user whose phone has blocked texts, and the paused phone.
async fn opted_out(world: &World) -> (User, crate::support::user::Authenticator, Method) {
    let (user, authenticator) = User::with_phone(world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    user.add_phone("07700 900999").await;
    world.advance(60);
    let challenge = user.open_challenge().await;
    let dispatch = world.dispatch(challenge).await;
    let event = DispatchEvent {
        dispatch,
        sequence: 2,
        state: DispatchState::Undelivered,
        channel: Some(Channel::Sms),
        reason: Some("opted_out".to_owned()),
        retry_after_s: None,
    };
    world.core.receive_event(&event).await.unwrap();
    let paused = world.rows::<Method>("where state = 'paused'", &[]).await.pop().unwrap();
    (user, authenticator, paused)
}

/// Sends an address with a session, for an account that is off.
async fn give_email(user: &User, address: &str) {
    let new = NewSession { email: Some(address.to_owned()), ..user.new_session().await };
    let opened = user.world.core.open_session("shop", new).await.unwrap();
    user.world.core.claim_session(&last_part(&opened.url), &user.visit).await.unwrap();
}

async fn mailboxes(world: &World) -> Vec<(String, MethodState)> {
    let all = world.rows::<Method>("where kind = 'email' order by id", &[]).await;
    all.into_iter().map(|m| (m.hint, m.state)).collect()
}

on_both! {
async fn a_pause_by_the_carrier_sends_notices_to_the_other_methods(world) {
    let (_, _, paused) = opted_out(&world).await;
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let notices = notices.iter().filter(|job| job["params"]["about"] == "method_paused");
    assert_eq!(notices.map(|job| job["to"].as_str().unwrap()).collect::<Vec<_>>(), ["+447700900999"]);
    let event = world.rows::<two_step::store::Event>("where kind = 'method.paused'", &[]).await.pop().unwrap();
    assert!(event.data.contains(&paused.id.to_string()) && event.data.contains("opted_out"), "{}", event.data);
}

async fn a_received_code_resumes_a_phone_that_the_carrier_paused(world) {
    let (user, authenticator, paused) = opted_out(&world).await;
    world.advance(60);
    let challenge = user.open_challenge().await;
    let code = authenticator.code(&world).await;
    verified(user.enter_for(challenge, authenticator.method, &code).await);
    assert_eq!(world.row::<Method>(paused.id).await.state, MethodState::Paused, "a proof by another method does not resume it");
    user.open_settings().await;
    let proof = world.core.open_proof_challenge(&user.visit).await.unwrap();
    world.advance(30);
    let code = authenticator.code(&world).await;
    verified(user.enter_for(proof, authenticator.method, &code).await);
    let again = world.core.resend_first_code(&user.visit, paused.id, None).await.unwrap().unwrap();
    user.must_verify(again, &world.code(again).await).await;
    assert!(world.row::<Method>(paused.id).await.is_active());
    assert_eq!((world.events("method.resumed").await, world.events("method.added").await), (1, 3));
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let notices = notices.iter().filter(|job| job["params"]["about"] == "method_resumed");
    assert_eq!(notices.map(|job| job["to"].as_str().unwrap()).collect::<Vec<_>>(), ["+447700900999"]);
}

async fn a_paused_phone_gets_no_notices_and_cannot_be_added_a_second_time(world) {
    let (user, authenticator, paused) = opted_out(&world).await;
    let number = world.core.keys.open_text(Sealed::MethodTarget, paused.id, paused.target_sealed.as_deref().unwrap()).unwrap();
    world.advance(3600);
    user.open_settings().await;
    let proof = world.core.open_proof_challenge(&user.visit).await.unwrap();
    let code = authenticator.code(&world).await;
    verified(user.enter_for(proof, authenticator.method, &code).await);
    let again = world.core.add_phone(&user.visit, &number, "GB", Channel::Sms).await.unwrap();
    assert_eq!(again, Err(AddRefused::Known), "the same phone cannot be added again");
    let before = world.outbox(OutboxKind::Dispatch).await.len();
    user.save_recovery_codes().await;
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let numbers: Vec<&str> = notices[before..].iter().map(|job| job["to"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["+447700900999"]);
}

async fn resuming_a_phone_does_not_count_as_a_new_account_of_its_number(world) {
    let (user, authenticator, paused) = opted_out(&world).await;
    let number = world.core.keys.open_text(Sealed::MethodTarget, paused.id, paused.target_sealed.as_deref().unwrap()).unwrap();
    for n in 0..5 {
        let other = User::new(&world, &format!("other{n}"));
        other.open_settings().await;
        world.advance(ALL_LIMITS_FREE_S);
        other.open_settings().await;
        other.add_phone(&number).await;
    }
    world.advance(ALL_LIMITS_FREE_S);
    user.open_settings().await;
    let proof = world.core.open_proof_challenge(&user.visit).await.unwrap();
    let code = authenticator.code(&world).await;
    verified(user.enter_for(proof, authenticator.method, &code).await);
    let again = world.core.resend_first_code(&user.visit, paused.id, None).await.unwrap().unwrap();
    user.must_verify(again, &world.code(again).await).await;
    assert!(world.row::<Method>(paused.id).await.is_active());
}

async fn an_unverified_address_is_deleted_without_a_notice(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let enrolment = world.core.add_email(&user.visit, "ada@wrong.example").await.unwrap().unwrap();
    let pending = user.challenge(enrolment).await.method.unwrap();
    let before = (world.outbox(OutboxKind::Dispatch).await.len(), world.events("method.removed").await);
    world.core.change(&user.visit, pending, &Change::Remove).await.unwrap().unwrap();
    assert_eq!((world.outbox(OutboxKind::Dispatch).await.len(), world.events("method.removed").await), before);
    assert!(world.rows::<Method>("where kind = 'email'", &[]).await.is_empty());
    assert_eq!(user.challenge(enrolment).await.state, ChallengeState::Cancelled);
}

async fn a_stop_page_ends_open_challenges_and_sends_no_notice_to_the_paused_method(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let added = user.add_phone("07700 900999").await;
    world.advance(60);
    let open = user.open_challenge().await;
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let notice = notices.iter().rfind(|job| job["params"]["about"] == "method_added").unwrap();
    let token = notice["params"]["token"].as_str().unwrap();
    assert_eq!(world.core.stop(token).await.unwrap(), StopOutcome::Stopped);
    assert_eq!(user.challenge(open).await.state, ChallengeState::Denied);
    assert!(world.events("challenge.denied").await >= 1);
    assert_eq!(world.events("method.paused").await, 1);
    assert!(world.row::<Method>(added).await.is_paused_for(STOPPED));
    world.advance(3600);
    user.open_settings().await;
    user.prove_to_settings().await;
    user.save_recovery_codes().await;
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let numbers: Vec<&str> = notices.iter().rev().take(1).map(|job| job["to"].as_str().unwrap()).collect();
    assert_ne!(numbers, ["+447700900999"], "its owner could stop changes of the user");
}

async fn a_new_address_from_the_product_replaces_its_earlier_one(world) {
    let user = User::new(&world, "u1");
    give_email(&user, "ada@shop.example").await;
    give_email(&user, "ada@shop.example").await;
    give_email(&user, "countess@shop.example").await;
    assert_eq!(
        mailboxes(&world).await,
        [("a•••@shop.example".to_owned(), MethodState::Removed), ("c•••@shop.example".to_owned(), MethodState::Active)]
    );
    assert_eq!(world.events("method.removed").await, 1);
}

async fn the_product_cannot_add_an_address_that_the_user_stopped(world) {
    let user = User::new(&world, "u1");
    give_email(&user, "ada@shop.example").await;
    let mut mailbox = world.rows::<Method>("where kind = 'email'", &[]).await.pop().unwrap();
    mailbox.pause(STOPPED);
    world.write(&mailbox).await;
    give_email(&user, "ada@shop.example").await;
    assert!(world.row::<Method>(mailbox.id).await.is_paused_for(STOPPED));
}

async fn unsaved_recovery_codes_are_deleted_with_their_set(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    world.core.create_recovery_codes(&user.visit).await.unwrap();
    world.advance(29 * 60);
    two_step::sweep::sweep(&world.core).await.unwrap();
    assert_eq!(world.count("select count(*) from recovery_code").await, 10);
    world.advance(2 * 60);
    two_step::sweep::sweep(&world.core).await.unwrap();
    assert_eq!(world.count("select count(*) from recovery_code").await, 0);
    assert!(world.rows::<Method>("where kind = $1", &[Value::Text(Kind::Recovery.to_string())]).await.is_empty());
}
}
