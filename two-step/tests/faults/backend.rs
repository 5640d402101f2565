//! The product's back end: it calls the API and notes what it hears.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::journal::{Journal, ObservedResult, Proven};

/// An answer of the API, or none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// None: the connection was refused, or broke.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Json,
}

impl Answer {
    /// Whether nothing was done, as the answer says.
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
        // A connection that is kept would not notice that its server was killed and started again.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        journal.secret("bearer key", key);
        Self { api, key: key.to_owned(), client, journal: journal.clone() }
    }

    /// The same back end at another process.
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

    /// A challenge that is used over the API alone.
    pub(crate) async fn create(&self, user: &str) -> Answer {
        self.post("/v1/challenges", &json!({"user": user})).await
    }

    /// A challenge for a browser. Returns its id and its URL.
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

    /// Looks at a challenge, and notes what it says of the delivery.
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
                assert_eq!(self.journal.result(result).challenge, challenge, "a result is of its challenge");
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

    /// Redeems a ticket. None: it is over, or nobody answered.
    pub(crate) async fn redeem(&self, ticket: &str) -> Option<Proven> {
        let answer = self.post("/v1/tickets/redeem", &json!({"ticket": ticket})).await;
        answer.body["result"].as_str().map(|result| self.journal.result(result))
    }

    /// The methods of a user, by their kind.
    pub(crate) async fn method(&self, user: &str, kind: &str) -> Uuid {
        let answer = self.get(&format!("/v1/users/{user}")).await;
        let methods = answer.body["methods"].as_array().cloned().unwrap_or_default();
        let found = methods.iter().find(|m| m["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}: {answer:?}"))["id"].as_str().unwrap().parse().unwrap()
    }

    /// All events after one, read in pages, oldest first.
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
