//! The state of each connection, for readiness and metrics, and the loop that reconnects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::deliveries::ConsumedQueue;
use super::problem::BrokerError;
use super::topology::QueueLengths;

/// The first back-off pause. Each further pause doubles. Jitter adds up to the same time again.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// The longest pause before jitter. With jitter no pause is longer than 15 s.
const MAX_BACKOFF: Duration = Duration::from_millis(7500);
/// A connection that lived this long resets the back-off.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(30);

/// The state of all connections to RabbitMQ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionStates {
    connected: BTreeSet<ConnectionKind>,
    problems: BTreeMap<ConnectionKind, String>,
}

impl ConnectionStates {
    /// Whether messages can be published: connected, topology declared, and publishers not blocked.
    pub fn publishing(&self) -> bool {
        self.connected.contains(&ConnectionKind::Publishing)
    }

    /// Whether events can be published. Events use a connection of their own.
    pub fn publishing_events(&self) -> bool {
        self.connected.contains(&ConnectionKind::PublishingEvents)
    }

    /// Whether the connection that consumes jobs is up. It stays up while consuming is paused.
    pub fn consuming(&self) -> bool {
        self.connected.contains(&ConnectionKind::Consuming(ConsumedQueue::Dispatch))
    }

    /// Whether the connection that receives events is up.
    pub fn listening(&self) -> bool {
        self.connected.contains(&ConnectionKind::Listening)
    }

    /// The problem and its remedy, as a sentence. `None` without a problem, and before the first attempt to connect
    /// has ended.
    pub fn problem(&self) -> Option<&str> {
        self.problems.values().next().map(String::as_str)
    }
}

/// A connection of this process, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCount {
    /// What it is for.
    pub name: &'static str,
    /// Whether it is up.
    pub is_connected: bool,
    /// How often it was established.
    pub connects: u64,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnectionKind {
    Publishing,
    PublishingEvents,
    Consuming(ConsumedQueue),
    Listening,
}

impl ConnectionKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::PublishingEvents => "publishing events",
            Self::Consuming(ConsumedQueue::Dispatch) => "consuming",
            Self::Consuming(ConsumedQueue::Suspect) => "consuming quarantined messages",
            Self::Consuming(ConsumedQueue::Returned) => "consuming returned messages",
            Self::Consuming(ConsumedQueue::Receipts) => "consuming receipts",
            Self::Listening => "listening",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ConnectionMonitor {
    states: watch::Sender<ConnectionStates>,
    /// How often each connection was established.
    connects: Mutex<BTreeMap<ConnectionKind, u64>>,
    queue_lengths: watch::Sender<QueueLengths>,
}

impl ConnectionMonitor {
    pub(super) fn watch(&self) -> watch::Receiver<ConnectionStates> {
        self.states.subscribe()
    }

    pub(super) fn queue_lengths(&self) -> &watch::Sender<QueueLengths> {
        &self.queue_lengths
    }

    /// The state of each connection that was ever tried.
    pub(super) fn connections(&self) -> Vec<ConnectionCount> {
        let states = self.states.borrow().clone();
        let connects = self.connects.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = connects.iter().map(|(kind, connects)| ConnectionCount {
            name: kind.as_str(),
            is_connected: states.connected.contains(kind),
            connects: *connects,
        });
        counts.collect()
    }

    pub(super) fn up(&self, kind: ConnectionKind) {
        *self.connects.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let first = self.states.borrow().connected.is_empty();
        self.set(kind, true, None);
        if first {
            info!(broker.connection = kind.as_str(), "connected to RabbitMQ");
        } else {
            debug!(broker.connection = kind.as_str(), "connected to RabbitMQ");
        }
    }

    /// Marks the connection as down without a problem.
    pub(super) fn closed(&self, kind: ConnectionKind) {
        self.set(kind, false, None);
    }

    /// Marks the connection as down. Returns true if no connection had this problem before.
    pub(super) fn down(&self, kind: ConnectionKind, problem: &BrokerError) -> bool {
        let problem = problem.to_string();
        let known = self.states.borrow().problems.values().any(|known| *known == problem);
        self.set(kind, false, Some(problem));
        !known
    }

    fn set(&self, kind: ConnectionKind, connected: bool, problem: Option<String>) {
        self.states.send_if_modified(|states| {
            let new = states.problems.get(&kind) != problem.as_ref();
            let toggled =
                if connected { states.connected.insert(kind) } else { states.connected.remove(&kind) };
            match problem {
                Some(problem) => drop(states.problems.insert(kind, problem)),
                None => drop(states.problems.remove(&kind)),
            }
            new || toggled
        });
    }

    /// Runs `connection` again and again, with a back-off pause after each failure, until it returns `Ok` or `stop` is cancelled.
    pub(super) async fn run_with_reconnect<L: Future<Output = Result<(), BrokerError>>>(
        &self, kind: ConnectionKind, stop: &CancellationToken, mut connection: impl FnMut() -> L,
    ) {
        self.connects.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default();
        let mut pauses = backoff();
        loop {
            let started = Instant::now();
            let Err(problem) = connection().await else { break };
            if started.elapsed() > BACKOFF_RESET_AFTER {
                pauses = backoff();
            }
            let pause = pauses.next().unwrap_or(MAX_BACKOFF);
            let (name, delay) = (kind.as_str(), pause.as_millis() as u64);
            // One warning per problem: not one per attempt, and not one per connection.
            if self.down(kind, &problem) {
                warn!(
                    broker.connection = name, retry.delay_ms = delay, reason = %problem,
                    "no connection to RabbitMQ: retrying"
                );
            } else {
                debug!(
                    broker.connection = name, retry.delay_ms = delay, reason = %problem,
                    "still no connection to RabbitMQ"
                );
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.closed(kind);
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(MIN_BACKOFF)
        .with_max_delay(MAX_BACKOFF)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::{MAX_BACKOFF, backoff};

    #[test]
    fn pauses_grow_are_never_longer_than_fifteen_seconds_and_never_end() {
        let pauses: Vec<_> = backoff().take(1000).collect();
        assert_eq!(pauses.len(), 1000);
        assert!(pauses[0].as_millis() <= 200, "{:?}", pauses[0]);
        assert!(pauses.iter().all(|pause| pause.as_secs_f64() <= 15.0));
        assert!(pauses[20..].iter().all(|pause| *pause >= MAX_BACKOFF));
        assert!(pauses[20] != pauses[21], "two pauses with jitter differ");
    }
}
