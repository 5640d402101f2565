//! Access control and size limits.

use std::time::{Duration, Instant};

use mock_gateway::{Config, Gateway};
use serde_json::json;
use tokio::net::TcpListener;

use crate::setup::{TestSetup, answer};

#[tokio::test]
async fn a_remotely_reachable_address_is_refused_unless_allowed() {
    let listen = || async { TcpListener::bind("0.0.0.0:0").await.unwrap() };
    let error = Gateway::start(listen().await, Config::default()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let allowed = Config { allow_remote: true, ..Config::default() };
    Gateway::start(listen().await, allowed).unwrap().shutdown().await;
}

#[tokio::test]
async fn the_page_and_the_api_are_not_served_under_a_foreign_host_name() {
    let setup = TestSetup::start().await;
    for path in ["/", "/api/phones", "/api/requests", "/api/magic"] {
        for (host, status) in [("evil.example:80", 403), ("localhost:1", 200)] {
            let answer = setup.client.get(setup.url(path)).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} as {host}");
        }
    }
    let text = setup.text("+447700900100").header("host", "api.twilio.com");
    assert_eq!(answer(text).await.0, 201, "the carrier's API accepts any host name");
}

#[tokio::test]
async fn another_site_can_neither_read_answers_nor_write_scripts() {
    let setup = TestSetup::start().await;
    let origin = ("origin", "http://evil.example");
    let answer = setup.client.get(setup.url("/api/phones")).header(origin.0, origin.1).send().await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    // A form of another site can send this without a CORS preflight.
    let script = json!({ "to": "+447700900100", "outcomes": ["silent"] }).to_string();
    let request =
        setup.client.post(setup.url("/api/script")).header("content-type", "text/plain").body(script);
    assert_eq!(request.send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn the_page_allows_only_its_own_script_and_loads_nothing() {
    let setup = TestSetup::start().await;
    let answer = setup.client.get(setup.url("/")).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("innerHTML") && !page.contains(" src=") && !page.contains("@import"));
    assert_eq!(page.matches("<script>").count(), 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let setup = TestSetup::start().await;
    let body = "a".repeat(70 * 1024);
    let (status, _) = answer(setup.post("Messages.json", &[("To", "+447700900100"), ("Body", &body)])).await;
    assert_eq!(status, 413);
    assert_eq!(setup.entries("requests").await[0]["answer"], 413);
    let request =
        setup.client.post(setup.url("/api/script")).header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_stop_waits_neither_for_held_requests_nor_for_pending_states() {
    let mut setup = TestSetup::with(Config { pace: Duration::from_mins(1), ..Config::default() }).await;
    answer(setup.text("+447700900100")).await;
    let held = tokio::spawn(setup.text("+447700900107").send());
    setup.until(|newest| newest["answer"] == "held").await;
    let began = Instant::now();
    setup.gateway.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(held.await.unwrap().is_err());
    assert!(setup.receiver.arrived_already().is_none());
}

#[tokio::test]
async fn the_health_check_answers() {
    let setup = TestSetup::start().await;
    assert_eq!(setup.client.get(setup.url("/healthz")).send().await.unwrap().status(), 200);
}
