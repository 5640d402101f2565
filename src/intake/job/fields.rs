//! Parsers of the fields of a job. Their errors name the field and the rule, never a value.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BadMessage;
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Code, Params, Plan, bounds};
use crate::domain::json;

/// A JSON object whose keys are distinct.
pub(in crate::intake) struct Fields(pub(in crate::intake) BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(key, value).is_some() {
                        return Err(de::Error::custom(DUPLICATE_FIELD));
                    }
                }
                Ok(Fields(fields))
            }
        }
        d.deserialize_map(Object)
    }
}

const DUPLICATE_FIELD: &str = "a field is given twice";

impl Fields {
    /// Reads the fields of a body.
    pub(in crate::intake) fn read(body: &[u8]) -> Result<Self, BadMessage> {
        json::parse(body).map_err(|e| read_error(&e))
    }
}

/// Converts an error of `serde_json`. Its messages quote the input; ours contain only the position.
fn read_error(e: &serde_json::Error) -> BadMessage {
    let rule = match e.classify() {
        _ if e.to_string().starts_with(DUPLICATE_FIELD) => "has a field twice".to_owned(),
        serde_json::error::Category::Data => "must be a JSON object".to_owned(),
        _ => format!("is not JSON (line {}, column {})", e.line(), e.column()),
    };
    BadMessage::new("body", rule)
}

/// Returns the name of an unknown field if it looks like a name. Other text is not repeated in errors.
pub(in crate::intake) fn shown(name: &str) -> String {
    let plain = (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { name.to_owned() } else { "(a field)".to_owned() }
}

pub(in crate::intake) fn required(field: &str, value: Option<Value>) -> Result<Value, BadMessage> {
    value.ok_or_else(|| BadMessage::new(field, "is missing"))
}

pub(in crate::intake) fn string<'v>(
    field: &str, value: &'v Value, longest: usize,
) -> Result<&'v str, BadMessage> {
    let text = value.as_str().ok_or_else(|| BadMessage::new(field, "must be a string"))?;
    if text.is_empty() || text.chars().count() > longest {
        return Err(BadMessage::new(field, format!("must have 1 to {longest} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(BadMessage::new(field, "must not hold control characters"));
    }
    Ok(text)
}

pub(in crate::intake) fn string_of(
    field: &str, value: &Value, longest: usize,
) -> Result<Zeroizing<String>, BadMessage> {
    string(field, value, longest).map(|s| Zeroizing::new(s.to_owned()))
}

pub(in crate::intake) fn name(field: &str, value: &Value) -> Result<String, BadMessage> {
    let text = string(field, value, bounds::MAX_NAME_CHARS)?;
    if bounds::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(BadMessage::new(field, "must be of a-z, 0-9, - and _"))
    }
}

pub(in crate::intake) fn uuid(field: &str, value: &Value) -> Result<Uuid, BadMessage> {
    let bad = || BadMessage::new(field, "must be a UUID");
    string(field, value, 64).map_err(|_| bad())?.parse().map_err(|_| bad())
}

pub(in crate::intake) fn time(field: &str, value: &Value) -> Result<Timestamp, BadMessage> {
    let bad =
        || BadMessage::new(field, "must be an RFC 3339 time with its offset, such as 2026-01-31T12:00:00Z");
    let t: Timestamp = string(field, value, 64).map_err(|_| bad())?.parse().map_err(|_| bad())?;
    Ok(crate::domain::clock::whole_micros(t))
}

pub(in crate::intake) fn read_code(value: &Value) -> Result<Code, BadMessage> {
    Code::parse(&string_of("code", value, 64)?).map_err(|e| BadMessage::new("code", e.to_string()))
}

pub(in crate::intake) fn read_plan(value: &Value) -> Result<Plan, BadMessage> {
    let not_channels = || BadMessage::new("channels", format!("must be a list of {}", Channel::names()));
    let words = value.as_array().ok_or_else(not_channels)?;
    let channels: Result<Vec<_>, _> =
        words.iter().map(|w| w.as_str().unwrap_or_default().parse()).collect::<Result<_, _>>();
    let channels = channels.map_err(|_| not_channels())?;
    Plan::try_from(channels).map_err(|e| BadMessage::new("channels", e.to_string()))
}

pub(in crate::intake) fn read_locale(value: &Value) -> Result<String, BadMessage> {
    let text = string("locale", value, bounds::MAX_LOCALE_CHARS)?;
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        // Java and gettext write pt_BR.
        Ok(text.replace('_', "-"))
    } else {
        Err(BadMessage::new("locale", "must be a BCP 47 tag, such as en-GB"))
    }
}

pub(in crate::intake) fn read_params(value: &Value) -> Result<Params, BadMessage> {
    let bad = |rule: &str| BadMessage::new("params", rule);
    let map = value.as_object().ok_or_else(|| bad("must be an object"))?;
    if map.len() > bounds::MAX_PARAMS {
        return Err(bad("may have at most 8 entries"));
    }
    for (key, value) in map {
        let named = key.len() <= bounds::MAX_PARAM_CHARS
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let short = |s: &str| {
            (1..=bounds::MAX_PARAM_CHARS).contains(&s.chars().count()) && !s.chars().any(char::is_control)
        };
        if !named {
            return Err(bad("names must have at most 32 characters of a-z, 0-9 and _"));
        }
        match key.as_str() {
            "origin" => read_origin(value)?,
            "token" => read_token(value)?,
            _ if value.is_i64() || value.as_str().is_some_and(short) => {}
            _ => return Err(bad("must hold whole numbers or words of at most 32 characters")),
        }
    }
    Ok(map.clone().into_iter().collect())
}

/// Checks the host name of a site. Templates put it into links, and into the line that binds a code to its site for browsers.
fn read_origin(value: &Value) -> Result<(), BadMessage> {
    let label = |label: &str| {
        (1..=bounds::MAX_LABEL_CHARS).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = |host: &str| host.len() <= bounds::MAX_ORIGIN_CHARS && host.split('.').all(label);
    if value.as_str().is_some_and(fits) {
        return Ok(());
    }
    Err(BadMessage::new(
        "params.origin",
        "must be a host name, such as verify.shop.example: no scheme, no port, no dot at the end",
    ))
}

/// Checks the secret last part of a link.
fn read_token(value: &Value) -> Result<(), BadMessage> {
    let fits = |token: &str| {
        (1..=bounds::MAX_TOKEN_CHARS).contains(&token.len())
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if value.as_str().is_some_and(fits) {
        return Ok(());
    }
    Err(BadMessage::new("params.token", "must be 1 to 64 of 0-9, A-Z, a-z, - and _"))
}

pub(in crate::intake) fn read_tags(value: &Value) -> Result<BTreeMap<String, String>, BadMessage> {
    let map = value.as_object().ok_or_else(|| BadMessage::new("tags", "must be an object of strings"))?;
    if map.len() > bounds::MAX_TAGS {
        return Err(BadMessage::new("tags", "may have at most 10 pairs"));
    }
    let pair = |(key, value): (&String, &Value)| {
        if key.is_empty() || key.chars().count() > bounds::MAX_TAG_CHARS || key.chars().any(char::is_control)
        {
            return Err(BadMessage::new(
                "tags",
                "must have names of 1 to 128 characters, without control characters",
            ));
        }
        Ok((key.clone(), string("tags", value, bounds::MAX_TAG_CHARS)?.to_owned()))
    };
    map.iter().map(pair).collect()
}
