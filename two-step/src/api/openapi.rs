//! The `OpenAPI` 3.1 contract of the API, generated from the handlers and their types.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type, example::ExampleBuilder,
};
use utoipa::{Modify, OpenApi};

use super::problem::{self, Problem};
use super::{challenges, devices, events, methods, proofs, sessions, support, users};

const ABOUT: &str = "\
The second step after a product's password. Every request but the one for this document needs a bearer key, which is bound to one \
product. Errors are problem+json (RFC 9457); no value of a request is repeated in them. A path that does not take a method \
answers 405.";

#[derive(OpenApi)]
#[openapi(
    info(title = "two-step", description = ABOUT, license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    paths(
        challenges::create,
        challenges::show,
        challenges::send,
        proofs::verify,
        challenges::cancel,
        proofs::redeem,
        sessions::create,
        users::show,
        users::erase,
        users::on,
        users::off,
        users::end,
        methods::add,
        methods::verify,
        methods::remove,
        methods::recovery_codes,
        devices::list,
        devices::revoke,
        support::ask,
        support::list,
        support::approve,
        support::cancel,
        events::list,
        serve
    ),
    components(schemas(Problem)),
    tags(
        (name = "challenges", description = "Requests for a proof"),
        (name = "sessions", description = "Visits to the settings pages"),
        (name = "users", description = "Show, turn on, turn off and erase users"),
        (name = "methods", description = "Phones, authenticators, mailboxes, recovery codes"),
        (name = "devices", description = "Browsers that skip the second step"),
        (name = "support", description = "Support cases"),
        (name = "events", description = "Events"),
        (name = "contract", description = "This document")
    ),
    security(("bearer" = [])),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let how = "`Authorization: Bearer ts_…`. Create a key with `two-step keys create`. Its scopes limit the allowed operations.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(how)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Operations with an optional body.
const OPTIONAL_BODIES: [&str; 3] =
    ["/v1/users/{user}/off", "/v1/users/{user}/end", "/v1/users/{user}/recovery-codes"];

/// The document.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("a document is plain data");
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, operations) in paths {
            if let Some(body) = operations.pointer_mut("/post/requestBody") {
                body["required"] = json!(!OPTIONAL_BODIES.contains(&path.as_str()));
            }
        }
    }
    document
}

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// This document
#[utoipa::path(
    get,
    operation_id = "seeContract",
    path = "/v1/openapi.json",
    tag = "contract",
    security(()),
    responses((status = 200, description = "The document", body = Object))
)]
pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// Adds the problems of each operation to the contract. They are the same values that the handlers return.
macro_rules! problems {
    ($($name:ident = $problems:expr;)+) => {$(
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::api::openapi::responses($problems.into_iter().flatten())
            }
        }
    )+};
}
pub(super) use problems;

/// Returns one response for each status, with an example of each problem.
pub(super) fn responses(problems: impl IntoIterator<Item = Problem>) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        by_status.entry(problem.status().as_u16()).or_default().push(problem);
    }
    by_status.into_iter().map(|(status, problems)| (status.to_string(), response(&problems).into())).collect()
}

fn response(problems: &[Problem]) -> Response {
    let mut content = Content::builder().schema(Some(Ref::from_schema_name("Problem")));
    let mut examples: BTreeMap<String, Value> = BTreeMap::new();
    for problem in problems {
        let value = serde_json::to_value(problem).expect("plain structs with text keys serialise");
        if examples.values().any(|known| *known == value) {
            continue;
        }
        let same = examples.keys().filter(|name| name.starts_with(problem.name())).count();
        let name =
            if same == 0 { problem.name().to_owned() } else { format!("{}-{}", problem.name(), same + 1) };
        examples.insert(name, value);
    }
    for (name, value) in examples {
        content = content.examples_from_iter([(name, ExampleBuilder::new().value(Some(value)).build())]);
    }
    let mut kinds: Vec<&str> = problems.iter().map(Problem::name).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut response =
        ResponseBuilder::new().description(kinds.join(", ")).content(problem::CONTENT_TYPE, content.build());
    if problems.iter().all(Problem::has_retry_after) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build();
        let mut wait = Header::new(seconds);
        wait.description = Some("Seconds to wait before a retry".to_owned());
        response = response.header("Retry-After", wait);
    }
    if problems.iter().any(|p| p.name() == "unauthorized") {
        response =
            response.header("WWW-Authenticate", Header::new(ObjectBuilder::new().schema_type(Type::String)));
    }
    response.build()
}
