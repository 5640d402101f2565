//! F10: carriers that answer one request with 429, 5xx or 401, and the time and number of the following
//! requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::carrier::request;
use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::load::{BROKER, Kind, Load};
use crate::seed::Seed;
use crate::support::wait;

/// The lifetime of a code. No request begins in its last ten seconds, plus a margin of two.
const LIFE: Duration = Duration::from_secs(30);

/// A first answer, and the expected consequence.
#[derive(Debug, Clone)]
struct Case {
    status: &'static str,
    retry_after: Option<RetryAfter>,
    outcome: &'static str,
    /// Minimum and maximum number of seconds from the first request to the second.
    pause: (f64, f64),
}

/// The content of `Retry-RetryAfter`.
#[derive(Debug, Clone, Copy)]
enum RetryAfter {
    Text(&'static str),
    /// The date that is this many seconds after the request.
    DateIn(u64),
}

impl RetryAfter {
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
    let (text, date_in) = (|text| Some(RetryAfter::Text(text)), |seconds| Some(RetryAfter::DateIn(seconds)));
    vec![
        case("429 Too Many Requests", None, "throttled", (1.0, 4.0)),
        case("429 Too Many Requests", text("3"), "throttled", (3.0, 6.0)),
        // A date is rounded to whole seconds.
        case("429 Too Many Requests", date_in(6), "throttled", (5.0, 9.0)),
        // The time is after the code's last possible begin, so that limit applies.
        case("429 Too Many Requests", date_in(60), "throttled", (15.0, 20.0)),
        case("429 Too Many Requests", text("999999999999"), "throttled", (15.0, 20.0)),
        case("429 Too Many Requests", text("soon"), "throttled", (1.0, 4.0)),
        // Unknown outcome: the worker waits for a receipt until ten seconds after the begin.
        case("500 Internal Server Error", None, "unknown", (9.5, 14.0)),
        case("502 Bad Gateway", None, "unknown", (9.5, 14.0)),
        case("503 Service Unavailable", None, "unavailable", (0.0, 4.0)),
        // The account is not used during the breaker's first pause.
        case("401 Unauthorized", None, "misconfigured", (4.5, 12.0)),
        case("404 Not Found", None, "misconfigured", (4.5, 12.0)),
    ]
}

/// The times of the requests.
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

async fn is_retried_in_time(case: Case) {
    let (at, requests) = serve(case.clone()).await;
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    cluster.replacements.push((cluster.deployment.gateway.addr().to_string(), at.to_string()));
    checker::listen(&cluster).await;
    let _process = cluster.start("all", ALL).await;
    let mut load = Load::new(&cluster, Seed::of(&format!("{case:?}")));
    (load.life, load.ingresses) = (LIFE, BROKER);
    load.publish_one(Kind::Plain).await;
    let twice = async || (requests.lock().unwrap().len() == 2).then_some(());
    assert!(wait::within(LIFE, twice).await.is_some(), "{case:?}: a second request arrives");
    let d = cluster.deployment.until_state(load.sent[0].id, "unconfirmed").await;
    let requests = requests.lock().unwrap().clone();
    let pause = (requests[1] - requests[0]).as_secs_f64();
    println!("{} {:?}: {} after {pause:.1} s", case.status, case.retry_after, case.outcome);
    let (least, most) = case.pause;
    assert!((least..=most).contains(&pause), "{case:?}: after {pause} s");
    let first = d.attempts[0].outcome.map(otpost::domain::attempt::Outcome::word);
    assert_eq!(first, Some(case.outcome), "{case:?}: {d:#?}");
    assert_eq!(requests.len(), 2, "{case:?}: an accepted message is not sent again");
    assert_eq!(d.attempts[1].repeats.is_some(), case.outcome == "unknown", "{case:?}: {d:#?}");
    checker::settle(&cluster, &load.sent, Duration::from_secs(30)).await;
    let unknown = usize::from(case.outcome == "unknown");
    checker::check(&cluster, &load.sent, Injected { unknown, time: true, ..Injected::default() }).await;
}

mod long {
    /// Fails with an unlimited `Retry-RetryAfter` (there is no second request), and if an unexplained 5xx counts
    /// as not accepted (the second request comes at once).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_error_status_is_retried_at_the_right_time() {
        futures_util::future::join_all(super::cases().into_iter().map(super::is_retried_in_time)).await;
    }
}
