//! Consumes a queue. One task owns the channel, buffers the deliveries, and sends the acks.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{SelectAll, once};
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::acks::{Ack, AckTracker, Settlement, Verb};
use super::deliveries::{ConsumedQueue, Delivery, DeliveryBuffer, changed};
use super::link::{Link, LinkEvent, with_timeout};
use super::monitor::{ConnectionKind, ConnectionMonitor};
use super::problem::{BrokerError, Operation};

/// Interval at which a stopping consumer settles deliveries while others are still held.
const LAST_SETTLEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Time in which RabbitMQ answers many settlements, before more of them follow or the channel closes.
const MANY_SETTLEMENTS_PAUSE: Duration = Duration::from_millis(200);

/// The queue to consume, and the prefetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConsumerOptions {
    pub(super) queue: ConsumedQueue,
    pub(super) prefetch: u16,
}

/// Runs one consuming connection until it fails. Returns `Ok` after shutdown.
pub(super) async fn run(
    settings: &Settings, options: ConsumerOptions, buffer: &DeliveryBuffer,
    mut may_consume: watch::Receiver<bool>, monitor: &ConnectionMonitor, shutdown: &CancellationToken,
) -> Result<(), BrokerError> {
    let ConsumerOptions { queue, prefetch } = options;
    let link = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        link = Link::open(&settings.nodes, settings.declare, Operation::Consumer(queue.name())) => link?,
    };
    let (settling, settled) = mpsc::unbounded_channel();
    let mut reader = QueueReader {
        link,
        buffer,
        queue,
        prefetch: prefetch.max(1),
        linger: settings.linger,
        consumers: vec![],
        events: SelectAll::new(),
        granted: 0,
        cancelled_up_to: 0,
        acks: AckTracker::new(),
        settling,
        settled,
    };
    let ended = reader.run(&mut may_consume, monitor, shutdown).await;
    if ended.is_ok() {
        reader.leave().await;
    } else {
        // Buffered deliveries belong to a lost channel, and RabbitMQ redelivers them. Processing them here would process them
        // twice.
        buffer.clear();
    }
    ended
}

enum ConsumerEvent {
    Message(Box<lapin::message::Delivery>),
    Failed(BrokerError),
    /// The consumer's stream ended: the consumer was cancelled by us or by RabbitMQ.
    Ended,
}

type DeliveryStream = Pin<Box<dyn Stream<Item = ConsumerEvent> + Send>>;

struct QueueReader<'a> {
    link: Link,
    buffer: &'a DeliveryBuffer,
    queue: ConsumedQueue,
    prefetch: u16,
    /// How long acks are still sent after shutdown.
    linger: Duration,
    /// Tags of the active consumers.
    consumers: Vec<ShortString>,
    events: SelectAll<DeliveryStream>,
    /// Sum of the prefetch of all active consumers.
    granted: u16,
    /// Deliveries up to this tag came from consumers that are cancelled.
    cancelled_up_to: u64,
    acks: AckTracker,
    /// Every delivery holds a clone. The receiver ends when no delivery is held any more.
    settling: mpsc::UnboundedSender<Settlement>,
    settled: mpsc::UnboundedReceiver<Settlement>,
}

impl QueueReader<'_> {
    async fn run(
        &mut self, may_consume: &mut watch::Receiver<bool>, monitor: &ConnectionMonitor,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let mut connected = false;
        loop {
            if *may_consume.borrow_and_update() {
                with_timeout(self.consume()).await?;
            } else {
                with_timeout(self.pause()).await?;
            }
            if !std::mem::replace(&mut connected, true) {
                monitor.up(ConnectionKind::Consuming(self.queue));
            }
            tokio::select! {
                // Shutdown is checked first. Otherwise a requeued message would be delivered to these consumers again.
                biased;
                () = shutdown.cancelled() => return Ok(()),
                event = self.link.next_event() => if let LinkEvent::Ended(problem) = event {
                    return Err(problem);
                },
                () = changed(may_consume) => {}
                Some(settlement) = self.settled.recv() => self.settle(settlement),
                Some(event) = self.events.next() => self.take(event)?,
            }
        }
    }

    /// Starts consuming, within the part of the prefetch that held deliveries leave free.
    ///
    /// RabbitMQ counts the prefetch per consumer, and does not count deliveries of a cancelled consumer. To keep the total
    /// within the prefetch, the first consumer after a pause gets only the free part. Further consumers are added while the
    /// deliveries from before the pause are settled. Each of them at least doubles the granted prefetch, so that there are few
    /// consumers.
    async fn consume(&mut self) -> Result<(), BrokerError> {
        if self.granted == self.prefetch {
            return Ok(());
        }
        let held = self.acks.held_up_to(self.cancelled_up_to);
        let free = (self.prefetch - self.granted).saturating_sub(u16::try_from(held).unwrap_or(u16::MAX));
        if free == 0 || (free < self.granted && held > 0) {
            return Ok(());
        }
        let failed = |e| BrokerError::of(&e, Operation::Consumer(self.queue.name()));
        // `basic.qos` applies to consumers that are started after it.
        self.link.channel.basic_qos(free, BasicQosOptions::default()).await.map_err(failed)?;
        let consumer = self
            .link
            .channel
            .basic_consume(
                self.queue.name().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(failed)?;
        self.consumers.push(consumer.tag());
        self.granted += free;
        let name = self.queue.name();
        let stream = consumer.map(move |next| match next {
            Ok(message) => ConsumerEvent::Message(Box::new(message)),
            Err(e) => ConsumerEvent::Failed(BrokerError::of(&e, Operation::Consumer(name))),
        });
        self.events.push(Box::pin(stream.chain(once(async { ConsumerEvent::Ended }))));
        Ok(())
    }

    /// Stops consuming. Deliveries that were received stay held.
    async fn pause(&mut self) -> Result<(), BrokerError> {
        for tag in std::mem::take(&mut self.consumers) {
            let cancelled = self.link.channel.basic_cancel(tag, BasicCancelOptions::default()).await;
            cancelled.map_err(|e| BrokerError::of(&e, Operation::Consumer(self.queue.name())))?;
        }
        while let Some(event) = self.events.next().await {
            if !matches!(event, ConsumerEvent::Ended) {
                self.take(event)?;
            }
        }
        self.granted = 0;
        self.cancelled_up_to = self.acks.highest();
        Ok(())
    }

    fn take(&mut self, event: ConsumerEvent) -> Result<(), BrokerError> {
        match event {
            ConsumerEvent::Message(message) => {
                self.acks.delivered(message.delivery_tag);
                self.buffer.put(Delivery::new(self.queue, *message, self.settling.clone()));
                Ok(())
            }
            ConsumerEvent::Failed(problem) => Err(problem),
            ConsumerEvent::Ended => Err(BrokerError::Cancelled(self.queue.name())),
        }
    }

    /// Settles this delivery and all others that were settled in the meantime.
    ///
    /// One poll puts a frame into lapin's send queue. RabbitMQ does not confirm acks. If one is lost, the connection is lost as well and
    /// RabbitMQ redelivers the message.
    fn settle(&mut self, first: Settlement) {
        let mut acked = vec![];
        let mut next = Some(first);
        while let Some(settlement) = next {
            match settlement.verb {
                Verb::Ack => acked.push(settlement.tag),
                Verb::Requeue => {
                    self.send(settlement, false);
                    self.acks.settle(&mut [settlement.tag]);
                }
            }
            next = self.settled.try_recv().ok();
        }
        for Ack { tag, multiple } in self.acks.settle(&mut acked) {
            self.send(Settlement { tag, verb: Verb::Ack }, multiple);
        }
    }

    fn send(&self, Settlement { tag, verb }: Settlement, multiple: bool) {
        let channel = &self.link.channel;
        let _ = match verb {
            Verb::Ack => channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never(),
            Verb::Requeue => {
                channel.basic_nack(tag, BasicNackOptions { multiple, requeue: true }).now_or_never()
            }
        };
    }

    /// Stops consuming for good, and waits up to `linger` until every delivery is settled. Those in the buffer are given back by
    /// [`super::Deliveries::next_left`].
    async fn leave(mut self) {
        if with_timeout(self.pause()).await.is_ok() {
            let _ = tokio::time::timeout(self.linger, self.finish()).await;
        }
        self.buffer.clear();
        self.link.close().await;
    }

    /// Settles deliveries until none is held or the connection ends, with few frames. RabbitMQ 3.10 postpones acks for a quorum queue while
    /// 32 of a channel's requests to this queue are unanswered, and forgets them when the channel closes.
    async fn finish(&mut self) {
        self.settling = mpsc::unbounded_channel().0;
        let mut settlements = BTreeMap::new();
        let mut interval = tokio::time::interval(LAST_SETTLEMENT_INTERVAL);
        interval.reset();
        loop {
            tokio::select! {
                settlement = self.settled.recv() => match settlement {
                    Some(Settlement { tag, verb }) => drop(settlements.insert(tag, verb)),
                    None => break,
                },
                _ = interval.tick() => self.settle_all(&mut settlements).await,
                event = self.link.next_event() => if let LinkEvent::Ended(_) = event {
                    return;
                },
            }
        }
        self.settle_all(&mut settlements).await;
    }

    async fn settle_all(&mut self, settlements: &mut BTreeMap<u64, Verb>) {
        for settlement in self.acks.settle_run(settlements) {
            self.send(settlement, true);
        }
        // A lower delivery is held, or was dropped.
        let rest = std::mem::take(settlements);
        for (tag, verb) in &rest {
            self.send(Settlement { tag: *tag, verb: *verb }, false);
            self.acks.settle(&mut [*tag]);
        }
        if !rest.is_empty() {
            tokio::time::sleep(MANY_SETTLEMENTS_PAUSE).await;
        }
    }
}
