//! `Idempotency-Key`: a repeated request gets the stored answer for a day, and runs only once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::problem::Problem;
use super::{Api, body};
use crate::clock::after;
use crate::flow::FlowError;
use crate::seal::{Hashed, Sealed};
use crate::store::{Idempotent, Record, id_time, new_id_at};

/// How long an answer is stored.
const ANSWER_LIFE: Duration = Duration::from_secs(86_400);
/// Maximum run time of a request. Afterwards its outcome is unknown, and it is not run again.
const MAX_RUN_TIME: Duration = Duration::from_secs(60);
/// Maximum length of a key, in characters.
const MAX_KEY_CHARS: usize = 255;
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The header, for the contract.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "used only by the contract")]
pub(super) struct KeyParameter {
    /// Your unique name for this request. A repeated request with the same body gets the same answer for 24 hours.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        nullable = false
    )]
    idempotency_key: Option<String>,
}

/// The problems of a request with the header.
pub(super) fn problems() -> Vec<Problem> {
    vec![bad_key(), Problem::in_flight(), Problem::unknown_outcome()]
}

fn bad_key() -> Problem {
    Problem::invalid("Idempotency-Key", "must have 1 to 255 visible ASCII characters")
}

/// The stored part of an answer.
#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    status: u16,
    body: String,
}

/// Runs a request once. Only a success is stored: a refused request changed nothing, and may succeed later.
pub(super) async fn run_once(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(HEADER).cloned().filter(|_| request.method() == Method::POST)
    else {
        return next.run(request).await;
    };
    match execute(api, key, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn execute(api: Arc<Api>, key: HeaderValue, request: Request, next: Next) -> Result<Response, Problem> {
    let fits = (1..=MAX_KEY_CHARS).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if !fits {
        return Err(bad_key());
    }
    let owner = api.key(request.headers()).await?;
    let (parts, sent) = request.into_parts();
    let sent = body::bytes(sent).await?;
    let hash = |parts: &[&[u8]]| api.core.keys.hash(Hashed::Idempotency, parts);
    let mut row = Idempotent {
        key_hash: hash(&[b"key", owner.id.as_bytes(), parts.uri.path().as_bytes(), key.as_bytes()]),
        body_hash: hash(&[b"body", &sent]),
        row_id: uuid::Uuid::nil(),
        answer_sealed: None,
        expires_at: jiff::Timestamp::UNIX_EPOCH,
    };
    if let Some(known) = begin(&api, &mut row).await? {
        return known;
    }
    // In a task of its own, so that the request completes and is stored even if its client disconnects.
    let request = Request::from_parts(parts, Body::from(sent));
    let running = tokio::spawn(async move {
        let response = next.run(request).await;
        end(&api, row, response).await
    });
    running.await.unwrap_or_else(|_| Err(Problem::unavailable()))
}

/// Stores that a request is running. Returns the stored answer, if there is one.
async fn begin(api: &Api, row: &mut Idempotent) -> Result<Option<Result<Response, Problem>>, Problem> {
    let of = |e: crate::store::StoreError| Problem::from(FlowError::from(e));
    let mut tx = api.core.store.begin().await.map_err(of)?;
    let now = tx.now().await.map_err(of)?;
    (row.row_id, row.expires_at) = (new_id_at(now), after(now, ANSWER_LIFE));
    let insert = format!("{} on conflict do nothing", <Idempotent as Record>::INSERT);
    let inserted = tx.execute(&insert, &Record::values(row)).await.map_err(of)?;
    if inserted == 0 {
        let known = tx.lock::<Idempotent>(row.key_hash.clone()).await.map_err(of)?;
        match known {
            Some(known) if known.expires_at > now => return Ok(Some(answer_of(api, &known, row, now))),
            Some(_) => tx.update(row).await.map_err(of)?,
            // The row was swept between the two statements.
            None => return Ok(Some(Err(Problem::in_flight()))),
        }
    }
    tx.commit().await.map_err(of)?;
    Ok(None)
}

fn answer_of(api: &Api, known: &Idempotent, row: &Idempotent, now: Timestamp) -> Result<Response, Problem> {
    if known.body_hash != row.body_hash {
        return Err(Problem::invalid("Idempotency-Key", "was used with another body; choose a new one"));
    }
    let Some(sealed) = &known.answer_sealed else {
        let began = id_time(known.row_id);
        return Err(if after(began, MAX_RUN_TIME) > now {
            Problem::in_flight()
        } else {
            Problem::unknown_outcome()
        });
    };
    let opened = api.core.keys.open(Sealed::Answer, known.row_id, sealed).map_err(FlowError::from)?;
    let kept: StoredAnswer = serde_json::from_slice(&opened).map_err(|_| Problem::unavailable())?;
    let status = StatusCode::from_u16(kept.status).map_err(|_| Problem::unavailable())?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], kept.body).into_response())
}

/// Stores the answer of a successful request, or deletes the row of any other.
async fn end(api: &Api, row: Idempotent, response: Response) -> Result<Response, Problem> {
    let of = |e: crate::store::StoreError| Problem::from(FlowError::from(e));
    let (parts, answer) = response.into_parts();
    let answer: Bytes = axum::body::to_bytes(answer, usize::MAX).await.map_err(|_| Problem::unavailable())?;
    let mut tx = api.core.store.begin().await.map_err(of)?;
    let known = tx.lock::<Idempotent>(row.key_hash.clone()).await.map_err(of)?;
    if let Some(mut known) = known.filter(|k| k.row_id == row.row_id) {
        if parts.status.is_success() {
            let kept = StoredAnswer {
                status: parts.status.as_u16(),
                body: String::from_utf8_lossy(&answer).into_owned(),
            };
            let text = zeroize::Zeroizing::new(serde_json::to_vec(&kept).unwrap_or_default());
            known.answer_sealed = Some(api.core.keys.seal(Sealed::Answer, known.row_id, &text));
            known.expires_at = after(tx.now().await.map_err(of)?, ANSWER_LIFE);
            tx.update(&known).await.map_err(of)?;
        } else {
            tx.delete::<Idempotent>(known.key_hash).await.map_err(of)?;
        }
        tx.commit().await.map_err(of)?;
    }
    Ok(Response::from_parts(parts, Body::from(answer)))
}
