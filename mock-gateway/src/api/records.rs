//! `GET /api/requests` and `GET /api/accepted`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::choice::digits;
use crate::record::{List, Page};
use crate::shared::Shared;

/// Default and maximum number of entries in one answer.
const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    /// Only entries with a higher number.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    /// Only entries to this number.
    to: Option<String>,
}

pub(super) async fn requests(State(shared): State<Arc<Shared>>, Query(piece): Query<Piece>) -> Json<Page> {
    Json(read(&shared, List::Requests, &piece))
}

pub(super) async fn accepted(State(shared): State<Arc<Shared>>, Query(piece): Query<Piece>) -> Json<Page> {
    Json(read(&shared, List::Accepted, &piece))
}

fn read(shared: &Shared, list: List, piece: &Piece) -> Page {
    let limit = piece.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let wanted = piece.to.as_deref().map(digits);
    shared.record.after(list, piece.after, limit, |request| {
        // Only digits are compared, because a plus in a query string arrives as a space.
        wanted.as_ref().is_none_or(|wanted| request.to.as_deref().is_some_and(|to| digits(to) == *wanted))
    })
}
