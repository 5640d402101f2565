//! What a whole otpost really answers and tells, held against the contracts.

use std::process::Command;
use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::config::{TenantConfig, WebhookConfig};
use otpost::http::contracts::Contract;
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};

use super::support::house::{House, job};
use super::support::world;
use super::{assert_fits, inside, validator};

/// What schemathesis cannot find out by itself.
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contracts/schemathesis_hooks.py");

/// A whole otpost, with a key that may do everything, and a webhook that nobody answers.
async fn open(house: &House) -> (App, String) {
    let scopes = [Scope::Dispatch, Scope::Read, Scope::Act, Scope::Admin];
    let key = NewKey::make("default", &scopes);
    house.ledger.add_key(&key.row).await.unwrap();
    let mut config = house.config(&["c1"]);
    config.webhooks.allow_private_targets = true;
    let webhook = WebhookConfig {
        url: "http://127.0.0.1:1/hook".to_owned(),
        secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
        ..WebhookConfig::default()
    };
    let tenant = TenantConfig { webhook: Some(webhook), ..TenantConfig::default() };
    config.tenants.insert("default".to_owned(), tenant);
    config.limits.door_client.count = 1_000_000;
    (house.start(config, Roles::ALL).await, key.text)
}

/// One request: its status, its headers as they came, its body.
async fn ask(
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
async fn what_is_answered_and_told_fits_the_contracts() {
    let house = House::build(Duration::from_millis(20)).await;
    let (app, key) = open(&house).await;
    let (status, headers, document) = ask(&app, None, "GET", "/v1/openapi.json", "").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/json"));
    assert_eq!(document, Contract::Openapi.document());

    let named = |name: &str| inside(&document, &json!({"$ref": format!("#/components/schemas/{name}")}));
    let order = job("+447706000001", json!({"channels": ["sms", "voice"], "tags": {"flow": "login"}}));
    let (status, _, taken) = ask(&app, Some(&key), "POST", "/v1/dispatches", &order.to_string()).await;
    assert_eq!(status, 202, "{taken}");
    assert_fits(&named("DispatchAnswer"), &taken, "taken");
    let id = order["id"].as_str().unwrap();
    house.until_events(id.parse().unwrap(), &["sent 3", "delivered 5"]).await;
    let event = validator(&Contract::Event.document());
    let told = house.all_events();
    assert!(told.len() >= 2);
    for told in &told {
        assert_fits(&event, told, "event");
    }
    let (_, _, story) = ask(&app, Some(&key), "GET", &format!("/v1/dispatches/{id}"), "").await;
    assert_eq!(story["state"], "delivered");
    assert_fits(&named("Story"), &story, "story");
    let (_, _, hooks) = ask(&app, Some(&key), "GET", "/v1/webhooks", "").await;
    assert!(!hooks["events"].as_array().unwrap().is_empty());
    assert_fits(&named("WebhookAnswer"), &hooks, "webhooks");

    let problem = named("Problem");
    for (key, method, path, expected, header) in [
        (None, "GET", "/v1/webhooks", 401, Some("www-authenticate")),
        (Some(house.key.as_str()), "GET", "/v1/webhooks", 403, None),
        (Some(key.as_str()), "GET", "/v1/dispatches/%ff", 404, None),
        (Some(key.as_str()), "GET", "/v1/nothing", 404, None),
        (Some(key.as_str()), "DELETE", "/v1/dispatches", 405, Some("allow")),
    ] {
        let (status, headers, body) = ask(&app, key, method, path, "").await;
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

/// Asks for a bounded time, on loopback alone. It draws new requests in each run; a failure shows the request as a curl
/// command and the seed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_at_the_http_door() {
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let house = House::build(Duration::from_millis(20)).await;
    let (app, key) = open(&house).await;
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
        .current_dir(&house.files.0)
        .env("SCHEMATHESIS_HOOKS", HOOKS)
        .env("no_proxy", "*")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).replace(&key, "otp_…");
    println!("{said}");
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let look = world::connect(&house.ledger_url).await;
    let admitted: i64 = look.query_one("select count(*) from dispatch", &[]).await.unwrap().get(0);
    assert!(admitted > 10, "only {admitted} of its jobs were taken");
    assert!(
        said.contains("8 selected / 9 total"),
        "all operations but the endless stream were asked: {said}"
    );
    app.stop().await;
}
