//! "Call me instead".

use std::time::Duration;

use two_step::challenge::SendRefused;
use two_step::clock::after;
use two_step::flow::DispatchEvent;
use two_step::method::{Channel, Method};
use two_step::store::{Dispatch, DispatchState, OutboxKind};
use uuid::Uuid;

use crate::support::on_both;
use crate::support::user::{User, ticket};
use crate::support::world::{Backend, World, id_of};

fn event(dispatch: Uuid, sequence: i64, state: DispatchState, channel: Channel) -> DispatchEvent {
    DispatchEvent { dispatch, sequence, state, channel: Some(channel), reason: None, retry_after_s: None }
}

/// Returns a user whose text is not sent yet, its challenge and its dispatch.
async fn waiting(world: &World) -> (User, Uuid, Uuid) {
    let (user, _) = User::with_phone(world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.advance(30);
    let dispatch = world.dispatch(challenge).await;
    (user, challenge, dispatch)
}

on_both! {
async fn one_click_moves_an_open_dispatch_to_its_call_once(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    world.core.dispatch_confirmed(dispatch).await.unwrap();
    user.send(challenge, Channel::Voice).await.unwrap();
    assert!(
        matches!(user.send(challenge, Channel::Voice).await, Err(SendRefused::Limited { .. })),
        "a double click"
    );
    assert_eq!(world.outbox(OutboxKind::Next).await, [serde_json::json!({"id": dispatch, "step": 1})]);
    assert_eq!(world.jobs(challenge).await.len(), 1, "no new dispatch");
    let row = world.row::<Dispatch>(dispatch).await;
    assert!(row.call_due_at.is_some_and(|due| due <= after(row.issued_at, Duration::from_secs(45))));
    assert_eq!(user.challenge(challenge).await.calls, 1);

    world.core.receive_event(&event(dispatch, 2, DispatchState::Sent, Channel::Voice)).await.unwrap();
    assert_eq!(world.row::<Dispatch>(dispatch).await.call_due_at, None, "a carrier accepted the call");
    let location = user.must_verify(challenge, &world.code(challenge).await).await.unwrap();
    assert!(!ticket(&location).is_empty());
    let proof = user.challenge(challenge).await.proof;
    assert_eq!(proof, Some(two_step::challenge::Proof::Voice));
}

async fn after_a_final_text_a_click_sends_a_new_dispatch_with_a_call(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    world.core.receive_event(&event(dispatch, 3, DispatchState::Delivered, Channel::Sms)).await.unwrap();
    user.send(challenge, Channel::Voice).await.unwrap();
    assert_eq!(world.outbox(OutboxKind::Next).await.len(), 0);
    let jobs = world.jobs(challenge).await;
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[1]["channels"], serde_json::json!(["voice"]));
    assert_eq!((&jobs[1]["code"], &jobs[1]["supersedes"]), (&jobs[0]["code"], &jobs[0]["supersedes"]));
}

async fn if_the_text_ends_after_the_click_a_new_dispatch_calls(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    user.send(challenge, Channel::Voice).await.unwrap();
    world.core.receive_event(&event(dispatch, 3, DispatchState::Delivered, Channel::Sms)).await.unwrap();
    world.core.receive_event(&event(dispatch, 3, DispatchState::Delivered, Channel::Sms)).await.unwrap();
    world.core.place_call_again(dispatch).await.unwrap();
    let jobs = world.jobs(challenge).await;
    assert_eq!(jobs.len(), 2, "one call for any number of requests");
    assert_eq!(jobs[1]["channels"], serde_json::json!(["voice"]));
    assert_eq!(jobs[1]["code"], jobs[0]["code"]);
    assert_eq!(world.row::<Dispatch>(dispatch).await.call_due_at, None);
    let challenge = user.challenge(challenge).await;
    assert_eq!((challenge.sends, challenge.calls), (2, 1), "counted only at the click");
}

async fn if_next_is_refused_the_call_is_a_new_dispatch(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    world.core.place_call_again(dispatch).await.unwrap();
    assert_eq!(world.jobs(challenge).await.len(), 1, "no call was requested");
    user.send(challenge, Channel::Voice).await.unwrap();
    world.core.place_call_again(dispatch).await.unwrap();
    world.core.place_call_again(dispatch).await.unwrap();
    assert_eq!(world.jobs(challenge).await.len(), 2);
    world.core.place_call_again(Uuid::now_v7()).await.unwrap();
}

async fn a_superseded_or_cancelled_dispatch_places_no_call(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    user.send(challenge, Channel::Voice).await.unwrap();
    world.advance(60);
    user.send(challenge, Channel::Sms).await.unwrap();
    let text = id_of(&world.job(challenge).await);
    assert_ne!(text, dispatch);
    world.core.receive_event(&event(dispatch, 3, DispatchState::Superseded, Channel::Sms)).await.unwrap();
    assert_eq!(
        world.jobs(challenge).await.len(),
        2,
        "a call does not supersede the user's newest text"
    );
}

async fn an_ended_challenge_places_no_call(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    user.send(challenge, Channel::Voice).await.unwrap();
    user.must_verify(challenge, &world.code(challenge).await).await;
    world.core.place_call_again(dispatch).await.unwrap();
    world.core.receive_event(&event(dispatch, 3, DispatchState::Failed, Channel::Sms)).await.unwrap();
    assert_eq!(world.jobs(challenge).await.len(), 1);
}

async fn later_codes_for_a_landline_come_by_call(world) {
    let (user, challenge, dispatch) = waiting(&world).await;
    let landline = DispatchEvent {
        reason: Some("landline".to_owned()),
        ..event(dispatch, 2, DispatchState::Failed, Channel::Sms)
    };
    world.core.receive_event(&landline).await.unwrap();
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    assert!(phone.no_texts && phone.is_active());
    user.send(challenge, Channel::Sms).await.unwrap();
    assert_eq!(world.job(challenge).await["channels"], serde_json::json!(["voice"]));
    let next = user.elsewhere().open_challenge().await;
    assert_eq!(world.job(next).await["channels"], serde_json::json!(["voice"]));
}

async fn no_call_is_placed_if_calls_are_off(world) {
    let world = world.configured(|c| c.otpost.calls = false);
    let (user, challenge, _) = waiting(&world).await;
    assert_eq!(world.job(challenge).await["channels"], serde_json::json!(["sms"]));
    assert_eq!(user.send(challenge, Channel::Voice).await, Err(SendRefused::Method));
}
}
