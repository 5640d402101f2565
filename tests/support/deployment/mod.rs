//! A complete otpost for one test: a vhost in the real RabbitMQ, a schema in the real PostgreSQL, a mock
//! carrier, and otpost as processes or as parts of the test's process.

mod config;
pub mod process;
mod queries;
pub mod requests;
pub mod stopped_server;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use mock_gateway::Gateway;
use otpost::app::{self, App, Roles, Start};
use otpost::config::Config;
use otpost::domain::clock::Clock;
use otpost::http::{NewKey, Scope};
use otpost::ledger::Ledger;
use otpost::seal::{Keys, Root, TenantKey};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::node::rabbitmqctl;
use super::relay::Relay;
use super::wait;
use super::world::{TempDir, fresh_schema, ledger_at};

pub const WORKER: Roles = Roles { api: false, worker: true, receipts: false };
pub const FRONT_END: Roles = Roles { api: true, worker: false, receipts: true };
pub struct Deployment {
    pub ledger: Ledger,
    pub ledger_url: String,
    pub amqp_url: String,
    pub gateway: Gateway,
    pub keys: Keys,
    pub root: Root,
    pub key: String,
    pub files: TempDir,
    /// The rate limit of the carriers.
    pub rate_per_s: u32,
    /// Whether calls speak a code without asking for a key. Then they need no receipts listener.
    pub code_at_once: bool,
    /// The grace period of a process.
    pub grace_s: u64,
    /// The virtual host on the shared `RabbitMQ`. Empty if the deployment has a broker of its own.
    pub vhost: String,
    events: watch::Sender<Vec<Value>>,
    channel: Channel,
    _connections: Vec<Connection>,
    http: reqwest::Client,
}

/// Counts the connections, to begin each with another node.
static NEXT_NODE: AtomicUsize = AtomicUsize::new(0);

/// Tries once to connect to one of the nodes. `urls` has one URL for each, separated by commas. Returns `None` without an answer. lapin
/// has no time-out, and misses about one refusal in a hundred thousand.
pub async fn amqp(urls: &str) -> Option<Connection> {
    let mut nodes: Vec<&str> = urls.split(',').collect();
    let first = NEXT_NODE.fetch_add(1, Ordering::Relaxed) % nodes.len();
    nodes.rotate_left(first);
    for url in nodes {
        let connecting = Connection::connect(url, ConnectionProperties::default());
        if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(5), connecting).await {
            return Some(connection);
        }
    }
    None
}

impl Deployment {
    /// Sets up everything except otpost.
    pub async fn build(state_interval: Duration) -> Self {
        Self::with_gateway(mock_gateway::Config { pace: state_interval, ..mock_gateway::Config::default() })
            .await
    }

    pub async fn with_gateway(config: mock_gateway::Config) -> Self {
        Self::with_ledger_at(fresh_schema().await, config).await
    }

    /// The same on another database.
    pub async fn with_ledger_at(ledger_url: String, config: mock_gateway::Config) -> Self {
        ledger_at(&ledger_url, Clock::System).migrate().await.unwrap();
        Self::with_migrated_ledger(ledger_url, config).await
    }

    /// The same on a ledger that has a schema.
    pub async fn with_migrated_ledger(ledger_url: String, config: mock_gateway::Config) -> Self {
        let vhost = format!("t-{}", Uuid::now_v7().simple());
        rabbitmqctl(&["add_vhost", &vhost]);
        rabbitmqctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]);
        let base =
            std::env::var("OTPOST_TEST_AMQP_URL").expect("OTPOST_TEST_AMQP_URL is not set: run scripts/test");
        let amqp_url = format!("{}/{vhost}", base.rsplit_once('/').unwrap().0);
        Self::on(ledger_url, amqp_url, vhost, config).await
    }

    /// The same with a broker of its own.
    pub async fn with_broker_at(amqp_url: String, config: mock_gateway::Config) -> Self {
        let ledger_url = fresh_schema().await;
        ledger_at(&ledger_url, Clock::System).migrate().await.unwrap();
        Self::on(ledger_url, amqp_url, String::new(), config).await
    }

    async fn on(ledger_url: String, amqp_url: String, vhost: String, config: mock_gateway::Config) -> Self {
        let ledger = ledger_at(&ledger_url, Clock::System);
        let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read, Scope::Act]);
        ledger.add_key(&key.row).await.unwrap();
        otpost::broker::Broker::declare(&otpost::broker::Nodes::parse(&amqp_url, None).unwrap(), true)
            .await
            .unwrap();

        let connection = amqp(&amqp_url).await.expect("RabbitMQ answers");
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let events = watch::Sender::default();
        listen(&connection, events.clone()).await;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Gateway::start(listener, config).unwrap();
        let root = Root::random("t1");
        let keys = Keys::new(root.clone(), vec![], &root);
        let http = reqwest::Client::builder().no_proxy().timeout(wait::TIMEOUT).build().unwrap();
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
            rate_per_s: 100,
            code_at_once: false,
            grace_s: 5,
            vhost,
            events,
            channel,
            _connections: connections,
            http,
        }
    }

    /// Starts some roles of otpost in this process.
    pub async fn start(&self, config: Config, roles: Roles) -> App {
        app::start(config, self.keys.clone(), Start { roles, migrate: false, wait: true }).await.unwrap()
    }

    /// Returns PostgreSQL's address.
    pub async fn database(&self) -> SocketAddr {
        let config: tokio_postgres::Config = self.ledger_url.parse().unwrap();
        let tokio_postgres::config::Host::Tcp(host) = &config.get_hosts()[0] else { panic!("on TCP") };
        let place = (host.as_str(), config.get_ports()[0]);
        tokio::net::lookup_host(place).await.unwrap().next().unwrap()
    }

    /// Returns the ledger's URL with the address of a relay.
    pub fn ledger_by(&self, relay: &Relay) -> String {
        let (user, place) = self.ledger_url.split_once('@').expect("the URL names a user");
        let (_, rest) = place.split_once('/').expect("the URL names a database");
        format!("{user}@{}/{rest}", relay.addr())
    }

    /// Returns RabbitMQ's address.
    pub fn broker(&self) -> SocketAddr {
        let (_, place) = self.amqp_url.split_once('@').expect("the URL names a user");
        place.split('/').next().unwrap().parse().expect("the tests' RabbitMQ is named by address and port")
    }
}

async fn listen(connection: &Connection, events: watch::Sender<Vec<Value>>) {
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
            let event = serde_json::from_slice(&delivery.data).unwrap();
            events.send_modify(|all| all.push(event));
        }
    });
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if let Ok(program) = std::env::var("OTPOST_TEST_RABBITMQCTL")
            && !self.vhost.is_empty()
        {
            let _ = Command::new(program).args(["delete_vhost", &self.vhost]).output();
        }
    }
}
/// A job for a number, with further fields.
#[expect(clippy::needless_pass_by_value, reason = "callers make it on the spot")]
pub fn job(to: &str, more: Value) -> Value {
    let mut job = json!({
        "id": Uuid::new_v4(), "to": to, "code": "481516",
        "expires_at": otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(300)),
    });
    for (name, value) in more.as_object().unwrap() {
        job[name] = value.clone();
    }
    job
}

/// Returns the job with its number and code sealed.
pub fn seal(key: &TenantKey, job: &Value) -> Value {
    let id = job["id"].as_str().unwrap().parse().unwrap();
    let expires_at = job["expires_at"].as_str().unwrap().parse().unwrap();
    let plain = json!({"code": job["code"], "to": job["to"]}).to_string();
    let mut sealed = job.clone();
    let members = sealed.as_object_mut().unwrap();
    members.remove("code");
    members.remove("to");
    members.insert("sealed".to_owned(), json!(key.seal_job("default", id, expires_at, plain.as_bytes())));
    sealed
}

/// Returns a time in the future.
pub fn in_seconds(seconds: u64) -> Value {
    json!(otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(seconds)))
}
