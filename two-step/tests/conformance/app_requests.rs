//! Requests to an app, and its answers.

use std::sync::Arc;
use std::time::Duration;

use two_step::app_key::AppKey;
use two_step::app_request::{AppRequest, RequestState};
use two_step::challenge::{Acr, ChallengeState, Proof, Purpose, SendRefused};
use two_step::flow::{Answered, Created, Entered, FlowError, NewChallenge, Redeemed, Visit};
use two_step::method::{Method, MethodState};
use two_step::push::Endpoint;
use two_step::store::OutboxKind;
use uuid::Uuid;

use crate::support::app::PhoneApp;
use crate::support::on_both;
use crate::support::user::{User, other_code, ticket, verified};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

async fn state(world: &World, challenge: Uuid) -> ChallengeState {
    world.row::<two_step::challenge::Challenge>(challenge).await.state
}

on_both! {
async fn the_digits_typed_into_the_app_sign_the_browser_in(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    assert_eq!(digits.len(), 6);
    assert_eq!(world.core.approve(&app.call().await, request, &digits).await.unwrap(), Answered::Approved);
    let Some(Entered::Verified { location, cookie, .. }) =
        world.core.continue_approved(challenge, &user.visit, false).await.unwrap()
    else {
        panic!("the browser should continue");
    };
    assert_eq!(cookie, None);
    assert!(matches!(user.redeem(&ticket(&location.unwrap())).await, Redeemed::Result(_)));
    let proved = user.challenge(challenge).await;
    assert_eq!((proved.proof, proved.acr), (Some(Proof::App), Some(Acr::Second)));
    assert_eq!(world.events("challenge.verified").await, 1);
    // The repeated answer, in case the first one was lost.
    assert_eq!(world.core.approve(&app.call().await, request, &digits).await.unwrap(), Answered::Approved);
}

async fn the_box_on_the_page_trusts_the_browser(world) {
    let (mut user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    assert_eq!(world.core.continue_approved(challenge, &user.visit, true).await.unwrap(), None, "not yet");
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let Some(Entered::Verified { cookie, .. }) =
        world.core.continue_approved(challenge, &user.visit, true).await.unwrap()
    else {
        panic!("the browser should continue");
    };
    user.visit.device = cookie;
    world.advance(60);
    let asked = user.create_challenge().await;
    assert!(matches!(user.claim(&asked).await.0, two_step::flow::Claimed::Verified { .. }));
}

/// The user may need minutes to return to the browser. Then the ticket is valid for one minute.
async fn the_ticket_of_an_approval_starts_when_the_browser_continues(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    world.advance(240);
    let gone_on = world.core.continue_approved(challenge, &user.visit, false).await.unwrap().unwrap();
    let location = verified(gone_on).unwrap();
    world.advance(61);
    assert_eq!(user.redeem(&ticket(&location)).await, Redeemed::Over);
}

async fn another_browser_cannot_use_an_approval(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let other = world.core.continue_approved(challenge, &user.elsewhere().visit, true).await;
    assert!(matches!(other, Err(FlowError::Missing("challenge"))), "{other:?}");
}

async fn the_code_of_the_app_is_accepted_on_the_page(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, _) = app.asked().await;
    let (code, _) = world.core.app_code(&app.call().await, request).await.unwrap().unwrap();
    let again = world.core.app_code(&app.call().await, request).await.unwrap().unwrap().0;
    assert_eq!(code, again, "one code per challenge and method");
    user.must_verify(challenge, code.expose()).await;
    assert_eq!(user.challenge(challenge).await.proof, Some(Proof::App));
    let late = world.core.approve(&app.call().await, request, "000000").await.unwrap();
    assert_eq!(late, Answered::Ended(ChallengeState::Verified));
}

/// Fails if wrong digits are not counted, because then a sixth entry is possible.
async fn wrong_digits_count_like_wrong_codes(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    for left in [4, 3] {
        let answered = world.core.approve(&app.call().await, request, &other_code(&digits)).await.unwrap();
        assert_eq!(answered, Answered::Wrong { left });
    }
    for text in ["", "12345", "1234567", "abcdef"] {
        assert_eq!(world.core.approve(&app.call().await, request, text).await.unwrap(), Answered::Unreadable);
    }
    for left in [2, 1] {
        let entered = user.enter(challenge, "000000").await;
        assert!(matches!(entered, Entered::Wrong { left: l, .. } if l == left), "{entered:?}");
    }
    let answered = world.core.approve(&app.call().await, request, &other_code(&digits)).await.unwrap();
    assert_eq!(answered, Answered::Ended(ChallengeState::Locked));
    assert_eq!(world.account("u1").await.wrong, 5);
    let right = world.core.approve(&app.call().await, request, &digits).await.unwrap();
    assert_eq!(right, Answered::Ended(ChallengeState::Locked));
}

async fn the_digits_of_another_request_are_wrong(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    user.open_challenge().await;
    let (first, digits) = app.asked().await;
    let attacker = user.elsewhere();
    attacker.open_challenge().await;
    let (second, others) = app.asked().await;
    assert_ne!(first, second);
    // The newer request replaced the first.
    assert_eq!(world.row::<AppRequest>(first).await.state, RequestState::Replaced);
    let late = world.core.approve(&app.call().await, first, &digits).await.unwrap();
    assert_eq!(late, Answered::Replaced);
    if digits != others {
        let wrong = world.core.approve(&app.call().await, second, &digits).await.unwrap();
        assert_eq!(wrong, Answered::Wrong { left: 4 });
    }
}

async fn a_denial_ends_the_sign_in_and_the_second_pauses_the_app(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    user.open_settings().await;
    let settings = world.core.open_proof_challenge(&user.visit).await.unwrap();
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    assert_eq!(state(&world, settings).await, ChallengeState::Verified);
    let phone = user.add_phone("07700 900123").await;
    world.advance(3600);
    for nth in 1..=2 {
        let challenge = user.elsewhere().open_challenge().await;
        let (request, digits) = app.asked().await;
        let answered = world.core.deny(&app.call().await, request).await.unwrap();
        let Answered::Denied { paused_until } = answered else { panic!("{answered:?}") };
        assert_eq!(paused_until.is_some(), nth == 2);
        assert_eq!(state(&world, challenge).await, ChallengeState::Denied);
        let late = world.core.approve(&app.call().await, request, &digits).await.unwrap();
        assert_eq!(late, Answered::Ended(ChallengeState::Denied));
    }
    assert_eq!(world.events("challenge.denied").await, 2);
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap();
    assert_eq!((method.state, method.reason.as_deref()), (MethodState::Paused, Some("denied")));
    let notices = world.outbox(OutboxKind::Dispatch).await;
    assert!(notices.iter().any(|job| job["params"]["about"] == "method_paused"), "the phone gets a notice");
    // Meanwhile the phone is used. After an hour the app gets requests again.
    let challenge = user.open_challenge().await;
    assert_eq!(user.challenge(challenge).await.method, Some(phone));
    world.advance(3601);
    two_step::sweep::sweep(&world.core).await.unwrap();
    assert_eq!(world.row::<Method>(method.id).await.state, MethodState::Active);
    let challenge = user.open_challenge().await;
    assert_eq!(user.challenge(challenge).await.method, Some(method.id));
}

async fn an_account_gets_five_requests_an_hour(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    for _ in 0..5 {
        user.elsewhere().open_challenge().await;
        app.asked().await;
    }
    let sixth = user.open_challenge().await;
    let refused = world.core.send(sixth, &user.requester(), None, None).await.unwrap();
    assert!(matches!(refused, Err(SendRefused::Limited { .. })), "{refused:?}");
    assert_eq!(world.rows::<AppRequest>("", &[]).await.len(), 5);
}

async fn a_second_request_for_the_same_challenge_changes_nothing(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let before = app.asked().await;
    for _ in 0..10 {
        world.core.send(challenge, &user.requester(), None, None).await.unwrap().unwrap();
    }
    assert_eq!(app.asked().await, before);
}

async fn an_app_sees_and_answers_only_its_own_requests(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let stranger = User::new(&world, "u2");
    stranger.open_settings().await;
    let other = PhoneApp::set_up(&stranger).await;
    user.open_challenge().await;
    let (request, digits) = app.asked().await;
    let call = other.call().await;
    assert!(world.core.app_requests(&call).await.unwrap().0.is_empty());
    for refused in [
        world.core.approve(&call, request, &digits).await.map(drop),
        world.core.deny(&call, request).await.map(drop),
        world.core.app_code(&call, request).await.map(drop),
    ] {
        assert!(matches!(refused, Err(FlowError::Missing("request"))), "{refused:?}");
    }
}

async fn an_approval_from_another_network_is_recorded(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let visit = Visit { client: Some("198.51.100.4".parse().unwrap()), ..user.visit.clone() };
    let user = User { visit, ..user };
    user.open_challenge().await;
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    assert_eq!(asked[0].other_network, Some(true), "the app gets this before the approval");
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    assert!(world.row::<AppRequest>(request).await.other_network);
    let events = world.rows::<two_step::store::Event>("where kind = 'challenge.verified'", &[]).await;
    assert!(events[0].data.contains("\"other_network\":true"), "{}", events[0].data);
}

/// Fails if the request of the code is not checked.
async fn a_code_fetched_from_another_network_is_recorded(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let visit = Visit { client: Some("198.51.100.4".parse().unwrap()), ..user.visit.clone() };
    let user = User { visit, ..user };
    let challenge = user.open_challenge().await;
    let (request, _) = app.asked().await;
    let (code, _) = world.core.app_code(&app.call().await, request).await.unwrap().unwrap();
    user.must_verify(challenge, code.expose()).await;
    let events = world.rows::<two_step::store::Event>("where kind = 'challenge.verified'", &[]).await;
    assert!(events[0].data.contains("\"other_network\":true"), "{}", events[0].data);
}

/// Fails if a new request does not wake its app, or if every query wakes all apps.
async fn waiting_apps_wake_when_their_own_requests_change(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let second = User::new(&world, "u2");
    second.open_settings().await;
    let other = PhoneApp::set_up(&second).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let core = Arc::clone(&world.core);
    let watching = stop.clone();
    let watch = tokio::spawn(async move { core.watch_apps(watching).await });
    let (key, others) = (app.call().await.key, other.call().await.key);
    let soon = async |seen| tokio::time::timeout(Duration::from_secs(5), world.core.wait_for_app_change(&key, seen)).await.is_ok();
    let (woken, _) = tokio::join!(soon(None), user.open_challenge());
    assert!(woken, "a request was created");
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    let seen = Some(asked[0].request.id);
    let still = tokio::time::timeout(Duration::from_millis(1500), world.core.wait_for_app_change(&key, seen)).await;
    assert!(still.is_err(), "nothing has changed");
    let idle = tokio::time::timeout(Duration::from_millis(1500), world.core.wait_for_app_change(&others, None)).await;
    assert!(idle.is_err(), "the other app has no request");
    let call = app.call().await;
    let (woken, denied) = tokio::join!(soon(seen), world.core.deny(&call, asked[0].request.id));
    denied.unwrap();
    assert!(woken, "the request has ended");
    stop.cancel();
    watch.await.unwrap();
}

async fn one_push_without_a_body_wakes_the_app(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let endpoint = Endpoint::read("https://fcm.googleapis.com/fcm/send/abc", &world.core.config()).unwrap();
    world.core.set_push(&app.call().await, Some(&endpoint)).await.unwrap();
    user.open_challenge().await;
    let pushes = world.outbox(OutboxKind::Push).await;
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0]["endpoint"], "https://fcm.googleapis.com/fcm/send/abc");
    let method = world.rows::<AppKey>("", &[]).await[0].method;
    world.core.delete_push_endpoint(method, "https://fcm.googleapis.com/fcm/send/other").await.unwrap();
    assert!(world.rows::<AppKey>("", &[]).await[0].push_sealed.is_some(), "the endpoint was replaced");
    world.core.delete_push_endpoint(method, endpoint.as_str()).await.unwrap();
    assert!(world.rows::<AppKey>("", &[]).await[0].push_sealed.is_none());
}

async fn a_back_end_without_our_pages_gets_the_result_of_an_approval(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let new = NewChallenge { user: user.name.clone(), place: Some("Leeds, GB".to_owned()), ..NewChallenge::default() };
    let Created::Challenge { id, .. } = world.core.create("shop", new).await.unwrap() else { panic!("no challenge") };
    let who = two_step::flow::Requester::Product("shop".to_owned());
    let method = world.rows::<Method>("where kind = 'app'", &[]).await[0].id;
    world.core.send(id, &who, Some(method), None).await.unwrap().unwrap();
    assert_eq!(world.core.approved(id, "shop", false, None).await.unwrap(), None, "the app has not answered");
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    assert_eq!(asked[0].challenge.place.as_deref(), Some("Leeds, GB"));
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let first = world.core.approved(id, "shop", true, None).await.unwrap().unwrap();
    let Entered::Verified { result: Some(_), cookie: Some(_), .. } = first else { panic!("{first:?}") };
    let again = world.core.approved(id, "shop", false, None).await.unwrap().unwrap();
    assert!(matches!(again, Entered::Verified { result: Some(_), .. }), "the answer is repeated for a minute");
    let other = world.core.approved(id, "other", false, None).await;
    assert!(matches!(other, Err(FlowError::Missing("challenge"))), "{other:?}");
}

/// Fails if the state of the challenge is not checked, because then a request is open after the denial.
async fn an_ended_sign_in_and_a_paused_account_send_no_request(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, _) = app.asked().await;
    world.core.deny(&app.call().await, request).await.unwrap();
    let again = world.core.send(challenge, &user.requester(), None, None).await.unwrap();
    assert_eq!(again, Err(SendRefused::Ended(ChallengeState::Denied)));
    let next = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    for _ in 0..5 {
        world.core.approve(&app.call().await, request, &other_code(&digits)).await.unwrap();
    }
    assert_eq!(state(&world, next).await, ChallengeState::Locked);
    let paused = user.open_challenge().await;
    let refused = world.core.send(paused, &user.requester(), None, None).await.unwrap();
    assert!(matches!(refused, Err(SendRefused::Method | SendRefused::Limited { .. })), "{refused:?}");
    assert!(world.core.app_requests(&app.call().await).await.unwrap().0.is_empty());
}

async fn approving_a_new_device_makes_its_browser_recognised(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let app = PhoneApp::set_up(&user).await;
    world.core.add_phone(&user.visit, "07700 900123", "GB", two_step::method::Channel::Sms).await.unwrap().unwrap();
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    let enrolment = world.core.enrolment(&user.visit, phone.id).await.unwrap();
    user.must_verify(enrolment, &world.code(enrolment).await).await;
    world.advance(ALL_LIMITS_FREE_S);
    let world = world.configured(|c| {
        c.products.get_mut("shop").unwrap().new_device_check = two_step::config::NewDeviceCheck::Sms;
    });
    let mut user = user.elsewhere().at(&world);
    let challenge = user.open_challenge().await;
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap().id;
    world.core.send(challenge, &user.requester(), Some(method), None).await.unwrap().unwrap();
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &world.core.app_digits(request)).await.unwrap();
    assert_eq!(digits, world.core.app_digits(request));
    for _ in 0..2 {
        let gone_on = world.core.continue_approved(challenge, &user.visit, false).await.unwrap().unwrap();
        let Entered::Verified { cookie: Some(cookie), .. } = gone_on else { panic!("{gone_on:?}") };
        user.visit.device = Some(cookie);
    }
    assert_eq!(world.count("select count(*) from device").await, 1, "a repeated answer creates no second device");
    world.advance(60);
    let asked = user.create_challenge().await;
    assert!(matches!(user.claim(&asked).await.0, two_step::flow::Claimed::Verified { .. }));
}

/// Fails if only the last fetch of the code is considered.
async fn a_code_fetched_twice_stays_marked_as_from_another_network(world) {
    let (user, mut app) = PhoneApp::first_way(&world).await;
    let visit = Visit { client: Some("198.51.100.4".parse().unwrap()), ..user.visit.clone() };
    let user = User { visit, ..user };
    user.open_challenge().await;
    let (request, _) = app.asked().await;
    world.core.app_code(&app.call().await, request).await.unwrap().unwrap();
    app.client = "198.51.100.4".parse().unwrap();
    world.core.app_code(&app.call().await, request).await.unwrap().unwrap();
    assert!(world.row::<AppRequest>(request).await.other_network);
}

/// Fails if the challenge of the settings has no description of the browser.
async fn the_app_gets_the_purpose_of_a_request(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    user.open_challenge().await;
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    assert_eq!(asked[0].challenge.purpose, Purpose::SignIn);
    user.open_settings().await;
    world.core.open_proof_challenge(&user.visit).await.unwrap();
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    assert_eq!((asked[0].challenge.purpose, asked[0].challenge.agent.as_deref()), (Purpose::Settings, Some(user.visit.agent.as_str())));
}

/// Fails if every wrong entry is reported, because then otpost gets feedback on a text that was not entered.
async fn a_wrong_number_in_the_app_is_no_feedback_on_a_text(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let phone = user.add_phone("07700 900345").await;
    let app = PhoneApp::set_up(&user).await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    world.advance(ALL_LIMITS_FREE_S);
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    world.core.send(challenge, &user.requester(), Some(phone), None).await.unwrap().unwrap();
    let feedback_count = async || world.outbox(OutboxKind::Feedback).await.len();
    let before = feedback_count().await;
    world.core.approve(&app.call().await, request, &other_code(&digits)).await.unwrap();
    assert_eq!(feedback_count().await, before);
    user.enter_wrong(challenge, 1).await;
    assert_eq!(feedback_count().await, before + 1, "a wrong code on the page is reported");
    let text = world.core.metrics.text(0, 0);
    assert!(text.contains(r#"two_step_entries_total{product="shop",result="wrong"} 2"#), "{text}");
}

/// Fails if an approved request accepts any digits, or if a replaced request is reported as cancelled.
async fn other_digits_do_not_repeat_an_approval(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    user.open_challenge().await;
    let (first, digits) = app.asked().await;
    world.core.approve(&app.call().await, first, &digits).await.unwrap();
    let again = async |typed: &str| world.core.approve(&app.call().await, first, typed).await.unwrap();
    assert_eq!(again(&other_code(&digits)).await, Answered::Ended(ChallengeState::Verified));
    assert_eq!(again(&digits).await, Answered::Approved, "the answer is repeated");
    user.elsewhere().open_challenge().await;
    let (older, digits) = app.asked().await;
    user.elsewhere().open_challenge().await;
    let replaced = world.core.approve(&app.call().await, older, &digits).await.unwrap();
    assert_eq!(replaced, Answered::Replaced);
}

/// Fails without the reset, because then the sixth sign-in within an hour sends no request.
async fn approved_requests_do_not_count_against_the_limit(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    for _ in 0..8 {
        user.open_challenge().await;
        let (request, digits) = app.asked().await;
        assert_eq!(world.core.approve(&app.call().await, request, &digits).await.unwrap(), Answered::Approved);
    }
}

/// Fails if denials are counted per app.
async fn denials_on_two_phones_are_counted_together(world) {
    let (user, first) = PhoneApp::first_way(&world).await;
    user.open_settings().await;
    let settings = world.core.open_proof_challenge(&user.visit).await.unwrap();
    let (request, digits) = first.asked().await;
    world.core.approve(&first.call().await, request, &digits).await.unwrap();
    assert_eq!(state(&world, settings).await, ChallengeState::Verified);
    let second = PhoneApp::set_up(&user).await;
    let apps = world.rows::<Method>("where kind = 'app' order by id", &[]).await;
    let labels: Vec<_> = apps.iter().map(|m| m.label.as_deref().unwrap()).collect();
    assert_eq!(labels, ["Pixel 9", "Pixel 9 2"], "their labels differ");
    for (app, method, paused) in [(&first, apps[0].id, false), (&second, apps[1].id, true)] {
        let challenge = user.elsewhere().open_challenge().await;
        world.core.send(challenge, &two_step::flow::Requester::Product("shop".to_owned()), Some(method), None).await.unwrap().unwrap();
        let (request, _) = app.asked().await;
        let Answered::Denied { paused_until } = world.core.deny(&app.call().await, request).await.unwrap() else {
            panic!("the request should be denied");
        };
        assert_eq!(paused_until.is_some(), paused);
    }
}

/// Fails if the request of an unregistered app stays open.
async fn an_unregistered_app_gets_no_requests(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let call = app.call().await;
    world.core.unregister_app(&call).await.unwrap();
    assert_eq!(world.core.challenge_snapshot(challenge, &user.requester()).await.unwrap().request, None);
    assert!(matches!(world.core.app_requests(&call).await, Err(FlowError::Missing("app"))));
}

/// Fails if the query compares only the requests.
async fn a_wait_ends_when_its_key_is_replaced(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let key = app.call().await.key;
    let (core, stop) = (Arc::clone(&world.core), tokio_util::sync::CancellationToken::new());
    let watching = stop.clone();
    tokio::spawn(async move { core.watch_apps(watching).await });
    let waiting = tokio::time::timeout(Duration::from_secs(5), world.core.wait_for_app_change(&key, None));
    let next = PhoneApp::new(&world);
    let (woken, ()) = tokio::join!(waiting, app.change_key(&next));
    assert!(woken.is_ok());
    stop.cancel();
}

async fn the_redirect_after_an_approval_is_repeated(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    let challenge = user.open_challenge().await;
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let on = async || world.core.continue_approved(challenge, &user.visit, false).await.unwrap();
    let location = verified(on().await.unwrap()).unwrap();
    assert!(matches!(user.redeem(&ticket(&location)).await, Redeemed::Result(_)));
    assert_eq!(verified(on().await.unwrap()), Some(location), "the answer is repeated for a minute");
    world.advance(61);
    assert!(matches!(on().await, Some(Entered::Ended { .. })));
}

/// Fails if waits do not end at shutdown, because then the shutdown takes as long as they do.
async fn waits_end_when_the_process_stops(world) {
    let (_, app) = PhoneApp::first_way(&world).await;
    let key = app.call().await.key;
    let stop = tokio_util::sync::CancellationToken::new();
    let (core, stopping) = (Arc::clone(&world.core), stop.clone());
    let watch = tokio::spawn(async move { core.watch_apps(stopping).await });
    let waiting = tokio::time::timeout(Duration::from_secs(5), world.core.wait_for_app_change(&key, None));
    let stopped = async { stop.cancel() };
    let (ended, ()) = tokio::join!(waiting, stopped);
    ended.unwrap();
    watch.await.unwrap();
    world.core.wait_for_app_change(&key, None).await;
    assert!(world.core.waits_are_closed());
}
}
