//! The HTTP connections of a listener. Their number is bounded, and a client that sends nothing cannot keep others out.
//!
//! When there is no room for another connection, the one that has been waiting for a whole request for the longest time is closed. A
//! client that sends its request at once is never that one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a connection may wait for the end of a request's head, and so for the next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept, for example without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest number of connections of a listener, however many descriptors there are.
const MAX_CONNECTIONS: usize = 8192;
/// One address may have this part of the connections.
const ADDRESS_SHARE: f64 = 0.75;

/// Raises the limit of file descriptors as far as this process may, and returns it.
pub(super) fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    limit.current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// The number of connections of one of this many listeners. Half of the descriptors stay free for carriers, ledger and broker.
pub(super) fn connections_per_listener(descriptors: usize, listeners: usize) -> usize {
    (descriptors / 2 / listeners.max(1)).clamp(16, MAX_CONNECTIONS)
}

/// Serves a listener until the shutdown, and then the requests that are under way.
pub(super) async fn serve(
    listener: TcpListener, router: Router, max: usize, tasks: TaskTracker, shutdown: CancellationToken,
) {
    serve_within(HEAD_TIMEOUT, listener, router, max, tasks, shutdown).await;
}

async fn serve_within(
    head_timeout: Duration, listener: TcpListener, router: Router, max: usize, tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let open = Arc::new(Connections { max, ..Connections::default() });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(connection) = open.admit(from.ip()) else { continue };
        let _ = stream.set_nodelay(true);
        tasks.spawn(run(stream, router.clone(), connection, head_timeout, shutdown.clone()));
    }
}

async fn run(
    stream: TcpStream, router: Router, connection: Arc<Connection>, head_timeout: Duration,
    shutdown: CancellationToken,
) {
    let close = connection.close.clone();
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let request_guard = RequestGuard(Arc::clone(&connection));
        if request.body().is_end_stream() {
            connection.set_idle(None);
        }
        let connection = Arc::clone(&connection);
        let answering = inner.call(request.map(|body| Arriving { body, connection }));
        async move {
            let answer = answering.await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Guarded { body, _request: request_guard }))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = close.cancelled() => return,
            () = shutdown.cancelled(), if !is_stopping => {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The open connections of a listener.
#[derive(Default)]
struct Connections {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, (IpAddr, CancellationToken, Option<Instant>)>,
}

/// One connection. It is counted until it is dropped.
struct Connection {
    id: u64,
    close: CancellationToken,
    all: Arc<Connections>,
}

/// A request until the end of its answer.
struct RequestGuard(Arc<Connection>);

impl Connections {
    /// Counts a new connection. Closes an idle one if there is no room, or if this address has too many. `None` if none is idle.
    fn admit(self: &Arc<Self>, from: IpAddr) -> Option<Arc<Connection>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = open.by_id.values().filter(|(address, ..)| *address == from).count();
        let has_share = (of_address as f64) < self.max as f64 * ADDRESS_SHARE;
        if open.by_id.len() >= self.max || !has_share {
            let idle = open
                .by_id
                .iter()
                .filter(|(_, (address, _, since))| since.is_some() && (has_share || *address == from));
            let longest = idle.min_by_key(|(_, (_, _, since))| *since).map(|(id, _)| *id)?;
            if let Some((_, close, _)) = open.by_id.remove(&longest) {
                close.cancel();
            }
        }
        let (id, close) = (open.next, CancellationToken::new());
        open.next += 1;
        open.by_id.insert(id, (from, close.clone(), Some(Instant::now())));
        Some(Arc::new(Connection { id, close, all: Arc::clone(self) }))
    }

    fn set_idle(&self, id: u64, since: Option<Instant>) {
        if let Some(connection) = self.open.lock().unwrap_or_else(PoisonError::into_inner).by_id.get_mut(&id)
        {
            connection.2 = since;
        }
    }
}

impl Connection {
    fn set_idle(&self, since: Option<Instant>) {
        self.all.set_idle(self.id, since);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&self.id);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.set_idle(Some(Instant::now()));
    }
}

/// The body of a request. Its connection waits until the body is there.
struct Arriving {
    body: Incoming,
    connection: Arc<Connection>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>, cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() && (self.body.is_end_stream() || matches!(polled, Poll::Ready(None))) {
            self.connection.set_idle(None);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which ends its request when it is dropped.
struct Guarded {
    body: Body,
    _request: RequestGuard,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>, cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Clients that send nothing, half of a head, and nothing after a request.
    ///
    /// Fails if a connection that waits for a request stays open for ever, or is closed early.
    #[tokio::test]
    async fn a_connection_without_a_request_is_closed_after_its_time() {
        const TIME: Duration = Duration::from_millis(500);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        tokio::spawn(serve_within(TIME, listener, router, 16, TaskTracker::new(), CancellationToken::new()));
        for sent in ["", "GET / HTTP/1.1\r\nhost: x\r\n", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let (since, mut answer) = (Instant::now(), vec![]);
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            assert!(closed.is_ok(), "it stays open after {sent:?}");
            assert!(since.elapsed() >= TIME * 9 / 10, "closed after {:?}: {sent:?}", since.elapsed());
            assert_eq!(answer.ends_with(b"here"), sent.ends_with("\r\n\r\n"), "{sent:?}");
        }
    }

    #[test]
    fn the_connection_that_waits_longest_makes_room() {
        let all = Arc::new(Connections { max: 3, ..Connections::default() });
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let [first, second, third] = [1, 2, 3].map(|n| all.admit(address(n)).unwrap());
        first.set_idle(None);
        let busy = RequestGuard(Arc::clone(&first));
        let fourth = all.admit(address(4)).unwrap();
        assert!(second.close.is_cancelled() && !first.close.is_cancelled() && !third.close.is_cancelled());
        // A finished request makes its connection the youngest of the idle ones.
        drop(busy);
        let fifth = all.admit(address(5)).unwrap();
        assert!(third.close.is_cancelled() && !first.close.is_cancelled() && !fourth.close.is_cancelled());
        // Nobody is closed within a request.
        for connection in [&first, &fourth, &fifth] {
            connection.set_idle(None);
        }
        assert!(all.admit(address(6)).is_none());
    }

    #[test]
    fn one_address_cannot_close_the_connections_of_others() {
        let all = Arc::new(Connections { max: 4, ..Connections::default() });
        let (mine, theirs) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let other = all.admit(theirs).unwrap();
        let own: Vec<_> = (0..10).map(|_| all.admit(mine).unwrap()).collect();
        assert!(!other.close.is_cancelled());
        assert_eq!(own.iter().filter(|connection| !connection.close.is_cancelled()).count(), 3);
    }

    #[test]
    fn half_of_the_descriptors_stay_free() {
        assert_eq!(connections_per_listener(256, 3), 42);
        assert_eq!(connections_per_listener(1_048_576, 3), MAX_CONNECTIONS);
        assert_eq!(connections_per_listener(10, 3), 16);
    }
}
