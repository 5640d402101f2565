//! Reads JSON bodies, strictly: up to a cap into memory. A longer one is read to its end and dropped, within bounds, so that
//! its sender is there to read the answer.

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Bytes of a body.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Bytes that are listened to; above, the connection is closed.
const MAX_HEARD_BYTES: usize = 32 * 1024 * 1024;

/// Problems that a request with a body can get.
pub(super) fn problems() -> Vec<Problem> {
    vec![Problem::broken_off(), Problem::too_big(), Problem::invalid("user", "is missing")]
}

/// Reads a body.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    let (mut kept, mut length, mut chunks) = (vec![], 0, body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::broken_off())?;
        length += chunk.len();
        if length > MAX_HEARD_BYTES {
            break;
        }
        if length <= MAX_BODY_BYTES {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > MAX_BODY_BYTES { Err(Problem::too_big()) } else { Ok(kept.into()) }
}

/// Reads a body of JSON. The error names the field where one is known.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    parse(&bytes(body).await?)
}

/// An empty body counts as `{}`.
pub(super) async fn read_or_default<T: DeserializeOwned + Default>(body: Body) -> Result<T, Problem> {
    let bytes = bytes(body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        let text = e.to_string();
        let named = text.split('`').nth(1).filter(|_| text.contains(" field `"));
        match named {
            Some(field) if text.starts_with("missing") => Problem::invalid(field, "is missing"),
            Some(_) if text.starts_with("unknown") => {
                Problem::invalid("body", "has a field that is not known")
            }
            Some(field) => Problem::invalid(field, "stands twice"),
            None if e.is_data() => Problem::invalid(
                "body",
                &format!("has a value of a wrong form (line {}, column {})", e.line(), e.column()),
            ),
            None => {
                Problem::invalid("body", &format!("is not JSON (line {}, column {})", e.line(), e.column()))
            }
        }
    })
}
