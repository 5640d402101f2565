//! Trusted devices.

use std::time::Duration;

use two_step::challenge::{Acr, Proof};
use two_step::config::TrustLife;
use two_step::device::{Device, Trust};
use two_step::flow::{Claimed, DeviceCookie, Entered, Entry, Redeemed};
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::{User, ticket};
use crate::support::world::{Backend, World};

/// Returns a user whose browser is trusted.
async fn trusted(world: &World) -> User {
    let (mut user, _) = User::with_phone(world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    user.verify_and_trust(challenge, &code).await;
    world.advance(3600);
    user
}

/// Returns two users of one browser, which both accounts trust.
async fn trusted_for_two(world: &World) -> (User, User) {
    let one = trusted(world).await;
    let (mut two, _) = User::with_phone(world, "u2", 2).await;
    two.visit = one.visit.clone();
    let challenge = two.open_challenge().await;
    let code = world.code(challenge).await;
    two.verify_and_trust(challenge, &code).await;
    (one, two)
}

/// Signs in with the browser's cookie, and stores the new cookie. Returns whether no code was needed.
async fn needs_no_code(user: &mut User) -> bool {
    let asked = user.create_challenge().await;
    let (claimed, cookie) = user.claim(&asked).await;
    if let Some(cookie) = cookie {
        user.visit.device = Some(cookie);
    }
    matches!(claimed, Claimed::Verified { .. })
}

fn generation(world: &World, user: &User) -> i64 {
    DeviceCookie::read(&world.core.keys, user.visit.device.as_deref().unwrap()).unwrap().generation
}

on_both! {
async fn a_trusted_device_skips_the_second_step_and_its_cookie_is_rotated(world) {
    let mut user = trusted(&world).await;
    let jobs = world.outbox(OutboxKind::Dispatch).await.len();
    let old = user.visit.device.clone();
    let asked = user.create_challenge().await;
    let (Claimed::Verified { location }, Some(cookie)) = user.claim(&asked).await else {
        panic!("not trusted")
    };
    assert_ne!(Some(&cookie), old.as_ref());
    user.visit.device = Some(cookie);
    assert_eq!(generation(&world, &user), 2);
    assert_eq!(world.outbox(OutboxKind::Dispatch).await.len(), jobs, "otpost gets no job");
    let challenge = user.challenge(asked.id).await;
    assert_eq!((challenge.proof, challenge.acr), (Some(Proof::Trust), Some(Acr::Trusted)));
    assert!(challenge.device.is_some());
    assert!(matches!(user.redeem(&ticket(&location)).await, Redeemed::Result(_)));
}

async fn a_repeated_right_answer_gets_the_same_cookie(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let entry = Entry { text: code, trust: true, ..Entry::default() };
    let first = user.try_entry(challenge, entry.clone()).await.unwrap();
    assert!(matches!(&first, Entered::Verified { cookie: Some(_), location: Some(_), .. }), "{first:?}");
    assert_eq!(user.try_entry(challenge, entry).await.unwrap(), first, "a double click gets the same answer");
}

async fn a_replayed_cookie_is_reported_to_all_accounts_of_the_device(world) {
    let (mut one, _) = trusted_for_two(&world).await;
    let stolen = one.visit.device.clone();
    assert!(needs_no_code(&mut one).await);
    world.advance(120);
    assert!(needs_no_code(&mut one).await);
    world.advance(120);
    assert!(needs_no_code(&mut one).await);
    one.visit.device = stolen;
    assert!(!needs_no_code(&mut one).await);
    let replayed = world.rows::<two_step::store::Event>("where kind = 'device.replayed' order by user_ref", &[]).await;
    assert_eq!(replayed.iter().map(|e| e.user_ref.as_str()).collect::<Vec<_>>(), ["u1", "u2"]);
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let notices = notices.iter().filter(|job| job["params"]["about"] == "device_replayed");
    assert_eq!(notices.map(|job| job["to"].as_str().unwrap()).collect::<std::collections::BTreeSet<_>>().len(), 2);
}

async fn a_browser_is_trusted_only_if_the_user_chooses_it(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let entered = user.enter(challenge, &code).await;
    assert!(matches!(entered, Entered::Verified { cookie: None, .. }));
    assert_eq!(world.rows::<Trust>("", &[]).await, []);
}

async fn turning_on_can_trust_the_browser(world) {
    let mut user = User::new(&world, "u1");
    user.open_settings().await;
    user.add_phone("07700 900123").await;
    user.add_authenticator().await;
    user.visit.device = user.turn_on(true).await;
    world.advance(60);
    assert!(needs_no_code(&mut user).await);
}

async fn use_does_not_extend_a_trust_of_thirty_days(world) {
    let mut user = trusted(&world).await;
    for _ in 0..29 {
        world.advance(86_400);
        assert!(needs_no_code(&mut user).await);
    }
    world.advance(86_400 - 3600);
    assert!(!needs_no_code(&mut user).await);
    assert_eq!(world.core.devices(world.account("u1").await.id).await.unwrap().len(), 0);
}

async fn trust_until_sign_out_does_not_expire(world) {
    let world = world.configured(|c| c.trust.life = TrustLife(None));
    let mut user = trusted(&world).await;
    world.advance(399 * 86_400);
    assert!(needs_no_code(&mut user).await);
}

async fn the_previous_cookie_is_valid_for_a_minute_after_the_new_one_was_used(world) {
    let mut user = trusted(&world).await;
    let mut before = user.clone();
    assert!(needs_no_code(&mut user).await);
    let mut lost = before.clone();
    world.advance(3600);
    assert!(needs_no_code(&mut lost).await, "the browser lost the last answer");
    assert_eq!(generation(&world, &lost), 2, "it gets the same cookie again");
    assert!(needs_no_code(&mut user).await);
    assert_eq!(generation(&world, &user), 3);
    world.advance(50);
    assert!(needs_no_code(&mut before).await, "a slow tab with the previous cookie");
    assert_eq!(world.events("device.replayed").await, 0);
}

async fn replaying_a_copied_cookie_ends_the_trust(world) {
    let mut user = trusted(&world).await;
    let mut attacker = user.elsewhere();
    attacker.visit.device = user.visit.device.clone();
    for _ in 0..2 {
        assert!(needs_no_code(&mut user).await);
        world.advance(61);
    }
    let jobs_before = world.outbox(OutboxKind::Dispatch).await.len();
    assert!(!needs_no_code(&mut attacker).await, "after two rotations");
    assert_eq!(world.events("device.replayed").await, 1);
    assert_eq!(world.rows::<Trust>("", &[]).await, []);
    let jobs = world.outbox(OutboxKind::Dispatch).await.split_off(jobs_before);
    assert!(jobs.iter().any(|j| j["params"]["about"] == "device_replayed"), "the user gets a notice");
    assert!(!needs_no_code(&mut user).await, "also for the owner");
    assert!(world.rows::<Device>("", &[]).await[0].void);
    assert_eq!(world.events("device.replayed").await, 1, "once");
}

async fn a_forged_cookie_or_one_of_another_account_is_refused(world) {
    let user = trusted(&world).await;
    let (mut other, _) = User::with_phone(&world, "u2", 2).await;
    let good = user.visit.device.clone().unwrap();
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[1] = "2";
    let cookies =
        [parts.join("."), format!("{good}x"), format!("{good}."), String::new(), "a.b.c".to_owned()];
    for cookie in cookies {
        let mut attacker = user.elsewhere();
        attacker.visit.device = Some(cookie.clone());
        assert!(!needs_no_code(&mut attacker).await, "{cookie}");
        world.advance(3600);
    }
    other.visit.device = user.visit.device.clone();
    assert!(!needs_no_code(&mut other).await, "a trust is valid for one account");
    world.advance(3600);
    assert!(needs_no_code(&mut user.clone()).await, "the device is still trusted");
}

async fn two_accounts_can_trust_one_browser(world) {
    let (mut one, mut two) = trusted_for_two(&world).await;
    assert_eq!(world.rows::<Device>("", &[]).await.len(), 1);
    one.visit = two.visit.clone();
    world.advance(3600);
    assert!(needs_no_code(&mut one).await);
    two.visit = one.visit.clone();
    assert!(needs_no_code(&mut two).await);
}

async fn the_settings_revoke_one_device_or_all(world) {
    let mut user = trusted(&world).await;
    let mut second = user.elsewhere();
    let challenge = second.open_challenge().await;
    let code = world.code(challenge).await;
    second.verify_and_trust(challenge, &code).await;
    user.open_settings().await;
    world.advance(3600 - 1);
    user.open_settings().await;
    user.prove_to_settings().await;
    let devices = world.core.devices(world.account("u1").await.id).await.unwrap();
    assert_eq!(devices.len(), 2);
    let of_second = DeviceCookie::read(&world.core.keys, second.visit.device.as_deref().unwrap()).unwrap().id;
    world.core.revoke_devices(&user.visit, Some(of_second)).await.unwrap();
    world.advance(60);
    assert!(!needs_no_code(&mut second).await && needs_no_code(&mut user).await);
    world.core.revoke_devices(&user.visit, None).await.unwrap();
    assert!(!needs_no_code(&mut user).await);
    assert_eq!(world.events("device.revoked").await, 2);
}

async fn sign_out_ends_only_the_users_trust_in_the_device(world) {
    let mut user = trusted(&world).await;
    let asked = user.create_challenge().await;
    user.claim(&asked).await;
    let device = user.challenge(asked.id).await.device.unwrap();
    let core = &world.core;
    User::new(&world, "u2").open_settings().await;
    assert!(!core.revoke_at_sign_out("shop", "u2", device).await.unwrap(), "another user's sign-out ends nothing");
    assert!(core.revoke_at_sign_out("shop", "u1", device).await.unwrap());
    assert!(!core.revoke_at_sign_out("shop", "u1", device).await.unwrap());
    assert!(!needs_no_code(&mut user).await);
    assert_eq!(world.events("device.revoked").await, 1);
}

async fn a_trusted_device_works_during_a_pause(world) {
    let mut user = trusted(&world).await;
    let attacker = user.elsewhere();
    attacker.enter_wrong(attacker.open_challenge().await, 5).await;
    assert!(needs_no_code(&mut user).await);
}

async fn a_confirmation_needs_a_code_on_a_trusted_device(world) {
    let user = trusted(&world).await;
    let new = two_step::flow::NewChallenge { confirm: true, ..user.new_challenge() };
    let two_step::flow::Created::Challenge { id, url, .. } = world.core.create("shop", new).await.unwrap()
    else {
        panic!("the account is on");
    };
    let handle = crate::support::user::last_part(&url);
    let (claimed, _) = world.core.claim(&handle, &user.visit).await.unwrap();
    assert_eq!(claimed, Claimed::Open { challenge: id });
    let entry = Entry { text: world.code(id).await, method: None, trust: true, ..Entry::default() };
    let entered = user.try_entry(id, entry).await.unwrap();
    assert!(matches!(entered, Entered::Verified { cookie: None, .. }), "and it trusts no device: {entered:?}");
}

async fn the_life_of_a_trust_is_configurable(world) {
    let world = world.configured(|c| c.trust.life = TrustLife(Some(Duration::from_secs(7200))));
    let mut user = trusted(&world).await;
    assert!(needs_no_code(&mut user).await);
    world.advance(3600);
    assert!(!needs_no_code(&mut user).await);
}
}
