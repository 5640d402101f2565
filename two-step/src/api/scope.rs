//! The scopes as types, for [`Authorized`](super::authorized::Authorized).

use super::key::Scope;

/// A scope that a handler requires.
pub(super) trait Required: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

/// Create, verify and redeem challenges.
pub(super) struct Challenge;
/// Open sessions and change users.
pub(super) struct Manage;
/// Read users and events.
pub(super) struct Read;
/// Open support cases.
pub(super) struct Support;
/// Approve support cases.
pub(super) struct SupportApprove;

impl Required for Challenge {
    const SCOPE: Scope = Scope::Challenge;
}

impl Required for Manage {
    const SCOPE: Scope = Scope::Manage;
}

impl Required for Read {
    const SCOPE: Scope = Scope::Read;
}

impl Required for Support {
    const SCOPE: Scope = Scope::Support;
}

impl Required for SupportApprove {
    const SCOPE: Scope = Scope::SupportApprove;
}
