//! An HTTP/1.1 client over connections that stay open. It is hand-written on sockets, so that it uses little of the measured machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends the requests to a port of this machine, each once, over that many connections. A connection has one request at a time. Each
/// answer must be a 2xx.
pub(crate) async fn send_all(port: u16, connections: usize, requests: Vec<Vec<u8>>) -> anyhow::Result<()> {
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let tasks = (0..connections.min(requests.len())).map(|_| {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        let run = async move {
            let mut connection = Connection::open(port).await?;
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                connection.send(request).await?;
            }
            anyhow::Ok(())
        };
        async move { tokio::spawn(run).await? }
    });
    try_join_all(tasks).await.map(drop)
}

/// Returns the body of a `GET`.
pub(crate) async fn get(port: u16, path: &str) -> anyhow::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    Connection::open(port).await?.send(request.as_bytes()).await
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::with_capacity(4096) })
    }

    /// Sends a request and returns the body of its answer.
    async fn send(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        let length = loop {
            if let Some(length) = whole(&self.input)? {
                break length;
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the server closed the connection");
        };
        let answer: Vec<u8> = self.input.drain(..length).collect();
        let head = find(&answer, b"\r\n\r\n").context("no head")?;
        if !answer.starts_with(b"HTTP/1.1 2") {
            bail!("the server answered: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer[head + 4..].to_vec())
    }
}

/// Returns the length of the first request or answer, if it is complete.
pub(crate) fn whole(input: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = find(input, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&input[..head]).context("a head that is not text")?;
    let body = text
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
    let length = head + 4 + body;
    Ok((input.len() >= length).then_some(length))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
