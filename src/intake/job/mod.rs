//! Jobs of producers, parsed strictly. Errors name the field and the rule, never a value.

pub(super) mod fields;
pub(super) mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::clock::between;
use crate::domain::dispatch::{Code, DEFAULT_TEMPLATE, Kind, Metadata, Params, PhoneNumber, Plan, bounds};
use crate::seal::Keys;
use fields::{
    Fields, name, read_code, read_locale, read_params, read_plan, read_tags, required, shown, string,
    string_of, time, uuid,
};

/// Maximum life of a code.
const MAX_LIFE: Duration = Duration::from_secs(3600);
/// Tolerated clock difference between two machines.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// Why a message is not a valid job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct BadMessage {
    /// Path of the field (`to`, `params.origin`), or `body` for the whole message.
    pub field: String,
    /// The rule that the field breaks.
    pub rule: String,
}

impl BadMessage {
    /// Creates an error from a field and the rule that it breaks.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}

/// The caller's key for one sign-in. Of two jobs with the same key, the one that was issued later wins.
#[derive(Clone, PartialEq, Eq)]
pub struct Supersedes {
    /// The caller's key. Only its hash is stored.
    pub key: String,
    /// When the caller created the code.
    pub issued_at: Timestamp,
}

/// A parsed and validated job with its secret part opened.
#[derive(Clone)]
pub struct Job {
    /// The tenant that owns the job.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The recipient's number.
    pub to: PhoneNumber,
    /// The metadata of that number.
    pub metadata: Metadata,
    /// The code; `None` for a notice.
    pub code: Option<Code>,
    /// When the code or the notice expires.
    pub expires_at: Timestamp,
    /// The channels, in order.
    pub plan: Plan,
    /// Seconds from a step's first begin until the next step is tried, or from the step's start, if it found no carrier with
    /// room. 0 disables the fallback.
    pub fallback_after_s: u32,
    /// The template's name.
    pub template: String,
    /// The requested language, if any.
    pub locale: Option<String>,
    /// Values for the template.
    pub params: Params,
    /// The sign-in that the job belongs to, if any.
    pub supersedes: Option<Supersedes>,
    /// The IP address of the person who signs in. Personal data.
    pub client_ip: Option<IpAddr>,
    /// Tags, returned in events as the producer wrote them.
    pub tags: BTreeMap<String, String>,
    /// Whether the job arrived sealed.
    pub was_sealed: bool,
    /// Hash of all fields that make two jobs equal; `expires_at` is excluded.
    pub content: String,
}

impl fmt::Debug for Job {
    /// Prints tenant and id only, because the other fields are secret or personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("tenant", &self.tenant).field("id", &self.id).finish_non_exhaustive()
    }
}

/// The fields that may be sealed.
const SECRET_FIELDS: [&str; 4] = ["to", "code", "params", "client_ip"];

/// Parses the opened seal of a job: its secret fields, in the order of [`SECRET_FIELDS`].
fn read_sealed_fields(plain: &[u8]) -> Result<[Option<serde_json::Value>; 4], BadMessage> {
    let not_object = |_| BadMessage::new("sealed", "must hold a JSON object");
    let Fields(mut fields) = crate::domain::json::parse(plain).map_err(not_object)?;
    let secret = SECRET_FIELDS.map(|n| fields.remove(n).filter(|v| !v.is_null()));
    match fields.keys().find(|n| !n.starts_with("x_")) {
        Some(left) => Err(BadMessage::new("sealed", format!("holds an unknown field ({})", shown(left)))),
        None => Ok(secret),
    }
}

impl Job {
    /// Returns whether the job is for a code or for a notice.
    pub fn kind(&self) -> Kind {
        Kind::of(self.code.as_ref())
    }

    /// Parses a job. `tenant` is the tenant of the bearer key over HTTP. Over AMQP it is `None`, and the job's own field counts.
    pub fn decode(
        body: &[u8], tenant: Option<&str>, keys: &Keys, now: Timestamp,
    ) -> Result<Self, BadMessage> {
        let Fields(mut fields) = Fields::read(body)?;
        let mut take = |name: &str| fields.remove(name).filter(|v| !v.is_null());

        let named = take("tenant").map(|v| name("tenant", &v)).transpose()?;
        let tenant = match (tenant, named) {
            (Some(of_key), Some(own)) if of_key != own => {
                return Err(BadMessage::new("tenant", "is not the tenant of this key"));
            }
            (Some(of_key), _) => of_key.to_owned(),
            (None, own) => own.unwrap_or_else(|| "default".to_owned()),
        };
        let id = uuid("id", &required("id", take("id"))?)?;
        let expires_at = time("expires_at", &required("expires_at", take("expires_at"))?)?;
        if between(now, expires_at) > MAX_LIFE + CLOCK_TOLERANCE {
            return Err(BadMessage::new("expires_at", "may be at most 1 h ahead"));
        }

        let mut secret = SECRET_FIELDS.map(&mut take);
        let sealed = take("sealed");
        let was_sealed = sealed.is_some();
        if let Some(sealed) = sealed {
            if secret.iter().any(Option::is_some) {
                let rule = "must not be combined with to, code, params or client_ip";
                return Err(BadMessage::new("sealed", rule));
            }
            let sealed = string("sealed", &sealed, bounds::MAX_SEALED_CHARS)?;
            let plain = keys
                .open_job(&tenant, id, expires_at, sealed)
                .map_err(|e| BadMessage::new("sealed", e.to_string()))?;
            secret = read_sealed_fields(&plain)?;
        }
        let [to, code, params, client_ip] = secret;
        let template = take("template")
            .map(|v| name("template", &v))
            .transpose()?
            .unwrap_or_else(|| DEFAULT_TEMPLATE.to_owned());

        let to = string_of("to", &required("to", to)?, 32)?;
        let to = PhoneNumber::parse(&to).map_err(|e| BadMessage::new("to", e.to_string()))?;
        let code = code.map(|v| read_code(&v)).transpose()?;
        // `Admitter::decode` checks whether another template uses the code, because the templates are known there.
        if code.is_none() && template == DEFAULT_TEMPLATE {
            return Err(BadMessage::new("code", "is missing"));
        }
        let params = params.map(|v| read_params(&v)).transpose()?.unwrap_or_default();
        let client_ip = client_ip
            .map(|v| {
                string("client_ip", &v, 64)?
                    .parse()
                    .map_err(|_| BadMessage::new("client_ip", "must be an IP address"))
            })
            .transpose()?;

        let plan = match take("channels") {
            None => Plan::default(),
            Some(v) => read_plan(&v)?,
        };
        let fallback_after_s = match take("fallback_after_s") {
            None => 30,
            Some(v) => v
                .as_u64()
                .and_then(|s| u32::try_from(s).ok())
                .filter(|s| *s <= bounds::MAX_FALLBACK_S)
                .ok_or_else(|| {
                    BadMessage::new("fallback_after_s", "must be a whole number from 0 to 3600")
                })?,
        };
        let locale = take("locale").map(|v| read_locale(&v)).transpose()?;
        let supersedes = match (take("supersedes"), take("issued_at")) {
            (None, None) => None,
            (Some(key), Some(at)) => Some(Supersedes {
                key: string("supersedes", &key, bounds::MAX_SUPERSEDES_CHARS)?.to_owned(),
                issued_at: time("issued_at", &at)?,
            }),
            _ => {
                return Err(BadMessage::new("supersedes", "must come with issued_at"));
            }
        };
        let tags = take("tags").map(|v| read_tags(&v)).transpose()?.unwrap_or_default();
        if let Some(left) = fields.keys().find(|n| !n.starts_with("x_")) {
            return Err(BadMessage::new(
                shown(left),
                "is not a field of a job (names of your own fields begin with x_)",
            ));
        }

        let mut job = Self {
            tenant,
            id,
            metadata: to.metadata(),
            to,
            code,
            expires_at,
            plan,
            fallback_after_s,
            template,
            locale,
            params,
            supersedes,
            client_ip,
            tags,
            was_sealed,
            content: String::new(),
        };
        job.content = job.content_hash(keys);
        Ok(job)
    }

    /// Returns the keyed hash of all fields, unsealed. `expires_at` is excluded, because the first expiry stays.
    fn content_hash(&self, keys: &Keys) -> String {
        let (issued, key) =
            self.supersedes.as_ref().map_or((String::new(), ""), |s| (s.issued_at.to_string(), &s.key));
        keys.content(&[
            self.to.expose(),
            self.code.as_ref().map_or("", Code::expose),
            &json(&self.plan),
            &self.fallback_after_s.to_string(),
            &self.template,
            self.locale.as_deref().unwrap_or(""),
            &json(&self.params),
            key,
            &issued,
            &self.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            &json(&self.tags),
        ])
    }
}

/// Returns the JSON text of a part of a job.
fn json<T: Serialize>(part: &T) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string(part).expect("maps with text keys always serialise"))
}
