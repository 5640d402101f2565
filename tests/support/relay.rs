//! A TCP relay that causes network faults on command, between otpost and `RabbitMQ`, `PostgreSQL` or a
//! carrier.
//!
//! ```text
//! client ──ToUpstream──▶ relay ──ToUpstream──▶ server
//!        ◀──ToClient───        ◀──ToClient───
//! ```

use std::future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{self, AbortHandle};
use tokio::time;

/// In bytes. The relay keeps this many past bytes to find a pattern across chunks.
const MAX_PATTERN_LENGTH: usize = 1024;
/// Maximum wait for a cut.
const TRIGGER_TIMEOUT: Duration = Duration::from_secs(90);

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToUpstream,
    ToClient,
}

/// Listens on a free port and forwards to one server. Its connections are cut on drop.
pub(crate) struct Relay {
    addr: SocketAddr,
    link: Arc<Link>,
    accepting: AbortHandle,
}

/// Totals over all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that were accepted and forwarded.
    pub(crate) connections: u64,
    /// Connections that were closed at once.
    pub(crate) refused: u64,
    pub(crate) bytes_to_upstream: u64,
    pub(crate) bytes_to_client: u64,
    /// Number of writes in both directions.
    pub(crate) writes: u64,
}

/// State that the relay shares with all its connections.
struct Link {
    settings: watch::Sender<Settings>,
    connections: AtomicU64,
    refused: AtomicU64,
    bytes: [AtomicU64; 2],
    writes: AtomicU64,
}

#[derive(Default)]
struct Settings {
    stalled: bool,
    refusing: bool,
    delay: Duration,
    slice: Option<usize>,
    pending_cut: Option<PendingCut>,
    triggered: bool,
    /// Incremented at each cut. A connection ends when the value changes.
    cuts: u64,
    /// Incremented by `abandon`. An older connection stops forwarding.
    abandonments: u64,
    close_mode: CloseMode,
}

/// How connections are cut.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum CloseMode {
    #[default]
    Close,
    Reset,
}

/// A cut that waits for its condition. It happens once.
struct PendingCut {
    direction: Direction,
    condition: CutCondition,
}

enum CutCondition {
    Bytes(usize),
    Pattern { pattern: Vec<u8>, before_forwarding: bool },
}

impl Relay {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let link = Arc::new(Link {
            settings: watch::Sender::default(),
            connections: AtomicU64::default(),
            refused: AtomicU64::default(),
            bytes: Default::default(),
            writes: AtomicU64::default(),
        });
        let accepting = task::spawn(accept(listener, upstream, Arc::clone(&link))).abort_handle();
        Self { addr, link, accepting }
    }

    /// Returns the address for clients.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends a stall, a delay, slicing and refusing, and removes a pending cut.
    pub(crate) fn pass(&self) {
        self.change(|settings| {
            let Settings { cuts, abandonments, close_mode, .. } = *settings;
            *settings = Settings { cuts, abandonments, close_mode, ..Settings::default() };
        });
    }

    /// Stops forwarding in both directions, including closes, and keeps the connections open. New connections
    /// are accepted and stall too.
    pub(crate) fn stall(&self) {
        self.change(|settings| settings.stalled = true);
    }

    /// Open connections stop forwarding and stay open. New connections work.
    pub(crate) fn abandon(&self) {
        self.change(|settings| settings.abandonments += 1);
    }

    /// Closes all connections now. New connections are accepted.
    pub(crate) fn cut(&self) {
        self.end(CloseMode::Close);
    }

    /// Like [`Self::cut`], but with a reset instead of a clean close.
    pub(crate) fn reset(&self) {
        self.end(CloseMode::Reset);
    }

    /// With `true`, new connections are closed at once. Open connections stay.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.change(|settings| settings.refusing = refusing);
    }

    /// Waits this long before each write, in both directions.
    pub(crate) fn delay(&self, delay: Duration) {
        self.change(|settings| settings.delay = delay);
    }

    /// Writes at most this many bytes at a time. TCP may join them again, unless there is a delay too.
    pub(crate) fn slice(&self, bytes: usize) {
        assert!(bytes > 0, "a slice needs at least one byte");
        self.change(|settings| settings.slice = Some(bytes));
    }

    /// Forwards this many more bytes in this direction over all connections, then cuts them all.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: usize) {
        assert!(bytes > 0, "to cut now, call cut");
        self.set(PendingCut { direction, condition: CutCondition::Bytes(bytes) });
    }

    /// Cuts all connections when one connection has received this pattern in this direction, possibly in
    /// several chunks.
    ///
    /// The last chunk is dropped (`before_forwarding`) or forwarded. Then no answer gets through: the server
    /// has processed the request, and the client gets no answer.
    pub(crate) fn cut_when(&self, direction: Direction, pattern: &[u8], before_forwarding: bool) {
        assert!(
            (1..=MAX_PATTERN_LENGTH).contains(&pattern.len()),
            "a pattern has 1 to {MAX_PATTERN_LENGTH} bytes"
        );
        let pattern = pattern.to_vec();
        self.set(PendingCut { direction, condition: CutCondition::Pattern { pattern, before_forwarding } });
    }

    /// Waits until the last `cut_after` or `cut_when` has cut the connections.
    pub(crate) async fn triggered(&self) {
        let mut settings = self.link.settings.subscribe();
        let triggered = settings.wait_for(|settings| settings.triggered);
        time::timeout(TRIGGER_TIMEOUT, triggered)
            .await
            .expect("the cut happens")
            .expect("the relay holds the sender");
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            connections: self.link.connections.load(SeqCst),
            refused: self.link.refused.load(SeqCst),
            bytes_to_upstream: self.link.bytes[Direction::ToUpstream as usize].load(SeqCst),
            bytes_to_client: self.link.bytes[Direction::ToClient as usize].load(SeqCst),
            writes: self.link.writes.load(SeqCst),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.link.settings.send_modify(change);
    }

    fn end(&self, close_mode: CloseMode) {
        self.change(|settings| (settings.cuts, settings.close_mode) = (settings.cuts + 1, close_mode));
    }

    fn set(&self, pending_cut: PendingCut) {
        self.change(|settings| (settings.pending_cut, settings.triggered) = (Some(pending_cut), false));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, link: Arc<Link>) {
    while let Ok((client, _)) = listener.accept().await {
        if link.settings.borrow().refusing {
            link.refused.fetch_add(1, SeqCst);
            continue;
        }
        link.connections.fetch_add(1, SeqCst);
        let settings = link.settings.subscribe();
        let born = settings.borrow().cuts;
        task::spawn(connection(client, upstream, Arc::clone(&link), settings, born));
    }
}

/// One connection, from its acceptance until it ends or is cut.
async fn connection(
    mut client: TcpStream, upstream: SocketAddr, link: Arc<Link>, mut settings: watch::Receiver<Settings>,
    born: u64,
) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let cutting = AtomicBool::new(false);
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = server.split();
    let forwarding = async {
        tokio::try_join!(
            pump(Direction::ToUpstream, client_reads, server_writes, &link, &cutting),
            pump(Direction::ToClient, server_reads, client_writes, &link, &cutting),
        )
    };
    tokio::select! {
        _ = settings.wait_for(|settings| settings.cuts != born) => {}
        _ = forwarding => {}
    }
    let resetting = {
        let settings = settings.borrow();
        settings.cuts != born && settings.close_mode == CloseMode::Reset
    };
    if resetting {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Forwards one direction of one connection. An error ends the connection.
async fn pump(
    direction: Direction, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, link: &Link, cutting: &AtomicBool,
) -> io::Result<()> {
    let mut settings = link.settings.subscribe();
    let born = settings.borrow().abandonments;
    let mut buffer = vec![0; 16 * 1024];
    let mut seen = Vec::new();
    loop {
        let length = from.read(&mut buffer).await?;
        unstalled(&mut settings, born).await;
        if cutting.load(SeqCst) {
            // The other direction is writing its last bytes. A return here would drop them.
            future::pending::<()>().await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        let chunk = &buffer[..length];
        let Some(last) = link.trigger(direction, &seen, chunk) else {
            write(chunk, &mut to, direction, link, &mut settings, born).await?;
            seen.extend_from_slice(chunk);
            seen.drain(..seen.len().saturating_sub(MAX_PATTERN_LENGTH));
            continue;
        };
        // First the other direction stops, so that no answer to these bytes gets through.
        cutting.store(true, SeqCst);
        write(&chunk[..last], &mut to, direction, link, &mut settings, born).await?;
        link.settings.send_modify(|settings| {
            (settings.cuts, settings.close_mode, settings.triggered) =
                (settings.cuts + 1, CloseMode::Close, true);
        });
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
}

async fn unstalled(settings: &mut watch::Receiver<Settings>, born: u64) {
    // This cannot fail: the link holds the sender and outlives its connections.
    let _ = settings.wait_for(|settings| !settings.stalled && settings.abandonments == born).await;
}

/// Writes the bytes with the configured delay and slice size.
async fn write(
    mut bytes: &[u8], to: &mut WriteHalf<'_>, direction: Direction, link: &Link,
    settings: &mut watch::Receiver<Settings>, born: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let (delay, slice) = {
            let settings = settings.borrow();
            (settings.delay, settings.slice.unwrap_or(usize::MAX))
        };
        if !delay.is_zero() {
            // Until the delay has passed or changes.
            let _ = time::timeout(delay, settings.wait_for(|settings| settings.delay != delay)).await;
        }
        unstalled(settings, born).await;
        let (piece, rest) = bytes.split_at(slice.min(bytes.len()));
        to.write_all(piece).await?;
        link.bytes[direction as usize].fetch_add(piece.len() as u64, SeqCst);
        link.writes.fetch_add(1, SeqCst);
        bytes = rest;
    }
    Ok(())
}

impl Link {
    /// Removes the pending cut if this chunk triggers it. Returns how many of the chunk's bytes to forward.
    fn trigger(&self, direction: Direction, seen: &[u8], chunk: &[u8]) -> Option<usize> {
        let mut last = None;
        self.settings.send_if_modified(|settings| {
            last = settings
                .pending_cut
                .as_mut()
                .and_then(|pending_cut| pending_cut.trigger(direction, seen, chunk));
            if last.is_some() {
                settings.pending_cut = None;
            }
            false // nothing waits for this: `triggered` is set after the last bytes
        });
        last
    }
}

impl PendingCut {
    fn trigger(&mut self, direction: Direction, seen: &[u8], chunk: &[u8]) -> Option<usize> {
        if direction != self.direction {
            return None;
        }
        match &mut self.condition {
            CutCondition::Bytes(left) if *left <= chunk.len() => Some(*left),
            CutCondition::Bytes(left) => {
                *left -= chunk.len();
                None
            }
            CutCondition::Pattern { pattern, before_forwarding } => {
                let begun = seen.len().saturating_sub(pattern.len() - 1);
                let text = [&seen[begun..], chunk].concat();
                let found = text.windows(pattern.len()).any(|window| window == pattern);
                found.then_some(if *before_forwarding { 0 } else { chunk.len() })
            }
        }
    }
}
