//! Acts of a sender on an existing dispatch: report whether the code was verified, request the next step, cancel.

use schemars::JsonSchema;
use uuid::Uuid;

use super::job::BadMessage;
use super::job::fields::{Fields, name, required, shown, uuid};
use super::job::shape::{Address, closed};
use crate::domain::dispatch::bounds;
use crate::domain::json::without_byte_order_mark;
use crate::domain::words::words;

words! {
    /// The kind of an act, named by its routing key and its HTTP path.
    Verb {
        /// The sender reports whether the code was verified.
        Feedback = "feedback",
        /// Begin the next step at once: "call me instead".
        Next = "next",
        /// Make no further request.
        Cancel = "cancel",
    }
}

/// An act with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActKind {
    /// Report whether the code was verified.
    Feedback {
        /// Whether the code was right. If it was, no further request is made.
        verified: bool,
    },
    /// Begin the next step at once.
    Next {
        /// The step to leave, counted from 1. If it was left before, the act has no effect.
        step: Option<u8>,
    },
    /// Make no further request.
    Cancel,
}

impl ActKind {
    /// Returns the label for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Feedback { verified: true } => "verified",
            Self::Feedback { verified: false } => "not_verified",
            Self::Next { .. } => "next",
            Self::Cancel => "cancel",
        }
    }
}

/// An act on a dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The tenant that owns the dispatch.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The act.
    pub kind: ActKind,
}

impl Act {
    /// Parses an act strictly. Over HTTP, `http_target` is the tenant and the id of the request, and an empty body counts as an empty object.
    pub fn decode(verb: Verb, body: &[u8], http_target: Option<(&str, Uuid)>) -> Result<Self, BadMessage> {
        let body = without_byte_order_mark(body);
        let body = if body.is_empty() && http_target.is_some() { b"{}" } else { body };
        let Fields(mut fields) = Fields::read(body)?;
        let mut take = |name: &str| fields.remove(name).filter(|v| !v.is_null());
        let (tenant, id) = if let Some((tenant, id)) = http_target {
            (tenant.to_owned(), id)
        } else {
            let tenant = take("tenant").map(|v| name("tenant", &v)).transpose()?;
            (tenant.unwrap_or_else(|| "default".to_owned()), uuid("id", &required("id", take("id"))?)?)
        };
        let kind = match verb {
            Verb::Cancel => ActKind::Cancel,
            Verb::Feedback => {
                let verified = required("verified", take("verified"))?;
                let wrong = || BadMessage::new("verified", "must be true or false");
                ActKind::Feedback { verified: verified.as_bool().ok_or_else(wrong)? }
            }
            Verb::Next => {
                let wrong = || BadMessage::new("step", "must be a whole number from 1 to 4");
                let step = take("step").map(|v| {
                    v.as_u64().filter(|s| (1..=u64::from(bounds::MAX_STEPS)).contains(s)).ok_or_else(wrong)
                });
                ActKind::Next { step: step.transpose()?.map(|s| s as u8) }
            }
        };
        match fields.keys().find(|n| !n.starts_with("x_")) {
            Some(left) => Err(BadMessage::new(shown(left), format!("is not a field of {verb}"))),
            None => Ok(Self { tenant, id, kind }),
        }
    }
}

/// Reports whether the recipient entered the right code.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "FeedbackBody", transform = closed, example = serde_json::json!({"verified": true}))]
pub struct FeedbackBody {
    /// Whether the code was right. If it was, no further request is made. `false` is only counted.
    pub verified: bool,
}

/// Requests the next step of the plan at once: "call me instead".
#[derive(Debug, JsonSchema)]
#[schemars(rename = "NextBody", transform = closed, example = serde_json::json!({"step": 1}), example = serde_json::json!({}))]
pub struct NextBody {
    /// The step to leave, counted from 1. If it was left before, nothing happens, so a repeated request advances only once.
    #[schemars(range(min = 1, max = bounds::MAX_STEPS))]
    pub step: Option<u8>,
}

/// Requests that no further request is made to carriers. Messages that were accepted before still get their receipts.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "CancelBody", transform = closed, example = serde_json::json!({}))]
pub struct CancelBody {}

/// Feedback as a broker message: reports whether the recipient entered the right code.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Feedback", transform = closed, example = Address::example(&serde_json::json!({"verified": true})))]
pub struct FeedbackShape {
    /// The dispatch that the message is about.
    #[schemars(flatten)]
    pub address: Address,
    /// The content of the message.
    #[schemars(flatten)]
    pub body: FeedbackBody,
}

/// `next` as a broker message: requests the next step of the plan at once.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Next", transform = closed, example = Address::example(&serde_json::json!({"step": 1})))]
pub struct NextShape {
    /// The dispatch that the message is about.
    #[schemars(flatten)]
    pub address: Address,
    /// The content of the message.
    #[schemars(flatten)]
    pub body: NextBody,
}

/// `cancel` as a broker message: requests that no further request is made to carriers.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Cancel", transform = closed, example = Address::example(&serde_json::json!({})))]
pub struct CancelShape {
    /// The dispatch that the message is about.
    #[schemars(flatten)]
    pub address: Address,
    /// The content of the message.
    #[schemars(flatten)]
    pub body: CancelBody,
}

#[cfg(test)]
mod tests {
    use super::{Act, ActKind, Verb};

    #[test]
    fn acts_are_read_strictly() {
        let id = "0192f0c1-2222-4333-8444-555566667777";
        let read =
            |verb, more: &str| Act::decode(verb, format!("{{\"id\":\"{id}\"{more}}}").as_bytes(), None);
        let kind = |verb, more| read(verb, more).map(|a| a.kind).map_err(|e| e.field);
        assert_eq!(kind(Verb::Cancel, ""), Ok(ActKind::Cancel));
        assert_eq!(kind(Verb::Cancel, ",\"x_own\":1"), Ok(ActKind::Cancel));
        assert_eq!(kind(Verb::Cancel, ",\"why\":1"), Err("why".to_owned()));
        assert_eq!(kind(Verb::Feedback, ",\"verified\":true"), Ok(ActKind::Feedback { verified: true }));
        assert_eq!(kind(Verb::Feedback, ""), Err("verified".to_owned()));
        assert_eq!(kind(Verb::Feedback, ",\"verified\":\"yes\""), Err("verified".to_owned()));
        assert_eq!(kind(Verb::Next, ",\"step\":2"), Ok(ActKind::Next { step: Some(2) }));
        assert_eq!(kind(Verb::Next, ",\"step\":0"), Err("step".to_owned()));
        assert_eq!(Act::decode(Verb::Next, b"{}", None).unwrap_err().field, "id");
        let ingress = Some(("shop", id.parse().unwrap()));
        for body in ["", "\u{feff}", "\u{feff}{}"] {
            assert_eq!(Act::decode(Verb::Next, body.as_bytes(), ingress).unwrap().tenant, "shop", "{body:?}");
        }
        let marked = format!("\u{feff}{{\"id\":\"{id}\"}}");
        assert_eq!(Act::decode(Verb::Cancel, marked.as_bytes(), None).unwrap().kind, ActKind::Cancel);
        assert_eq!(Act::decode(Verb::Next, b"{\"tenant\":\"other\"}", ingress).unwrap_err().field, "tenant");
    }
}
