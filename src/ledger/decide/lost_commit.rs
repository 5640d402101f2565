//! Recognises commits that the ledger has lost.

use crate::domain::dispatch::Dispatch;

/// Whether the ledger has lost a change that was committed with `seen`. A version never decreases and an attempt is never removed, except
/// by the promotion of a standby that was behind.
pub(super) fn is_behind(d: &Dispatch, seen: &Dispatch) -> bool {
    let has = |claim| d.attempts.iter().any(|attempt| attempt.claim == claim);
    d.version < seen.version || !seen.attempts.iter().all(|attempt| has(attempt.claim))
}
