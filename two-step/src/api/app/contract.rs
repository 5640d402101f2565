//! The contract of the app's API: an `OpenAPI` 3.1 document.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{account, register, requests};
use crate::api::problem::Problem;

const ABOUT: &str = "\
The API of a product's own app. Every request is signed by the app's P-256 key with HTTP Message Signatures (RFC 9421):

- `Content-Digest: sha-256=:<base64>:` of the body (RFC 9530), also of an empty one;
- `Signature-Input: app=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\");created=<seconds since \
1970>;nonce=\"<16 to 64 of A-Z a-z 0-9 - _>\";keyid=\"<RFC 7638 thumbprint of the public key>\"`, with these components in this \
order; `alg=\"ecdsa-p256-sha256\"` may follow;
- `Signature: app=:<base64 of 64 bytes, r and s>:` over the signature base of RFC 9421, 2.5. Another label than `app` does as well.

`@authority` is the host of the server's public URL, with its port where it has one. `@query` is `?` where there is no query. \
`created` may differ from the server's time by a minute: the problem `clock` brings the server's time. A nonce is good once. \
Errors are problem+json (RFC 9457).";

#[derive(OpenApi)]
#[openapi(
    info(title = "two-step: the app", description = ABOUT, license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    paths(
        register::register,
        account::show,
        account::unregister,
        account::change_key,
        account::set_push,
        requests::list,
        requests::stream,
        requests::approve,
        requests::deny,
        requests::code,
        serve
    ),
    components(schemas(Problem)),
    tags((name = "app", description = "The product's own app"), (name = "contract", description = "This document"))
)]
struct Document;

/// The document.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("a document is plain data");
    let header = |name: &str, example: &str| json!({"name": name, "in": "header", "required": true, "schema": {"type": "string"}, "example": example});
    let [digest, input, signature] = EXAMPLE;
    let headers =
        [header("Content-Digest", digest), header("Signature-Input", input), header("Signature", signature)];
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, operations) in paths {
        if path.ends_with("/openapi.json") {
            continue;
        }
        for operation in operations.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            if let Some(parameters) = operation.as_object_mut() {
                let all = parameters.entry("parameters").or_insert_with(|| json!([]));
                all.as_array_mut().into_iter().for_each(|all| all.extend(headers.clone()));
            }
        }
    }
    document
}

/// The headers of the worked example in `docs/two-step.md`.
const EXAMPLE: [&str; 3] = [
    "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    "app=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\");created=1795881600;nonce=\"Yk3vT0wq9mZ1rX8b\";keyid=\"ydQXMtvbsOsZyFir-Y7A8t7fKEM1gbKPvyFkdpu4fvI\"",
    "app=:+krIixy2/gS3+BQGqXR9QyWtEjiLwmguxWusocNgUYhSanOgyvjzYDgrWlPWajJPyOdasU9zZgAKG/J++phPiQ==:",
];

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// This document
#[utoipa::path(
    get,
    operation_id = "seeAppContract",
    path = "/app/v1/openapi.json",
    tag = "contract",
    responses((status = 200, description = "The document", body = Object))
)]
pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}
