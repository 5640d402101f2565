//! What a test waits for and looks at: rows, events, dead letters, queues.

use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};
use uuid::Uuid;

use super::House;
use crate::support::wait;

/// Nothing in these tests takes longer.
const TIMEOUT: Duration = Duration::from_secs(90);

impl House {
    /// Waits until a dispatch is as it should be.
    pub async fn until(&self, id: Uuid, what: &str, holds: impl Fn(&Dispatch) -> bool) -> Dispatch {
        let mut last = None;
        let found = wait::within(TIMEOUT, async || {
            last = self.ledger.find("default", id).await.ok().flatten();
            last.take_if(|d| holds(d))
        });
        if let Some(found) = found.await {
            return found;
        }
        panic!("never {what}: {last:#?}");
    }

    pub async fn until_state(&self, id: Uuid, state: &str) -> Dispatch {
        self.until(id, state, |d| d.state.as_str() == state).await
    }

    /// The events of a dispatch so far: `sent 2`, in the order of their arrival, repeats left out.
    pub fn events(&self, id: Uuid) -> Vec<String> {
        let mut seen: Vec<String> = vec![];
        for e in self.events.borrow().iter().filter(|e| e["data"]["id"] == json!(id)) {
            let line = format!("{} {}", e["data"]["state"].as_str().unwrap(), e["sequence"]);
            if !seen.contains(&line) {
                seen.push(line);
            }
        }
        seen
    }

    /// All events, as they came.
    pub fn all_events(&self) -> Vec<Value> {
        self.events.borrow().clone()
    }

    pub async fn until_events(&self, id: Uuid, expected: &[&str]) {
        let mut coming = self.events.subscribe();
        let arrived = async {
            while self.events(id) != expected {
                coming.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), arrived).await;
        assert!(in_time.is_ok(), "events {:?}, not {expected:?}", self.events(id));
    }

    /// Takes one dead letter: field, reason, sealed body.
    pub async fn dead_letter(&self) -> (String, String, Vec<u8>) {
        let get = async || {
            let options = BasicGetOptions { no_ack: true };
            self.channel.basic_get("otpost.dead".into(), options).await.unwrap()
        };
        let got = wait::answer("a dead letter", get).await;
        let headers = got.properties.headers().clone().unwrap_or_default();
        let text = |name: &str| {
            let value = headers.inner().get(name).and_then(|v| v.as_long_string()).unwrap();
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        (text("x-otpost-field"), text("x-otpost-reason"), got.data.clone())
    }

    /// A queue of the test's own, which gets a copy of what goes to another.
    pub async fn copy_of(&self, routing_key: &str) -> String {
        let name = format!("copy.{routing_key}");
        let queue = QueueDeclareOptions::default();
        self.channel.queue_declare(name.as_str().into(), queue, FieldTable::default()).await.unwrap();
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        self.channel
            .queue_bind(name.as_str().into(), "otpost".into(), routing_key.into(), bind, none)
            .await
            .unwrap();
        name
    }

    /// Takes the bodies of all that waits in a queue.
    pub async fn take_all(&self, queue: &str) -> Vec<Vec<u8>> {
        let mut bodies = vec![];
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
            bodies.push(got.data.clone());
        }
        bodies
    }

    /// Messages that wait in a queue.
    pub async fn waiting(&self, queue: &str) -> u32 {
        self.look_at(queue).await.message_count()
    }

    /// Waits until a worker consumes.
    pub async fn until_consumed(&self) {
        self.until_consumers(1).await;
    }

    /// Waits until so many workers consume.
    pub async fn until_consumers(&self, workers: u32) {
        let consumers = async || self.look_at("otpost.dispatch").await.consumer_count();
        wait::until("workers consume", async || consumers().await >= workers).await;
    }

    /// Waits until a queue holds so many messages.
    pub async fn until_waiting(&self, queue: &str, messages: u32) {
        wait::until("messages in a queue", async || self.waiting(queue).await >= messages).await;
    }

    /// Waits until the mock carrier has accepted so many for a number.
    pub async fn until_accepted(&self, to: &str, messages: usize) {
        wait::until("accepted by the carrier", async || self.accepted(to).await >= messages).await;
    }

    async fn look_at(&self, queue: &str) -> lapin::Queue {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap()
    }
}
