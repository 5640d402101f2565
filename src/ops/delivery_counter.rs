//! Counts of deliveries that this process has not stored yet.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::domain::attempt_fact::AttemptFact;
use crate::domain::delivery_cell::Cell;
use crate::domain::delivery_count::{CountRow, DeliveryCounts, INTERVAL, interval_start};

/// Maximum number of cells of a process, and of all rows that wait. Further facts count in the cell of their channel, so that odd numbers
/// cannot fill the ledger.
const MAX_CELLS: usize = 500;
const MAX_ROWS: usize = 20_000;

/// Counts attempts, receipts and verified codes by interval and cell.
#[derive(Debug, Default)]
pub struct DeliveryCounter(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    counts: HashMap<(Timestamp, Cell), DeliveryCounts>,
    /// The cells of this process. They stay, so that an attempt and its receipt count in the same cell.
    cells: HashSet<Cell>,
}

impl Pending {
    fn add(&mut self, started_at: Timestamp, cell: Cell, counts: &DeliveryCounts) {
        let is_known = self.cells.contains(&cell);
        let fits = self.counts.len() < MAX_ROWS && (is_known || self.cells.len() < MAX_CELLS);
        if fits && !is_known {
            self.cells.insert(cell.clone());
        }
        let cell = if fits { cell } else { Cell::other(cell.channel) };
        self.counts.entry((started_at, cell)).or_default().add_all(counts);
    }
}

impl DeliveryCounter {
    /// Counts a fact in the interval in which its attempt began.
    pub fn count(&self, fact: &AttemptFact) {
        let mut counts = DeliveryCounts::default();
        counts.count(fact);
        let started_at = interval_start(fact.begun_at, INTERVAL);
        self.lock().add(started_at, fact.cell.clone(), &counts);
    }

    /// Takes what was counted since the last call.
    pub fn take(&self) -> Vec<CountRow> {
        let counts = std::mem::take(&mut self.lock().counts);
        let width_s = INTERVAL.as_secs() as u32;
        let row = |((started_at, cell), counts)| CountRow { started_at, width_s, cell, counts };
        counts.into_iter().map(row).collect()
    }

    /// Puts back what could not be stored.
    pub fn put_back(&self, rows: Vec<CountRow>) {
        let mut pending = self.lock();
        for row in rows {
            pending.add(row.started_at, row.cell, &row.counts);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{DeliveryCounter, MAX_CELLS};
    use crate::domain::attempt::{AttemptId, Outcome};
    use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
    use crate::domain::channel::Channel;
    use crate::domain::delivery_cell::{Cell, OTHER};
    use crate::domain::delivery_count::Counted;

    fn accepted(second: i64, tenant: &str) -> AttemptFact {
        let at = Timestamp::from_second(second).unwrap();
        let [carrier, country, tenant] = ["acme", "DE", tenant].map(str::to_owned);
        let cell = Cell { channel: Channel::Sms, carrier, country, tenant };
        let event = AttemptEvent::Answered {
            outcome: Outcome::Accepted,
            segments: None,
            is_repeat: false,
            code: None,
        };
        let attempt = AttemptId { uid: uuid::Uuid::nil(), n: 1 };
        AttemptFact { attempt, traceparent: None, cell, admitted_at: at, begun_at: at, at, event }
    }

    #[test]
    fn attempts_of_one_interval_and_cell_are_one_row() {
        let counter = DeliveryCounter::default();
        for second in [100, 109, 110] {
            counter.count(&accepted(second, "shop"));
        }
        let mut rows = counter.take();
        rows.sort_by_key(|row| row.started_at);
        let counts: Vec<_> = rows.iter().map(|row| row.counts.of(Counted::Accepted)).collect();
        assert_eq!(counts, [2, 1]);
        assert!(counter.take().is_empty(), "they are taken once");
        counter.put_back(rows);
        counter.count(&accepted(105, "shop"));
        assert_eq!(counter.take().iter().map(|row| row.counts.of(Counted::Accepted)).sum::<i64>(), 4);
    }

    /// Fails if odd values can make any number of rows, or if their attempts are lost.
    #[test]
    fn cells_beyond_the_limit_count_together() {
        let counter = DeliveryCounter::default();
        for n in 0..2 * MAX_CELLS {
            counter.count(&accepted(100, &n.to_string()));
        }
        let rows = counter.take();
        assert_eq!(rows.len(), MAX_CELLS + 1);
        let other = rows.iter().find(|row| row.cell.tenant == OTHER).unwrap();
        assert_eq!(other.counts.of(Counted::Accepted), MAX_CELLS as i64);
        // Later facts count in the same cells.
        for tenant in ["0", &(2 * MAX_CELLS - 1).to_string()] {
            counter.count(&accepted(200, tenant));
        }
        let mut tenants: Vec<_> = counter.take().into_iter().map(|row| row.cell.tenant).collect();
        tenants.sort();
        assert_eq!(tenants, ["0", OTHER]);
    }
}
