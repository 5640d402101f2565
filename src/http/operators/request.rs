//! Bodies of requests of operators, and the rules of their fields. An error never quotes a value.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::dispatch::{Country, NumberCheck, PhoneNumber};
use crate::domain::json::without_byte_order_mark;
use crate::http::body;
use crate::http::problem::{Problem, ProblemKind};
use crate::intake::BadMessage;

/// Maximum number of characters of a reason.
const MAX_REASON_CHARS: usize = 200;
/// The longest pause or block: a year.
const MAX_SECONDS: u64 = 366 * 86_400;

/// A JSON body.
pub(super) trait Body: DeserializeOwned {
    /// Its fields, for the error of a body that does not fit.
    const FIELDS: &'static str;
}

/// The body of a request that needs nothing but may say why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct WhyBody {
    /// Why; for the audit.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
}

impl Body for WhyBody {
    const FIELDS: &'static str = "reason (a text, optional)";
}

impl WhyBody {
    pub(super) fn reason(&self) -> Result<Option<&str>, Problem> {
        maybe_reason(self.reason.as_deref())
    }
}

/// Reads a body. An empty one counts as one without fields.
pub(super) fn read<T: Body>(body: &[u8]) -> Result<T, Problem> {
    let body = without_byte_order_mark(body);
    let body = if body.is_empty() { b"{}" } else { body };
    // Through a map, because serde also reads a struct from a JSON array.
    let map: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| bad("body", "must be a JSON object"))?;
    serde_json::from_value(map.into()).map_err(|_| bad_fields::<T>())
}

/// The problems that a request with this body may be answered with.
pub(super) fn problems<T: Body>() -> Vec<Problem> {
    let mut all = body::problems().to_vec();
    all.extend([bad("body", "must be a JSON object"), bad_fields::<T>()]);
    all
}

fn bad_fields<T: Body>() -> Problem {
    let detail = format!("the fields are: {}; one is unknown, missing or of another form", T::FIELDS);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ProblemKind::Invalid, detail)
}

/// A field violates a rule.
pub(super) fn bad(field: &str, rule: &str) -> Problem {
    Problem::invalid(ProblemKind::Invalid, BadMessage::new(field, rule))
}

/// Checks a reason.
pub(super) fn reason(text: &str) -> Result<&str, Problem> {
    // As in the schema of the API, spaces around it count towards its length.
    let short = text.chars().count() <= MAX_REASON_CHARS;
    let text = text.trim();
    let fits = short && !text.is_empty() && !text.chars().any(char::is_control);
    if !fits {
        return Err(bad("reason", "must be a text of one line, of 1 to 200 characters"));
    }
    if has_number(text) { Err(bad("reason", "must not contain a phone number")) } else { Ok(text) }
}

/// Whether a text has seven digits in a row, with or without spaces, dashes and brackets between them.
fn has_number(text: &str) -> bool {
    let mut digits = 0;
    text.chars().any(|c| {
        digits = match c {
            c if c.is_ascii_digit() => digits + 1,
            ' ' | '-' | '(' | ')' | '/' | '.' => digits,
            _ => 0,
        };
        digits >= 7
    })
}

/// Checks a reason that may be missing.
pub(super) fn maybe_reason(text: Option<&str>) -> Result<Option<&str>, Problem> {
    text.map(reason).transpose()
}

/// Checks a number of seconds.
pub(super) fn duration(seconds: Option<u64>) -> Result<Option<Duration>, Problem> {
    match seconds {
        Some(s) if !(1..=MAX_SECONDS).contains(&s) => Err(bad("for_s", "must be 1 to 31622400 seconds")),
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

/// Checks the code of a country.
pub(super) fn country(code: String) -> Result<Country, Problem> {
    Country::try_from(code).map_err(|e| bad("country", &e.to_string()))
}

/// Checks a number. A spelling that is not possible is refused: no job has it, so an act on it would do nothing.
pub(super) fn number(text: &str) -> Result<PhoneNumber, Problem> {
    let number = PhoneNumber::parse(text).map_err(|e| bad("number", &e.to_string()))?;
    match number.metadata().problem(NumberCheck::Possible) {
        Some(problem) => Err(bad("number", &problem.to_string())),
        None => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::{WhyBody, read};

    #[test]
    fn a_byte_order_mark_before_a_body_is_ignored() {
        let reason = |body: &str| {
            let body = read::<WhyBody>(body.as_bytes()).ok()?;
            body.reason().ok()?.map(str::to_owned)
        };
        assert_eq!(reason("{\"reason\":\"drill\"}").as_deref(), Some("drill"));
        assert_eq!(reason("\u{feff}{\"reason\":\"drill\"}").as_deref(), Some("drill"));
        for body in ["", "\u{feff}", "\u{feff}{}"] {
            assert!(read::<WhyBody>(body.as_bytes()).is_ok(), "{body:?}");
        }
        assert!(read::<WhyBody>("\u{feff}[]".as_bytes()).is_err());
    }
}
