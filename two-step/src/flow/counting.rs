//! Counts against limits inside the transaction that acts. The limits are exact.

use jiff::Timestamp;

use super::FlowError;
use crate::clock::after;
use crate::limit::{Rule, Times};
use crate::seal::{Hashed, Keys};
use crate::store::{Counter, Record, Tx, Value};

/// A limit and its subject.
pub(super) struct LimitFor<'a> {
    /// The limit's name.
    pub(super) name: &'static str,
    /// The subject: an account's id, a number or an address.
    pub(super) subject: String,
    /// The rules. All must allow the event.
    pub(super) rules: &'a [Rule],
}

impl LimitFor<'_> {
    fn key(&self, keys: &Keys) -> String {
        keys.hash(Hashed::Counter, &[self.name.as_bytes(), self.subject.as_bytes()])
    }
}

/// Counts an event for each limit if all allow it. Otherwise counts nothing and returns until when a limit is reached.
pub(super) async fn count(
    tx: &mut Tx, keys: &Keys, counts: &[LimitFor<'_>], now: Timestamp,
) -> Result<Option<Timestamp>, FlowError> {
    let mut locked = lock(tx, keys, counts, now).await?;
    let full = locked.iter().filter_map(|(times, _, rules)| times.free_at(rules, now)).max();
    if full.is_some() {
        return Ok(full);
    }
    for (times, counter, rules) in &mut locked {
        times.count(rules, now);
        let longest = rules.iter().map(|r| r.window).max().unwrap_or_default();
        counter.times = serde_json::to_string(&times).unwrap_or_default();
        counter.expires_at = after(now, longest);
        tx.update(counter).await?;
    }
    Ok(None)
}

/// Resets a counter.
pub(super) async fn clear(tx: &mut Tx, keys: &Keys, limit: &LimitFor<'_>) -> Result<(), FlowError> {
    Ok(tx.delete::<Counter>(limit.key(keys)).await?)
}

/// Returns until when a limit is reached. Counts nothing.
pub(super) async fn limited_until(
    tx: &mut Tx, keys: &Keys, counts: &[LimitFor<'_>], now: Timestamp,
) -> Result<Option<Timestamp>, FlowError> {
    let mut until = None;
    for limit in counts {
        let counter = tx.get::<Counter>(limit.key(keys)).await?;
        let times: Times =
            counter.map_or_else(Times::default, |c| serde_json::from_str(&c.times).unwrap_or_default());
        until = until.max(times.free_at(limit.rules, now));
    }
    Ok(until)
}

/// Locks the counters in the order of their keys, so that transactions cannot deadlock.
async fn lock<'a>(
    tx: &mut Tx, keys: &Keys, counts: &[LimitFor<'a>], now: Timestamp,
) -> Result<Vec<(Times, Counter, &'a [Rule])>, FlowError> {
    let mut keyed: Vec<(String, &'a [Rule])> =
        counts.iter().filter(|c| !c.rules.is_empty()).map(|c| (c.key(keys), c.rules)).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let mut locked = vec![];
    for (key_hash, rules) in keyed {
        let counter = lock_one(tx, key_hash, now).await?;
        let times: Times = serde_json::from_str(&counter.times).unwrap_or_default();
        locked.push((times, counter, rules));
    }
    Ok(locked)
}

/// Creates or locks a counter in one statement. Between two statements a sweep could delete an expired counter.
async fn lock_one(tx: &mut Tx, key_hash: String, now: Timestamp) -> Result<Counter, FlowError> {
    let sql = "insert into counter (key_hash, times, expires_at) values ($1, '[]', $2) \
               on conflict (key_hash) do update set key_hash = excluded.key_hash returning key_hash, times, expires_at";
    let rows = tx.query(sql, &[Value::Text(key_hash), Value::Int(now.as_millisecond())]).await?;
    let row = rows.first().ok_or(FlowError::Internal("a counter row is missing"))?;
    Ok(Counter::from_row(row)?)
}

/// Serialises transactions by name and subject until they end. For rules that count rows.
pub(super) async fn lock_subject(
    tx: &mut Tx, keys: &Keys, name: &str, subject: &str, now: Timestamp,
) -> Result<(), FlowError> {
    let key = keys.hash(Hashed::Counter, &[name.as_bytes(), subject.as_bytes()]);
    lock_one(tx, key, now).await.map(drop)
}
