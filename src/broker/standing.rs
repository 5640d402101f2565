//! The state of each connection, for readiness and metrics, and the loop that reconnects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::intake::Lane;
use super::problem::BrokerError;

/// The first back-off pause. Each further pause doubles. Jitter adds up to the same time again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before jitter. With jitter no pause is longer than 15 s.
const LONGEST_PAUSE: Duration = Duration::from_millis(7500);
/// A connection that lived this long resets the back-off.
const STEADY: Duration = Duration::from_secs(30);

/// The state of all connections to RabbitMQ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Up {
    stands: BTreeSet<Side>,
    problems: BTreeMap<Side, String>,
}

impl Up {
    /// Whether messages can be published: connected, topology declared, and publishers not blocked.
    pub fn publishing(&self) -> bool {
        self.stands.contains(&Side::Publishing)
    }

    /// Whether events can be published. Events use a connection of their own.
    pub fn telling(&self) -> bool {
        self.stands.contains(&Side::Telling)
    }

    /// Whether the connection that consumes jobs is up. It stays up while consuming is paused.
    pub fn consuming(&self) -> bool {
        self.stands.contains(&Side::Consuming(Lane::Dispatch))
    }

    /// Whether the connection that receives events is up.
    pub fn listening(&self) -> bool {
        self.stands.contains(&Side::Listening)
    }

    /// The problem and its remedy, as a sentence. `None` without a problem, and before the first attempt to connect
    /// has ended.
    pub fn problem(&self) -> Option<&str> {
        self.problems.values().next().map(String::as_str)
    }
}

/// One of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Publishing,
    Telling,
    Consuming(Lane),
    Listening,
}

impl Side {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Telling => "telling events",
            Self::Consuming(Lane::Dispatch) => "consuming",
            Self::Consuming(Lane::Suspect) => "consuming suspects",
            Self::Consuming(Lane::Receipts) => "consuming receipts",
            Self::Listening => "listening",
        }
    }
}

#[derive(Debug)]
pub(super) struct Standing(watch::Sender<Up>);

impl Standing {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Up> {
        self.0.subscribe()
    }

    pub(super) fn up(&self, side: Side) {
        self.set(side, true, None);
        info!(broker.side = side.as_str(), "connected to RabbitMQ for {}", side.as_str());
    }

    /// Marks the connection as down without a problem.
    pub(super) fn over(&self, side: Side) {
        self.set(side, false, None);
    }

    /// Marks the connection as down. Returns whether the problem is a new one.
    pub(super) fn down(&self, side: Side, problem: &BrokerError) -> bool {
        self.set(side, false, Some(problem.to_string()))
    }

    fn set(&self, side: Side, stands: bool, problem: Option<String>) -> bool {
        let mut new = false;
        self.0.send_if_modified(|up| {
            new = up.problems.get(&side) != problem.as_ref();
            let turned = if stands { up.stands.insert(side) } else { up.stands.remove(&side) };
            match problem {
                Some(problem) => drop(up.problems.insert(side, problem)),
                None => drop(up.problems.remove(&side)),
            }
            new || turned
        });
        new
    }

    /// Runs `live` again and again, with a back-off pause after each failure, until it returns `Ok` or `stop` is cancelled.
    pub(super) async fn keep<L: Future<Output = Result<(), BrokerError>>>(
        &self, side: Side, stop: &CancellationToken, mut live: impl FnMut() -> L,
    ) {
        let mut pauses = pauses();
        loop {
            let born = Instant::now();
            let Err(problem) = live().await else { break };
            if born.elapsed() > STEADY {
                pauses = self::pauses();
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            let (side_name, delay) = (side.as_str(), pause.as_millis() as u64);
            // A warning per problem, not per attempt.
            if self.down(side, &problem) {
                warn!(broker.side = side_name, retry.delay_ms = delay, "{side_name} is down: {problem}");
            } else {
                debug!(broker.side = side_name, retry.delay_ms = delay, "{side_name} is still down");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.over(side);
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_PAUSE, pauses};

    #[test]
    fn pauses_grow_are_never_longer_than_fifteen_seconds_and_never_end() {
        let pauses: Vec<_> = pauses().take(1000).collect();
        assert_eq!(pauses.len(), 1000);
        assert!(pauses[0].as_millis() <= 200, "{:?}", pauses[0]);
        assert!(pauses.iter().all(|pause| pause.as_secs_f64() <= 15.0));
        assert!(pauses[20..].iter().all(|pause| *pause >= LONGEST_PAUSE));
        assert!(pauses[20] != pauses[21], "two pauses with jitter differ");
    }
}
