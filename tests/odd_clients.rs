//! Clients that speak HTTP in valid but unusual ways.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use otpost::app::Roles;
use serde_json::{Value, json};
use support::deployment::{Deployment, job};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Writes a request and returns all that is answered until the server closes the connection.
async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    tokio::time::timeout(support::wait::TIMEOUT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_spellings_of_http_are_understood() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let (api, key) = (app.api.unwrap(), &deployment.key);
    let mut n = 100;
    let mut body = || {
        n += 1;
        job(&format!("+44770800{n:04}"), json!({})).to_string()
    };
    let json_type = "content-type: application/json\r\n";
    for (version, headers) in [
        // RFC 9110, 11.1: the scheme is case-insensitive.
        ("1.1", format!("{json_type}authorization: bearer {key}\r\nhost: x\r\n")),
        ("1.1", format!("{json_type}AUTHORIZATION: BEARER {key}\r\nHOST: x\r\n")),
        ("1.1", format!("{json_type}Authorization: Bearer  {key}\r\nHost: x\r\n")),
        ("1.1", format!("{json_type}Authorization:\tBearer\t{key}\r\nHost: x\r\n")),
        ("1.0", format!("{json_type}Authorization: Bearer {key}\r\n")),
        (
            "1.0",
            format!("Content-Type: application/json; charset=\"UTF-8\"\r\nAuthorization: Bearer {key}\r\n"),
        ),
        ("1.1", format!("Content-Type: text/plain\r\nAuthorization: Bearer {key}\r\nHost: x\r\n")),
        ("1.1", format!("Authorization: Bearer {key}\r\nHost: x\r\n")),
    ] {
        let body = body();
        let length = body.len();
        let request = format!(
            "POST /v1/dispatches HTTP/{version}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let answer = exchange(api, &request).await;
        assert!(answer.starts_with(&format!("HTTP/{version} 202")), "{headers}{answer}");
    }

    // RFC 9110, 10.1.1: a client that waits for permission gets it before it sends the body.
    let body = body();
    let mut stream = TcpStream::connect(api).await.unwrap();
    let head = format!(
        "POST /v1/dispatches HTTP/1.1\r\nhost: x\r\n{json_type}authorization: Bearer {key}\r\nexpect: 100-continue\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut permission = [0; 25];
    tokio::time::timeout(support::wait::TIMEOUT, stream.read_exact(&mut permission)).await.unwrap().unwrap();
    assert_eq!(&permission, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");

    let wrong = "POST /v1/dispatches HTTP/1.1\r\nhost: x\r\nauthorization: bearer wrong\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = exchange(api, wrong).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    app.stop().await;
}

/// A refused send costs no quota, and a client that waits as told is not refused again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_retry_after_is_admitted() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.limits.number = vec!["1/2s".parse().unwrap()];
    let app = deployment.start(config, Roles::ALL).await;
    let api = app.api.unwrap().to_string();
    let send = async |to: &str| {
        let (status, answer) =
            deployment.post_bytes(&api, &deployment.key, job(to, json!({})).to_string().into()).await;
        (status, answer)
    };
    let refused = "+447708002001";
    deployment.script(refused, json!(["invalid_number", "deliver"])).await;
    let (status, answer) = send(refused).await;
    assert_eq!(status, 202, "{answer}");
    deployment.until_state(answer["id"].as_str().unwrap().parse().unwrap(), "failed").await;
    assert_eq!(send(refused).await.0, 202, "the quota use was given back");

    let waiting = |n: u16| {
        let send = &send;
        async move {
            let to = format!("+4477080030{n:02}");
            let (mut admitted, mut limited) = (0, 0);
            for _ in 0..4 {
                let (mut status, mut answer) = send(&to).await;
                if status == 429 {
                    limited += 1;
                    let wait: &Value = &answer["retry_after_s"];
                    tokio::time::sleep(Duration::from_secs(wait.as_u64().unwrap())).await;
                    (status, answer) = send(&to).await;
                }
                assert_eq!(status, 202, "{to}: {answer}");
                admitted += 1;
            }
            assert_eq!((admitted, limited > 0), (4, true));
        }
    };
    futures_util::future::join_all((10..30).map(waiting)).await;
    app.stop().await;
}
