//! Admission: loads what a group of jobs needs, lets [`decide`] decide on one after the other, and stores the result. Two round trips.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::columns::{self, NewColumns};
use super::connection::{Connection, read_clock};
use super::outbox::{INSERT_EVENTS, NewEvents};
use super::reading::{self, ROW};
use super::rows::{self, CHANGE_LOCKED, Change, LOCK_QUOTAS, QuotaRows, read_quotas};
use super::timer::{Timers, insert_timers};
use crate::domain::dispatch::Dispatch;
use crate::ledger::LedgerError;
use crate::ledger::decide::{self, AdmissionDecision, KnownRow, MAX_SAME_SIGN_IN, Quotas, SameSignIn};
use crate::ledger::items::{Admission, AdmissionResult};

/// One row for each job: the server's clock, and the dispatch with the job's id, or nulls.
const KNOWN: &str = "select clock_timestamp(), d.tenant, d.id, d.uid, d.content, d.state, d.version,
                            case when d.outcome is null then d.claim end
                       from unnest($1::text[], $2::uuid[]) as u(tenant, id)
                       left join dispatch d on d.tenant = u.tenant and d.id = u.id";

/// The newest dispatches of each of the group's sign-ins, locked. Those that were refused at their admission, which [`SameSignIn::of`]
/// ignores, take no room. The other older ones are final or stopped: each admission stops those before it.
static SAME_SIGN_IN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with newest as materialized (
           select n.uid from unnest($1::text[]) as k(key)
             cross join lateral (select s.uid from dispatch s
                                  where s.supersedes = k.key and (s.version > 1 or s.wake_at is not null)
                                  order by s.issued_at desc, s.id desc limit {MAX_SAME_SIGN_IN}) n)
         select d.supersedes, d.issued_at, {} from dispatch d where d.uid in (select uid from newest) order by d.uid for update",
        *ROW
    )
});

/// Inserts a group with its timers and its quotas' uses. The parameters are those of [`NewColumns`], [`Timers`] and [`QuotaRows`].
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let (insert, next) = columns::insert(1);
    let [update_quotas, insert_quotas] = rows::write_quotas(next + 4);
    let timers = insert_timers(next);
    format!("with updated as ({update_quotas}), inserted as ({insert_quotas}), timers as ({timers}) {insert}")
});

/// Tenant and id.
type JobKey = (String, Uuid);

/// What a group's decisions need.
struct Loaded {
    known: BTreeMap<JobKey, KnownRow>,
    sign_ins: BTreeMap<String, Vec<(Timestamp, Dispatch)>>,
    quotas: Quotas,
    now: Timestamp,
}

/// The decisions on a group.
struct Decided<'a> {
    inserted: Vec<(&'a Admission, Dispatch)>,
    /// Older dispatches of a sign-in, before and after their stop.
    superseded: Vec<(Dispatch, Dispatch)>,
    events: NewEvents,
}

impl<'a> Decided<'a> {
    fn decide(&mut self, job: &'a Admission, loaded: &mut Loaded) -> AdmissionResult {
        if let Some(known) = loaded.known.get(&(job.order.tenant.clone(), job.order.id)) {
            return decide::answer_known(job, known);
        }
        let mut same = loaded.same_sign_in(job);
        let before = same.older.clone();
        let AdmissionDecision { result, row, events } =
            decide::admit(job, &mut same, &mut loaded.quotas, loaded.now);
        self.superseded.extend(before.into_iter().zip(same.older).filter(|(before, d)| before != d));
        self.events.push(&job.order, &events, job.destinations);
        self.inserted.extend(row.map(|row| (job, row)));
        result
    }
}

impl Postgres {
    pub(super) async fn admit_group(
        &self, group: &[Arc<Admission>],
    ) -> Result<Vec<AdmissionResult>, LedgerError> {
        let connection = self.connect().await?;
        let mut loaded = self.load(&connection, group).await?;
        let mut decided = Decided { inserted: vec![], superseded: vec![], events: NewEvents::new() };
        let results = group.iter().map(|job| decided.decide(job, &mut loaded)).collect();
        let since = Instant::now();
        self.store_admitted(&connection, &loaded.quotas, &decided).await?;
        self.outgoing.publish(decided.events.batches(since, |_| true));
        Ok(results)
    }

    /// The first round trip: locks the group's quotas, then reads.
    async fn load(
        &self, connection: &Connection<'_>, group: &[Arc<Admission>],
    ) -> Result<Loaded, LedgerError> {
        let keys: BTreeSet<&str> = group
            .iter()
            .flat_map(|job| job.limits.iter().chain(&job.channel_limit))
            .map(|limit| limit.key.as_str())
            .collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        let tenants: Vec<&str> = group.iter().map(|job| job.order.tenant.as_str()).collect();
        let ids: Vec<Uuid> = group.iter().map(|job| job.order.id).collect();
        let sign_ins: Vec<&str> =
            group.iter().filter_map(|job| job.supersedes.as_ref()).map(|(key, _)| key.as_str()).collect();
        let mut steps = vec![connection.step(LOCK_QUOTAS, vec![&keys]).await?];
        if !sign_ins.is_empty() {
            steps.push(connection.step(&SAME_SIGN_IN, vec![&sign_ins]).await?);
        }
        // The last one, because it reads the clock.
        steps.push(connection.step(KNOWN, vec![&tenants, &ids]).await?);
        let mut answers = connection.begin_with(&steps).await?;
        let known = answers.pop().unwrap_or_default();
        let now = read_clock(&known)?;
        let known = known.iter().filter_map(known_row).collect();
        let mut sign_ins: BTreeMap<String, Vec<(Timestamp, Dispatch)>> = BTreeMap::new();
        for (row, mut d) in answers.get(1).map(|same| reading::readable(same, 2)).unwrap_or_default() {
            d.now = now;
            sign_ins.entry(row.get(0)).or_default().push((row.get(1), d));
        }
        let quotas = read_quotas(answers.first().map(Vec::as_slice).unwrap_or_default())?;
        Ok(Loaded { known, sign_ins, quotas, now })
    }

    /// The second round trip: stores what was decided.
    async fn store_admitted(
        &self, connection: &Connection<'_>, quotas: &Quotas, decided: &Decided<'_>,
    ) -> Result<(), LedgerError> {
        let (mut rows, mut timers) = (NewColumns::default(), Timers::default());
        // In one order everywhere, so that two groups with the same jobs do not wait for each other.
        let mut inserted: Vec<_> = decided.inserted.iter().collect();
        inserted.sort_unstable_by_key(|(_, d)| (&d.order.tenant, d.order.id));
        for (job, d) in inserted {
            rows.push(job, d);
            timers.add_exact(None, d);
        }
        let mut change = Change::of_locked();
        for (before, d) in &decided.superseded {
            change.add(before, d, None);
            change.timers.add_exact(before.wake_at, d);
        }
        let quotas = QuotaRows::of(quotas);
        let params = [rows.params(), timers.params(), quotas.params()].concat();
        let event_uids = decided.events.uids();
        let mut events: Vec<columns::Param<'_>> = vec![&event_uids];
        events.extend(decided.events.params());
        let mut steps = vec![];
        for (is_needed, sql, params) in [
            (!change.is_empty(), CHANGE_LOCKED.as_str(), change.params()),
            (!decided.inserted.is_empty(), &INSERT, params),
            (!decided.events.is_empty(), &INSERT_EVENTS, events),
        ] {
            if is_needed {
                steps.push(connection.step(sql, params).await?);
            }
        }
        connection.commit_with(&steps, "admit").await?;
        Ok(())
    }
}

impl Loaded {
    /// The other dispatches of a job's sign-in.
    fn same_sign_in(&self, job: &Admission) -> SameSignIn {
        let Some((key, at)) = &job.supersedes else { return SameSignIn::default() };
        let this = (*at, job.order.id);
        let rows = self.sign_ins.get(key).map(Vec::as_slice).unwrap_or_default();
        SameSignIn::of(this, rows.iter().map(|(issued_at, d)| (*issued_at, d)))
    }
}

/// Reads a row of [`KNOWN`]. `None` if the job is new.
fn known_row(row: &Row) -> Option<(JobKey, KnownRow)> {
    let tenant: String = row.get::<_, Option<String>>(1)?;
    let state = row.get::<_, &str>(5).parse().ok();
    let known =
        KnownRow { uid: row.get(3), content: row.get(4), state, version: row.get(6), open_claim: row.get(7) };
    Some(((tenant, row.get(2)), known))
}
