//! F12, many rounds: a carrier closes each kept-alive connection at its second request, sometimes before it
//! reads the request and sometimes after. The outcome of a request that was read without an answer is
//! unknown, and only the dispatch repeats it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otpost::domain::attempt::{Attempt, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::carrier::request;
use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::load::{Kind, Load};
use crate::seed::Seed;
use crate::support::wait;

/// Number of connections that must close at their reuse.
const ROUNDS: usize = 200;

/// The requests by their outcome.
#[derive(Default)]
struct Served {
    /// Bodies of answered requests.
    answered: Mutex<Vec<String>>,
    /// Bodies of requests that were read and not answered.
    cut: Mutex<Vec<String>>,
    /// Number of requests of which only the first byte was read.
    unread: AtomicUsize,
}

impl Served {
    /// Returns the number of connections that closed at their reuse.
    fn rounds(&self) -> usize {
        self.cut.lock().unwrap().len() + self.unread.load(Ordering::Relaxed)
    }

    fn all(&self) -> usize {
        self.answered.lock().unwrap().len() + self.rounds()
    }
}

/// Serves one connection: answers the first request, and closes at the second.
async fn serve(mut stream: TcpStream, reads: bool, served: Arc<Served>) -> Option<()> {
    let body = request(&mut stream).await?;
    let sid = uuid::Uuid::new_v4().simple();
    let yes = format!("{{\"sid\": \"SM{sid}\", \"status\": \"queued\", \"num_segments\": \"1\"}}");
    let first = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", yes.len());
    served.answered.lock().unwrap().push(body);
    stream.write_all((first + &yes).as_bytes()).await.ok()?;
    if reads {
        let body = request(&mut stream).await?;
        served.cut.lock().unwrap().push(body);
    } else {
        stream.read_u8().await.ok()?;
        served.unread.fetch_add(1, Ordering::Relaxed);
    }
    None
}

async fn carrier(mut seed: Seed) -> (SocketAddr, Arc<Served>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, served) = (listener.local_addr().unwrap(), Arc::new(Served::default()));
    let shared = Arc::clone(&served);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, seed.below(2) == 0, Arc::clone(&shared)));
        }
    });
    (at, served)
}

mod long {
    use super::*;

    /// Fails with a client that retries requests of a lost connection (more requests than attempts). Fails if
    /// a closed connection counts as a refused one (no carrier accepted it, and it begins again at once).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_connections_close_at_their_reuse() {
        let name = "many_connections_close_at_their_reuse";
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        let (at, served) = carrier(Seed::of(name)).await;
        cluster.replacements.push((cluster.deployment.gateway.addr().to_string(), at.to_string()));
        checker::listen(&cluster).await;
        let _all = cluster.start("all", ALL).await;
        let mut load = Load::new(&cluster, Seed::of(name));
        // In sequence, so that each request reuses the connection of the one before.
        while served.rounds() < ROUNDS {
            let before = served.all();
            load.publish_one(Kind::Plain).await;
            wait::until("the request has arrived", async || served.all() > before).await;
        }
        checker::settle(&cluster, &load.sent, Duration::from_secs(120)).await;

        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for job in &load.sent {
            let d = cluster.deployment.ledger.find("default", job.id).await.unwrap().unwrap();
            let of = |list: &Mutex<Vec<String>>| {
                list.lock().unwrap().iter().filter(|body| body.contains(&job.code)).count()
            };
            let with = |outcome: Outcome| {
                d.attempts.iter().filter(|a: &&Attempt| a.outcome == Some(outcome)).count()
            };
            let (answered, cut) = (of(&served.answered), of(&served.cut));
            // An answered request is accepted once. An unanswered one is unknown, and repeated once.
            assert_eq!(with(Outcome::Accepted), answered, "{d:#?}");
            assert!(answered <= 1 && cut <= with(Outcome::Unknown), "{answered} answered, {cut} cut: {d:#?}");
            let first_is_unknown = d.attempts[0].outcome == Some(Outcome::Unknown);
            assert_eq!(d.attempts.len(), 1 + usize::from(first_is_unknown), "{d:#?}");
            for attempt in &d.attempts {
                *outcomes.entry(attempt.outcome.unwrap().word()).or_default() += 1;
            }
        }
        let (accepted, unknown) = (outcomes["accepted"], outcomes["unknown"]);
        println!("{} jobs: {accepted} answered, {unknown} connections ended at reuse", load.sent.len());
        assert_eq!(accepted, served.answered.lock().unwrap().len());
        assert_eq!(unknown, served.rounds());
        assert_eq!(
            outcomes.values().sum::<usize>(),
            served.all(),
            "each attempt is one request: {outcomes:?}"
        );
        checker::check(&cluster, &load.sent, Injected { unknown, time: true, ..Injected::default() }).await;
    }
}
