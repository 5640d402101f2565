//! Webhooks: a tenant's events, told by HTTP at least once, signed as Standard Webhooks wants it. They have rows and a
//! schedule of their own; a receiver that is slow or dead holds up no code, no other tenant, and nothing on the broker.

mod sign;
mod target;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cloud_event::{self, CloudEvent};
use crate::config::{BadConfig, Config, WebhookConfig};
use crate::ledger::{Hook, HookFate, Ledger};
use crate::metrics::Metrics;
use sign::{Secret, signatures};

/// The pauses after each try that failed; after the last try an event is given up.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
];
/// A receiver has so long to confirm.
const TIME_OUT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Requests to one tenant's webhook at once.
const AT_ONCE: usize = 16;
/// How often a tenant's due events are looked for; what this process concludes is told at once.
const SCAN: Duration = Duration::from_secs(2);

/// A tenant's webhook.
struct Webhook {
    url: String,
    secrets: Vec<Secret>,
    poked: Notify,
}

/// All tenants' webhooks.
pub struct Webhooks {
    by_tenant: BTreeMap<String, Webhook>,
    http: reqwest::Client,
    metrics: Arc<Metrics>,
}

impl Webhooks {
    /// The webhooks of a configuration. Its targets are checked as far as they can be without a look-up.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, BadConfig> {
        let mut by_tenant = BTreeMap::new();
        for (name, tenant) in &config.tenants {
            if let Some(webhook) = &tenant.webhook {
                let checked = Webhook::new(webhook, config.webhooks.allow_private_targets)
                    .map_err(|what| BadConfig(format!("tenants.{name}.webhook: {what}")))?;
                by_tenant.insert(name.clone(), checked);
            }
        }
        let building = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(TIME_OUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("otpost/", env!("CARGO_PKG_VERSION")));
        let guarded = if config.webhooks.allow_private_targets {
            building
        } else {
            building.dns_resolver(Arc::new(target::Guard))
        };
        let http = guarded.build().map_err(|_| BadConfig("no HTTP client can be made".to_owned()))?;
        Ok(Self { by_tenant, http, metrics })
    }

    /// A tenant's target, if it has a webhook.
    pub fn url(&self, tenant: &str) -> Option<&str> {
        self.by_tenant.get(tenant).map(|w| w.url.as_str())
    }

    /// Something was written that a tenant's webhook is owed.
    pub fn poke(&self, tenant: &str) {
        if let Some(webhook) = self.by_tenant.get(tenant) {
            webhook.poked.notify_one();
        }
    }

    /// Tells what is due, each tenant by itself, until shutdown.
    pub async fn run(self: Arc<Self>, ledger: Ledger, shutdown: CancellationToken) {
        let mut tenants = JoinSet::new();
        for tenant in self.by_tenant.keys() {
            tenants.spawn(Arc::clone(&self).serve(tenant.clone(), ledger.clone()));
        }
        shutdown.cancelled().await;
        tenants.shutdown().await;
    }

    async fn serve(self: Arc<Self>, tenant: String, ledger: Ledger) {
        let Some(webhook) = self.by_tenant.get(&tenant) else { return };
        // Tasks of their own: a try that holds a connection to the ledger goes on while this loop waits for one.
        let mut tries = JoinSet::new();
        let mut tick = tokio::time::interval(SCAN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut more = false;
        loop {
            tokio::select! {
                Some(_) = tries.join_next() => if !more { continue },
                () = webhook.poked.notified() => {}
                _ = tick.tick() => {}
            }
            while tries.try_join_next().is_some() {}
            let room = AT_ONCE - tries.len();
            // Away: the worker says so, and the next tick asks again.
            let due = if room == 0 { Ok(vec![]) } else { ledger.hooks_due(&tenant, room).await };
            let Ok(due) = due else { continue };
            more = room == 0 || due.len() == room;
            for hook in due {
                let (webhooks, tenant, ledger) = (Arc::clone(&self), tenant.clone(), ledger.clone());
                tries.spawn(async move { webhooks.try_one(&tenant, &ledger, hook).await });
            }
        }
    }

    async fn try_one(&self, tenant: &str, ledger: &Ledger, hook: Hook) {
        let (Some(webhook), Some(event)) = (self.by_tenant.get(tenant), hook.owed.events.first()) else {
            return;
        };
        let (uid, version) = (hook.owed.uid, event.version);
        let cloud = CloudEvent::of(&hook.owed, event);
        let fate = match self.post(webhook, &cloud.id, &cloud.to_json()).await {
            Ok(_) => HookFate::Told,
            Err(problem) => HookFate::Failed { problem, again: AGAIN.get(usize::from(hook.tries)).copied() },
        };
        let result = match &fate {
            HookFate::Told => "told",
            HookFate::Failed { again: Some(_), .. } => "failed",
            HookFate::Failed { again: None, problem } => {
                tracing::warn!(tenant, dispatch.uid = %uid, problem, "an event is given up: otpost webhooks replay");
                "given_up"
            }
        };
        self.metrics.hooked(tenant, result);
        // When this fails, the lease runs out and the event is told again, with the same id.
        let _ = ledger.hook_fate(uid, version, fate).await;
    }

    /// Sends a test event now; answers the receiver's status, or what went wrong.
    pub async fn test(&self, tenant: &str) -> Option<Result<u16, String>> {
        let webhook = self.by_tenant.get(tenant)?;
        let id = uuid::Uuid::now_v7().to_string();
        let body = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/otpost", "type": "io.otpost.test", "time": crate::clock::now(),
            "datacontenttype": "application/json", "data": {"tenant": tenant},
        });
        Some(self.post(webhook, &id, &body.to_string()).await)
    }

    /// One request. Anything but a 2xx is a failure.
    async fn post(&self, webhook: &Webhook, id: &str, body: &str) -> Result<u16, String> {
        let at = crate::clock::now().as_second();
        let sent = self
            .http
            .post(&webhook.url)
            .header("content-type", cloud_event::CONTENT_TYPE)
            .header("webhook-id", id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", signatures(&webhook.secrets, id, at, body))
            .body(body.to_owned())
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(answer.status().as_u16()),
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            Err(e) if e.is_timeout() => Err("it did not answer in time".to_owned()),
            Err(e) if says(&e, target::NOT_PUBLIC) => Err(target::NOT_PUBLIC.to_owned()),
            Err(e) if e.is_connect() => Err("it cannot be connected to".to_owned()),
            Err(_) => Err("the connection broke off".to_owned()),
        }
    }
}

/// Whether an error was caused by one of ours.
fn says(e: &reqwest::Error, ours: &str) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(e);
    while let Some(inner) = source {
        if inner.to_string() == ours {
            return true;
        }
        source = inner.source();
    }
    false
}

impl Webhook {
    fn new(config: &WebhookConfig, may_be_private: bool) -> Result<Self, String> {
        let url = reqwest::Url::parse(&config.url).map_err(|_| "url is not a URL".to_owned())?;
        let host = url.host_str().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if !may_be_private && (url.scheme() != "https" || literal.is_some_and(|ip| !target::is_public(ip))) {
            return Err(
                "url must be https:// and public (webhooks.allow_private_targets lifts it, for a laptop)"
                    .to_owned(),
            );
        }
        let given = [&config.secret, &config.previous_secret];
        let secrets: Option<Vec<Secret>> =
            given.into_iter().flatten().map(|s| Secret::read(s.expose_secret())).collect();
        match secrets {
            Some(secrets) if !secrets.is_empty() => {
                Ok(Self { url: config.url.clone(), secrets, poked: Notify::new() })
            }
            _ => {
                Err("secret must be whsec_ and base64 of 24 to 64 bytes; make one with: otpost keys webhook"
                    .to_owned())
            }
        }
    }
}
