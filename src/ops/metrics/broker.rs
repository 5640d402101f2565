//! RabbitMQ: its queues, and the connections of this process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::bounded::Bounded;
use super::labels::{ConnectionLabels, Names, QueueLabels, Word};

/// State of queues and connections.
#[derive(Debug)]
pub struct BrokerMetrics {
    messages: Bounded<QueueLabels, Gauge>,
    consumers: Bounded<QueueLabels, Gauge>,
    connected: Bounded<ConnectionLabels, Gauge>,
    connects: Bounded<ConnectionLabels, Counter>,
}

impl BrokerMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            messages: Bounded::new(names, Gauge::default, 1),
            consumers: Bounded::new(names, Gauge::default, 1),
            connected: Bounded::new(names, Gauge::default, 1),
            connects: Bounded::counters(names),
        };
        r.register(
            "queue_messages",
            "Messages in each queue of otpost, without those that a process holds",
            m.messages.family(),
        );
        r.register("queue_consumers", "Consumers of each queue of otpost", m.consumers.family());
        r.register(
            "broker_connected",
            "Whether a connection to RabbitMQ is usable: 1, or 0",
            m.connected.family(),
        );
        r.register("broker_connects", "Connections to RabbitMQ that were established", m.connects.family());
        m
    }

    /// Sets the numbers of messages and of consumers of a queue.
    pub fn set_queue(&self, queue: Word, messages: u32, consumers: u32) {
        let labels = QueueLabels { queue };
        self.messages.with(&labels, |m| m.set(messages.into()));
        self.consumers.with(&labels, |m| m.set(consumers.into()));
    }

    /// Sets the state of a connection, and how often it was established.
    pub fn set_connection(&self, connection: Word, is_connected: bool, connects: u64) {
        let labels = ConnectionLabels { connection };
        self.connected.with(&labels, |m| m.set(is_connected.into()));
        self.connects.with(&labels, |m| m.inner().store(connects, Ordering::Relaxed));
    }
}
