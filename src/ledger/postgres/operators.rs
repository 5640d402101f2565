//! What operators do, in PostgreSQL. A statement writes the act and its record, so both are in one transaction.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::columns::Param;
use super::connection::{CLOCK, answers, read_clock};
use super::error::INCOMPLETE_ANSWER;
use super::reading::{self, ROW};
use super::rows::{Which, read_quotas};
use crate::domain::dispatch::Dispatch;
use crate::domain::restrictions::BlockKind;
use crate::ledger::LedgerError;
use crate::ledger::decide::{self, Quotas};
use crate::ledger::items::{
    AuditRecord, DispatchSearch, EraseStep, Erased, FoundRows, LeftDispatch, NewAuditRecord, NewBlock,
    NewPause, OperatorAct, RetryResult, SearchBy, StoredRestrictions,
};
use crate::ledger::operators::{EVERYWHERE, MAX_EXAMINED, Operators};

/// Inserts a record. The parameters `$1` to `$5` are those of [`AuditParams`]. A repeated write changes nothing.
const RECORD: &str = "insert into audit (id, at, who, act, subject, reason)
                      select $1::uuid, clock_timestamp(), $2::text, $3::text, $4::text, $5::text";

static PAUSE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with recorded as ({RECORD} on conflict do nothing),
              revised as (update restriction set revision = $1 where id = 1),
              ended as (delete from carrier_pause where until <= clock_timestamp() and (carrier, country) <> ($6, $7))
         insert into carrier_pause (carrier, country, reason, paused_by, paused_at, until)
         values ($6, $7, $9, $2, clock_timestamp(), clock_timestamp() + make_interval(secs => $8))
         on conflict (carrier, country) do update set reason = excluded.reason, paused_by = excluded.paused_by,
              paused_at = excluded.paused_at, until = excluded.until"
    )
});
static RESUME: LazyLock<String> = LazyLock::new(|| {
    if_gone(
        "delete from carrier_pause where carrier = $6 and ($7::text is null or country = $7)
            and (until is null or until > clock_timestamp())",
    )
});
static PROBE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with recorded as ({RECORD} on conflict do nothing),
              revised as (update restriction set revision = $1 where id = 1)
         insert into carrier_probe (carrier, probe_at) values ($6, clock_timestamp())
         on conflict (carrier) do update set probe_at = excluded.probe_at"
    )
});
static BLOCK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with recorded as ({RECORD} on conflict do nothing),
              revised as (update restriction set revision = $1 where id = 1),
              ended as (delete from block where until <= clock_timestamp() and (kind, value) <> ($6, $7))
         insert into block (kind, value, shown, reason, blocked_by, blocked_at, until)
         values ($6, $7, $8, $10, $2, clock_timestamp(), clock_timestamp() + make_interval(secs => $9))
         on conflict (kind, value) do update set shown = excluded.shown, reason = excluded.reason,
              blocked_by = excluded.blocked_by, blocked_at = excluded.blocked_at, until = excluded.until"
    )
});
static UNBLOCK: LazyLock<String> = LazyLock::new(|| {
    if_gone(
        "delete from block where kind = $6 and value = $7 and (until is null or until > clock_timestamp())",
    )
});
static DELETE_QUOTAS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with recorded as ({RECORD} on conflict do nothing)
         delete from quota where key in (select key from quota where key = any($6) order by key for update)"
    )
});
static RECORD_ACT: LazyLock<String> = LazyLock::new(|| format!("{RECORD} on conflict do nothing"));
static READ_MANY: LazyLock<String> =
    LazyLock::new(|| format!("select {} from dispatch d where d.uid = any($1)", *ROW));

/// The rows are found first, by the index of numbers. Otherwise the planner might walk the primary key for the order.
static LOCK_NUMBER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with of_number as materialized (select uid from dispatch where number_key = any($1) limit $2)
         select {} from dispatch d where d.uid in (select uid from of_number) order by d.uid for update of d",
        *ROW
    )
});
const LOCK_EVENTS: &str = "select id, uids, events from outbox where uids && $1 order by id for update";
/// Raises the tries, so that a try under way does not write the events back.
const KEEP_EVENTS: &str = "update outbox set uids = $2, events = $3, tries = tries + 1 where id = $1";

/// A statement that records the act and changes the revision if it deletes a row. Returns the number of deleted rows.
fn if_gone(delete: &str) -> String {
    format!(
        "with gone as ({delete} returning 1),
              recorded as ({RECORD} where exists (select from gone) on conflict do nothing),
              revised as (update restriction set revision = $1 where id = 1 and exists (select from gone))
         select to_jsonb(count(*)) from gone"
    )
}

/// The first five parameters of each act.
struct AuditParams<'a> {
    audit: &'a NewAuditRecord,
    act: &'static str,
}

impl<'a> AuditParams<'a> {
    fn of(audit: &'a NewAuditRecord) -> Self {
        Self { audit, act: OperatorAct::as_str(audit.act) }
    }

    fn with<'s>(&'s self, more: &[Param<'s>]) -> Vec<Param<'s>> {
        let NewAuditRecord { id, who, subject, reason, .. } = self.audit;
        [&[id as Param<'s>, who, &self.act, subject, reason], more].concat()
    }
}

/// The rows that a search looks at, and those that match.
fn search(rows: &str) -> String {
    format!(
        "with seen as materialized (
             select uid, state, tenant from ({rows}) r where uid >= $2 and uid < $3 order by uid desc limit {MAX_EXAMINED})
         select array(select uid from seen where ($4::text is null or state = $4) and ($5::text is null or tenant = $5)
                       order by uid desc limit $6),
                (select count(*) from seen), (select uid from seen order by uid limit 1)"
    )
}

static BY_NUMBER: LazyLock<String> = LazyLock::new(|| {
    search(&format!(
        "select * from (select uid, state, tenant from dispatch where number_key = any($1) limit {MAX_EXAMINED}) n"
    ))
});
static BY_ID: LazyLock<String> = LazyLock::new(|| {
    search(
        "select uid, state, tenant from dispatch where uid = ($1::text[])[1]::uuid
         union select uid, state, tenant from dispatch where tenant = any(($1::text[])[2:]) and id = ($1::text[])[1]::uuid",
    )
});
static BY_PERIOD: LazyLock<String> = LazyLock::new(|| {
    // `$1` is not used.
    search("select uid, state, tenant from dispatch where uid >= $2 and uid < $3 and $1::text[] is not null")
});
/// Without these settings the planner may sort a whole period, however long. With them it walks the primary key backwards, and stops at
/// the limit.
const WALK_INDEX: &str =
    "select set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)";

#[async_trait]
impl Operators for Postgres {
    async fn restriction_revision(&self) -> Result<Uuid, LedgerError> {
        let rows = self.query("select revision from restriction where id = 1", &[]).await?;
        Ok(rows.first().map_or(Uuid::nil(), |row| row.get(0)))
    }

    async fn restrictions(&self) -> Result<StoredRestrictions, LedgerError> {
        let sql = "select jsonb_build_object(
                'revision', coalesce((select revision from restriction where id = 1), '00000000-0000-0000-0000-000000000000'),
                'pauses', coalesce((select jsonb_agg(to_jsonb(p) || jsonb_build_object('country', nullif(p.country, ''))
                                                     order by p.carrier, p.country) from carrier_pause p), '[]'),
                'probes', coalesce((select jsonb_agg(p order by p.carrier) from carrier_probe p), '[]'),
                'blocks', coalesce((select jsonb_agg(b order by b.blocked_at desc) from block b), '[]'))";
        let found: Option<StoredRestrictions> = self.json(sql, &[]).await?.pop();
        found.ok_or_else(|| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))
    }

    async fn pause_carrier(&self, pause: &NewPause, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let seconds = pause.duration.as_ref().map(Duration::as_secs_f64);
        let (params, country) = (AuditParams::of(audit), pause.country.as_deref().unwrap_or(EVERYWHERE));
        self.execute(&PAUSE, &params.with(&[&pause.carrier, &country, &seconds, &pause.reason]))
            .await
            .map(drop)
    }

    async fn resume_carrier(
        &self, carrier: &str, country: Option<&str>, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError> {
        let params = AuditParams::of(audit);
        let gone: Option<u64> = self.json(&RESUME, &params.with(&[&carrier, &country])).await?.pop();
        Ok(gone.is_some_and(|gone| gone > 0))
    }

    async fn probe_carrier(&self, carrier: &str, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let params = AuditParams::of(audit);
        self.execute(&PROBE, &params.with(&[&carrier])).await.map(drop)
    }

    async fn add_block(&self, block: &NewBlock, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let seconds = block.duration.as_ref().map(Duration::as_secs_f64);
        let (params, kind) = (AuditParams::of(audit), block.kind.as_str());
        self.execute(&BLOCK, &params.with(&[&kind, &block.value, &block.shown, &seconds, &block.reason]))
            .await
            .map(drop)
    }

    async fn remove_block(
        &self, kind: BlockKind, value: &str, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError> {
        let (params, kind) = (AuditParams::of(audit), kind.as_str());
        let gone: Option<u64> = self.json(&UNBLOCK, &params.with(&[&kind, &value])).await?.pop();
        Ok(gone == Some(1))
    }

    async fn find_rows(
        &self, search: &DispatchSearch, from: Uuid, before: Uuid,
    ) -> Result<FoundRows, LedgerError> {
        let (sql, which) = match &search.by {
            SearchBy::Number(keys) => (&BY_NUMBER, keys.clone()),
            SearchBy::Id { id, tenants } => {
                (&BY_ID, std::iter::once(id.to_string()).chain(tenants.iter().cloned()).collect())
            }
            SearchBy::Period => (&BY_PERIOD, vec![]),
        };
        let state = search.state.map(crate::domain::attempt::State::as_str);
        let limit = i64::try_from(search.limit).unwrap_or(i64::MAX);
        let connection = self.connect().await?;
        let walk = connection.step(WALK_INDEX, vec![]).await?;
        let params: Vec<Param<'_>> = vec![&which, &from, &before, &state, &search.tenant, &limit];
        let find = connection.step(sql, params).await?;
        connection.begin_with(&[walk]).await?;
        let rows = connection.commit_with(&[find], "search").await?;
        let row = rows
            .first()
            .and_then(|rows| rows.first())
            .ok_or_else(|| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))?;
        let examined = usize::try_from(row.get::<_, i64>(1)).unwrap_or(usize::MAX);
        Ok(FoundRows { uids: row.get(0), examined, oldest: row.get(2) })
    }

    async fn read_many(&self, uids: &[Uuid]) -> Result<Vec<Dispatch>, LedgerError> {
        let rows = self.query(&READ_MANY, &[&uids]).await?;
        Ok(reading::readable(&rows, 0).into_iter().map(|(_, d)| d).collect())
    }

    async fn retry_dispatch(&self, uid: Uuid) -> Result<RetryResult, LedgerError> {
        let connection = self.connect().await?;
        let mut locked = self.lock(&connection, &[], Which::Uids(vec![uid])).await?;
        if locked.has_unreadable() {
            connection.roll_back().await?;
            return Err(LedgerError::UnknownForm);
        }
        let now = locked.now;
        let result = decide::retry(locked.row(uid).map(|(d, _)| d), now);
        self.store(&connection, &locked, "retry").await?;
        Ok(result)
    }

    async fn quotas(&self, keys: &[String]) -> Result<Quotas, LedgerError> {
        read_quotas(&self.query("select key, uses from quota where key = any($1)", &[&keys]).await?)
    }

    async fn delete_quotas(&self, keys: &[String], audit: &NewAuditRecord) -> Result<u64, LedgerError> {
        let params = AuditParams::of(audit);
        self.execute(&DELETE_QUOTAS, &params.with(&[&keys])).await
    }

    async fn erase(&self, step: &EraseStep) -> Result<Erased, LedgerError> {
        let limit = i64::try_from(step.limit).unwrap_or(i64::MAX);
        let connection = self.connect().await?;
        let lock = connection.step(&LOCK_NUMBER, vec![&step.number_keys, &limit]).await?;
        let [rows, clock] =
            answers(connection.begin_with(&[lock, connection.step(CLOCK, vec![]).await?]).await?)?;
        let now = read_clock(&clock)?;
        // A row that this version cannot read may belong to a dispatch that is under way.
        let read: Result<Vec<Dispatch>, LedgerError> = rows.iter().map(|row| reading::read(row, 0)).collect();
        let found = match read {
            Ok(found) => found,
            Err(e) => {
                connection.roll_back().await?;
                return Err(e);
            }
        };
        let mut erased = Erased { is_partial: found.len() == step.limit, ..Erased::default() };
        let mut uids = vec![];
        for d in found {
            if decide::is_erasable(&d, now) {
                uids.push(d.order.uid);
                erased.quota_keys.extend(d.quota_uses.into_iter().map(|used| used.key));
            } else {
                erased.left.push(LeftDispatch::of(&d));
            }
        }
        if uids.is_empty() {
            connection.roll_back().await?;
            return Ok(erased);
        }
        let lock = connection.step(LOCK_EVENTS, vec![&uids]).await?;
        let locked = connection.go_on_with(&[lock]).await?;
        let gone: BTreeSet<Uuid> = uids.iter().copied().collect();
        let (mut kept, mut emptied) = (vec![], vec![]);
        for row in locked.iter().flatten() {
            match Kept::of(row, &gone) {
                Some(row) => kept.push(row),
                None => emptied.push(row.get::<_, Uuid>(0)),
            }
        }
        let mut steps = vec![];
        for row in &kept {
            steps.push(connection.step(KEEP_EVENTS, vec![&row.id, &row.uids, &row.events]).await?);
        }
        let params = AuditParams::of(&step.audit);
        for (sql, params) in [
            ("delete from outbox where id = any($1)", vec![&emptied as Param<'_>]),
            ("delete from stray_receipt where uid = any($1)", vec![&uids]),
            ("delete from dispatch where uid = any($1)", vec![&uids]),
            (&RECORD_ACT, params.with(&[])),
        ] {
            steps.push(connection.step(sql, params).await?);
        }
        connection.commit_with(&steps, "erase").await?;
        erased.dispatches = uids.len() as u64;
        Ok(erased)
    }

    async fn record_act(&self, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        self.execute(&RECORD_ACT, &AuditParams::of(audit).with(&[])).await.map(drop)
    }

    async fn audit(&self, after: Uuid, before: Uuid, limit: usize) -> Result<Vec<AuditRecord>, LedgerError> {
        let sql = "select to_jsonb(a) from audit a where id > $1 and id < $2 order by id desc limit $3";
        self.json(sql, &[&after, &before, &i64::try_from(limit).unwrap_or(i64::MAX)]).await
    }
}

/// A row of the outbox that also holds events of other dispatches.
struct Kept {
    id: Uuid,
    uids: Vec<Uuid>,
    events: Vec<String>,
}

impl Kept {
    /// The row without the events of these dispatches. `None` if nothing is left.
    fn of(row: &Row, gone: &BTreeSet<Uuid>) -> Option<Self> {
        let (uids, events): (Vec<Uuid>, Vec<String>) = (row.get(1), row.get(2));
        let left = uids.into_iter().zip(events).filter(|(uid, _)| !gone.contains(uid));
        let (uids, events): (Vec<Uuid>, Vec<String>) = left.unzip();
        (!uids.is_empty()).then(|| Self { id: row.get(0), uids, events })
    }
}
