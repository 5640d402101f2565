//! Events out: what a dispatch owes to the world, told at least once.
//!
//! Whoever writes a conclusion hands its events over and goes on; telling takes no worker's slot. What is not confirmed
//! stays owed in the row, and the scan tells it again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::broker::topology::header;
use crate::broker::{Broker, Exchange, Message};
use crate::config::live::Live;
use crate::domain::dispatch::Event;
use crate::ledger::{Ledger, Owed, Told};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use crate::outbox::cloud_event::{self, CloudEvent};
use crate::outbox::feed::Feed;
use crate::outbox::webhook::Webhooks;

/// Events that wait to be told in this process. What does not fit is told by the scan.
const QUEUE: usize = 10_000;
/// Dispatches whose events are told at once.
const AT_ONCE: usize = 256;
/// How often what is owed is looked for.
const SCAN: Duration = Duration::from_secs(1);
/// How many dispatches a scan takes.
const SCAN_MOST: usize = 200;

/// The door to telling.
#[derive(Clone)]
pub struct Teller {
    /// Towards the broker; what is owed there lies in the row until it is confirmed.
    queue: Option<mpsc::Sender<Owed>>,
    /// Without a broker, who listens in this process hears of it here; with one, from the broker.
    feed: Feed,
    webhooks: Live<Webhooks>,
}

impl Teller {
    /// A teller without a broker.
    pub fn new(feed: Feed, webhooks: Live<Webhooks>) -> Self {
        Self { queue: None, feed, webhooks }
    }

    /// Starts telling over the broker, until shutdown.
    #[must_use]
    pub fn by_broker(
        self, ledger: Ledger, broker: Broker, metrics: Arc<Metrics>, shutdown: CancellationToken,
    ) -> Self {
        let (queue, owed) = mpsc::channel(QUEUE);
        tokio::spawn(run(ledger, broker, metrics, owed, shutdown));
        Self { queue: Some(queue), ..self }
    }

    /// Hands events over. Never waits: when the queue is full, the scan tells them.
    pub fn tell(&self, owed: Owed) {
        if owed.events.is_empty() {
            return;
        }
        self.webhooks.now().poke(&owed.tenant);
        match &self.queue {
            Some(queue) => drop(queue.try_send(owed)),
            None => owed.events.iter().for_each(|event| self.feed.tell(CloudEvent::of(&owed, event))),
        }
    }
}

/// Hears what all processes tell over the broker, and passes it on to whoever listens here.
pub fn hear(broker: &Broker, feed: Feed) -> impl Future<Output = ()> + use<> {
    let (ear, mut events) = mpsc::channel(QUEUE);
    broker.listen(ear);
    let mut standing = broker.watch();
    feed.set_hears(standing.borrow_and_update().listening());
    async move {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    // Anything else on the exchange is not ours.
                    Some(body) => drop(serde_json::from_slice(&body).map(|event| feed.tell(event))),
                    None => return,
                },
                Ok(()) = standing.changed() => {
                    feed.set_hears(standing.borrow_and_update().listening());
                }
            }
        }
    }
}

async fn run(
    ledger: Ledger, broker: Broker, metrics: Arc<Metrics>, owed: mpsc::Receiver<Owed>,
    shutdown: CancellationToken,
) {
    let fresh =
        futures_util::stream::unfold(owed, |mut owed| async move { owed.recv().await.map(|o| (o, owed)) });
    let telling = fresh.for_each_concurrent(AT_ONCE, |owed| async {
        tell_all(&ledger, &broker, &metrics, owed).await;
    });
    let scanning = async {
        let mut tick = tokio::time::interval(SCAN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            while scan(&ledger, &broker, &metrics).await {}
        }
    };
    tokio::select! {
        () = telling => {}
        () = scanning => {}
        () = shutdown.cancelled() => {}
    }
}

/// Tells what is still owed. Whether there is more, and it can be told: an outage's backlog is not left to the seconds.
async fn scan(ledger: &Ledger, broker: &Broker, metrics: &Metrics) -> bool {
    if !broker.watch().borrow().telling() {
        return false;
    }
    // Away: the worker says so; nothing is lost by trying again in a second.
    let Ok(owed) = ledger.owed(SCAN_MOST).await else { return false };
    let full = owed.len() >= SCAN_MOST;
    let telling = owed.into_iter().map(|owed| tell_all(ledger, broker, metrics, owed));
    let told = futures_util::stream::iter(telling).buffer_unordered(AT_ONCE);
    let any = told.fold(false, async |any, told| any || told).await;
    full && any
}

/// Tells the events of one dispatch in order, and removes those that were confirmed. Whether there were any.
async fn tell_all(ledger: &Ledger, broker: &Broker, metrics: &Metrics, owed: Owed) -> bool {
    let mut told = Told { uid: owed.uid, versions: vec![] };
    for event in &owed.events {
        if let Err(e) = broker.publish(message(&owed, event)).await {
            tracing::debug!(dispatch.uid = %owed.uid, reason = %e, "an event is not confirmed: it stays owed");
            break;
        }
        metrics.told.inc();
        crash::at(Point::EventConfirmed);
        told.versions.push(event.version);
    }
    let any = !told.versions.is_empty();
    if any {
        // When this fails they are told once more, with the same ids.
        let _ = ledger.told(told).await;
        crash::at(Point::EventRemoved);
    }
    any
}

/// A `CloudEvents` 1.0 JSON event.
fn message(owed: &Owed, event: &Event) -> Message {
    let cloud = CloudEvent::of(owed, event);
    Message {
        exchange: Exchange::Events,
        routing_key: format!("dispatch.{}", event.state),
        body: cloud.to_json().into_bytes(),
        message_id: cloud.id,
        kind: "event",
        content_type: cloud_event::CONTENT_TYPE,
        headers: owed.traceparent.iter().map(|t| (header::TRACEPARENT.to_owned(), t.clone())).collect(),
        user_id: None,
        mandatory: false,
    }
}
