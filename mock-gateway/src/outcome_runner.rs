//! Runs the outcome of an accepted request: the answer, and the states afterwards.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::connection::ConnectionHandle;
use crate::outcome::Outcome;
use crate::record::{Accepted, Answer, RequestRecord};
use crate::shared::Shared;

/// Returns when the answer may be sent. For an outcome without an answer it has cut the connection, so the
/// answer is discarded.
pub(crate) async fn run_outcome(
    shared: &Arc<Shared>, connection: &ConnectionHandle, accepted: &Arc<Accepted>, outcome: Outcome,
) {
    match outcome {
        Outcome::HangUp => {
            start_states(shared, accepted, outcome);
            connection.cut();
        }
        Outcome::Hold { seconds } => {
            start_states(shared, accepted, outcome);
            shared.pause(Duration::from_secs(seconds)).await;
            connection.cut();
        }
        Outcome::Slow { ms } => {
            shared.pause(Duration::from_millis(ms)).await;
            start_states(shared, accepted, outcome);
        }
        Outcome::ReceiptFirst => {
            if let Some(last) = accepted.message.states(&outcome).last() {
                let wanted = accepted.message.wants(last);
                shared.while_running(shared.report(accepted, last, wanted)).await;
            }
        }
        _ => start_states(shared, accepted, outcome),
    }
}

/// Accepts nothing and cuts the connection, so the answer is discarded.
pub(crate) fn lose(shared: &Shared, connection: &ConnectionHandle, mut request: RequestRecord) -> Response {
    request.answer = Answer::HungUp;
    shared.record.add_request(request);
    connection.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Passes through the states in the background. Callbacks of one message are sent in order.
fn start_states(shared: &Arc<Shared>, accepted: &Arc<Accepted>, outcome: Outcome) {
    let (shared, accepted) = (Arc::clone(shared), Arc::clone(accepted));
    tokio::spawn(async move {
        shared.while_running(pass_through_states(&shared, &accepted, &outcome)).await;
    });
}

async fn pass_through_states(shared: &Shared, accepted: &Arc<Accepted>, outcome: &Outcome) {
    for change in accepted.message.states(outcome) {
        tokio::time::sleep(shared.config.pace).await;
        let wanted = !outcome.has_no_callbacks() && accepted.message.wants(&change);
        shared.report(accepted, &change, wanted).await;
        let is_answered = change.status == "in-progress" && !outcome.has_no_callbacks();
        if is_answered && !matches!(outcome, Outcome::Machine | Outcome::NoKey) {
            shared.press_key(accepted).await;
        }
    }
}
