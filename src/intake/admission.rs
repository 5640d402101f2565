//! Converts a job into an admission for the ledger: parses it, checks it against the policy, and seals and hashes its values.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::config::live::Live;
use crate::domain::attempt::{Reason, State};
use crate::domain::channel::Channel;
use crate::domain::clock::between;
use crate::domain::decide::MIN_LIFE;
use crate::domain::dispatch::{
    Code, Country, Dispatch, Kind, NumberCheck, Order, Params, PhoneNumber, Plan, RenderedMessage,
};
use crate::domain::restrictions::{BlockKind, Restrictions};
use crate::intake::{BadMessage, Job};
use crate::ledger::{Admission, Destinations, Limit, OnRefusal, Refusal};
use crate::messages::{RenderInput, Templates};
use crate::seal::{Keys, RowSecret, SealError};

/// Where a job came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// From the broker. A refusal becomes a final state and is published.
    Amqp,
    /// Over HTTP. A refusal is the answer, and the id stays free.
    Http,
}

/// The sealed part of a dispatch's row, kept until the dispatch is final or expired.
#[derive(Serialize, Deserialize)]
struct Secret {
    /// `None` for a notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Zeroizing<String>>,
    #[serde(default)]
    params: Params,
}

/// The opened values from which a dispatch's message is rendered.
pub struct Contents {
    /// The recipient's number.
    pub to: PhoneNumber,
    /// The code; `None` for a notice.
    pub code: Option<Code>,
    /// Values for the template.
    pub params: Params,
}

impl Contents {
    /// Returns whether the message is a code or a notice.
    pub fn kind(&self) -> Kind {
        Kind::of(self.code.as_ref())
    }
}

/// Parses jobs and converts them into admissions. Opens the sealed values of a dispatch again.
pub struct Admitter {
    keys: Keys,
    config: Config,
    templates: Templates,
    restrictions: Live<Restrictions>,
}

impl Admitter {
    /// Creates an admitter from the keys, the configuration, the templates, and what operators have restricted.
    pub fn new(keys: Keys, config: Config, templates: Templates, restrictions: Live<Restrictions>) -> Self {
        Self { keys, config, templates, restrictions }
    }

    /// Parses a job. The tenant must be known and the template must be renderable for all channels. A code is required if the
    /// template uses one, and refused if it does not.
    pub fn decode(&self, body: &[u8], tenant: Option<&str>, now: Timestamp) -> Result<Job, BadMessage> {
        let job = Job::decode(body, tenant, &self.keys, now)?;
        if !self.config.knows(&job.tenant) {
            return Err(BadMessage::new("tenant", "is not known here"));
        }
        if !job.was_sealed && self.config.requires_seal(&job.tenant) {
            return Err(BadMessage::new("sealed", "is required for this tenant; plain jobs are refused"));
        }
        match (self.templates.kind(&job.template), job.kind()) {
            (Some(Kind::Code), Kind::Notice) => return Err(BadMessage::new("code", "is missing")),
            (Some(Kind::Notice), Kind::Code) => {
                return Err(BadMessage::new("code", "must be absent, because the template is a notice"));
            }
            _ => {}
        }
        let locale = job.locale.as_deref();
        let country = if locale.is_none() { job.metadata.country.as_deref() } else { None };
        for channel in job.plan.channels() {
            let contents = (job.code.as_ref(), &job.params);
            self.render_with(*channel, &job.tenant, &job.template, locale, country, contents, MIN_LIFE)
                .map_err(|e| BadMessage::new("template", e.to_string()))?;
        }
        Ok(job)
    }

    /// Checks whether a producer may send for a tenant. `user` is the message's `user_id`, which `RabbitMQ` has verified. If no
    /// users are configured, every producer of the vhost is trusted.
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

    /// Returns the admission of a job, without its first begin.
    pub fn admission(
        &self, job: &Job, ingress: Ingress, traceparent: Option<&str>, now: Timestamp,
    ) -> Admission {
        let metadata = &job.metadata;
        let uid = uid_at(now);
        let code = job.code.as_ref().map(|code| Zeroizing::new(code.expose().to_owned()));
        let secret = Secret { code, params: job.params.clone() };
        let secret = Zeroizing::new(serde_json::to_vec(&secret).expect("a map with text keys serialises"));
        let mut limits = vec![self.number_limit(&job.tenant, job.kind(), &job.to)];
        limits.extend(self.operator_limit(&job.to));
        let plan = self.allowed_plan(job);
        let refusal = if between(now, job.expires_at) < MIN_LIFE {
            Some(Refusal { state: State::Expired, reason: Reason::Life })
        } else if !metadata.passes(self.config.numbers.check) {
            Some(Refusal { state: State::Refused, reason: Reason::NumberNotPossible })
        } else if !self.serves(&job.to, metadata.country.as_deref()) {
            Some(Refusal { state: State::Refused, reason: Reason::Country })
        } else if plan.is_none() {
            Some(Refusal { state: State::Refused, reason: Reason::NumberKind })
        } else {
            self.block_of(job).map(|reason| Refusal { state: State::Refused, reason })
        };
        Admission {
            order: Arc::new(Order {
                uid,
                tenant: job.tenant.clone(),
                id: job.id,
                plan: plan.unwrap_or_else(|| job.plan.clone()),
                expires_at: job.expires_at,
                fallback_after_s: job.fallback_after_s,
                template: job.template.clone(),
                locale: job.locale.clone(),
                country: metadata.country.clone(),
                mask: job.to.mask(),
                number: self.keys.seal_row(RowSecret::Number, uid, job.to.expose().as_bytes()),
                tags: job.tags.clone(),
                traceparent: traceparent.filter(|t| is_trace_context(t)).map(str::to_owned),
            }),
            content: job.content.clone(),
            number_key: self.keys.number_key(&job.to),
            code: self.keys.seal_row(RowSecret::Code, uid, &secret),
            limits,
            channel_limit: None,
            refusal,
            on_refusal: match ingress {
                Ingress::Amqp => OnRefusal::StoreRow,
                Ingress::Http => OnRefusal::AnswerOnly,
            },
            supersedes: job
                .supersedes
                .as_ref()
                .map(|s| (self.keys.supersedes_key(&job.tenant, &s.key, &job.to), s.issued_at)),
            attempt: None,
            snooze: None,
            destinations: self.destinations(&job.tenant),
        }
    }

    /// Refuses a job whose message expired in a queue of RabbitMQ while its code was alive. Its sender gets an event. The id stays free,
    /// so that a replay of the dead letter can send the code.
    pub fn refuse_expired_message(&self, admission: &mut Admission) {
        let order = Arc::make_mut(&mut admission.order);
        // Without a row, nothing else makes the uid of a repeated message the same.
        order.uid = self.keys.uid_without_row(&order.tenant, order.id);
        admission.refusal = Some(Refusal { state: State::Expired, reason: Reason::ExpiredInQueue });
        admission.on_refusal = OnRefusal::PublishOnly;
    }

    /// How long a dead letter stays in `otpost.dead`.
    pub fn dead_letter_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.amqp.dead_letter_days) * 86_400)
    }

    /// The reason for which an operator's block refuses a job.
    fn block_of(&self, job: &Job) -> Option<Reason> {
        let (to, country) = (&job.to, job.metadata.country.as_deref());
        let block = self.restrictions.current().block_of(to, country, || self.keys.block_key(to))?;
        Some(match block {
            BlockKind::Number | BlockKind::Prefix => Reason::OperatorBlock,
            BlockKind::Country => Reason::Country,
        })
    }

    /// The steps of a job's plan whose channel takes this kind of number. `None` if there are none.
    fn allowed_plan(&self, job: &Job) -> Option<Plan> {
        let kinds = |channel: &Channel| {
            self.config.numbers.refused_kinds.get(channel).filter(|kinds| !kinds.is_empty())
        };
        let channels = job.plan.channels();
        let kind =
            channels.iter().any(|channel| kinds(channel).is_some()).then(|| job.metadata.kind()).flatten();
        let Some(kind) = kind else { return Some(job.plan.clone()) };
        let is_allowed = |channel: &&Channel| !kinds(channel).is_some_and(|kinds| kinds.contains(&kind));
        Plan::try_from(channels.iter().filter(is_allowed).copied().collect::<Vec<_>>()).ok()
    }

    /// How strictly numbers are checked.
    pub fn number_check(&self) -> NumberCheck {
        self.config.numbers.check
    }

    /// Returns where the events of a tenant's dispatches are published.
    pub fn destinations(&self, tenant: &str) -> Destinations {
        let webhook = self.config.tenants.get(tenant).is_some_and(|t| t.webhook.is_some());
        Destinations { broker: self.config.amqp.url.is_some(), webhook }
    }

    /// Returns the tenant's own sender at a carrier, if one is configured.
    pub fn sender(&self, tenant: &str, carrier: &str, channel: Channel) -> Option<&str> {
        self.config.sender(tenant, carrier, channel)
    }

    /// Returns the quota of a tenant for a number.
    pub fn number_limit(&self, tenant: &str, kind: Kind, to: &PhoneNumber) -> Limit {
        let (purpose, rules) = match kind {
            Kind::Code => ("number", self.config.number_rules(tenant)),
            Kind::Notice => ("notice", self.config.notice_rules(tenant)),
        };
        Limit { key: self.keys.quota_key(Some(tenant), purpose, to), rules: rules.to_vec() }
    }

    /// Returns the quota of a number over all tenants, if there is one.
    pub fn operator_limit(&self, to: &PhoneNumber) -> Option<Limit> {
        let rules = &self.config.limits.operator;
        let key = || self.keys.quota_key(None, "operator", to);
        (!rules.is_empty()).then(|| Limit { key: key(), rules: rules.clone() })
    }

    /// Returns the names of all tenants.
    pub fn tenants(&self) -> Vec<String> {
        self.config.tenants()
    }

    /// Returns the quota of a channel for a number, if the channel has one. Notices have a quota of their own, so that no notice
    /// uses up a call for a code.
    pub fn channel_limit(
        &self, tenant: &str, channel: Channel, kind: Kind, to: &PhoneNumber,
    ) -> Option<Limit> {
        let rules = self.config.channel_rules(tenant, channel)?.to_vec();
        let purpose = match kind {
            Kind::Code => channel.to_string(),
            Kind::Notice => format!("notice-{channel}"),
        };
        Some(Limit { key: self.keys.quota_key(Some(tenant), &purpose, to), rules })
    }

    /// Opens the sealed values of a dispatch's row.
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

    /// Returns whether the messages of a template contain a code. A template that is gone may have had one.
    pub fn uses_code(&self, template: &str) -> bool {
        self.templates.kind(template) != Some(Kind::Notice)
    }

    /// Returns the language of a dispatch's message in its current step.
    pub fn language(&self, d: &Dispatch) -> Option<String> {
        let (order, last) = (&d.order, d.order.plan.len() as u8);
        let channel = order.plan.step(d.step.clamp(1, last))?;
        self.templates.language(&order.template, channel, order.locale.as_deref(), order.country.as_deref())
    }

    /// Renders the message of a dispatch for a channel, with this remaining life.
    pub fn render(
        &self, order: &Order, channel: Channel, code: Option<&Code>, params: &Params, life: Duration,
    ) -> Result<RenderedMessage, crate::messages::RenderError> {
        let (locale, country) = (order.locale.as_deref(), order.country.as_deref());
        self.render_with(channel, &order.tenant, &order.template, locale, country, (code, params), life)
    }

    #[expect(clippy::too_many_arguments, reason = "a job and a row have these in different places")]
    fn render_with(
        &self, channel: Channel, tenant: &str, template: &str, locale: Option<&str>, country: Option<&str>,
        (code, params): (Option<&Code>, &Params), life: Duration,
    ) -> Result<RenderedMessage, crate::messages::RenderError> {
        let brand = self.config.brand(tenant);
        self.templates.render(channel, &RenderInput { brand, template, locale, country, params, life }, code)
    }

    /// Whether a number's country is served: that of its spelling, and that of its handset if they differ.
    fn serves(&self, to: &PhoneNumber, country: Option<&str>) -> bool {
        let numbers = &self.config.numbers;
        if numbers.blocked_countries.is_empty() && numbers.countries.is_empty() {
            return true;
        }
        let other = to.other_country();
        let listed = |list: &[Country]| {
            [country, other.as_deref()].into_iter().flatten().any(|country| {
                list.iter().any(|listed| std::borrow::Borrow::<str>::borrow(listed) == country)
            })
        };
        !listed(&numbers.blocked_countries) && (numbers.countries.is_empty() || listed(&numbers.countries))
    }
}

/// Returns a uid that begins with the ledger's time. The ledger finds old rows by it.
fn uid_at(now: Timestamp) -> Uuid {
    let (seconds, nanos) = (now.as_second(), now.subsec_nanosecond());
    let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

/// Returns whether a text is `version-traceid-parentid-flags` in lower-case hexadecimal (W3C Trace Context, 3.2).
fn is_trace_context(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|p| p.len()).eq([2, 32, 16, 2]) && parts.iter().all(|p| hex(p))
}
