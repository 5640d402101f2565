//! Checks answers and events of a running otpost against the contracts.

use std::process::Command;
use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::config::{TenantConfig, WebhookConfig};
use otpost::http::contracts::Contract;
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};

use super::support::deployment::{Deployment, job};
use super::support::world;
use super::{assert_fits, inside, validator};

/// Hooks with values that schemathesis cannot generate.
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contracts/schemathesis_hooks.py");

/// A complete otpost, with a key that has all scopes, and a webhook whose receiver does not exist.
async fn open(deployment: &Deployment) -> (App, String) {
    let scopes = [Scope::Dispatch, Scope::Read, Scope::Act, Scope::Admin];
    let key = NewKey::make("default", &scopes);
    deployment.ledger.add_key(&key.row).await.unwrap();
    let mut config = deployment.config(&["c1"]);
    config.webhooks.allow_private_targets = true;
    let webhook = WebhookConfig {
        url: "http://127.0.0.1:1/hook".to_owned(),
        secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
        ..WebhookConfig::default()
    };
    let tenant = TenantConfig { webhook: Some(webhook), ..TenantConfig::default() };
    config.tenants.insert("default".to_owned(), tenant);
    config.limits.door_client.count = 1_000_000;
    (deployment.start(config, Roles::ALL).await, key.text)
}

/// Sends one request. Returns its status, its headers and its body.
async fn request(
    app: &App, key: Option<&str>, method: &str, path: &str, body: &str,
) -> (u16, reqwest::header::HeaderMap, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", app.api.unwrap());
    let mut request = http.request(method.parse().unwrap(), url).body(body.to_owned());
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_events_match_the_contracts() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (app, key) = open(&deployment).await;
    let (status, headers, document) = request(&app, None, "GET", "/v1/openapi.json", "").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/json"));
    assert_eq!(document, Contract::Openapi.document());

    let named = |name: &str| inside(&document, &json!({"$ref": format!("#/components/schemas/{name}")}));
    let order = job("+447706000001", json!({"channels": ["sms", "voice"], "tags": {"flow": "login"}}));
    let (status, _, accepted) = request(&app, Some(&key), "POST", "/v1/dispatches", &order.to_string()).await;
    assert_eq!(status, 202, "{accepted}");
    assert_fits(&named("DispatchAnswer"), &accepted, "accepted");
    let id = order["id"].as_str().unwrap();
    deployment.until_events(id.parse().unwrap(), &["sent 3", "delivered 5"]).await;
    let event = validator(&Contract::Event.document());
    let events = deployment.all_events();
    assert!(events.len() >= 2);
    for published in &events {
        assert_fits(&event, published, "event");
    }
    let (_, _, story) = request(&app, Some(&key), "GET", &format!("/v1/dispatches/{id}"), "").await;
    assert_eq!(story["state"], "delivered");
    assert_fits(&named("Story"), &story, "story");
    let (_, _, hooks) = request(&app, Some(&key), "GET", "/v1/webhooks", "").await;
    assert!(!hooks["events"].as_array().unwrap().is_empty());
    assert_fits(&named("WebhookAnswer"), &hooks, "webhooks");

    let problem = named("Problem");
    for (key, method, path, expected, header) in [
        (None, "GET", "/v1/webhooks", 401, Some("www-authenticate")),
        (Some(deployment.key.as_str()), "GET", "/v1/webhooks", 403, None),
        (Some(key.as_str()), "GET", "/v1/dispatches/%ff", 404, None),
        (Some(key.as_str()), "GET", "/v1/nothing", 404, None),
        (Some(key.as_str()), "DELETE", "/v1/dispatches", 405, Some("allow")),
    ] {
        let (status, headers, body) = request(&app, key, method, path, "").await;
        assert_eq!(status, expected, "{method} {path}: {body}");
        assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
        assert!(
            header.is_none_or(|h| headers.contains_key(h)),
            "{method} {path}: no {header:?} in {headers:?}"
        );
        assert_fits(&problem, &body, path);
    }
    app.stop().await;
}

/// Runs for a limited time, only on loopback. Each run generates new requests. A failure prints the request
/// as a curl command, and the seed. Returns what it printed.
async fn schemathesis(deployment: &Deployment, app: &App, key: &str, choice: [&str; 2]) -> String {
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://{}/v1/openapi.json", app.api.unwrap()))
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args([
            "--checks",
            "response_schema_conformance,response_headers_conformance,negative_data_rejection",
        ])
        .args(["--phases", "examples,coverage,fuzzing", "--max-time", "20"])
        .args(["--exclude-path", "/v1/events", "--generation-database", "none", "--request-timeout", "10"])
        .args(["--no-color", "--no-shrink", "--continue-on-failure"])
        .args(choice)
        .current_dir(&deployment.files.0)
        .env("SCHEMATHESIS_HOOKS", HOOKS)
        .env("no_proxy", "*")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&out.stdout).replace(key, "otp_…");
    println!("{printed}");
    assert!(out.status.success(), "{printed}{}", String::from_utf8_lossy(&out.stderr));
    printed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_defect_in_the_http_api() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (app, key) = open(&deployment).await;
    let printed = schemathesis(&deployment, &app, &key, ["--exclude-tag", "operators"]).await;
    let look = world::connect(&deployment.ledger_url).await;
    let admitted: i64 = look.query_one("select count(*) from dispatch", &[]).await.unwrap().get(0);
    assert!(admitted > 0, "none of its jobs was accepted");
    assert!(
        printed.contains("8 selected / 26 total"),
        "all operations except the endless stream were requested: {printed}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_defect_in_the_api_of_operators() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (app, _) = open(&deployment).await;
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let printed = schemathesis(&deployment, &app, &operator.text, ["--include-tag", "operators"]).await;
    let look = world::connect(&deployment.ledger_url).await;
    let acts: i64 = look.query_one("select count(*) from audit", &[]).await.unwrap().get(0);
    assert!(acts > 0, "none of its acts was accepted");
    assert!(printed.contains("17 selected / 26 total"), "all operations were requested: {printed}");
    app.stop().await;
}
