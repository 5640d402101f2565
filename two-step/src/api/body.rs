//! Parses JSON bodies strictly.

use axum::body::{Body, Bytes};
use otpost::domain::json::without_byte_order_mark;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::body::{self, Refused};

type PathError = serde_path_to_error::Error<serde_json::Error>;

/// Maximum size of a body in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The problems of a request with a body.
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

/// Reads a JSON body. The error names the field if it is known.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    parse(&bytes(body).await?)
}

/// An empty body counts as `{}`.
pub(super) async fn read_or_default<T: DeserializeOwned + Default>(body: Body) -> Result<T, Problem> {
    let bytes = bytes(body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(without_byte_order_mark(bytes));
    let read = serde_path_to_error::deserialize(&mut json);
    read.and_then(|value| json.end().map(|()| value).map_err(at_the_end)).map_err(|e| problem(&e))
}

fn at_the_end(e: serde_json::Error) -> PathError {
    let nowhere = serde_path_to_error::Track::new().path();
    serde_path_to_error::Error::new(nowhere, e)
}

/// Names the field if it is known. The error does not repeat names or values of the request.
fn problem(e: &PathError) -> Problem {
    let (path, inner) = (e.path().to_string(), e.inner());
    let text = inner.to_string();
    // The place of a field is not known if another field says what kind of body it is.
    let place = match inner.line() {
        0 => String::new(),
        line => format!(" (line {line}, column {})", inner.column()),
    };
    let named = text.split('`').nth(1).filter(|_| text.contains(" field `"));
    match named {
        Some(field) if text.starts_with("missing") => Problem::invalid(field, "is missing"),
        Some(_) if text.starts_with("unknown") => {
            let known = text.split_once(", expected ").map_or("none", |(_, known)| known);
            let known = known.split(" at line ").next().unwrap_or(known);
            Problem::invalid("body", &format!("has an unknown field{place}; known: {known}"))
        }
        Some(field) if text.starts_with("duplicate") => Problem::invalid(field, "is given twice"),
        _ if inner.is_data() && path.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Problem::invalid(path, &format!("has the wrong type or format{place}"))
        }
        _ if inner.is_data() => {
            Problem::invalid("body", &format!("has a value of the wrong type or format{place}"))
        }
        _ => Problem::invalid("body", &format!("is not JSON{place}")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_byte_order_mark_before_a_body_is_ignored() {
        let read = |body: &str| parse::<serde_json::Value>(body.as_bytes()).ok();
        assert_eq!(read("\u{feff}{}"), read("{}"));
        assert!(read("{}").is_some() && read("\u{feff}").is_none());
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    enum Tagged {
        Phone {
            #[expect(dead_code, reason = "only its name is needed")]
            target: String,
        },
    }

    #[test]
    fn a_place_that_is_not_known_is_left_out() {
        let told = |body: &str| format!("{:?}", parse::<Tagged>(body.as_bytes()).expect_err(body));
        let unknown = told(r#"{"kind": "phone", "number": "1"}"#);
        assert!(unknown.contains("has an unknown field; known: `target`"), "{unknown}");
        let broken = told("{\"kind\": ");
        assert!(broken.contains("(line 1, column"), "{broken}");
    }
}
