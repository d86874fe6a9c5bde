//! Serving HTTP/1.1 on a listener, with limits.
//!
//! **Owns** the accept loop, the connections' limits and their graceful end. **May not** know a route:
//! what a request means is its [`Handler`]'s business.

mod connection;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Body;
use crate::pace::Least;
pub use connection::Connection;

/// Answers requests. Cloned for each connection.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request from the connection's other end.
    fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send;

    /// A connection over the limit was turned away, without a request of it having been read: for those who count.
    fn turned_away(&self) {}
}

/// The limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at once; one more is answered 503 and closed.
    pub connections_max: usize,
    /// From a connection's start, or its last answer, to the end of a request's head.
    pub head_timeout: Duration,
    /// The bytes of a request's head.
    pub head_bytes_max: usize,
    /// What one read may take in: larger costs memory a connection, smaller costs system calls a body.
    pub read_bytes_max: usize,
    /// A peer that takes less than this of what it is sent is cut, also where it still answers as a machine:
    /// an answer that streams would otherwise wait for it for ever.
    pub least: Least,
    /// What the kernel may hold for a peer that does not read, where that is bounded; it doubles the number
    /// for its own needs.
    pub send_buffer_bytes: Option<usize>,
}

/// For answers that end by themselves: something, within a minute.
pub const LEAST: Least = Least { bytes_a_second: 1, over: Duration::from_secs(60) };

/// For listeners that see probes and scrapes only.
pub const ADMIN_LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: 64,
    head_timeout: Duration::from_secs(10),
    head_bytes_max: 8 << 10,
    read_bytes_max: 8 << 10,
    least: LEAST,
    send_buffer_bytes: None,
};

/// What a client over the limit is told, as far as its connection takes it at once.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: application/problem+json\r\nContent-Length: 130\r\n\r\n\
    {\"type\":\"urn:mandrill-live:problem:connections\",\"title\":\"Too many connections\",\"status\":503,\"detail\":\"try again in some seconds\"}\n";
/// For handing a client over the limit its answer.
const FULL_TIMEOUT: Duration = Duration::from_secs(1);
/// Clients over the limit that are being told so at once; those beyond are closed without a word.
const FULL_ANSWERS_MAX: usize = 64;
/// Between two lines of the log about clients over the limit.
const FULL_SAID_EVERY: Duration = Duration::from_secs(60);
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address.
///
/// # Errors
/// Names the address and the variable that sets it.
pub async fn bind(address: SocketAddr, variable: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} ({error}): set {variable} to another address"))
    })
}

/// Serves until `stop`; then accepts no more and lets requests under way end, until `drain` from then.
/// Upgraded connections are not waited for: they belong to whoever took them.
pub async fn run<H: Handler>(
    listener: TcpListener,
    handler: H,
    limits: ConnectionLimits,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut server = Server::new(limits, stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => server.connection(stream, peer, &handler),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let deadline = Instant::now() + drain;
    drop(listener);
    server.connections.close();
    if timeout_at(deadline, server.connections.wait()).await.is_err() {
        let open = server.connections.len();
        tracing::warn!(open, "connections were still busy at the end of the drain: leaving them");
    }
}

struct Server {
    http: http1::Builder,
    limits: ConnectionLimits,
    stop: CancellationToken,
    connections: TaskTracker,
    places: Arc<Semaphore>,
    full_answers: Arc<Semaphore>,
    /// Connections that were turned away and are not told of yet, and when that was last done.
    turned_away: u64,
    said: Option<Instant>,
}

impl Server {
    fn new(limits: ConnectionLimits, stop: CancellationToken) -> Server {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_header_size(limits.head_bytes_max)
            .max_buf_size(limits.read_bytes_max);
        Server {
            http,
            limits,
            stop,
            connections: TaskTracker::new(),
            places: Arc::new(Semaphore::new(limits.connections_max)),
            full_answers: Arc::new(Semaphore::new(FULL_ANSWERS_MAX)),
            turned_away: 0,
            said: None,
        }
    }

    fn connection<H: Handler>(&mut self, stream: TcpStream, peer: SocketAddr, handler: &H) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            handler.turned_away();
            return self.refuse(stream);
        };
        // Answers are written whole: waiting to merge them with later ones would only delay them.
        let _ = stream.set_nodelay(true);
        // A kernel that refuses keeps its own bounds.
        let socket = SockRef::from(&stream);
        let _ = socket.set_tcp_user_timeout(Some(self.limits.least.over));
        if let Some(bytes) = self.limits.send_buffer_bytes {
            let _ = socket.set_send_buffer_size(bytes);
        }
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let handler = handler.clone();
            // Boxed, so that a connection without a request does not hold the room for one.
            Box::pin(async move { Ok::<_, Infallible>(handler.handle(request, peer).await) })
        });
        let connection = self
            .http
            .serve_connection(TokioIo::new(Connection::new(stream, self.limits.least)), service)
            .with_upgrades();
        let stop = self.stop.clone();
        self.connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            // What can go wrong here is the client's doing: it left, stalled, or speaks no HTTP.
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            drop(place);
        });
    }

    fn refuse(&mut self, mut stream: TcpStream) {
        self.turned_away += 1;
        if self.said.is_none_or(|at| at.elapsed() >= FULL_SAID_EVERY) {
            let (most, connections) = (self.limits.connections_max, self.turned_away);
            tracing::warn!(most, connections, "connections are turned away: as many as may be at once are open");
            (self.said, self.turned_away) = (Some(Instant::now()), 0);
        }
        let Ok(place) = Arc::clone(&self.full_answers).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _ = timeout(FULL_TIMEOUT, async {
                stream.write_all(FULL).await?;
                stream.shutdown().await
            })
            .await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_full_listener_states_its_own_length() {
        let text = std::str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
    }
}
