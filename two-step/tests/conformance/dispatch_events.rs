//! Events of dispatches from otpost.

use std::time::Duration;

use two_step::challenge::SendRefused;
use two_step::clock::{after, between};
use two_step::flow::DispatchEvent;
use two_step::method::{Channel, Method, MethodState};
use two_step::store::{Dispatch, DispatchState};
use uuid::Uuid;

use crate::support::on_both;
use crate::support::user::{User, verified};
use crate::support::world::{Backend, World};

fn event(dispatch: Uuid, sequence: i64, state: DispatchState) -> DispatchEvent {
    DispatchEvent {
        dispatch,
        sequence,
        state,
        channel: Some(Channel::Sms),
        reason: None,
        retry_after_s: None,
    }
}

async fn dispatched(world: &World) -> (User, Uuid, Uuid) {
    let (user, _) = User::with_phone(world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let dispatch = world.dispatch(challenge).await;
    (user, challenge, dispatch)
}

on_both! {
async fn an_event_is_stored_and_implies_the_confirmation(world) {
    let (user, challenge, dispatch) = dispatched(&world).await;
    assert_eq!(world.row::<Dispatch>(dispatch).await.state, DispatchState::Waiting);
    world.core.dispatch_confirmed(dispatch).await.unwrap();
    let confirmed = world.row::<Dispatch>(dispatch).await;
    assert_eq!(confirmed.state, DispatchState::Queued);
    assert!(confirmed.confirmed_at.is_some());
    world.core.receive_event(&event(dispatch, 2, DispatchState::Sent)).await.unwrap();
    world.core.dispatch_confirmed(dispatch).await.unwrap();
    let sent = world.row::<Dispatch>(dispatch).await;
    assert_eq!((sent.state, sent.channel, sent.sequence), (DispatchState::Sent, Some(Channel::Sms), 2));
    assert_eq!(sent.confirmed_at, confirmed.confirmed_at, "the first confirmation counts");
    let snapshot = world.core.challenge_snapshot(challenge, &user.requester()).await.unwrap();
    assert_eq!(snapshot.dispatch.map(|d| d.id), Some(dispatch));
}

async fn repeated_late_and_unknown_events_change_nothing(world) {
    let (_, _, dispatch) = dispatched(&world).await;
    world.core.receive_event(&event(dispatch, 5, DispatchState::Delivered)).await.unwrap();
    let before = world.row::<Dispatch>(dispatch).await;
    for late in [
        event(dispatch, 5, DispatchState::Failed),
        event(dispatch, 4, DispatchState::Sent),
        DispatchEvent { reason: Some("opted_out".to_owned()), ..event(dispatch, 1, DispatchState::Undelivered) },
        event(Uuid::now_v7(), 9, DispatchState::Sent),
    ] {
        world.core.receive_event(&late).await.unwrap();
    }
    assert_eq!(
        world.rows::<Dispatch>("where id = $1", &[two_step::store::Value::Uuid(dispatch)]).await,
        [before]
    );
    assert_eq!(world.events("method.paused").await, 0);
    world.core.dispatch_confirmed(Uuid::now_v7()).await.unwrap();
}

async fn the_newest_event_wins_in_any_order(world) {
    let steps = [
        (1, DispatchState::Queued),
        (2, DispatchState::Sending),
        (3, DispatchState::Sent),
        (4, DispatchState::Delivered),
    ];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for order in orders {
        world.advance(3600);
        let dispatch = world.dispatch(user.open_challenge().await).await;
        for place in order {
            let (sequence, state) = steps[place];
            for _ in 0..2 {
                world.core.receive_event(&event(dispatch, sequence, state)).await.unwrap();
            }
        }
        let row = world.row::<Dispatch>(dispatch).await;
        assert_eq!((row.state, row.sequence), (DispatchState::Delivered, 4), "{order:?}");
    }
}

async fn a_number_that_opted_out_is_paused_and_another_method_signs_in(world) {
    let (user, authenticator) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let dispatch = world.dispatch(challenge).await;
    let opted_out =
        DispatchEvent { reason: Some("opted_out".to_owned()), ..event(dispatch, 2, DispatchState::Failed) };
    world.core.receive_event(&opted_out).await.unwrap();
    world.core.receive_event(&DispatchEvent { sequence: 3, ..opted_out }).await.unwrap();
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    assert_eq!((phone.state, phone.reason.as_deref()), (MethodState::Paused, Some("opted_out")));
    assert_eq!(world.events("method.paused").await, 1);
    let code = authenticator.code(&world).await;
    verified(user.enter_for(challenge, authenticator.method, &code).await);
    let next = user.open_challenge().await;
    assert_eq!(
        user.challenge(next).await.method,
        Some(authenticator.method),
        "the next challenge starts with it"
    );
}

/// Fails if a user must wait after a text that no carrier accepted, or if such texts can be sent without a limit.
async fn a_failed_text_ends_the_wait_and_still_counts(world) {
    let (user, challenge, dispatch) = dispatched(&world).await;
    world.core.receive_event(&event(dispatch, 2, DispatchState::Sending)).await.unwrap();
    let early = user.send(challenge, Channel::Voice).await;
    assert!(matches!(early, Err(SendRefused::Limited { .. })), "{early:?}");
    world.core.receive_event(&event(dispatch, 3, DispatchState::Failed)).await.unwrap();
    user.send(challenge, Channel::Voice).await.unwrap();
    assert_eq!(user.challenge(challenge).await.sends, 2);
    // The call's wait does not end with the text.
    world.core.receive_event(&event(dispatch, 4, DispatchState::Failed)).await.unwrap();
    let early = user.send(challenge, Channel::Sms).await;
    assert!(matches!(early, Err(SendRefused::Limited { .. })), "{early:?}");
}

async fn a_full_quota_reports_the_time_of_the_next_send(world) {
    let (_, _, dispatch) = dispatched(&world).await;
    let limited = DispatchEvent { retry_after_s: Some(240), ..event(dispatch, 1, DispatchState::Limited) };
    world.core.receive_event(&limited).await.unwrap();
    let row = world.row::<Dispatch>(dispatch).await;
    let wait = between(world.now().await, row.retry_at.unwrap());
    assert!((235..=240).contains(&wait.as_secs()));
    assert!(row.state.is_final() && row.retry_at <= Some(after(row.issued_at, Duration::from_secs(270))));
}

async fn an_event_of_a_removed_method_is_ignored(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let challenge = user.begin_phone("07700 900123").await;
    let dispatch = world.dispatch(challenge).await;
    user.begin_phone("07700 900124").await;
    world.core.receive_event(&event(dispatch, 2, DispatchState::Delivered)).await.unwrap();
    let code = world.code(challenge).await;
    let entered = user.enter(challenge, &code).await;
    assert!(
        matches!(entered, two_step::flow::Entered::Wrong { .. }),
        "the enrolment of the first number has ended: {entered:?}"
    );
}
}
