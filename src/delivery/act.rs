//! Performs acts on a dispatch, from the broker or HTTP: writes the fact and wakes a worker, which makes the decision.

use uuid::Uuid;

use crate::delivery::wake::DispatchWaker;
use crate::domain::attempt::State;
use crate::domain::dispatch::Stop;
use crate::intake::{Act, ActKind};
use crate::ledger::{AdvanceRequest, AdvanceResult, Ledger, LedgerError, StopRequest, StopResult};
use crate::ops::metrics::Metrics;

/// The result of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActResult {
    /// The act took effect: no further request begins, or the next step does.
    Done {
        /// Our id of the dispatch.
        uid: Uuid,
        /// The state of the dispatch.
        state: State,
    },
    /// The act had taken effect before, or has nothing to change.
    Nothing {
        /// The state of the dispatch.
        state: State,
    },
    /// The act is not possible.
    Refused(ActRefusal),
    /// There is no such dispatch.
    Unknown,
}

impl ActResult {
    /// Returns the label for metrics.
    fn word(self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Nothing { .. } => "nothing",
            Self::Refused(_) => "barred",
            Self::Unknown => "unknown",
        }
    }
}

/// Why an act is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActRefusal {
    /// The dispatch is in this final state.
    Final(State),
    /// The dispatch was stopped, so no further request may begin.
    Stopped(Stop),
    /// The plan has no further step.
    PlanOver,
    /// The step that was requested before has not been tried yet.
    Pending,
}

/// Performs an act.
///
/// # Errors
///
/// Returns [`LedgerError`] if the fact cannot be written.
pub async fn perform(
    ledger: &Ledger, waker: &DispatchWaker, metrics: &Metrics, act: &Act,
) -> Result<ActResult, LedgerError> {
    let (tenant, id) = (act.tenant.clone(), act.id);
    let acted = match act.kind {
        ActKind::Feedback { verified: true } => {
            mark(ledger, StopRequest { tenant, id, stop: Stop::Verified }).await?
        }
        ActKind::Feedback { verified: false } => {
            let found = ledger.find(&tenant, id).await?;
            found.map_or(ActResult::Unknown, |d| ActResult::Nothing { state: d.state })
        }
        ActKind::Cancel => match mark(ledger, StopRequest { tenant, id, stop: Stop::Cancel }).await? {
            ActResult::Nothing { state } if state.is_final() && state != State::Cancelled => {
                ActResult::Refused(ActRefusal::Final(state))
            }
            acted => acted,
        },
        ActKind::Next { step } => match ledger.advance(AdvanceRequest { tenant, id, step }).await? {
            AdvanceResult::Advanced { uid, state } => ActResult::Done { uid, state },
            AdvanceResult::Final { state } => ActResult::Refused(ActRefusal::Final(state)),
            AdvanceResult::Stopped { stop } => ActResult::Refused(ActRefusal::Stopped(stop)),
            AdvanceResult::PlanOver => ActResult::Refused(ActRefusal::PlanOver),
            AdvanceResult::Before { state } => ActResult::Nothing { state },
            AdvanceResult::Pending { .. } => ActResult::Refused(ActRefusal::Pending),
            AdvanceResult::Unknown => ActResult::Unknown,
        },
    };
    if let ActResult::Done { uid, .. } = acted {
        waker.wake(uid);
    }
    metrics.intake.count_act(act.kind.word(), acted.word());
    Ok(acted)
}

async fn mark(ledger: &Ledger, request: StopRequest) -> Result<ActResult, LedgerError> {
    Ok(match ledger.stop(request).await? {
        StopResult::Marked { uid, state } => ActResult::Done { uid, state },
        StopResult::MarkedBefore { state, .. } | StopResult::Final { state } => ActResult::Nothing { state },
        StopResult::Unknown => ActResult::Unknown,
    })
}
