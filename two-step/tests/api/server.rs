//! A server with the API of a test's store, on loopback.

use std::net::SocketAddr;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use two_step::api::{NewKey, Scope};
use uuid::Uuid;

use crate::support::world::{Backend, World};

pub(crate) const ALL_SCOPES: [Scope; 5] =
    [Scope::Challenge, Scope::Manage, Scope::Read, Scope::Support, Scope::SupportApprove];

/// A served API, and a key with all scopes.
pub(crate) struct Server {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) http: reqwest::Client,
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::on(World::new(Backend::Sqlite).await).await
    }

    pub(crate) async fn on(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = two_step::api::router(world.core.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut server = Self { world, address, key: String::new(), http };
        server.key = server.key("shop", &ALL_SCOPES).await;
        server
    }

    /// Creates a key.
    pub(crate) async fn key(&self, product: &str, scopes: &[Scope]) -> String {
        let key = NewKey::make(&self.world.core.keys, product, scopes);
        let mut tx = self.world.core.store.begin().await.unwrap();
        tx.insert(&key.row).await.unwrap();
        tx.commit().await.unwrap();
        key.text
    }

    /// Sends a request with the key of all scopes.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(Some(&self.key), &[], method, path, body).await
    }

    /// Sends a request that must succeed with a status.
    pub(crate) async fn must(&self, status: u16, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer.body
    }

    /// Sends a request with an idempotency key.
    pub(crate) async fn once(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.send(Some(&self.key), &[("Idempotency-Key", key)], "POST", path, body.to_string()).await
    }

    pub(crate) async fn send(
        &self, key: Option<&str>, headers: &[(&str, &str)], method: &str, path: &str, body: String,
    ) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.http.request(method.parse().unwrap(), url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status, headers, body }
    }

    /// Adds a phone to a user who is off, verifies it, creates recovery codes, and turns two-step verification on.
    /// Returns the phone and the codes.
    pub(crate) async fn turn_on(&self, user: &str, number: &str) -> (Uuid, Vec<String>) {
        let phone = self.add_phone(user, number).await;
        let made = self.must(200, "POST", &format!("/v1/users/{user}/recovery-codes"), &json!({})).await;
        let codes =
            made["codes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect();
        let shown = self.must(200, "GET", &format!("/v1/users/{user}"), &Value::Null).await;
        let ids: Vec<&Value> = shown["methods"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
        let on = self.must(200, "POST", &format!("/v1/users/{user}/on"), &json!({"methods": ids})).await;
        assert_eq!(on["state"], "on");
        (phone, codes)
    }

    /// Adds a phone to a user who is off, and verifies it.
    pub(crate) async fn add_phone(&self, user: &str, number: &str) -> Uuid {
        let body = json!({"kind": "phone", "target": number, "country": "GB"});
        let added = self.must(201, "POST", &format!("/v1/users/{user}/methods"), &body).await;
        let phone: Uuid = added["id"].as_str().unwrap().parse().unwrap();
        let code = self.world.core.enrolment_of("shop", user, phone).await.unwrap();
        let code = self.world.code(code).await;
        let path = format!("/v1/users/{user}/methods/{phone}/verify");
        let verified = self.must(200, "POST", &path, &json!({"code": code})).await;
        assert_eq!(verified, json!({"status": "verified"}));
        phone
    }

    /// Creates a challenge. Returns its id.
    pub(crate) async fn challenge(&self, body: &Value) -> Uuid {
        let created = self.must(201, "POST", "/v1/challenges", body).await;
        assert_eq!(created["status"], "created", "{created}");
        created["id"].as_str().unwrap().parse().unwrap()
    }

    /// Completes a challenge for `confirm`, as a product does before a change. Returns the result's `jti`.
    pub(crate) async fn proof(&self, user: &str, method: Uuid) -> String {
        let challenge = self.challenge(&json!({"user": user, "purpose": "confirm"})).await;
        let path = format!("/v1/challenges/{challenge}");
        self.must(202, "POST", &format!("{path}/send"), &json!({"method": method})).await;
        let code = self.world.code(challenge).await;
        let verified = self.must(200, "POST", &format!("{path}/verify"), &json!({"code": code})).await;
        claims(verified["result"].as_str().unwrap())["jti"].as_str().unwrap().to_owned()
    }
}

/// Returns the claims of a result without a check. Other tests check signatures.
pub(crate) fn claims(result: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(result).unwrap().claims
}
