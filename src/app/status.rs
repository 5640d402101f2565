//! Reads the status of the deployment from the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::ledger::health::LedgerHealth;
use crate::ledger::{Ledger, LedgerError, ProcessReport};
use crate::ops::status::{DAY, Input, PausedCarrier, SeenReport, Source};
use crate::ops::verdict::{OwnProblem, Part};

/// How long an input is used again. It bounds the load of many viewers.
const REUSE_FOR: Duration = Duration::from_secs(3);

/// Reads from the ledger, at most every three seconds.
pub(super) struct StatusReader {
    ledger: Ledger,
    health: Arc<LedgerHealth>,
    last: Mutex<Option<(Instant, Arc<Input>)>>,
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
    async fn input(&self) -> Arc<Input> {
        let mut last = self.last.lock().await;
        if let Some((_, input)) = last.as_ref().filter(|(read_at, _)| read_at.elapsed() < REUSE_FOR) {
            return Arc::clone(input);
        }
        let input = match self.read().await {
            Ok(input) => input,
            Err(e) => {
                let before = last.as_ref().map(|(_, input)| Input::clone(input)).unwrap_or_default();
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
        let input = Arc::new(input);
        *last = Some((Instant::now(), Arc::clone(&input)));
        input
    }
}
