//! Takes due dispatches for a lease.

use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::{Fault, unreadable};
use crate::domain::clock::after;
use crate::domain::decide::LEASE;
use crate::domain::dispatch::Dispatch;
use crate::ledger::sqlite::row::load;

/// Takes a dispatch for a lease if it is due.
pub(in crate::ledger::sqlite) fn take(
    db: &Connection, uid: Uuid, now: Timestamp,
) -> Result<Option<Dispatch>, Fault> {
    let lease = after(now, LEASE).as_microsecond();
    let taken = db
        .prepare_cached("update dispatch set wake_at = ?2 where uid = ?1 and wake_at <= ?3")?
        .execute((uid.to_string(), lease, now.as_microsecond()))?;
    if taken == 0 {
        return Ok(None);
    }
    match load(db, uid, now) {
        // The others go on. This one keeps its lease, so that it is not logged at every scan.
        Err(Fault::UnknownForm) => {
            unreadable(&uid);
            Ok(None)
        }
        loaded => loaded,
    }
}

/// Takes due dispatches, the longest due first.
pub(in crate::ledger::sqlite) fn take_due(
    db: &Connection, fresh: usize, begun: usize, now: Timestamp,
) -> Result<Vec<Dispatch>, Fault> {
    let mut taken = vec![];
    for (which, limit) in [("state = 'queued'", fresh), ("state <> 'queued'", begun)] {
        let sql =
            format!("select uid from dispatch where wake_at <= ?1 and {which} order by wake_at limit ?2");
        let due: Vec<String> = db
            .prepare_cached(&sql)?
            .query_map((now.as_microsecond(), i64::try_from(limit).unwrap_or(i64::MAX)), |r| r.get(0))?
            .collect::<Result<_, _>>()?;
        for uid in due.iter().filter_map(|u| u.parse().ok()) {
            taken.extend(take(db, uid, now)?);
        }
    }
    Ok(taken)
}
