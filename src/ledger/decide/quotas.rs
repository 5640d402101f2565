//! The quota rows of a transaction.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::dispatch::QuotaUse;
use crate::domain::quota;
use crate::ledger::items::{FullQuota, Limit, QuotaOwner};

/// The quotas that a store has loaded and locked, by key. A key without a row has no uses.
#[derive(Debug, Default)]
pub struct Quotas(BTreeMap<String, Row>);

#[derive(Debug, Default)]
struct Row {
    /// The kept admission times, oldest first.
    uses: Vec<Timestamp>,
    /// Whether the store has a row of this key.
    loaded: bool,
    changed: bool,
}

impl Quotas {
    /// Adds a loaded row.
    pub fn insert(&mut self, key: String, uses: Vec<Timestamp>) {
        self.0.insert(key, Row { uses, loaded: true, changed: false });
    }

    /// The kept admission times of a key, oldest first.
    pub fn uses(&self, key: &str) -> &[Timestamp] {
        self.0.get(key).map_or(&[], |row| &row.uses)
    }

    /// The rows to write, ordered by key: key, kept admission times, and whether the key was loaded.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &[Timestamp], bool)> {
        let changed = self.0.iter().filter(|(_, row)| row.changed);
        changed.map(|(key, row)| (key.as_str(), row.uses.as_slice(), row.loaded))
    }

    /// Returns when the limit has room, or `None` if it has room now.
    pub(super) fn free_at(&self, limit: &Limit, now: Timestamp) -> Option<Timestamp> {
        self.0.get(&limit.key).and_then(|row| quota::free_at(&row.uses, &limit.rules, now))
    }

    /// Returns the rule that has room last among these limits, each with its owner. `None` if all have room.
    pub(super) fn full<'l>(
        &self, limits: impl Iterator<Item = (QuotaOwner, &'l Limit)>, now: Timestamp,
    ) -> Option<FullQuota> {
        let rules = limits.flat_map(|(owner, limit)| {
            let uses = self.0.get(&limit.key).map_or(&[][..], |row| &row.uses);
            limit.rules.iter().filter_map(move |rule| {
                let until = quota::free_at(uses, std::slice::from_ref(rule), now)?;
                Some((until, FullQuota { owner, rule: *rule }))
            })
        });
        rules.max_by_key(|(until, _)| *until).map(|(_, full)| full)
    }

    /// Records a use under every limit, or under none.
    ///
    /// # Errors
    ///
    /// Returns the seconds until all limits have room.
    pub(super) fn take(&mut self, limits: &[&Limit], now: Timestamp) -> Result<Vec<QuotaUse>, u64> {
        let waits = limits.iter().filter_map(|limit| self.free_at(limit, now));
        if let Some(until) = waits.max() {
            return Err(quota::retry_after_s(now, until));
        }
        let mut taken = vec![];
        for limit in limits {
            let row = self.0.entry(limit.key.clone()).or_default();
            if let Ok(at) = quota::take(&mut row.uses, &limit.rules, now) {
                row.changed = true;
                taken.push(QuotaUse { key: limit.key.clone(), at });
            }
        }
        Ok(taken)
    }

    /// Removes uses, because no attempt of their dispatch is accepted or unknown.
    pub(super) fn give_back(&mut self, uses: &[QuotaUse]) {
        for QuotaUse { key, at } in uses {
            let row = self.0.entry(key.clone()).or_default();
            row.uses.retain(|kept| kept != at);
            row.changed = true;
        }
    }

    /// Adds uses that were given back before, even above the rule.
    pub(super) fn take_again(&mut self, uses: &[QuotaUse]) {
        self.give_back(uses);
        for QuotaUse { key, at } in uses {
            let row = self.0.entry(key.clone()).or_default();
            row.uses.push(*at);
            row.uses.sort_unstable();
        }
    }
}
