//! Jobs of all kinds over AMQP and HTTP, published with confirms.

use std::time::Duration;

use jiff::Timestamp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection};
use otpost::domain::decide::MIN_LIFE;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::seed::Seed;
use crate::support::deployment::{amqp, seal};
use crate::support::wait;

/// A published job.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: Uuid,
    pub(crate) to: String,
    /// The number and code, which only the carrier may know.
    pub(crate) code: String,
    pub(crate) kind: Kind,
    /// The time of its publish, or of the start of its burst.
    pub(crate) at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) sign_in: Option<(String, Timestamp)>,
    /// Whether no newer code of its sign-in exists.
    pub(crate) newest: bool,
}

/// The carrier's behaviour for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Plain,
    Call,
    /// Undelivered, then a call.
    Fallback,
    Twice503,
    /// Accepted, then the connection is closed without an answer.
    HangUp,
    Throttled,
    Slow,
    /// The receipt arrives before the answer.
    ReceiptFirst,
    Landline,
    /// Published twice.
    Doubled,
    /// Two codes of one sign-in, while the carrier accepts nothing yet. The newer one may arrive first.
    Superseded,
    /// More jobs for one number than its quota admits.
    Crowd,
    /// The carrier never answers. Not in the mixture.
    Unanswered,
}

/// Characters of codes, which appear nowhere else by chance.
const CODE_CHARACTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Number of jobs of a crowd, and how many of them the default quota admits: `5/10m`.
const CROWD: usize = 7;
pub(crate) const ADMITTED: usize = 5;

/// The weights of the mixture.
const MIXTURE: &[(u64, Kind)] = &[
    (40, Kind::Plain),
    (6, Kind::Call),
    (10, Kind::Fallback),
    (8, Kind::Twice503),
    (6, Kind::HangUp),
    (5, Kind::Throttled),
    (5, Kind::Slow),
    (6, Kind::ReceiptFirst),
    (4, Kind::Landline),
    (5, Kind::Doubled),
    (5, Kind::Superseded),
    (2, Kind::Crowd),
];

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Plain,
        Self::Call,
        Self::Fallback,
        Self::Twice503,
        Self::HangUp,
        Self::Throttled,
        Self::Slow,
        Self::ReceiptFirst,
        Self::Landline,
        Self::Doubled,
        Self::Superseded,
        Self::Crowd,
    ];

    pub(crate) fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Call => &["voice"],
            Self::Fallback => &["sms", "voice"],
            _ => &["sms"],
        }
    }

    fn outcomes(self) -> Value {
        match self {
            Self::Fallback => json!(["undelivered"]),
            Self::Twice503 | Self::Superseded => json!(["unavailable", "unavailable"]),
            Self::HangUp => json!(["hang_up"]),
            Self::Throttled => json!([{"outcome": "throttle", "retry_after_s": 1}]),
            Self::Slow => json!([{"outcome": "slow", "ms": 1200}]),
            Self::ReceiptFirst => json!(["receipt_first"]),
            // A crash may lose the first answer, so the id may be known already.
            Self::Landline => json!(vec!["not_mobile"; 8]),
            _ => json!([]),
        }
    }

    /// Number of unknown outcomes that the carrier's script causes.
    pub(crate) fn unknown(self) -> usize {
        usize::from(matches!(self, Self::HangUp | Self::Unanswered))
    }
}

impl Sent {
    /// A job that a scenario publishes itself. Its code is derived from its id.
    pub(crate) fn by_hand(job: &mut Value) -> Self {
        let id: Uuid = job["id"].as_str().unwrap().parse().unwrap();
        let letters = id.as_bytes()[6..]
            .iter()
            .map(|b| char::from(CODE_CHARACTERS[usize::from(*b) % CODE_CHARACTERS.len()]));
        let code: String = letters.collect();
        job["code"] = json!(code);
        let text = |name: &str| job[name].as_str().unwrap();
        Self {
            id,
            to: text("to").to_owned(),
            code,
            kind: Kind::Plain,
            at: otpost::domain::clock::now(),
            expires_at: text("expires_at").parse().unwrap(),
            sign_in: None,
            newest: true,
        }
    }

    /// Returns the possible final states without a further fault.
    pub(crate) fn ends(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Landline => &["failed"],
            Kind::Superseded if !self.newest => &["delivered", "superseded"],
            Kind::Crowd => &["delivered", "limited"],
            Kind::Unanswered => &["expired", "unconfirmed"],
            _ => &["delivered"],
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Ingress {
    Plain,
    Sealed,
    Http,
}

/// Both ingresses with their weights.
const ALL: &[(u64, Ingress)] = &[(65, Ingress::Plain), (15, Ingress::Sealed), (20, Ingress::Http)];
/// Only the broker, and only HTTP.
pub(crate) const BROKER: &[(u64, Ingress)] = &[(65, Ingress::Plain), (15, Ingress::Sealed)];
pub(crate) const HTTP: &[(u64, Ingress)] = &[(1, Ingress::Http)];

/// Default lifetime of a code.
pub(crate) const LIFE: Duration = Duration::from_secs(60);

/// A producer, with all jobs that it has published.
pub(crate) struct Load<'a> {
    cluster: &'a Cluster,
    seed: Seed,
    /// The lifetime of the codes.
    pub(crate) life: Duration,
    pub(crate) sent: Vec<Sent>,
    channel: Option<(Connection, Channel)>,
    serial: u32,
    /// The ingresses to use.
    pub(crate) ingresses: &'static [(u64, Ingress)],
    /// The prefix of its numbers. Eight digits follow.
    pub(crate) prefix: &'static str,
}

impl<'a> Load<'a> {
    pub(crate) fn new(cluster: &'a Cluster, seed: Seed) -> Self {
        Self {
            cluster,
            seed,
            life: LIFE,
            sent: vec![],
            channel: None,
            serial: 0,
            ingresses: ALL,
            prefix: "+4477",
        }
    }

    /// Publishes this many jobs of mixed kinds.
    pub(crate) async fn publish(&mut self, jobs: usize) {
        for _ in 0..jobs {
            let kind = self.seed.one_of(MIXTURE);
            self.publish_one(kind).await;
        }
    }

    /// Publishes at least one job of each kind, then this many of mixed kinds.
    pub(crate) async fn publish_each_and(&mut self, jobs: usize) {
        for kind in Kind::ALL {
            self.publish_one(kind).await;
        }
        self.publish(jobs).await;
    }

    pub(crate) async fn publish_one(&mut self, kind: Kind) {
        let to = self.number();
        self.cluster.deployment.script(&to, kind.outcomes()).await;
        let at = otpost::domain::clock::now();
        // The issue times, in the order of publishing.
        let mut issued = match kind {
            Kind::Superseded => vec![at, otpost::domain::clock::after(at, Duration::from_millis(1))],
            Kind::Crowd => vec![at; CROWD],
            _ => vec![at],
        };
        if kind == Kind::Superseded && self.seed.below(2) == 0 {
            issued.reverse();
        }
        for issued_at in &issued {
            let sign_in = (kind == Kind::Superseded).then(|| (format!("sign-in {to}"), *issued_at));
            let job = self.job(kind, to.clone(), sign_in);
            self.sent.last_mut().unwrap().newest = issued.iter().all(|other| other <= issued_at);
            let ingress = self.seed.one_of(self.ingresses);
            for _ in 0..=usize::from(kind == Kind::Doubled) {
                if !self.submit(ingress, &job).await {
                    self.sent.pop();
                    break;
                }
            }
        }
    }

    /// Creates a job of this kind and stores it.
    fn job(&mut self, kind: Kind, to: String, sign_in: Option<(String, Timestamp)>) -> Value {
        let (id, code, at) = (Uuid::new_v4(), self.code(), otpost::domain::clock::now());
        let expires_at = otpost::domain::clock::after(at, self.life);
        let mut job = json!({
            "id": id, "to": to, "code": code, "expires_at": expires_at, "channels": kind.channels(), "fallback_after_s": 0,
        });
        if let Some((key, issued_at)) = &sign_in {
            (job["supersedes"], job["issued_at"]) = (json!(key), json!(issued_at));
        }
        self.sent.push(Sent { id, to, code, kind, at, expires_at, sign_in, newest: true });
        job
    }

    /// Publishes this many plain jobs at once over the broker.
    pub(crate) async fn burst(&mut self, jobs: usize) {
        let first = self.sent.len();
        let bodies: Vec<String> = (0..jobs)
            .map(|_| {
                let to = self.number();
                self.job(Kind::Plain, to, None).to_string()
            })
            .collect();
        let began = otpost::domain::clock::now();
        self.sent[first..].iter_mut().for_each(|job| job.at = began);
        let channel = self.channel().await.expect("RabbitMQ answers");
        // One task publishes, and then it waits for all confirms together: lapin numbers messages in the
        // order of publishing.
        let mut confirms = vec![];
        for body in &bodies {
            confirms.push(publish(channel, "dispatch", body.as_bytes()).await.unwrap());
        }
        let confirmed = async {
            for confirm in confirms {
                assert_eq!(confirm.await.unwrap(), lapin::Confirmation::Ack(None));
            }
        };
        tokio::time::timeout(Duration::from_secs(120), confirmed).await.expect("RabbitMQ confirms");
    }

    /// Returns a number without a meaning for the mock carrier.
    fn number(&mut self) -> String {
        loop {
            self.serial += 1;
            if !(101..=126).contains(&(self.serial % 10_000)) {
                return format!("{}{:08}", self.prefix, 10_000_000 + self.serial);
            }
        }
    }

    fn code(&mut self) -> String {
        let mut letters =
            || char::from(CODE_CHARACTERS[self.seed.below(CODE_CHARACTERS.len() as u64) as usize]);
        (0..10).map(|_| letters()).collect()
    }

    /// Whether otpost has admitted it.
    async fn submit(&mut self, ingress: Ingress, job: &Value) -> bool {
        match ingress {
            Ingress::Plain => self.publish_raw("dispatch", job.to_string().as_bytes()).await,
            Ingress::Sealed => {
                let sealed = seal(&self.cluster.deployment.root.tenant("default"), job);
                self.publish_raw("dispatch", sealed.to_string().as_bytes()).await;
            }
            Ingress::Http => return self.post(job).await,
        }
        true
    }

    /// Publishes until the message is confirmed. After a broken connection it publishes the same message
    /// again.
    pub(crate) async fn publish_raw(&mut self, routing_key: &str, body: &[u8]) {
        let published = async || {
            let published = self.try_publish_raw(routing_key, body).await;
            if !published {
                self.channel = None;
            }
            published.then_some(())
        };
        assert!(
            wait::within(Duration::from_secs(120), published).await.is_some(),
            "RabbitMQ does not answer again"
        );
    }

    async fn try_publish_raw(&mut self, routing_key: &str, body: &[u8]) -> bool {
        let confirmed = async {
            let channel = self.channel().await?;
            publish(channel, routing_key, body).await.ok()?.await.ok()
        };
        let confirmed = tokio::time::timeout(Duration::from_secs(5), confirmed).await;
        matches!(confirmed, Ok(Some(lapin::Confirmation::Ack(None))))
    }

    /// Opens a channel with confirms.
    async fn channel(&mut self) -> Option<&Channel> {
        if self.channel.is_none() {
            let connection = amqp(&self.cluster.deployment.amqp_url).await?;
            let channel = connection.create_channel().await.ok()?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
            self.channel = Some((connection, channel));
        }
        self.channel.as_ref().map(|(_, channel)| channel)
    }

    /// Posts until the job is admitted or refused, with retries on 503 and 429. A refusal is an expired code,
    /// a full quota, or a newer code.
    async fn post(&self, job: &Value) -> bool {
        let expires_at: Timestamp = job["expires_at"].as_str().unwrap().parse().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
        let url = format!("http://{}/v1/dispatches", self.cluster.api);
        let posted = async || {
            let sent =
                http.post(&url).bearer_auth(&self.cluster.deployment.key).body(job.to_string()).send().await;
            let status = sent.as_ref().map_or(503, |answer| answer.status().as_u16());
            let late = status == 422
                && otpost::domain::clock::between(otpost::domain::clock::now(), expires_at) < MIN_LIFE;
            let sent_last = self.sent.last().expect("the job was stored");
            let refused = match status {
                409 => !sent_last.newest,
                429 => sent_last.kind == Kind::Crowd,
                _ => late,
            };
            assert!(refused || matches!(status, 200 | 202 | 503), "{status} {job}");
            if status != 503 {
                return Ok(!refused);
            }
            let wait =
                sent.ok().and_then(|answer| answer.headers()["retry-after"].to_str().ok()?.parse().ok());
            Err(Duration::from_secs(wait.unwrap_or(1)))
        };
        wait::retry(Duration::from_secs(120), posted).await.expect("the API answers")
    }
}

/// Publishes a message and returns its confirm to wait for.
async fn publish(
    channel: &Channel, routing_key: &str, body: &[u8],
) -> lapin::Result<impl Future<Output = lapin::Result<lapin::Confirmation>> + use<>> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel.basic_publish("otpost".into(), routing_key.into(), options, body, properties).await
}
