//! The publishing side: one task owns the channel, sends what comes through the door, and answers when it is confirmed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::flight::{Flight, Verdict};
use super::link::{Link, News, answered};
use super::problem::{Asked, BrokerError};
use super::standing::{Side, Standing};
use super::{Message, PublishError, Settings};

/// A confirm that stays away for so long will not come: the connection is built anew, which frees its place.
const OVERDUE: Duration = Duration::from_secs(60);
/// AMQP's delivery mode of what survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A message as lapin wants it, with where its answer goes.
struct Order {
    exchange: ShortString,
    routing_key: ShortString,
    body: Vec<u8>,
    properties: BasicProperties,
    message_id: String,
    mandatory: bool,
    answer: Answer,
}

struct Answer {
    to: oneshot::Sender<Verdict>,
    /// A place among the outstanding. It is free again when the confirm came, not when its publisher lost patience.
    _place: OwnedSemaphorePermit,
}

/// Where messages go in while the broker takes them.
pub(super) struct Door {
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Door {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            orders: Mutex::new(None),
            places: Arc::new(Semaphore::new(settings.max_outstanding.max(1))),
            patience: settings.publish_timeout,
        }
    }

    pub(super) async fn publish(&self, message: Message) -> Verdict {
        let publishing = async {
            // Who waits in line waits for no more than a place; who comes while the broker is away does not wait.
            self.orders()?;
            let place = Arc::clone(&self.places)
                .acquire_owned()
                .await
                .map_err(|_| PublishError::Away)?;
            let (to, answered) = oneshot::channel();
            let order = message
                .order(Answer { to, _place: place })
                .ok_or(PublishError::Unfit)?;
            self.orders()?.send(order).map_err(|_| PublishError::Away)?;
            answered.await.unwrap_or(Err(PublishError::Lost))
        };
        tokio::time::timeout(self.patience, publishing)
            .await
            .unwrap_or(Err(PublishError::TimedOut))
    }

    fn orders(&self) -> Result<mpsc::UnboundedSender<Order>, PublishError> {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(PublishError::Away)
    }

    fn set(&self, orders: Option<mpsc::UnboundedSender<Order>>) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = orders;
    }
}

impl Message {
    /// None when something is longer than AMQP permits: lapin would panic, or end the whole connection over it.
    fn order(self, answer: Answer) -> Option<Order> {
        let short = |text: &str| ShortString::try_new(text).ok();
        let mut headers = FieldTable::default();
        for (name, value) in self.headers {
            headers.insert(short(&name)?, AMQPValue::LongString(value.into()));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short(&self.message_id)?)
            .with_type(short(self.kind)?)
            .with_timestamp(u64::try_from(crate::clock::now().as_second()).unwrap_or(0))
            .with_content_type(short(self.content_type)?)
            .with_headers(headers);
        Some(Order {
            exchange: self.exchange.as_str().into(),
            routing_key: short(&self.routing_key)?,
            body: self.body,
            properties,
            message_id: self.message_id,
            mandatory: self.mandatory,
            answer,
        })
    }
}

type Confirming = BoxFuture<'static, (u64, lapin::Result<Confirmation>)>;

/// One life of the publishing connection. Ok when it was told to stop.
pub(super) async fn live(
    settings: &Settings,
    door: &Door,
    standing: &Standing,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let opening = async {
        let link = Link::open(&settings.url, settings.declare, Asked::Publishing).await?;
        let confirms = link.channel.confirm_select(ConfirmSelectOptions::default());
        answered(async { confirms.await.map_err(|e| BrokerError::of(&e, Asked::Publishing)) }).await?;
        Ok(link)
    };
    let mut link = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        link = opening => link?,
    };
    let mut line = Line {
        flight: Flight::new(),
        confirming: FuturesUnordered::new(),
    };
    let ended = line.run(&mut link, door, standing, stop).await;
    door.set(None);
    if ended.is_ok() {
        line.finish(settings.publish_timeout).await;
        link.close().await;
    }
    ended
}

struct Line {
    flight: Flight<Answer>,
    /// Ready in the order in which lapin completed them, because its queue of woken futures is first in, first out, and
    /// nothing polls them but this task. What is in flight relies on that order.
    confirming: FuturesUnordered<Confirming>,
}

impl Line {
    async fn run(
        &mut self,
        link: &mut Link,
        door: &Door,
        standing: &Standing,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let (orders, mut ordered) = mpsc::unbounded_channel();
        door.set(Some(orders.clone()));
        standing.up(Side::Publishing);
        let mut blocked = false;
        let mut flowing_since = Instant::now();
        let mut looking = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(order) = ordered.recv() => self.send(&link.channel, order),
                Some(confirmed) = self.confirming.next() => self.settle(confirmed)?,
                news = link.news() => match news {
                    News::Blocked => {
                        blocked = true;
                        door.set(None);
                        if standing.down(Side::Publishing, &BrokerError::Blocked) {
                            tracing::warn!(broker.side = "publishing", "{}", BrokerError::Blocked);
                        }
                    }
                    News::Unblocked => {
                        (blocked, flowing_since) = (false, Instant::now());
                        door.set(Some(orders.clone()));
                        standing.up(Side::Publishing);
                    }
                    News::Ended(problem) => return Err(problem),
                },
                _ = looking.tick() => {
                    if !blocked && self.flight.longest().min(flowing_since.elapsed()) > OVERDUE {
                        return Err(BrokerError::Unconfirmed);
                    }
                }
            }
        }
    }

    /// Hands a message to lapin. Only this task does, because lapin numbers a message and queues it in two steps: two
    /// publishers at once would get each other's confirms.
    fn send(&mut self, channel: &Channel, order: Order) {
        let Order {
            exchange,
            routing_key,
            body,
            properties,
            message_id,
            mandatory,
            answer,
        } = order;
        let name = self.flight.sent(message_id, mandatory, answer);
        let channel = channel.clone();
        self.confirming.push(Box::pin(async move {
            let options = BasicPublishOptions {
                mandatory,
                ..BasicPublishOptions::default()
            };
            let confirmed = match channel
                .basic_publish(exchange, routing_key, options, &body, properties)
                .await
            {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (name, confirmed)
        }));
    }

    fn settle(&mut self, (name, confirmed): (u64, lapin::Result<Confirmation>)) -> Result<(), BrokerError> {
        let (ack, carried) = match confirmed.map_err(|e| BrokerError::of(&e, Asked::Publishing))? {
            Confirmation::Ack(carried) => (true, carried),
            Confirmation::Nack(carried) => (false, carried),
            Confirmation::NotRequested => (false, None),
        };
        // A message without an id is not ours to tell apart; ours all have one.
        let carried = carried.map(|m| {
            m.delivery
                .properties
                .message_id()
                .as_ref()
                .map_or(String::new(), ToString::to_string)
        });
        for (answer, verdict) in self.flight.confirmed(name, ack, carried.as_deref()) {
            let _ = answer.to.send(verdict); // its publisher may have lost patience
        }
        Ok(())
    }

    /// Waits for the confirms that are still to come.
    async fn finish(&mut self, patience: Duration) {
        let finishing = async {
            while !self.flight.is_empty() {
                let Some(confirmed) = self.confirming.next().await else {
                    return;
                };
                if self.settle(confirmed).is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, finishing).await;
    }
}
