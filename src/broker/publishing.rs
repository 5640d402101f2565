//! A publishing connection. One task owns the channel, sends the messages of its [`PublishGate`], and reports each publisher
//! confirm.

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
/// A channel that was opened while a queue had lost its leader is refused every message until the former leader's node is back (RabbitMQ
/// 3.10, `enqueue` in `rabbit_fifo_client.erl`). A new connection finds the new leader. A full queue refuses messages too, so each
/// connection waits twice as long as the one before it.
const MIN_REOPEN_PAUSE: Duration = Duration::from_secs(4);
const MAX_REOPEN_PAUSE: Duration = Duration::from_mins(1);
/// Interval at which overdue confirms and refusals are looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

type Confirming = BoxFuture<'static, (u64, lapin::Result<Confirmation>)>;

/// Why a connection ended that had not failed.
enum Ended {
    Stopped,
    /// RabbitMQ refuses messages on it. Holds how long it was open.
    Refused(Duration),
}

/// Publishes until a connection fails. Returns `Ok` after `stop`.
pub(super) async fn run(
    settings: &Settings, kind: ConnectionKind, gate: &PublishGate, monitor: &ConnectionMonitor,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let operation = if kind == ConnectionKind::PublishingEvents {
        Operation::PublishingEvents
    } else {
        Operation::Publishing
    };
    let mut reopen_pause = MIN_REOPEN_PAUSE;
    loop {
        let opening = async {
            let link = Link::open(&settings.nodes, settings.declare, operation).await?;
            let confirms = link.channel.confirm_select(ConfirmSelectOptions::default());
            with_timeout(async { confirms.await.map_err(|e| BrokerError::of(&e, operation)) }).await?;
            Ok(link)
        };
        let mut link = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            link = opening => link?,
        };
        let mut sender = Sender {
            kind,
            operation,
            in_flight: InFlight::new(),
            confirming: FuturesUnordered::new(),
            reopen_pause,
            is_refused: false,
        };
        let ended = sender.run(&mut link, gate, monitor, stop).await;
        gate.close();
        if ended.is_ok() {
            sender.finish(settings.publish_timeout).await;
            link.close().await;
        }
        match ended? {
            Ended::Stopped => return Ok(()),
            Ended::Refused(open) => {
                warn!(
                    broker.connection = kind.as_str(),
                    "RabbitMQ refuses messages: a queue is full, or has lost its leader; opening a new connection"
                );
                // Else it took messages for a while.
                let is_repeated = open < reopen_pause * 2;
                reopen_pause =
                    if is_repeated { MAX_REOPEN_PAUSE.min(reopen_pause * 2) } else { MIN_REOPEN_PAUSE };
            }
        }
    }
}

struct Sender {
    kind: ConnectionKind,
    operation: Operation,
    in_flight: InFlight<Responder>,
    confirming: FuturesUnordered<Confirming>,
    /// How long the connection stays open although RabbitMQ refuses messages on it.
    reopen_pause: Duration,
    /// RabbitMQ has refused a message on this connection.
    is_refused: bool,
}

impl Sender {
    async fn run(
        &mut self, link: &mut Link, gate: &PublishGate, monitor: &ConnectionMonitor, stop: &CancellationToken,
    ) -> Result<Ended, BrokerError> {
        let (requests, mut received) = mpsc::unbounded_channel();
        gate.open(requests.clone());
        monitor.up(self.kind);
        let mut blocked = false;
        let opened = Instant::now();
        let mut flowing_since = opened;
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Stopped),
                Some(request) = received.recv() => self.send(&link.channel, request),
                confirmed = poll_fn(|cx| self.poll_confirmed(cx)) => self.settle(confirmed)?,
                event = link.next_event() => match event {
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
                    if !blocked && self.in_flight.oldest_age().min(flowing_since.elapsed()) > CONFIRM_OVERDUE_AFTER {
                        return Err(BrokerError::Unconfirmed);
                    }
                    if self.is_refused && opened.elapsed() > self.reopen_pause {
                        return Ok(Ended::Refused(opened.elapsed()));
                    }
                }
            }
        }
    }

    /// Hands a message to lapin. Only this task does so, because lapin numbers and queues a message in two steps. Two
    /// concurrent publishers would get each other's confirms.
    fn send(&mut self, channel: &Channel, request: PublishRequest) {
        let Prepared { exchange, routing_key, body, properties, message_id, mandatory } = request.prepared;
        let number = self.in_flight.sent(message_id, mandatory, request.responder);
        let channel = channel.clone();
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
    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> Poll<Vec<(u64, lapin::Result<Confirmation>)>> {
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

    fn settle(&mut self, confirms: Vec<(u64, lapin::Result<Confirmation>)>) -> Result<(), BrokerError> {
        let mut problem = None;
        let mut confirmed = vec![];
        for (number, confirm) in confirms {
            let (ack, returned_id) = match confirm {
                Ok(Confirmation::Ack(returned_id)) => (true, returned_id),
                Ok(Confirmation::Nack(returned_id)) => (false, returned_id),
                Ok(Confirmation::NotRequested) => (false, None),
                Err(error) => {
                    problem = Some(BrokerError::of(&error, self.operation));
                    continue;
                }
            };
            let id = |m: lapin::message::BasicReturnMessage| {
                m.properties.message_id().as_ref().map_or(String::new(), ToString::to_string)
            };
            confirmed.push(Confirmed { number, ack, returned_id: returned_id.map(id) });
        }
        for (responder, result) in self.in_flight.confirmed(&confirmed) {
            self.is_refused |= result == Err(PublishError::Refused);
            responder.respond(result);
        }
        problem.map_or(Ok(()), Err)
    }

    /// Waits for the outstanding confirms.
    async fn finish(&mut self, timeout: Duration) {
        let finishing = async {
            while !self.in_flight.is_empty() {
                let confirmed = poll_fn(|cx| self.poll_confirmed(cx)).await;
                if self.settle(confirmed).is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(timeout, finishing).await;
    }
}

struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}
