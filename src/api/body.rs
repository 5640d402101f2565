//! Reads a body: up to a cap into memory; a longer one is read to its end and dropped, within bounds, so that its
//! sender is there to read the answer.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt;

use super::problem::Problem;

/// The largest body that is kept.
const CAP: usize = 64 * 1024;
/// The largest that is listened to; above, the connection is closed.
const PATIENCE: usize = 32 * 1024 * 1024;

pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    let (mut kept, mut length, mut chunks) = (vec![], 0, body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let broken =
            |_| Problem::new(StatusCode::BAD_REQUEST, "unreadable", "the body broke off before its end");
        let chunk = chunk.map_err(broken)?;
        length += chunk.len();
        if length > PATIENCE {
            break;
        }
        if length <= CAP {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > CAP {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "a body has at most 64 KiB"));
    }
    Ok(kept.into())
}
