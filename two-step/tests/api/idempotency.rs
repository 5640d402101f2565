//! `Idempotency-Key`.

use serde_json::json;
use two_step::challenge::Challenge;
use two_step::store::Idempotent;

use crate::server::Server;
use crate::support::world::{Backend, World};

#[tokio::test]
async fn the_same_key_and_body_get_the_same_answer_for_a_day() {
    let server = Server::start().await;
    server.turn_on("u1", "07700 900123").await;
    let body = json!({"user": "u1"});
    let first = server.once("k1", "/v1/challenges", &body).await;
    server.world.advance(86_390);
    let again = server.once("k1", "/v1/challenges", &body).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(first.body["status"], "created");
    let other = server.once("k2", "/v1/challenges", &body).await;
    assert_ne!(other.body["id"], first.body["id"]);
    server.world.advance(20);
    let late = server.once("k1", "/v1/challenges", &body).await;
    assert_ne!(late.body["id"], first.body["id"], "after a day it is a new request");
}

#[tokio::test]
async fn another_body_is_refused_and_another_path_or_product_is_another_request() {
    let server = Server::start().await;
    let one = server.once("k1", "/v1/users/u1/recovery-codes", &json!({})).await;
    let two = server.once("k1", "/v1/users/u2/recovery-codes", &json!({})).await;
    assert_eq!((one.status, two.status), (200, 200));
    assert_ne!(one.body, two.body);
    let refused = server.once("k1", "/v1/users/u1/recovery-codes", &json!({"proof": null})).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("Idempotency-Key")));
}

#[tokio::test]
async fn a_refused_request_can_be_repeated() {
    let server = Server::start().await;
    let phone = server.add_phone("u1", "07700 900123").await;
    let body = json!({"methods": [phone]});
    assert_eq!(server.once("k1", "/v1/users/u1/on", &body).await.status, 409);
    server.world.advance(60);
    let second = server.add_phone("u1", "07700 900345").await;
    assert_eq!(server.once("k1", "/v1/users/u1/on", &body).await.status, 422, "the request runs again");
    let both = json!({"methods": [phone, second]});
    assert_eq!(server.once("k1", "/v1/users/u1/on", &both).await.status, 200);
}

/// Fails if an interrupted request stays `in-flight` for a day.
#[tokio::test]
async fn an_interrupted_request_is_not_run_again() {
    let server = Server::start().await;
    server.turn_on("u1", "07700 900123").await;
    let body = json!({"user": "u1"});
    assert_eq!(server.once("k1", "/v1/challenges", &body).await.status, 201);
    // The same rows as after a crash before the answer was stored.
    let mut row = server.world.rows::<Idempotent>("", &[]).await.pop().unwrap();
    row.answer_sealed = None;
    server.world.write(&row).await;
    let busy = server.once("k1", "/v1/challenges", &body).await;
    assert_eq!((busy.status, &busy.body["type"]), (409, &json!("urn:two-step:problem:in-flight")));
    server.world.advance(61);
    let unknown = server.once("k1", "/v1/challenges", &body).await;
    assert_eq!(
        (unknown.status, &unknown.body["type"]),
        (409, &json!("urn:two-step:problem:unknown-outcome"))
    );
    assert_eq!(server.world.rows::<Challenge>("where purpose = 'sign_in'", &[]).await.len(), 1);
    server.world.advance(86_400);
    assert_eq!(server.once("k1", "/v1/challenges", &body).await.status, 201, "the key can be used again");
}

#[tokio::test]
async fn one_of_twenty_concurrent_requests_runs() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let server = Server::on(World::new(backend).await).await;
        server.turn_on("u1", "07700 900123").await;
        let body = json!({"user": "u1"});
        let all = (0..20).map(|_| server.once("k1", "/v1/challenges", &body));
        let answers = futures_util::future::join_all(all).await;
        assert!(answers.iter().all(|a| matches!(a.status, 201 | 409)), "{answers:?}");
        assert!(answers.iter().filter(|a| a.status == 409).all(|a| a.headers.contains_key("retry-after")));
        let made = server.world.rows::<Challenge>("where purpose = 'sign_in'", &[]).await;
        assert_eq!(made.len(), 1, "{backend:?}");
        let again = server.once("k1", "/v1/challenges", &body).await;
        assert_eq!(again.body["id"], json!(made[0].id));
    }
}

#[tokio::test]
async fn a_malformed_key_is_refused() {
    let server = Server::start().await;
    for key in ["", "two words", &"k".repeat(256)] {
        let refused = server.once(key, "/v1/challenges", &json!({"user": "u1"})).await;
        assert_eq!(refused.status, 422, "{key}");
    }
}

#[tokio::test]
async fn answers_are_stored_sealed() {
    let server = Server::start().await;
    let made = server.once("k1", "/v1/users/u1/recovery-codes", &json!({})).await;
    let rows = server.world.rows::<two_step::store::Idempotent>("", &[]).await;
    let kept = format!("{rows:?}");
    for code in made.body["codes"].as_array().unwrap() {
        assert!(!kept.contains(code.as_str().unwrap()));
    }
}
