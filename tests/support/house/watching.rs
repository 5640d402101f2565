//! What a test waits for and looks at: rows, events, dead letters, queues.

use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use otpost::dispatch::Dispatch;
use serde_json::{Value, json};
use uuid::Uuid;

use super::House;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

impl House {
    /// Waits until a dispatch is as it should be.
    pub async fn until(&self, id: Uuid, what: &str, holds: impl Fn(&Dispatch) -> bool) -> Dispatch {
        let started = std::time::Instant::now();
        let mut last = None;
        while started.elapsed() < PATIENCE {
            if let Ok(Some(d)) = self.ledger.find("default", id).await {
                if holds(&d) {
                    return d;
                }
                last = Some(d);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {what}: {last:#?}");
    }

    pub async fn until_state(&self, id: Uuid, state: &str) -> Dispatch {
        self.until(id, state, |d| d.state.as_str() == state).await
    }

    /// The events of a dispatch so far: `sent 2`, in the order of their arrival, repeats left out.
    pub fn events(&self, id: Uuid) -> Vec<String> {
        let mut seen: Vec<String> = vec![];
        for e in self.events.lock().unwrap().iter().filter(|e| e["data"]["id"] == json!(id)) {
            let line = format!("{} {}", e["data"]["state"].as_str().unwrap(), e["sequence"]);
            if !seen.contains(&line) {
                seen.push(line);
            }
        }
        seen
    }

    /// All events, as they came.
    pub fn all_events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    pub async fn until_events(&self, id: Uuid, expected: &[&str]) {
        let started = std::time::Instant::now();
        while self.events(id) != expected {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "events {:?}, not {expected:?}",
                self.events(id)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes one dead letter: field, reason, sealed body.
    pub async fn dead_letter(&self) -> (String, String, Vec<u8>) {
        for _ in 0..200 {
            if let Some(got) =
                self.channel.basic_get("otpost.dead".into(), BasicGetOptions { no_ack: true }).await.unwrap()
            {
                let headers = got.properties.headers().clone().unwrap_or_default();
                let text = |name: &str| {
                    let value = headers.inner().get(name).and_then(|v| v.as_long_string()).unwrap();
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                return (text("x-otpost-field"), text("x-otpost-reason"), got.data.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no dead letter came");
    }

    /// Messages that wait in a queue.
    pub async fn waiting(&self, queue: &str) -> u32 {
        self.look_at(queue).await.message_count()
    }

    /// Waits until a worker consumes.
    pub async fn until_consumed(&self) {
        for _ in 0..400 {
            if self.look_at("otpost.dispatch").await.consumer_count() > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no worker consumes");
    }

    async fn look_at(&self, queue: &str) -> lapin::Queue {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap()
    }
}
