//! A relay in front of `PostgreSQL` that counts statements and round trips.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, anyhow};
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The code of a request to use TLS, in place of a protocol version.
const TLS_REQUEST: u32 = 80_877_103;

/// A running relay. Its connections end with the process.
pub(crate) struct Relay {
    /// The database's URL by way of the relay.
    pub(crate) url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    statements: AtomicU64,
    round_trips: AtomicU64,
}

impl Relay {
    /// Starts a relay to the server of a database's URL.
    pub(crate) async fn start(url: &str) -> anyhow::Result<Self> {
        let mut url: Url = url.parse()?;
        let host = url.host_str().context("the database's URL has no host")?;
        let upstream = format!("{host}:{}", url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(listener.local_addr()?.port())).map_err(|()| anyhow!("the URL takes no port"))?;
        // The relay cannot read TLS.
        url.query_pairs_mut().append_pair("sslmode", "disable");
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, upstream.clone(), Arc::clone(&counted)));
            }
        });
        Ok(Self { url: url.into(), counts })
    }

    /// Returns the number of executed statements.
    pub(crate) fn statements(&self) -> u64 {
        self.counts.statements.load(Ordering::Relaxed)
    }

    /// Returns how often a client sent something after the server had answered.
    pub(crate) fn round_trips(&self) -> u64 {
        self.counts.round_trips.load(Ordering::Relaxed)
    }
}

async fn connection(client: TcpStream, upstream: String, counts: Arc<Counts>) -> anyhow::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answered = AtomicBool::new(true);
    let mut messages = Messages::default();
    let requests = pump(&mut from_client, &mut to_server, |bytes| {
        if answered.swap(false, Ordering::Relaxed) {
            counts.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        counts.statements.fetch_add(messages.statements_in(bytes), Ordering::Relaxed);
    });
    let answers = pump(&mut from_server, &mut to_client, |_| answered.store(true, Ordering::Relaxed));
    tokio::select! { ended = requests => ended, ended = answers => ended }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), mut see: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        see(&buffer[..length]);
        to.write_all(&buffer[..length]).await?;
    }
}

/// Reads a client's messages. Each has a type and a length, except those before the session.
#[derive(Default)]
struct Messages {
    started: bool,
    head: Vec<u8>,
    /// Bytes of the current message that are still to come.
    left: usize,
}

impl Messages {
    /// Returns the number of statements whose execution begins in these bytes.
    fn statements_in(&mut self, mut bytes: &[u8]) -> u64 {
        let mut statements = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let length = self.left.min(bytes.len());
                bytes = &bytes[length..];
                self.left -= length;
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let head = &self.head;
            let number =
                |at: usize| head.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            if self.started {
                let Some(length) = number(1) else { continue };
                // Execute, and Query.
                statements += u64::from(matches!(head[0], b'E' | b'Q'));
                self.left = (length as usize).saturating_sub(4);
            } else {
                let (Some(length), Some(code)) = (number(0), number(4)) else { continue };
                self.started = code != TLS_REQUEST;
                self.left = (length as usize).saturating_sub(8);
            }
            self.head.clear();
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::Messages;

    #[test]
    fn executions_and_simple_queries_are_counted_in_any_slicing() {
        let message =
            |kind: u8, body: &[u8]| [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let bytes = [
            [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat(),
            [12_u32.to_be_bytes(), 196_608_u32.to_be_bytes()].concat(),
            b"E\0\0\0".to_vec(),
            message(b'P', b"E"),
            message(b'B', b""),
            message(b'E', b"portal"),
            message(b'S', b""),
            message(b'Q', b"select"),
        ]
        .concat();
        for size in [1, 3, 7, bytes.len()] {
            let mut messages = Messages::default();
            let counted: u64 = bytes.chunks(size).map(|chunk| messages.statements_in(chunk)).sum();
            assert_eq!(counted, 2, "in slices of {size} bytes");
        }
    }
}
