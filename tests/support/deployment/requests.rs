//! Requests of tests: jobs, callbacks, and scripts for the mock carrier.

use std::net::SocketAddr;

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions};
use otpost::app::App;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Deployment, wait};

impl Deployment {
    /// Publishes a job and waits for the confirm.
    pub async fn publish(&self, job: &Value) -> Uuid {
        self.publish_bytes("dispatch", job.to_string().as_bytes()).await;
        job["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn publish_bytes(&self, routing_key: &str, body: &[u8]) {
        self.publish_with(BasicProperties::default(), routing_key, body).await;
    }

    /// Publishes with the `user_id` of a broker user.
    pub async fn publish_as(&self, user: &str, routing_key: &str, body: &[u8]) {
        self.publish_with(BasicProperties::default().with_user_id(user.into()), routing_key, body).await;
    }

    /// Publishes with any properties and waits for the confirm.
    pub async fn publish_with(&self, properties: BasicProperties, routing_key: &str, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        let confirmed = async {
            let publish =
                self.channel.basic_publish("otpost".into(), routing_key.into(), options, body, properties);
            publish.await.unwrap().await.unwrap()
        };
        let confirm = tokio::time::timeout(wait::TIMEOUT, confirmed).await.expect("RabbitMQ confirms");
        assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "{confirm:?}");
    }

    /// Returns all messages of a queue to it, as a consumer does that cannot process them now.
    pub async fn return_all(&self, queue: &str, times: usize) {
        let connection = super::amqp(&self.amqp_url).await.expect("RabbitMQ answers");
        let channel = connection.create_channel().await.unwrap();
        for _ in 0..times {
            let mut held = vec![];
            while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
                held.push(got);
            }
            assert!(!held.is_empty(), "{queue} holds messages");
            for got in held {
                let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                channel.basic_nack(got.delivery_tag, requeue).await.unwrap();
            }
        }
        connection.close(200, "done".into()).await.unwrap();
    }

    /// Consumes all messages and closes the connection, so that their delivery count grows by one.
    pub async fn redeliver_all(&self, queue: &str, times: usize) {
        for _ in 0..times {
            let connection = super::amqp(&self.amqp_url).await.expect("RabbitMQ answers");
            let channel = connection.create_channel().await.unwrap();
            let mut held = vec![];
            while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
                held.push(got);
            }
            assert!(!held.is_empty(), "{queue} holds messages");
            connection.close(200, "dies".into()).await.unwrap();
        }
    }

    /// Posts a job to the HTTP API.
    pub async fn post(&self, app: &App, job: &Value) -> (u16, Value) {
        self.post_bytes(&format!("{}", app.api.unwrap()), &self.key, job.to_string().into_bytes()).await
    }

    /// Posts any body to the HTTP API.
    pub async fn post_bytes(&self, api: &str, key: &str, body: Vec<u8>) -> (u16, Value) {
        let url = format!("http://{api}/v1/dispatches");
        let sent = self.http.post(url).bearer_auth(key).body(body).send().await.unwrap();
        let status = sent.status().as_u16();
        (status, sent.json().await.unwrap_or_default())
    }

    /// Sends an act over HTTP.
    pub async fn act(&self, app: &App, id: Uuid, verb: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}/v1/dispatches/{id}/{verb}", app.api.unwrap());
        let sent = self.http.post(url).bearer_auth(&self.key).body(body.to_string()).send().await.unwrap();
        let status = sent.status().as_u16();
        (status, sent.json().await.unwrap_or_default())
    }

    /// Posts a form to any URL, with headers.
    pub async fn post_form(&self, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
        let mut request =
            self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = request.send().await.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    }

    pub async fn get(&self, url: &str) -> (u16, String) {
        let got = self.http.get(url).bearer_auth(&self.key).send().await.unwrap();
        (got.status().as_u16(), got.text().await.unwrap())
    }

    /// Scripts the mock carrier's outcomes for a number.
    pub async fn script(&self, to: &str, outcomes: Value) {
        self.script_whole(&json!({"to": to, "channel": null, "outcomes": outcomes})).await;
    }

    /// The same, optionally for one channel.
    pub async fn script_whole(&self, script: &Value) {
        let url = format!("http://{}/api/script", self.gateway.addr());
        let body = script.to_string();
        let sent =
            self.http.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
    }

    /// Returns the entries of the mock carrier's list `requests` or `accepted`, for one number or for all.
    pub async fn record(&self, list: &str, to: Option<&str>) -> Vec<Value> {
        self.record_of(self.gateway.addr(), list, to).await
    }

    /// The same for another mock carrier.
    pub async fn record_of(&self, gateway: SocketAddr, list: &str, to: Option<&str>) -> Vec<Value> {
        let (mut after, mut all) = (0, vec![]);
        loop {
            let to = to.map(|t| format!("&to={}", t.trim_start_matches('+'))).unwrap_or_default();
            let url = format!("http://{gateway}/api/{list}?after={after}&limit=10000{to}");
            let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
            let entries = page["entries"].as_array().unwrap().clone();
            let Some(newest) = entries.last() else { return all };
            after = newest["seq"].as_u64().unwrap();
            all.extend(entries);
        }
    }

    pub async fn accepted(&self, to: &str) -> usize {
        self.record("accepted", Some(to)).await.len()
    }

    /// Returns the nth message that the carrier has accepted for a number, as soon as it is as expected.
    pub async fn message(&self, to: &str, n: usize, is_expected: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let expected = async || {
            last = self.record("accepted", Some(to)).await.get(n).cloned().unwrap_or_default();
            is_expected(&last).then(|| last.clone())
        };
        let found = wait::within(wait::TIMEOUT, expected).await;
        found.unwrap_or_else(|| panic!("the message to {to} is not as expected: {last}"))
    }

    /// Returns the transcript of the nth call to a number, as soon as it is as expected.
    pub async fn transcript(&self, to: &str, n: usize, is_expected: impl Fn(&str) -> bool) -> String {
        let text = |message: &Value| message["transcript"].as_str().unwrap_or_default().to_owned();
        text(&self.message(to, n, |message| is_expected(&text(message))).await)
    }

    /// Makes the carrier send a receipt now.
    pub async fn receipt(&self, sid: &str, status: &str) {
        let url = format!("http://{}/api/receipts/{sid}", self.gateway.addr());
        let body = json!({"status": status}).to_string();
        let sent =
            self.http.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        assert!(sent.status().is_success());
    }
}

/// Computes a callback's signature: HMAC-SHA1 over the URL and the sorted fields.
pub fn signature(url: &str, fields: &str) -> String {
    use base64::Engine;
    use hmac::{KeyInit, Mac};
    let token = mock_gateway::Config::default().auth_token;
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    mac.update(fields.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}
