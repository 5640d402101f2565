//! The live feed: the events of all tenants, from now on, for subscribers in this process. Events are not stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::ledger::{PendingEvents, Receiver};
use crate::outbox::cloud_event::CloudEvent;
use crate::outbox::sink::{Failure, Retry, Sink};

/// Capacity of the feed. A slower subscriber loses the oldest events and gets the number of lost events.
const FEED_CAPACITY: usize = 4096;

/// What a subscriber gets from the feed.
#[derive(Debug, Clone)]
pub enum FeedItem {
    /// An event of any tenant.
    Event(Arc<CloudEvent>),
    /// The number of events that the subscriber did not get.
    Missed(u64),
}

/// The live feed. Clones share it.
#[derive(Clone)]
pub struct Feed {
    items: broadcast::Sender<FeedItem>,
    /// Whether this process receives events. False while the broker connection for events is down.
    connected: watch::Sender<bool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { items: broadcast::Sender::new(FEED_CAPACITY), connected: watch::Sender::new(true) }
    }
}

impl Feed {
    /// Sends an event to all subscribers. Never waits.
    pub fn publish(&self, event: CloudEvent) {
        let _ = self.items.send(FeedItem::Event(Arc::new(event)));
    }

    /// Tells all subscribers that this process lost `count` events before they reached the feed.
    pub fn report_missed(&self, count: u64) {
        let _ = self.items.send(FeedItem::Missed(count));
    }

    /// Subscribes to all events from now on.
    pub fn subscribe(&self) -> Subscriber {
        Subscriber(self.items.subscribe())
    }

    /// Number of subscribers.
    pub fn subscribers(&self) -> usize {
        self.items.receiver_count()
    }

    /// Subscribes to whether this process receives events.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// Records whether this process receives events.
    pub fn set_connected(&self, connected: bool) {
        self.connected.send_replace(connected);
    }
}

/// Without a broker, the feed is a sink of this process's events.
impl Sink for Feed {
    const MAX_CONCURRENT: usize = 256;
    const SCAN_INTERVAL: Option<Duration> = None;

    fn receiver(&self) -> Receiver {
        Receiver::LiveStream
    }

    async fn deliver(&self, pending: &PendingEvents) -> Result<(), Failure> {
        for event in &pending.events {
            self.publish(CloudEvent::of(pending, event));
        }
        Ok(())
    }

    fn retry(&self, _: u16) -> Retry {
        Retry::Never
    }
}

/// One subscriber of the feed.
pub struct Subscriber(broadcast::Receiver<FeedItem>);

impl Subscriber {
    /// Returns the next item, or `None` when the feed has ended. This method is cancel safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        match self.0.recv().await {
            Ok(item) => Some(item),
            Err(RecvError::Lagged(count)) => Some(FeedItem::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FEED_CAPACITY, Feed, FeedItem};
    use crate::outbox::cloud_event::CloudEvent;

    fn event() -> CloudEvent {
        serde_json::from_value(serde_json::json!({
            "specversion": "1.0",
            "id": "01900000-0000-7000-8000-000000000000/1",
            "source": "/otpost",
            "type": "io.otpost.dispatch.sent",
            "time": "2026-01-01T00:00:00Z",
            "datacontenttype": "application/json",
            "sequence": 1,
            "data": { "tenant": "shop", "id": "01900000-0000-7000-8000-000000000000", "state": "sent", "step": 1, "tags": {} }
        }))
        .expect("a CloudEvent")
    }

    #[tokio::test]
    async fn a_slow_subscriber_gets_the_number_of_events_that_it_lost() {
        let feed = Feed::default();
        let mut subscriber = feed.subscribe();
        for _ in 0..FEED_CAPACITY + 3 {
            feed.publish(event());
        }
        assert!(matches!(subscriber.next().await, Some(FeedItem::Missed(3))));
        assert!(matches!(subscriber.next().await, Some(FeedItem::Event(_))));
    }

    #[tokio::test]
    async fn events_lost_before_the_feed_are_reported_to_all_subscribers() {
        let feed = Feed::default();
        let (mut one, mut two) = (feed.subscribe(), feed.subscribe());
        feed.report_missed(7);
        assert!(matches!(one.next().await, Some(FeedItem::Missed(7))));
        assert!(matches!(two.next().await, Some(FeedItem::Missed(7))));
    }
}
