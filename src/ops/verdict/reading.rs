//! Reads the stored counts as a history: which symptom each count can show already, and from when on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::history::{History, RECENT};
use super::{Cell, Counts, Symptom, Tally};
use crate::domain::clock::{after, between};
use crate::domain::delivery_count::{
    CountRow, Counted, DeliveryCounts, INTERVAL, RECEIPT_WAIT, VERIFIED_WAIT, interval_start,
};

/// A delivered message is late after this number of seconds.
const LATE_AFTER_S: u64 = 30;

impl History {
    /// The history that the counts of a day show at this time.
    pub fn of_counts<'a>(rows: impl IntoIterator<Item = &'a CountRow>, now: Timestamp) -> Self {
        let rows: Vec<&CountRow> = rows.into_iter().collect();
        let mut history = Self::default();
        // A tenant that never sends feedback says nothing about codes that are not entered.
        let tenants_with_feedback: BTreeSet<&str> = rows
            .iter()
            .filter(|row| row.counts.of(Counted::Verified) > 0)
            .map(|row| row.cell.tenant.as_str())
            .collect();
        let tallies = |row: &CountRow| {
            let end = after(row.started_at, Duration::from_secs(u64::from(row.width_s)));
            tallies(&row.counts, between(end, now), tenants_with_feedback.contains(row.cell.tenant.as_str()))
        };
        // The interval that has not ended is left out.
        let end = interval_start(now, INTERVAL);
        let recent = INTERVAL * u32::try_from(RECENT).unwrap_or(u32::MAX);
        let begin = end.checked_sub(recent).unwrap_or(Timestamp::MIN);
        let mut intervals: BTreeMap<Timestamp, Vec<(Cell, Counts)>> = BTreeMap::new();
        for row in rows.into_iter().filter(|row| row.started_at < end) {
            if row.started_at >= begin && row.width_s == INTERVAL.as_secs() as u32 {
                intervals.entry(row.started_at).or_default().push((row.cell.clone(), tallies(row)));
            } else {
                history.add_usual(row.cell.clone(), &tallies(row));
            }
        }
        for n in 0..RECENT as u32 {
            history.advance(intervals.remove(&after(begin, INTERVAL * n)).unwrap_or_default());
        }
        history
    }
}

/// The tallies that counts show. `age` is the time since the end of their interval.
fn tallies(counts: &DeliveryCounts, age: Duration, has_feedback: bool) -> Counts {
    let mut tallies = Counts::default();
    let mut tally = |symptom, all: i64, good: i64| {
        let all = all.max(0);
        let failed = (all - good).clamp(0, all);
        tallies.count(symptom, Tally { all: all as u64, failed: failed as u64 });
    };
    let (accepted, delivered) = (counts.of(Counted::Accepted), counts.delivered());
    tally(Symptom::Refused, counts.of(Counted::Attempts), accepted);
    tally(Symptom::Undelivered, delivered + counts.of(Counted::Undelivered), delivered);
    if age >= RECEIPT_WAIT {
        tally(Symptom::NoReceipt, accepted, counts.of(Counted::Receipt60s));
        tally(Symptom::Late, delivered, counts.delivered_within(LATE_AFTER_S));
    }
    if age >= VERIFIED_WAIT && has_feedback {
        tally(Symptom::Unverified, delivered, counts.of(Counted::Verified5min));
    }
    tallies
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counts, DeliveryCounts, History, Symptom, Tally, tallies};
    use crate::domain::channel::Channel;
    use crate::domain::delivery_cell::Cell;
    use crate::domain::delivery_count::{CountRow, Counted, INTERVAL};
    use crate::ops::verdict::{Cause, verdict};

    fn counts(of: &[(Counted, i64)]) -> DeliveryCounts {
        let mut counts = DeliveryCounts::default();
        for (counted, number) in of {
            counts.add(*counted, *number);
        }
        counts
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Fails if a receipt that may still come counts as missing, or a code that may still be entered as unused.
    #[test]
    fn a_count_shows_a_symptom_only_when_it_can() {
        let counted = counts(&[(Counted::Attempts, 10), (Counted::Accepted, 8), (Counted::Delivered5s, 4)]);
        let of = |age, has_feedback| {
            let tallies: Counts = tallies(&counted, seconds(age), has_feedback);
            Symptom::ALL.map(|symptom| tallies.of(symptom)).map(|Tally { all, failed }| (all, failed))
        };
        let none = (0, 0);
        assert_eq!(of(59, true), [(10, 2), (4, 0), none, none, none]);
        assert_eq!(of(60, true), [(10, 2), (4, 0), (8, 8), (4, 0), none]);
        assert_eq!(of(300, true), [(10, 2), (4, 0), (8, 8), (4, 0), (4, 4)]);
        assert_eq!(of(300, false)[4], none, "nobody sends feedback");
    }

    #[test]
    fn stored_counts_of_an_incident_name_its_cause() {
        let now = "2026-05-04T14:05:00Z".parse().unwrap();
        let mut rows = vec![];
        let mut add = |ago: Duration, width: Duration, carrier: &str, good: i64, bad: i64| {
            let [country, tenant] = ["DE", "shop"].map(str::to_owned);
            let cell = Cell { channel: Channel::Sms, carrier: carrier.to_owned(), country, tenant };
            let of =
                [(Counted::Attempts, good + bad), (Counted::Accepted, good), (Counted::Receipt60s, good)];
            let mut counted = counts(&of);
            counted.add(Counted::Delivered5s, good);
            let started_at = jiff::Timestamp::checked_sub(now, ago).unwrap();
            rows.push(CountRow { started_at, width_s: width.as_secs() as u32, cell, counts: counted });
        };
        for carrier in ["acme", "bolt"] {
            add(seconds(7200), seconds(600), carrier, 950, 50);
            for n in 1..=60 {
                let (good, bad) = if carrier == "acme" && n <= 6 { (1, 9) } else { (10, 0) };
                add(INTERVAL * n, INTERVAL, carrier, good, bad);
            }
        }
        let findings = verdict(&History::of_counts(&rows, now), &[], now);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let Cause::Cells(group) = &findings[0].cause else { panic!("{findings:?}") };
        assert_eq!(group.carrier.as_deref(), Some("acme"));
        assert_eq!(findings[0].symptom, Some(Symptom::Refused));
        assert_eq!(findings[0].since, "2026-05-04T14:04:00Z".parse().unwrap());
    }
}
