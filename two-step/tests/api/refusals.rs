//! Refusals of every call: no key, a key without the scope, a key of another product, invalid bodies.

use serde_json::{Value, json};
use two_step::api::Scope;
use uuid::Uuid;

use crate::server::{ALL_SCOPES, Server};

/// Every call and the scope that it needs.
fn calls() -> Vec<(&'static str, String, Scope, Value)> {
    let id = Uuid::now_v7();
    let case = json!({"user": "u1", "action": "unlock", "reason": "r", "agent": "a1"});
    let session = json!({"user": "u1", "purpose": "settings", "password_at": "2026-01-01T00:00:00Z",
                         "return_url": "https://shop.example/2fa"});
    vec![
        ("POST", "/v1/challenges".to_owned(), Scope::Challenge, json!({"user": "u1"})),
        ("GET", format!("/v1/challenges/{id}"), Scope::Challenge, Value::Null),
        ("POST", format!("/v1/challenges/{id}/send"), Scope::Challenge, json!({"method": id})),
        ("POST", format!("/v1/challenges/{id}/verify"), Scope::Challenge, json!({"code": "123456"})),
        ("POST", format!("/v1/challenges/{id}/cancel"), Scope::Challenge, Value::Null),
        ("POST", "/v1/tickets/redeem".to_owned(), Scope::Challenge, json!({"ticket": "t"})),
        ("POST", "/v1/sessions".to_owned(), Scope::Manage, session),
        ("GET", "/v1/users/u1".to_owned(), Scope::Read, Value::Null),
        ("DELETE", "/v1/users/u1".to_owned(), Scope::Manage, Value::Null),
        ("POST", "/v1/users/u1/on".to_owned(), Scope::Manage, json!({"methods": []})),
        ("POST", "/v1/users/u1/off".to_owned(), Scope::Manage, Value::Null),
        ("POST", "/v1/users/u1/end".to_owned(), Scope::Manage, Value::Null),
        ("POST", "/v1/users/u1/methods".to_owned(), Scope::Manage, json!({"kind": "totp"})),
        ("POST", format!("/v1/users/u1/methods/{id}/verify"), Scope::Manage, json!({"code": "123456"})),
        ("DELETE", format!("/v1/users/u1/methods/{id}"), Scope::Manage, Value::Null),
        ("POST", "/v1/users/u1/recovery-codes".to_owned(), Scope::Manage, Value::Null),
        ("GET", "/v1/users/u1/devices".to_owned(), Scope::Read, Value::Null),
        ("DELETE", format!("/v1/users/u1/devices/{id}"), Scope::Manage, Value::Null),
        ("POST", "/v1/support/cases".to_owned(), Scope::Support, case),
        ("GET", "/v1/support/cases?user=u1".to_owned(), Scope::Support, Value::Null),
        ("POST", format!("/v1/support/cases/{id}/approve"), Scope::SupportApprove, json!({"agent": "a2"})),
        ("POST", format!("/v1/support/cases/{id}/cancel"), Scope::Support, json!({"agent": "a2"})),
        ("GET", "/v1/events".to_owned(), Scope::Read, Value::Null),
    ]
}

fn text(body: &Value) -> String {
    if body.is_null() { String::new() } else { body.to_string() }
}

#[tokio::test]
async fn every_call_needs_a_key_with_its_scope() {
    let server = Server::start().await;
    // An existing key with another secret.
    let guessed = format!("{}A{}", &server.key[..16], &server.key[17..]);
    let guessed = if guessed == server.key { guessed.replacen("_A", "_B", 1) } else { guessed };
    assert_eq!((guessed.len(), &guessed[..15]), (server.key.len(), &server.key[..15]));
    let bad = ["ts_0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &guessed, "ts_x", "secret", ""];
    for (method, path, scope, body) in calls() {
        for key in std::iter::once(None).chain(bad.into_iter().map(Some)) {
            let refused = server.send(key, &[], method, &path, text(&body)).await;
            assert_eq!(refused.status, 401, "{method} {path}");
            assert_eq!(refused.headers["www-authenticate"], "Bearer");
        }
        let others: Vec<Scope> = ALL_SCOPES.into_iter().filter(|s| *s != scope).collect();
        let key = server.key("shop", &others).await;
        let refused = server.send(Some(&key), &[], method, &path, text(&body)).await;
        assert_eq!(refused.status, 403, "{method} {path}");
        assert!(refused.body["detail"].as_str().unwrap().ends_with(&scope.to_string()));
    }
    assert_eq!(server.world.count("select count(*) from account").await, 0, "no account was created");
}

#[tokio::test]
async fn a_key_cannot_access_another_product() {
    let server = Server::start().await;
    let world = server.world.configured(|c| {
        let shop = c.products["shop"].clone();
        c.products.insert("other".to_owned(), shop);
    });
    let server = Server::on(world).await;
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(60);
    let challenge = server.challenge(&json!({"user": "u1"})).await;
    let other = server.key("other", &ALL_SCOPES).await;
    for (method, path, body) in [
        ("GET", format!("/v1/challenges/{challenge}"), Value::Null),
        ("POST", format!("/v1/challenges/{challenge}/send"), json!({"method": phone})),
        ("POST", format!("/v1/challenges/{challenge}/verify"), json!({"code": "123456"})),
        ("POST", format!("/v1/challenges/{challenge}/cancel"), Value::Null),
        ("GET", "/v1/users/u1".to_owned(), Value::Null),
        ("DELETE", "/v1/users/u1".to_owned(), Value::Null),
        ("POST", "/v1/users/u1/end".to_owned(), Value::Null),
        ("POST", "/v1/users/u1/off".to_owned(), json!({})),
        ("POST", format!("/v1/users/u1/methods/{phone}/verify"), json!({"code": "123456"})),
        ("DELETE", format!("/v1/users/u1/methods/{phone}"), Value::Null),
        ("GET", "/v1/support/cases?user=u1".to_owned(), Value::Null),
    ] {
        let answer = server.send(Some(&other), &[], method, &path, text(&body)).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
    }
    let shown = server.must(200, "GET", "/v1/users/u1", &Value::Null).await;
    assert_eq!(shown["state"], "on");
    let events = server.send(Some(&other), &[], "GET", "/v1/events", String::new()).await;
    assert_eq!(events.body, json!({"events": []}));
}

#[tokio::test]
async fn invalid_bodies_get_a_clear_problem_and_no_value_is_quoted() {
    let server = Server::start().await;
    let canary = "canary-value";
    for (body, field) in [
        (String::new(), "body"),
        ("{".to_owned(), "body"),
        ("[]".to_owned(), "body"),
        (json!({}).to_string(), "user"),
        (json!({"user": 1}).to_string(), "user"),
        (json!({"user": "u1", canary: 1}).to_string(), "body"),
        (format!("{{\"user\": \"u1\", \"user\": \"{canary}\"}}"), "user"),
        (json!({"user": format!("{canary}@shop")}).to_string(), "user"),
        (json!({"user": format!("{canary}\0")}).to_string(), "user"),
        (json!({"user": "u1", "purpose": canary}).to_string(), "purpose"),
        (
            json!({"user": "u1", "return_url": format!("https://shop.example/2fa/{canary}")}).to_string(),
            "return_url",
        ),
        (json!({"user": "u1", "return_url": "https://shop.example/2fA"}).to_string(), "return_url"),
        (json!({"user": "u1", "state": canary.repeat(100)}).to_string(), "state"),
        (json!({"user": "u1", "locale": "canary value"}).to_string(), "locale"),
        (json!({"user": "u1", "device_label": canary.repeat(9)}).to_string(), "device_label"),
    ] {
        let refused = server.send(Some(&server.key), &[], "POST", "/v1/challenges", body.clone()).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{body}");
        assert!(!refused.body.to_string().contains("canary"), "{}", refused.body);
    }
    let unknown = json!({"user": "u1", canary: 1}).to_string();
    let refused = server.send(Some(&server.key), &[], "POST", "/v1/challenges", unknown).await;
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("known: one of") && detail.contains("`return_url`"), "{detail}");
    let big = "x".repeat(10_000_000);
    let refused = server.send(Some(&server.key), &[], "POST", "/v1/challenges", big).await;
    assert_eq!(refused.status, 413);
}

#[tokio::test]
async fn unknown_paths_ids_and_methods_get_problems() {
    let server = Server::start().await;
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/challenges/no-uuid", 404),
        ("GET", "/v1/users/%ff", 404),
        ("GET", "/v1/users/nobody%00", 404),
        ("DELETE", "/v1/users/nobody", 404),
        ("DELETE", "/v1/challenges", 405),
        ("GET", "/v1/events?limit=0", 422),
        ("GET", "/v1/events?limit=1&limit=2", 422),
        ("GET", "/v1/events?after=x", 422),
        ("GET", "/v1/events?more=1", 422),
        ("GET", "/v1/support/cases", 422),
    ] {
        let answer = server.call(method, path, &Value::Null).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn events_are_read_in_pages() {
    let server = Server::start().await;
    server.turn_on("u1", "07700 900123").await;
    let all = server.must(200, "GET", "/v1/events", &Value::Null).await;
    let types: Vec<&str> =
        all["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["method.added", "method.added", "account.on"]);
    assert!(all["events"].as_array().unwrap().iter().all(|e| e["actor"] == "product"));
    let first = all["events"][0]["id"].as_str().unwrap();
    let page = server.must(200, "GET", &format!("/v1/events?after={first}&limit=1"), &Value::Null).await;
    assert_eq!(page["events"], json!([all["events"][1]]));
}

#[tokio::test]
async fn support_cases_go_through_two_agents() {
    let server = Server::start().await;
    server.turn_on("u1", "07700 900123").await;
    let ask = json!({"user": "u1", "action": "turn_off", "reason": "lost phone", "evidence": ["id_card"], "agent": "a1"});
    let case = server.must(201, "POST", "/v1/support/cases", &ask).await;
    assert_eq!((&case["state"], &case["evidence"]), (&json!("waiting"), &json!(["id_card"])));
    let id = case["id"].as_str().unwrap();
    let path = format!("/v1/support/cases/{id}");
    let shown = server.must(200, "GET", "/v1/users/u1", &Value::Null).await;
    assert_eq!(shown["state"], "off_due");
    let same = server.call("POST", &format!("{path}/approve"), &json!({"agent": "a1"})).await;
    assert_eq!((same.status, &same.body["field"]), (422, &json!("agent")));
    let approved = server.must(200, "POST", &format!("{path}/approve"), &json!({"agent": "a2"})).await;
    assert_eq!((&approved["state"], &approved["approved_by"]), (&json!("waiting"), &json!("a2")));
    two_step::sweep::sweep(&server.world.core).await.unwrap();
    let over = server.call("POST", &format!("{path}/cancel"), &json!({"agent": "a1"})).await;
    assert_eq!((over.status, &over.body["type"]), (409, &json!("urn:two-step:problem:ended")));
    let listed = server.must(200, "GET", "/v1/support/cases?user=u1", &Value::Null).await;
    assert_eq!(listed["cases"].as_array().unwrap().len(), 1);
    assert_eq!(listed["cases"][0]["state"], "done");
    let shown = server.must(200, "GET", "/v1/users/u1", &Value::Null).await;
    assert_eq!(shown["state"], "off");
}
