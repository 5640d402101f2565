//! The body of a request that retries webhook deliveries.

use serde::Deserialize;
use utoipa::ToSchema;

/// The event to deliver again; without it, all failed events.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The event's id: `<uid>/<version>`
    #[serde(default)]
    #[schema(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[1-9][0-9]{0,17}$")]
    pub(super) event: Option<String>,
}
