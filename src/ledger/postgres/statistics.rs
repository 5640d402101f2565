//! Counts of deliveries and reports of processes in PostgreSQL.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::columns::Param;
use crate::domain::delivery_cell::Cell;
use crate::domain::delivery_count::{CountRow, Counted, DeliveryCounts};
use crate::ledger::LedgerError;
use crate::ledger::statistics::{ProcessReport, Statistics};

/// The columns of a count, without its counts.
const KEY: &str = "started_at, width_s, channel, carrier, country, tenant";

/// Applies a template to each column of counts: `{}` stands for its name, `#` for its number from 0.
fn columns(template: &str) -> String {
    let of = |(n, counted): (usize, &Counted)| {
        template.replace("{}", counted.as_str()).replace('#', &n.to_string())
    };
    Counted::ALL.iter().enumerate().map(of).collect::<Vec<_>>().join(", ")
}

/// Adds to a row that exists.
fn on_conflict() -> String {
    let added = columns("{} = delivery_count.{} + excluded.{}");
    format!("on conflict ({KEY}) do update set {added}")
}

static ADD: LazyLock<String> = LazyLock::new(|| {
    // The counts of all rows come in one array, because each array is a parameter. The last table only names its type.
    let counts = columns(&format!("$7[{} * (n - 1) + # + 1]", Counted::ALL.len()));
    let names = columns("{}");
    format!(
        "insert into delivery_count ({KEY}, {names})
         select s, w, ch, ca, co, te, {counts}
           from unnest($1::timestamptz[], $2::int4[], $3::text[], $4::text[], $5::text[], $6::text[])
                with ordinality as r(s, w, ch, ca, co, te, n), (select $7::int8[]) as a
         {}",
        on_conflict()
    )
});

static READ: LazyLock<String> = LazyLock::new(|| {
    let names = columns("{}");
    format!("select {KEY}, {names} from delivery_count where started_at >= $1 order by started_at")
});

static MERGE: LazyLock<String> = LazyLock::new(|| {
    let (names, sums) = (columns("{}"), columns("sum({})::int8"));
    format!(
        "with oldest as (select min(started_at) as at from delivery_count where width_s = $2::int4 and started_at < $1),
              begun as (select to_timestamp(floor(extract(epoch from at) / $3::int4) * $3::int4) as at from oldest),
              gone as (delete from delivery_count c using begun
                        where c.width_s = $2::int4 and c.started_at < $1 and c.started_at >= begun.at
                          and c.started_at < begun.at + make_interval(secs => $3::int4) returning c.*)
         insert into delivery_count ({KEY}, {names})
         select to_timestamp(floor(extract(epoch from started_at) / $3::int4) * $3::int4), $3::int4, channel, carrier, country, tenant, {sums}
           from gone group by 1, 2, 3, 4, 5, 6
         {}",
        on_conflict()
    )
});

#[async_trait]
impl Statistics for Postgres {
    async fn add_counts(&self, rows: &[CountRow]) -> Result<(), LedgerError> {
        // In one order everywhere, so that two processes do not wait for each other's locks.
        let mut rows: Vec<&CountRow> = rows.iter().collect();
        rows.sort_by(|a, b| (a.started_at, a.width_s, &a.cell).cmp(&(b.started_at, b.width_s, &b.cell)));
        let started: Vec<Timestamp> = rows.iter().map(|row| row.started_at).collect();
        let widths: Vec<i32> = rows.iter().map(|row| row.width_s as i32).collect();
        let texts = |of: fn(&Cell) -> &str| rows.iter().map(|row| of(&row.cell)).collect::<Vec<&str>>();
        let channels = texts(|cell| cell.channel.as_str());
        let [carriers, countries, tenants] =
            [texts(|cell| &cell.carrier), texts(|cell| &cell.country), texts(|cell| &cell.tenant)];
        let counts: Vec<i64> =
            rows.iter().flat_map(|row| Counted::ALL.iter().map(|counted| row.counts.of(*counted))).collect();
        let params: [Param<'_>; 7] = [&started, &widths, &channels, &carriers, &countries, &tenants, &counts];
        self.execute(&ADD, &params).await.map(drop)
    }

    async fn counts(&self, since: Timestamp) -> Result<Vec<CountRow>, LedgerError> {
        self.query(&READ, &[&since]).await?.iter().map(read).collect()
    }

    async fn merge_counts(
        &self, before: Timestamp, narrow: Duration, wide: Duration,
    ) -> Result<u64, LedgerError> {
        let [narrow, wide] = [narrow, wide].map(|width| width.as_secs() as i32);
        self.execute(&MERGE, &[&before, &narrow, &wide]).await
    }

    async fn forget_statistics(&self, before: Timestamp) -> Result<(), LedgerError> {
        let sql = "with old as (delete from delivery_count where started_at < $1)
                   delete from process_report where seen_at < $1";
        self.execute(sql, &[&before]).await.map(drop)
    }

    async fn report_process(&self, name: &str, report: &str) -> Result<(), LedgerError> {
        let sql = "insert into process_report values ($1, clock_timestamp(), $2)
                   on conflict (name) do update set seen_at = excluded.seen_at, report = excluded.report";
        self.execute(sql, &[&name, &report]).await.map(drop)
    }

    async fn process_reports(&self) -> Result<Vec<ProcessReport>, LedgerError> {
        let rows = self.query("select name, seen_at, report from process_report order by name", &[]).await?;
        Ok(rows
            .iter()
            .map(|row| ProcessReport { name: row.get(0), seen_at: row.get(1), report: row.get(2) })
            .collect())
    }

    async fn oldest_due(&self) -> Result<Option<Timestamp>, LedgerError> {
        // One look-up in the index for each value of its first column.
        let sql = "select least((select min(due_at) from timer where fresh), (select min(due_at) from timer where not fresh))";
        Ok(self.query(sql, &[]).await?.first().and_then(|row| row.get(0)))
    }
}

fn read(row: &Row) -> Result<CountRow, LedgerError> {
    let channel = row.get::<_, &str>(2).parse().map_err(|_| LedgerError::UnknownForm)?;
    let cell = Cell { channel, carrier: row.get(3), country: row.get(4), tenant: row.get(5) };
    let counts = DeliveryCounts::new(std::array::from_fn(|n| row.get(6 + n)));
    Ok(CountRow { started_at: row.get(0), width_s: row.get::<_, i32>(1) as u32, cell, counts })
}
