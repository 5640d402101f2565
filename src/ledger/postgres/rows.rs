//! A transaction on rows: locks and loads them, and stores what was decided.
//!
//! Locks are taken in one order everywhere: quotas by key, then dispatches by uid. The clock is read after the locks. New rows are
//! inserted last; if another transaction has inserted one of them, the group runs again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::Postgres;
use super::columns::{self, ChangingColumns, Param};
use super::connection::{CLOCK, Connection, answers, read_clock};
use super::outbox::{NewEvents, insert_events};
use super::reading::{self, ROW};
use super::timer::{Timers, insert_timers};
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Event};
use crate::domain::quota;
use crate::ledger::LedgerError;
use crate::ledger::decide::Quotas;
use crate::ledger::items::{AttemptReceipt, Destinations};

/// Locks quotas and reads them.
pub(super) const LOCK_QUOTAS: &str =
    "select key, uses from quota where key = any($1) order by key for update";
/// Writes the uses of quotas. The parameters are those of [`QuotaRows`].
static WRITE_QUOTAS: LazyLock<String> = LazyLock::new(|| {
    let [update, insert] = write_quotas(1);
    format!("with updated as ({update}) {insert}")
});
/// Keeps receipts for attempts that have no row.
const INSERT_STRAYS: &str = "insert into stray_receipt (uid, n, carrier, receipt, received_at)
     select u.uid, u.n, u.carrier, jsonb_strip_nulls(u.receipt), clock_timestamp()
       from unnest($1::uuid[], $2::int2[], $3::text[], $4::jsonb[]) as u(uid, n, carrier, receipt)
     on conflict do nothing";
static LOCK_UIDS: LazyLock<String> = LazyLock::new(|| {
    format!("select {} from dispatch d where d.uid = any($1) order by d.uid for update", *ROW)
});
static LOCK_ID: LazyLock<String> =
    LazyLock::new(|| format!("select {} from dispatch d where d.tenant = $1 and d.id = $2 for update", *ROW));

/// Updates locked rows, and adds their events and timers. The parameters are those of [`Change`].
pub(super) static CHANGE_LOCKED: LazyLock<String> = LazyLock::new(|| change(true));
/// The same for rows that are not locked: those that still have their expected version and newest attempt, and only what a decision
/// changes. Returns their uids.
static CHANGE_UNLOCKED: LazyLock<String> = LazyLock::new(|| change(false));

fn change(is_locked: bool) -> String {
    let (update, next) = columns::update(is_locked);
    format!(
        "with changed as ({update}),
              events as ({}),
              timers as ({}),
              delivered as (delete from outbox where id = any(${}::uuid[]))
         select uid from changed",
        insert_events("changed"),
        insert_timers(next),
        next + 4,
    )
}

/// Which rows a transaction locks.
pub(super) enum Which<'a> {
    Uids(Vec<Uuid>),
    Id(&'a str, Uuid),
}

/// A row of a transaction: as it was loaded, and as it was decided.
pub(super) struct LockedRow {
    before: Dispatch,
    pub(super) d: Dispatch,
    events: Option<(Vec<Event>, Destinations)>,
}

/// The locked rows of a transaction.
pub(super) struct Locked {
    pub(super) rows: BTreeMap<Uuid, LockedRow>,
    /// The rows that this version cannot read.
    unreadable: BTreeSet<Uuid>,
    pub(super) quotas: Quotas,
    pub(super) now: Timestamp,
    /// Receipts to keep, because their attempt has no row.
    pub(super) strays: Vec<Arc<AttemptReceipt>>,
}

impl Locked {
    pub(super) fn row(&mut self, uid: Uuid) -> Option<(&mut Dispatch, &mut Quotas)> {
        Some((&mut self.rows.get_mut(&uid)?.d, &mut self.quotas))
    }

    /// The same, but an error if the row exists and this version cannot read it.
    pub(super) fn readable_row(
        &mut self, uid: Uuid,
    ) -> Result<Option<(&mut Dispatch, &mut Quotas)>, LedgerError> {
        if self.unreadable.contains(&uid) { Err(LedgerError::UnknownForm) } else { Ok(self.row(uid)) }
    }

    pub(super) fn has_unreadable(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Adds the events of a changed row.
    pub(super) fn publish(&mut self, uid: Uuid, events: &[Event], to: Destinations) {
        if let Some(row) = self.rows.get_mut(&uid) {
            row.events = Some((events.to_vec(), to));
        }
    }
}

impl Postgres {
    /// Begins a transaction, and locks quotas and dispatches.
    pub(super) async fn lock(
        &self, connection: &Connection<'_>, keys: &[&str], which: Which<'_>,
    ) -> Result<Locked, LedgerError> {
        let lock_rows = match &which {
            Which::Uids(uids) => connection.step(&LOCK_UIDS, vec![uids]).await?,
            Which::Id(tenant, id) => connection.step(&LOCK_ID, vec![tenant, id]).await?,
        };
        let mut steps = vec![lock_rows, connection.step(CLOCK, vec![]).await?];
        if !keys.is_empty() {
            steps.insert(0, connection.step(LOCK_QUOTAS, vec![&keys]).await?);
        }
        let mut loaded = connection.begin_with(&steps).await?;
        let quotas = if keys.is_empty() { vec![] } else { loaded.remove(0) };
        let [rows, clock] = answers(loaded)?;
        let now = read_clock(&clock)?;
        let quotas = read_quotas(&quotas)?;
        let mut loaded = BTreeMap::new();
        for (_, mut d) in reading::readable(&rows, 0) {
            d.now = now;
            loaded.insert(d.order.uid, LockedRow { before: d.clone(), d, events: None });
        }
        let uids = rows.iter().filter_map(|row| row.try_get(0).ok());
        let unreadable = uids.filter(|uid| !loaded.contains_key(uid)).collect();
        Ok(Locked { rows: loaded, unreadable, quotas, now, strays: vec![] })
    }

    /// Stores the changes of the rows and commits. `act` names the transaction for whoever reads the server's log.
    pub(super) async fn store(
        &self, connection: &Connection<'_>, locked: &Locked, act: &str,
    ) -> Result<(), LedgerError> {
        let mut change = Change::of_locked();
        for LockedRow { before, d, events } in locked.rows.values() {
            if before != d {
                let events = events.as_ref().map(|(events, to)| (events.as_slice(), *to));
                change.add(before, d, events);
                change.timers.add_exact(before.wake_at, d);
            }
        }
        let quotas = QuotaRows::of(&locked.quotas);
        let mut steps = vec![];
        if !quotas.is_empty() {
            steps.push(connection.step(&WRITE_QUOTAS, quotas.params()).await?);
        }
        if !change.is_empty() {
            steps.push(connection.step(&CHANGE_LOCKED, change.params()).await?);
        }
        let strays = &locked.strays;
        let uids: Vec<Uuid> = strays.iter().map(|stray| stray.uid).collect();
        let n: Vec<i16> = strays.iter().map(|stray| i16::try_from(stray.n).unwrap_or(i16::MAX)).collect();
        let carriers: Vec<&str> = strays.iter().map(|stray| stray.carrier.as_str()).collect();
        let receipts: Vec<Json<_>> = strays.iter().map(|stray| Json(&stray.receipt)).collect();
        if !strays.is_empty() {
            steps.push(connection.step(INSERT_STRAYS, vec![&uids, &n, &carriers, &receipts]).await?);
        }
        let since = Instant::now();
        connection.commit_with(&steps, act).await?;
        self.outgoing.publish(change.events.batches(since, |_| true));
        Ok(())
    }

    /// Writes decisions in one statement, without locking the rows first. Returns the uids of the rows that were written.
    pub(super) async fn change_unlocked(
        &self, mut change: Change<'_>,
    ) -> Result<BTreeSet<Uuid>, LedgerError> {
        change.delivered = self.outgoing.take_delivered();
        let since = Instant::now();
        let rows = match self.query(&CHANGE_UNLOCKED, &change.params()).await {
            Ok(rows) => rows,
            Err(e) => {
                self.outgoing.add_delivered(change.delivered);
                return Err(e);
            }
        };
        let written: BTreeSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        self.outgoing.publish(change.events.batches(since, |uid| written.contains(uid)));
        Ok(written)
    }
}

/// Changed rows, as arrays.
pub(super) struct Change<'a> {
    uid: Vec<Uuid>,
    expected: Vec<i64>,
    /// The claims of the newest attempts. They differ at the same version if the ledger has lost a begin.
    claim: Vec<Option<Uuid>>,
    columns: ChangingColumns<'a>,
    events: NewEvents,
    pub(super) timers: Timers,
    /// Rows of the outbox to delete.
    delivered: Vec<Uuid>,
}

impl<'a> Change<'a> {
    /// Changes of locked rows.
    pub(super) fn of_locked() -> Self {
        Self::with(ChangingColumns::of_locked())
    }

    /// Decisions on rows that are not locked.
    pub(super) fn of_unlocked() -> Self {
        Self::with(ChangingColumns::of_unlocked())
    }

    fn with(columns: ChangingColumns<'a>) -> Self {
        let (uid, expected, claim, delivered) = (vec![], vec![], vec![], vec![]);
        Self { uid, expected, claim, columns, events: NewEvents::new(), timers: Timers::default(), delivered }
    }

    /// Adds a row with its events. The caller adds its timer.
    pub(super) fn add(
        &mut self, before: &Dispatch, d: &'a Dispatch, events: Option<(&[Event], Destinations)>,
    ) {
        self.uid.push(d.order.uid);
        self.expected.push(before.version);
        self.claim.push(before.attempts.last().map(|attempt| attempt.claim));
        self.columns.push(d);
        match events {
            Some((events, to)) => self.events.push(&d.order, events, to),
            None => self.events.push_none(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.uid.is_empty()
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut all: Vec<Param<'_>> = vec![&self.uid, &self.expected, &self.claim];
        all.extend(self.columns.params());
        all.extend(self.events.params());
        all.extend(self.timers.params());
        all.push(&self.delivered);
        all
    }
}

/// Reads the rows of [`LOCK_QUOTAS`].
pub(super) fn read_quotas(rows: &[Row]) -> Result<Quotas, LedgerError> {
    let mut quotas = Quotas::default();
    for row in rows {
        let (key, bytes): (String, &[u8]) = (row.get(0), row.get(1));
        let micros =
            bytes.chunks_exact(8).map(|chunk| i64::from_be_bytes(chunk.try_into().unwrap_or([0; 8])));
        let uses: Result<Vec<Timestamp>, _> = micros.map(Timestamp::from_microsecond).collect();
        quotas.insert(key, uses.map_err(|_| LedgerError::UnknownForm)?);
    }
    Ok(quotas)
}

/// Updates the quotas that have a row, and inserts the new ones. The parameters are those of [`QuotaRows`], from `$first`.
pub(super) fn write_quotas(first: usize) -> [String; 2] {
    let arrays =
        |first| format!("unnest(${}::text[], ${}::bytea[], ${}::date[])", first, first + 1, first + 2);
    [
        format!(
            "update quota q set uses = u.uses, forget_on = u.forget_on
               from {} as u(key, uses, forget_on) where q.key = u.key",
            arrays(first)
        ),
        format!("insert into quota (key, uses, forget_on) select * from {}", arrays(first + 3)),
    ]
}

/// Changed quotas, as arrays: those with a row, and new ones.
#[derive(Default)]
pub(super) struct QuotaRows {
    updated: QuotaArrays,
    inserted: QuotaArrays,
}

#[derive(Default)]
struct QuotaArrays {
    key: Vec<String>,
    uses: Vec<Vec<u8>>,
    forget_on: Vec<Date>,
}

impl QuotaRows {
    pub(super) fn of(quotas: &Quotas) -> Self {
        let mut rows = Self::default();
        for (key, uses, has_row) in quotas.changed() {
            let arrays = if has_row { &mut rows.updated } else { &mut rows.inserted };
            arrays.key.push(key.to_owned());
            arrays.uses.push(uses.iter().flat_map(|at| at.as_microsecond().to_be_bytes()).collect());
            arrays.forget_on.push(forget_on(uses));
        }
        rows
    }

    pub(super) fn is_empty(&self) -> bool {
        self.updated.key.is_empty() && self.inserted.key.is_empty()
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let arrays = [&self.updated, &self.inserted];
        arrays.into_iter().flat_map(|a| [&a.key as Param<'_>, &a.uses, &a.forget_on]).collect()
    }
}

/// The first day on which no rule looks back to the newest use. It changes once a day at most, so that the index of a busy key rarely
/// changes.
fn forget_on(uses: &[Timestamp]) -> Date {
    let Some(newest) = uses.last() else { return Date::constant(1970, 1, 1) };
    let day = after(*newest, quota::LONGEST_WINDOW).to_zoned(TimeZone::UTC).date();
    day.checked_add(1.day()).unwrap_or(day)
}
