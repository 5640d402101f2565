//! The fields of a job, one reader each. Their errors name the field and the rule, never a value.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{BadMessage, Params};
use crate::dispatch::{Code, Plan};

/// How much a field may hold at most. The schema beside (`shape`) tells the same.
pub(in crate::dispatch) mod most {
    /// Characters of a name: a tenant's, a template's.
    pub(in crate::dispatch) const NAME: usize = 64;
    /// Characters of a locale: BCP 47 asks readers for no more.
    pub(in crate::dispatch) const LOCALE: usize = 35;
    /// Characters of what is sealed.
    pub(in crate::dispatch) const SEALED: usize = 8192;
    /// Characters of a caller's key for one sign-in.
    pub(in crate::dispatch) const SUPERSEDES: usize = 64;
    /// Entries of `params`,
    pub(in crate::dispatch) const PARAMS: usize = 8;
    /// and characters of each of their names and words.
    pub(in crate::dispatch) const PARAM: usize = 32;
    /// Characters of `params.origin`, a host name,
    pub(in crate::dispatch) const ORIGIN: usize = 253;
    /// and of each of its labels (RFC 1035, 2.3.4).
    pub(in crate::dispatch) const LABEL: usize = 63;
    /// Characters of `params.token`: 32 bytes are 43 in base64url, and 64 in hexadecimal.
    pub(in crate::dispatch) const TOKEN: usize = 64;
    /// Pairs of `tags`,
    pub(in crate::dispatch) const TAGS: usize = 10;
    /// and characters of each of their sides.
    pub(in crate::dispatch) const TAG: usize = 128;
    /// Seconds until the next channel.
    pub(in crate::dispatch) const FALLBACK_S: u32 = 3600;
    /// Steps of a plan.
    pub(in crate::dispatch) const STEPS: u8 = 4;
}

/// A JSON object whose keys are distinct.
pub(in crate::dispatch) struct Fields(pub(in crate::dispatch) BTreeMap<String, Value>);

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
                        return Err(de::Error::custom(TWICE));
                    }
                }
                Ok(Fields(fields))
            }
        }
        d.deserialize_map(Object)
    }
}

const TWICE: &str = "a field stands twice";

/// `serde_json`'s messages quote what they read; ours say where.
pub(in crate::dispatch) fn read_error(e: &serde_json::Error) -> BadMessage {
    let rule = match e.classify() {
        _ if e.to_string().starts_with(TWICE) => "has a field twice".to_owned(),
        serde_json::error::Category::Data => "must be a JSON object".to_owned(),
        _ => format!("is not JSON (line {}, column {})", e.line(), e.column()),
    };
    BadMessage::new("body", rule)
}

/// An unknown field's name, if it looks like one; a stranger's text is not repeated.
pub(in crate::dispatch) fn shown(name: &str) -> String {
    let plain = (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { name.to_owned() } else { "(a field)".to_owned() }
}

pub(in crate::dispatch) fn required(field: &str, value: Option<Value>) -> Result<Value, BadMessage> {
    value.ok_or_else(|| BadMessage::new(field, "is missing"))
}

pub(in crate::dispatch) fn string<'v>(
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

pub(in crate::dispatch) fn string_of(
    field: &str, value: &Value, longest: usize,
) -> Result<Zeroizing<String>, BadMessage> {
    string(field, value, longest).map(|s| Zeroizing::new(s.to_owned()))
}

pub(in crate::dispatch) fn name(field: &str, value: &Value) -> Result<String, BadMessage> {
    let text = string(field, value, most::NAME)?;
    let fits = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
    if fits { Ok(text.to_owned()) } else { Err(BadMessage::new(field, "must be of a-z, 0-9, - and _")) }
}

pub(in crate::dispatch) fn uuid(field: &str, value: &Value) -> Result<Uuid, BadMessage> {
    let bad = || BadMessage::new(field, "must be a UUID");
    string(field, value, 64).map_err(|_| bad())?.parse().map_err(|_| bad())
}

pub(in crate::dispatch) fn time(field: &str, value: &Value) -> Result<Timestamp, BadMessage> {
    let bad =
        || BadMessage::new(field, "must be an RFC 3339 time with its offset, such as 2026-01-31T12:00:00Z");
    let t: Timestamp = string(field, value, 64).map_err(|_| bad())?.parse().map_err(|_| bad())?;
    Ok(crate::clock::whole_micros(t))
}

pub(in crate::dispatch) fn read_code(value: &Value) -> Result<Code, BadMessage> {
    Code::parse(&string_of("code", value, 64)?).map_err(|e| BadMessage::new("code", e.to_string()))
}

pub(in crate::dispatch) fn read_plan(value: &Value) -> Result<Plan, BadMessage> {
    let words =
        value.as_array().ok_or_else(|| BadMessage::new("channels", "must be a list of sms, voice"))?;
    let channels: Result<Vec<_>, _> =
        words.iter().map(|w| w.as_str().unwrap_or_default().parse()).collect::<Result<_, _>>();
    let channels = channels.map_err(|_| BadMessage::new("channels", "must be a list of sms, voice"))?;
    Plan::try_from(channels).map_err(|e| BadMessage::new("channels", e.to_string()))
}

pub(in crate::dispatch) fn read_locale(value: &Value) -> Result<String, BadMessage> {
    let text = string("locale", value, most::LOCALE)?;
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(BadMessage::new("locale", "must be a BCP 47 tag, such as en-GB"))
    }
}

pub(in crate::dispatch) fn read_params(value: &Value) -> Result<Params, BadMessage> {
    let bad = |rule: &str| BadMessage::new("params", rule);
    let map = value.as_object().ok_or_else(|| bad("must be an object"))?;
    if map.len() > most::PARAMS {
        return Err(bad("may have at most 8 entries"));
    }
    for (key, value) in map {
        let named = key.len() <= most::PARAM
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let short =
            |s: &str| (1..=most::PARAM).contains(&s.chars().count()) && !s.chars().any(char::is_control);
        if !named {
            return Err(bad("must have names of a-z, 0-9 and _, at most 32 long"));
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

/// The host name of a site. Templates put it into links, and into the line by which a browser finds the code of its site.
fn read_origin(value: &Value) -> Result<(), BadMessage> {
    let label = |label: &str| {
        (1..=most::LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = |host: &str| host.len() <= most::ORIGIN && host.split('.').all(label);
    if value.as_str().is_some_and(fits) {
        return Ok(());
    }
    Err(BadMessage::new(
        "params.origin",
        "must be a host name, such as verify.shop.example: no scheme, no port, no dot at the end",
    ))
}

/// The secret end of a link.
fn read_token(value: &Value) -> Result<(), BadMessage> {
    let fits = |token: &str| {
        (1..=most::TOKEN).contains(&token.len())
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if value.as_str().is_some_and(fits) {
        return Ok(());
    }
    Err(BadMessage::new("params.token", "must be 1 to 64 of 0-9, A-Z, a-z, - and _"))
}

pub(in crate::dispatch) fn read_tags(value: &Value) -> Result<BTreeMap<String, String>, BadMessage> {
    let map = value.as_object().ok_or_else(|| BadMessage::new("tags", "must be an object of strings"))?;
    if map.len() > most::TAGS {
        return Err(BadMessage::new("tags", "may have at most 10 pairs"));
    }
    let pair = |(key, value): (&String, &Value)| {
        if key.is_empty() || key.chars().count() > most::TAG || key.chars().any(char::is_control) {
            return Err(BadMessage::new(
                "tags",
                "must have names of 1 to 128 characters, without control characters",
            ));
        }
        Ok((key.clone(), string("tags", value, most::TAG)?.to_owned()))
    };
    map.iter().map(pair).collect()
}
