//! Counts of deliveries and reports of processes in SQLite.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::{Fault, Sqlite};
use crate::domain::clock::after;
use crate::domain::delivery_cell::Cell;
use crate::domain::delivery_count::{CountRow, Counted, DeliveryCounts, interval_start};
use crate::ledger::LedgerError;
use crate::ledger::statistics::{ProcessReport, Statistics};

/// The columns of a count, without its counts.
const KEY: &str = "started_at, width_s, channel, carrier, country, tenant";

fn columns(template: &str) -> String {
    Counted::ALL.iter().map(|counted| template.replace("{}", counted.as_str())).collect::<Vec<_>>().join(", ")
}

static ADD: LazyLock<String> = LazyLock::new(|| {
    let (names, added) = (columns("{}"), columns("{} = {} + excluded.{}"));
    let places = vec!["?"; 6 + Counted::ALL.len()].join(", ");
    format!(
        "insert into delivery_count ({KEY}, {names}) values ({places}) on conflict ({KEY}) do update set {added}"
    )
});

static READ: LazyLock<String> =
    LazyLock::new(|| format!("select {KEY}, {} from delivery_count", columns("{}")));

#[async_trait]
impl Statistics for Sqlite {
    async fn add_counts(&self, rows: &[CountRow]) -> Result<(), LedgerError> {
        let rows = rows.to_vec();
        self.write(move |db, _| rows.iter().try_for_each(|row| add(db, row))).await
    }

    async fn counts(&self, since: Timestamp) -> Result<Vec<CountRow>, LedgerError> {
        self.run(move |db| select(db, "started_at >= ?1 order by started_at", &[since.as_microsecond()]))
            .await
    }

    async fn merge_counts(
        &self, before: Timestamp, narrow: Duration, wide: Duration,
    ) -> Result<u64, LedgerError> {
        self.write(move |db, _| {
            let width = narrow.as_secs() as i64;
            let sql = "select min(started_at) from delivery_count where width_s = ?1 and started_at < ?2";
            let oldest: Option<i64> =
                db.prepare_cached(sql)?.query_row([width, before.as_microsecond()], |r| r.get(0))?;
            let Some(oldest) = oldest else { return Ok(0) };
            let started_at = interval_start(time(oldest), wide);
            let end = before.min(after(started_at, wide)).as_microsecond();
            let old = "width_s = ?1 and started_at >= ?2 and started_at < ?3";
            let which = [width, started_at.as_microsecond(), end];
            let rows = select(db, old, &which)?;
            let merged = rows.len() as u64;
            for row in rows {
                add(db, &CountRow { started_at, width_s: wide.as_secs() as u32, ..row })?;
            }
            db.prepare_cached(&format!("delete from delivery_count where {old}"))?.execute(which)?;
            Ok(merged)
        })
        .await
    }

    async fn forget_statistics(&self, before: Timestamp) -> Result<(), LedgerError> {
        self.write(move |db, _| {
            let before = [before.as_microsecond()];
            db.prepare_cached("delete from delivery_count where started_at < ?1")?.execute(before)?;
            db.prepare_cached("delete from process_report where seen_at < ?1")?.execute(before)?;
            Ok(())
        })
        .await
    }

    async fn report_process(&self, name: &str, report: &str) -> Result<(), LedgerError> {
        let (name, report) = (name.to_owned(), report.to_owned());
        self.write(move |db, now| {
            let sql = "insert or replace into process_report values (?1, ?2, ?3)";
            db.prepare_cached(sql)?.execute((name, now.as_microsecond(), report))?;
            Ok(())
        })
        .await
    }

    async fn process_reports(&self) -> Result<Vec<ProcessReport>, LedgerError> {
        self.run(|db| {
            let mut found =
                db.prepare_cached("select name, seen_at, report from process_report order by name")?;
            let rows = found.query_map([], |r| {
                Ok(ProcessReport { name: r.get(0)?, seen_at: time(r.get(1)?), report: r.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn oldest_due(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.run(|db| {
            let sql = "select min(wake_at) from dispatch where wake_at is not null";
            let due: Option<i64> = db.prepare_cached(sql)?.query_row([], |r| r.get(0))?;
            Ok(due.map(time))
        })
        .await
    }
}

fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn add(db: &Connection, row: &CountRow) -> Result<(), Fault> {
    let text = |text: &str| Value::Text(text.to_owned());
    let cell = &row.cell;
    let mut values = vec![
        Value::Integer(row.started_at.as_microsecond()),
        Value::Integer(i64::from(row.width_s)),
        text(cell.channel.as_str()),
        text(&cell.carrier),
        text(&cell.country),
        text(&cell.tenant),
    ];
    values.extend(Counted::ALL.iter().map(|counted| Value::Integer(row.counts.of(*counted))));
    db.prepare_cached(&ADD)?.execute(params_from_iter(values))?;
    Ok(())
}

fn select(db: &Connection, condition: &str, params: &[i64]) -> Result<Vec<CountRow>, Fault> {
    let mut found = db.prepare_cached(&format!("{} where {condition}", *READ))?;
    let mut rows = found.query(params_from_iter(params))?;
    let mut counts = vec![];
    while let Some(row) = rows.next()? {
        counts.push(read(row)?);
    }
    Ok(counts)
}

fn read(row: &Row<'_>) -> Result<CountRow, Fault> {
    let channel = row.get::<_, String>(2)?.parse().map_err(|_| Fault::UnknownForm)?;
    let cell = Cell { channel, carrier: row.get(3)?, country: row.get(4)?, tenant: row.get(5)? };
    let mut counts = DeliveryCounts::default();
    for (n, counted) in Counted::ALL.iter().enumerate() {
        counts.add(*counted, row.get(6 + n)?);
    }
    Ok(CountRow { started_at: time(row.get(0)?), width_s: row.get(1)?, cell, counts })
}
