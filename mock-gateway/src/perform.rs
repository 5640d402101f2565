//! Performs the outcome of a request that was accepted: when it is answered, if at all, and what follows.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::line::Line;
use crate::outcome::Outcome;
use crate::record::{Accepted, Answer, Asked};
use crate::switchboard::Switchboard;

/// Returns when the answer may go out. For an outcome without an answer the line is cut by then, so that
/// whatever is answered goes nowhere.
pub(crate) async fn perform(
    board: &Arc<Switchboard>, line: &Line, accepted: &Arc<Accepted>, outcome: Outcome,
) {
    match outcome {
        Outcome::HangUp => {
            begin(board, accepted, outcome);
            line.cut();
        }
        Outcome::Hold { seconds } => {
            begin(board, accepted, outcome);
            board.pause(Duration::from_secs(seconds)).await;
            line.cut();
        }
        Outcome::Slow { ms } => {
            board.pause(Duration::from_millis(ms)).await;
            begin(board, accepted, outcome);
        }
        Outcome::ReceiptFirst => {
            if let Some(last) = accepted.item.course(&outcome).last() {
                let wanted = accepted.item.wants(last);
                board.while_running(board.tell(accepted, last, wanted)).await;
            }
        }
        _ => begin(board, accepted, outcome),
    }
}

/// Nothing is accepted, and nobody is told: the line is cut, and what is answered goes nowhere.
pub(crate) fn lose(board: &Switchboard, line: &Line, mut asked: Asked) -> Response {
    asked.answer = Answer::HungUp;
    board.record.asked(asked);
    line.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// Walk through the states in the background. The callbacks of one text or call go out one after the other.
fn begin(board: &Arc<Switchboard>, accepted: &Arc<Accepted>, outcome: Outcome) {
    let (board, accepted) = (Arc::clone(board), Arc::clone(accepted));
    tokio::spawn(async move {
        board.while_running(walk(&board, &accepted, &outcome)).await;
    });
}

async fn walk(board: &Switchboard, accepted: &Arc<Accepted>, outcome: &Outcome) {
    for news in accepted.item.course(outcome) {
        tokio::time::sleep(board.config.pace).await;
        let wanted = !outcome.keeps_quiet() && accepted.item.wants(&news);
        board.tell(accepted, &news, wanted).await;
    }
}
