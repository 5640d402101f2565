//! A publishing connection. One task owns its channel, sends the messages of its [`PublishGate`], and reports each publisher
//! confirm. A channel on which RabbitMQ refuses messages is replaced.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::gate::{PublishGate, PublishRequest, Responder};
use super::in_flight::{Confirmed, InFlight};
use super::link::{Link, LinkEvent, with_timeout};
use super::message::Prepared;
use super::monitor::{ConnectionKind, ConnectionMonitor};
use super::problem::{BrokerError, Operation};
use super::{PublishError, Settings};

/// A confirm that is overdue for this long will not come. A new connection is opened, which releases the permits.
const CONFIRM_OVERDUE_AFTER: Duration = Duration::from_mins(1);
/// If a channel's first message to a quorum queue comes while that queue has lost its leader, RabbitMQ 3.10 refuses all messages of the
/// channel to it until the former leader's node is back (`enqueue` in `rabbit_fifo_client.erl`). A new channel finds the new leader. A full
/// queue refuses messages too, so a channel is kept for longer if the one before it was refused as well.
const MIN_REFUSED_AGE: Duration = Duration::from_secs(4);
const MAX_REFUSED_AGE: Duration = Duration::from_mins(1);
/// Interval at which overdue confirms and refusals are looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

type Confirming = BoxFuture<'static, (u64, lapin::Result<Confirmation>)>;

/// Runs one publishing connection until it fails. Returns `Ok` after `stop`.
pub(super) async fn run(
    settings: &Settings, kind: ConnectionKind, gate: &PublishGate, monitor: &ConnectionMonitor,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let operation = if kind == ConnectionKind::PublishingEvents {
        Operation::PublishingEvents
    } else {
        Operation::Publishing
    };
    let opening = async {
        let link = Link::open(&settings.nodes, settings.declare, operation).await?;
        confirm_select(&link.channel, operation).await?;
        Ok(link)
    };
    let link = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        link = opening => link?,
    };
    let channels = vec![PublishingChannel::new(link.channel.clone())];
    let mut publisher = Publisher { kind, operation, link, channels, refused_age: MIN_REFUSED_AGE };
    let ended = publisher.run(gate, monitor, stop).await;
    gate.close();
    if ended.is_ok() {
        publisher.finish(settings.publish_timeout).await;
        publisher.link.close().await;
    }
    ended
}

/// Has RabbitMQ confirm each message of the channel.
async fn confirm_select(channel: &Channel, operation: Operation) -> Result<(), BrokerError> {
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    with_timeout(async { confirms.await.map_err(|e| BrokerError::of(&e, operation)) }).await
}

struct Publisher {
    kind: ConnectionKind,
    operation: Operation,
    link: Link,
    /// The last one publishes. The others wait for confirms.
    channels: Vec<PublishingChannel>,
    /// A channel that is refused is replaced at this age.
    refused_age: Duration,
}

impl Publisher {
    async fn run(
        &mut self, gate: &PublishGate, monitor: &ConnectionMonitor, stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let (requests, mut received) = mpsc::unbounded_channel();
        gate.open(requests.clone());
        monitor.up(self.kind);
        let mut blocked = false;
        let mut flowing_since = Instant::now();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(request) = received.recv() => self.current().send(request),
                confirmed = next_confirmed(&mut self.channels) => self.settle(confirmed)?,
                event = self.link.next_event() => match event {
                    LinkEvent::Blocked => {
                        blocked = true;
                        gate.close();
                        if monitor.down(self.kind, &BrokerError::Blocked) {
                            warn!(
                                broker.connection = self.kind.as_str(), reason = %BrokerError::Blocked,
                                "publishing waits until RabbitMQ accepts messages again"
                            );
                        }
                    }
                    LinkEvent::Unblocked => {
                        (blocked, flowing_since) = (false, Instant::now());
                        gate.open(requests.clone());
                        monitor.up(self.kind);
                    }
                    LinkEvent::Checked(lengths) => {
                        if self.kind == ConnectionKind::Publishing {
                            monitor.queue_lengths().send_replace(lengths);
                        }
                    }
                    LinkEvent::Ended(problem) => return Err(problem),
                },
                _ = check.tick() => {
                    if blocked {
                        continue;
                    }
                    if self.oldest_age().min(flowing_since.elapsed()) > CONFIRM_OVERDUE_AFTER {
                        return Err(BrokerError::Unconfirmed);
                    }
                    let current = self.current();
                    let (is_refused, age) = (current.is_refused, current.opened.elapsed());
                    if is_refused && age > self.refused_age {
                        self.replace_channel(age).await?;
                    }
                }
            }
        }
    }

    fn current(&mut self) -> &mut PublishingChannel {
        self.channels.last_mut().expect("there is always one")
    }

    fn oldest_age(&self) -> Duration {
        self.channels.iter().map(|channel| channel.in_flight.oldest_age()).max().unwrap_or_default()
    }

    /// Publishes on a new channel from now on. The requests wait meanwhile.
    async fn replace_channel(&mut self, age: Duration) -> Result<(), BrokerError> {
        warn!(
            broker.connection = self.kind.as_str(),
            "RabbitMQ refuses messages: a queue is full, or has lost its leader; opening a new channel"
        );
        self.refused_age = next_refused_age(self.refused_age, age, self.current().is_accepted);
        self.link.replace_channel().await?;
        confirm_select(&self.link.channel, self.operation).await?;
        self.channels.retain(|channel| !channel.in_flight.is_empty());
        self.channels.push(PublishingChannel::new(self.link.channel.clone()));
        Ok(())
    }

    /// Answers the publishers whose results are known. `confirms` are those of the channel with this index.
    fn settle(&mut self, (index, confirms): (usize, Confirms)) -> Result<(), BrokerError> {
        self.channels[index].settle(confirms, self.operation)?;
        if index + 1 < self.channels.len() && self.channels[index].in_flight.is_empty() {
            self.channels.remove(index);
        }
        Ok(())
    }

    /// Waits for the outstanding confirms.
    async fn finish(&mut self, timeout: Duration) {
        let finishing = async {
            while self.channels.iter().any(|channel| !channel.in_flight.is_empty()) {
                let confirmed = next_confirmed(&mut self.channels).await;
                if self.settle(confirmed).is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(timeout, finishing).await;
    }
}

/// The age at which the next channel is replaced if it is refused. `age` is that of the channel that was replaced now.
fn next_refused_age(last: Duration, age: Duration, is_accepted: bool) -> Duration {
    // It worked until now.
    if is_accepted && age >= last * 2 {
        return MIN_REFUSED_AGE;
    }
    MAX_REFUSED_AGE.min(last * 2)
}

type Confirms = Vec<(u64, lapin::Result<Confirmation>)>;

/// Waits for confirms of one of the channels, and returns them with its index.
async fn next_confirmed(channels: &mut [PublishingChannel]) -> (usize, Confirms) {
    poll_fn(|cx| {
        for (index, channel) in channels.iter_mut().enumerate() {
            if let Poll::Ready(confirms) = channel.poll_confirmed(cx) {
                return Poll::Ready((index, confirms));
            }
        }
        Poll::Pending
    })
    .await
}

/// A channel, and its messages without a confirm.
struct PublishingChannel {
    channel: Channel,
    opened: Instant,
    in_flight: InFlight<Responder>,
    confirming: FuturesUnordered<Confirming>,
    /// RabbitMQ has accepted a message on it.
    is_accepted: bool,
    /// RabbitMQ has refused a message on it.
    is_refused: bool,
}

impl PublishingChannel {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            opened: Instant::now(),
            in_flight: InFlight::new(),
            confirming: FuturesUnordered::new(),
            is_accepted: false,
            is_refused: false,
        }
    }

    /// Hands a message to lapin. Only the connection's task does so, because lapin numbers and queues a message in two steps. Two
    /// concurrent publishers would get each other's confirms.
    fn send(&mut self, request: PublishRequest) {
        let Prepared { exchange, routing_key, body, properties, message_id, mandatory } = request.prepared;
        let number = self.in_flight.sent(message_id, mandatory, request.responder);
        let channel = self.channel.clone();
        self.confirming.push(Box::pin(async move {
            let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
            let published = channel.basic_publish(exchange, routing_key, options, &body, properties).await;
            let confirmed = match published {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (number, confirmed)
        }));
    }

    /// Waits for a confirm and returns it with *all* others that lapin has completed by then. To match a returned message, no
    /// confirm that completed earlier may be missing.
    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<Confirms> {
        let Some(first) = ready!(self.confirming.poll_next_unpin(cx)) else {
            return Poll::Pending;
        };
        let mut all = vec![first];
        // `FuturesUnordered` may yield although more futures are ready. It then wakes the waker, which distinguishes a yield
        // from an empty set.
        let paused = Arc::new(WakeFlag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&paused));
        loop {
            match self.confirming.poll_next_unpin(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(next)) => all.push(next),
                Poll::Pending if paused.0.swap(false, SeqCst) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(all),
            }
        }
    }

    fn settle(&mut self, confirms: Confirms, operation: Operation) -> Result<(), BrokerError> {
        let mut problem = None;
        let mut confirmed = vec![];
        for (number, confirm) in confirms {
            let (ack, returned_id) = match confirm {
                Ok(Confirmation::Ack(returned_id)) => (true, returned_id),
                Ok(Confirmation::Nack(returned_id)) => (false, returned_id),
                Ok(Confirmation::NotRequested) => (false, None),
                Err(error) => {
                    problem = Some(BrokerError::of(&error, operation));
                    continue;
                }
            };
            let id = |m: lapin::message::BasicReturnMessage| {
                m.properties.message_id().as_ref().map_or(String::new(), ToString::to_string)
            };
            confirmed.push(Confirmed { number, ack, returned_id: returned_id.map(id) });
        }
        for (responder, result) in self.in_flight.confirmed(&confirmed) {
            self.is_accepted |= result.is_ok();
            self.is_refused |= result == Err(PublishError::Refused);
            responder.respond(result);
        }
        problem.map_or(Ok(()), Err)
    }
}

struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX_REFUSED_AGE, MIN_REFUSED_AGE, next_refused_age};

    #[test]
    fn channels_are_replaced_ever_more_rarely_while_none_of_them_works() {
        let (mut age, mut ages) = (MIN_REFUSED_AGE, vec![]);
        for _ in 0..6 {
            age = next_refused_age(age, age * 3, false);
            ages.push(age.as_secs());
        }
        assert_eq!(ages, [8, 16, 32, 60, 60, 60]);
        let second = Duration::from_secs(1);
        assert_eq!(next_refused_age(age, age + second, true), MAX_REFUSED_AGE, "it worked in between");
        assert_eq!(next_refused_age(age, age * 2, true), MIN_REFUSED_AGE, "it worked for long");
    }
}
