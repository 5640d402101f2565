//! `GET /api/requests` and `GET /api/accepted`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::choice::digits;
use crate::record::{List, Page};
use crate::switchboard::Switchboard;

/// Entries in one answer, unless told, and at most.
const ENTRIES: usize = 1_000;
const ENTRIES_AT_MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    /// Only entries with a number above.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    /// Only entries to this number.
    to: Option<String>,
}

pub(super) async fn requests(
    State(board): State<Arc<Switchboard>>, Query(piece): Query<Piece>,
) -> Json<Page> {
    Json(read(&board, List::Asked, &piece))
}

pub(super) async fn accepted(
    State(board): State<Arc<Switchboard>>, Query(piece): Query<Piece>,
) -> Json<Page> {
    Json(read(&board, List::Accepted, &piece))
}

fn read(board: &Switchboard, list: List, piece: &Piece) -> Page {
    let limit = piece.limit.unwrap_or(ENTRIES).min(ENTRIES_AT_MOST);
    let wanted = piece.to.as_deref().map(digits);
    board.record.after(list, piece.after, limit, |asked| {
        // Numbers are compared by their digits: a plus in a query string arrives as a space.
        wanted.as_ref().is_none_or(|wanted| asked.to.as_deref().is_some_and(|to| digits(to) == *wanted))
    })
}
