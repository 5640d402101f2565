//! Whether the connections stand, for readiness and metrics, and the loop that builds each of them again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::intake::Lane;
use super::problem::BrokerError;

/// The first pause; each further one doubles. Jitter adds up to as much again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before jitter, so that none is longer than 15 s.
const LONGEST_PAUSE: Duration = Duration::from_millis(7500);
/// A connection that stood for so long was a good one: the next pause is a first one again.
const STEADY: Duration = Duration::from_secs(30);

/// How it stands with the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Up {
    stands: BTreeSet<Side>,
    problems: BTreeMap<Side, String>,
}

impl Up {
    /// Messages can be published: connected, everything declared, and the broker takes them.
    pub fn publishing(&self) -> bool {
        self.stands.contains(&Side::Publishing)
    }

    /// Events can be told: as for publishing, by a connection of their own.
    pub fn telling(&self) -> bool {
        self.stands.contains(&Side::Telling)
    }

    /// Connected for consuming jobs and everything declared; so too while consuming pauses.
    pub fn consuming(&self) -> bool {
        self.stands.contains(&Side::Consuming(Lane::Dispatch))
    }

    /// Events are heard of.
    pub fn listening(&self) -> bool {
        self.stands.contains(&Side::Listening)
    }

    /// What is wrong and what to do about it, as a sentence. None while all is well, and before the first try is over.
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

    /// Stands no more, without anything being wrong.
    pub(super) fn over(&self, side: Side) {
        self.set(side, false, None);
    }

    /// Says whether this problem is a new one.
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

    /// Lives one life of a connection after the other, with pauses between them, until one ends because it was told to.
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
            // Once per problem, not once per try.
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
