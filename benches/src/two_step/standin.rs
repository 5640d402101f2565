//! otpost's stand-in: accepts jobs and acts over HTTP, sends no events, and passes codes to the users.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::keep_alive::{find, whole};

/// Time limit of the wait for a code.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Codes for users, by phone number.
#[derive(Default)]
pub(crate) struct Codes(Mutex<HashMap<String, Waiting>>);

#[derive(Default)]
struct Waiting {
    code: Option<String>,
    user: Option<oneshot::Sender<String>>,
}

impl Codes {
    fn arrive(&self, number: String, code: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = all.entry(number).or_default();
        match waiting.user.take() {
            Some(user) => drop(user.send(code)),
            None => waiting.code = Some(code),
        }
    }

    /// Returns the next code of a number.
    pub(crate) async fn next(&self, number: &str) -> anyhow::Result<String> {
        let arrives = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = all.entry(number.to_owned()).or_default();
            if let Some(code) = waiting.code.take() {
                return Ok(code);
            }
            let (give, arrives) = oneshot::channel();
            waiting.user = Some(give);
            arrives
        };
        let code = tokio::time::timeout(TIME_LIMIT, arrives).await.context("no code arrived")?;
        code.context("the stand-in has stopped")
    }
}

/// The fields of a job that the user's phone shows.
#[derive(Deserialize)]
struct Job {
    to: String,
    code: Option<String>,
}

/// The stand-in, in this process.
pub(crate) struct StandIn {
    pub(crate) port: u16,
    pub(crate) codes: Arc<Codes>,
}

impl StandIn {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let codes = Arc::new(Codes::default());
        let shared = Arc::clone(&codes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let codes = Arc::clone(&shared);
                // Missing codes reveal a client that disconnects early.
                tokio::spawn(async move { converse(stream, &codes).await });
            }
        });
        Ok(Self { port, codes })
    }
}

async fn converse(mut stream: TcpStream, codes: &Codes) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(4096);
    loop {
        while let Some(length) = whole(&input)? {
            if input.starts_with(b"GET /v1/events ") {
                return be_silent(stream).await;
            }
            if input.starts_with(b"POST /v1/dispatches ") {
                let body = find(&input, b"\r\n\r\n").map_or(0, |head| head + 4);
                let job: Job = serde_json::from_slice(&input[body..length])?;
                if let Some(code) = job.code {
                    codes.arrive(job.to, code);
                }
            }
            // There is no such dispatch, so no query for one is expected.
            let status = if input.starts_with(b"GET ") { "404 Not Found" } else { "202 Accepted" };
            input.drain(..length);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await?;
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Sends otpost's comments and no events.
async fn be_silent(mut stream: TcpStream) -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    loop {
        stream.write_all(b"3\r\n:\n\n\r\n").await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
