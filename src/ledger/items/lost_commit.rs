//! A commit that the ledger has lost.

/// What the ledger no longer has, although it had answered the commit. This happens when a standby without the last commits is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostCommit {
    /// The dispatch has no row. A process that was frozen for longer than `ledger.retention_days` finds this too.
    Dispatch,
    /// The row is older than the caller's, or lacks one of its attempts.
    Change,
}
