//! `otpost webhooks`: manages a tenant's webhook.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::client::{Server, problem};

/// Manage a tenant's webhook. The API key needs the scope admin.
#[derive(Debug, Subcommand)]
pub(super) enum Webhooks {
    /// Show the webhook's URL, and its waiting and failed events
    List(AdminRequest),
    /// Send a test event now, and print the receiver's answer
    Test(AdminRequest),
    /// Retry failed deliveries: all, or one by its id
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(super) struct AdminRequest {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Id of an event, <uid>/<version>, as shown by the list
    event: Option<String>,
    #[command(flatten)]
    request: AdminRequest,
}

impl Webhooks {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(request) => {
                let json = request.json;
                let body = request.get("/v1/webhooks").await?;
                if json {
                    println!("{body:#}");
                } else {
                    list(&body);
                }
                Ok(())
            }
            Self::Test(request) => {
                let json = request.json;
                let body = request.post("/v1/webhooks/test", &json!({})).await?;
                if json {
                    println!("{body}");
                } else if let Some(why) = body["problem"].as_str() {
                    return Err(Failure::Failed(format!("the receiver was not reached: {why}")));
                } else {
                    println!("The receiver answered {}.", body["status"]);
                }
                if body["told"] == true { Ok(()) } else { Err(Failure::AlreadyReported) }
            }
            Self::Replay(replay) => {
                let (json, which) =
                    (replay.request.json, replay.event.map_or(json!({}), |e| json!({"event": e})));
                let body = replay.request.post("/v1/webhooks/replay", &which).await?;
                if json {
                    println!("{body}");
                } else {
                    println!("{} deliveries are retried.", body["replayed"]);
                }
                Ok(())
            }
        }
    }
}

impl AdminRequest {
    async fn get(self, path: &str) -> Result<Value, Failure> {
        let (status, body) = self.server.connect()?.get(path).await?;
        if status == 200 { Ok(body) } else { Err(problem(status, &body)) }
    }

    async fn post(self, path: &str, body: &Value) -> Result<Value, Failure> {
        let (status, body) = self.server.connect()?.post(path, body).await?;
        if status == 200 { Ok(body) } else { Err(problem(status, &body)) }
    }
}

fn list(body: &Value) {
    let Some(url) = body["url"].as_str() else {
        println!("This tenant has no webhook: add [tenants.NAME.webhook] to the configuration.");
        return;
    };
    println!("{url}");
    let events = body["events"].as_array().map_or(&[][..], Vec::as_slice);
    if events.is_empty() {
        println!("No event is waiting, and none has failed.");
    }
    for event in events {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let when = event["due_at"].as_str().map_or("given up".to_owned(), |at| format!("next {at}"));
        println!(
            "{:<13} {}  {} tries, {when}  {}",
            text("state"),
            text("event"),
            event["tries"],
            text("problem")
        );
    }
}
