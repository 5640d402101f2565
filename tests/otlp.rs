//! Traces that are exported to a collector.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use otpost::app::Roles;
use serde_json::json;
use support::deployment::{Deployment, job};
use tokio::sync::watch;

const TRACE: [u8; 16] =
    [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];

/// A collector that keeps the bodies of all requests.
async fn collector() -> (String, watch::Receiver<Vec<u8>>) {
    let (bodies, received) = watch::channel(vec![]);
    let take = move |body: axum::body::Bytes| async move {
        bodies.send_modify(|all: &mut Vec<u8>| all.extend_from_slice(&body));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

fn count(body: &[u8], part: &[u8]) -> usize {
    body.windows(part.len()).filter(|window| *window == part).count()
}

/// Fails if a trace is not that of the sender, lacks a span, or contains a number or a code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_is_a_part_of_its_senders_trace() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (url, received) = collector().await;
    let mut config = deployment.config(&["c1"]);
    (config.traces.otlp_url, config.traces.sample) = (Some(url), 0.0);
    let all = deployment.start(config, Roles::ALL).await;
    let post = async |to: &str, context: Option<&str>| {
        let mut request = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("http://{}/v1/dispatches", all.api.unwrap()))
            .bearer_auth(&deployment.key)
            .body(job(to, json!({})).to_string());
        if let Some(context) = context {
            request = request.header("traceparent", context);
        }
        let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        answer["id"].as_str().unwrap().parse().unwrap()
    };
    let traced = post("+447701000201", Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")).await;
    let untraced = post("+447701000202", None).await;
    deployment.until_state(traced, "delivered").await;
    deployment.until_state(untraced, "delivered").await;
    all.stop().await;
    let body = received.borrow().clone();
    // Spans of the dispatch, the request and the receipt, and the link of the receipt.
    assert_eq!(count(&body, &TRACE), 4, "{}", String::from_utf8_lossy(&body));
    for name in ["dispatch", "send", "receipt", "otpost.carrier"] {
        assert!(count(&body, name.as_bytes()) > 0, "{name}");
    }
    for secret in ["447701000201", "481516"] {
        assert_eq!(count(&body, secret.as_bytes()), 0, "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_delays_no_code() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    (config.traces.otlp_url, config.traces.sample) = (Some("http://127.0.0.1:9/v1/traces".to_owned()), 1.0);
    let all = deployment.start(config, Roles::ALL).await;
    let id = deployment.publish(&job("+447701000203", json!({}))).await;
    deployment.until_state(id, "delivered").await;
    let stopping = std::time::Instant::now();
    all.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(15));
}
