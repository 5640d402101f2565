//! `GET /v1/config`: the settings in force.

use std::collections::BTreeMap;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::authorized::operator_problems;
use crate::http::openapi::problems;
use crate::http::operator::Operator;

/// The settings of the process that answers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ConfigAnswer {
    /// The settings by key, such as `limits.number`, as TOML. A secret is the beginning of a keyed hash.
    settings: BTreeMap<String, String>,
}

/// Read the settings in force
///
/// The settings are those of the process that answers, after its last reload. A change that needs a restart is not in force before it.
#[utoipa::path(
    get,
    path = "/v1/config",
    operation_id = "show_config",
    tag = "operators",
    responses((status = 200, description = "The settings", body = ConfigAnswer), ShowProblems)
)]
pub(in crate::http) async fn show(operator: Operator) -> Json<ConfigAnswer> {
    Json(ConfigAnswer { settings: operator.api.state.rules.current().settings.clone() })
}

problems! {
    ShowProblems = operator_problems();
}
