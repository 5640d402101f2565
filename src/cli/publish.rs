//! `otpost seal` and `otpost publish`: a producer for shell scripts.

use std::io::Read;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{ConfigFile, Failure};
use crate::broker::{Broker, Exchange, Message, Nodes, Settings};
use crate::config::Config;
use crate::domain::dispatch::DEFAULT_TEMPLATE;
use crate::intake::{Act, Job, Verb};
use crate::seal::{Keys, TenantKey};

/// Read a job from standard input, seal its secret fields, and print it.
#[derive(Debug, Args)]
pub(super) struct Seal {
    #[command(flatten)]
    key: SealingKey,
}

/// Publish a job from standard input to RabbitMQ: persistent, mandatory, and with a publisher confirm.
#[derive(Debug, Args)]
pub(super) struct Publish {
    /// URL of RabbitMQ; overrides amqp.url of the configuration
    #[arg(long, env = "OTPOST_AMQP_URL", hide_env_values = true)]
    amqp_url: Option<String>,
    /// Routing key: dispatch for a job; feedback, next or cancel for an act
    #[arg(long, default_value = "dispatch", value_parser = ["dispatch", "feedback", "next", "cancel"])]
    routing_key: String,
    /// Seal the job before publishing
    #[arg(long)]
    seal: bool,
    /// RabbitMQ user of the connection; required where amqp.users assigns users to tenants
    #[arg(long)]
    user_id: Option<String>,
    #[command(flatten)]
    key: SealingKey,
}

/// The key that seals a job.
#[derive(Args)]
struct SealingKey {
    #[command(flatten)]
    file: ConfigFile,
    /// A tenant's key, as `otpost keys tenant` prints it; without it, the key is derived from the configured root
    #[arg(long, env = "OTPOST_TENANT_KEY", hide_env_values = true)]
    tenant_key: Option<String>,
}

impl std::fmt::Debug for SealingKey {
    /// Leaves out the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Seal {
    pub(super) fn run(self) -> Result<(), Failure> {
        let job = self.key.seal(read_job()?)?;
        println!("{}", Value::Object(job));
        Ok(())
    }
}

impl Publish {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut job = read_job()?;
        if self.routing_key == "dispatch" {
            check(&job)?;
        }
        if self.seal {
            job = self.key.seal(job)?;
        }
        let body = Zeroizing::new(Value::Object(job.clone()).to_string());
        if let Ok(verb) = self.routing_key.parse::<Verb>() {
            Act::decode(verb, body.as_bytes(), None).map_err(|e| Failure::Usage(e.to_string()))?;
        }
        let nodes = match self.amqp_url {
            Some(url) => Nodes::parse(&url, None).map_err(|e| Failure::Usage(e.to_string()))?,
            None => nodes(&self.key.file.load()?)?,
        };
        let id = job.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = Message {
            exchange: Exchange::Otpost,
            routing_key: self.routing_key,
            body: body.as_bytes().to_vec(),
            message_id: id.clone(),
            kind: "job",
            content_type: "application/json",
            headers: vec![],
            user_id: self.user_id,
            expiration: None,
            mandatory: true,
        };
        let named = message.user_id.is_some();
        let broker = connect(nodes).await?;
        let published = broker.publish(message).await;
        broker.close().await;
        published.map_err(|e| {
            let hint = if named {
                "; is --user-id the user of the connection? RabbitMQ closes the connection if they differ"
            } else {
                ""
            };
            Failure::Failed(format!("{e}{hint}"))
        })?;
        println!("{id}");
        Ok(())
    }
}

/// Rejects a job that the worker would dead-letter. Sealed fields are not checked.
fn check(job: &Map<String, Value>) -> Result<(), Failure> {
    let body = Zeroizing::new(Value::Object(job.clone()).to_string());
    match Job::decode(body.as_bytes(), None, &Keys::ephemeral(), crate::domain::clock::now()) {
        Err(bad) if bad.field != "sealed" => Err(Failure::Usage(bad.to_string())),
        _ => Ok(()),
    }
}

/// Connects for publishing. Fails when RabbitMQ does not answer within 10 s.
pub(super) async fn connect(nodes: Nodes) -> Result<Broker, Failure> {
    let settings = Settings {
        nodes,
        declare: false,
        linger: Duration::ZERO,
        publish_timeout: Duration::from_secs(10),
        max_outstanding: 1,
    };
    let broker = Broker::start(settings, CancellationToken::new());
    let mut connections = broker.watch();
    let up = connections.wait_for(|up| up.publishing() || up.problem().is_some());
    let problem = match tokio::time::timeout(Duration::from_secs(10), up).await {
        Ok(Ok(up)) if up.publishing() => None,
        Ok(Ok(up)) => up.problem().map(str::to_owned),
        _ => Some("RabbitMQ does not answer".to_owned()),
    };
    problem.map_or(Ok(broker), |problem| Err(Failure::Failed(problem)))
}

/// The nodes of a configuration's broker.
pub(super) fn nodes(config: &Config) -> Result<Nodes, Failure> {
    let missing = || {
        Failure::Usage("no broker is named: set amqp.url in the configuration, or OTPOST_AMQP_URL".to_owned())
    };
    crate::app::broker_nodes(config).map_err(|e| Failure::Usage(e.to_string()))?.ok_or_else(missing)
}

impl SealingKey {
    /// Returns the job with its secret fields sealed.
    fn seal(&self, mut job: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let missing = |name: &str| Failure::Usage(format!("{name} is missing or invalid"));
        let tenant =
            job.get("tenant").map_or(Some("default"), Value::as_str).ok_or_else(|| missing("tenant"))?;
        let id: Uuid = text(&job, "id")?.parse().map_err(|_| missing("id"))?;
        let expires_at = text(&job, "expires_at")?.parse().map_err(|_| missing("expires_at"))?;
        let key = match &self.tenant_key {
            Some(key) => TenantKey::read(key).ok_or_else(|| {
                Failure::Usage("--tenant-key is an id, a dot, and 64 hexadecimal digits; print it with: otpost keys tenant".to_owned())
            })?,
            None => self.file.load()?.root()?.tenant(tenant),
        };
        let mut secret = Map::new();
        for name in ["to", "code", "params", "client_ip"] {
            if let Some(value) = job.get(name) {
                secret.insert(name.to_owned(), value.clone());
            }
        }
        let of_default = job.get("template").is_none_or(|t| t.is_null() || t == DEFAULT_TEMPLATE);
        if !secret.contains_key("to") || (of_default && !secret.contains_key("code")) {
            return Err(Failure::Usage(
                "to seal a job, it needs `to` and `code`; a job without `code` needs the template of a notice".to_owned(),
            ));
        }
        let plain = Zeroizing::new(Value::Object(secret).to_string());
        let sealed = key.seal_job(tenant, id, expires_at, plain.as_bytes());
        job.retain(|name, _| !["to", "code", "params", "client_ip"].contains(&name.as_str()));
        job.insert("sealed".to_owned(), json!(sealed));
        Ok(job)
    }
}

fn text<'j>(job: &'j Map<String, Value>, name: &str) -> Result<&'j str, Failure> {
    job.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::Usage(format!("{name} is missing or invalid")))
}

fn read_job() -> Result<Map<String, Value>, Failure> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(64 * 1024)
        .read_to_string(&mut text)
        .map_err(|_| Failure::Usage("standard input is not UTF-8 text".to_owned()))?;
    crate::domain::json::parse(text.as_bytes()).map_err(|e| {
        Failure::Usage(format!(
            "standard input is not a JSON object (line {}, column {})",
            e.line(),
            e.column()
        ))
    })
}
