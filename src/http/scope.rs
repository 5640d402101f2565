//! The scopes as types, for [`Authorized`](super::authorized::Authorized).

use super::key::Scope;

/// A scope that a handler requires.
pub(super) trait Required: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

/// Create dispatches.
pub(super) struct Dispatch;
/// Read timelines and events.
pub(super) struct Read;
/// Cancel, request the next step, give feedback.
pub(super) struct Act;
/// Manage the tenant's webhook.
pub(super) struct Admin;

impl Required for Dispatch {
    const SCOPE: Scope = Scope::Dispatch;
}

impl Required for Read {
    const SCOPE: Scope = Scope::Read;
}

impl Required for Act {
    const SCOPE: Scope = Scope::Act;
}

impl Required for Admin {
    const SCOPE: Scope = Scope::Admin;
}
