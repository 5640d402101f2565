//! Tests the relay that other tests use for network faults.
#![expect(clippy::unwrap_used, reason = "a panic in a helper fails the test")]

mod support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use support::relay::{
    Direction::{ToClient, ToUpstream},
    Relay,
};

/// Time after which nothing more is expected.
const SILENCE: Duration = Duration::from_millis(150);

/// Time limit of each wait, so that a test fails instead of hanging.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.unwrap()
}

/// An echo server. It passes the received bytes to the test first.
struct Echo {
    addr: SocketAddr,
    received: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (forward, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let forward = forward.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        let _ = forward.send(buffer[..length].to_vec());
                        if stream.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { addr, received }
    }

    async fn receives(&mut self, expected: &[u8]) {
        let mut all = Vec::new();
        while all.len() < expected.len() {
            all.extend(in_time(self.received.recv()).await.unwrap());
        }
        assert_eq!(all, expected);
    }
}

async fn echo_behind_relay() -> (Echo, Relay) {
    let echo = Echo::start().await;
    let relay = Relay::start(echo.addr).await;
    (echo, relay)
}

async fn connect(relay: &Relay) -> TcpStream {
    TcpStream::connect(relay.addr()).await.unwrap()
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}

async fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    in_time(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, expected);
}

/// Asserts that the connection ends, in any way, without further bytes.
async fn ends(stream: &mut TcpStream) {
    if let Ok(length) = in_time(stream.read(&mut [0; 16])).await {
        assert_eq!(length, 0, "bytes arrived instead of the end");
    }
}

#[tokio::test]
async fn bytes_are_forwarded_and_counted() {
    let (mut echo, relay) = echo_behind_relay().await;
    let (mut one, mut two) = (connect(&relay).await, connect(&relay).await);
    send(&mut one, b"hello").await;
    echo.receives(b"hello").await;
    reads(&mut one, b"hello").await;
    send(&mut two, b"you").await;
    reads(&mut two, b"you").await;
    let counts = relay.counts();
    assert_eq!((counts.connections, counts.refused), (2, 0));
    assert_eq!((counts.bytes_to_upstream, counts.bytes_to_client), (8, 8));
}

#[tokio::test]
async fn a_client_that_closes_its_write_half_gets_the_answer() {
    let (_echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    send(&mut stream, b"last words").await;
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"last words");
}

#[tokio::test]
async fn more_bytes_than_a_socket_buffers_pass_in_both_directions_at_once() {
    let (_echo, relay) = echo_behind_relay().await;
    let (mut reader, mut writer) = connect(&relay).await.into_split();
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|index| (index % 251) as u8).collect();
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.unwrap();
    writing.await.unwrap();
    assert!(answer == bytes);
}

#[tokio::test]
async fn a_stalled_link_stays_open_and_delivers_after_the_stall() {
    let (mut echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    send(&mut stream, b"one").await;
    reads(&mut stream, b"one").await;
    echo.receives(b"one").await;
    relay.stall();
    send(&mut stream, b"two").await;
    let mut late = connect(&relay).await;
    send(&mut late, b"too").await;
    assert!(timeout(SILENCE, echo.received.recv()).await.is_err(), "bytes passed a stalled link");
    assert!(timeout(SILENCE, stream.read(&mut [0; 16])).await.is_err(), "a stalled connection ended");
    relay.pass();
    reads(&mut stream, b"two").await;
    reads(&mut late, b"too").await;
}

#[tokio::test]
async fn a_cut_closes_open_and_stalled_connections_and_accepts_new_ones() {
    let (_echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    send(&mut stream, b"one").await;
    reads(&mut stream, b"one").await;
    relay.stall();
    relay.cut();
    ends(&mut stream).await;
    relay.pass();
    let mut next = connect(&relay).await;
    send(&mut next, b"two").await;
    reads(&mut next, b"two").await;
}

#[tokio::test]
async fn a_cut_closes_cleanly_and_a_reset_does_not() {
    let (_echo, relay) = echo_behind_relay().await;
    let (mut one, mut two) = (connect(&relay).await, connect(&relay).await);
    send(&mut one, b"one").await;
    reads(&mut one, b"one").await;
    relay.cut();
    assert_eq!(one.read(&mut [0; 16]).await.unwrap(), 0);
    ends(&mut two).await;
    two = connect(&relay).await;
    send(&mut two, b"two").await;
    reads(&mut two, b"two").await;
    relay.reset();
    assert_eq!(two.read(&mut [0; 16]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_refusing_relay_closes_only_new_connections() {
    let (_echo, relay) = echo_behind_relay().await;
    let mut open = connect(&relay).await;
    send(&mut open, b"one").await;
    reads(&mut open, b"one").await;
    relay.refuse(true);
    ends(&mut connect(&relay).await).await;
    send(&mut open, b"two").await;
    reads(&mut open, b"two").await;
    relay.refuse(false);
    let mut next = connect(&relay).await;
    send(&mut next, b"three").await;
    reads(&mut next, b"three").await;
    assert_eq!((relay.counts().connections, relay.counts().refused), (2, 1));
}

#[tokio::test]
async fn a_delay_applies_in_each_direction() {
    let (_echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    relay.delay(Duration::from_millis(80));
    let started = Instant::now();
    send(&mut stream, b"slow").await;
    reads(&mut stream, b"slow").await;
    assert!(started.elapsed() >= Duration::from_millis(160));
}

#[tokio::test]
async fn slices_take_many_writes_and_arrive_completely() {
    let (_echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    relay.slice(3);
    send(&mut stream, b"abcdefghij").await;
    reads(&mut stream, b"abcdefghij").await;
    let writes = relay.counts().writes;
    assert!(writes >= 8, "{writes} writes for ten bytes, three at a time, in both directions");
}

#[tokio::test]
async fn a_cut_after_some_bytes_forwards_exactly_those() {
    for direction in [ToUpstream, ToClient] {
        let (_echo, relay) = echo_behind_relay().await;
        let mut stream = connect(&relay).await;
        relay.cut_after(direction, 7);
        send(&mut stream, b"four").await;
        reads(&mut stream, b"four").await;
        send(&mut stream, b"five5").await;
        in_time(relay.triggered()).await;
        let counts = relay.counts();
        if direction == ToUpstream {
            assert_eq!((counts.bytes_to_upstream, counts.bytes_to_client), (7, 4));
        } else {
            reads(&mut stream, b"fiv").await;
            assert_eq!((counts.bytes_to_upstream, counts.bytes_to_client), (9, 7));
        }
        ends(&mut stream).await;
    }
}

#[tokio::test]
async fn a_request_cut_before_it_is_forwarded_never_reaches_the_server() {
    let (mut echo, relay) = echo_behind_relay().await;
    let (mut stream, mut other) = (connect(&relay).await, connect(&relay).await);
    relay.cut_when(ToUpstream, b"COMMIT", true);
    send(&mut stream, b"BEGIN").await;
    reads(&mut stream, b"BEGIN").await;
    echo.receives(b"BEGIN").await;
    send(&mut stream, b"COMMIT").await;
    in_time(relay.triggered()).await;
    ends(&mut stream).await;
    ends(&mut other).await;
    assert!(timeout(SILENCE, echo.received.recv()).await.is_err(), "the server received it");
}

#[tokio::test]
async fn a_request_cut_after_it_is_forwarded_reaches_the_server_and_its_answer_is_lost() {
    let (mut echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    relay.cut_when(ToUpstream, b"COMMIT", false);
    send(&mut stream, b"COMMIT").await;
    echo.receives(b"COMMIT").await;
    ends(&mut stream).await;
    assert_eq!(relay.counts().bytes_to_client, 0);
}

#[tokio::test]
async fn an_early_answer_is_lost_too() {
    let (mut echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    let request = b"please, COMMIT this";
    relay.slice(1);
    relay.delay(Duration::from_millis(5));
    relay.cut_when(ToUpstream, b"COMMIT", false);
    send(&mut stream, request).await;
    echo.receives(request).await;
    ends(&mut stream).await;
    assert_eq!(relay.counts().bytes_to_client, 0);
}

#[tokio::test]
async fn a_pattern_is_found_once_in_the_answer_and_across_chunks() {
    let (mut echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    relay.cut_when(ToClient, b"COMMIT", true);
    send(&mut stream, b"COM").await;
    reads(&mut stream, b"COM").await;
    echo.receives(b"COM").await;
    send(&mut stream, b"MIT").await;
    echo.receives(b"MIT").await;
    in_time(relay.triggered()).await;
    ends(&mut stream).await;
    let mut next = connect(&relay).await;
    send(&mut next, b"COMMIT").await;
    reads(&mut next, b"COMMIT").await;
}

#[tokio::test]
async fn a_dropped_relay_closes_its_connections() {
    let (_echo, relay) = echo_behind_relay().await;
    let mut stream = connect(&relay).await;
    send(&mut stream, b"one").await;
    reads(&mut stream, b"one").await;
    drop(relay);
    ends(&mut stream).await;
}
