//! Events to subscribers: Server-Sent Events, the command that follows them, and webhooks.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::StreamExt;
use otpost::app::Roles;
use otpost::config::{Config, TenantConfig, WebhookConfig};
use otpost::domain::attempt::{Reason, State as DispatchState};
use otpost::http::{NewKey, Scope};
use otpost::ledger::{Admission, Refusal};
use serde_json::{Value, json};
use support::deployment::process::Process;
use support::deployment::{Deployment, FRONT_END, WORKER, job};
use support::{ledger_driver, wait};
use tokio::sync::watch;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

/// The requests that a receiver got.
struct Post {
    headers: HeaderMap,
    body: String,
}

/// A webhook receiver. It returns the configured statuses in order, then 204.
#[derive(Clone, Default)]
struct Receiver {
    posts: watch::Sender<Vec<Post>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Never answers.
    dead: Arc<AtomicBool>,
    /// Answers after half a second.
    slow: Arc<AtomicBool>,
}

impl Receiver {
    async fn start() -> (Self, SocketAddr) {
        let receiver = Self::default();
        let router = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, address)
    }

    fn answers(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    /// Returns the received events as `<state> <sequence>`, with repeats.
    fn received(&self) -> Vec<String> {
        let line = |p: &Post| {
            let event: Value = serde_json::from_str(&p.body).unwrap();
            format!("{} {}", event["data"]["state"].as_str().unwrap_or("test"), event["sequence"])
        };
        self.posts.borrow().iter().map(line).collect()
    }

    async fn until(&self, expected: &[&str]) {
        self.until_received(expected, |received| received).await;
    }

    /// Waits until the received events, transformed by `read`, equal `expected`.
    async fn until_received(&self, expected: &[&str], read: impl Fn(Vec<String>) -> Vec<String>) {
        let mut coming = self.posts.subscribe();
        let arrived = async {
            while read(self.received()) != expected {
                coming.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), arrived).await;
        assert!(in_time.is_ok(), "{:?}, not {expected:?}", self.received());
    }
}

async fn take(
    State(receiver): State<Receiver>, headers: HeaderMap, body: String,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    if receiver.dead.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    receiver.posts.send_modify(|posts| posts.push(Post { headers, body }));
    if receiver.slow.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(204);
    let retry_after = if status == 429 { "3" } else { "" };
    (StatusCode::from_u16(status).unwrap(), [("retry-after", retry_after)])
}

fn with_webhook(mut config: Config, tenant: &str, url: String) -> Config {
    config.webhooks.allow_private_targets = true;
    let webhook = WebhookConfig {
        url,
        secret: Some(SECRET.into()),
        previous_secret: Some(OLD_SECRET.into()),
        ..WebhookConfig::default()
    };
    let section = TenantConfig { webhook: Some(webhook), ..TenantConfig::default() };
    config.tenants.insert(tenant.to_owned(), section);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_receiver_holds_no_ledger_connection() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let config = with_webhook(deployment.config(&["c1"]), "default", "http://127.0.0.1:1/hook".to_owned());
    let app = deployment.start(config, Roles::ALL).await;
    for n in 0..40 {
        let (status, answer) = deployment.post(&app, &job(&format!("+4477050002{n:02}"), json!({}))).await;
        assert_eq!(status, 202, "job {n}: {answer}");
    }
    let url = format!("http://{}/v1/dispatches/{}", app.api.unwrap(), uuid::Uuid::new_v4());
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..150 {
        tick.tick().await;
        let started = Instant::now();
        assert_eq!(deployment.get(&url).await.0, 404);
        assert!(started.elapsed() < Duration::from_secs(1), "an answer took {:?}", started.elapsed());
    }
    app.stop().await;
}

/// Starts a receiver for the default tenant's events.
async fn start_receiver(deployment: &Deployment) -> (Receiver, Config) {
    let (receiver, address) = Receiver::start().await;
    (receiver, with_webhook(deployment.config(&["c1"]), "default", format!("http://{address}/hook")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_gets_each_event_signed_with_both_secrets() {
    let deployment = Deployment::build(Duration::from_millis(300)).await;
    let (receiver, config) = start_receiver(&deployment).await;
    let app = deployment.start(config, Roles::ALL).await;
    let id = deployment.publish(&job("+447705000001", json!({"tags": {"flow": "login"}}))).await;
    receiver.until(&["sent 2", "delivered 4"]).await;
    deployment.until_events(id, &["sent 2", "delivered 4"]).await;
    let posts: Vec<(String, Vec<(String, String)>)> = receiver
        .posts
        .borrow()
        .iter()
        .map(|p| {
            let named = |name: &str| (name.to_owned(), p.headers[name].to_str().unwrap().to_owned());
            (p.body.clone(), ["webhook-id", "webhook-timestamp", "webhook-signature"].map(named).to_vec())
        })
        .collect();
    let event: Value = serde_json::from_str(&posts[0].0).unwrap();
    assert_eq!(event["id"], json!(posts[0].1[0].1));
    assert_eq!(event["data"]["tags"]["flow"], "login");
    // The webhook's body equals the event over the broker, byte for byte.
    let over_amqp = deployment.all_events().into_iter().find(|e| e["id"] == event["id"]).unwrap();
    assert_eq!(over_amqp, event);
    // The official library verifies it with either secret, and with no other.
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    for (secret, good) in
        [(SECRET, true), (OLD_SECRET, true), ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSa", false)]
    {
        let program = "import sys, json, standardwebhooks as s\n\
                       body, headers = json.loads(sys.stdin.read())\n\
                       s.Webhook(sys.argv[1]).verify(body, dict(headers))";
        let mut child = Command::new(&python)
            .args(["-c", program, secret])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), &posts[0]).unwrap();
        assert_eq!(child.wait().unwrap().success(), good, "{secret}");
    }
    let look = support::world::connect(&deployment.ledger_url).await;
    let none = async || look.query_opt("select from outbox limit 1", &[]).await.unwrap().is_none();
    wait::until("delivered events are deleted", none).await;
    app.stop().await;
}

/// Fails if a receiver that is gone gets further requests, or if its events are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_gets_nothing_until_a_replay() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (receiver, config) = start_receiver(&deployment).await;
    receiver.answers(&[410]);
    let app = deployment.start(config, Roles::ALL).await;
    for to in ["+447705000001", "+447705000002"] {
        let id = deployment.publish(&job(to, json!({}))).await;
        deployment.until_state(id, "delivered").await;
    }
    let look = support::world::connect(&deployment.ledger_url).await;
    let failed = "select coalesce(sum(cardinality(uids)), 0)::bigint from outbox where due_at is null";
    let kept = async || look.query_one(failed, &[]).await.unwrap().get::<_, i64>(0) == 4;
    wait::until("all events are marked as failed", kept).await;
    assert_eq!(receiver.posts.borrow().len(), 1);
    let url = format!("http://{}/v1/webhooks/replay", app.api.unwrap());
    let admin = NewKey::make("default", &[Scope::Admin]);
    deployment.ledger.add_key(&admin.row).await.unwrap();
    let key = format!("Bearer {}", admin.text);
    let (status, answer) = deployment.post_form(&url, &[("authorization", &key)], b"{}".to_vec()).await;
    assert_eq!(status, 200, "{answer}");
    wait::until("all are delivered", async || receiver.posts.borrow().len() == 5).await;
    app.stop().await;
}

/// Fails if a receiver that asks for a pause gets requests during it, or if the pause costs tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_a_pause_gets_one() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (receiver, config) = start_receiver(&deployment).await;
    receiver.answers(&[429]);
    let app = deployment.start(config, Roles::ALL).await;
    let id = deployment.publish(&job("+447705000001", json!({}))).await;
    wait::until("the first request", async || receiver.posts.borrow().len() == 1).await;
    let since = Instant::now();
    deployment.until_state(id, "delivered").await;
    wait::until("the next request", async || receiver.posts.borrow().len() > 1).await;
    assert!(since.elapsed() > Duration::from_millis(2500), "after {:?}", since.elapsed());
    // The second event has waited and was not tried.
    receiver
        .until_received(&["delivered 4", "sent 2", "sent 2"], |mut all| {
            all.sort();
            all
        })
        .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_added_moved_and_removed_at_run_time() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let without = || {
        let mut config = deployment.config(&["c1"]);
        config.keys.root = Some(deployment.root.to_hex().as_str().into());
        config.keys.id = "t1".to_owned();
        config
    };
    let with = |at: SocketAddr| with_webhook(without(), "default", format!("http://{at}/hook"));
    let (here, at_here) = Receiver::start().await;
    let (there, moved_to) = Receiver::start().await;
    let app = deployment.start(without(), Roles::ALL).await;
    let deliver = async |to: &str| {
        let id = deployment.publish(&job(to, json!({}))).await;
        deployment.until_state(id, "delivered").await;
    };
    deliver("+447705000031").await;
    assert_eq!(app.reload(with(at_here)), Ok(vec![]));
    deliver("+447705000032").await;
    here.until(&["sent 2", "delivered 4"]).await;
    assert_eq!(app.reload(with(moved_to)), Ok(vec![]));
    deliver("+447705000033").await;
    there.until(&["sent 2", "delivered 4"]).await;
    assert_eq!(app.reload(without()), Ok(vec![]));
    deliver("+447705000034").await;
    assert_eq!(app.reload(with(at_here)), Ok(vec![]));
    deliver("+447705000035").await;
    here.until(&["sent 2", "delivered 4", "sent 2", "delivered 4"]).await;
    assert_eq!(there.received().len(), 2, "no event arrives at the old URL");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_delivery_is_retried_then_abandoned_and_can_be_replayed() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (receiver, config) = start_receiver(&deployment).await;
    let app = deployment.start(config, Roles::ALL).await;
    let admin = NewKey::make("default", &[Scope::Admin]);
    deployment.ledger.add_key(&admin.row).await.unwrap();
    receiver.answers(&[500, 302, 503]);
    let to = "+447705000002";
    deployment.script(to, json!(["unsubscribed"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    deployment.until_state(id, "failed").await;
    receiver.until(&["failed 2"]).await;
    let started = Instant::now();
    receiver.until(&["failed 2", "failed 2"]).await;
    assert!((4000..8000).contains(&started.elapsed().as_millis()), "5 s: {:?}", started.elapsed());
    // The later pauses take hours, so the test moves the time in the row.
    let look = support::world::connect(&deployment.ledger_url).await;
    let mut pauses = vec![];
    for n in 2..=5 {
        let waits =
            "select extract(epoch from due_at - clock_timestamp())::float8 from outbox where tries = $1";
        let pause =
            async || look.query_opt(waits, &[&(n as i16)]).await.unwrap().map(|row| row.get::<_, f64>(0));
        let wait = wait::answer("a try that failed", pause).await;
        pauses.push((wait / 10.0).round() * 10.0);
        receiver.answers(&[500]);
        look.execute("update outbox set due_at = clock_timestamp()", &[]).await.unwrap();
    }
    assert_eq!(pauses, [300.0, 1800.0, 7200.0, 18000.0]);
    let request = |path: &str, body: Option<Value>| {
        let (url, key) = (format!("http://{}{path}", app.api.unwrap()), admin.text.clone());
        async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let request_builder = match body {
                Some(body) => http.post(url).body(body.to_string()),
                None => http.get(url),
            };
            request_builder.bearer_auth(key).send().await.unwrap().json::<Value>().await.unwrap()
        }
    };
    let given_up = async || {
        let list = request("/v1/webhooks", None).await;
        list["events"][0]["due_at"].is_null().then_some(list)
    };
    let list = wait::answer("it is given up", given_up).await;
    assert_eq!(
        (list["events"][0]["tries"].as_u64(), list["events"][0]["problem"].as_str()),
        (Some(6), Some("the receiver answered 500"))
    );
    assert_eq!(receiver.received().len(), 6);
    let event = list["events"][0]["event"].clone();
    let replayed = request("/v1/webhooks/replay", Some(json!({"event": event}))).await;
    assert_eq!(replayed["replayed"], 1, "{replayed}");
    receiver.until(&["failed 2"; 7]).await;
    assert_eq!(request("/v1/webhooks/replay", Some(json!({}))).await["replayed"], 0);
    // The same with the commands.
    let url = format!("http://{}", app.api.unwrap());
    let otpost = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(args)
            .args(["--url", &url, "--key", &admin.text])
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap().trim().to_owned())
    };
    let (code, printed) = otpost(&["webhooks", "list"]);
    assert!(
        code == Some(0) && printed.contains("/hook") && printed.contains("the receiver answered 500"),
        "{printed}"
    );
    assert_eq!(otpost(&["webhooks", "replay"]), (Some(0), "0 deliveries are retried.".to_owned()));
    assert_eq!(otpost(&["webhooks", "test"]), (Some(0), "The receiver answered 204.".to_owned()));
    assert_eq!(request("/v1/webhooks/test", Some(json!({}))).await, json!({"told": true, "status": 204}));
    let (_, metrics) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
    assert!(metrics.contains("otpost_webhooks_total{tenant=\"default\",result=\"given_up\"} 1"), "{metrics}");
    app.stop().await;
}

/// A refusal over AMQP is an event too. Webhooks also work without a broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_gets_refusals_and_needs_no_broker() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (receiver, config) = start_receiver(&deployment).await;
    let app = deployment.start(config.clone(), Roles::ALL).await;
    deployment.publish(&job("+9991234567", json!({}))).await;
    receiver.until(&["refused 1"]).await;
    app.stop().await;
    let mut embedded = config;
    embedded.amqp.url = None;
    embedded.ledger.url = Some(format!("sqlite:{}/ledger.db", deployment.files.0.display()).into());
    let how = otpost::app::Start { roles: Roles::ALL, migrate: true, wait: false };
    let app = otpost::app::start(embedded, deployment.keys.clone(), how).await.unwrap();
    let key = NewKey::make("default", &[Scope::Dispatch]);
    app.ledger.add_key(&key.row).await.unwrap();
    let api = app.api.unwrap().to_string();
    let body = job("+447705000003", json!({})).to_string().into_bytes();
    assert_eq!(deployment.post_bytes(&api, &key.text, body).await.0, 202);
    receiver.until(&["refused 1", "sent 3", "delivered 5"]).await;
    app.stop().await;
}

/// Fails if a stop abandons the deliveries that are under way: then the events stay in the outbox, and are delivered twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_deliveries_under_way() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (receiver, config) = start_receiver(&deployment).await;
    receiver.slow.store(true, Ordering::Relaxed);
    let app = deployment.start(config, Roles::ALL).await;
    let id = deployment.publish(&job("+9991234567", json!({}))).await;
    receiver.until(&["refused 1"]).await;
    app.stop().await;
    let d = deployment.ledger.find("default", id).await.unwrap().unwrap();
    let webhook = otpost::ledger::Receiver::Webhook("default".to_owned());
    assert_eq!(deployment.ledger.undelivered(&webhook, d.order.uid).await.unwrap(), []);
}

/// One tenant's receiver hangs. Its events wait, another tenant's events do not, and codes are sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_receiver_delays_no_other_tenant() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let ((dead, dead_at), (well, well_at)) = (Receiver::start().await, Receiver::start().await);
    dead.dead.store(true, Ordering::Relaxed);
    let config = with_webhook(deployment.config(&["c1"]), "shop", format!("http://{dead_at}/hook"));
    let config = with_webhook(config, "default", format!("http://{well_at}/hook"));
    let app = deployment.start(config, Roles::ALL).await;
    for n in 0..40 {
        deployment.publish(&job(&format!("+4477051{n:05}"), json!({"tenant": "shop"}))).await;
    }
    let started = Instant::now();
    let id = deployment.publish(&job("+447705000004", json!({}))).await;
    deployment.until_state(id, "delivered").await;
    // Behind the other tenant's jobs the carrier may have no free permit at once. The dispatch then has one
    // more version, and both events may be due together. They are then sent in parallel.
    let states = |received: Vec<String>| {
        let mut states: Vec<_> =
            received.iter().filter_map(|t| Some(t.split_once(' ')?.0.to_owned())).collect();
        states.sort();
        states
    };
    well.until_received(&["delivered", "sent"], states).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    app.stop().await;
}

/// Names that resolve to private addresses are refused, and so are private addresses in the URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_to_private_addresses_are_refused() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    for url in [
        "http://shop.example/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://169.254.169.254/x",
    ] {
        let mut config = with_webhook(deployment.config(&["c1"]), "default", url.to_owned());
        config.webhooks.allow_private_targets = false;
        let how = otpost::app::Start { roles: Roles::ALL, migrate: false, wait: false };
        let Err(e) = otpost::app::start(config, deployment.keys.clone(), how).await.map(drop) else {
            panic!("{url}")
        };
        assert!(e.to_string().contains("must be https:// and public"), "{e}");
    }
    let mut config = with_webhook(deployment.config(&["c1"]), "default", "https://localhost/hook".to_owned());
    config.webhooks.allow_private_targets = false;
    let app = deployment.start(config, Roles::ALL).await;
    let id = deployment.publish(&job("+9991234567", json!({}))).await;
    deployment.until_state(id, "refused").await;
    let look = support::world::connect(&deployment.ledger_url).await;
    let sql = "select problem from outbox where receiver like 'webhook:%'";
    let problem = async || look.query_one(sql, &[]).await.unwrap().get::<_, Option<String>>(0);
    let problem = wait::answer("a problem", problem).await;
    assert_eq!(problem, "its name resolves to no public address");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_has_only_new_events_of_its_tenant() {
    let deployment = Deployment::build(Duration::from_millis(100)).await;
    let mut config = deployment.config(&["c1"]);
    config.tenants.insert("shop".to_owned(), TenantConfig::default());
    // The API and the worker are different processes, so the broker feeds the stream.
    let front_end = deployment.start(config.clone(), FRONT_END).await;
    config.receipts.public_url = format!("http://{}", front_end.receipts.unwrap());
    let worker = deployment.start(config, WORKER).await;
    let url = format!("http://{}", front_end.api.unwrap());
    let mut follower = Process(
        Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(["events", "--follow", "--json", "--url", &url, "--key", &deployment.key])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    // The stream starts when the command reports it.
    let mut printed = String::new();
    BufReader::new(follower.0.stderr.take().unwrap()).read_line(&mut printed).unwrap();
    assert!(printed.starts_with("Printing new events"), "{printed}");
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let shop = NewKey::make("shop", &[Scope::Read]);
    deployment.ledger.add_key(&shop.row).await.unwrap();
    let stream = http.get(format!("{url}/v1/events")).bearer_auth(&shop.text).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let reader = std::thread::spawn(move || {
        lines.map(|l| serde_json::from_str::<Value>(&l.unwrap()).unwrap()).take(2).collect::<Vec<_>>()
    });
    let id = deployment.publish(&job("+447705000007", json!({}))).await;
    let other = deployment.publish(&job("+447705000008", json!({"tenant": "shop"}))).await;
    let events = tokio::task::spawn_blocking(move || reader.join().unwrap()).await.unwrap();
    let states: Vec<&str> = events.iter().map(|e| e["data"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["sent", "delivered"]);
    assert!(events.iter().all(|e| e["data"]["id"] == json!(id)));
    let mut chunks = stream.bytes_stream();
    let mut text = String::new();
    while !text.contains("delivered") {
        text += std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap();
    }
    assert!(
        text.contains(&other.to_string()) && !text.contains(&id.to_string()),
        "only its own tenant's events: {text}"
    );
    // An open stream does not delay the shutdown.
    let started = Instant::now();
    front_end.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    worker.stop().await;
}

/// A backlog of events after a long outage of the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_pending_events_is_published_without_pauses() {
    const PENDING: usize = 3000;
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let admit = async |n: usize| {
        let refusal = Some(Refusal { state: DispatchState::Expired, reason: Reason::Life });
        let late = Admission {
            refusal,
            ..ledger_driver::job(&[ledger_driver::SMS], &format!("n{n}"), otpost::domain::clock::now())
        };
        deployment.ledger.admit(late).await.unwrap()
    };
    futures_util::future::join_all((0..PENDING).map(admit)).await;
    let look = support::world::connect(&deployment.ledger_url).await;
    look.batch_execute("update outbox set due_at = clock_timestamp()").await.unwrap();
    let worker = deployment.start(deployment.config(&["c1"]), WORKER).await;
    wait::until("the first is published", async || !deployment.all_events().is_empty()).await;
    let first = Instant::now();
    wait::until("all are published", async || deployment.all_events().len() >= PENDING).await;
    let took = first.elapsed();
    assert!(took < Duration::from_secs(8), "200 a second would take 15 s: {took:?}");
    worker.stop().await;
}
