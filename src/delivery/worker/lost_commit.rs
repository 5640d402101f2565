//! Reports commits that the ledger has lost.

use super::Worker;
use crate::domain::dispatch::Dispatch;
use crate::ledger::LostCommit;

impl Worker {
    /// Logs and counts a commit that the ledger has lost. Nothing is repaired: an older row is due by itself, and only the sender has
    /// the whole job of a missing one.
    pub(super) fn report_lost_commit(&self, d: &Dispatch, lost: LostCommit) {
        self.deps.metrics.ledger.count_lost_commit();
        let attempt = d.attempts.last().map(|attempt| attempt.n);
        match lost {
            LostCommit::Dispatch => tracing::error!(
                dispatch.uid = %d.order.uid, dispatch.id = %d.order.id, dispatch.tenant = d.order.tenant, dispatch.version = d.version,
                attempt, to = d.order.mask, trace_id = d.order.trace_id(),
                "the ledger has lost a committed dispatch: otpost sends no more of its messages and no events; its sender must submit it again. \
                 Was a standby promoted that was not synchronous? See \"Failover of PostgreSQL\" in docs/operate.md"
            ),
            LostCommit::Change => tracing::error!(
                dispatch.uid = %d.order.uid, dispatch.id = %d.order.id, dispatch.tenant = d.order.tenant, dispatch.version = d.version,
                attempt, to = d.order.mask, trace_id = d.order.trace_id(),
                "the ledger has lost a committed change of a dispatch: the dispatch goes on from an older row, so its message may be sent again. \
                 Was a standby promoted that was not synchronous? See \"Failover of PostgreSQL\" in docs/operate.md"
            ),
        }
    }
}
