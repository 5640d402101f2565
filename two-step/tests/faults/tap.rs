//! Taps the broker: receives messages between two-step and otpost, and can forward them in another order.

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// A message, with its routing key.
pub(crate) type Message = (String, Vec<u8>);

/// A queue of one scenario.
pub(crate) struct Tap {
    _connection: Connection,
    pub(crate) channel: Channel,
    queue: String,
}

impl Tap {
    /// Connects to a virtual host.
    pub(crate) async fn open(url: &str) -> Self {
        let connection =
            Connection::connect(url, ConnectionProperties::default()).await.expect("RabbitMQ answers");
        let channel = connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
        let queue = queue.name().to_string();
        Self { _connection: connection, channel, queue }
    }

    /// Binds the queue to an exchange with these routing keys.
    pub(crate) async fn bind(&self, exchange: &str, keys: &[&str]) {
        for key in keys {
            let (queue, exchange) = (self.queue.as_str().into(), exchange.into());
            let options = QueueBindOptions::default();
            self.channel
                .queue_bind(queue, exchange, (*key).into(), options, FieldTable::default())
                .await
                .unwrap();
        }
    }

    /// Returns the messages since the last call, oldest first.
    pub(crate) async fn drain(&self) -> Vec<Message> {
        let (mut all, options) = (vec![], BasicGetOptions { no_ack: true });
        while let Some(got) = self.channel.basic_get(self.queue.as_str().into(), options).await.unwrap() {
            all.push((got.delivery.routing_key.to_string(), got.delivery.data.clone()));
        }
        all
    }

    /// Sets whether otpost's queue is bound for jobs.
    pub(crate) async fn bind_jobs(&self, on: bool) {
        let (queue, exchange, key) = ("otpost.dispatch".into(), "otpost".into(), "dispatch".into());
        if on {
            let options = QueueBindOptions::default();
            self.channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await.unwrap();
        } else {
            self.channel.queue_unbind(queue, exchange, key, FieldTable::default()).await.unwrap();
        }
    }

    /// Sets whether two-step's queue is bound for otpost's events.
    pub(crate) async fn bind_events(&self, on: bool) {
        let (queue, exchange, key) = ("two-step.events".into(), "otpost.events".into(), "dispatch.#".into());
        if on {
            let options = QueueBindOptions::default();
            self.channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await.unwrap();
        } else {
            self.channel.queue_unbind(queue, exchange, key, FieldTable::default()).await.unwrap();
        }
    }

    /// Publishes an event to two-step's queue.
    pub(crate) async fn publish_event(&self, body: &[u8]) {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let publish =
            self.channel.basic_publish("".into(), "two-step.events".into(), options, body, properties);
        publish.await.unwrap().await.unwrap();
    }
}
