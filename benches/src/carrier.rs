//! The stand-in for a carrier: answers Twilio's create call, and the call that Kannel makes, over keep-alive HTTP/1.1. It counts
//! requests and sends no receipts. It is hand-written on a socket, so that it uses little of the measured machine.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::jobs;
use crate::keep_alive::{find, whole};

/// The beginning of Twilio's request to send a text, and of Kannel's.
const SEND: &[u8] = b"POST /2010-04-01/Accounts/";
const KANNEL_SEND: &[u8] = b"GET /cgi-bin/sendsms?";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Address of the listener; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Milliseconds before each answer to a request to send
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Keep the time, number and callback URL of each request for `GET /requests`
    #[arg(long)]
    record: bool,
}

/// The requests that the stand-in got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Requests to send a text.
    pub(crate) requests: usize,
    /// Number of different phone numbers.
    pub(crate) numbers: usize,
}

/// A recorded request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// When it arrived, in microseconds since 1970.
    pub(crate) at_us: i64,
    /// The phone number.
    pub(crate) number: String,
    /// The URL for receipts.
    pub(crate) callback: Option<String>,
    /// The carrier's message id.
    pub(crate) message_id: String,
}

#[derive(Default)]
struct Asked {
    requests: usize,
    numbers: HashSet<Vec<u8>>,
    record: bool,
    recorded: Vec<Request>,
}

/// Serves until it is killed.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    println!("{}", listener.local_addr()?.port());
    let asked = Rc::new(RefCell::new(Asked { record: options.record, ..Asked::default() }));
    let delay = Duration::from_millis(options.delay_ms);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let asked = Rc::clone(&asked);
                tokio::task::spawn_local(async move {
                    // The counts reveal a client that disconnects early.
                    let _ = converse(stream, &asked, delay).await;
                });
            }
        })
        .await
}

async fn converse(mut stream: TcpStream, asked: &RefCell<Asked>, delay: Duration) -> anyhow::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(4096), Vec::with_capacity(512));
    loop {
        let mut waits = false;
        while let Some(length) = whole(&input)? {
            waits |= !delay.is_zero() && is_send(&input[..length]);
            answer(&input[..length], asked, &mut output)?;
            input.drain(..length);
        }
        if waits {
            tokio::time::sleep(delay).await;
        }
        stream.write_all(&output).await?;
        output.clear();
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Whether a request sends a text.
fn is_send(request: &[u8]) -> bool {
    request.starts_with(SEND) || request.starts_with(KANNEL_SEND)
}

fn answer(request: &[u8], asked: &RefCell<Asked>, output: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut asked = asked.borrow_mut();
    if request.starts_with(SEND) {
        let body = &request[find(request, b"\r\n\r\n").map_or(0, |head| head + 4)..];
        let message_id = asked.note(body)?;
        let body = format!(r#"{{"sid":"{message_id}","status":"queued","num_segments":"1"}}"#);
        write_answer(output, "201 Created", &body)
    } else if request.starts_with(KANNEL_SEND) {
        let query = request[KANNEL_SEND.len()..].split(|b| *b == b' ').next().unwrap_or_default();
        asked.note(query)?;
        write_answer(output, "202 Accepted", "0: Accepted for delivery")
    } else if request.starts_with(b"GET /count ") {
        let count = Count { requests: asked.requests, numbers: asked.numbers.len() };
        write_answer(output, "200 OK", &serde_json::to_string(&count)?)
    } else if request.starts_with(b"GET /requests ") {
        write_answer(output, "200 OK", &serde_json::to_string(&asked.recorded)?)
    } else {
        write_answer(output, "404 Not Found", "{}")
    }
}

impl Asked {
    /// Counts a request with these form fields. Returns its message id.
    fn note(&mut self, form: &[u8]) -> anyhow::Result<String> {
        let Some(number) = form
            .split(|b| *b == b'&')
            .find_map(|pair| pair.strip_prefix(b"To=").or_else(|| pair.strip_prefix(b"to=")))
        else {
            bail!("a request without a number")
        };
        self.requests += 1;
        self.numbers.insert(number.to_vec());
        let message_id = format!("SM{:032x}", self.requests);
        if self.record {
            let at_us = jobs::now().as_microsecond();
            let url = reqwest::Url::parse(&format!("http://carrier/?{}", std::str::from_utf8(form)?))?;
            let field = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
            let number = field("To").or_else(|| field("to")).unwrap_or_default();
            let callback = field("StatusCallback");
            self.recorded.push(Request { at_us, number, callback, message_id: message_id.clone() });
        }
        Ok(message_id)
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
