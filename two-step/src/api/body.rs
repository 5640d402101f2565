//! Reads JSON bodies, strictly.

use axum::body::Body;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Bytes of a body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Reads a body. The error names the field where one is known.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Problem::too_big())?;
    serde_json::from_slice(&bytes).map_err(|e| {
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

/// An empty body counts as `{}`.
pub(super) async fn read_or_default<T: DeserializeOwned + Default>(body: Body) -> Result<T, Problem> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Problem::too_big())?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    read(Body::from(bytes)).await
}
