//! F12, many rounds: a carrier that ends each kept-alive connection when it is used for the second time, now before it reads
//! the request, now after it. What it has read without an answer is unknown, and nobody sends it again but the dispatch.

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
use crate::load::{Kind, Load};
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::wait;

/// Connections that end at their reuse before the scenario is content.
const ROUNDS: usize = 200;

/// What became of the requests.
#[derive(Default)]
struct Heard {
    /// Bodies that were answered.
    answered: Mutex<Vec<String>>,
    /// Bodies that were read, and got no answer.
    cut: Mutex<Vec<String>>,
    /// Requests of which no byte but the first was read.
    unread: AtomicUsize,
}

impl Heard {
    /// Connections that have ended at their reuse.
    fn rounds(&self) -> usize {
        self.cut.lock().unwrap().len() + self.unread.load(Ordering::Relaxed)
    }

    fn all(&self) -> usize {
        self.answered.lock().unwrap().len() + self.rounds()
    }
}

/// Serves one connection: a first request well, and no second one.
async fn serve(mut stream: TcpStream, reads: bool, heard: Arc<Heard>) -> Option<()> {
    let body = request(&mut stream).await?;
    let sid = uuid::Uuid::new_v4().simple();
    let yes = format!("{{\"sid\": \"SM{sid}\", \"status\": \"queued\", \"num_segments\": \"1\"}}");
    let first = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", yes.len());
    heard.answered.lock().unwrap().push(body);
    stream.write_all((first + &yes).as_bytes()).await.ok()?;
    if reads {
        let body = request(&mut stream).await?;
        heard.cut.lock().unwrap().push(body);
    } else {
        stream.read_u8().await.ok()?;
        heard.unread.fetch_add(1, Ordering::Relaxed);
    }
    None
}

async fn carrier(mut seed: Seed) -> (SocketAddr, Arc<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, heard) = (listener.local_addr().unwrap(), Arc::new(Heard::default()));
    let listening = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, seed.below(2) == 0, Arc::clone(&listening)));
        }
    });
    (at, heard)
}

mod long {
    use super::*;

    /// Seen to fail: with a client that sends again what a connection lost (more requests than attempts), and with the outcome of
    /// a refused connection for one that has ended (accepted by nobody, and begun at once again).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_end_at_their_reuse_again_and_again() {
        let name = "connections_end_at_their_reuse_again_and_again";
        let mut site = Site::build(Duration::from_millis(20)).await;
        let (at, heard) = carrier(Seed::of(name)).await;
        site.instead.push((site.house.gateway.addr().to_string(), at.to_string()));
        checker::listen(&site).await;
        let _all = site.start("all", ALL).await;
        let mut load = Load::new(&site, Seed::of(name));
        // One after the other, so that each finds the connection of the one before.
        while heard.rounds() < ROUNDS {
            let before = heard.all();
            load.publish_one(Kind::Plain).await;
            wait::until("it is heard", async || heard.all() > before).await;
        }
        checker::settle(&site, &load.sent, Duration::from_secs(120)).await;

        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        for job in &load.sent {
            let d = site.house.ledger.find("default", job.id).await.unwrap().unwrap();
            let of = |list: &Mutex<Vec<String>>| {
                list.lock().unwrap().iter().filter(|body| body.contains(&job.code)).count()
            };
            let with = |outcome: Outcome| {
                d.attempts.iter().filter(|a: &&Attempt| a.outcome == Some(outcome)).count()
            };
            let (answered, cut) = (of(&heard.answered), of(&heard.cut));
            // What was answered is accepted, once; what was not is unknown, and repeated once.
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
        assert_eq!(accepted, heard.answered.lock().unwrap().len());
        assert_eq!(unknown, heard.rounds());
        assert_eq!(
            outcomes.values().sum::<usize>(),
            heard.all(),
            "each attempt is one request: {outcomes:?}"
        );
        checker::check(&site, &load.sent, Injected { unknown, time: true, ..Injected::default() }).await;
    }
}
