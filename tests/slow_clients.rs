//! Clients that open connections and send nothing, or very slowly.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use otpost::app::Roles;
use serde_json::json;
use support::deployment::{Deployment, job};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The beginnings of requests that never end.
const BEGINNINGS: [&str; 3] = [
    "",
    "POST /v1/dispatches HTTP/1.1\r\nhost: x\r\n",
    "POST /v1/dispatches HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
];

/// The clients are in this process.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// A process with 256 file descriptors. On each of its listeners more clients hang than it has descriptors.
///
/// Fails if such clients use up the descriptors, or keep others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_flow_while_hundreds_of_clients_hang() {
    raise_descriptor_limit();
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let file = deployment.config_file("all");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("http://127.0.0.1:1\"", "http://127.0.0.1:0\"")).unwrap();
    let limited = deployment.files.0.join("limited");
    let script = format!("#!/bin/sh\nulimit -n 256\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_otpost"));
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(&limited, std::fs::Permissions::from_mode(0o755)).unwrap();
    let _process = deployment.run_program(&limited, &file, "api,worker,receipts", "all", &[]);
    let serves = deployment.serving("all").await;
    let mut hanging = vec![];
    for listener in ["api", "receipts", "ops"] {
        let address = serves[listener].as_str().unwrap();
        for n in 0..300 {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let _ = stream.write_all(BEGINNINGS[n % BEGINNINGS.len()].as_bytes()).await;
            hanging.push(stream);
        }
    }
    let api = serves["api"].as_str().unwrap();
    for n in 10..30 {
        let (body, since) = (job(&format!("+4477080000{n:02}"), json!({})).to_string(), Instant::now());
        let (status, answer) = deployment.post_bytes(api, &deployment.key, body.into()).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["id"].as_str().unwrap().parse().unwrap();
        let done =
            tokio::time::timeout(Duration::from_secs(8), deployment.until_state(id, "delivered")).await;
        assert!(done.is_ok(), "{}", deployment.log("all"));
        assert!(since.elapsed() < Duration::from_secs(5), "code {n} took {:?}", since.elapsed());
    }
    let ready = deployment.get(&format!("http://{}/readyz", serves["ops"].as_str().unwrap())).await;
    assert_eq!(ready.0, 200, "{}", ready.1);
}

/// Fails if a request whose body never ends keeps its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_gets_an_answer_and_ends_its_connection() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let mut stream = TcpStream::connect(app.api.unwrap()).await.unwrap();
    let head = format!(
        "POST /v1/dispatches HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n{{",
        deployment.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
    assert!(ended.is_ok() && answer.starts_with("HTTP/1.1 503"), "{answer}");
    app.stop().await;
}

/// Number of slow clients, and of the codes of one measurement.
const SLOW: usize = 5000;
const CODES: usize = 300;

/// Sends codes one after another, 25 ms apart. Returns the p95 from the request to the carrier's acceptance.
async fn p95(deployment: &Deployment, api: &str, prefix: &str) -> Duration {
    let mut pace = tokio::time::interval(Duration::from_millis(25));
    let mut sent = std::collections::HashMap::new();
    // Numbers that the mock carrier gives no special outcome.
    for n in 1000..1000 + CODES {
        pace.tick().await;
        let to = format!("{prefix}{n:04}");
        sent.insert(to.clone(), otpost::domain::clock::now());
        let (status, answer) =
            deployment.post_bytes(api, &deployment.key, job(&to, json!({})).to_string().into()).await;
        assert_eq!(status, 202, "{answer}");
    }
    let mut latencies = vec![];
    let mut all = async || {
        let accepted = deployment.record("accepted", None).await;
        latencies = accepted
            .iter()
            .filter_map(|message| {
                let at: jiff::Timestamp = message["at"].as_str()?.parse().ok()?;
                Duration::try_from(at.duration_since(*sent.get(message["to"].as_str()?)?)).ok()
            })
            .collect::<Vec<_>>();
        latencies.len() == CODES
    };
    let all = support::wait::within(Duration::from_secs(20), async || all().await.then_some(())).await;
    assert!(all.is_some(), "{} of {CODES} codes are accepted: {}", latencies.len(), deployment.log("all"));
    latencies.sort_unstable();
    latencies[CODES * 95 / 100]
}

/// Slow clients send one byte of a request's head every second.
///
/// Fails if codes wait for slow clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_slow_clients_do_not_delay_codes() {
    raise_descriptor_limit();
    let mut deployment = Deployment::build(Duration::from_millis(20)).await;
    deployment.rate_per_s = 1000;
    let file = deployment.config_file("all");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("http://127.0.0.1:1\"", "http://127.0.0.1:0\"")).unwrap();
    // The process raises its limit of file descriptors by itself.
    let limited = deployment.files.0.join("limited");
    let script = format!("#!/bin/sh\nulimit -S -n 256\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_otpost"));
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(&limited, std::fs::Permissions::from_mode(0o755)).unwrap();
    let process = deployment.run_program(&limited, &file, "api,worker,receipts", "all", &[]);
    let serves = deployment.serving("all").await;
    let api = serves["api"].as_str().unwrap();
    p95(&deployment, api, "+44770910").await;
    let quiet = p95(&deployment, api, "+44770911").await;

    let mut slow = tokio::task::JoinSet::new();
    for n in 0..SLOW {
        let listener = ["api", "receipts", "ops"][n % 3];
        let Ok(mut stream) = TcpStream::connect(serves[listener].as_str().unwrap()).await else { continue };
        slow.spawn(async move {
            let mut bytes = "GET /v1/dispatches/x HTTP/1.1\r\nhost: ".bytes().chain(std::iter::repeat(b'a'));
            let mut pace = tokio::time::interval(Duration::from_secs(1));
            // A client that is closed stays away.
            while stream.write_all(&[bytes.next().unwrap_or(b'a')]).await.is_ok() {
                pace.tick().await;
            }
        });
    }
    let beside = p95(&deployment, api, "+44770912").await;
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", process.0.id())).unwrap().count();
    assert!(descriptors > 1000, "its limit is higher than 256: {descriptors}");
    println!("p95: quiet {quiet:?}, beside {} slow clients {beside:?}", slow.len());
    // Below 20 ms the noise of the machine dominates.
    assert!(beside <= quiet.max(Duration::from_millis(20)) * 2, "quiet {quiet:?}, beside {beside:?}");
}
