//! Support cases.

use serde_json::Value as Json;
use two_step::account::AccountState;
use two_step::challenge::{Acr, ChallengeState, Proof};
use two_step::config::Life;
use two_step::flow::{Change, Created, Entered, FlowError, NewCase, Redeemed, StopOutcome, SupportRefused};
use two_step::method::{Kind, Method, MethodState};
use two_step::store::{Event, OutboxKind, SupportAction, SupportCase, SupportState};
use uuid::Uuid;

use crate::support::app::PhoneApp;
use crate::support::on_both;
use crate::support::user::{User, ticket};
use crate::support::world::{ALL_LIMITS_FREE_S, Backend, World};

const DAY_S: u64 = 86_400;

fn new_case(action: SupportAction, method: Option<Uuid>) -> NewCase {
    NewCase {
        user: "u1".to_owned(),
        action,
        method,
        reason: "lost the phone".to_owned(),
        evidence: vec!["id_card".to_owned()],
        agent: "ada".to_owned(),
    }
}

async fn try_to(
    world: &World, action: SupportAction, method: Option<Uuid>,
) -> Result<SupportCase, SupportRefused> {
    world.core.open_case("shop", new_case(action, method)).await.unwrap()
}

async fn open_case(world: &World, action: SupportAction) -> SupportCase {
    try_to(world, action, None).await.unwrap()
}

async fn state(world: &World) -> AccountState {
    world.account("u1").await.state
}

async fn method_of(world: &World, kind: Kind) -> Method {
    world.rows::<Method>("", &[]).await.into_iter().find(|m| m.kind == kind).unwrap()
}

/// Returns the notices of a kind.
async fn notices(world: &World, about: &str) -> Vec<Json> {
    let mut jobs = world.outbox(OutboxKind::Dispatch).await;
    jobs.retain(|job| job["params"]["about"] == about);
    jobs
}

/// Returns the newest code from support.
async fn support_code(world: &World) -> String {
    let jobs = world.outbox(OutboxKind::Dispatch).await;
    let mut codes = jobs.iter().filter_map(|job| job["code"].as_str()).filter(|code| code.len() == 8);
    codes.next_back().unwrap().to_owned()
}

on_both! {
async fn unlock_ends_the_pauses_of_account_and_methods(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    user.enter_wrong(challenge, 5).await;
    let mut phone = method_of(&world, Kind::Phone).await;
    phone.pause("wrong_codes");
    phone.wrong = 100;
    world.write(&phone).await;
    let mut app = method_of(&world, Kind::Totp).await;
    app.pause("stopped");
    world.write(&app).await;
    let case = open_case(&world, SupportAction::Unlock).await;
    assert_eq!(case.state, SupportState::Done);
    let account = world.account("u1").await;
    assert_eq!((account.wrong, account.paused_until), (0, None));
    let phone = method_of(&world, Kind::Phone).await;
    assert_eq!((phone.state, phone.wrong), (MethodState::Active, 0));
    let app = method_of(&world, Kind::Totp).await;
    assert_eq!(app.state, MethodState::Paused, "a stop page paused it, because somebody else added it");
    let challenge = user.open_challenge().await;
    user.must_verify(challenge, &world.code(challenge).await).await;
}

/// Fails if `unlock` resumes an app without a key, because then no sign-in can be claimed.
async fn unlock_does_not_resume_an_app_without_a_key(world) {
    let (user, app) = PhoneApp::first_way(&world).await;
    world.core.unregister_app(&app.call().await).await.unwrap();
    let method = world.rows::<Method>("where kind = 'app'", &[]).await.pop().unwrap();
    assert_eq!(method.reason.as_deref(), Some("unregistered"), "the account needs it");
    open_case(&world, SupportAction::Unlock).await;
    assert_eq!(world.row::<Method>(method.id).await.state, MethodState::Paused);
    // A recovery code signs in.
    user.open_challenge().await;
}

async fn turning_off_waits_a_day_notifies_all_methods_and_keeps_them(world) {
    let (user, _) = User::with_recovery_codes(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    world.advance(30);
    user.add_phone("07700 900456").await;
    let case = open_case(&world, SupportAction::TurnOff).await;
    assert_eq!((case.state, state(&world).await), (SupportState::Waiting, AccountState::OffDue));
    assert_eq!(notices(&world, "support_asked").await.len(), 2, "both phones get a notice");
    let account = world.account("u1").await;
    assert_eq!(world.core.off_due_at(account.id).await.unwrap(), Some(case.due_at));
    assert_eq!(try_to(&world, SupportAction::TurnOff, None).await, Err(SupportRefused::Waits));
    world.advance(DAY_S - 60);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0, "one minute before the end of the delay");
    assert!(matches!(world.core.create("shop", user.new_challenge()).await.unwrap(), Created::Challenge { .. }));
    world.advance(120);
    two_step::sweep::sweep(&world.core).await.unwrap();
    assert_eq!(state(&world).await, AccountState::Off);
    assert_eq!(world.core.create("shop", user.new_challenge()).await.unwrap(), Created::NotRequired);
    let methods = world.core.methods_of(account.id).await.unwrap();
    assert_eq!(methods.iter().filter(|m| m.is_active()).count(), 3, "methods are kept");
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Done);
    assert_eq!(world.core.off_due_at(account.id).await.unwrap(), None);
    let events = world.rows::<Event>("where kind like 'support.%' order by id", &[]).await;
    let seen: Vec<(&str, &str)> = events.iter().map(|e| (e.kind.as_str(), e.actor.as_str())).collect();
    assert_eq!(seen, [("support.asked", "support:ada"), ("support.done", "support:ada")]);
    assert!(events.iter().all(|e| !e.data.contains("lost")), "the reason is only in the case");
}

async fn without_a_delay_support_turns_off_at_once(world) {
    User::with_phone(&world, "u1", 1).await;
    let world = world.configured(|c| c.support.delay = Life(std::time::Duration::ZERO));
    assert_eq!(open_case(&world, SupportAction::TurnOff).await.state, SupportState::Done);
    assert_eq!(state(&world).await, AccountState::Off);
    assert_eq!(try_to(&world, SupportAction::TurnOff, None).await, Err(SupportRefused::Off));
}

async fn turning_on_undoes_a_waiting_and_a_completed_case(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let case = open_case(&world, SupportAction::TurnOff).await;
    assert_eq!(open_case(&world, SupportAction::TurnOn).await.state, SupportState::Done);
    assert_eq!(state(&world).await, AccountState::On);
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Stopped);
    assert_eq!(try_to(&world, SupportAction::TurnOn, None).await, Err(SupportRefused::On));
    open_case(&world, SupportAction::TurnOff).await;
    world.advance(DAY_S);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 1);
    assert_eq!(open_case(&world, SupportAction::TurnOn).await.state, SupportState::Done);
    assert_eq!(state(&world).await, AccountState::On);
    let challenge = user.open_challenge().await;
    user.must_verify(challenge, &world.code(challenge).await).await;
}

async fn support_does_not_turn_on_what_the_user_turned_off(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    world.advance(30);
    user.add_phone("07700 900456").await;
    world.core.turn_off(&user.visit, true).await.unwrap();
    assert_eq!(try_to(&world, SupportAction::TurnOn, None).await, Err(SupportRefused::NotUndone));
}

async fn a_case_is_void_after_the_user_turned_off_and_on(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    world.advance(30);
    let case = open_case(&world, SupportAction::TurnOff).await;
    world.core.turn_off(&user.visit, false).await.unwrap();
    user.add_phone("07700 900456").await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    world.advance(DAY_S);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
    assert_eq!(state(&world).await, AccountState::On);
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Stopped);
}

async fn removing_a_method_waits_and_the_last_one_cannot_be_removed(world) {
    User::with_phone(&world, "u1", 1).await;
    let (phone, app) = (method_of(&world, Kind::Phone).await, method_of(&world, Kind::Totp).await);
    try_to(&world, SupportAction::RemoveMethod, Some(phone.id)).await.unwrap();
    assert_eq!(notices(&world, "support_asked").await.len(), 1);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
    world.advance(DAY_S);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 1);
    let removed = world.row::<Method>(phone.id).await;
    assert_eq!((removed.state, removed.target_sealed), (MethodState::Removed, None));
    assert_eq!(notices(&world, "method_removed").await.len(), 1, "the removed method gets a notice");
    let refused = try_to(&world, SupportAction::RemoveMethod, Some(app.id)).await;
    assert_eq!(refused, Err(SupportRefused::Last));
    let refused = try_to(&world, SupportAction::RemoveMethod, Some(phone.id)).await;
    assert_eq!(refused, Err(SupportRefused::Method));
}

async fn only_a_second_agent_can_end_the_delay(world) {
    User::with_phone(&world, "u1", 1).await;
    let case = open_case(&world, SupportAction::TurnOff).await;
    for same in ["ada", " Ada "] {
        let refused = world.core.approve_case("shop", case.id, same).await.unwrap();
        assert_eq!(refused, Err(SupportRefused::SameAgent), "{same}");
    }
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
    world.core.approve_case("shop", case.id, "bob").await.unwrap().unwrap();
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 1);
    assert_eq!(state(&world).await, AccountState::Off);
    assert_eq!(world.row::<SupportCase>(case.id).await.approved_by.as_deref(), Some("bob"));
    assert_eq!(world.events("support.approved").await, 1);
    let over = world.core.approve_case("shop", case.id, "cleo").await.unwrap();
    assert_eq!(over, Err(SupportRefused::Over(SupportState::Done)));
}

async fn an_agent_cancels_only_cases_of_its_product(world) {
    User::with_phone(&world, "u1", 1).await;
    let case = open_case(&world, SupportAction::TurnOff).await;
    let other = world.core.cancel_case("other", case.id, "bob").await;
    assert!(matches!(other, Err(FlowError::Missing("case"))), "{other:?}");
    let other = world.core.approve_case("other", case.id, "bob").await;
    assert!(matches!(other, Err(FlowError::Missing("case"))), "{other:?}");
    world.core.cancel_case("shop", case.id, "bob").await.unwrap().unwrap();
    assert_eq!(state(&world).await, AccountState::On);
    world.advance(DAY_S);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
    let cases = world.core.cases("shop", "u1").await.unwrap();
    assert_eq!(cases.iter().map(|c| c.state).collect::<Vec<_>>(), [SupportState::Stopped]);
}

async fn a_proof_of_the_user_ends_waiting_cases(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let case = open_case(&world, SupportAction::TurnOff).await;
    let challenge = user.open_challenge().await;
    user.must_verify(challenge, &world.code(challenge).await).await;
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Stopped);
    assert_eq!(state(&world).await, AccountState::On);
    world.advance(DAY_S);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
}

async fn the_stop_page_ends_waiting_cases(world) {
    User::with_phone(&world, "u1", 1).await;
    let case = open_case(&world, SupportAction::TurnOff).await;
    let token = notices(&world, "support_asked").await[0]["params"]["token"].as_str().unwrap().to_owned();
    assert_eq!(world.core.stop(&token).await.unwrap(), StopOutcome::Stopped);
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Stopped);
    assert_eq!(state(&world).await, AccountState::On);
    world.advance(DAY_S);
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
}

async fn a_code_from_support_signs_in_once(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let off = open_case(&world, SupportAction::TurnOff).await;
    let case = open_case(&world, SupportAction::SendRecoveryCode).await;
    let code = support_code(&world).await;
    assert!(!format!("{case:?}").contains(&code));
    let challenge = user.open_challenge().await;
    user.must_verify(challenge, &code).await;
    let proved = user.challenge(challenge).await;
    assert_eq!((proved.proof, proved.acr), (Some(Proof::Recovery), Some(Acr::Recovery)));
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Done);
    assert_eq!(world.row::<SupportCase>(off.id).await.state, SupportState::Stopped, "a code from support is a proof");
    assert_eq!(notices(&world, "recovery_used").await.len(), 1);
    world.advance(61);
    let snapshot = world.core.challenge_snapshot(challenge, &user.requester()).await.unwrap();
    assert_eq!(snapshot.challenge.state, ChallengeState::Verified, "the page about the lost phone is shown");
    let location = world.core.continue_sign_in(challenge, &user.requester()).await.unwrap().unwrap();
    assert!(matches!(user.redeem(&ticket(&location)).await, Redeemed::Result(_)));
    let again = user.open_challenge().await;
    assert_eq!(user.enter(again, &code).await, Entered::Unreadable, "used");
}

async fn a_code_from_support_expires_after_ten_minutes_on_a_phone(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let case = open_case(&world, SupportAction::SendRecoveryCode).await;
    let code = support_code(&world).await;
    world.advance(600);
    let challenge = user.open_challenge().await;
    assert_eq!(user.enter(challenge, &code).await, Entered::Unreadable, "over");
    assert_eq!(world.core.carry_out_due_cases().await.unwrap(), 0);
    assert_eq!(world.row::<SupportCase>(case.id).await.state, SupportState::Stopped);
}

async fn a_new_code_from_support_replaces_the_earlier_one(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    open_case(&world, SupportAction::SendRecoveryCode).await;
    let first = support_code(&world).await;
    open_case(&world, SupportAction::SendRecoveryCode).await;
    let challenge = user.open_challenge().await;
    assert!(matches!(user.enter(challenge, &first).await, Entered::Wrong { .. }));
    user.must_verify(challenge, &support_code(&world).await).await;
}

async fn an_unknown_kind_of_evidence_is_refused(world) {
    User::with_phone(&world, "u1", 1).await;
    let good = || new_case(SupportAction::Unlock, None);
    let long = "x".repeat(41);
    for bad in ["born in York", "", "müde", long.as_str()] {
        let new = NewCase { evidence: vec![bad.to_owned()], ..good() };
        let refused = world.core.open_case("shop", new).await;
        assert!(matches!(refused, Err(FlowError::Invalid { field: "evidence", .. })), "{bad}");
    }
    let new = NewCase { evidence: vec!["a".to_owned(); 11], ..good() };
    assert!(matches!(world.core.open_case("shop", new).await, Err(FlowError::Invalid { field: "evidence", .. })));
    let new = NewCase { reason: "x".repeat(501), ..good() };
    assert!(matches!(world.core.open_case("shop", new).await, Err(FlowError::Invalid { field: "reason", .. })));
    let new = NewCase { agent: "x".repeat(65), ..good() };
    assert!(matches!(world.core.open_case("shop", new).await, Err(FlowError::Invalid { field: "agent", .. })));
    assert_eq!(world.rows::<SupportCase>("", &[]).await, []);
}

async fn each_change_sends_its_notice(world) {
    let (mut user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let second = user.add_phone("07700 900999").await;
    user.save_recovery_codes().await;
    world.core.change(&user.visit, second, &Change::Remove).await.unwrap().unwrap();
    world.advance(ALL_LIMITS_FREE_S);
    let challenge = user.open_challenge().await;
    user.verify_and_trust(challenge, &world.code(challenge).await).await;
    let stolen = user.visit.device.clone();
    for _ in 0..2 {
        world.advance(120);
        let asked = user.create_challenge().await;
        user.visit.device = user.claim(&asked).await.1;
    }
    user.visit.device = stolen;
    let asked = user.create_challenge().await;
    user.claim(&asked).await;
    world.advance(ALL_LIMITS_FREE_S);
    user.open_settings().await;
    user.prove_to_settings().await;
    let codes = [codes, user.save_recovery_codes().await].concat();
    world.advance(60);
    let mut phone = world.rows::<Method>("where kind = 'phone' and state = 'active'", &[]).await.pop().unwrap();
    phone.wrong = 95;
    world.write(&phone).await;
    let challenge = user.open_challenge().await;
    user.enter_wrong(challenge, 5).await;
    world.advance(60);
    let challenge = user.open_challenge().await;
    user.must_verify(challenge, codes.last().unwrap()).await;
    open_case(&world, SupportAction::TurnOff).await;
    world.advance(DAY_S);
    world.core.carry_out_due_cases().await.unwrap();
    let token = notices(&world, "turned_off").await[0]["params"]["token"].as_str().unwrap().to_owned();
    assert_eq!(world.core.stop(&token).await.unwrap(), StopOutcome::Stopped);
    let all = world.outbox(OutboxKind::Dispatch).await;
    let sent: std::collections::BTreeSet<&str> =
        all.iter().filter_map(|job| job["params"]["about"].as_str()).collect();
    let expected = [
        "denied", "device_replayed", "method_added", "method_removed", "paused", "recovery_renewed", "recovery_used", "support_asked",
        "turned_off", "turned_on",
    ];
    assert_eq!(sent.into_iter().collect::<Vec<_>>(), expected);
}
}
