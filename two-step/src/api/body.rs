//! Reads JSON bodies, strictly.

use axum::body::{Body, Bytes};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::body::{self, Refused};

/// Bytes of a body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Problems that a request with a body can get.
pub(super) fn problems() -> Vec<Problem> {
    vec![Problem::broken_off(), Problem::too_big(), Problem::invalid("user", "is missing")]
}

/// Reads a body.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    body::read(body, MAX_BODY_BYTES).await.map_err(|refused| match refused {
        Refused::TooBig => Problem::too_big(),
        Refused::BrokenOff => Problem::broken_off(),
    })
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
