//! One connection's bytes.
//!
//! **Owns** the rule that a peer takes what it is sent at some pace at least: a client that takes a few bytes
//! now and then would otherwise hold an answer that streams for ever.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::pace::{Least, Pace};

/// A connection whose writes fail once its peer takes too little.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    least: Least,
    pace: Pace,
    /// When the peer is judged; made when it is waited for first.
    judged: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, least: Least) -> Connection {
        Connection { stream, least, pace: Pace::default(), judged: None }
    }

    /// The socket, without the rule.
    #[must_use]
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }

    fn account(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.pace.took(bytes, Instant::now());
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => self.wait(context),
        }
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let at = self.pace.blocked(Instant::now(), &self.least).into();
            let judged = self.judged.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if judged.deadline() != at {
                judged.as_mut().reset(at);
            }
            std::task::ready!(judged.as_mut().poll(context));
            if self.pace.is_too_slow(Instant::now(), &self.least) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes too little")));
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.account(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.account(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
