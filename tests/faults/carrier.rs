//! F11, F12: carriers with invalid answers, and a carrier that closes kept-alive connections at their reuse
//! (`reuse` has many rounds of it).

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::load::{Kind, Load};
use crate::seed::Seed;
use crate::support::wait;
use crate::support::world::connect;

/// Fewer than open a breaker.
const JOBS: usize = 6;
/// Maximum growth of a worker's memory. It covers the worker's own tables, and no carrier answer.
const GROWTH_KB: u64 = 100_000;
/// Decompressed size of the bomb, in MiB.
const UNPACKED: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behavior {
    SlowHead,
    SlowBody,
    EndlessBody,
    Bomb,
    Truncated,
    Html,
    /// A 200 with an error in the body.
    ErrorInside,
    Redirect,
    /// Answers the first request of each connection. Reads the second request and closes.
    EndsAtReuse,
    /// Closes when the second request arrives, without reading it.
    EndsBeforeReuse,
}

/// The bodies of complete requests.
type Bodies = Arc<Mutex<Vec<String>>>;

struct Carrier {
    at: SocketAddr,
    bodies: Bodies,
}

impl Carrier {
    async fn start(behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, bodies) = (listener.local_addr().unwrap(), Bodies::default());
        let shared = Arc::clone(&bodies);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behavior, at, Arc::clone(&shared)));
            }
        });
        Self { at, bodies }
    }

    fn times(&self, code: &str) -> usize {
        self.bodies.lock().unwrap().iter().filter(|body| body.contains(code)).count()
    }
}

async fn serve(mut stream: TcpStream, behavior: Behavior, at: SocketAddr, bodies: Bodies) -> Option<()> {
    let mut reused = false;
    loop {
        if reused && behavior == Behavior::EndsBeforeReuse {
            let mut first = [0];
            stream.read_exact(&mut first).await.ok()?;
            return None;
        }
        let body = request(&mut stream).await?;
        bodies.lock().unwrap().push(body);
        if reused && behavior == Behavior::EndsAtReuse {
            return None;
        }
        reused = true;
        answer(&mut stream, behavior, at).await.ok()?;
    }
}

/// Reads one complete request and returns its body.
pub(crate) async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = vec![];
    let head = loop {
        bytes.push(stream.read_u8().await.ok()?);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes).to_lowercase();
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |n| n.trim().parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}

async fn answer(stream: &mut TcpStream, behavior: Behavior, at: SocketAddr) -> std::io::Result<()> {
    const HEAD: &str = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n";
    let whole = |kind: &str, body: &str| {
        format!(
            "HTTP/1.1 201 Created\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match behavior {
        Behavior::SlowHead | Behavior::SlowBody => {
            let first = if behavior == Behavior::SlowHead { "HTTP/1.1 201 Cre" } else { HEAD };
            stream.write_all(first.as_bytes()).await?;
            if behavior == Behavior::SlowBody {
                stream.write_all(b"content-length: 1000\r\n\r\n").await?;
            }
            let mut pace = tokio::time::interval(Duration::from_millis(300));
            loop {
                pace.tick().await;
                stream.write_all(b"a").await?;
            }
        }
        Behavior::EndlessBody => {
            stream.write_all(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        Behavior::Bomb => {
            let head = format!("{HEAD}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", BOMB.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&BOMB).await
        }
        Behavior::Truncated => {
            stream.write_all(whole("application/json", "{\"sid\": \"SM0000").as_bytes()).await
        }
        Behavior::Html => stream.write_all(whole("text/html", "<html>It works!</html>").as_bytes()).await,
        Behavior::ErrorInside => {
            let error = "{\"code\": 21211, \"message\": \"Invalid 'To' Phone Number\", \"status\": 400}";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
            stream.write_all(format!("{head}: {}\r\n\r\n{error}", error.len()).as_bytes()).await
        }
        Behavior::Redirect => {
            let to =
                format!("HTTP/1.1 307 Go\r\nlocation: http://{at}/elsewhere\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(to.as_bytes()).await
        }
        Behavior::EndsAtReuse | Behavior::EndsBeforeReuse => {
            let sid = uuid::Uuid::new_v4().simple();
            let body = format!("{{\"sid\": \"SM{sid}\", \"status\": \"queued\", \"num_segments\": \"1\"}}");
            stream.write_all(whole("application/json", &body).as_bytes()).await
        }
    }
}

/// A valid answer after many spaces, which would fill the memory when it is decompressed.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut gzip = gzip.expect("gzip runs");
    let mut to = gzip.stdin.take().unwrap();
    let packing = std::thread::spawn(move || {
        for _ in 0..UNPACKED {
            to.write_all(&[b' '; 1024 * 1024]).unwrap();
        }
        to.write_all(b"{\"sid\": \"SM1\", \"status\": \"queued\"}").unwrap();
    });
    let packed = gzip.wait_with_output().unwrap().stdout;
    packing.join().unwrap();
    assert!(packed.len() < UNPACKED * 1024 * 1024 / 500, "{} bytes are no bomb", packed.len());
    packed
});

/// Returns the peak memory of a process.
fn most_memory_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn carrier_with(behavior: Behavior) {
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    let carrier = Carrier::start(behavior).await;
    cluster.replacements.push((cluster.deployment.gateway.addr().to_string(), carrier.at.to_string()));
    checker::listen(&cluster).await;
    let process = cluster.start("all", ALL).await;
    let before = most_memory_kb(process.0.id());
    let mut load = Load::new(&cluster, Seed::of(&format!("{behavior:?}")));
    load.life = Duration::from_secs(30);
    for _ in 0..JOBS {
        load.publish_one(Kind::Plain).await;
    }
    let look = connect(&cluster.deployment.ledger_url).await;
    let ended = "select count(*) from dispatch where wake_at is null";
    let most = i64::try_from(JOBS).unwrap();
    let all = async || (look.query_one(ended, &[]).await.unwrap().get::<_, i64>(0) == most).then_some(());
    assert!(wait::within(Duration::from_secs(60), all).await.is_some(), "{behavior:?}: not all have ended");
    let grown = most_memory_kb(process.0.id()).saturating_sub(before);
    assert!(grown < GROWTH_KB, "{behavior:?}: memory grew by {grown} kB");
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for job in &load.sent {
        let d = cluster.deployment.ledger.find("default", job.id).await.unwrap().unwrap();
        *ends.entry(d.state.as_str().to_owned()).or_default() += 1;
        let repeats = d.attempts.iter().filter(|a| a.repeats.is_some()).count();
        let times = carrier.times(&job.code);
        // Requests on a connection that closed unread never arrived.
        let least = usize::from(behavior != Behavior::EndsBeforeReuse);
        assert!(
            repeats <= 1 && (least..=1 + repeats).contains(&times),
            "{behavior:?}: {times} times, {d:#?}"
        );
    }
    // No receipt was sent, so the outcome stays unknown.
    assert_eq!(ends.get("unconfirmed"), Some(&JOBS), "{behavior:?}: {ends:?}");
    checker::settle(&cluster, &load.sent, Duration::from_secs(30)).await;
    let injected = Injected { unknown: JOBS, time: true, ..Injected::default() };
    checker::check(&cluster, &load.sent, injected).await;
}

mod long {
    use super::*;

    /// Fails with a client that follows redirects (`Redirect`: 22 requests without a repeat), that reads an
    /// endless answer (`EndlessBody`: memory grew by 2.4 GB), or that decompresses it too (`Bomb`: by 585
    /// MB). Fails if the error in a 2xx answer counts (`ErrorInside`: state failed). Fails if a connection
    /// that closed after the request counts as refused (`EndsAtReuse`: more requests than attempts).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_carrier_that_violates_http() {
        let all = [
            Behavior::SlowHead,
            Behavior::SlowBody,
            Behavior::EndlessBody,
            Behavior::Bomb,
            Behavior::Truncated,
            Behavior::Html,
            Behavior::ErrorInside,
            Behavior::Redirect,
            Behavior::EndsAtReuse,
            Behavior::EndsBeforeReuse,
        ];
        LazyLock::force(&BOMB);
        futures_util::future::join_all(all.map(carrier_with)).await;
    }
}
