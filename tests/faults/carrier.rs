//! F11, F12: a carrier that answers as no carrier should, and one that ends kept-alive connections at the moment of reuse
//! (many of them: `reuse`).

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::checker::{self, Injected};
use crate::load::{Kind, Load};
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::wait;
use crate::support::world::connect;

/// Fewer than open a breaker.
const JOBS: usize = 6;
/// What a worker may grow by from its start, whatever a carrier says: its own tables, and nothing that it is sent.
const GROWTH_KB: u64 = 100_000;
/// What the bomb is unpacked, in MiB.
const UNPACKED: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    SlowHead,
    SlowBody,
    EndlessBody,
    Bomb,
    Truncated,
    Html,
    /// Yes, and an error in its words.
    ErrorInside,
    Redirect,
    /// Well, but for the second request of each connection: it is read, and the connection ends.
    EndsAtReuse,
    /// The connection ends when the second request arrives, unread.
    EndsBeforeReuse,
}

/// Whole requests that came, by their bodies.
type Came = Arc<Mutex<Vec<String>>>;

struct Carrier {
    at: SocketAddr,
    came: Came,
}

impl Carrier {
    async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, came) = (listener.local_addr().unwrap(), Came::default());
        let heard = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manners, at, Arc::clone(&heard)));
            }
        });
        Self { at, came }
    }

    fn times(&self, code: &str) -> usize {
        self.came.lock().unwrap().iter().filter(|body| body.contains(code)).count()
    }
}

async fn serve(mut stream: TcpStream, manners: Manners, at: SocketAddr, came: Came) -> Option<()> {
    let mut reused = false;
    loop {
        if reused && manners == Manners::EndsBeforeReuse {
            let mut first = [0];
            stream.read_exact(&mut first).await.ok()?;
            return None;
        }
        let body = request(&mut stream).await?;
        came.lock().unwrap().push(body);
        if reused && manners == Manners::EndsAtReuse {
            return None;
        }
        reused = true;
        answer(&mut stream, manners, at).await.ok()?;
    }
}

/// Reads one whole request; answers its body.
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

async fn answer(stream: &mut TcpStream, manners: Manners, at: SocketAddr) -> std::io::Result<()> {
    const HEAD: &str = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n";
    let whole = |kind: &str, body: &str| {
        format!(
            "HTTP/1.1 201 Created\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match manners {
        Manners::SlowHead | Manners::SlowBody => {
            let first = if manners == Manners::SlowHead { "HTTP/1.1 201 Cre" } else { HEAD };
            stream.write_all(first.as_bytes()).await?;
            if manners == Manners::SlowBody {
                stream.write_all(b"content-length: 1000\r\n\r\n").await?;
            }
            let mut pace = tokio::time::interval(Duration::from_millis(300));
            loop {
                pace.tick().await;
                stream.write_all(b"a").await?;
            }
        }
        Manners::EndlessBody => {
            stream.write_all(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
        Manners::Bomb => {
            let head = format!("{HEAD}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", BOMB.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&BOMB).await
        }
        Manners::Truncated => {
            stream.write_all(whole("application/json", "{\"sid\": \"SM0000").as_bytes()).await
        }
        Manners::Html => stream.write_all(whole("text/html", "<html>It works!</html>").as_bytes()).await,
        Manners::ErrorInside => {
            let error = "{\"code\": 21211, \"message\": \"Invalid 'To' Phone Number\", \"status\": 400}";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
            stream.write_all(format!("{head}: {}\r\n\r\n{error}", error.len()).as_bytes()).await
        }
        Manners::Redirect => {
            let to =
                format!("HTTP/1.1 307 Go\r\nlocation: http://{at}/elsewhere\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(to.as_bytes()).await
        }
        Manners::EndsAtReuse | Manners::EndsBeforeReuse => {
            let sid = uuid::Uuid::new_v4().simple();
            let body = format!("{{\"sid\": \"SM{sid}\", \"status\": \"queued\", \"num_segments\": \"1\"}}");
            stream.write_all(whole("application/json", &body).as_bytes()).await
        }
    }
}

/// A good answer behind as many spaces as fill the memory of who unpacks it.
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

/// The most that a process had in memory so far.
fn most_memory_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn carrier_with(manners: Manners) {
    let mut site = Site::build(Duration::from_millis(20)).await;
    let carrier = Carrier::start(manners).await;
    site.instead.push((site.house.gateway.addr().to_string(), carrier.at.to_string()));
    checker::listen(&site).await;
    let process = site.start("all", ALL).await;
    let before = most_memory_kb(process.0.id());
    let mut load = Load::new(&site, Seed::of(&format!("{manners:?}")));
    load.life = Duration::from_secs(30);
    for _ in 0..JOBS {
        load.publish_one(Kind::Plain).await;
    }
    let look = connect(&site.house.ledger_url).await;
    let ended = "select count(*) from dispatch where wake_at is null";
    let most = i64::try_from(JOBS).unwrap();
    let all = async || (look.query_one(ended, &[]).await.unwrap().get::<_, i64>(0) == most).then_some(());
    assert!(wait::within(Duration::from_secs(60), all).await.is_some(), "{manners:?}: not all have ended");
    let grown = most_memory_kb(process.0.id()).saturating_sub(before);
    assert!(grown < GROWTH_KB, "{manners:?}: grown by {grown} kB");
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for job in &load.sent {
        let d = site.house.ledger.find("default", job.id).await.unwrap().unwrap();
        *ends.entry(d.state.as_str().to_owned()).or_default() += 1;
        let repeats = d.attempts.iter().filter(|a| a.repeats.is_some()).count();
        let times = carrier.times(&job.code);
        // What ended unread never came.
        let least = usize::from(manners != Manners::EndsBeforeReuse);
        assert!(repeats <= 1 && (least..=1 + repeats).contains(&times), "{manners:?}: {times} times, {d:#?}");
    }
    // Nobody reported, and nobody could know more.
    assert_eq!(ends.get("unconfirmed"), Some(&JOBS), "{manners:?}: {ends:?}");
    checker::settle(&site, &load.sent, Duration::from_secs(30)).await;
    let injected = Injected { unknown: JOBS, time: true, ..Injected::default() };
    checker::check(&site, &load.sent, injected).await;
}

mod long {
    use super::*;

    /// Seen to fail: with a client that follows redirects (`Redirect`: asked 22 times without a repeat), with an answer that is
    /// read to its end (`EndlessBody`: grown by 2.4 GB), with one that is unpacked too (`Bomb`: grown by 585 MB), with a 2xx whose error
    /// counts (`ErrorInside`: ended as failed), with a refused connection's outcome for one that ended after the request
    /// was written (`EndsAtReuse`: asked more often than repeated).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_carrier_without_manners() {
        let all = [
            Manners::SlowHead,
            Manners::SlowBody,
            Manners::EndlessBody,
            Manners::Bomb,
            Manners::Truncated,
            Manners::Html,
            Manners::ErrorInside,
            Manners::Redirect,
            Manners::EndsAtReuse,
            Manners::EndsBeforeReuse,
        ];
        LazyLock::force(&BOMB);
        futures_util::future::join_all(all.map(carrier_with)).await;
    }
}
