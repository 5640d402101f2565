//! Metrics and health.

use serde_json::{Value, json};
use two_step::flow::Core;

use crate::server::Server;

/// Serves the ops listener, and requests a path.
async fn get(core: &std::sync::Arc<Core>, path: &str, token: Option<&str>) -> (u16, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let router = two_step::ops::router(core.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut request = reqwest::Client::builder().no_proxy().build().unwrap().get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn sign_ins_are_counted_and_no_value_of_a_user_is_a_label() {
    let server = Server::start().await;
    let (phone, _) = server.turn_on("canary-user", "07700 900123").await;
    server.world.advance(60);
    let challenge = server.challenge(&json!({"user": "canary-user"})).await;
    let path = format!("/v1/challenges/{challenge}");
    server.must(202, "POST", &format!("{path}/send"), &json!({"method": phone})).await;
    let code = server.world.code(challenge).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    for typed in [wrong, "12", code.as_str(), wrong] {
        server.call("POST", &format!("{path}/verify"), &json!({"code": typed})).await;
    }
    let (status, text) = get(&server.world.core, "/metrics", None).await;
    assert_eq!(status, 200);
    assert!(
        (value(&text, r#"two_step_challenges_total{product="shop",purpose="sign_in"}"#) - 1.0).abs() < 0.1
    );
    for (sample, count) in [
        (r#"two_step_verified_total{product="shop",purpose="sign_in",method="sms"}"#, 1.0),
        (r#"two_step_verified_total{product="shop",purpose="enrol",method="sms"}"#, 1.0),
        (r#"two_step_entries_total{product="shop",result="right"}"#, 2.0),
        (r#"two_step_entries_total{product="shop",result="wrong"}"#, 1.0),
        (r#"two_step_entries_total{product="shop",result="unreadable"}"#, 1.0),
        (r#"two_step_entries_total{product="shop",result="late"}"#, 1.0),
    ] {
        assert!((value(&text, sample) - count).abs() < 0.1, "{sample}: {text}");
    }
    assert!(value(&text, "two_step_outbox_waiting") >= 2.0, "no relay runs in this test");
    assert!(value(&text, "two_step_outbox_oldest_seconds") >= 60.0);
    for secret in ["canary", "900123", &phone.to_string(), &code] {
        assert!(!text.contains(secret), "{text}");
    }
    let shown = server.must(200, "GET", "/v1/users/canary-user", &Value::Null).await;
    assert_eq!(shown["state"], "on");
}

#[tokio::test]
async fn metrics_need_a_token_and_health_does_not() {
    let server = Server::start().await;
    let world = server.world.configured(|c| c.ops.token = Some("token-of-ops".to_owned().into()));
    for (path, token, status) in [
        ("/metrics", None, 401),
        ("/metrics", Some("token"), 401),
        ("/metrics", Some("token-of-ops"), 200),
        ("/livez", None, 200),
        ("/readyz", None, 200),
    ] {
        assert_eq!(get(&world.core, path, token).await.0, status, "{path}");
    }
}
