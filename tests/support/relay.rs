//! A TCP relay that breaks the network on command, to be put between otpost and `RabbitMQ`, `PostgreSQL` or a carrier.
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

/// In bytes; of what has passed, so many are kept to find a needle that comes in pieces.
const LONGEST_NEEDLE: usize = 1024;
/// No trap is waited for longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// The way that bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToUpstream,
    ToClient,
}

/// Listens on a port of its own and forwards to one server. When it is dropped, its connections are cut.
pub(crate) struct Relay {
    addr: SocketAddr,
    link: Arc<Link>,
    accepting: AbortHandle,
}

/// What has passed so far, over all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that were taken and forwarded.
    pub(crate) connections: u64,
    /// Connections that were closed at once.
    pub(crate) refused: u64,
    pub(crate) bytes_to_upstream: u64,
    pub(crate) bytes_to_client: u64,
    /// Pieces in which the bytes of both directions were written.
    pub(crate) writes: u64,
}

/// What the relay and all its connections share.
struct Link {
    orders: watch::Sender<Orders>,
    connections: AtomicU64,
    refused: AtomicU64,
    bytes: [AtomicU64; 2],
    writes: AtomicU64,
}

#[derive(Default)]
struct Orders {
    stalled: bool,
    refusing: bool,
    delay: Duration,
    slice: Option<usize>,
    trap: Option<Trap>,
    sprung: bool,
    /// Goes up at each cut; a connection ends when this is no longer what it was at its start.
    cuts: u64,
    /// Goes up when the connections are abandoned; one that is older forwards nothing more.
    abandoned: u64,
    ending: Ending,
}

/// How connections are cut.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Close,
    Reset,
}

/// Cuts the connections when something passes; once.
struct Trap {
    direction: Direction,
    on: On,
}

enum On {
    Bytes(usize),
    Needle { needle: Vec<u8>, before_forwarding: bool },
}

impl Relay {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let link = Arc::new(Link {
            orders: watch::Sender::default(),
            connections: AtomicU64::default(),
            refused: AtomicU64::default(),
            bytes: Default::default(),
            writes: AtomicU64::default(),
        });
        let accepting = task::spawn(accept(listener, upstream, Arc::clone(&link))).abort_handle();
        Self { addr, link, accepting }
    }

    /// Where clients connect to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends a stall, a delay, slicing, refusing, and a trap that has not sprung.
    pub(crate) fn pass(&self) {
        self.order(|orders| {
            let Orders { cuts, abandoned, ending, .. } = *orders;
            *orders = Orders { cuts, abandoned, ending, ..Orders::default() };
        });
    }

    /// Forwards nothing more in either direction, neither bytes nor a close, and keeps the connections open. New ones
    /// are taken and stall too.
    pub(crate) fn stall(&self) {
        self.order(|orders| orders.stalled = true);
    }

    /// Those that are open forward nothing more, for ever, and nobody closes them; new ones are whole.
    pub(crate) fn abandon(&self) {
        self.order(|orders| orders.abandoned += 1);
    }

    /// Closes all connections now. New ones are taken.
    pub(crate) fn cut(&self) {
        self.end(Ending::Close);
    }

    /// As [`Self::cut`], but both ends see a reset instead of an orderly end.
    pub(crate) fn reset(&self) {
        self.end(Ending::Reset);
    }

    /// Whether new connections are closed at once. Those that are open stay.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.order(|orders| orders.refusing = refusing);
    }

    /// Waits so long before each write, in both directions.
    pub(crate) fn delay(&self, delay: Duration) {
        self.order(|orders| orders.delay = delay);
    }

    /// Writes at most so many bytes at a time. TCP may still put them together again, unless there is a delay too.
    pub(crate) fn slice(&self, bytes: usize) {
        assert!(bytes > 0, "a slice of no bytes would never get anything across");
        self.order(|orders| orders.slice = Some(bytes));
    }

    /// Forwards exactly so many more bytes in this direction, counted over all connections, then cuts them all.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: usize) {
        assert!(bytes > 0, "to cut now, call cut");
        self.set(Trap { direction, on: On::Bytes(bytes) });
    }

    /// Cuts all connections when these bytes have come in this direction, in one connection, be it in several pieces.
    ///
    /// The piece that completes them is either dropped (`before_forwarding`) or forwarded; then nothing that comes back
    /// gets through: the server has done what it was asked, and the client never hears.
    pub(crate) fn cut_when(&self, direction: Direction, needle: &[u8], before_forwarding: bool) {
        assert!((1..=LONGEST_NEEDLE).contains(&needle.len()), "a needle has 1 to {LONGEST_NEEDLE} bytes");
        let needle = needle.to_vec();
        self.set(Trap { direction, on: On::Needle { needle, before_forwarding } });
    }

    /// Waits until the last `cut_after` or `cut_when` has cut the connections.
    pub(crate) async fn sprung(&self) {
        let mut orders = self.link.orders.subscribe();
        let sprung = orders.wait_for(|orders| orders.sprung);
        time::timeout(PATIENCE, sprung)
            .await
            .expect("what is waited for passes")
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

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.link.orders.send_modify(change);
    }

    fn end(&self, ending: Ending) {
        self.order(|orders| (orders.cuts, orders.ending) = (orders.cuts + 1, ending));
    }

    fn set(&self, trap: Trap) {
        self.order(|orders| (orders.trap, orders.sprung) = (Some(trap), false));
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
        if link.orders.borrow().refusing {
            link.refused.fetch_add(1, SeqCst);
            continue;
        }
        link.connections.fetch_add(1, SeqCst);
        let orders = link.orders.subscribe();
        let born = orders.borrow().cuts;
        task::spawn(connection(client, upstream, Arc::clone(&link), orders, born));
    }
}

/// One connection, from the moment it was taken until it ends by itself or is cut.
async fn connection(
    mut client: TcpStream, upstream: SocketAddr, link: Arc<Link>, mut orders: watch::Receiver<Orders>,
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
        _ = orders.wait_for(|orders| orders.cuts != born) => {}
        _ = forwarding => {}
    }
    let resetting = {
        let orders = orders.borrow();
        orders.cuts != born && orders.ending == Ending::Reset
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
    let mut orders = link.orders.subscribe();
    let born = orders.borrow().abandoned;
    let mut buffer = vec![0; 16 * 1024];
    let mut seen = Vec::new();
    loop {
        let length = from.read(&mut buffer).await?;
        unstalled(&mut orders, born).await;
        if cutting.load(SeqCst) {
            // The other direction is writing its last bytes. Ending here would take them away from it.
            future::pending::<()>().await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        let chunk = &buffer[..length];
        let Some(last) = link.spring(direction, &seen, chunk) else {
            write(chunk, &mut to, direction, link, &mut orders, born).await?;
            seen.extend_from_slice(chunk);
            seen.drain(..seen.len().saturating_sub(LONGEST_NEEDLE));
            continue;
        };
        // The other direction falls silent first, so that no answer to these bytes can get through.
        cutting.store(true, SeqCst);
        write(&chunk[..last], &mut to, direction, link, &mut orders, born).await?;
        link.orders.send_modify(|orders| {
            (orders.cuts, orders.ending, orders.sprung) = (orders.cuts + 1, Ending::Close, true);
        });
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
}

async fn unstalled(orders: &mut watch::Receiver<Orders>, born: u64) {
    // It cannot fail: the link holds the sender, and outlives its connections.
    let _ = orders.wait_for(|orders| !orders.stalled && orders.abandoned == born).await;
}

/// Writes these bytes as slowly and in pieces as small as was ordered.
async fn write(
    mut bytes: &[u8], to: &mut WriteHalf<'_>, direction: Direction, link: &Link,
    orders: &mut watch::Receiver<Orders>, born: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let (delay, slice) = {
            let orders = orders.borrow();
            (orders.delay, orders.slice.unwrap_or(usize::MAX))
        };
        if !delay.is_zero() {
            // For so long, or until another delay is ordered.
            let _ = time::timeout(delay, orders.wait_for(|orders| orders.delay != delay)).await;
        }
        unstalled(orders, born).await;
        let (piece, rest) = bytes.split_at(slice.min(bytes.len()));
        to.write_all(piece).await?;
        link.bytes[direction as usize].fetch_add(piece.len() as u64, SeqCst);
        link.writes.fetch_add(1, SeqCst);
        bytes = rest;
    }
    Ok(())
}

impl Link {
    /// Takes the trap away if this chunk springs it, and says how many of the chunk's bytes are the last to go on.
    fn spring(&self, direction: Direction, seen: &[u8], chunk: &[u8]) -> Option<usize> {
        let mut last = None;
        self.orders.send_if_modified(|orders| {
            last = orders.trap.as_mut().and_then(|trap| trap.spring(direction, seen, chunk));
            if last.is_some() {
                orders.trap = None;
            }
            false // nobody waits for this: `sprung` is set when the last bytes are out
        });
        last
    }
}

impl Trap {
    fn spring(&mut self, direction: Direction, seen: &[u8], chunk: &[u8]) -> Option<usize> {
        if direction != self.direction {
            return None;
        }
        match &mut self.on {
            On::Bytes(left) if *left <= chunk.len() => Some(*left),
            On::Bytes(left) => {
                *left -= chunk.len();
                None
            }
            On::Needle { needle, before_forwarding } => {
                let begun = seen.len().saturating_sub(needle.len() - 1);
                let text = [&seen[begun..], chunk].concat();
                let found = text.windows(needle.len()).any(|window| window == needle);
                found.then_some(if *before_forwarding { 0 } else { chunk.len() })
            }
        }
    }
}
