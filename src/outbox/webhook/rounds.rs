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
const AT_ONCE: usize = 16;
/// Interval at which a tenant's due events are taken. Events of this process are delivered without this delay.
const SCAN: Duration = Duration::from_secs(2);

/// Delivers due events until shutdown, with one task per tenant.
pub async fn run(
    webhooks: Live<Webhooks>, ledger: Ledger, metrics: Arc<Metrics>, shutdown: CancellationToken,
) {
    let rounds = Arc::new(Rounds { webhooks, ledger, metrics });
    let mut changes = rounds.webhooks.changes();
    let (mut tenants, mut served) = (JoinSet::new(), BTreeSet::new());
    loop {
        for tenant in rounds.webhooks.now().by_tenant.keys() {
            if served.insert(tenant.clone()) {
                tenants.spawn(Arc::clone(&rounds).serve(tenant.clone()));
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

struct Rounds {
    webhooks: Live<Webhooks>,
    ledger: Ledger,
    metrics: Arc<Metrics>,
}

impl Rounds {
    /// Serves one tenant while it has a webhook. Returns the tenant's name.
    async fn serve(self: Arc<Self>, tenant: String) -> String {
        // Separate tasks: an attempt that holds a ledger connection continues while this loop waits for one.
        let mut tries = JoinSet::new();
        let mut changes = self.webhooks.changes();
        let mut tick = tokio::time::interval(SCAN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut more = false;
        loop {
            let webhooks = self.webhooks.now();
            let Some(webhook) = webhooks.by_tenant.get(&tenant) else {
                // Requests that are in progress may finish.
                while tries.join_next().await.is_some() {}
                return tenant;
            };
            tokio::select! {
                Some(_) = tries.join_next() => if !more { continue },
                () = webhook.poked.notified() => {}
                _ = changes.changed() => continue,
                _ = tick.tick() => {}
            }
            while tries.try_join_next().is_some() {}
            let room = AT_ONCE - tries.len();
            // During an outage the worker logs the reason, and the next tick tries again.
            let due = if room == 0 { Ok(vec![]) } else { self.ledger.webhooks_due(&tenant, room).await };
            let Ok(due) = due else { continue };
            more = room == 0 || due.len() == room;
            for hook in due {
                let (rounds, webhooks) = (Arc::clone(&self), Arc::clone(&webhooks));
                let (tenant, webhook) = (tenant.clone(), Arc::clone(webhook));
                tries.spawn(async move { rounds.try_one(&tenant, &webhooks, &webhook, hook).await });
            }
        }
    }

    async fn try_one(&self, tenant: &str, webhooks: &Webhooks, webhook: &Webhook, hook: WebhookDelivery) {
        let Some(event) = hook.owed.events.first() else { return };
        let (uid, version) = (hook.owed.uid, event.version);
        let cloud = CloudEvent::of(&hook.owed, event);
        crash::at(Point::HookTaken);
        let fate = match webhooks.post(webhook, &cloud.id, &cloud.to_json()).await {
            Ok(_) => DeliveryResult::Delivered,
            Err(problem) => {
                DeliveryResult::Failed { problem, again: BACKOFF.get(usize::from(hook.tries)).copied() }
            }
        };
        crash::at(Point::HookPosted);
        let result = match &fate {
            DeliveryResult::Delivered => "told",
            DeliveryResult::Failed { again: Some(_), .. } => "failed",
            DeliveryResult::Failed { again: None, problem } => {
                tracing::warn!(tenant, dispatch.uid = %uid, problem, "a webhook delivery has failed for good; retry it with: otpost webhooks replay");
                "given_up"
            }
        };
        self.metrics.hooked(tenant, result);
        // When this write fails, the lease expires and the event is delivered again with the same id.
        let _ = self.ledger.hook_fate(uid, version, fate).await;
    }
}
