//! From a message at a door to a job that may ask the ledger in: read, checked against policy, sealed, hashed.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::domain::attempt::{Reason, State};
use crate::domain::channel::Channel;
use crate::domain::clock::between;
use crate::domain::decide::MIN_LIFE;
use crate::domain::dispatch::Words;
use crate::domain::dispatch::{Code, Dispatch, Kind, Order, Params, PhoneNumber};
use crate::intake::{BadMessage, Job};
use crate::ledger::{Admission, Destinations, Limit, Refusal};
use crate::messages::{Letterhead, Templates};
use crate::seal::{Keys, RowSecret, SealError};

/// Which door a job came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// A refusal becomes a final state, and is told.
    Amqp,
    /// A refusal is the answer, and the id stays free.
    Http,
}

/// What is sealed in a dispatch's row until its end.
#[derive(Serialize, Deserialize)]
struct Secret {
    /// None for a notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Zeroizing<String>>,
    #[serde(default)]
    params: Params,
}

/// What a dispatch's message is made of.
pub struct Contents {
    /// Where to.
    pub to: PhoneNumber,
    /// The code; none for a notice.
    pub code: Option<Code>,
    /// The template's values.
    pub params: Params,
}

impl Contents {
    /// Whether it is a code or a notice.
    pub fn kind(&self) -> Kind {
        Kind::of(self.code.as_ref())
    }
}

/// Reads jobs and prepares them for the ledger; opens them again for a carrier.
pub struct Admitter {
    keys: Keys,
    config: Config,
    templates: Templates,
}

impl Admitter {
    /// What all doors share.
    pub fn new(keys: Keys, config: Config, templates: Templates) -> Self {
        Self { keys, config, templates }
    }

    /// Reads a job. Its tenant, its template and its words must be there, and a code exactly where the template uses one.
    pub fn decode(&self, body: &[u8], tenant: Option<&str>, now: Timestamp) -> Result<Job, BadMessage> {
        let job = Job::decode(body, tenant, &self.keys, now)?;
        if !self.config.knows(&job.tenant) {
            return Err(BadMessage::new("tenant", "is not known here"));
        }
        if !job.was_sealed && self.config.requires_seal(&job.tenant) {
            return Err(BadMessage::new("sealed", "is required of this tenant: plain jobs are refused"));
        }
        match (self.templates.kind(&job.template), job.kind()) {
            (Some(Kind::Code), Kind::Notice) => return Err(BadMessage::new("code", "is missing")),
            (Some(Kind::Notice), Kind::Code) => {
                return Err(BadMessage::new(
                    "code",
                    "must not be there: the template is a notice, and uses no code",
                ));
            }
            _ => {}
        }
        let locale = job.locale.as_deref();
        let country = if locale.is_none() { job.to.metadata().country } else { None };
        for channel in job.plan.channels() {
            let contents = (job.code.as_ref(), &job.params);
            self.words(*channel, &job.tenant, &job.template, locale, country.as_deref(), contents, MIN_LIFE)
                .map_err(|e| BadMessage::new("template", e.to_string()))?;
        }
        Ok(job)
    }

    /// Whether a producer may speak for a tenant. `user` is the message's `user_id`, which `RabbitMQ` has checked; where
    /// no users are configured, every producer of the vhost is trusted.
    pub fn trusts(&self, user: Option<&str>, tenant: &str) -> Result<(), BadMessage> {
        if !self.config.knows(tenant) {
            return Err(BadMessage::new("tenant", "is not known here"));
        }
        let users = &self.config.amqp.users;
        if users.is_empty() {
            return Ok(());
        }
        let tenants = user.and_then(|user| users.get(user)).ok_or_else(|| {
            BadMessage::new("user_id", "must be set, to a broker user that amqp.users names")
        })?;
        let may = tenants.iter().any(|t| t == tenant);
        if may { Ok(()) } else { Err(BadMessage::new("tenant", "is not one of this broker user's tenants")) }
    }

    /// A job as it asks the ledger in, without its first begin.
    pub fn admission(
        &self, job: &Job, door: Ingress, traceparent: Option<&str>, now: Timestamp,
    ) -> Admission {
        let metadata = job.to.metadata();
        let uid = uid_at(now);
        let code = job.code.as_ref().map(|code| Zeroizing::new(code.expose().to_owned()));
        let secret = Secret { code, params: job.params.clone() };
        let secret = Zeroizing::new(serde_json::to_vec(&secret).expect("a map with text keys serialises"));
        let quota = |tenant, purpose, rules: &[crate::domain::quota::Rule]| Limit {
            key: self.keys.quota_key(tenant, purpose, &job.to),
            rules: rules.to_vec(),
        };
        let mut limits = vec![match job.kind() {
            Kind::Code => quota(Some(&job.tenant), "number", self.config.number_rules(&job.tenant)),
            Kind::Notice => quota(Some(&job.tenant), "notice", self.config.notice_rules(&job.tenant)),
        }];
        if !self.config.limits.operator.is_empty() {
            limits.push(quota(None, "operator", &self.config.limits.operator));
        }
        let refusal = if between(now, job.expires_at) < MIN_LIFE {
            Some(Refusal { state: State::Expired, reason: Reason::Life })
        } else if !metadata.passes(self.config.numbers.check) {
            Some(Refusal { state: State::Refused, reason: Reason::NumberNotPossible })
        } else if !self.serves(metadata.country.as_deref()) {
            Some(Refusal { state: State::Refused, reason: Reason::Country })
        } else {
            None
        };
        Admission {
            order: Order {
                uid,
                tenant: job.tenant.clone(),
                id: job.id,
                plan: job.plan.clone(),
                expires_at: job.expires_at,
                fallback_after_s: job.fallback_after_s,
                template: job.template.clone(),
                locale: job.locale.clone(),
                country: metadata.country,
                mask: job.to.mask(),
                number: self.keys.seal_row(RowSecret::Number, uid, job.to.expose().as_bytes()),
                tags: job.tags.clone(),
                traceparent: traceparent.filter(|t| is_trace_context(t)).map(str::to_owned),
            },
            content: job.content.clone(),
            number_key: self.keys.number_key(&job.to),
            code: self.keys.seal_row(RowSecret::Code, uid, &secret),
            limits,
            voice: None,
            refusal,
            keep_refusal: door == Ingress::Amqp,
            supersedes: job
                .supersedes
                .as_ref()
                .map(|s| (self.keys.supersedes_key(&job.tenant, &s.key, &job.to), s.issued_at)),
            attempt: None,
            snooze: None,
            destinations: self.destinations(&job.tenant),
        }
    }

    /// Whom changes of a tenant's dispatches are owed to.
    pub fn destinations(&self, tenant: &str) -> Destinations {
        let webhook = self.config.tenants.get(tenant).is_some_and(|t| t.webhook.is_some());
        Destinations { broker: self.config.amqp.url.is_some(), webhook }
    }

    /// A tenant's own sender at a carrier.
    pub fn sender(&self, tenant: &str, carrier: &str, channel: Channel) -> Option<&str> {
        self.config.sender(tenant, carrier, channel)
    }

    /// The quota of calls of a number. Calls with notices are counted apart, so that no notice takes a call from a code.
    pub fn voice_limit(&self, tenant: &str, kind: Kind, to: &PhoneNumber) -> Limit {
        let purpose = match kind {
            Kind::Code => "voice",
            Kind::Notice => "notice-voice",
        };
        let rules = self.config.voice_rules(tenant).to_vec();
        Limit { key: self.keys.quota_key(Some(tenant), purpose, to), rules }
    }

    /// Opens what a dispatch's row keeps sealed.
    pub fn open(&self, d: &Dispatch) -> Result<Contents, SealError> {
        let uid = d.order.uid;
        let number = self.keys.open_row(RowSecret::Number, uid, &d.order.number)?;
        let number = std::str::from_utf8(&number).map_err(|_| SealError::Form)?;
        let to = PhoneNumber::parse(number).map_err(|_| SealError::Form)?;
        let secret = self.keys.open_row(RowSecret::Code, uid, d.code.as_deref().ok_or(SealError::Form)?)?;
        let secret: Secret = serde_json::from_slice(&secret).map_err(|_| SealError::Form)?;
        let code = secret.code.map(|code| Code::parse(&code).map_err(|_| SealError::Form)).transpose()?;
        Ok(Contents { to, code, params: secret.params })
    }

    /// The words of a dispatch on a channel, with this much life left.
    pub fn render(
        &self, order: &Order, channel: Channel, code: Option<&Code>, params: &Params, life: Duration,
    ) -> Result<Words, crate::messages::NoWords> {
        let (locale, country) = (order.locale.as_deref(), order.country.as_deref());
        self.words(channel, &order.tenant, &order.template, locale, country, (code, params), life)
    }

    #[expect(clippy::too_many_arguments, reason = "a job and a row have these in different places")]
    fn words(
        &self, channel: Channel, tenant: &str, template: &str, locale: Option<&str>, country: Option<&str>,
        (code, params): (Option<&Code>, &Params), life: Duration,
    ) -> Result<Words, crate::messages::NoWords> {
        let brand = self.config.brand(tenant);
        self.templates.render(channel, &Letterhead { brand, template, locale, country, params, life }, code)
    }

    fn serves(&self, country: Option<&str>) -> bool {
        let listed = |list: &[String]| country.is_some_and(|c| list.iter().any(|l| l == c));
        let numbers = &self.config.numbers;
        !listed(&numbers.blocked_countries) && (numbers.countries.is_empty() || listed(&numbers.countries))
    }
}

/// A name that begins with the time: the ledger finds what is old by it, so it is the ledger's time.
fn uid_at(now: Timestamp) -> Uuid {
    let (seconds, nanos) = (now.as_second(), now.subsec_nanosecond());
    let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

/// `version-traceid-parentid-flags` in lower-case hexadecimal (W3C Trace Context, 3.2).
fn is_trace_context(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|p| p.len()).eq([2, 32, 16, 2]) && parts.iter().all(|p| hex(p))
}
