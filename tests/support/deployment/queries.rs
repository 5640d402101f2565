//! Waits and queries of tests: rows, events, dead letters, queues.

use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Deployment;
use crate::support::seen::Seen;
use crate::support::wait;

/// Time limit of each wait.
const TIMEOUT: Duration = Duration::from_secs(90);

impl Deployment {
    /// Waits until the condition holds for a dispatch.
    pub async fn until(&self, id: Uuid, what: &str, holds: impl Fn(&Seen) -> bool) -> Dispatch {
        let mut last = None;
        let found = wait::within(TIMEOUT, async || {
            let d = self.ledger.find("default", id).await.ok().flatten()?;
            last = Seen::of(&self.ledger, d).await.ok();
            last.take_if(|seen| holds(seen))
        });
        if let Some(found) = found.await {
            return found.d;
        }
        panic!("timed out: {what}: {last:#?}");
    }

    pub async fn until_state(&self, id: Uuid, state: &str) -> Dispatch {
        self.until(id, state, |d| d.state.as_str() == state).await
    }

    /// Returns the events of a dispatch so far, such as `sent 2`, in order and without repeats.
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

    /// Returns all received events.
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

    /// Removes one dead letter and returns its field, reason and sealed body.
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

    /// Declares a queue that gets a copy of the messages with this routing key.
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

    /// Removes all messages of a queue and returns their bodies.
    pub async fn take_all(&self, queue: &str) -> Vec<Vec<u8>> {
        let mut bodies = vec![];
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
            bodies.push(got.data.clone());
        }
        bodies
    }

    /// Returns the bodies of all messages of a queue, and leaves them there.
    pub async fn bodies(&self, queue: &str) -> Vec<Vec<u8>> {
        let connection = super::amqp(&self.amqp_url).await.expect("RabbitMQ answers");
        let channel = connection.create_channel().await.unwrap();
        let mut bodies = vec![];
        while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
            bodies.push(got.data.clone());
        }
        connection.close(200, "done".into()).await.unwrap();
        bodies
    }

    /// Returns the number of messages in a queue.
    pub async fn waiting(&self, queue: &str) -> u32 {
        self.look_at(queue).await.message_count()
    }

    /// Waits until a worker consumes.
    pub async fn until_consumed(&self) {
        self.until_consumers(1).await;
    }

    /// Waits until this many workers consume.
    pub async fn until_consumers(&self, workers: u32) {
        let consumers = async || self.look_at("otpost.dispatch").await.consumer_count();
        wait::until("workers consume", async || consumers().await >= workers).await;
    }

    /// Waits until a queue holds this many messages.
    pub async fn until_waiting(&self, queue: &str, messages: u32) {
        wait::until("messages in a queue", async || self.waiting(queue).await >= messages).await;
    }

    /// Waits until the mock carrier has accepted this many messages for a number.
    pub async fn until_accepted(&self, to: &str, messages: usize) {
        wait::until("accepted by the carrier", async || self.accepted(to).await >= messages).await;
    }

    async fn look_at(&self, queue: &str) -> lapin::Queue {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap()
    }
}
