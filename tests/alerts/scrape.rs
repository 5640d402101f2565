//! The text of `/metrics`, as promtool and as Prometheus read it.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use otpost::app::Roles;
use serde_json::json;

use crate::programs::promtool;
use crate::support::deployment::{Deployment, job};

/// Fails if a metric has no help text, or a name against the conventions of Prometheus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let ids = [
        deployment.publish(&job("+447707000001", json!({}))).await,
        deployment.publish(&job("+447707000102", json!({}))).await,
    ];
    deployment.until_state(ids[0], "delivered").await;
    deployment.until_state(ids[1], "undelivered").await;
    deployment.post(&app, &job("+447707000002", json!({"expires_at": "2020-01-01T00:00:00Z"}))).await;
    deployment.publish_bytes("dispatch", b"{").await;
    deployment.until_waiting("otpost.dead", 1).await;
    let (status, text) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
    assert_eq!(status, 200);
    let counted = [
        "otpost_dispatches_total{state=\"delivered\",channel=\"sms\",tenant=\"default\",country=\"GB\"} 1",
        "otpost_dispatches_total{state=\"undelivered\",channel=\"sms\",tenant=\"default\",country=\"GB\"} 1",
        "otpost_requests_total{carrier=\"c1\",channel=\"sms\",country=\"GB\",outcome=\"accepted\"} 2",
        "otpost_final_receipts_total{carrier=\"c1\",status=\"delivered\"} 1",
        "otpost_final_receipts_total{carrier=\"c1\",status=\"bad\"} 1",
        "otpost_segments_total{carrier=\"c1\",country=\"GB\"} 2",
        "otpost_first_request_seconds_count{carrier=\"c1\",channel=\"sms\"} 2",
        "otpost_carrier_answer_seconds_count{carrier=\"c1\",channel=\"sms\"} 2",
        "otpost_delivery_seconds_count{channel=\"sms\"} 1",
        "otpost_refusals_total{door=\"http\",reason=\"life\"} 1",
        "otpost_breaker_state{carrier=\"c1\",channel=\"sms\"} 0",
        "otpost_carrier_paused{carrier=\"c1\"} 0",
        "otpost_rate_limit_per_second{carrier=\"c1\"} 100.0",
        "otpost_rate_limit_share_per_second{carrier=\"c1\"} 100.0",
        "otpost_queue_consumers{queue=\"otpost.dispatch\"}",
        "otpost_broker_connected{connection=\"publishing\"} 1",
        "otpost_ledger_connections{state=\"idle\"}",
        "otpost_ledger_transaction_seconds_count{operation=\"admit\"}",
        "otpost_ledger_group_items_count{operation=\"record\"}",
        "otpost_due{} ",
        "otpost_outbox_rows{receiver=\"broker\"}",
        "otpost_map_entries{map=\"api_keys\"}",
        "otpost_map_entries{map=\"policies\"}",
        "otpost_build_info{version=\"",
    ];
    for line in counted {
        assert!(text.lines().any(|l| l.starts_with(line)), "no {line} in {text}");
    }
    let mut linter = promtool(&["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    linter.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = linter.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    app.stop().await;
}
