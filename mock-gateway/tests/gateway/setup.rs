//! A running gateway, a client of it, and a receiver for its callbacks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mock_gateway::{Config, Gateway};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Longer than any wait here on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) const FROM: &str = "+15005550006";

/// A call that speaks a code.
pub(crate) const TWIML: &str =
    "<Response><Say language=\"en-GB\">Your code is: 1. 2. 3. 4.</Say><Pause/></Response>";

pub(crate) struct TestSetup {
    pub(crate) gateway: Gateway,
    pub(crate) client: reqwest::Client,
    pub(crate) config: Config,
    pub(crate) receiver: Receiver,
}

impl TestSetup {
    /// Starts a gateway without delays between states.
    pub(crate) async fn start() -> Self {
        Self::with(Config { pace: Duration::ZERO, ..Config::default() }).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let gateway = Gateway::start(listener, config.clone()).expect("the gateway starts");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { gateway, client, config, receiver: Receiver::start().await }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.addr())
    }

    /// Returns the URL of a path below the account.
    pub(crate) fn account(&self, path: &str) -> String {
        self.url(&format!("/2010-04-01/Accounts/{}/{path}", self.config.account_sid))
    }

    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let request = self.client.post(self.account(path)).form(form);
        request.basic_auth(&self.config.account_sid, Some(&self.config.auth_token))
    }

    /// A text to this number, with the receiver's URL as its callback.
    pub(crate) fn text(&self, to: &str) -> reqwest::RequestBuilder {
        let form = [("To", to), ("From", FROM), ("Body", "Your code is 123456")];
        self.post("Messages.json", &[&form[..], &[("StatusCallback", &self.receiver.url)]].concat())
    }

    /// A call to this number, with the receiver's URL as its callback for every event.
    pub(crate) fn call(&self, to: &str, more: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let form = [("To", to), ("From", FROM), ("Twiml", TWIML), ("StatusCallback", &self.receiver.url)];
        let events =
            ["initiated", "ringing", "answered", "completed"].map(|event| ("StatusCallbackEvent", event));
        self.post("Calls.json", &[&form[..], &events[..], more].concat())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("JSON")
    }

    pub(crate) async fn api_post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.client.post(self.url(path)).json(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn script(&self, to: &str, outcomes: Value) {
        let script = serde_json::json!({ "to": to, "channel": null, "outcomes": outcomes });
        assert_eq!(self.api_post("/api/script", &script).await.0, 200);
    }

    /// Returns the entries of a list, `requests` or `accepted`.
    pub(crate) async fn entries(&self, list: &str) -> Vec<Value> {
        let page = self.get(&format!("/api/{list}?limit=10000")).await;
        page["entries"].as_array().expect("entries").clone()
    }

    /// Polls until the newest accepted entry matches.
    pub(crate) async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            if let Some(newest) = self.entries("accepted").await.pop()
                && wanted(&newest)
            {
                return newest;
            }
            assert!(tokio::time::Instant::now() < deadline, "the record did not reach the expected state");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Returns the status and the body of a request's answer.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// A callback that arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) headers: HeaderMap,
    pub(crate) form: Vec<(String, String)>,
    /// The body, if it is JSON.
    pub(crate) json: Option<Value>,
}

impl Arrived {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the reported state.
    pub(crate) fn status(&self) -> &str {
        self.get("MessageStatus").or(self.get("CallStatus")).unwrap_or_default()
    }
}

/// The receiver's answer to a callback.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    Body(&'static str),
    /// Never answer.
    Hang,
}

type Replies = Arc<Mutex<VecDeque<Reply>>>;

/// A client's web server.
pub(crate) struct Receiver {
    pub(crate) url: String,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    replies: Replies,
}

impl Receiver {
    async fn start() -> Self {
        let (sender, arrived) = mpsc::unbounded_channel();
        let replies = Replies::default();
        let app = Router::new().fallback(receive).with_state((sender, Arc::clone(&replies)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/status?a=1&b=%20x", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, arrived, replies }
    }

    /// Sets the replies to the next callbacks. The receiver then returns 204.
    pub(crate) fn reply(&self, replies: &[Reply]) {
        self.replies.lock().expect("a lock").extend(replies);
    }

    pub(crate) async fn next(&mut self) -> Arrived {
        let arrived = tokio::time::timeout(TIMEOUT, self.arrived.recv()).await.expect("a callback in time");
        arrived.expect("the receiver runs")
    }

    pub(crate) fn arrived_already(&mut self) -> Option<Arrived> {
        self.arrived.try_recv().ok()
    }

    /// Returns the states of the next callbacks.
    pub(crate) async fn states(&mut self, count: usize) -> Vec<String> {
        let mut states = Vec::new();
        for _ in 0..count {
            states.push(self.next().await.status().to_owned());
        }
        states
    }
}

async fn receive(
    State((sender, replies)): State<(mpsc::UnboundedSender<Arrived>, Replies)>, request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    // The form is parsed from its bytes, like in a web framework.
    let url = format!("http://x/?{}", String::from_utf8_lossy(&bytes));
    let url = reqwest::Url::parse(&url).expect("a form");
    let form = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let json = serde_json::from_slice(&bytes).ok();
    let _ = sender.send(Arrived { headers: parts.headers, form, json });
    let reply = replies.lock().expect("a lock").pop_front().unwrap_or(Reply::Status(204));
    match reply {
        Reply::Status(status) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [(header::LOCATION, "/elsewhere")]).into_response()
        }
        Reply::Body(text) => text.into_response(),
        Reply::Hang => std::future::pending().await,
    }
}
