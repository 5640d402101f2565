//! otpost over RabbitMQ: publishes jobs and commands to the exchange `otpost`, and consumes events of `otpost.events` from
//! our own queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
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

use super::receiving::receive_until_stopped;
use super::{Event, OtpostClient, OtpostUnavailable, Published, TenantKey, job, wire};
use crate::config::BadConfig;
use crate::flow::DispatchEvent;
use crate::store::OutboxKind;

const JOBS: &str = "otpost";
const EVENTS: &str = "otpost.events";
const QUEUE: &str = "two-step.events";
/// Time-out of connecting, and of a publisher confirm.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Heartbeat interval in seconds. A peer that is silent for twice as long counts as disconnected.
const HEARTBEAT_S: u16 = 10;
/// Number of publishing channels. Each publishes one message at a time, because an unroutable message is returned to its
/// channel.
const CHANNELS: usize = 8;
/// Maximum number of events that are delivered and not acknowledged yet.
const PREFETCH: u16 = 64;
const PERSISTENT: u8 = 2;

/// A connection to otpost over RabbitMQ.
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
                "otpost.url must be amqp://user:password@host:port/vhost if otpost.mode is amqp".to_owned(),
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

    async fn connect(&self, name: &str) -> Result<Connection, OtpostUnavailable> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let connected = timeout(TIMEOUT, connecting).await;
        connected
            .map_err(|_| OtpostUnavailable("RabbitMQ did not answer in time".to_owned()))?
            .map_err(|_| OtpostUnavailable("cannot connect to RabbitMQ, or it refused the user".to_owned()))
    }

    /// Opens a channel with publisher confirms.
    async fn channel(&self) -> Result<Channel, OtpostUnavailable> {
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

    /// Opens a publishing connection. Declares our queue first, so that no event of a published job is lost.
    async fn connect_to_publish(&self) -> Result<Connection, OtpostUnavailable> {
        let connection = self.connect("two-step publishing").await?;
        let declaring = async {
            let channel = connection.create_channel().await?;
            declare_events(&channel).await?;
            channel.close(200, "declared".into()).await
        };
        timeout(TIMEOUT, declaring).await.map_err(|_| broken())?.map_err(|_| no_queue())?;
        Ok(connection)
    }

    /// Publishes a message, and waits for the confirm.
    async fn publish(&self, routing_key: &str, body: &Json) -> Result<(), OtpostUnavailable> {
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
            // otpost measures from it how long jobs wait.
            .with_timestamp(u64::try_from(crate::clock::machine_now().as_second()).unwrap_or(0))
            // RabbitMQ checks the user id, so otpost can trust it.
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
            Ok(Ok(Confirmation::Ack(Some(_)))) => Err(OtpostUnavailable(
                "no queue is bound for jobs; check that otpost uses this vhost".to_owned(),
            )),
            Ok(Ok(_)) => {
                // If its first message came while the queue had no leader, RabbitMQ 3.10 refuses every message of a channel.
                *slot = None;
                for idle in &self.channels {
                    if let Ok(mut slot) = idle.try_lock() {
                        *slot = None;
                    }
                }
                Err(OtpostUnavailable("RabbitMQ rejected a message".to_owned()))
            }
            Ok(Err(_)) | Err(_) => {
                // It is unknown whether the broker has the message. The relay publishes it again.
                *slot = None;
                Err(broken())
            }
        }
    }

    /// Consumes events on one connection until it ends.
    async fn consume(&self, events: &mpsc::Sender<Event>) -> Result<(), OtpostUnavailable> {
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
        Err(OtpostUnavailable("RabbitMQ ended the consumer".to_owned()))
    }

    /// Passes an event on, and acknowledges it after it is stored.
    async fn hand_over(
        &self, delivery: &Delivery, events: &mpsc::Sender<Event>,
    ) -> Result<(), OtpostUnavailable> {
        if let Some(event) = wire::read_event(&delivery.data) {
            let (stored, done) = oneshot::channel();
            let gone = || OtpostUnavailable("an event was not stored; it is redelivered".to_owned());
            events.send(Event { event, stored }).await.map_err(|_| gone())?;
            done.await.map_err(|_| gone())?;
        }
        let acked = delivery.ack(BasicAckOptions::default()).await;
        if acked.is_ok_and(|sent| sent) { Ok(()) } else { Err(broken()) }
    }
}

#[async_trait]
impl OtpostClient for Amqp {
    async fn publish(&self, kind: OutboxKind, body: &Json) -> Result<Published, OtpostUnavailable> {
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

    async fn receive_events(&self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        receive_until_stopped(&stop, TIMEOUT * 2, || self.consume(&events)).await;
    }

    async fn read_back(&self, _: Uuid) -> Result<Option<DispatchEvent>, OtpostUnavailable> {
        // Not needed: the queue keeps events that were not consumed.
        Ok(None)
    }

    fn may_have_missed(&self) -> bool {
        false
    }
}

/// Declares our queue for otpost's events.
async fn declare_events(channel: &Channel) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    let bind = QueueBindOptions::default();
    channel.queue_bind(QUEUE.into(), EVENTS.into(), "dispatch.#".into(), bind, FieldTable::default()).await
}

fn no_queue() -> OtpostUnavailable {
    OtpostUnavailable(
        "the queue two-step.events cannot be declared; check that otpost uses this vhost".to_owned(),
    )
}

fn broken() -> OtpostUnavailable {
    OtpostUnavailable("the connection to RabbitMQ broke".to_owned())
}
