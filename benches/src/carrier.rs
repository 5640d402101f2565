//! The stand-in for a carrier: answers Twilio's create call over keep-alive HTTP/1.1, counts requests, and
//! sends no receipts. It is hand-written on a socket, so that it uses little of the measured machine.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Address of the listener; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// The requests that the stand-in got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Requests to send a text.
    pub(crate) requests: usize,
    /// Number of different phone numbers.
    pub(crate) numbers: usize,
}

#[derive(Default)]
struct Asked {
    requests: usize,
    numbers: HashSet<Vec<u8>>,
}

/// Serves until it is killed.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    println!("{}", listener.local_addr()?.port());
    let asked = Rc::new(RefCell::new(Asked::default()));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let asked = Rc::clone(&asked);
                tokio::task::spawn_local(async move {
                    // The counts reveal a client that disconnects early.
                    let _ = converse(stream, &asked).await;
                });
            }
        })
        .await
}

async fn converse(mut stream: TcpStream, asked: &RefCell<Asked>) -> anyhow::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(4096), Vec::with_capacity(512));
    loop {
        while let Some(length) = whole(&input)? {
            answer(&input[..length], asked, &mut output)?;
            input.drain(..length);
        }
        stream.write_all(&output).await?;
        output.clear();
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Returns the length of the first request, if it is complete.
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

fn answer(request: &[u8], asked: &RefCell<Asked>, output: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut asked = asked.borrow_mut();
    if request.starts_with(b"POST /2010-04-01/Accounts/") {
        let Some(number) = field(request, b"To=") else { bail!("a request without a number") };
        asked.requests += 1;
        asked.numbers.insert(number.to_vec());
        let body = format!(r#"{{"sid":"SM{:032x}","status":"queued","num_segments":"1"}}"#, asked.requests);
        write_answer(output, "201 Created", &body)
    } else if request.starts_with(b"GET /count ") {
        let count = Count { requests: asked.requests, numbers: asked.numbers.len() };
        write_answer(output, "200 OK", &serde_json::to_string(&count)?)
    } else {
        write_answer(output, "404 Not Found", "{}")
    }
}

fn write_answer(output: &mut Vec<u8>, status: &str, body: &str) -> anyhow::Result<()> {
    let length = body.len();
    write!(
        output,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    Ok(())
}

/// Returns the first field of that name in a form, still percent-encoded.
fn field<'a>(request: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let body = &request[find(request, b"\r\n\r\n")? + 4..];
    body.split(|b| *b == b'&').find_map(|pair| pair.strip_prefix(name))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// Returns the counts of the stand-in at that port.
pub(crate) async fn count(port: u16) -> anyhow::Result<Count> {
    let mut stream = TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"GET /count HTTP/1.1\r\nhost: carrier\r\n\r\n").await?;
    let mut input = vec![];
    while whole(&input)?.is_none() {
        if stream.read_buf(&mut input).await? == 0 {
            bail!("the stand-in for a carrier closed the connection");
        }
    }
    let body = find(&input, b"\r\n\r\n").map_or(0, |head| head + 4);
    Ok(serde_json::from_slice(&input[body..])?)
}
