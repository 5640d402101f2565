//! Events to whoever listens: Server-Sent Events, the command that follows them, and webhooks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
use support::house::process::Process;
use support::house::{FRONT_END, House, WORKER, job};
use support::{play, wait};
use tokio::sync::watch;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

/// What a receiver was sent.
struct Post {
    headers: HeaderMap,
    body: String,
}

/// A receiver of webhooks, which answers as it is configured, and 204 after that.
#[derive(Clone, Default)]
struct Receiver {
    posts: watch::Sender<Vec<Post>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Never answers.
    dead: Arc<AtomicBool>,
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

    /// The events that came, as `<state> <sequence>`, with repeats.
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

    /// Waits until what was received, as it is read, is this.
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

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    if receiver.dead.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    receiver.posts.send_modify(|posts| posts.push(Post { headers, body }));
    let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(204);
    StatusCode::from_u16(status).unwrap()
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
async fn a_dead_receiver_takes_no_connection_to_the_ledger_from_anybody() {
    let house = House::build(Duration::from_millis(20)).await;
    let config = with_webhook(house.config(&["c1"]), "default", "http://127.0.0.1:1/hook".to_owned());
    let app = house.start(config, Roles::ALL).await;
    for n in 0..40 {
        let (status, answer) = house.post(&app, &job(&format!("+4477050002{n:02}"), json!({}))).await;
        assert_eq!(status, 202, "job {n}: {answer}");
    }
    let url = format!("http://{}/v1/dispatches/{}", app.api.unwrap(), uuid::Uuid::new_v4());
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..150 {
        tick.tick().await;
        let asked = Instant::now();
        assert_eq!(house.get(&url).await.0, 404);
        assert!(asked.elapsed() < Duration::from_secs(1), "an answer took {:?}", asked.elapsed());
    }
    app.stop().await;
}

/// The default tenant's events go to a receiver.
async fn heard_by_a_receiver(house: &House) -> (Receiver, Config) {
    let (receiver, address) = Receiver::start().await;
    (receiver, with_webhook(house.config(&["c1"]), "default", format!("http://{address}/hook")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_hears_of_each_event_signed_with_both_secrets() {
    let house = House::build(Duration::from_millis(300)).await;
    let (receiver, config) = heard_by_a_receiver(&house).await;
    let app = house.start(config, Roles::ALL).await;
    let id = house.publish(&job("+447705000001", json!({"tags": {"flow": "login"}}))).await;
    receiver.until(&["sent 2", "delivered 4"]).await;
    house.until_events(id, &["sent 2", "delivered 4"]).await;
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
    // The same event as over the broker, word for word.
    let over_amqp = house.all_events().into_iter().find(|e| e["id"] == event["id"]).unwrap();
    assert_eq!(over_amqp, event);
    // Read by the official library, with either secret, and by no other.
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
    let look = support::world::connect(&house.ledger_url).await;
    let left: i64 = look.query_one("select count(*) from webhook", &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "what was delivered is gone");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_comes_moves_and_goes_while_the_service_runs() {
    let house = House::build(Duration::from_millis(20)).await;
    let without = || {
        let mut config = house.config(&["c1"]);
        config.keys.root = Some(house.root.to_hex().as_str().into());
        config.keys.id = "t1".to_owned();
        config
    };
    let with = |at: SocketAddr| with_webhook(without(), "default", format!("http://{at}/hook"));
    let (here, at_here) = Receiver::start().await;
    let (there, moved_to) = Receiver::start().await;
    let app = house.start(without(), Roles::ALL).await;
    let deliver = async |to: &str| {
        let id = house.publish(&job(to, json!({}))).await;
        house.until_state(id, "delivered").await;
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
    assert_eq!(there.received().len(), 2, "nothing more after it moved");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_refuses_is_tried_again_and_at_last_given_up_and_replayed() {
    let house = House::build(Duration::from_millis(20)).await;
    let (receiver, config) = heard_by_a_receiver(&house).await;
    let app = house.start(config, Roles::ALL).await;
    let admin = NewKey::make("default", &[Scope::Admin]);
    house.ledger.add_key(&admin.row).await.unwrap();
    receiver.answers(&[500, 302, 503]);
    let to = "+447705000002";
    house.script(to, json!(["unsubscribed"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    house.until_state(id, "failed").await;
    receiver.until(&["failed 2"]).await;
    let started = Instant::now();
    receiver.until(&["failed 2", "failed 2"]).await;
    assert!((4000..8000).contains(&started.elapsed().as_millis()), "5 s: {:?}", started.elapsed());
    // The later pauses are hours: the clock is set forward in the row.
    let look = support::world::connect(&house.ledger_url).await;
    let mut pauses = vec![];
    for n in 2..=5 {
        let waits =
            "select extract(epoch from due_at - clock_timestamp())::float8 from webhook where tries = $1";
        let pause =
            async || look.query_opt(waits, &[&(n as i16)]).await.unwrap().map(|row| row.get::<_, f64>(0));
        let wait = wait::answer("a try that failed", pause).await;
        pauses.push((wait / 10.0).round() * 10.0);
        receiver.answers(&[500]);
        look.execute("update webhook set due_at = clock_timestamp()", &[]).await.unwrap();
    }
    assert_eq!(pauses, [300.0, 1800.0, 7200.0, 18000.0]);
    let ask = |path: &str, body: Option<Value>| {
        let (url, key) = (format!("http://{}{path}", app.api.unwrap()), admin.text.clone());
        async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let asking = match body {
                Some(body) => http.post(url).body(body.to_string()),
                None => http.get(url),
            };
            asking.bearer_auth(key).send().await.unwrap().json::<Value>().await.unwrap()
        }
    };
    let given_up = async || {
        let list = ask("/v1/webhooks", None).await;
        list["events"][0]["due_at"].is_null().then_some(list)
    };
    let list = wait::answer("it is given up", given_up).await;
    assert_eq!(
        (list["events"][0]["tries"].as_u64(), list["events"][0]["problem"].as_str()),
        (Some(6), Some("it answered 500"))
    );
    assert_eq!(receiver.received().len(), 6);
    let event = list["events"][0]["event"].clone();
    let replayed = ask("/v1/webhooks/replay", Some(json!({"event": event}))).await;
    assert_eq!(replayed["replayed"], 1, "{replayed}");
    receiver.until(&["failed 2"; 7]).await;
    assert_eq!(ask("/v1/webhooks/replay", Some(json!({}))).await["replayed"], 0);
    // The same by the commands.
    let url = format!("http://{}", app.api.unwrap());
    let otpost = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(args)
            .args(["--url", &url, "--key", &admin.text])
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap().trim().to_owned())
    };
    let (code, said) = otpost(&["webhooks", "list"]);
    assert!(code == Some(0) && said.contains("/hook") && said.contains("it answered 500"), "{said}");
    assert_eq!(otpost(&["webhooks", "replay"]), (Some(0), "0 events are delivered again.".to_owned()));
    assert_eq!(otpost(&["webhooks", "test"]), (Some(0), "The receiver answered 204.".to_owned()));
    assert_eq!(ask("/v1/webhooks/test", Some(json!({}))).await, json!({"told": true, "status": 204}));
    let (_, metrics) = house.get(&format!("http://{}/metrics", app.ops)).await;
    assert!(metrics.contains("otpost_webhooks_total{tenant=\"default\",result=\"given_up\"} 1"), "{metrics}");
    app.stop().await;
}

/// A refusal at the door over AMQP is an event as well; and without a broker the webhook hears all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_hears_of_refusals_and_without_a_broker() {
    let house = House::build(Duration::from_millis(20)).await;
    let (receiver, config) = heard_by_a_receiver(&house).await;
    let app = house.start(config.clone(), Roles::ALL).await;
    house.publish(&job("+9991234567", json!({}))).await;
    receiver.until(&["refused 1"]).await;
    app.stop().await;
    let mut embedded = config;
    embedded.amqp.url = None;
    embedded.ledger.url = Some(format!("sqlite:{}/ledger.db", house.files.0.display()).into());
    let how = otpost::app::Start { roles: Roles::ALL, migrate: true, wait: false };
    let app = otpost::app::start(embedded, house.keys.clone(), how).await.unwrap();
    let key = NewKey::make("default", &[Scope::Dispatch]);
    app.ledger.add_key(&key.row).await.unwrap();
    let api = app.api.unwrap().to_string();
    let body = job("+447705000003", json!({})).to_string().into_bytes();
    assert_eq!(house.post_bytes(&api, &key.text, body).await.0, 202);
    receiver.until(&["refused 1", "sent 3", "delivered 5"]).await;
    app.stop().await;
}

/// One tenant's receiver is slow: its own events wait, another tenant's do not, and codes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_holds_up_nobody_else() {
    let house = House::build(Duration::from_millis(20)).await;
    let ((dead, dead_at), (well, well_at)) = (Receiver::start().await, Receiver::start().await);
    dead.dead.store(true, Ordering::Relaxed);
    let config = with_webhook(house.config(&["c1"]), "shop", format!("http://{dead_at}/hook"));
    let config = with_webhook(config, "default", format!("http://{well_at}/hook"));
    let app = house.start(config, Roles::ALL).await;
    for n in 0..40 {
        house.publish(&job(&format!("+4477051{n:05}"), json!({"tenant": "shop"}))).await;
    }
    let started = Instant::now();
    let id = house.publish(&job("+447705000004", json!({}))).await;
    house.until_state(id, "delivered").await;
    // Behind the other tenant's jobs the carrier may have no room at once, which makes a version more, and both events may
    // be due together: then they travel side by side.
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

/// A name that resolves inside is not connected to; nor is a private address in the URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_point_nowhere_inside() {
    let house = House::build(Duration::from_millis(20)).await;
    for url in [
        "http://shop.example/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://169.254.169.254/x",
    ] {
        let mut config = with_webhook(house.config(&["c1"]), "default", url.to_owned());
        config.webhooks.allow_private_targets = false;
        let how = otpost::app::Start { roles: Roles::ALL, migrate: false, wait: false };
        let Err(e) = otpost::app::start(config, house.keys.clone(), how).await.map(drop) else {
            panic!("{url}")
        };
        assert!(e.to_string().contains("must be https:// and public"), "{e}");
    }
    let mut config = with_webhook(house.config(&["c1"]), "default", "https://localhost/hook".to_owned());
    config.webhooks.allow_private_targets = false;
    let app = house.start(config, Roles::ALL).await;
    let id = house.publish(&job("+9991234567", json!({}))).await;
    house.until_state(id, "refused").await;
    let look = support::world::connect(&house.ledger_url).await;
    let sql = "select problem from webhook";
    let problem = async || look.query_one(sql, &[]).await.unwrap().get::<_, Option<String>>(0);
    let problem = wait::answer("a problem", problem).await;
    assert_eq!(problem, "its name resolves to no public address");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_streamed_to_their_own_tenant_from_now_on() {
    let house = House::build(Duration::from_millis(100)).await;
    let mut config = house.config(&["c1"]);
    config.tenants.insert("shop".to_owned(), TenantConfig::default());
    // Doors and worker are different processes: the stream is fed over the broker.
    let front_end = house.start(config.clone(), FRONT_END).await;
    config.receipts.public_url = format!("http://{}", front_end.receipts.unwrap());
    let worker = house.start(config, WORKER).await;
    let url = format!("http://{}", front_end.api.unwrap());
    let mut follower = Process(
        Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(["events", "--follow", "--json", "--url", &url, "--key", &house.key])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    // From now on is from when it says so.
    let mut said = String::new();
    BufReader::new(follower.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("Listening"), "{said}");
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let shop = NewKey::make("shop", &[Scope::Read]);
    house.ledger.add_key(&shop.row).await.unwrap();
    let stream = http.get(format!("{url}/v1/events")).bearer_auth(&shop.text).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let heard = std::thread::spawn(move || {
        lines.map(|l| serde_json::from_str::<Value>(&l.unwrap()).unwrap()).take(2).collect::<Vec<_>>()
    });
    let id = house.publish(&job("+447705000007", json!({}))).await;
    let other = house.publish(&job("+447705000008", json!({"tenant": "shop"}))).await;
    let events = tokio::task::spawn_blocking(move || heard.join().unwrap()).await.unwrap();
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
        "its own tenant's alone: {text}"
    );
    // An open stream does not hold up the end.
    let started = Instant::now();
    front_end.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    worker.stop().await;
}

/// What a long outage of the broker leaves behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_pending_events_is_published_at_once_and_not_by_the_second() {
    const PENDING: usize = 3000;
    let house = House::build(Duration::from_millis(20)).await;
    let admit = async |n: usize| {
        let refusal = Some(Refusal { state: DispatchState::Expired, reason: Reason::Life });
        let late =
            Admission { refusal, ..play::job(&[play::SMS], &format!("n{n}"), otpost::domain::clock::now()) };
        house.ledger.admit(late).await.unwrap()
    };
    futures_util::future::join_all((0..PENDING).map(admit)).await;
    let look = support::world::connect(&house.ledger_url).await;
    look.batch_execute("update dispatch set tell_at = otpost_now()").await.unwrap();
    let worker = house.start(house.config(&["c1"]), WORKER).await;
    wait::until("the first is published", async || !house.all_events().is_empty()).await;
    let first = Instant::now();
    wait::until("all are published", async || house.all_events().len() >= PENDING).await;
    let took = first.elapsed();
    assert!(took < Duration::from_secs(8), "200 a second would take 15 s: {took:?}");
    worker.stop().await;
}
