//! JSON Schema of the jobs that `Job::decode` accepts, for the contracts. Nothing is parsed into these types.
//!
//! A field that is `null` counts as missing, so every optional field may be `null`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::domain::channel::Channel;
use crate::domain::dispatch::{DEFAULT_TEMPLATE, bounds};

/// Every accepted spelling of a UUID: with hyphens, also in braces or as a URN, and the bare digits.
const UUID: &str = concat!(
    "^([0-9a-fA-F]{32}",
    "|(urn:uuid:)?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    r"|\{[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\})$"
);
const NAME: &str = "^[a-z0-9_-]+$";
/// E.164: `+`, then 7 to 15 digits of which the first is not 0.
const NUMBER: &str = r"^\+[1-9][0-9]{6,14}$";
const CODE: &str = "^[0-9A-Za-z]{4,10}$";
const LOCALE: &str = "^[0-9A-Za-z_-]+$";
const SEALED: &str = r"^v1\.[a-z0-9-]{1,16}\.[0-9A-Za-z_-]+$";
/// Text without control characters.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
const PARAM: &str = "^[a-z0-9_]*$";
/// Labels of 1 to 63 letters, digits and inner hyphens, with dots between them (RFC 1035, 2.3.1; RFC 1123, 2.1).
const HOST: &str =
    r"^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?)*$";
const TOKEN: &str = "^[0-9A-Za-z_-]+$";

/// An order to deliver one code or one notice to one number before a time. Tenant and `id` are the idempotency key: the same id
/// with the same content is never sent twice. A job contains either `to` and `code`, or `sealed`. A job for a notice has no `code`,
/// because its template does not use one. A field that is null counts as missing.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Job", transform = closed, transform = plain_or_sealed, transform = together)]
#[schemars(example = JobShape::plain(), example = JobShape::sealed(), example = JobShape::notice())]
pub struct JobShape {
    /// Your id of the dispatch, a UUID. Use the same id when you send the same job again.
    #[schemars(regex(pattern = UUID))]
    pub id: String,
    /// The tenant that owns the job. Over HTTP it is the tenant of the key, and may be omitted.
    #[schemars(length(min = 1, max = bounds::MAX_NAME_CHARS), regex(pattern = NAME), extend("default" = "default"))]
    pub tenant: Option<String>,
    /// The number in E.164, in the spelling of its numbering plan.
    #[schemars(regex(pattern = NUMBER))]
    pub to: Option<String>,
    /// The code. Required if the template uses it, as the default template `code` does. Refused if the template is a notice, which
    /// does not use it. Only the server knows its templates, so this schema accepts a job without a code for every other template.
    #[schemars(regex(pattern = CODE))]
    pub code: Option<String>,
    /// `to`, `code` (not for a notice), `params` and `client_ip` as one JSON object, sealed with the tenant's key:
    /// `v1.<key id>.<base64url of nonce and ciphertext>`, XChaCha20-Poly1305, bound to tenant, id and expiry.
    #[schemars(length(min = 1, max = bounds::MAX_SEALED_CHARS), regex(pattern = SEALED))]
    pub sealed: Option<String>,
    /// When the code or the notice expires, RFC 3339. At most 1 h and at least 10 s ahead.
    pub expires_at: Timestamp,
    /// The plan: the channels in order, each at most twice.
    #[schemars(length(min = 1, max = bounds::MAX_STEPS), extend("allOf" = each_at_most_twice(), "default" = ["sms"]))]
    pub channels: Option<Vec<Channel>>,
    /// Seconds until the next channel is tried, if no receipt says `delivered`. They count from a step's first request, or from
    /// the step's start, if it found no carrier with room. 0 disables this fallback: the next channel is tried only after a
    /// failure or by `next`.
    #[schemars(range(max = bounds::MAX_FALLBACK_S), extend("default" = 30))]
    pub fallback_after_s: Option<u32>,
    /// The name of the template. A template that does not use the code is a notice, such as `two_step_notice`.
    #[schemars(length(min = 1, max = bounds::MAX_NAME_CHARS), regex(pattern = NAME), extend("default" = "code"))]
    pub template: Option<String>,
    /// The language as a BCP 47 tag. If it is missing, the number's country decides.
    #[schemars(length(min = 1, max = bounds::MAX_LOCALE_CHARS), regex(pattern = LOCALE))]
    pub locale: Option<String>,
    /// Values for the template: whole numbers and short words. `origin` is the host name of your site. `token` is the last part of
    /// a link.
    #[schemars(extend(
        "maxProperties" = bounds::MAX_PARAMS,
        "propertyNames" = {"maxLength": bounds::MAX_PARAM_CHARS, "pattern": PARAM},
        "properties" = {
            "origin": {"type": "string", "maxLength": bounds::MAX_ORIGIN_CHARS, "pattern": HOST},
            "token": {"type": "string", "minLength": 1, "maxLength": bounds::MAX_TOKEN_CHARS, "pattern": TOKEN},
        },
        "additionalProperties" = param(),
        "default" = {}
    ))]
    pub params: Option<BTreeMap<String, Value>>,
    /// Your key for one sign-in. Of two dispatches with the same key to the same number, the one that was issued later wins,
    /// whatever the order of arrival. Requires `issued_at`.
    #[schemars(length(min = 1, max = bounds::MAX_SUPERSEDES_CHARS), regex(pattern = PLAIN))]
    pub supersedes: Option<String>,
    /// When you created the code, RFC 3339. Requires `supersedes`.
    pub issued_at: Option<Timestamp>,
    /// The IP address of the person who signs in.
    #[schemars(extend("anyOf" = [{"format": "ipv4"}, {"format": "ipv6"}, {"type": "null"}]))]
    pub client_ip: Option<String>,
    /// Tags, returned in events.
    #[schemars(extend(
        "maxProperties" = bounds::MAX_TAGS,
        "propertyNames" = tag(),
        "additionalProperties" = tag(),
        "default" = {}
    ))]
    pub tags: Option<BTreeMap<String, String>>,
}

impl JobShape {
    /// Returns an example of a plain job.
    pub fn plain() -> Value {
        json!({
            "id": "0192f0c1-2222-4333-8444-555566667777", "to": "+447700900123", "code": "481516",
            "expires_at": "2026-12-01T12:05:00Z", "channels": ["sms", "voice"], "tags": {"flow": "login"},
        })
    }

    /// Returns an example of a plain job for a notice.
    pub fn notice() -> Value {
        json!({
            "id": "0192f0c1-2222-4333-8444-555566667777", "to": "+447700900123", "expires_at": "2026-12-01T13:00:00Z",
            "template": "two_step_notice",
            "params": {
                "about": "method_added", "origin": "verify.shop.example",
                "token": "c3RvcC10aGlzLXRva2VuLWlzLTMyLWJ5dGVzLWxvbmc",
            },
        })
    }

    /// Returns an example of a sealed job: the test vector of `seal`.
    pub fn sealed() -> Value {
        json!({
            "id": "0192f0c1-2222-4333-8444-555566667777", "tenant": "shop", "expires_at": "2027-01-15T08:00:00.123Z",
            "sealed": "v1.k1.ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7KSYafgJz_4Drha5om7Jco7yCWwmMk5aSx9SjRzCwdoR7d_Mp6Y5lVemiEVAyw6\
                       H4RQYut5lA",
        })
    }
}

/// The dispatch that a broker message is about.
#[derive(Debug, JsonSchema)]
pub struct Address {
    /// The tenant that owns the dispatch.
    #[schemars(length(min = 1, max = bounds::MAX_NAME_CHARS), regex(pattern = NAME), extend("default" = "default"))]
    pub tenant: Option<String>,
    /// The sender's id of the dispatch, a UUID.
    #[schemars(regex(pattern = UUID))]
    pub id: String,
}

impl Address {
    /// Returns an example of a broker message with these fields.
    pub(in crate::intake) fn example(says: &Value) -> Value {
        let mut message = json!({"tenant": "default", "id": "0192f0c1-2222-4333-8444-555566667777"});
        for (name, value) in says.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        message
    }
}

/// Refuses unknown fields, except a sender's own, which begin with `x_`.
pub(in crate::intake) fn closed(schema: &mut Schema) {
    schema.remove("unevaluatedProperties");
    schema.insert("patternProperties".to_owned(), json!({"^x_": true}));
    schema.insert("additionalProperties".to_owned(), json!(false));
}

/// Requires the secret fields either plain or sealed, never both.
fn plain_or_sealed(schema: &mut Schema) {
    let absent = json!({"type": "null"});
    let there = json!({"type": "string"});
    let other = json!({"type": "string", "not": {"const": DEFAULT_TEMPLATE}});
    schema.insert(
        "oneOf".to_owned(),
        json!([
            {"title": "plain", "required": ["to"], "properties": {"to": there, "sealed": absent}, "anyOf": [
                {"title": "with a code", "required": ["code"], "properties": {"code": there}},
                {"title": "for a template other than the default", "required": ["template"],
                 "properties": {"template": other}},
            ]},
            {"title": "sealed", "required": ["sealed"],
             "properties": {"sealed": there, "to": absent, "code": absent, "params": absent, "client_ip": absent}},
        ]),
    );
}

/// Requires `supersedes` and `issued_at` together.
fn together(schema: &mut Schema) {
    let (absent, there) = (json!({"type": "null"}), json!({"type": "string"}));
    schema.insert(
        "anyOf".to_owned(),
        json!([
            {"properties": {"supersedes": absent, "issued_at": absent}},
            {"required": ["supersedes", "issued_at"], "properties": {"supersedes": there, "issued_at": there}},
        ]),
    );
}

fn each_at_most_twice() -> Value {
    Channel::ALL
        .iter()
        .map(|c| json!({"contains": {"const": c}, "minContains": 0, "maxContains": 2}))
        .collect()
}

/// Schema of a template value: a whole number, or a short word.
fn param() -> Value {
    json!({"oneOf": [
        {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX},
        {"type": "string", "minLength": 1, "maxLength": bounds::MAX_PARAM_CHARS, "pattern": PLAIN},
    ]})
}

/// Schema of a key or a value of `tags`.
fn tag() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": bounds::MAX_TAG_CHARS, "pattern": PLAIN})
}
