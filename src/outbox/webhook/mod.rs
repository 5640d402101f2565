//! Webhooks: events of a tenant, delivered over HTTP at least once and signed as in Standard Webhooks.
//!
//! Each webhook has its own rows in the outbox and its own schedule. A slow or dead receiver therefore delays no code, no other tenant,
//! and no message on the broker.

mod patience;
mod sign;
mod sink;
mod target;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Notify;

use crate::config::{BadConfig, Config, WebhookConfig};
use crate::outbox::cloud_event;
use crate::outbox::sink::Retry;
use patience::Patience;
use sign::{Secret, signatures};
pub(super) use sink::WebhookSink;

/// Time limit for one request to a receiver.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A tenant's webhook.
struct Webhook {
    url: String,
    secrets: Vec<Secret>,
    /// Notified when failed events are due again.
    due_again: Notify,
    patience: Patience,
}

/// Why a request to a receiver failed.
struct Refusal {
    /// In our own words.
    problem: String,
    /// When the event is tried again, if the receiver has said so.
    retry: Option<Retry>,
}

/// The webhooks of all tenants.
pub struct Webhooks {
    by_tenant: BTreeMap<String, Arc<Webhook>>,
    http: reqwest::Client,
}

impl Webhooks {
    /// Builds the webhooks of a configuration. Checks URLs, literal addresses and secrets. DNS names are checked when
    /// connecting.
    pub fn new(config: &Config) -> Result<Self, BadConfig> {
        let mut by_tenant = BTreeMap::new();
        for (name, tenant) in &config.tenants {
            if let Some(webhook) = &tenant.webhook {
                let checked = Webhook::new(webhook, config.webhooks.allow_private_targets)
                    .map_err(|what| BadConfig(format!("tenants.{name}.webhook: {what}")))?;
                by_tenant.insert(name.clone(), Arc::new(checked));
            }
        }
        let building = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(concat!("otpost/", env!("CARGO_PKG_VERSION")));
        let guarded = if config.webhooks.allow_private_targets {
            building
        } else {
            building.dns_resolver(Arc::new(target::PublicOnlyResolver))
        };
        let http = guarded.build().map_err(|_| BadConfig("no HTTP client can be made".to_owned()))?;
        Ok(Self { by_tenant, http })
    }

    /// The URL of a tenant's webhook. `None` without a webhook.
    pub fn url(&self, tenant: &str) -> Option<&str> {
        self.by_tenant.get(tenant).map(|w| w.url.as_str())
    }

    /// The tenants that have a webhook.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.by_tenant.keys().map(String::as_str)
    }

    /// Looks for due events of the tenant now, because failed ones are due again.
    pub fn notify(&self, tenant: &str) {
        if let Some(webhook) = self.by_tenant.get(tenant) {
            webhook.patience.forget();
            webhook.due_again.notify_one();
        }
    }

    /// Sends a test event now. Returns the receiver's status or the error. `None` without a webhook.
    pub async fn test(&self, tenant: &str) -> Option<Result<u16, String>> {
        let webhook = self.by_tenant.get(tenant)?;
        let id = uuid::Uuid::now_v7().to_string();
        let body = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/otpost", "type": "io.otpost.test", "time": crate::domain::clock::now(),
            "datacontenttype": "application/json", "data": {"tenant": tenant},
        });
        Some(self.post(tenant, webhook, &id, &body.to_string()).await.map_err(|refusal| refusal.problem))
    }

    /// Sends one request. Every status except 2xx is a failure.
    async fn post(&self, tenant: &str, webhook: &Webhook, id: &str, body: &str) -> Result<u16, Refusal> {
        let at = crate::domain::clock::now().as_second();
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
        let problem = match sent {
            Ok(answer) if answer.status().is_success() => return Ok(answer.status().as_u16()),
            Ok(answer) => {
                let retry = webhook.patience.refused(tenant, answer.status(), answer.headers());
                let status = answer.status().as_u16();
                let hint = if answer.status().is_redirection() {
                    "; put the new URL into the configuration"
                } else {
                    ""
                };
                return Err(Refusal { problem: format!("the receiver answered {status}{hint}"), retry });
            }
            Err(e) if e.is_timeout() => "it did not answer in time",
            Err(e) if is_caused_by(&e, target::NOT_PUBLIC) => target::NOT_PUBLIC,
            Err(e) if e.is_connect() => "the connection failed",
            Err(_) => "the connection was lost",
        };
        Err(Refusal { problem: problem.to_owned(), retry: None })
    }
}

/// Whether an error was caused by our own error with this text.
fn is_caused_by(e: &reqwest::Error, ours: &str) -> bool {
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
                "url must be https:// and public (set webhooks.allow_private_targets for development)"
                    .to_owned(),
            );
        }
        let given = [&config.secret, &config.previous_secret];
        let secrets: Option<Vec<Secret>> =
            given.into_iter().flatten().map(|s| Secret::read(s.expose_secret())).collect();
        match secrets {
            Some(secrets) if !secrets.is_empty() => {
                let (due_again, patience) = (Notify::new(), Patience::default());
                Ok(Self { url: config.url.clone(), secrets, due_again, patience })
            }
            _ => Err(
                "secret must be whsec_ and base64 of 24 to 64 bytes; create one with: otpost keys webhook"
                    .to_owned(),
            ),
        }
    }
}
