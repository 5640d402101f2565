//! The contract of the HTTP API: an `OpenAPI` 3.1 document, generated from the handlers and their types.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type, example::ExampleBuilder,
};
use utoipa::{Modify, OpenApi};

use super::operators::{ResumeBody, SearchBody, WhyBody};
use super::problem::{self, Problem};
use super::replay_body::Which;
use crate::domain::attempt::ReceiptStatus;
use crate::domain::dispatch::Stop;
use crate::intake::{CancelBody, FeedbackBody, JobShape, NextBody};
use crate::outbox::cloud_event::CloudEvent;

const ABOUT: &str = "\
Create and read dispatches, acts on dispatches, events as they happen. Every request but the one for this document needs a \
bearer key, and sees only the data of its tenant; only an operator's key sees all of them. Errors are problem+json (RFC 9457); no value of a request is repeated in \
them. A path that does not take a method answers 405.";

#[derive(OpenApi)]
#[openapi(
    info(title = "otpost", description = ABOUT, license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    components(schemas(Problem, Which, WhyBody, ResumeBody, SearchBody)),
    tags(
        (name = "dispatches", description = "Create and read dispatches"),
        (name = "acts", description = "Act on an existing dispatch"),
        (name = "events", description = "Stream changes of state"),
        (name = "webhooks", description = "Manage the tenant's webhook"),
        (name = "operators", description = "Acts and views of operators, over all tenants. They need a key of the scope `admin` that belongs to no tenant"),
        (name = "contract", description = "This document")
    ),
    security(("bearer" = [])),
    modifiers(&Bearer)
)]
/// Adds security schemes and shared schemas to the document.
pub(super) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let how = "`Authorization: Bearer otp_…`. Create a key with `otpost keys create`. Its scopes limit its permissions.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(how)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The `OpenAPI` document. Jobs, acts and events have the same schemas as on the broker.
pub fn document() -> Value {
    let mut document =
        serde_json::to_value(super::routes().into_openapi()).expect("a document is plain data");
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut inputs = settings.clone().for_deserialize().into_generator();
    inputs.subschema_for::<JobShape>();
    inputs.subschema_for::<FeedbackBody>();
    inputs.subschema_for::<NextBody>();
    inputs.subschema_for::<CancelBody>();
    let mut outputs = settings.for_serialize().into_generator();
    outputs.subschema_for::<CloudEvent>();
    outputs.subschema_for::<Stop>();
    outputs.subschema_for::<ReceiptStatus>();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(inputs.take_definitions(true));
        schemas.extend(outputs.take_definitions(true));
    }
    for path in ["/v1/dispatches", "/v1/dispatches/{id}/feedback"] {
        document["paths"][path]["post"]["requestBody"]["required"] = json!(true);
    }
    document
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// Get this document
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "contract",
    security(()),
    responses((status = 200, description = "The document", body = Object))
)]
pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// Declares the problems of each operation for the contract. The examples are built by the same functions as the answers.
macro_rules! problems {
    ($($name:ident = $problems:expr;)+) => {$(
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::http::openapi::responses($problems)
            }
        }
    )+};
}
pub(super) use problems;

/// One response per status, with an example of each problem.
pub(super) fn responses(problems: impl IntoIterator<Item = Problem>) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        by_status.entry(problem.status().as_u16()).or_default().push(problem);
    }
    by_status.into_iter().map(|(status, problems)| (status.to_string(), response(&problems).into())).collect()
}

fn response(problems: &[Problem]) -> Response {
    let mut content = Content::builder().schema(Some(Ref::from_schema_name("Problem")));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in problems {
        let count = seen.entry(problem.name()).or_default();
        *count += 1;
        let name =
            if *count == 1 { problem.name().to_owned() } else { format!("{}-{count}", problem.name()) };
        let value = serde_json::to_value(problem).expect("plain structs with text keys serialise");
        content = content.examples_from_iter([(name, ExampleBuilder::new().value(Some(value)).build())]);
    }
    let kinds = seen.into_keys().collect::<Vec<_>>().join(", ");
    let mut response =
        ResponseBuilder::new().description(kinds).content(problem::CONTENT_TYPE, content.build());
    if problems.iter().all(Problem::has_retry_after) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build();
        let mut wait = Header::new(seconds);
        wait.description = Some("Seconds to wait before a retry".to_owned());
        response = response.header("Retry-After", wait);
    }
    if problems.iter().any(|p| p.status() == StatusCode::UNAUTHORIZED) {
        response =
            response.header("WWW-Authenticate", Header::new(ObjectBuilder::new().schema_type(Type::String)));
    }
    response.build()
}
