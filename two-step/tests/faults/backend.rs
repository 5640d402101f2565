//! The product's back end. It calls the API and records the answers.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::journal::{Journal, ObservedResult, Proven};

/// An answer of the API, or no answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// `None`: the connection was refused, or broke.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Json,
}

impl Answer {
    /// Returns whether the service was unavailable, so that nothing changed.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.status == Some(503) && self.retry_after.is_some_and(|s| s > 0)
    }

    pub(crate) fn id(&self) -> Uuid {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}")).parse().unwrap()
    }
}

/// A back end with its bearer key.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) api: SocketAddr,
    key: String,
    client: reqwest::Client,
    journal: Journal,
}

impl Backend {
    pub(crate) fn new(api: SocketAddr, key: &str, journal: &Journal) -> Self {
        // A pooled connection would not notice that its server was restarted.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        journal.secret("bearer key", key);
        Self { api, key: key.to_owned(), client, journal: journal.clone() }
    }

    /// The same back end, connected to another process.
    pub(crate) fn at(&self, api: SocketAddr) -> Self {
        Self { api, ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(self.client.get(format!("http://{}{path}", self.api))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Answer {
        self.call(self.client.post(format!("http://{}{path}", self.api)).json(body)).await
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Answer {
        let Ok(response) = request.bearer_auth(&self.key).send().await else { return Answer::default() };
        let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let status = Some(response.status().as_u16());
        match response.text().await {
            Ok(text) => Answer { status, retry_after, body: serde_json::from_str(&text).unwrap_or_default() },
            Err(_) => Answer::default(),
        }
    }

    /// Creates a challenge that is used over the API only.
    pub(crate) async fn create(&self, user: &str) -> Answer {
        self.post("/v1/challenges", &json!({"user": user})).await
    }

    /// Creates a challenge for a browser. Returns its id and its URL.
    pub(crate) async fn create_for_browser(&self, user: &str) -> (Uuid, String) {
        let body = json!({"user": user, "return_url": crate::site::RETURN_URL, "state": "s1", "nonce": "n1"});
        let answer = self.post("/v1/challenges", &body).await;
        let url = answer.body["url"].as_str().unwrap_or_else(|| panic!("no url: {answer:?}")).to_owned();
        self.journal.secret("challenge handle", url.rsplit('/').next().unwrap());
        (answer.id(), url)
    }

    pub(crate) async fn send(&self, challenge: Uuid, method: Uuid) -> Answer {
        self.post(&format!("/v1/challenges/{challenge}/send"), &json!({"method": method, "channel": "sms"}))
            .await
    }

    /// Gets a challenge, and records the reported delivery.
    pub(crate) async fn show(&self, challenge: Uuid) -> Answer {
        let answer = self.get(&format!("/v1/challenges/{challenge}")).await;
        if let Some(delivery) = answer.body["delivery"].as_str() {
            self.journal.notes().deliveries.push((challenge, delivery.to_owned()));
        }
        answer
    }

    /// Enters a code.
    pub(crate) async fn verify(&self, challenge: Uuid, code: &str, right: bool) -> ObservedResult {
        let path = format!("/v1/challenges/{challenge}/verify");
        let answer = self.post(&path, &json!({"code": code})).await;
        let observed = match (answer.status, answer.body["status"].as_str()) {
            (Some(200), Some("verified")) => {
                let result = answer.body["result"].as_str().expect("a verified challenge has a result");
                assert_eq!(
                    self.journal.result(result).challenge,
                    challenge,
                    "the result names its challenge"
                );
                ObservedResult::Verified
            }
            (Some(200), Some("wrong")) => ObservedResult::Wrong,
            (Some(429), _) => ObservedResult::Locked,
            (Some(409), _) => ObservedResult::Refused,
            _ => ObservedResult::Unknown,
        };
        self.journal.entry(challenge, right, observed);
        observed
    }

    /// Redeems a ticket. Returns `None` if it has expired, or without an answer.
    pub(crate) async fn redeem(&self, ticket: &str) -> Option<Proven> {
        let answer = self.post("/v1/tickets/redeem", &json!({"ticket": ticket})).await;
        answer.body["result"].as_str().map(|result| self.journal.result(result))
    }

    /// Returns the methods of a user, by kind.
    pub(crate) async fn method(&self, user: &str, kind: &str) -> Uuid {
        let answer = self.get(&format!("/v1/users/{user}")).await;
        let methods = answer.body["methods"].as_array().cloned().unwrap_or_default();
        let found = methods.iter().find(|m| m["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}: {answer:?}"))["id"].as_str().unwrap().parse().unwrap()
    }

    /// Returns all events after one, read in pages, oldest first.
    pub(crate) async fn events(&self, after: Uuid) -> Vec<Json> {
        let (mut after, mut all) = (after.to_string(), vec![]);
        loop {
            let answer = self.get(&format!("/v1/events?after={after}&limit=100")).await;
            let page = answer.body["events"].as_array().cloned().unwrap_or_else(|| panic!("{answer:?}"));
            let Some(last) = page.last() else { return all };
            last["id"].as_str().unwrap().clone_into(&mut after);
            all.extend(page);
        }
    }
}
