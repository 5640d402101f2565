//! The product's own app: set up, asked, approved, denied.

use std::sync::Arc;
use std::time::Duration;

use two_step::app_key::AppKey;
use two_step::app_request::{AppRequest, RequestState};
use two_step::challenge::{Acr, ChallengeState, Proof, SendRefused};
use two_step::flow::{
    Answered, AppRefused, Created, Entered, FlowError, KeyRefused, NewChallenge, Redeemed, RegisterRefused,
    Visit,
};
use two_step::method::{Kind, Method, MethodState};
use two_step::push::Endpoint;
use two_step::signature::BadSignature;
use two_step::store::OutboxKind;
use uuid::Uuid;

use crate::support::app::PhoneApp;
use crate::support::on_both;
use crate::support::user::{User, not, ticket, verified};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

/// A user whose app is asked first; recovery codes are the backup.
async fn with_app(world: &World) -> (User, PhoneApp) {
    let user = User::new(world, "u1");
    user.open_settings().await;
    let app = PhoneApp::set_up(&user).await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    world.advance(ALL_LIMITS_FREE_S);
    (user, app)
}

async fn state(world: &World, challenge: Uuid) -> ChallengeState {
    world.row::<two_step::challenge::Challenge>(challenge).await.state
}

on_both! {
async fn the_digits_typed_into_the_app_sign_the_browser_in(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, digits) = app.asked().await;
    assert_eq!(digits.len(), 6);
    assert_eq!(world.core.approve(&app.call().await, request, &digits).await.unwrap(), Answered::Approved);
    let Some(Entered::Verified { location, cookie, .. }) =
        world.core.go_on_approved(challenge, &user.visit, false).await.unwrap()
    else {
        panic!("the browser goes on");
    };
    assert_eq!(cookie, None);
    assert!(matches!(user.redeem(&ticket(&location.unwrap())).await, Redeemed::Result(_)));
    let proved = user.challenge(challenge).await;
    assert_eq!((proved.proof, proved.acr), (Some(Proof::App), Some(Acr::Second)));
    assert_eq!(world.events("challenge.verified").await, 1);
    // The answer may have been lost.
    assert_eq!(world.core.approve(&app.call().await, request, &digits).await.unwrap(), Answered::Approved);
}

async fn the_box_on_the_page_trusts_the_browser(world) {
    let (mut user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, digits) = app.asked().await;
    assert_eq!(world.core.go_on_approved(challenge, &user.visit, true).await.unwrap(), None, "not yet");
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let Some(Entered::Verified { cookie, .. }) =
        world.core.go_on_approved(challenge, &user.visit, true).await.unwrap()
    else {
        panic!("the browser goes on");
    };
    user.visit.device = cookie;
    world.advance(60);
    let asked = user.ask().await;
    assert!(matches!(user.claim(&asked).await.0, two_step::flow::Claimed::Verified { .. }));
}

/// The user may need minutes to find the way back to the browser; from there on the ticket is good for one.
async fn the_ticket_of_an_approval_begins_to_run_when_the_browser_goes_on(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    world.advance(240);
    let gone_on = world.core.go_on_approved(challenge, &user.visit, false).await.unwrap().unwrap();
    let location = verified(gone_on).unwrap();
    world.advance(61);
    assert_eq!(user.redeem(&ticket(&location)).await, Redeemed::Over);
}

async fn another_browser_gets_nothing_by_an_approval(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let other = world.core.go_on_approved(challenge, &user.elsewhere().visit, true).await;
    assert!(matches!(other, Err(FlowError::Missing("challenge"))), "{other:?}");
}

async fn the_code_that_the_app_shows_is_typed_on_the_page(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, _) = app.asked().await;
    let (code, _) = world.core.app_code(&app.call().await, request).await.unwrap().unwrap();
    let again = world.core.app_code(&app.call().await, request).await.unwrap().unwrap().0;
    assert_eq!(code, again, "one code per challenge and method");
    user.must_verify(challenge, code.expose()).await;
    assert_eq!(user.challenge(challenge).await.proof, Some(Proof::App));
    let late = world.core.approve(&app.call().await, request, "000000").await.unwrap();
    assert_eq!(late, Answered::Ended(ChallengeState::Verified));
}

/// Seen to fail: without the count of wrong digits (a sixth try).
async fn wrong_digits_are_counted_with_all_other_wrong_codes(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, digits) = app.asked().await;
    for left in [4, 3] {
        let answered = world.core.approve(&app.call().await, request, &not(&digits)).await.unwrap();
        assert_eq!(answered, Answered::Wrong { left });
    }
    for text in ["", "12345", "1234567", "abcdef"] {
        assert_eq!(world.core.approve(&app.call().await, request, text).await.unwrap(), Answered::Unreadable);
    }
    for left in [2, 1] {
        let entered = user.enter(challenge, "000000").await;
        assert!(matches!(entered, Entered::Wrong { left: l, .. } if l == left), "{entered:?}");
    }
    let answered = world.core.approve(&app.call().await, request, &not(&digits)).await.unwrap();
    assert_eq!(answered, Answered::Ended(ChallengeState::Locked));
    assert_eq!(world.account("u1").await.wrong, 5);
    let right = world.core.approve(&app.call().await, request, &digits).await.unwrap();
    assert_eq!(right, Answered::Ended(ChallengeState::Locked));
}

async fn the_digits_of_another_request_are_wrong(world) {
    let (user, app) = with_app(&world).await;
    user.start().await;
    let (first, digits) = app.asked().await;
    let thief = user.elsewhere();
    thief.start().await;
    let (second, others) = app.asked().await;
    assert_ne!(first, second);
    // The newer one took the place of the first.
    assert_eq!(world.row::<AppRequest>(first).await.state, RequestState::Replaced);
    let late = world.core.approve(&app.call().await, first, &digits).await.unwrap();
    assert_eq!(late, Answered::Ended(ChallengeState::Cancelled));
    if digits != others {
        let wrong = world.core.approve(&app.call().await, second, &digits).await.unwrap();
        assert_eq!(wrong, Answered::Wrong { left: 4 });
    }
}

async fn a_denial_ends_the_sign_in_and_the_second_pauses_the_app(world) {
    let (user, app) = with_app(&world).await;
    user.open_settings().await;
    let settings = world.core.ask_for_proof(&user.visit).await.unwrap();
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    assert_eq!(state(&world, settings).await, ChallengeState::Verified);
    let phone = user.add_phone("07700 900123").await;
    world.advance(3600);
    for nth in 1..=2 {
        let challenge = user.elsewhere().start().await;
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
    let told = world.outbox(OutboxKind::Dispatch).await;
    assert!(told.iter().any(|job| job["params"]["about"] == "method_paused"), "the phone is told");
    // The phone is asked meanwhile, and an hour later the app again.
    let challenge = user.start().await;
    assert_eq!(user.challenge(challenge).await.method, Some(phone));
    world.advance(3601);
    two_step::sweep::sweep(&world.core).await.unwrap();
    assert_eq!(world.row::<Method>(method.id).await.state, MethodState::Active);
    let challenge = user.start().await;
    assert_eq!(user.challenge(challenge).await.method, Some(method.id));
}

async fn an_account_is_asked_five_times_an_hour(world) {
    let (user, app) = with_app(&world).await;
    for _ in 0..5 {
        user.elsewhere().start().await;
        app.asked().await;
    }
    let sixth = user.start().await;
    let refused = world.core.send(sixth, &user.who(), None, None).await.unwrap();
    assert!(matches!(refused, Err(SendRefused::Limited { .. })), "{refused:?}");
    assert_eq!(world.rows::<AppRequest>("", &[]).await.len(), 5);
}

async fn asking_again_for_the_same_challenge_changes_nothing(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let before = app.asked().await;
    for _ in 0..10 {
        world.core.send(challenge, &user.who(), None, None).await.unwrap().unwrap();
    }
    assert_eq!(app.asked().await, before);
}

async fn a_set_up_code_is_good_once_and_bears_five_wrong_ones(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let new = world.core.add_app(&user.visit).await.unwrap().unwrap();
    let code = new.code.unwrap();
    let shown_again = world.core.add_app(&user.visit).await.unwrap().unwrap().code;
    assert_eq!(shown_again, Some(code.clone()), "a reload shows the same");
    let app = PhoneApp::new(&world);
    let one = app.try_register(&code.spelled().to_lowercase()).await.unwrap();
    let again = app.try_register(&code.spelled()).await.unwrap();
    assert_eq!((one.method, one.digits.clone()), (again.method, again.digits), "a lost answer is given again");
    assert_eq!(PhoneApp::new(&world).try_register(&code.spelled()).await.unwrap_err(), RegisterRefused::Code, "used");
    assert!(world.core.add_app(&user.visit).await.unwrap().unwrap().code.is_none());
    // Five guesses with the right first characters end another set-up.
    let other = user.elsewhere();
    other.open_settings().await;
    let code = world.core.add_app(&other.visit).await.unwrap().unwrap().code.unwrap();
    let guess = |n: usize| format!("{}{n}{n}{n}{n}{n}", code.name());
    for n in 0..5 {
        assert_eq!(PhoneApp::new(&world).try_register(&guess(n)).await.unwrap_err(), RegisterRefused::Code);
    }
    assert_eq!(PhoneApp::new(&world).try_register(&code.spelled()).await.unwrap_err(), RegisterRefused::Code);
}

async fn a_set_up_ends_after_ten_minutes(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let code = world.core.add_app(&user.visit).await.unwrap().unwrap().code.unwrap();
    world.advance(601);
    assert_eq!(PhoneApp::new(&world).try_register(&code.spelled()).await.unwrap_err(), RegisterRefused::Code);
    let next = world.core.add_app(&user.visit).await.unwrap().unwrap().code;
    assert_ne!(next, Some(code), "the page makes another");
}

/// A thief who reads the set-up code over a shoulder gets digits of his own: nobody types them.
async fn an_app_counts_only_once_its_digits_were_typed(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let new = world.core.add_app(&user.visit).await.unwrap().unwrap();
    let app = PhoneApp::new(&world);
    let registered = app.try_register(&new.code.unwrap().spelled()).await.unwrap();
    assert_eq!(world.row::<Method>(registered.method).await.state, MethodState::Pending);
    let entered = user.enter(new.challenge, &not(registered.digits.expose())).await;
    assert!(matches!(entered, Entered::Wrong { left: 4, .. }));
    user.must_verify(new.challenge, registered.digits.expose()).await;
    let method = world.row::<Method>(registered.method).await;
    assert_eq!((method.state, method.label.as_deref()), (MethodState::Active, Some("Pixel 9")));
    assert_eq!(world.events("method.added").await, 1);
}

/// Seen to fail one by one: without the check of signature, time and nonce.
async fn a_request_is_taken_now_and_once_and_from_its_key(world) {
    let (_, app) = with_app(&world).await;
    let check = async |request: &crate::support::app::SignedRequest| {
        world.core.app_call(&request.as_request(), None).await.unwrap().map(drop)
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

async fn an_app_sees_and_answers_its_own_requests_alone(world) {
    let (user, app) = with_app(&world).await;
    let stranger = User::new(&world, "u2");
    stranger.open_settings().await;
    let other = PhoneApp::set_up(&stranger).await;
    user.start().await;
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
    let (user, app) = with_app(&world).await;
    let visit = Visit { client: Some("198.51.100.4".parse().unwrap()), ..user.visit.clone() };
    let user = User { visit, ..user };
    user.start().await;
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    assert!(asked[0].other_network, "the app says so before it is approved");
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    assert!(world.row::<AppRequest>(request).await.other_network);
    let events = world.rows::<two_step::store::Event>("where kind = 'challenge.verified'", &[]).await;
    assert!(events[0].data.contains("\"other_network\":true"), "{}", events[0].data);
}

/// Seen to fail: without the look at the request that the code was fetched for.
async fn a_code_fetched_from_another_network_is_recorded(world) {
    let (user, app) = with_app(&world).await;
    let visit = Visit { client: Some("198.51.100.4".parse().unwrap()), ..user.visit.clone() };
    let user = User { visit, ..user };
    let challenge = user.start().await;
    let (request, _) = app.asked().await;
    let (code, _) = world.core.app_code(&app.call().await, request).await.unwrap().unwrap();
    user.must_verify(challenge, code.expose()).await;
    let events = world.rows::<two_step::store::Event>("where kind = 'challenge.verified'", &[]).await;
    assert!(events[0].data.contains("\"other_network\":true"), "{}", events[0].data);
}

/// Seen to fail: without the wake (the wait goes on), and with a wake for every app at each look (the second wait ends).
async fn waiting_apps_wake_when_their_own_requests_change(world) {
    let (user, app) = with_app(&world).await;
    let second = User::new(&world, "u2");
    second.open_settings().await;
    let other = PhoneApp::set_up(&second).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let core = Arc::clone(&world.core);
    let watching = stop.clone();
    let watch = tokio::spawn(async move { core.watch_apps(watching).await });
    let (key, others) = (app.call().await.key, other.call().await.key);
    let soon = async |seen| tokio::time::timeout(Duration::from_secs(5), world.core.app_changed(&key, seen)).await.is_ok();
    let (woken, _) = tokio::join!(soon(None), user.start());
    assert!(woken, "a request was made");
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    let seen = Some(asked[0].request.id);
    let still = tokio::time::timeout(Duration::from_millis(1500), world.core.app_changed(&key, seen)).await;
    assert!(still.is_err(), "nothing has changed since");
    let idle = tokio::time::timeout(Duration::from_millis(1500), world.core.app_changed(&others, None)).await;
    assert!(idle.is_err(), "the other app is asked nothing");
    let call = app.call().await;
    let (woken, denied) = tokio::join!(soon(seen), world.core.deny(&call, asked[0].request.id));
    denied.unwrap();
    assert!(woken, "the request has ended");
    stop.cancel();
    watch.await.unwrap();
}

/// Seen to fail: without the count.
async fn an_app_that_calls_in_a_loop_is_stopped_and_no_other(world) {
    let (_, app) = with_app(&world).await;
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
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(app.try_call().await.is_ok(), "two calls a second go on");
}

async fn a_key_is_changed_by_both_keys(world) {
    let (_, app) = with_app(&world).await;
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

async fn an_app_that_goes_takes_its_method_along_unless_it_is_needed(world) {
    let (user, app) = with_app(&world).await;
    world.core.unregister_app(&app.call().await).await.unwrap();
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap();
    assert_eq!((method.state, method.reason.as_deref()), (MethodState::Paused, Some("unregistered")), "needed");
    assert!(world.rows::<AppKey>("", &[]).await.is_empty());
    assert_eq!(app.try_call().await.unwrap_err(), AppRefused::UnknownKey);
    // With a phone besides it goes.
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

async fn what_is_erased_and_removed_leaves_no_key(world) {
    let (user, app) = with_app(&world).await;
    user.start().await;
    app.asked().await;
    world.core.erase("shop", "u1").await.unwrap();
    assert!(world.rows::<AppKey>("", &[]).await.is_empty());
    assert!(world.rows::<AppRequest>("", &[]).await.is_empty());
    assert_eq!(app.try_call().await.unwrap_err(), AppRefused::UnknownKey);
}

async fn an_app_is_woken_by_one_push_without_a_word_in_it(world) {
    let (user, app) = with_app(&world).await;
    let endpoint = Endpoint::read("https://fcm.googleapis.com/fcm/send/abc", &world.core.config()).unwrap();
    world.core.set_push(&app.call().await, Some(&endpoint)).await.unwrap();
    user.start().await;
    let pushes = world.outbox(OutboxKind::Push).await;
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0]["endpoint"], "https://fcm.googleapis.com/fcm/send/abc");
    let method = world.rows::<AppKey>("", &[]).await[0].method;
    world.core.push_ended(method, "https://fcm.googleapis.com/fcm/send/other").await.unwrap();
    assert!(world.rows::<AppKey>("", &[]).await[0].push_sealed.is_some(), "another address");
    world.core.push_ended(method, endpoint.as_str()).await.unwrap();
    assert!(world.rows::<AppKey>("", &[]).await[0].push_sealed.is_none());
}

async fn a_back_end_without_our_pages_gets_the_result_of_an_approval(world) {
    let (user, app) = with_app(&world).await;
    let new = NewChallenge { user: user.name.clone(), place: Some("Leeds, GB".to_owned()), ..NewChallenge::default() };
    let Created::Challenge { id, .. } = world.core.create("shop", new).await.unwrap() else { panic!("needed") };
    let who = two_step::flow::Who::Product("shop".to_owned());
    let method = world.rows::<Method>("where kind = 'app'", &[]).await[0].id;
    world.core.send(id, &who, Some(method), None).await.unwrap().unwrap();
    assert_eq!(world.core.approved(id, "shop", false, None).await.unwrap(), None, "nobody has answered");
    let asked = world.core.app_requests(&app.call().await).await.unwrap().0;
    assert_eq!(asked[0].challenge.place.as_deref(), Some("Leeds, GB"));
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &digits).await.unwrap();
    let first = world.core.approved(id, "shop", true, None).await.unwrap().unwrap();
    let Entered::Verified { result: Some(_), cookie: Some(_), .. } = first else { panic!("{first:?}") };
    let again = world.core.approved(id, "shop", false, None).await.unwrap().unwrap();
    assert!(matches!(again, Entered::Verified { result: Some(_), .. }), "for a minute the same again");
    let other = world.core.approved(id, "other", false, None).await;
    assert!(matches!(other, Err(FlowError::Missing("challenge"))), "{other:?}");
}

/// Seen to fail: where the state is not looked at (a request is open after the denial).
async fn a_sign_in_that_has_ended_and_a_paused_account_ask_nobody(world) {
    let (user, app) = with_app(&world).await;
    let challenge = user.start().await;
    let (request, _) = app.asked().await;
    world.core.deny(&app.call().await, request).await.unwrap();
    let again = world.core.send(challenge, &user.who(), None, None).await.unwrap();
    assert_eq!(again, Err(SendRefused::Ended(ChallengeState::Denied)));
    let next = user.start().await;
    let (request, digits) = app.asked().await;
    for _ in 0..5 {
        world.core.approve(&app.call().await, request, &not(&digits)).await.unwrap();
    }
    assert_eq!(state(&world, next).await, ChallengeState::Locked);
    let paused = user.start().await;
    let refused = world.core.send(paused, &user.who(), None, None).await.unwrap();
    assert!(matches!(refused, Err(SendRefused::Method | SendRefused::Limited { .. })), "{refused:?}");
    assert!(world.core.app_requests(&app.call().await).await.unwrap().0.is_empty());
}

/// Seen to fail: where a locked enrolment is shown again (the page waits for digits that no app has).
async fn after_five_wrong_digits_a_set_up_begins_anew(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let new = world.core.add_app(&user.visit).await.unwrap().unwrap();
    let registered = PhoneApp::new(&world).try_register(&new.code.unwrap().spelled()).await.unwrap();
    for _ in 0..5 {
        user.enter(new.challenge, &not(registered.digits.expose())).await;
    }
    let again = world.core.add_app(&user.visit).await.unwrap().unwrap();
    assert_ne!(again.method, new.method);
    assert!(again.code.is_some(), "a new code to type");
}

async fn an_app_that_confirms_a_new_device_has_the_browser_recognised(world) {
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
    let challenge = user.start().await;
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap().id;
    world.core.send(challenge, &user.who(), Some(method), None).await.unwrap().unwrap();
    let (request, digits) = app.asked().await;
    world.core.approve(&app.call().await, request, &world.core.app_digits(request)).await.unwrap();
    assert_eq!(digits, world.core.app_digits(request));
    for _ in 0..2 {
        let gone_on = world.core.go_on_approved(challenge, &user.visit, false).await.unwrap().unwrap();
        let Entered::Verified { cookie: Some(cookie), .. } = gone_on else { panic!("{gone_on:?}") };
        user.visit.device = Some(cookie);
    }
    assert_eq!(world.count("select count(*) from device").await, 1, "a lost answer makes no second one");
    world.advance(60);
    let asked = user.ask().await;
    assert!(matches!(user.claim(&asked).await.0, two_step::flow::Claimed::Verified { .. }));
}

/// One app, two products: each account has a key of its own, and no product sees the other's requests.
async fn two_products_share_one_app_and_nothing_else(world) {
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
    user.start().await;
    app.asked().await;
    assert!(world.core.app_requests(&at_bank.call().await).await.unwrap().0.is_empty());
    assert_ne!(app.public().thumbprint(), at_bank.public().thumbprint());
}
}
