//! otpost over RabbitMQ: jobs and acts to the exchange `otpost`, events from a queue of our own on `otpost.events`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value as Json;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Carrier, CarrierAway, Event, Published, TenantKey, job, wire};
use crate::config::BadConfig;
use crate::flow::Heard;
use crate::store::OutboxKind;

const JOBS: &str = "otpost";
const EVENTS: &str = "otpost.events";
const QUEUE: &str = "two-step.events";
/// How long a connection may take to come about, and a message to be confirmed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds between heartbeats: a peer that is silent for twice as long is gone.
const HEARTBEAT_S: u16 = 10;
/// Messages under way at once, each on a channel of its own: a message that no queue takes comes back to its own publisher.
const CHANNELS: usize = 8;
/// Events that are held before they are written down.
const PREFETCH: u16 = 64;
const PERSISTENT: u8 = 2;

/// The way over a broker.
pub(super) struct Amqp {
    uri: AMQPUri,
    user: String,
    tenant: String,
    key: Option<TenantKey>,
    connection: Mutex<Option<Connection>>,
    channels: [Mutex<Option<Channel>>; CHANNELS],
    turn: AtomicUsize,
}

impl Amqp {
    pub(super) fn new(url: &str, tenant: String, key: Option<TenantKey>) -> Result<Self, BadConfig> {
        let mut uri: AMQPUri = url.parse().map_err(|_| {
            BadConfig(
                "otpost.url is amqp://user:password@host:port/vhost where otpost.mode is amqp".to_owned(),
            )
        })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        let user = uri.authority.userinfo.username.clone();
        Ok(Self {
            uri,
            user,
            tenant,
            key,
            connection: Mutex::default(),
            channels: std::array::from_fn(|_| Mutex::default()),
            turn: AtomicUsize::new(0),
        })
    }

    async fn connect(&self, name: &str) -> Result<Connection, CarrierAway> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let connected = timeout(TIMEOUT, connecting).await;
        connected
            .map_err(|_| CarrierAway("RabbitMQ does not answer in time".to_owned()))?
            .map_err(|_| CarrierAway("RabbitMQ cannot be connected to, or refuses the user".to_owned()))
    }

    /// A channel that confirms what is published on it.
    async fn channel(&self) -> Result<Channel, CarrierAway> {
        let mut held = self.connection.lock().await;
        if !held.as_ref().is_some_and(|c| c.status().connected()) {
            *held = Some(self.connect_to_publish().await?);
        }
        let Some(connection) = held.as_ref() else { return Err(broken()) };
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(channel)
        };
        timeout(TIMEOUT, opening).await.map_err(|_| broken())?.map_err(|_| broken())
    }

    /// A connection to publish on. No job goes out before our queue keeps what becomes of it.
    async fn connect_to_publish(&self) -> Result<Connection, CarrierAway> {
        let connection = self.connect("two-step publishing").await?;
        let declaring = async {
            let channel = connection.create_channel().await?;
            declare_events(&channel).await?;
            channel.close(200, "declared".into()).await
        };
        timeout(TIMEOUT, declaring).await.map_err(|_| broken())?.map_err(|_| no_queue())?;
        Ok(connection)
    }

    /// Publishes a message, and waits until the broker has it.
    async fn publish(&self, routing_key: &str, body: &Json) -> Result<(), CarrierAway> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CHANNELS;
        let mut slot = self.channels[turn].lock().await;
        if !slot.as_ref().is_some_and(|c| c.status().connected()) {
            *slot = Some(self.channel().await?);
        }
        let Some(channel) = slot.as_ref() else { return Err(broken()) };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(Uuid::new_v4().to_string().into())
            // RabbitMQ checks it, so that otpost can trust it.
            .with_user_id(self.user.as_str().into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let text = body.to_string();
        let publishing = async {
            channel
                .basic_publish(JOBS.into(), routing_key.into(), options, text.as_bytes(), properties)
                .await?
                .await
        };
        let confirmed = timeout(TIMEOUT, publishing).await;
        match confirmed {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(Confirmation::Ack(Some(_)))) => {
                Err(CarrierAway("no queue takes jobs: is otpost set up in this vhost?".to_owned()))
            }
            Ok(Ok(_)) => Err(CarrierAway("RabbitMQ did not keep a message".to_owned())),
            Ok(Err(_)) | Err(_) => {
                // Whether the broker has it is not known: the same message goes again.
                *slot = None;
                Err(broken())
            }
        }
    }

    /// One connection that consumes, until it ends.
    async fn consume(&self, events: &mpsc::Sender<Event>) -> Result<(), CarrierAway> {
        let connection = self.connect("two-step consuming").await?;
        let preparing = async {
            let channel = connection.create_channel().await?;
            declare_events(&channel).await?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let tag = ShortString::default();
            channel
                .basic_consume(QUEUE.into(), tag, BasicConsumeOptions::default(), FieldTable::default())
                .await
        };
        let consumer = timeout(TIMEOUT, preparing).await;
        let mut consumer = consumer.map_err(|_| broken())?.map_err(|_| no_queue())?;
        while let Some(delivery) = consumer.next().await {
            self.hand_over(&delivery.map_err(|_| broken())?, events).await?;
        }
        Err(CarrierAway("RabbitMQ ended the consumer".to_owned()))
    }

    /// Hands an event over, and acknowledges it once it is written down.
    async fn hand_over(&self, delivery: &Delivery, events: &mpsc::Sender<Event>) -> Result<(), CarrierAway> {
        if let Some(heard) = wire::read_event(&delivery.data) {
            let (written, done) = oneshot::channel();
            let gone = || CarrierAway("an event was not written down; it comes again".to_owned());
            events.send(Event { heard, written }).await.map_err(|_| gone())?;
            done.await.map_err(|_| gone())?;
        }
        let acked = delivery.ack(BasicAckOptions::default()).await;
        if acked.is_ok_and(|sent| sent) { Ok(()) } else { Err(broken()) }
    }
}

#[async_trait]
impl Carrier for Amqp {
    async fn publish(&self, kind: OutboxKind, body: &Json) -> Result<Published, CarrierAway> {
        let routing_key = match kind {
            OutboxKind::Next => "next",
            OutboxKind::Cancel => "cancel",
            OutboxKind::Feedback => "feedback",
            _ => "dispatch",
        };
        let mut body = if routing_key == "dispatch" {
            job(body, &self.tenant, self.key.as_ref())?
        } else {
            body.clone()
        };
        if let Some(fields) = body.as_object_mut() {
            fields.insert("tenant".to_owned(), self.tenant.clone().into());
        }
        self.publish(routing_key, &body).await?;
        Ok(Published::Taken)
    }

    async fn hear(&self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(10))
            .with_jitter()
            .without_max_times();
        let mut pause = pauses.build();
        loop {
            let began = tokio::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.consume(&events) => ended,
            };
            if began.elapsed() > TIMEOUT * 2 {
                pause = pauses.build();
            }
            let wait = pause.next().unwrap_or(TIMEOUT);
            if let Err(CarrierAway(reason)) = ended {
                tracing::warn!(reason, retry_ms = wait.as_millis() as u64, "otpost's events are not heard");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn read_back(&self, _: Uuid) -> Result<Option<Heard>, CarrierAway> {
        // The queue keeps what nobody heard.
        Ok(None)
    }

    fn may_have_missed(&self) -> bool {
        false
    }
}

/// Our queue of otpost's events.
async fn declare_events(channel: &Channel) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    let bind = QueueBindOptions::default();
    channel.queue_bind(QUEUE.into(), EVENTS.into(), "dispatch.#".into(), bind, FieldTable::default()).await
}

fn no_queue() -> CarrierAway {
    CarrierAway("the queue two-step.events cannot be declared: is otpost set up in this vhost?".to_owned())
}

fn broken() -> CarrierAway {
    CarrierAway("the connection to RabbitMQ broke".to_owned())
}
