//! An SMTP server that stores mail and does not deliver it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::local;

/// Maximum number of stored e-mails.
const MAX_EMAILS: usize = 100;
/// Recipients with this prefix are rejected.
const REFUSED: &str = "nobody@";
/// Maximum size of an e-mail in bytes.
const MAX_EMAIL_BYTES: usize = 256 * 1024;

/// A received e-mail.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Email {
    pub(super) at: jiff::Timestamp,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: String,
}

/// Received e-mails, newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Emails(Arc<Mutex<VecDeque<Email>>>);

impl Emails {
    pub(super) fn all(&self) -> Vec<Email> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, email: Email) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front(email);
        kept.truncate(MAX_EMAILS);
    }
}

/// An SMTP server on loopback.
pub(super) struct Mailbox {
    address: SocketAddr,
    emails: Emails,
    stop: CancellationToken,
}

impl Mailbox {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(local(0)).await?;
        let mailbox = Self {
            address: listener.local_addr()?,
            emails: Emails::default(),
            stop: CancellationToken::new(),
        };
        let (emails, stop) = (mailbox.emails.clone(), mailbox.stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                if let Ok((stream, _)) = accepted {
                    let emails = emails.clone();
                    tokio::spawn(async move { serve(stream, &emails).await });
                }
            }
        });
        Ok(mailbox)
    }

    pub(super) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub(super) fn emails(&self) -> Emails {
        self.emails.clone()
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Handles one SMTP session (RFC 5321). Supports what a client needs for plain mail.
async fn serve(stream: TcpStream, emails: &Emails) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 demo\r\n").await?;
    let (mut to, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let upper = line.trim().to_ascii_uppercase();
        let answer: &[u8] = match upper.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => b"250-demo\r\n250 8BITMIME\r\n",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                if to.starts_with(REFUSED) { b"550 no such mailbox\r\n" } else { b"250 accepted\r\n" }
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let text = read_data(&mut stream).await?;
                emails.keep(read_email(&to, &text));
                b"250 kept\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            "HELO" | "MAIL" | "RSET" | "NOOP" => b"250 fine\r\n",
            _ => b"502 not here\r\n",
        };
        stream.write_all(answer).await?;
    }
}

async fn read_data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let (mut text, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 || line == ".\r\n" || text.len() > MAX_EMAIL_BYTES {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn read_email(to: &str, text: &str) -> Email {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let unfolded = head.replace("\r\n ", " ");
    let header = |name: &str| {
        let found = unfolded.lines().find_map(|l| l.strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    let quoted = header("Content-Transfer-Encoding:") == "quoted-printable";
    let body = if quoted { unquote(body) } else { body.to_owned() };
    let at = crate::clock::machine_now();
    Email {
        at,
        to: to.to_owned(),
        subject: decode_words(&header("Subject:")),
        body: body.replace("\r\n", "\n"),
    }
}

/// Decodes quoted-printable (RFC 2045, 6.7).
fn unquote(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let (mut out, mut bytes) = (vec![], joined.bytes());
    while let Some(b) = bytes.next() {
        if b != b'=' {
            out.push(b);
            continue;
        }
        let pair = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
        let hex = std::str::from_utf8(&pair).ok().and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(b'?'));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Decodes the encoded words of a subject (RFC 2047), in base64 as lettre writes them.
fn decode_words(text: &str) -> String {
    use base64::Engine;
    let words = text.split(' ').map(|word| {
        let inner = word.strip_prefix("=?utf-8?b?").and_then(|w| w.strip_suffix("?="));
        let plain = inner.and_then(|w| base64::engine::general_purpose::STANDARD.decode(w).ok());
        plain.map_or_else(|| format!("{word} "), |p| String::from_utf8_lossy(&p).into_owned())
    });
    words.collect::<String>().trim().to_owned()
}
