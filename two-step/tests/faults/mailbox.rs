//! A mail server that keeps what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A letter as it came.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) text: String,
}

impl Letter {
    /// The code in its subject.
    pub(crate) fn code(&self) -> Option<String> {
        let subject = self.text.lines().find_map(|l| l.strip_prefix("Subject: "))?;
        subject
            .split(' ')
            .next()
            .filter(|w| w.len() == 6 && w.bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned)
    }
}

/// A mail server on loopback.
pub(crate) struct Mailbox {
    pub(crate) address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
    accepting: AbortHandle,
}

impl Mailbox {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, letters) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Letter>>>::default());
        let kept = Arc::clone(&letters);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { address, letters, accepting: accepting.abort_handle() }
    }

    /// Letters to an address, oldest first.
    pub(crate) fn letters(&self, to: &str) -> Vec<Letter> {
        self.letters.lock().unwrap().iter().filter(|l| l.to == to).cloned().collect()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One conversation (RFC 5321): enough for a client that sends plain mail.
async fn serve(stream: TcpStream, letters: Arc<Mutex<Vec<Letter>>>) -> std::io::Result<()> {
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
                b"250 taken\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let text = read_data(&mut stream).await?;
                letters.lock().unwrap().push(Letter { to: to.clone(), text });
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
