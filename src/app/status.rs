//! Reads the status of the deployment from the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::domain::attempt::State;
use crate::domain::delivery_cell::Cell;
use crate::domain::dispatch::Dispatch;
use crate::http::timeline::Timeline;
use crate::http::timeline_text;
use crate::ledger::health::LedgerHealth;
use crate::ledger::{DispatchSearch, Ledger, LedgerError, ProcessReport, SearchBy};
use crate::ops::status::{
    DAY, DispatchHistory, FailedDispatch, Input, PausedCarrier, RECENT, SeenReport, Snapshot, Source,
};
use crate::ops::verdict::{Group, OwnProblem, Part};

/// How long an input is used again. It bounds the load of many viewers.
const REUSE_FOR: Duration = Duration::from_secs(3);
/// Maximum number of failed dispatches that are read for each state, and that are listed.
const MAX_SEARCHED: usize = 200;
const MAX_FAILED: usize = 20;

/// Reads from the ledger, at most every three seconds.
pub(super) struct StatusReader {
    ledger: Ledger,
    health: Arc<LedgerHealth>,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl StatusReader {
    pub(super) fn new(ledger: Ledger, health: Arc<LedgerHealth>) -> Self {
        Self { ledger, health, last: Mutex::default() }
    }

    async fn read(&self) -> Result<Input, LedgerError> {
        if let Some(outage) = self.health.reason() {
            return Err(outage);
        }
        let now = self.ledger.now();
        let since = now.checked_sub(DAY + Duration::from_secs(600)).unwrap_or(jiff::Timestamp::MIN);
        let (rows, reports, mut restrictions) = tokio::try_join!(
            self.ledger.counts(since),
            seen_reports(&self.ledger),
            self.ledger.restrictions()
        )?;
        restrictions.retain_in_force(now);
        let pauses = restrictions.pauses.into_iter().map(|pause| PausedCarrier {
            carrier: pause.carrier,
            country: pause.country,
            reason: pause.reason,
            by: pause.paused_by,
            until: pause.until,
        });
        let outage = self.health.last_outage().and_then(|outage| Some((outage.begun_at, outage.ended_at?)));
        Ok(Input { now, rows, reports, pauses: pauses.collect(), outage, ledger_problem: None })
    }
}

/// What the processes of the last day reported of themselves.
///
/// # Errors
///
/// Returns [`LedgerError`] if the ledger does not answer.
pub async fn seen_reports(ledger: &Ledger) -> Result<Vec<SeenReport>, LedgerError> {
    Ok(ledger.process_reports().await?.into_iter().filter_map(seen_report).collect())
}

/// A report that this version cannot read is left out.
fn seen_report(row: ProcessReport) -> Option<SeenReport> {
    let report = serde_json::from_str(&row.report).ok()?;
    Some(SeenReport { name: row.name, seen_at: row.seen_at, report })
}

#[async_trait]
impl Source for StatusReader {
    async fn snapshot(&self) -> Arc<Snapshot> {
        let mut last = self.last.lock().await;
        if let Some((_, snapshot)) = last.as_ref().filter(|(read_at, _)| read_at.elapsed() < REUSE_FOR) {
            return Arc::clone(snapshot);
        }
        let input = match self.read().await {
            Ok(input) => input,
            Err(e) => {
                let before = last.as_ref().map(|(_, before)| before.input.clone()).unwrap_or_default();
                let now = self.ledger.now();
                let outage = self.health.last_outage().filter(|outage| outage.ended_at.is_none());
                let since = outage.map_or(now, |outage| outage.begun_at);
                let what = match e {
                    // The reason of an unreachable server holds its address.
                    LedgerError::Unreachable(_) => "does not answer".to_owned(),
                    e if e.is_outage() => e.to_string(),
                    e => format!("the status cannot be read: {e}"),
                };
                let ledger_problem = Some(OwnProblem { part: Part::Ledger, since, what });
                Input { now, ledger_problem, ..before }
            }
        };
        // Not on the threads that send codes.
        let judged = tokio::task::spawn_blocking(move || Snapshot::new(input)).await;
        let snapshot = Arc::new(judged.unwrap_or_default());
        *last = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }

    async fn failed(&self, group: &Group) -> Vec<FailedDispatch> {
        if *group == Group::default() || !self.health.is_healthy() {
            return vec![];
        }
        let mut failed = vec![];
        for state in [State::Undelivered, State::Failed] {
            let search = DispatchSearch {
                by: SearchBy::Period,
                from: self.ledger.now().checked_sub(RECENT).unwrap_or(Timestamp::MIN),
                to: None,
                before: None,
                state: Some(state),
                tenant: group.tenant.clone(),
                limit: MAX_SEARCHED,
            };
            let found = self.ledger.search(&search).await.map(|page| page.dispatches).unwrap_or_default();
            failed.extend(found.iter().filter_map(|d| failed_dispatch(d, group)));
        }
        failed.sort_by_key(|d| std::cmp::Reverse(d.admitted_at));
        failed.truncate(MAX_FAILED);
        failed
    }

    async fn dispatch(&self, tenant: &str, id: Uuid) -> Option<DispatchHistory> {
        if !self.health.is_healthy() {
            return None;
        }
        Some(history(&self.ledger.find(tenant, id).await.ok()??))
    }
}

/// What operators see of a dispatch.
fn history(d: &Dispatch) -> DispatchHistory {
    let timeline = Timeline::from(d);
    let lines = timeline_text::lines(&timeline);
    DispatchHistory {
        id: timeline.id,
        tenant: timeline.tenant,
        mask: timeline.to,
        country: timeline.country,
        what: state_and_reason(d),
        admitted_at: timeline.admitted_at,
        lines: lines
            .into_iter()
            .map(|(at, line)| (timeline_text::since(timeline.admitted_at, at), line))
            .collect(),
    }
}

fn state_and_reason(d: &Dispatch) -> String {
    let reason = d.reason.map(|reason| format!(" ({})", timeline_text::of_reason(reason)));
    format!("{}{}", d.state, reason.unwrap_or_default())
}

/// What operators see of a failed dispatch. `None` if its last attempt is not of the group.
fn failed_dispatch(d: &Dispatch, group: &Group) -> Option<FailedDispatch> {
    let last = d.attempts.last()?;
    if !group.holds(&Cell::of(d, last)) {
        return None;
    }
    Some(FailedDispatch {
        admitted_at: d.admitted_at,
        tenant: d.order.tenant.clone(),
        id: d.order.id,
        mask: d.order.mask.clone(),
        carrier: last.carrier.clone(),
        what: state_and_reason(d),
        code: last.receipt_code.clone().or_else(|| last.details.carrier_code.clone()),
    })
}
