//! Events out: what a dispatch owes to the world, told at least once.
//!
//! Whoever writes a conclusion hands its events over and goes on; telling takes no worker's slot. What is not confirmed
//! stays owed in the row, and the scan tells it again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Exchange, Message};
use crate::dispatch::Event;
use crate::ledger::{Ledger, Owed, Told};
use crate::metrics::Metrics;

/// Events that wait to be told in this process. What does not fit is told by the scan.
const QUEUE: usize = 10_000;
/// Dispatches whose events are told at once.
const AT_ONCE: usize = 256;
/// How often what is owed is looked for.
const SCAN: Duration = Duration::from_secs(1);
/// How many dispatches a scan takes.
const SCAN_MOST: usize = 200;

/// The door to telling. Without a broker nothing is owed, and nothing is told.
#[derive(Clone)]
pub struct Teller {
    queue: Option<mpsc::Sender<Owed>>,
}

impl Teller {
    /// A teller with nobody to tell.
    pub fn silent() -> Self {
        Self { queue: None }
    }

    /// Starts telling over the broker, until shutdown.
    pub fn start(ledger: Ledger, broker: Broker, metrics: Arc<Metrics>, shutdown: CancellationToken) -> Self {
        let (queue, owed) = mpsc::channel(QUEUE);
        tokio::spawn(run(ledger, broker, metrics, owed, shutdown));
        Self { queue: Some(queue) }
    }

    /// Whether anybody is to be told at all.
    pub fn owes(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands events over. Never waits: when the queue is full, the scan tells them.
    pub fn tell(&self, owed: Owed) {
        if let Some(queue) = self.queue.as_ref().filter(|_| !owed.events.is_empty()) {
            let _ = queue.try_send(owed);
        }
    }
}

async fn run(
    ledger: Ledger, broker: Broker, metrics: Arc<Metrics>, owed: mpsc::Receiver<Owed>,
    shutdown: CancellationToken,
) {
    let fresh =
        futures_util::stream::unfold(owed, |mut owed| async move { owed.recv().await.map(|o| (o, owed)) });
    let telling = fresh.for_each_concurrent(AT_ONCE, |owed| tell_all(&ledger, &broker, &metrics, owed));
    let scanning = async {
        let mut tick = tokio::time::interval(SCAN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if !broker.is_up() {
                continue;
            }
            // Away: the worker says so; nothing is lost by trying again in a second.
            let Ok(owed) = ledger.owed(SCAN_MOST).await else {
                continue;
            };
            futures_util::stream::iter(owed)
                .for_each_concurrent(AT_ONCE, |owed| tell_all(&ledger, &broker, &metrics, owed))
                .await;
        }
    };
    tokio::select! {
        () = telling => {}
        () = scanning => {}
        () = shutdown.cancelled() => {}
    }
}

/// Tells the events of one dispatch in order, and removes those that were confirmed.
async fn tell_all(ledger: &Ledger, broker: &Broker, metrics: &Metrics, owed: Owed) {
    let mut told = Told { uid: owed.uid, versions: vec![] };
    for event in &owed.events {
        if broker.publish(message(&owed, event)).await.is_err() {
            break;
        }
        metrics.told.inc();
        told.versions.push(event.version);
    }
    if !told.versions.is_empty() {
        // When this fails they are told once more, with the same ids.
        let _ = ledger.told(told).await;
    }
}

/// A `CloudEvents` 1.0 JSON event.
fn message(owed: &Owed, event: &Event) -> Message {
    let id = format!("{}/{}", owed.uid, event.version);
    Message {
        exchange: Exchange::Events,
        routing_key: format!("dispatch.{}", event.state),
        body: cloud_event(owed, event, &id).to_string().into_bytes(),
        message_id: id,
        kind: "event",
        content_type: "application/cloudevents+json",
        headers: owed.traceparent.iter().map(|t| ("traceparent".to_owned(), t.clone())).collect(),
        mandatory: false,
    }
}

fn cloud_event(owed: &Owed, event: &Event, id: &str) -> Value {
    let mut data = Map::new();
    data.insert("tenant".to_owned(), json!(owed.tenant));
    data.insert("id".to_owned(), json!(owed.id));
    data.insert("state".to_owned(), json!(event.state));
    data.insert("step".to_owned(), json!(event.step));
    let optional = [
        ("channel", json!(event.channel)),
        ("carrier", json!(event.carrier)),
        ("attempt", json!(event.attempt.map(|n| format!("{}-{n}", owed.uid)))),
        ("reason", json!(event.reason)),
        ("retry_after_s", json!(event.retry_after_s)),
    ];
    data.extend(optional.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)));
    data.insert("tags".to_owned(), json!(owed.tags));
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/otpost",
        "type": format!("io.otpost.dispatch.{}", event.state),
        "time": event.at,
        "datacontenttype": "application/json",
        "sequence": event.version,
        "data": data,
    })
}
