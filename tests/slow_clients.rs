//! Clients that open connections and send nothing, or very slowly.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;
use support::deployment::{Deployment, job};
use tokio::io::AsyncWriteExt;
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
