//! A whole otpost of a test's own: a vhost in the real RabbitMQ, a schema in the real PostgreSQL, a pretended carrier,
//! and processes or parts of otpost in between.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use mock_gateway::Gateway;
use otpost::api::{NewKey, Scope};
use otpost::app::{self, App, Roles, Start};
use otpost::carrier::twilio;
use otpost::clock::Clock;
use otpost::config::{CarrierConfig, Config};
use otpost::dispatch::Dispatch;
use otpost::ledger::Ledger;
use otpost::seal::{Keys, Root};
use serde_json::{Value, json};
use uuid::Uuid;

use super::world::{TempDir, fresh_schema, ledger_at};

pub const WORKER: Roles = Roles { api: false, worker: true, receipts: false };
pub const DOORS: Roles = Roles { api: true, worker: false, receipts: true };
/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct House {
    pub ledger: Ledger,
    pub ledger_url: String,
    pub amqp_url: String,
    pub gateway: Gateway,
    pub keys: Keys,
    pub root: Root,
    pub key: String,
    pub files: TempDir,
    vhost: String,
    events: Arc<Mutex<Vec<Value>>>,
    channel: Channel,
    _connections: Vec<Connection>,
    http: reqwest::Client,
}

/// Runs rabbitmqctl against the tests' node.
pub fn rabbitmqctl(args: &[&str]) -> String {
    let program = std::env::var("OTPOST_TEST_RABBITMQCTL")
        .expect("OTPOST_TEST_RABBITMQCTL is not set: run scripts/test");
    let out = Command::new(program).args(args).output().expect("rabbitmqctl runs");
    assert!(out.status.success(), "rabbitmqctl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

async fn amqp(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("RabbitMQ answers")
}

impl House {
    /// Everything but otpost itself.
    pub async fn build(pace: Duration) -> Self {
        Self::with_gateway(mock_gateway::Config { pace, ..mock_gateway::Config::default() }).await
    }

    pub async fn with_gateway(config: mock_gateway::Config) -> Self {
        let ledger_url = fresh_schema().await;
        let ledger = ledger_at(&ledger_url, Clock::System);
        ledger.migrate().await.unwrap();
        let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read, Scope::Act]);
        ledger.add_key(&key.row).await.unwrap();

        let vhost = format!("t-{}", Uuid::now_v7().simple());
        rabbitmqctl(&["add_vhost", &vhost]);
        rabbitmqctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]);
        let base =
            std::env::var("OTPOST_TEST_AMQP_URL").expect("OTPOST_TEST_AMQP_URL is not set: run scripts/test");
        let amqp_url = format!("{}/{vhost}", base.rsplit_once('/').unwrap().0);
        otpost::broker::Broker::declare(&amqp_url, true).await.unwrap();

        let connection = amqp(&amqp_url).await;
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let events = Arc::new(Mutex::new(vec![]));
        listen(&connection, Arc::clone(&events)).await;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Gateway::start(listener, config).unwrap();
        let root = Root::random("t1");
        let keys = Keys::new(root.clone(), vec![], &root);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (files, connections) = (TempDir::new(), vec![connection]);
        Self {
            ledger,
            ledger_url,
            amqp_url,
            gateway,
            keys,
            root,
            key: key.text,
            files,
            vhost,
            events,
            channel,
            _connections: connections,
            http,
        }
    }

    /// A configuration with these carriers, all of them the pretended one.
    pub fn config(&self, carriers: &[&str]) -> Config {
        let mut config = Config::default();
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        config.ledger.url = Some(self.ledger_url.clone().into());
        config.amqp.url = Some(self.amqp_url.clone().into());
        (config.api.listen, config.receipts.listen, config.ops.listen) = (local, local, local);
        "http://127.0.0.1:0".clone_into(&mut config.receipts.public_url);
        config.worker.grace_s = 5;
        let fake = mock_gateway::Config::default();
        for name in carriers {
            let twilio = twilio::Config {
                account_sid: fake.account_sid.clone(),
                auth_token: Some(fake.auth_token.clone().into()),
                auth_token_file: None,
                from: Some("+15005550006".to_owned()),
                messaging_service_sid: None,
                voice_from: None,
                machine_detection: true,
                base_url: format!("http://{}", self.gateway.addr()),
            };
            let carrier = CarrierConfig { twilio: Some(twilio), time_out_s: 3, ..CarrierConfig::default() };
            config.carriers.insert((*name).to_owned(), carrier);
        }
        config
    }

    /// A part of otpost in this process.
    pub async fn start(&self, config: Config, roles: Roles) -> App {
        app::start(config, self.keys.clone(), Start { roles, migrate: false, wait: true }).await.unwrap()
    }

    /// A worker in a process of its own; its callbacks go to `receipts`.
    pub fn worker_process(&self, receipts: SocketAddr, name: &str) -> Process {
        self.process("worker", &format!("http://{receipts}"), "info", name)
    }

    /// otpost in a process of its own, with its log in `<name>.log`.
    pub fn process(&self, roles: &str, public_url: &str, level: &str, name: &str) -> Process {
        let fake = mock_gateway::Config::default();
        let text = format!(
            "[ledger]\nurl = \"{}\"\n[amqp]\nurl = \"{}\"\n[keys]\nid = \"t1\"\nroot = \"{}\"\n\
             [api]\nlisten = \"127.0.0.1:0\"\n[receipts]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{public_url}\"\n\
             [ops]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\nlevel = \"{level}\"\n\
             [carriers.c1]\ntime_out_s = 3\n[carriers.c1.twilio]\naccount_sid = \"{}\"\nauth_token = \"{}\"\n\
             from = \"+15005550006\"\nbase_url = \"http://{}\"\n",
            self.ledger_url,
            self.amqp_url,
            self.root.to_hex().as_str(),
            fake.account_sid,
            fake.auth_token,
            self.gateway.addr(),
        );
        let file = self.files.0.join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        let log = std::fs::File::create(self.files.0.join(format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(["serve", "--roles", roles, "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }

    /// What a process has logged so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.files.0.join(format!("{name}.log"))).unwrap()
    }

    /// Waits until a process serves; answers its log line with the addresses.
    pub async fn serving(&self, name: &str) -> Value {
        for _ in 0..400 {
            let log = self.log(name);
            if let Some(line) = log.lines().find(|l| l.contains("otpost serves")) {
                return serde_json::from_str(line).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not serve: {}", self.log(name));
    }

    /// Publishes a job, confirmed.
    pub async fn publish(&self, job: &Value) -> Uuid {
        self.publish_bytes("dispatch", job.to_string().as_bytes()).await;
        job["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn publish_bytes(&self, routing_key: &str, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let confirm = self
            .channel
            .basic_publish("otpost".into(), routing_key.into(), options, body, properties)
            .await
            .unwrap()
            .await
            .unwrap();
        assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "{confirm:?}");
    }

    /// Posts a job at the door of an app.
    pub async fn post(&self, app: &App, job: &Value) -> (u16, Value) {
        self.post_bytes(&format!("{}", app.api.unwrap()), &self.key, job.to_string().into_bytes()).await
    }

    /// Posts anything at a door.
    pub async fn post_bytes(&self, api: &str, key: &str, body: Vec<u8>) -> (u16, Value) {
        let url = format!("http://{api}/v1/dispatches");
        let sent = self.http.post(url).bearer_auth(key).body(body).send().await.unwrap();
        let status = sent.status().as_u16();
        (status, sent.json().await.unwrap_or_default())
    }

    /// Posts a form somewhere, with headers.
    pub async fn post_form(&self, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
        let mut asking =
            self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        for (name, value) in headers {
            asking = asking.header(*name, *value);
        }
        let sent = asking.send().await.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    }

    pub async fn get(&self, url: &str) -> (u16, String) {
        let got = self.http.get(url).bearer_auth(&self.key).send().await.unwrap();
        (got.status().as_u16(), got.text().await.unwrap())
    }

    /// Queues what the pretended carrier does with a number.
    pub async fn script(&self, to: &str, outcomes: Value) {
        let url = format!("http://{}/api/script", self.gateway.addr());
        let body = json!({"to": to, "channel": null, "outcomes": outcomes}).to_string();
        let sent =
            self.http.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
    }

    /// What the pretended carrier was asked, or accepted, for a number (or for all).
    pub async fn record(&self, list: &str, to: Option<&str>) -> Vec<Value> {
        let (mut after, mut all) = (0, vec![]);
        loop {
            let to = to.map(|t| format!("&to={}", t.trim_start_matches('+'))).unwrap_or_default();
            let url = format!("http://{}/api/{list}?after={after}&limit=10000{to}", self.gateway.addr());
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

    /// Makes the carrier report now.
    pub async fn receipt(&self, sid: &str, status: &str) {
        let url = format!("http://{}/api/receipts/{sid}", self.gateway.addr());
        let body = json!({"status": status}).to_string();
        let sent =
            self.http.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        assert!(sent.status().is_success());
    }

    /// Waits until a dispatch is as it should be.
    pub async fn until(&self, id: Uuid, what: &str, holds: impl Fn(&Dispatch) -> bool) -> Dispatch {
        let started = std::time::Instant::now();
        let mut last = None;
        while started.elapsed() < PATIENCE {
            if let Ok(Some(d)) = self.ledger.find("default", id).await {
                if holds(&d) {
                    return d;
                }
                last = Some(d);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {what}: {last:#?}");
    }

    pub async fn until_state(&self, id: Uuid, state: &str) -> Dispatch {
        self.until(id, state, |d| d.state.as_str() == state).await
    }

    /// The events of a dispatch so far: `sent 2`, in the order of their arrival, repeats left out.
    pub fn events(&self, id: Uuid) -> Vec<String> {
        let mut seen: Vec<String> = vec![];
        for e in self.events.lock().unwrap().iter().filter(|e| e["data"]["id"] == json!(id)) {
            let line = format!("{} {}", e["data"]["state"].as_str().unwrap(), e["sequence"]);
            if !seen.contains(&line) {
                seen.push(line);
            }
        }
        seen
    }

    /// All events, as they came.
    pub fn all_events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    pub async fn until_events(&self, id: Uuid, expected: &[&str]) {
        let started = std::time::Instant::now();
        while self.events(id) != expected {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "events {:?}, not {expected:?}",
                self.events(id)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes one dead letter: field, reason, sealed body.
    pub async fn dead_letter(&self) -> (String, String, Vec<u8>) {
        for _ in 0..200 {
            if let Some(got) =
                self.channel.basic_get("otpost.dead".into(), BasicGetOptions { no_ack: true }).await.unwrap()
            {
                let headers = got.properties.headers().clone().unwrap_or_default();
                let text = |name: &str| {
                    let value = headers.inner().get(name).and_then(|v| v.as_long_string()).unwrap();
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                return (text("x-otpost-field"), text("x-otpost-reason"), got.data.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no dead letter came");
    }

    /// Messages that wait in a queue.
    pub async fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }
}

async fn listen(connection: &Connection, events: Arc<Mutex<Vec<Value>>>) {
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let name = queue.name().clone();
    channel
        .queue_bind(
            name.clone(),
            "otpost.events".into(),
            "dispatch.#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await.unwrap();
    tokio::spawn(async move {
        let _channel = channel;
        while let Some(Ok(delivery)) = consumer.next().await {
            events.lock().unwrap().push(serde_json::from_slice(&delivery.data).unwrap());
        }
    });
}

impl Drop for House {
    fn drop(&mut self) {
        if let Ok(program) = std::env::var("OTPOST_TEST_RABBITMQCTL") {
            let _ = Command::new(program).args(["delete_vhost", &self.vhost]).output();
        }
    }
}

/// A process that ends with the test.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A job for a number, with the rest as given.
#[expect(clippy::needless_pass_by_value, reason = "callers make it on the spot")]
pub fn job(to: &str, more: Value) -> Value {
    let mut job = json!({
        "id": Uuid::new_v4(), "to": to, "code": "481516",
        "expires_at": otpost::clock::after(otpost::clock::now(), Duration::from_secs(300)),
    });
    for (name, value) in more.as_object().unwrap() {
        job[name] = value.clone();
    }
    job
}

/// A time from now.
pub fn in_seconds(seconds: u64) -> Value {
    json!(otpost::clock::after(otpost::clock::now(), Duration::from_secs(seconds)))
}
