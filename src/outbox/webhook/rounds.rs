//! Delivers pending events to each tenant's webhook, with retries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Webhook, Webhooks};
use crate::config::live::Live;
use crate::ledger::{DeliveryResult, Ledger, WebhookDelivery};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use crate::outbox::cloud_event::CloudEvent;

/// The pauses after each failed attempt. After the last attempt the event is marked as failed.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
];
/// Maximum number of concurrent requests to one tenant's webhook.
const MAX_CONCURRENT_REQUESTS: usize = 16;
/// Interval at which a tenant's due events are taken. Events of this process are delivered without this delay.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// Delivers due events until shutdown, with one task per tenant.
pub async fn run(
    webhooks: Live<Webhooks>, ledger: Ledger, metrics: Arc<Metrics>, shutdown: CancellationToken,
) {
    let deliverer = Arc::new(Deliverer { webhooks, ledger, metrics });
    let mut changes = deliverer.webhooks.changes();
    let (mut tenants, mut served) = (JoinSet::new(), BTreeSet::new());
    loop {
        for tenant in deliverer.webhooks.current().by_tenant.keys() {
            if served.insert(tenant.clone()) {
                tenants.spawn(Arc::clone(&deliverer).serve(tenant.clone()));
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            Some(ended) = tenants.join_next() => {
                if let Ok(tenant) = ended {
                    served.remove(&tenant);
                }
            }
            () = shutdown.cancelled() => break,
        }
    }
    tenants.shutdown().await;
}

struct Deliverer {
    webhooks: Live<Webhooks>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
}

impl Deliverer {
    /// Serves one tenant while it has a webhook. Returns the tenant's name.
    async fn serve(self: Arc<Self>, tenant: String) -> String {
        // Separate tasks: an attempt that holds a ledger connection continues while this loop waits for one.
        let mut tries = JoinSet::new();
        let mut changes = self.webhooks.changes();
        let mut tick = tokio::time::interval(SCAN_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut more = false;
        loop {
            let webhooks = self.webhooks.current();
            let Some(webhook) = webhooks.by_tenant.get(&tenant) else {
                // Requests that are in progress may finish.
                while tries.join_next().await.is_some() {}
                return tenant;
            };
            tokio::select! {
                Some(_) = tries.join_next() => if !more { continue },
                () = webhook.new_events.notified() => {}
                _ = changes.changed() => continue,
                _ = tick.tick() => {}
            }
            while tries.try_join_next().is_some() {}
            let room = MAX_CONCURRENT_REQUESTS - tries.len();
            // During an outage the worker logs the reason, and the next tick tries again.
            let due = if room == 0 { Ok(vec![]) } else { self.ledger.webhooks_due(&tenant, room).await };
            let Ok(due) = due else { continue };
            more = room == 0 || due.len() == room;
            for delivery in due {
                let (deliverer, webhooks) = (Arc::clone(&self), Arc::clone(&webhooks));
                let (tenant, webhook) = (tenant.clone(), Arc::clone(webhook));
                tries.spawn(async move { deliverer.deliver(&tenant, &webhooks, &webhook, delivery).await });
            }
        }
    }

    async fn deliver(&self, tenant: &str, webhooks: &Webhooks, webhook: &Webhook, delivery: WebhookDelivery) {
        let Some(event) = delivery.pending.events.first() else { return };
        let (uid, version) = (delivery.pending.uid, event.version);
        let cloud = CloudEvent::of(&delivery.pending, event);
        crash::at(Point::WebhookTaken);
        let result = match webhooks.post(webhook, &cloud.id, &cloud.to_json()).await {
            Ok(_) => DeliveryResult::Delivered,
            Err(problem) => DeliveryResult::Failed {
                problem,
                retry_after: BACKOFF.get(usize::from(delivery.tries)).copied(),
            },
        };
        crash::at(Point::WebhookPosted);
        let label = match &result {
            DeliveryResult::Delivered => "told",
            DeliveryResult::Failed { retry_after: Some(_), .. } => "failed",
            DeliveryResult::Failed { retry_after: None, problem } => {
                tracing::warn!(tenant, dispatch.uid = %uid, problem, "a webhook delivery has failed for good; retry it with: otpost webhooks replay");
                "given_up"
            }
        };
        self.metrics.count_webhook(tenant, label);
        // When this write fails, the lease expires and the event is delivered again with the same id.
        let _ = self.ledger.record_webhook_result(uid, version, result).await;
    }
}
