//! Adding, verifying and removing methods; turning two-step verification on and off.

use serde_json::{Value, json};
use two_step::method::{Method, MethodState};
use uuid::Uuid;

use crate::server::Server;
use crate::support::user::Authenticator;

/// The state of each method of a user, by kind.
async fn states(server: &Server, user: &str) -> Vec<(String, String)> {
    let shown = server.must(200, "GET", &format!("/v1/users/{user}"), &Value::Null).await;
    let text = |m: &Value, name: &str| m[name].as_str().unwrap().to_owned();
    let mut states: Vec<(String, String)> =
        shown["methods"].as_array().unwrap().iter().map(|m| (text(m, "kind"), text(m, "state"))).collect();
    states.sort();
    states
}

#[tokio::test]
async fn an_authenticator_is_added_by_its_first_code() {
    let server = Server::start().await;
    let body = json!({"kind": "totp", "display_name": "ada@shop.example"});
    let added = server.must(201, "POST", "/v1/users/u1/methods", &body).await;
    let uri = added["uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/Shop:ada%40shop.example?"), "{uri}");
    let id: Uuid = added["id"].as_str().unwrap().parse().unwrap();
    let app = Authenticator::with_key(id, added["key"].as_str().unwrap());
    let code = app.code(&server.world).await;
    let path = format!("/v1/users/u1/methods/{id}/verify");
    let verified = server.must(200, "POST", &path, &json!({"code": code})).await;
    assert_eq!(verified["status"], "verified");
    assert_eq!(states(&server, "u1").await, [("totp".to_owned(), "active".to_owned())]);
    let again = server.must(200, "POST", &path, &json!({"code": code})).await;
    assert_eq!(again["status"], "verified", "the answer is repeated");
    server.world.advance(60);
    let over = server.call("POST", &path, &json!({"code": code})).await;
    assert_eq!(over.status, 409, "its enrolment has ended");
}

#[tokio::test]
async fn turning_on_keeps_the_given_methods() {
    let server = Server::start().await;
    let phone = server.add_phone("u1", "07700 900123").await;
    server.world.advance(60);
    let attacker = server.add_phone("u1", "07700 900999").await;
    let on = "/v1/users/u1/on";
    let refused = server.call("POST", on, &json!({"methods": [phone]})).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("methods")));
    let refused = server.call("POST", on, &json!({"methods": [phone, Uuid::now_v7()]})).await;
    assert_eq!(refused.status, 422);
    server.must(200, "POST", "/v1/users/u1/recovery-codes", &Value::Null).await;
    let shown = server.must(200, "GET", "/v1/users/u1", &Value::Null).await;
    assert_eq!(shown["recovery_codes_left"], 10);
    let codes = shown["methods"].as_array().unwrap().iter().find(|m| m["kind"] == "recovery").unwrap();
    server.must(200, "POST", on, &json!({"methods": [phone, codes["id"]]})).await;
    assert_eq!(server.world.row::<Method>(attacker).await.state, MethodState::Removed);
    let again = server.must(200, "POST", on, &json!({"methods": []})).await;
    assert_eq!(again["state"], "on", "it is already on, so nothing changes");
    assert_eq!(again["methods"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn turning_on_needs_a_backup() {
    let server = Server::start().await;
    let phone = server.add_phone("u1", "07700 900123").await;
    let refused = server.call("POST", "/v1/users/u1/on", &json!({"methods": [phone]})).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("urn:two-step:problem:not-ready")));
}

#[tokio::test]
async fn every_change_needs_a_fresh_proof_while_on() {
    let server = Server::start().await;
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(3600);
    let add = |proof: Option<&str>| {
        let mut body = json!({"kind": "totp"});
        if let Some(proof) = proof {
            body["proof"] = json!(proof);
        }
        body
    };
    let foreign = Uuid::now_v7().to_string();
    for proof in [None, Some(foreign.as_str())] {
        let refused = server.call("POST", "/v1/users/u1/methods", &add(proof)).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("proof")));
    }
    for path in ["/v1/users/u1/off", "/v1/users/u1/recovery-codes"] {
        let refused = server.call("POST", path, &json!({})).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("proof")), "{path}");
    }
    let refused = server.call("DELETE", &format!("/v1/users/u1/methods/{phone}"), &Value::Null).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("proof")));

    let proof = server.proof("u1", phone).await;
    server.world.advance(590);
    server.must(201, "POST", "/v1/users/u1/methods", &add(Some(&proof))).await;
    // The proof of another user is refused.
    server.turn_on("u2", "07700 900345").await;
    let refused = server.call("POST", "/v1/users/u2/off", &json!({"proof": proof})).await;
    assert_eq!(refused.status, 422);
    server.world.advance(10);
    let refused = server.call("POST", "/v1/users/u1/off", &json!({"proof": proof})).await;
    assert_eq!(refused.status, 422, "ten minutes old");
    let proof = server.proof("u1", phone).await;
    let off =
        server.must(200, "POST", "/v1/users/u1/off", &json!({"proof": proof, "keep_phones": true})).await;
    assert_eq!(off["state"], "off");
    assert_eq!(states(&server, "u1").await, [("phone".to_owned(), "active".to_owned())]);
}

#[tokio::test]
async fn a_proof_of_a_sign_in_is_no_proof_for_a_change() {
    let server = Server::start().await;
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(60);
    let challenge = server.challenge(&json!({"user": "u1"})).await;
    let path = format!("/v1/challenges/{challenge}");
    server.must(202, "POST", &format!("{path}/send"), &json!({"method": phone})).await;
    let code = server.world.code(challenge).await;
    let verified = server.must(200, "POST", &format!("{path}/verify"), &json!({"code": code})).await;
    let jti = crate::server::claims(verified["result"].as_str().unwrap())["jti"].clone();
    let refused = server.call("POST", "/v1/users/u1/off", &json!({"proof": jti})).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("proof")));
}

#[tokio::test]
async fn the_last_method_cannot_be_removed_while_on() {
    let server = Server::start().await;
    let (phone, _) = server.turn_on("u1", "07700 900123").await;
    server.world.advance(3600);
    let proof = server.proof("u1", phone).await;
    let path = format!("/v1/users/u1/methods/{phone}?proof={proof}");
    let refused = server.call("DELETE", &path, &Value::Null).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("urn:two-step:problem:not-ready")));
    let added = json!({"kind": "phone", "target": "+447700900345", "proof": proof});
    let added = server.must(201, "POST", "/v1/users/u1/methods", &added).await;
    let second: Uuid = added["id"].as_str().unwrap().parse().unwrap();
    let challenge = server.world.core.enrolment_of("shop", "u1", second).await.unwrap();
    let code = server.world.code(challenge).await;
    server.must(200, "POST", &format!("/v1/users/u1/methods/{second}/verify"), &json!({"code": code})).await;
    server.must(204, "DELETE", &path, &Value::Null).await;
    assert_eq!(server.world.row::<Method>(phone).await.state, MethodState::Removed);
    let gone = server.call("DELETE", &path, &Value::Null).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn invalid_numbers_and_addresses_are_refused_with_a_reason() {
    let server = Server::start().await;
    for (body, says) in [
        (json!({"kind": "phone", "target": "07700 900123"}), "needs `country`"),
        (json!({"kind": "phone", "target": "+1 212 555 0123"}), "not in `countries`"),
        (json!({"kind": "phone", "target": "0909 879 0123", "country": "GB"}), "premium"),
        (json!({"kind": "phone", "target": "not a number", "country": "GB"}), "not a telephone number"),
        (json!({"kind": "email", "target": "ada"}), "not an e-mail address"),
    ] {
        let refused = server.call("POST", "/v1/users/u1/methods", &body).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("target")), "{body}");
        assert!(refused.body["detail"].as_str().unwrap().contains(says), "{}", refused.body);
    }
    for number in ["07700 900123", "0044 7700 900123", "+44 (0) 7700 900123", "٠٧٧٠٠ ٩٠٠١٢٣"] {
        let user = Uuid::now_v7();
        let body = json!({"kind": "phone", "target": number, "country": "GB"});
        let answer = server.call("POST", &format!("/v1/users/{user}/methods"), &body).await;
        assert_eq!(answer.status, 201, "{number}: {}", answer.body);
        server.world.advance(3600);
    }
}

#[tokio::test]
async fn a_validated_address_from_the_product_is_stored_while_off() {
    let server = Server::start().await;
    let session = async |user: &str, email: &str| {
        let password_at = server.world.now().await;
        let body = json!({"user": user, "purpose": "settings", "password_at": password_at, "email": email,
                          "return_url": "https://shop.example/2fa"});
        server.call("POST", "/v1/sessions", &body).await.status
    };
    assert_eq!(session("u1", "ada@shop.example").await, 201);
    assert_eq!(session("u1", "Ada@shop.example").await, 201);
    assert_eq!(session("u1", "ada").await, 422);
    assert_eq!(states(&server, "u1").await, [("email".to_owned(), "active".to_owned())]);
    server.turn_on("u2", "07700 900123").await;
    assert_eq!(session("u2", "attacker@shop.example").await, 201);
    assert!(!states(&server, "u2").await.iter().any(|(kind, _)| kind == "email"), "it is on");
}
