//! An HTTP server that holds requests until it is released: a hanging carrier, or the receiver of a webhook.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::carrier::request;
use crate::checker;
use crate::cluster::Cluster;
use crate::support::wait;
use crate::support::world::connect;

pub(crate) struct Receiver {
    pub(crate) at: SocketAddr,
    pub(crate) log: Arc<RequestLog>,
}

#[derive(Default)]
pub(crate) struct RequestLog {
    /// Bodies of complete requests.
    pub(crate) requests: Mutex<Vec<String>>,
    /// Bodies of answered requests.
    pub(crate) answered: Mutex<Vec<String>>,
    pub(crate) answering: AtomicBool,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let log = Arc::<RequestLog>::default();
        let listening = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, Arc::clone(&listening)));
            }
        });
        Self { at, log }
    }

    async fn serve(mut stream: TcpStream, log: Arc<RequestLog>) {
        while let Some(body) = request(&mut stream).await {
            log.requests.lock().unwrap().push(body.clone());
            if log.answering.load(Ordering::Relaxed) {
                log.answered.lock().unwrap().push(body);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                return;
            }
        }
    }

    /// Returns the configuration of a webhook for every tenant.
    pub(crate) fn section(&self) -> String {
        format!(
            "[webhooks]\nallow_private_targets = true\n[tenants.default.webhook]\nurl = \"http://{}/\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n",
            self.at
        )
    }

    /// Waits until no delivery is pending. The receiver then has every event that the broker has.
    pub(crate) async fn has_received_all(&self, cluster: &Cluster) {
        let look = connect(&cluster.deployment.ledger_url).await;
        // The next try of some deliveries is minutes away, and that of a request under way may be so in a moment. Failed ones have none.
        let soon = "update outbox set due_at = clock_timestamp()
                     where receiver <> 'broker' and due_at > clock_timestamp() + interval '1 minute'";
        let left = async || {
            look.execute(soon, &[]).await.unwrap();
            let left = look.query_one("select count(*) from outbox", &[]).await.unwrap();
            left.get::<_, i64>(0) == 0
        };
        wait::until("all webhooks are delivered", left).await;
        let answered = self.log.answered.lock().unwrap().clone();
        let published: HashSet<String> =
            answered.iter().map(|body| id(&serde_json::from_str(body).unwrap())).collect();
        for event in checker::published_events(cluster).await {
            assert!(published.contains(&id(&event)), "the webhook never received {event}");
        }
    }
}

fn id(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}
