//! The product's own app: set-up, key, removal.

use std::time::Duration;

use two_step::app_key::AppKey;
use two_step::app_request::AppRequest;
use two_step::flow::{AppRefused, Entered, KeyRefused, RegisterRefused};
use two_step::method::{Kind, Method, MethodState};
use two_step::signature::BadSignature;
use two_step::store::OutboxKind;

use crate::support::app::PhoneApp;
use crate::support::on_both;
use crate::support::user::{User, other_code};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

on_both! {
async fn a_set_up_code_is_valid_once_and_for_five_wrong_tries(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let new = world.core.add_app(&user.visit).await.unwrap().unwrap();
    let code = new.code.unwrap();
    let shown_again = world.core.add_app(&user.visit).await.unwrap().unwrap().code;
    assert_eq!(shown_again, Some(code.clone()), "a reload shows the same code");
    let app = PhoneApp::new(&world);
    let one = app.try_register(&code.spelled().to_lowercase()).await.unwrap();
    let again = app.try_register(&code.spelled()).await.unwrap();
    assert_eq!((one.method, one.digits.clone()), (again.method, again.digits), "the answer is repeated");
    assert_eq!(PhoneApp::new(&world).try_register(&code.spelled()).await.unwrap_err(), RegisterRefused::Code, "used");
    assert!(world.core.add_app(&user.visit).await.unwrap().unwrap().code.is_none());
    // Five wrong codes with the right first characters end another set-up.
    let other = user.elsewhere();
    other.open_settings().await;
    let code = world.core.add_app(&other.visit).await.unwrap().unwrap().code.unwrap();
    let guess = |n: usize| format!("{}{n}{n}{n}{n}{n}", code.name());
    for n in 0..5 {
        assert_eq!(PhoneApp::new(&world).try_register(&guess(n)).await.unwrap_err(), RegisterRefused::Code);
    }
    assert_eq!(PhoneApp::new(&world).try_register(&code.spelled()).await.unwrap_err(), RegisterRefused::Code);
}

async fn a_set_up_expires_after_ten_minutes(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let code = world.core.add_app(&user.visit).await.unwrap().unwrap().code.unwrap();
    world.advance(601);
    assert_eq!(PhoneApp::new(&world).try_register(&code.spelled()).await.unwrap_err(), RegisterRefused::Code);
    let next = world.core.add_app(&user.visit).await.unwrap().unwrap().code;
    assert_ne!(next, Some(code), "the page creates another one");
}

/// An attacker who reads the set-up code gets other digits, which the user does not type.
async fn an_app_is_active_only_after_its_digits_were_typed(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let new = world.core.add_app(&user.visit).await.unwrap().unwrap();
    let app = PhoneApp::new(&world);
    let registered = app.try_register(&new.code.unwrap().spelled()).await.unwrap();
    assert_eq!(world.row::<Method>(registered.method).await.state, MethodState::Pending);
    let entered = user.enter(new.challenge, &other_code(registered.digits.expose())).await;
    assert!(matches!(entered, Entered::Wrong { left: 4, .. }));
    user.must_verify(new.challenge, registered.digits.expose()).await;
    let method = world.row::<Method>(registered.method).await;
    assert_eq!((method.state, method.label.as_deref()), (MethodState::Active, Some("Pixel 9")));
    assert_eq!(world.events("method.added").await, 1);
}

/// Fails without any one of the checks of signature, time and nonce.
async fn a_request_is_accepted_once_within_a_minute_and_only_from_its_key(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let check = async |request: &crate::support::app::SignedRequest| {
        world.core.verified_request(&request.as_request(), None).await.unwrap().map(drop)
    };
    let request = app.signed("GET", "/app/v1/requests?wait=5", b"").await;
    assert_eq!(check(&request).await, Ok(()));
    assert_eq!(check(&request).await, Err(AppRefused::Replayed));
    for ahead_s in [-59, 59] {
        assert_eq!(check(&app.signed_at(ahead_s, "GET", "/app/v1/account", b"").await).await, Ok(()));
    }
    for ahead_s in [-120, 120, -86_400, i64::from(i32::MAX)] {
        let off = check(&app.signed_at(ahead_s, "GET", "/app/v1/account", b"").await).await;
        assert!(matches!(off, Err(AppRefused::Clock { .. })), "{ahead_s}: {off:?}");
    }
    let changed = crate::support::app::SignedRequest { path: "/app/v1/account".to_owned(), ..app.signed("DELETE", "/app/v1/key", b"").await };
    assert_eq!(check(&changed).await, Err(AppRefused::Signature(BadSignature::Wrong)));
    let stranger = PhoneApp::new(&world).signed("GET", "/app/v1/account", b"").await;
    assert_eq!(check(&stranger).await, Err(AppRefused::UnknownKey));
}

/// Fails if calls are not counted.
async fn the_rate_limit_stops_only_the_app_that_exceeds_it(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let second = User::new(&world, "u2");
    second.open_settings().await;
    let other = PhoneApp::set_up(&second).await;
    let mut refused = None;
    for _ in 0..400 {
        if let Err(why) = app.try_call().await {
            refused = Some(why);
            break;
        }
    }
    assert_eq!(refused, Some(AppRefused::TooOften));
    assert!(other.try_call().await.is_ok());
    let goes_on = async {
        while app.try_call().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), goes_on).await.expect("two calls a second stay allowed");
}

async fn a_key_change_needs_the_signatures_of_both_keys(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let next = PhoneApp::new(&world);
    let (old, new) = (app.public().thumbprint(), next.public().thumbprint());
    let proof = |app: &PhoneApp, text: String| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(app.sign(text.as_bytes()))
    };
    let text = format!("rekey:{old}:{new}");
    for bad in [proof(&app, text.clone()), proof(&next, format!("rekey:{new}:{new}")), String::new()] {
        let refused = world.core.change_app_key(&app.call().await, &next.public(), &bad).await.unwrap();
        assert_eq!(refused, Err(KeyRefused::Proof));
    }
    world.core.change_app_key(&app.call().await, &next.public(), &proof(&next, text)).await.unwrap().unwrap();
    assert_eq!(app.try_call().await.unwrap_err(), AppRefused::UnknownKey);
    assert!(next.try_call().await.is_ok());
}

async fn unregistering_removes_the_method_unless_the_account_needs_it(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    world.core.unregister_app(&app.call().await).await.unwrap();
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap();
    assert_eq!((method.state, method.reason.as_deref()), (MethodState::Paused, Some("unregistered")), "needed");
    assert!(world.rows::<AppKey>("", &[]).await.is_empty());
    assert_eq!(app.try_call().await.unwrap_err(), AppRefused::UnknownKey);
    // With another phone the method is removed.
    let (other, second) = {
        let other = User::new(&world, "u2");
        other.open_settings().await;
        other.add_phone("07700 900345").await;
        let app = PhoneApp::set_up(&other).await;
        other.save_recovery_codes().await;
        other.turn_on(false).await;
        (other, app)
    };
    world.core.unregister_app(&second.call().await).await.unwrap();
    let account = world.account(&other.name).await.id;
    let left = world.core.methods_of(account).await.unwrap();
    assert!(left.iter().all(|m| m.kind != Kind::App));
    let _ = user;
}

async fn erasing_or_removing_deletes_the_key(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    user.open_challenge().await;
    app.asked().await;
    world.core.erase("shop", "u1").await.unwrap();
    assert!(world.rows::<AppKey>("", &[]).await.is_empty());
    assert!(world.rows::<AppRequest>("", &[]).await.is_empty());
    assert_eq!(app.try_call().await.unwrap_err(), AppRefused::UnknownKey);
}

/// Fails if a locked enrolment is shown again, because then the page waits for digits that no app has.
async fn five_wrong_digits_restart_a_set_up(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let new = world.core.add_app(&user.visit).await.unwrap().unwrap();
    let registered = PhoneApp::new(&world).try_register(&new.code.unwrap().spelled()).await.unwrap();
    for _ in 0..5 {
        user.enter(new.challenge, &other_code(registered.digits.expose())).await;
    }
    let again = world.core.add_app(&user.visit).await.unwrap().unwrap();
    assert_ne!(again.method, new.method);
    assert!(again.code.is_some(), "a new code is shown");
}

/// In one app with two products each account has its own key, and no product sees the other's requests.
async fn two_products_in_one_app_share_no_data(world) {
    let world = world.configured(|c| {
        let mut bank = c.products["shop"].clone();
        "Bank".clone_into(&mut bank.name);
        c.products.insert("bank".to_owned(), bank);
    });
    let (user, app) = {
        let user = User::new(&world, "u1");
        user.open_settings().await;
        let app = PhoneApp::set_up(&user).await;
        user.save_recovery_codes().await;
        user.turn_on(false).await;
        (user, app)
    };
    let visit = user.elsewhere().visit;
    let opened = world.core.open_session("bank", user.new_session().await).await.unwrap();
    world.core.claim_session(&crate::support::user::last_part(&opened.url), &visit).await.unwrap();
    let new = world.core.add_app(&visit).await.unwrap().unwrap();
    let at_bank = PhoneApp::new(&world);
    let registered = at_bank.try_register(&new.code.unwrap().spelled()).await.unwrap();
    assert_eq!(registered.product, "bank");
    world.advance(ALL_LIMITS_FREE_S);
    user.open_challenge().await;
    app.asked().await;
    assert!(world.core.app_requests(&at_bank.call().await).await.unwrap().0.is_empty());
    assert_ne!(app.public().thumbprint(), at_bank.public().thumbprint());
}

/// Fails if a used key is looked up before the code, because then a set-up of the other account is found.
async fn a_key_of_another_account_is_refused_and_the_code_stays_valid(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let other = User::new(&world, "u2");
    other.open_settings().await;
    let code = world.core.add_app(&other.visit).await.unwrap().unwrap().code.unwrap().spelled();
    assert_eq!(app.try_register(&code).await.unwrap_err(), RegisterRefused::Key);
    PhoneApp::new(&world).try_register(&code).await.unwrap();
}

/// Fails if both are counted together.
async fn wrong_set_up_codes_do_not_block_answers_of_apps(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    for _ in 0..60 {
        assert_eq!(PhoneApp::new(&world).try_register("AAAA-AAAA").await.unwrap_err(), RegisterRefused::Code);
    }
    let refused = PhoneApp::new(&world).try_register("AAAA-AAAA").await.unwrap_err();
    assert!(matches!(refused, RegisterRefused::Limited { .. }), "{refused:?}");
    let visit = two_step::flow::Visit { client: Some(app.client), ..user.visit.clone() };
    User { visit, ..user }.open_challenge().await;
    let (request, digits) = app.asked().await;
    assert_eq!(world.core.approve(&app.call().await, request, &digits).await.unwrap(), two_step::flow::Answered::Approved);
}

/// Fails without the event or without the notice.
async fn a_key_change_sends_a_notice_with_a_stop_page(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    user.add_phone("07700 900345").await;
    let app = PhoneApp::set_up(&user).await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    let next = PhoneApp::new(&world);
    app.change_key(&next).await;
    assert_eq!(world.events("method.key_changed").await, 1);
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let token = notices.iter().find(|job| job["params"]["about"] == "key_changed").unwrap()["params"]["token"].clone();
    world.core.stop(token.as_str().unwrap()).await.unwrap();
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap();
    assert_eq!(method.state, MethodState::Paused);
}
}
