//! A webhook's senders, as cheap as can be: ready-made requests on connections that stay open.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request's bytes, ready to be written.
pub(crate) type Request = Vec<u8>;

/// A signed form's bytes, for a connection that stays open.
pub(crate) fn request(body: &str, signature: &str) -> Request {
    format!(
        "POST /api/hook/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         X-Mandrill-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One connection.
pub(crate) struct Sender {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Sender {
    pub(crate) async fn connect(address: SocketAddr) -> Sender {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        Sender { stream, buffer: Vec::with_capacity(1024) }
    }

    /// Posts and waits for a 200; the seconds it took.
    pub(crate) async fn post(&mut self, request: &[u8]) -> f64 {
        let started = Instant::now();
        self.stream.write_all(request).await.expect("written");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("read");
            let text = std::str::from_utf8(&self.buffer).expect("text");
            assert!(read > 0, "closed after {text:?}");
            if text.contains("\r\n\r\n") && text.ends_with('}') {
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                return started.elapsed().as_secs_f64();
            }
        }
    }
}
