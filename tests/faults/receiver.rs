//! Somebody who takes requests over HTTP, and answers none until told to: a carrier that hangs, or the receiver of a webhook.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::carrier::request;
use crate::checker;
use crate::site::Site;
use crate::support::wait;
use crate::support::world::connect;

pub(crate) struct Receiver {
    pub(crate) at: SocketAddr,
    pub(crate) heard: Arc<Heard>,
}

#[derive(Default)]
pub(crate) struct Heard {
    /// Bodies of whole requests.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Of these, those that were answered.
    pub(crate) answered: Mutex<Vec<String>>,
    pub(crate) well: AtomicBool,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let heard = Arc::<Heard>::default();
        let listening = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, Arc::clone(&listening)));
            }
        });
        Self { at, heard }
    }

    async fn serve(mut stream: TcpStream, heard: Arc<Heard>) {
        while let Some(body) = request(&mut stream).await {
            heard.asked.lock().unwrap().push(body.clone());
            if heard.well.load(Ordering::Relaxed) {
                heard.answered.lock().unwrap().push(body);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                return;
            }
        }
    }

    /// Of the configuration: everybody's webhook.
    pub(crate) fn section(&self) -> String {
        format!(
            "[webhooks]\nallow_private_targets = true\n[tenants.default.webhook]\nurl = \"http://{}/\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n",
            self.at
        )
    }

    /// Waits until nothing is pending for it; it has received all that was published over the broker.
    pub(crate) async fn has_heard_all(&self, site: &Site) {
        let look = connect(&site.house.ledger_url).await;
        // The next try of some is minutes away. What is given up has none.
        let soon = "update webhook set due_at = clock_timestamp() where due_at is not null";
        look.execute(soon, &[]).await.unwrap();
        let left = async || {
            let left = look.query_one("select count(*) from webhook", &[]).await.unwrap();
            left.get::<_, i64>(0) == 0
        };
        wait::until("all webhooks are delivered", left).await;
        let answered = self.heard.answered.lock().unwrap().clone();
        let published: HashSet<String> =
            answered.iter().map(|body| id(&serde_json::from_str(body).unwrap())).collect();
        for event in checker::heard(site).await {
            assert!(published.contains(&id(&event)), "the webhook never received {event}");
        }
    }
}

fn id(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}
