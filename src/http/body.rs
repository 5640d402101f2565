//! Reads request bodies of limited size. A longer body is read to its end within bounds and discarded, because a client reads
//! the answer only after it has sent its body.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use futures_util::StreamExt;

use super::problem::{Problem, ProblemKind};

/// Maximum size of an accepted body in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Maximum number of bytes read. The connection is closed after it.
const MAX_READ_BYTES: usize = 32 * 1024 * 1024;

/// The body of a request, at most 64 KiB.
pub(super) struct Payload(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request.into_body()).await.map(Self)
    }
}

/// Reads a whole body.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    let (mut kept, mut length, mut chunks) = (vec![], 0, body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| broken_off())?;
        length += chunk.len();
        if length > MAX_READ_BYTES {
            break;
        }
        if length <= MAX_BODY_BYTES {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > MAX_BODY_BYTES { Err(too_large()) } else { Ok(kept.into()) }
}

/// The problems that a request with a body may be answered with.
pub(super) fn problems() -> [Problem; 2] {
    [broken_off(), too_large()]
}

fn broken_off() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, ProblemKind::Unreadable, "the body is incomplete")
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ProblemKind::TooLarge, "the body is larger than 64 KiB")
}
