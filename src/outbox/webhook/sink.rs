//! Delivers the events of a tenant to its webhook, with retries.

use std::sync::Arc;
use std::time::Duration;

use super::Webhooks;
use crate::config::live::Live;
use crate::ledger::{PendingEvents, Receiver};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use crate::outbox::cloud_event::CloudEvent;
use crate::outbox::sink::{Failure, Retry, Sink};

/// The pauses after each failed try. After the last one the events are marked as failed.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
];

/// The webhook of a tenant.
pub(in crate::outbox) struct WebhookSink {
    tenant: String,
    webhooks: Live<Webhooks>,
    metrics: Arc<Metrics>,
}

impl WebhookSink {
    pub(in crate::outbox) fn new(tenant: &str, webhooks: Live<Webhooks>, metrics: Arc<Metrics>) -> Self {
        metrics.outbox.show_webhook(tenant);
        Self { tenant: tenant.to_owned(), webhooks, metrics }
    }
}

impl Sink for WebhookSink {
    const MAX_CONCURRENT: usize = 16;
    const SCAN_INTERVAL: Option<Duration> = Some(Duration::from_secs(2));

    fn receiver(&self) -> Receiver {
        Receiver::Webhook(self.tenant.clone())
    }

    fn is_open(&self) -> bool {
        let webhooks = self.webhooks.current();
        let webhook = webhooks.by_tenant.get(&self.tenant);
        !webhook.is_some_and(|webhook| matches!(webhook.patience.check(), Err((Retry::Wait(_), _))))
    }

    async fn woken(&self) {
        let mut changes = self.webhooks.changes();
        match self.webhooks.current().by_tenant.get(&self.tenant) {
            Some(webhook) => tokio::select! {
                () = webhook.due_again.notified() => {}
                _ = changes.changed() => {}
            },
            None => std::future::pending().await,
        }
    }

    async fn deliver(&self, pending: &PendingEvents) -> Result<(), Failure> {
        let webhooks = self.webhooks.current();
        crash::at(Point::WebhookTaken);
        for (delivered, event) in pending.events.iter().enumerate() {
            let cloud = CloudEvent::of(pending, event);
            let Some(webhook) = webhooks.by_tenant.get(&self.tenant) else {
                return Err(Failure {
                    delivered,
                    problem: "the tenant has no webhook".to_owned(),
                    retry: None,
                });
            };
            if let Err((retry, problem)) = webhook.patience.check() {
                return Err(Failure { delivered, problem: problem.to_owned(), retry: Some(retry) });
            }
            let posted = webhooks.post(&self.tenant, webhook, &cloud.id, &cloud.to_json()).await;
            crash::at(Point::WebhookPosted);
            posted.map_err(|refusal| Failure {
                delivered,
                problem: refusal.problem,
                retry: refusal.retry,
            })?;
        }
        Ok(())
    }

    fn retry(&self, tries: u16) -> Retry {
        BACKOFF.get(usize::from(tries)).map_or(Retry::Never, |pause| Retry::After(*pause))
    }

    fn record(&self, pending: &PendingEvents, result: &Result<(), Failure>, retry: Retry) {
        let delivered = result.as_ref().map_or_else(|failure| failure.delivered, |()| pending.events.len());
        for _ in 0..delivered {
            self.metrics.outbox.count_webhook(&self.tenant, "told");
        }
        let Err(failure) = result else { return };
        let is_last = retry == Retry::Never;
        for _ in delivered..pending.events.len() {
            self.metrics.outbox.count_webhook(&self.tenant, if is_last { "given_up" } else { "failed" });
        }
        if is_last {
            tracing::warn!(
                tenant = self.tenant, dispatch.uid = %pending.uid, dispatch.id = %pending.id, trace_id = pending.trace_id(),
                reason = failure.problem,
                "a webhook delivery has failed for good; retry it with: otpost webhooks replay"
            );
        }
    }
}
