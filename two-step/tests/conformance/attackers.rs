//! Attackers who know the password or use another browser.

use two_step::challenge::{ChallengeState, SendRefused};
use two_step::flow::{
    Author, Entered, Entry, FlowError, NewCase, Redeemed, Requester, SupportRefused, TurnOnRefused,
};
use two_step::method::{Channel, Kind, Method, MethodState};
use two_step::store::{OutboxKind, SupportAction};
use uuid::Uuid;

use crate::support::on_both;
use crate::support::user::{User, other_code, ticket, verified};
use crate::support::world::{Backend, World};

fn product() -> Requester {
    Requester::Product("shop".to_owned())
}

fn back_end() -> Author {
    let (product, user) = ("shop".to_owned(), "u1".to_owned());
    Author::Product { product, user, proof: None, display_name: None }
}

async fn enter_over_api(world: &World, challenge: Uuid, text: &str) -> Entered {
    let entry = Entry { text: text.to_owned(), ..Entry::default() };
    world.core.enter(challenge, &product(), &entry).await.unwrap()
}

fn has_result(entered: &Entered) -> bool {
    matches!(entered, Entered::Verified { result: Some(_), location: None, .. })
}

on_both! {
async fn turning_on_removes_methods_of_another_visit(world) {
    let user = User::new(&world, "u1");
    let attacker = user.elsewhere();
    attacker.open_settings().await;
    let (authenticator, phone) = (attacker.add_authenticator().await, attacker.add_phone("07700 900999").await);
    user.open_settings().await;
    let own = user.add_phone("07700 900123").await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    for (method, state) in [
        (authenticator.method, MethodState::Removed),
        (phone, MethodState::Removed),
        (own, MethodState::Active),
    ] {
        assert_eq!(world.row::<Method>(method).await.state, state);
    }
    let removed = world.row::<Method>(authenticator.method).await;
    assert_eq!((removed.reason.as_deref(), removed.secret_sealed), (Some("not_proved"), None));
    assert_eq!(world.events("method.removed").await, 2);
    let notices = world.outbox(OutboxKind::Dispatch).await;
    let notices = notices.iter().filter(|job| job["params"]["about"] == "turned_on");
    let numbers: Vec<&str> = notices.map(|job| job["to"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["+447700900999", "+447700900123"], "a removed phone gets a notice too");
}

/// Fails if a pending authenticator is shown in every visit, because then the keys are equal.
async fn a_key_shown_in_another_visit_is_never_shown_to_the_user(world) {
    let user = User::new(&world, "u1");
    let attacker = user.elsewhere();
    attacker.open_settings().await;
    let seen = world.core.add_authenticator(&attacker.visit).await.unwrap().unwrap();
    user.open_settings().await;
    let own = world.core.add_authenticator(&user.visit).await.unwrap().unwrap();
    assert_ne!(*own.key, *seen.key);
    let left = world.rows::<Method>("", &[]).await;
    assert_eq!(left.iter().map(|m| m.id).collect::<Vec<_>>(), [own.method], "the attacker's method is removed");
    // Over the API a key is returned once.
    let by_product = || world.core.add_authenticator(back_end());
    let (one, two) = (by_product().await.unwrap().unwrap(), by_product().await.unwrap().unwrap());
    assert_ne!(*one.key, *two.key);
    assert_ne!(*one.key, *own.key);
}

async fn pending_methods_of_another_visit_are_hidden(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    world.core.add_email(&user.visit, "ada@example.com").await.unwrap().unwrap();
    user.begin_phone("07700 900123").await;
    let attacker = user.elsewhere();
    attacker.open_settings().await;
    let begun = world.rows::<Method>("where state = 'pending'", &[]).await;
    assert_eq!(begun.len(), 2);
    for method in begun {
        let again = world.core.resend_first_code(&attacker.visit, method.id, None).await;
        assert!(matches!(again, Err(FlowError::Missing("method"))), "{again:?}");
    }
}

async fn an_attacker_cannot_turn_it_on_with_the_users_methods_as_a_backup(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    user.add_phone("07700 900123").await;
    user.save_recovery_codes().await;
    let attacker = user.elsewhere();
    attacker.open_settings().await;
    attacker.add_authenticator().await;
    let refused = world.core.turn_on(&attacker.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::ProofMissing));
}

async fn recovery_codes_of_another_visit_are_not_activated(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    user.add_phone("07700 900123").await;
    let attacker = user.elsewhere();
    attacker.open_settings().await;
    world.core.create_recovery_codes(&user.visit).await.unwrap();
    world.core.create_recovery_codes(&attacker.visit).await.unwrap();
    world.core.recovery_codes_saved(&user.visit).await.unwrap();
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing));
    user.save_recovery_codes().await;
    world.core.create_recovery_codes(&attacker.visit).await.unwrap();
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing));
}

async fn after_the_right_code_no_other_code_gets_the_redirect(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let location = user.must_verify(challenge, &code).await;
    assert_eq!(user.enter(challenge, &other_code(&code)).await.ended(), Some(ChallengeState::Verified));
    assert_eq!(verified(user.enter(challenge, &code).await), location);
    user.redeem(&ticket(location.as_deref().unwrap())).await;
    assert_eq!(verified(user.enter(challenge, &code).await), location, "a double click while the shop redeems");
    world.advance(61);
    assert_eq!(user.enter(challenge, &code).await.ended(), Some(ChallengeState::Redeemed));
}

async fn a_challenge_that_the_back_end_verified_gives_its_browser_no_ticket(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let asked = user.create_challenge().await;
    user.claim(&asked).await;
    let code = world.code(asked.id).await;
    assert!(has_result(&enter_over_api(&world, asked.id, &code).await));
    assert_eq!(world.core.location(&user.challenge(asked.id).await), None);
    let entered = user.enter(asked.id, &code).await;
    assert_eq!(entered.ended(), Some(ChallengeState::Redeemed));
}

async fn the_answer_to_the_back_end_is_repeated_for_a_minute(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    assert!(has_result(&enter_over_api(&world, challenge, &code).await));
    let jti = user.challenge(challenge).await.jti;
    world.advance(50);
    assert!(has_result(&enter_over_api(&world, challenge, &code).await));
    assert_eq!(user.challenge(challenge).await.jti, jti);
    assert_eq!(
        enter_over_api(&world, challenge, &other_code(&code)).await.ended(),
        Some(ChallengeState::Redeemed)
    );
    world.advance(10);
    assert_eq!(
        enter_over_api(&world, challenge, &code).await.ended(),
        Some(ChallengeState::Redeemed)
    );
}

async fn the_result_of_a_browser_challenge_is_not_returned_by_the_api(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let location = user.must_verify(challenge, &code).await.unwrap();
    assert_eq!(
        enter_over_api(&world, challenge, &code).await.ended(),
        Some(ChallengeState::Verified)
    );
    assert!(matches!(user.redeem(&ticket(&location)).await, Redeemed::Result(_)));
}

async fn trust_in_the_settings_needs_a_fresh_proof(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    let refused = world.core.turn_on(&user.visit, true).await;
    assert!(matches!(refused, Err(FlowError::ProofMissing)), "{refused:?}");
    user.prove_to_settings().await;
    assert!(user.turn_on(true).await.is_some());
}

async fn a_wrong_authenticator_code_is_no_feedback_on_the_text(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let wrong = other_code(&app.code(&world).await);
    assert!(matches!(user.enter_for(challenge, app.method, &wrong).await, Entered::Wrong { .. }));
    let said = world.outbox(OutboxKind::Feedback).await;
    let dispatch = world.dispatch(challenge).await.to_string();
    assert!(said.iter().all(|feedback| feedback["id"] != dispatch.as_str()), "{said:?}");
}

async fn sign_out_of_an_unknown_user_creates_no_account(world) {
    let refused = world.core.revoke_at_sign_out("shop", "nobody", Uuid::now_v7()).await;
    assert!(matches!(refused, Err(FlowError::Missing("user"))), "{refused:?}");
    assert_eq!(world.count("select count(*) from account").await, 0);
}

async fn a_removed_method_is_deleted_after_thirty_days(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    world.advance(40 * 86_400);
    user.open_settings().await;
    user.prove_to_settings().await;
    world.core.turn_off(&user.visit, true).await.unwrap();
    let removed = async || {
        two_step::sweep::sweep(&world.core).await.unwrap();
        world.rows::<Method>("where state = 'removed'", &[]).await.iter().filter(|m| m.kind == Kind::Totp).count()
    };
    assert_eq!(removed().await, 1);
    world.advance(29 * 86_400);
    assert_eq!(removed().await, 1);
    world.advance(86_400 + 60);
    assert_eq!(removed().await, 0);
}

async fn the_stop_page_voids_tickets_and_proofs(world) {
    let (user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    // An attacker has a recovery code, and the page about the lost phone is still open.
    let challenge = user.open_challenge().await;
    let location = verified(user.enter(challenge, &codes[0]).await).unwrap();
    let link = world.outbox(OutboxKind::Dispatch).await.pop().unwrap();
    world.core.stop(link["params"]["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(user.challenge(challenge).await.state, ChallengeState::Denied);
    assert_eq!(user.redeem(&ticket(&location)).await, Redeemed::Over);
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await[0].id;
    world.core.remove_lost_phone(challenge, &user.requester(), phone).await.unwrap();
    assert_eq!(world.row::<Method>(phone).await.state, MethodState::Active);
}

async fn an_address_for_notices_is_not_a_second_step(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let enrolment = world.core.add_email(&user.visit, "ada@shop.example").await.unwrap().unwrap();
    let code = world.outbox(OutboxKind::Mail).await.pop().unwrap()["code"].as_str().unwrap().to_owned();
    user.must_verify(enrolment, &code).await;
    let email = user.challenge(enrolment).await.method.unwrap();
    world.advance(3600);
    let challenge = user.open_challenge().await;
    let sent = world.core.send(challenge, &user.requester(), Some(email), None).await.unwrap();
    assert_eq!(sent, Err(SendRefused::Method));
    let mails = world.outbox(OutboxKind::Mail).await;
    assert!(mails.iter().filter(|mail| mail["kind"] == "code").count() == 1, "{mails:?}");
}

async fn a_code_of_a_future_step_is_not_reported(world) {
    let (user, app) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let later = app.code_at(&world, 6).await;
    let entered = user.enter_for(challenge, app.method, &later).await;
    assert_eq!(entered, Entered::Wrong { left: 4, clock_behind_s: None, expired: false });
}
}

async fn open_support_case(world: &World, action: SupportAction) -> Result<(), SupportRefused> {
    let new = NewCase {
        user: "u1".to_owned(),
        action,
        method: None,
        reason: "lost phone".to_owned(),
        evidence: vec![],
        agent: "a1".to_owned(),
    };
    world.core.open_case("shop", new).await.unwrap().map(drop)
}

/// Support turns it off at once, and an attacker with the password signs in.
async fn off_by_support(world: &World) -> (World, User) {
    let (user, _) = User::with_phone(world, "u1", 1).await;
    let world = world.configured(|c| c.support.delay = two_step::config::Life(std::time::Duration::ZERO));
    open_support_case(&world, SupportAction::TurnOff).await.unwrap();
    two_step::sweep::sweep(&world.core).await.unwrap();
    assert!(!world.account("u1").await.is_on());
    let attacker = user.elsewhere().at(&world);
    attacker.open_settings().await;
    (world, attacker)
}

on_both! {
async fn support_does_not_undo_changes_made_while_off(world) {
    let (world, attacker) = off_by_support(&world).await;
    attacker.add_phone("07700 900999").await;
    assert_eq!(open_support_case(&world, SupportAction::TurnOn).await, Err(SupportRefused::NotUndone));
    assert!(!world.account("u1").await.is_on());
}

/// Fails if `method.resumed` is not among the changes, because then it is on again.
async fn support_does_not_undo_if_a_paused_method_was_resumed(world) {
    let (world, attacker) = off_by_support(&world).await;
    let mut phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    phone.pause("stopped");
    world.write(&phone).await;
    let challenge = world.core.resend_first_code(&attacker.visit, phone.id, None).await.unwrap().unwrap();
    attacker.must_verify(challenge, &world.code(challenge).await).await;
    assert_eq!(world.events("method.resumed").await, 1);
    assert_eq!(open_support_case(&world, SupportAction::TurnOn).await, Err(SupportRefused::NotUndone));
}

/// Fails if challenges and pending methods do not end, because then the phone becomes active.
async fn enrolments_begun_while_off_end_when_support_turns_it_on(world) {
    let (world, attacker) = off_by_support(&world).await;
    let on_pages = attacker.begin_phone("07700 900999").await;
    let over_api = world.core.add_phone(back_end(), "07700 900888", "GB", Channel::Sms).await.unwrap().unwrap();
    let codes = [world.code(on_pages).await, world.code(over_api).await];
    open_support_case(&world, SupportAction::TurnOn).await.unwrap();
    assert!(world.account("u1").await.is_on());
    for (challenge, code) in [(on_pages, &codes[0]), (over_api, &codes[1])] {
        let entered = enter_over_api(&world, challenge, code).await;
        assert!(matches!(entered, Entered::Ended { state: ChallengeState::Cancelled, .. }), "{entered:?}");
    }
    assert!(world.rows::<Method>("where state = 'pending'", &[]).await.is_empty());
}
}
