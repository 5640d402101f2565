//! An SMTP server that stores the mail it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A received e-mail.
#[derive(Debug, Clone)]
pub(crate) struct Email {
    pub(crate) to: String,
    pub(crate) text: String,
}

impl Email {
    /// Returns the code in the subject.
    pub(crate) fn code(&self) -> Option<String> {
        let subject = self.text.lines().find_map(|l| l.strip_prefix("Subject: "))?;
        subject
            .split(' ')
            .next()
            .filter(|w| w.len() == 6 && w.bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned)
    }
}

/// An SMTP server on loopback.
pub(crate) struct Mailbox {
    pub(crate) address: SocketAddr,
    emails: Arc<Mutex<Vec<Email>>>,
    accepting: AbortHandle,
}

impl Mailbox {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, emails) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Email>>>::default());
        let kept = Arc::clone(&emails);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { address, emails, accepting: accepting.abort_handle() }
    }

    /// Returns the e-mails to an address, oldest first.
    pub(crate) fn emails(&self, to: &str) -> Vec<Email> {
        self.emails.lock().unwrap().iter().filter(|l| l.to == to).cloned().collect()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Handles one SMTP session (RFC 5321). Supports what a client needs for plain mail.
async fn serve(stream: TcpStream, emails: Arc<Mutex<Vec<Email>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 here\r\n").await?;
    let (mut to, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match line.trim().split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => b"250-here\r\n250 8BITMIME\r\n",
            "RCPT" => {
                line.split(['<', '>']).nth(1).unwrap_or_default().clone_into(&mut to);
                b"250 accepted\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let text = read_data(&mut stream).await?;
                emails.lock().unwrap().push(Email { to: to.clone(), text });
                b"250 kept\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        stream.write_all(answer).await?;
    }
}

async fn read_data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let (mut text, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(&line.replace("\r\n", "\n"));
    }
}
