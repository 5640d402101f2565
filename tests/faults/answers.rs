//! F10: carriers that put off, break down, or do not know us, each for one request; when and how often they are asked again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::carrier::request;
use crate::checker::{self, Injected};
use crate::load::{BROKER, Kind, Load};
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::wait;

/// How long a code lives. Ten seconds before its end, and a margin of two, nothing is begun any more.
const LIFE: Duration = Duration::from_secs(30);

/// A first answer, and what is expected after it.
#[derive(Debug, Clone)]
struct Case {
    status: &'static str,
    retry_after: Option<After>,
    outcome: &'static str,
    /// Seconds from the first request to the second: at least, at most.
    pause: (f64, f64),
}

/// What `Retry-After` says.
#[derive(Debug, Clone, Copy)]
enum After {
    Text(&'static str),
    /// The date that is so many seconds away when it is asked.
    DateIn(u64),
}

impl After {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::DateIn(seconds) => {
                let then =
                    otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(seconds));
                jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).unwrap()
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let case = |status, retry_after, outcome, pause| Case { status, retry_after, outcome, pause };
    let (text, date_in) = (|text| Some(After::Text(text)), |seconds| Some(After::DateIn(seconds)));
    vec![
        case("429 Too Many Requests", None, "throttled", (1.0, 4.0)),
        case("429 Too Many Requests", text("3"), "throttled", (3.0, 6.0)),
        // A date has whole seconds.
        case("429 Too Many Requests", date_in(6), "throttled", (5.0, 9.0)),
        // Later than a code's last chance: it is that which counts.
        case("429 Too Many Requests", date_in(60), "throttled", (15.0, 20.0)),
        case("429 Too Many Requests", text("999999999999"), "throttled", (15.0, 20.0)),
        case("429 Too Many Requests", text("soon"), "throttled", (1.0, 4.0)),
        // Nobody knows: a receipt is awaited until ten seconds after the begin.
        case("500 Internal Server Error", None, "unknown", (9.5, 14.0)),
        case("502 Bad Gateway", None, "unknown", (9.5, 14.0)),
        case("503 Service Unavailable", None, "unavailable", (0.0, 4.0)),
        // The account is left alone for the breaker's first pause.
        case("401 Unauthorized", None, "misconfigured", (4.5, 12.0)),
        case("404 Not Found", None, "misconfigured", (4.5, 12.0)),
    ]
}

/// When requests came.
type Requests = Arc<Mutex<Vec<Instant>>>;

async fn serve(case: Case) -> (SocketAddr, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, requests) = (listener.local_addr().unwrap(), Requests::default());
    let heard = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, case.clone(), Arc::clone(&heard)));
        }
    });
    (at, requests)
}

async fn answer(mut stream: TcpStream, case: Case, requests: Requests) -> Option<()> {
    loop {
        request(&mut stream).await?;
        let first = {
            let mut requests = requests.lock().unwrap();
            requests.push(Instant::now());
            requests.len() == 1
        };
        let sid = uuid::Uuid::new_v4().simple();
        let (status, more, body) = if first {
            let more =
                case.retry_after.iter().map(|after| format!("retry-after: {}\r\n", after.text())).collect();
            (case.status, more, "{}".to_owned())
        } else {
            ("201 Created", String::new(), format!("{{\"sid\": \"SM{sid}\", \"status\": \"queued\"}}"))
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}");
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}

async fn asked_again(case: Case) {
    let (at, requests) = serve(case.clone()).await;
    let mut site = Site::build(Duration::from_millis(20)).await;
    site.instead.push((site.house.gateway.addr().to_string(), at.to_string()));
    checker::listen(&site).await;
    let _process = site.start("all", ALL).await;
    let mut load = Load::new(&site, Seed::of(&format!("{case:?}")));
    (load.life, load.ingresses) = (LIFE, BROKER);
    load.publish_one(Kind::Plain).await;
    let twice = async || (requests.lock().unwrap().len() == 2).then_some(());
    assert!(wait::within(LIFE, twice).await.is_some(), "{case:?}: it is asked again");
    let d = site.house.until_state(load.sent[0].id, "unconfirmed").await;
    let requests = requests.lock().unwrap().clone();
    let pause = (requests[1] - requests[0]).as_secs_f64();
    println!("{} {:?}: {} after {pause:.1} s", case.status, case.retry_after, case.outcome);
    let (least, most) = case.pause;
    assert!((least..=most).contains(&pause), "{case:?}: after {pause} s");
    let first = d.attempts[0].outcome.map(otpost::domain::attempt::Outcome::word);
    assert_eq!(first, Some(case.outcome), "{case:?}: {d:#?}");
    assert_eq!(requests.len(), 2, "{case:?}: what was accepted is not asked again");
    assert_eq!(d.attempts[1].repeats.is_some(), case.outcome == "unknown", "{case:?}: {d:#?}");
    checker::settle(&site, &load.sent, Duration::from_secs(30)).await;
    let unknown = usize::from(case.outcome == "unknown");
    checker::check(&site, &load.sent, Injected { unknown, time: true, ..Injected::default() }).await;
}

mod long {
    /// Seen to fail: with a `Retry-After` that is believed whatever it says (nothing is asked again), and where an unexplained
    /// 5xx counts as not accepted (it is asked again at once).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_carrier_puts_off_breaks_down_or_does_not_know_us() {
        futures_util::future::join_all(super::cases().into_iter().map(super::asked_again)).await;
    }
}
