//! The check of unknown browsers, for accounts that are off.

use two_step::challenge::{Acr, Purpose};
use two_step::config::NewDeviceCheck;
use two_step::flow::{Claimed, Created, Entered};
use two_step::method::{Method, WRONG_CODES};
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::User;
use crate::support::world::{Backend, World};

fn checking(world: &World, check: NewDeviceCheck) -> World {
    world.configured(|c| c.products.get_mut("shop").unwrap().new_device_check = check)
}

/// Returns a user who turned two-step verification off and kept the phone.
async fn off_with_a_phone(world: &World) -> User {
    let (user, _) = User::with_phone(world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    world.core.turn_off(&user.visit, true).await.unwrap();
    world.advance(3600);
    user
}

on_both! {
async fn an_unknown_browser_needs_one_code_and_is_then_recognised(world) {
    let world = checking(&world, NewDeviceCheck::Sms);
    let mut user = off_with_a_phone(&world).await;
    let challenge = user.open_challenge().await;
    assert_eq!(user.challenge(challenge).await.purpose, Purpose::NewDevice);
    let Entered::Verified { cookie: Some(cookie), .. } =
        user.enter(challenge, &world.code(challenge).await).await
    else {
        panic!("the browser gets a cookie without a request for trust");
    };
    assert_eq!(user.challenge(challenge).await.acr, Some(Acr::Confirm));
    user.visit.device = Some(cookie);
    world.advance(60);
    let jobs = world.outbox(OutboxKind::Dispatch).await.len();
    let asked = user.create_challenge().await;
    assert!(matches!(user.claim(&asked).await.0, Claimed::Verified { .. }));
    assert_eq!(world.outbox(OutboxKind::Dispatch).await.len(), jobs);
    assert_eq!(user.challenge(asked.id).await.acr, Some(Acr::Confirm), "no second factor was used");
}

async fn a_recognised_browser_is_not_trusted(world) {
    let world = checking(&world, NewDeviceCheck::Sms);
    let mut user = off_with_a_phone(&world).await;
    let challenge = user.open_challenge().await;
    let Entered::Verified { cookie, .. } = user.enter(challenge, &world.code(challenge).await).await else {
        panic!("not verified");
    };
    user.visit.device = cookie;
    world.advance(3600);
    user.open_settings().await;
    user.prove_to_settings().await;
    user.add_authenticator().await;
    user.turn_on(false).await;
    world.advance(60);
    let asked = user.create_challenge().await;
    assert_eq!(user.claim(&asked).await.0, Claimed::Open { challenge: asked.id });
}

async fn no_check_without_configuration_or_without_an_address(world) {
    let user = off_with_a_phone(&world).await;
    let created = world.core.create("shop", user.new_challenge()).await.unwrap();
    assert_eq!(created, Created::NotRequired, "off");
    let by_mail = checking(&world, NewDeviceCheck::Email);
    let created = by_mail.core.create("shop", user.new_challenge()).await.unwrap();
    assert_eq!(created, Created::NotRequired, "a phone cannot receive a mail");
    let by_text = checking(&world, NewDeviceCheck::Sms);
    let stranger = User::new(&by_text, "u2");
    let created = by_text.core.create("shop", stranger.new_challenge()).await.unwrap();
    assert_eq!(created, Created::NotRequired, "the account has no method");
}

async fn the_check_uses_the_configured_kind_of_method(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let challenge = world.core.add_email(&user.visit, "anna@shop.example").await.unwrap().unwrap();
    let mail = world.outbox(OutboxKind::Mail).await.pop().unwrap();
    user.must_verify(challenge, mail["code"].as_str().unwrap()).await;
    user.add_phone("07700 900123").await;
    world.advance(3600);
    let (by_text, by_mail) = (checking(&world, NewDeviceCheck::Sms), checking(&world, NewDeviceCheck::Email));
    let challenge = user.at(&by_text).open_challenge().await;
    assert_eq!(world.job(challenge).await["to"], "+447700900123");
    let challenge = user.at(&by_mail).open_challenge().await;
    assert_eq!(world.jobs(challenge).await.len(), 0);
    let mail = world.outbox(OutboxKind::Mail).await.pop().unwrap();
    assert_eq!((&mail["to"], &mail["kind"]), (&"anna@shop.example".into(), &"code".into()));
    user.must_verify(challenge, mail["code"].as_str().unwrap()).await;
}

async fn a_hundred_wrong_codes_do_not_turn_the_check_off(world) {
    let world = checking(&world, NewDeviceCheck::Sms);
    let user = off_with_a_phone(&world).await;
    let mut phone = world.rows::<Method>("where kind = 'phone' and state = 'active'", &[]).await.pop().unwrap();
    phone.wrong = 99;
    world.write(&phone).await;
    let challenge = user.open_challenge().await;
    user.enter_wrong(challenge, 1).await;
    assert!(world.row::<Method>(phone.id).await.is_paused_for(WRONG_CODES));
    let next = world.core.create("shop", user.new_challenge()).await.unwrap();
    assert!(matches!(next, Created::Challenge { .. }), "{next:?}");
}
}
