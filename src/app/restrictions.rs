//! Keeps what operators have restricted up to date in this process: pauses of carriers, blocks of numbers, probes.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;

use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::ledger::{Ledger, LedgerError, StoredRestrictions};

/// Interval at which the revision is read. A change takes effect within this time, and the time of two statements.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// After this number of polls the tables are read whatever the revision says.
const POLLS_PER_FULL_READ: u32 = 60;

/// The restrictions as this process has read them.
pub(super) struct RestrictionFollower {
    ledger: Ledger,
    rules: Live<Rules>,
    stored: StoredRestrictions,
    /// The earliest end of a restriction that is in force.
    next_end: Option<Timestamp>,
}

impl RestrictionFollower {
    /// Creates a follower that has read nothing yet.
    pub(super) fn new(ledger: Ledger, rules: Live<Rules>) -> Self {
        Self { ledger, rules, stored: StoredRestrictions::default(), next_end: None }
    }

    /// Reads the restrictions and puts them in force. Circuit breakers stay as they are: those of a new process are closed.
    pub(super) async fn read(&mut self) -> Result<(), LedgerError> {
        self.stored = self.ledger.restrictions().await?;
        self.apply();
        Ok(())
    }

    /// Reads the restrictions when they have changed. Never returns. While the ledger does not answer, the last ones stay, and those with
    /// an end still end.
    pub(super) async fn follow(mut self) {
        let mut tick = tokio::time::interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls = 0;
        loop {
            tick.tick().await;
            polls += 1;
            if self.next_end.is_some_and(|end| end <= self.ledger.now()) {
                self.apply();
            }
            let is_full_read = polls % POLLS_PER_FULL_READ == 0;
            // `LedgerHealth` logs an outage.
            let Ok(revision) = self.ledger.restriction_revision().await else { continue };
            if revision == self.stored.revision && !is_full_read {
                continue;
            }
            let before = std::mem::take(&mut self.stored);
            match self.ledger.restrictions().await {
                Ok(stored) => {
                    self.stored = stored;
                    self.apply();
                    self.let_probes_through(&before);
                }
                Err(_) => self.stored = before,
            }
        }
    }

    /// Puts in force what has not ended.
    fn apply(&mut self) {
        let now = self.ledger.now();
        self.stored.retain_in_force(now);
        self.next_end = self.stored.next_end();
        self.rules.current().restrictions.replace(self.stored.in_force());
    }

    fn let_probes_through(&self, before: &StoredRestrictions) {
        let rules = self.rules.current();
        for probe in self.stored.probes.iter().filter(|probe| !before.probes.contains(probe)) {
            tracing::info!(carrier = probe.carrier, "an operator lets the next message to a carrier through");
            rules.routes.end_breaker_pauses(&probe.carrier);
        }
    }
}
