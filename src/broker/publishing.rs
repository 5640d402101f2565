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

use super::Settings;
use super::gate::{Answer, Order, PublishGate};
use super::in_flight::{Confirmed, InFlight};
use super::link::{Link, News, answered};
use super::message::Prepared;
use super::problem::{Asked, BrokerError};
use super::standing::{Side, Standing};

/// A confirm that is overdue for this long will not come. A new connection is opened, which releases the permits.
const OVERDUE: Duration = Duration::from_mins(1);
/// Interval at which overdue confirms are looked for.
const LOOKING: Duration = Duration::from_secs(1);

type Confirming = BoxFuture<'static, (u64, lapin::Result<Confirmation>)>;

/// Runs one publishing connection until it fails. Returns `Ok` after `stop`.
pub(super) async fn live(
    settings: &Settings, side: Side, door: &PublishGate, standing: &Standing, stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let asked = if side == Side::Telling { Asked::Telling } else { Asked::Publishing };
    let opening = async {
        let link = Link::open(&settings.url, settings.declare, asked).await?;
        let confirms = link.channel.confirm_select(ConfirmSelectOptions::default());
        answered(async { confirms.await.map_err(|e| BrokerError::of(&e, asked)) }).await?;
        Ok(link)
    };
    let mut link = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        link = opening => link?,
    };
    let mut sender = Sender { side, asked, flight: InFlight::new(), confirming: FuturesUnordered::new() };
    let ended = sender.run(&mut link, door, standing, stop).await;
    door.close();
    if ended.is_ok() {
        sender.finish(settings.publish_timeout).await;
        link.close().await;
    }
    ended
}

struct Sender {
    side: Side,
    asked: Asked,
    flight: InFlight<Answer>,
    confirming: FuturesUnordered<Confirming>,
}

impl Sender {
    async fn run(
        &mut self, link: &mut Link, door: &PublishGate, standing: &Standing, stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let (orders, mut ordered) = mpsc::unbounded_channel();
        door.open(orders.clone());
        standing.up(self.side);
        let mut blocked = false;
        let mut flowing_since = Instant::now();
        let mut looking = tokio::time::interval(LOOKING);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(order) = ordered.recv() => self.send(&link.channel, order),
                confirmed = poll_fn(|cx| self.poll_confirmed(cx)) => self.settle(confirmed)?,
                news = link.news() => match news {
                    News::Blocked => {
                        blocked = true;
                        door.close();
                        if standing.down(self.side, &BrokerError::Blocked) {
                            warn!(broker.side = self.side.as_str(), "{}", BrokerError::Blocked);
                        }
                    }
                    News::Unblocked => {
                        (blocked, flowing_since) = (false, Instant::now());
                        door.open(orders.clone());
                        standing.up(self.side);
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

    /// Hands a message to lapin. Only this task does so, because lapin numbers and queues a message in two steps. Two
    /// concurrent publishers would get each other's confirms.
    fn send(&mut self, channel: &Channel, order: Order) {
        let Prepared { exchange, routing_key, body, properties, message_id, mandatory } = order.prepared;
        let name = self.flight.sent(message_id, mandatory, order.answer);
        let channel = channel.clone();
        self.confirming.push(Box::pin(async move {
            let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
            let published = channel.basic_publish(exchange, routing_key, options, &body, properties).await;
            let confirmed = match published {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (name, confirmed)
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
        let paused = Arc::new(Paused(AtomicBool::new(false)));
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
        for (name, confirm) in confirms {
            let (ack, carried) = match confirm {
                Ok(Confirmation::Ack(carried)) => (true, carried),
                Ok(Confirmation::Nack(carried)) => (false, carried),
                Ok(Confirmation::NotRequested) => (false, None),
                Err(error) => {
                    problem = Some(BrokerError::of(&error, self.asked));
                    continue;
                }
            };
            let id = |m: lapin::message::BasicReturnMessage| {
                m.properties.message_id().as_ref().map_or(String::new(), ToString::to_string)
            };
            confirmed.push(Confirmed { name, ack, carried: carried.map(id) });
        }
        for (answer, settle) in self.flight.confirmed(&confirmed) {
            answer.give(settle);
        }
        problem.map_or(Ok(()), Err)
    }

    /// Waits for the outstanding confirms.
    async fn finish(&mut self, patience: Duration) {
        let finishing = async {
            while !self.flight.is_empty() {
                let confirmed = poll_fn(|cx| self.poll_confirmed(cx)).await;
                if self.settle(confirmed).is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, finishing).await;
    }
}

struct Paused(AtomicBool);

impl Wake for Paused {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}
