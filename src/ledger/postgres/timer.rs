//! Wake-ups: every dispatch with a `wake_at` is in a timer that is due no later.
//!
//! A dispatch that moves its wake-up to a later time writes no timer: its timer is due too early, and the scan writes a new one. So the
//! table of dispatches needs no index of wake-ups. A group writes one timer for all wake-ups of the same second.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::columns::Param;
use super::connection::{CLOCK, answers, read_clock};
use super::reading::{self, ROW};
use crate::domain::attempt::State;
use crate::domain::clock::after;
use crate::domain::decide::LEASE;
use crate::domain::dispatch::Dispatch;
use crate::ledger::LedgerError;

/// A round of a scan takes timers until they have this many dispatches together. The last timer may exceed it.
const MAX_DISPATCHES: i64 = 512;
/// Maximum number of timers in one round of a scan.
const MAX_TIMERS: i64 = 128;
/// Maximum number of rounds of a scan. A round may yield nothing, because most timers are of dispatches that are final.
const MAX_ROUNDS: usize = 32;

/// How long a scan leaves a dispatch alone whose state it does not know.
const UNKNOWN_STATE_PAUSE: Duration = Duration::from_secs(1);

/// The lease in seconds, as a parameter.
const LEASE_S: f64 = LEASE.as_secs() as f64;

/// New timers: arrays of `due_at`, `id`, `fresh` and `uid`. Entries with the same timer id become one timer.
#[derive(Default)]
pub(super) struct Timers {
    groups: BTreeMap<(bool, i64), Uuid>,
    due_at: Vec<Timestamp>,
    id: Vec<Uuid>,
    fresh: Vec<bool>,
    uid: Vec<Uuid>,
}

/// `$first` to `$first + 3`: the arrays of [`Timers`].
pub(super) fn insert_timers(first: usize) -> String {
    format!(
        "insert into timer (due_at, id, fresh, uids)
         select min(due_at), id, fresh, array_agg(uid)
           from unnest(${}::timestamptz[], ${}::uuid[], ${}::bool[], ${}::uuid[]) as t(due_at, id, fresh, uid)
          group by id, fresh",
        first,
        first + 1,
        first + 2,
        first + 3
    )
}

impl Timers {
    /// Adds the wake-up of a dispatch. Those of one second share a timer.
    pub(super) fn add(&mut self, fresh: bool, wake_at: Timestamp, uid: Uuid) {
        let id = *self
            .groups
            .entry((fresh, wake_at.as_second()))
            .or_insert_with(|| Uuid::from_bytes(crate::seal::random()));
        self.due_at.push(wake_at);
        self.id.push(id);
        self.fresh.push(fresh);
        self.uid.push(uid);
    }

    /// Adds the wake-up of a changed dispatch, if it moved to an earlier time. `seen` is the wake-up that the worker has seen, and `now` the
    /// time of the decision. Since then a lease may have moved it to `now + LEASE`, or later by as much as the lease began after `now`: the
    /// timer is late by that at most.
    pub(super) fn add_change(&mut self, seen: Option<Timestamp>, d: &Dispatch, now: Timestamp) {
        let Some(wake_at) = d.wake_at else { return };
        let latest = seen.map(|seen| seen.max(after(now, LEASE)));
        if latest.is_none_or(|latest| wake_at < latest) {
            self.add(d.state == State::Queued, wake_at, d.order.uid);
        }
    }

    /// The same for a locked row, whose wake-up is known exactly.
    pub(super) fn add_exact(&mut self, before: Option<Timestamp>, d: &Dispatch) {
        let Some(wake_at) = d.wake_at else { return };
        if before.is_none_or(|before| wake_at < before) {
            self.add(d.state == State::Queued, wake_at, d.order.uid);
        }
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        vec![&self.due_at, &self.id, &self.fresh, &self.uid]
    }
}

impl Postgres {
    /// Takes for a lease those of the dispatches that are due.
    pub(super) async fn take_group(&self, group: &[Arc<Uuid>]) -> Result<Vec<Option<Dispatch>>, LedgerError> {
        let uids: Vec<Uuid> = group.iter().map(|uid| **uid).collect();
        let rows = self.query(&TAKE, &[&uids, &LEASE_S]).await?;
        let mut taken: HashMap<Uuid, Dispatch> =
            readable(&rows).into_iter().map(|d| (d.order.uid, d)).collect();
        Ok(uids.iter().map(|uid| taken.remove(uid)).collect())
    }

    /// Takes due dispatches for a lease, and adds them to `taken`: at most `limit`, without an attempt if `fresh`, or else with one.
    pub(super) async fn take_due_of(
        &self, fresh: bool, mut limit: usize, taken: &mut Vec<Dispatch>,
    ) -> Result<(), LedgerError> {
        for _ in 0..MAX_ROUNDS {
            if limit == 0 {
                break;
            }
            let round = self.take_round(fresh, limit).await?;
            limit = limit.saturating_sub(round.taken.len());
            taken.extend(round.taken);
            if !round.more {
                break;
            }
        }
        Ok(())
    }

    /// One transaction of a scan: deletes due timers, takes their due dispatches, and writes timers for the others.
    async fn take_round(&self, fresh: bool, limit: usize) -> Result<Round, LedgerError> {
        let connection = self.connect().await?;
        let start = if fresh { &self.scan_starts.fresh_timers } else { &self.scan_starts.other_timers };
        let from = start.begin();
        let take = connection.step(TAKE_TIMERS, vec![&fresh, &MAX_TIMERS, &MAX_DISPATCHES, &from]).await?;
        let clock = connection.step(CLOCK, vec![]).await?;
        let others = connection.step(HELD_BY_OTHERS, vec![&fresh, &from]).await?;
        let [clock, rows, others] = answers(connection.begin_with(&[clock, take, others]).await?)?;
        let mut uids: Vec<Uuid> = rows.iter().flat_map(|row| row.get::<_, Vec<Uuid>>(0)).collect();
        uids.sort_unstable();
        uids.dedup();
        if rows.is_empty() {
            connection.roll_back().await?;
            if others.is_empty() {
                start.record_complete(from, read_clock(&clock)?);
            }
            return Ok(Round { taken: vec![], more: false });
        }
        let wakes = connection.step(WAKES, vec![&uids]).await?;
        let [wakes] = answers(connection.go_on_with(&[wakes]).await?)?;
        let mut timers = Timers::default();
        let mut waiting: Vec<(Timestamp, Uuid, State)> = vec![];
        for row in &wakes {
            let (wake_at, uid, now): (Timestamp, Uuid, Timestamp) = (row.get(0), row.get(1), row.get(3));
            match row.get::<_, &str>(2).parse() {
                Ok(state) => waiting.push((wake_at, uid, state)),
                // Processes of the version that wrote it take it. This one looks at it again later, so that it finds its own work.
                Err(_) => timers.add(fresh, wake_at.max(after(now, UNKNOWN_STATE_PAUSE)), uid),
            }
        }
        waiting.sort_unstable();
        let now = wakes.first().map(|row| row.get(3)).unwrap_or_default();
        let is_chosen = |wake_at, state| wake_at <= now && (state == State::Queued) == fresh;
        let chosen = waiting.iter().filter(|(wake_at, _, state)| is_chosen(*wake_at, *state));
        let mut chosen: Vec<Uuid> = chosen.map(|(_, uid, _)| *uid).take(limit).collect();
        chosen.sort_unstable();
        let take = connection.step(&TAKE, vec![&chosen, &LEASE_S]).await?;
        let [rows] = answers(connection.go_on_with(&[take]).await?)?;
        let lease_ends: BTreeMap<Uuid, Timestamp> =
            rows.iter().map(|row| (row.get(0), row.get("wake_at"))).collect();
        for (wake_at, uid, state) in waiting {
            let wake_at = lease_ends.get(&uid).copied().unwrap_or(wake_at);
            timers.add(state == State::Queued, wake_at, uid);
        }
        let insert = connection.step(&INSERT_TIMERS, timers.params()).await?;
        connection.commit_with(&[insert], "scan").await?;
        // Due dispatches that are locked are being changed. If there are no others, the next scan looks at them again.
        let more = !lease_ends.is_empty() || chosen.is_empty();
        Ok(Round { taken: readable(&rows), more })
    }
}

struct Round {
    taken: Vec<Dispatch>,
    /// Whether further timers may be due.
    more: bool,
}

/// Deletes due timers: at most as many as have `$3` dispatches together, and at least one. The clock is read once, so that it bounds the
/// walk through the index.
const TAKE_TIMERS: &str = "with due as materialized (
        select fresh, due_at, id, uids from timer
         where fresh = $1 and due_at >= $4 and due_at <= (select clock_timestamp())
         order by due_at limit $2 for update skip locked),
     taken as (
        select *, sum(cardinality(uids)) over (order by due_at, id) - cardinality(uids) as before from due)
     delete from timer t using taken
      where t.fresh = taken.fresh and t.due_at = taken.due_at and t.id = taken.id and taken.before < $3
     returning t.uids";

/// A due timer. After [`TAKE_TIMERS`] has found none, another process holds it, and may write timers that are due as early.
const HELD_BY_OTHERS: &str = "select 1 from timer
    where fresh = $1 and due_at >= $2 and due_at <= (select clock_timestamp()) limit 1";

/// The wake-ups of dispatches that have one, and the clock.
const WAKES: &str = "select d.wake_at, d.uid, d.state, clock_timestamp()
                       from dispatch d where d.uid = any($1) and d.wake_at is not null";

/// Leases the dispatches of `$1` that are due and that nobody else changes now.
static TAKE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "update dispatch d set wake_at = clock_timestamp() + make_interval(secs => $2)
           from (select t.uid from dispatch t where t.uid = any($1) and t.wake_at <= clock_timestamp()
                  order by t.uid for update skip locked) due
          where d.uid = due.uid returning {}",
        *ROW
    )
});

/// Inserts [`Timers`].
pub(super) static INSERT_TIMERS: LazyLock<String> = LazyLock::new(|| insert_timers(1));

/// The dispatches that this version can read.
fn readable(rows: &[Row]) -> Vec<Dispatch> {
    reading::readable(rows, 0).into_iter().map(|(_, d)| d).collect()
}
