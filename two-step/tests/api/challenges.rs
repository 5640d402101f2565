//! Sign-ins without our pages.

use serde_json::{Value, json};

use crate::server::{Server, claims};

#[tokio::test]
async fn a_user_signs_in_over_the_api() {
    let server = Server::start().await;
    let off = server.must(201, "POST", "/v1/challenges", &json!({"user": "u1"})).await;
    assert_eq!(off, json!({"status": "not_required"}));
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(60);
    let challenge = server.challenge(&json!({"user": "u1", "nonce": "n1"})).await;
    let path = format!("/v1/challenges/{challenge}");
    let sent =
        server.must(202, "POST", &format!("{path}/send"), &json!({"method": phone, "channel": "sms"})).await;
    assert_eq!(
        (&sent["status"], &sent["sends_left"], &sent["delivery"]),
        (&json!("open"), &json!(4), &json!("waiting"))
    );
    let code = server.world.code(challenge).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let said = server.must(200, "POST", &format!("{path}/verify"), &json!({"code": wrong})).await;
    assert_eq!(said, json!({"status": "wrong", "left": 4}));
    let unreadable = server.call("POST", &format!("{path}/verify"), &json!({"code": "12345"})).await;
    assert_eq!((unreadable.status, &unreadable.body["field"]), (422, &json!("code")));
    let said = server.must(200, "POST", &format!("{path}/verify"), &json!({"code": code})).await;
    let result = claims(said["result"].as_str().unwrap());
    assert_eq!(
        [&result["sub"], &result["nonce"], &result["method"], &result["acr"], &result["purpose"]],
        [&json!("u1"), &json!("n1"), &json!("sms"), &json!("second"), &json!("sign_in")]
    );
    let again = server.must(200, "POST", &format!("{path}/verify"), &json!({"code": code})).await;
    assert_eq!(claims(again["result"].as_str().unwrap())["jti"], result["jti"]);
    let after = server.must(200, "GET", &path, &Value::Null).await;
    assert_eq!(after["status"], "redeemed");
}

#[tokio::test]
async fn a_device_token_skips_the_second_step_until_it_is_revoked() {
    let server = Server::start().await;
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(60);
    let sign_in = |token: Option<&Value>| {
        let mut body = json!({"user": "u1", "device_label": "Kitchen tablet"});
        if let Some(token) = token {
            body["device_token"] = token.clone();
        }
        body
    };
    let challenge = server.challenge(&sign_in(None)).await;
    let path = format!("/v1/challenges/{challenge}");
    server.must(202, "POST", &format!("{path}/send"), &json!({"method": phone})).await;
    let code = server.world.code(challenge).await;
    let body = json!({"code": code, "trust": true});
    let verified = server.must(200, "POST", &format!("{path}/verify"), &body).await;
    let token = &verified["device_token"];

    server.world.advance(120);
    let trusted = server.must(201, "POST", "/v1/challenges", &sign_in(Some(token))).await;
    let result = claims(trusted["result"].as_str().unwrap());
    assert_eq!(
        [&trusted["status"], &result["acr"], &result["method"]],
        [&json!("verified"), &json!("trusted"), &json!("trust")]
    );
    assert_ne!(&trusted["device_token"], token, "each use returns a new one");
    assert!(trusted.get("url").is_none());
    let listed = server.must(200, "GET", "/v1/users/u1/devices", &Value::Null).await;
    assert_eq!(listed["devices"][0]["id"], result["device"]);
    assert_eq!(listed["devices"][0]["label"], "Kitchen tablet");

    // A token of another user's device, a forged one and a revoked one are refused.
    server.turn_on("u2", "07700 900345").await;
    let token = &trusted["device_token"];
    let mut other = sign_in(Some(token));
    other["user"] = json!("u2");
    let created = server.must(201, "POST", "/v1/challenges", &other).await;
    assert_eq!(created["status"], "created");
    let created = server.must(201, "POST", "/v1/challenges", &sign_in(Some(&json!("forged")))).await;
    assert_eq!(created["status"], "created");
    let device = result["device"].as_str().unwrap();
    server.must(204, "DELETE", &format!("/v1/users/u1/devices/{device}"), &Value::Null).await;
    let created = server.must(201, "POST", "/v1/challenges", &sign_in(Some(token))).await;
    assert_eq!(created["status"], "created");
    server.must(404, "DELETE", &format!("/v1/users/u1/devices/{device}"), &Value::Null).await;
}

#[tokio::test]
async fn a_recovery_code_signs_in_and_its_replacement_is_in_the_answer() {
    let server = Server::start().await;
    let (_, codes) = server.turn_on("u1", "07700 900123").await;
    let challenge = server.challenge(&json!({"user": "u1"})).await;
    let path = format!("/v1/challenges/{challenge}/verify");
    let verified = server.must(200, "POST", &path, &json!({"code": codes[0]})).await;
    let new = verified["recovery_code"].as_str().unwrap().to_owned();
    assert_eq!(claims(verified["result"].as_str().unwrap())["acr"], "recovery");
    let challenge = server.challenge(&json!({"user": "u1"})).await;
    let path = format!("/v1/challenges/{challenge}/verify");
    let verified = server.must(200, "POST", &path, &json!({"code": new})).await;
    assert_eq!(verified["status"], "verified");
}

#[tokio::test]
async fn the_fifth_wrong_code_locks_and_a_cancelled_challenge_has_ended() {
    let server = Server::start().await;
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(60);
    let challenge = server.challenge(&json!({"user": "u1"})).await;
    let path = format!("/v1/challenges/{challenge}");
    server.must(200, "POST", &format!("{path}/cancel"), &Value::Null).await;
    let late = server.call("POST", &format!("{path}/send"), &json!({"method": phone})).await;
    assert_eq!((late.status, &late.body["type"]), (409, &json!("urn:two-step:problem:ended")));
    let challenge = server.challenge(&json!({"user": "u1"})).await;
    let path = format!("/v1/challenges/{challenge}");
    server.must(202, "POST", &format!("{path}/send"), &json!({"method": phone})).await;
    let early = server.call("POST", &format!("{path}/send"), &json!({"method": phone})).await;
    assert_eq!(early.status, 429);
    assert!(early.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 30);
    let code = server.world.code(challenge).await;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    for left in (1..5).rev() {
        let said = server.must(200, "POST", &format!("{path}/verify"), &json!({"code": wrong})).await;
        assert_eq!(said["left"], left);
    }
    for _ in 0..2 {
        let locked = server.call("POST", &format!("{path}/verify"), &json!({"code": wrong})).await;
        assert_eq!((locked.status, &locked.body["type"]), (429, &json!("urn:two-step:problem:locked")));
    }
    let right = server.call("POST", &format!("{path}/verify"), &json!({"code": code})).await;
    assert_eq!(right.status, 429);
}
