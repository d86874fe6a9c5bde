//! One WebSocket session.
//!
//! **Owns** its socket from the handshake to its last byte: writes the log from its place on, answers
//! what the client sends, ends with a code. **May not touch** the broker, and never waits for another
//! session. A session is a place in the log and what the socket did not take yet, nothing more.

pub(crate) mod inbound;
pub(crate) mod outbox;

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shared::close::Close;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::frame::{self, Opcode};
use crate::log::Log;
use crate::ring::{Item, Reach};
use inbound::{Fragments, Inbound, ReadEnd, Reader};
use outbox::{Outbox, PIECES_MAX};

/// For the rest of a frame that has begun to arrive.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// For a client to take the close frame and answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Writes in a row before other sessions of the same thread get their turn.
const WRITES_A_TURN_MAX: usize = 16;

/// A session's socket and state.
pub(crate) struct Session {
    stream: Arc<TcpStream>,
    log: Arc<Log>,
    writer: Mutex<Writer>,
}

/// What is to be written, and where in the log the session stands.
struct Writer {
    outbox: Outbox,
    /// The index of the next item of the log.
    next: u64,
    /// The session's last frame is in the outbox, or written.
    ending: Option<Close>,
}

/// What a turn of writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The session is at the head of the log.
    AtHead,
    /// The socket takes no more for now.
    Blocked,
    /// There is more, but others shall have their turn.
    More,
    /// The last frame was written.
    Ended(Close),
    /// The connection is gone.
    Gone,
}

/// Ends a connection that was upgraded only to be refused.
pub(crate) async fn refuse(stream: TcpStream, close: Close) {
    let session = Session::new(stream, Arc::new(Log::new()));
    session.end(close);
    session.run(Bytes::new(), CancellationToken::new()).await;
}

type Reading = Pin<Box<dyn Future<Output = (ReadEnd, Fragments)> + Send>>;

impl Session {
    /// A session that begins at the head of the log.
    pub(crate) fn new(stream: TcpStream, log: Arc<Log>) -> Arc<Session> {
        let next = log.read(|ring| ring.head_index()).unwrap_or_default();
        let writer = Writer { outbox: Outbox::default(), next, ending: None };
        Arc::new(Session { stream: Arc::new(stream), log, writer: Mutex::new(writer) })
    }

    /// Runs it to its end; `unread` is what came with the handshake. Says why it ended, where a close
    /// frame did.
    pub(crate) async fn run(self: Arc<Session>, unread: Bytes, stop: CancellationToken) -> Option<Close> {
        let ended = self.serve(unread, stop).await;
        if ended.is_some() {
            self.linger().await;
        }
        ended
    }

    async fn serve(self: &Arc<Session>, unread: Bytes, stop: CancellationToken) -> Option<Close> {
        let mut head = self.log.head();
        let mut reading = (!unread.is_empty()).then(|| self.read(unread, Fragments::default()));
        let mut message = Fragments::default();
        loop {
            let turn = self.write();
            match turn {
                Turn::Ended(close) => return Some(close),
                Turn::Gone => return None,
                Turn::More => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Turn::AtHead | Turn::Blocked => {}
            }
            tokio::select! {
                end = finished(&mut reading) => {
                    reading = None;
                    match end {
                        (ReadEnd::Idle, fragments) => message = fragments,
                        (ReadEnd::Gone, _) => return None,
                        (ReadEnd::Refused(close), _) => self.end(close),
                    }
                }
                ready = self.stream.readable(), if reading.is_none() => match ready {
                    Ok(()) => reading = Some(self.read(Bytes::new(), std::mem::take(&mut message))),
                    Err(_) => return None,
                },
                ready = self.stream.writable(), if turn == Turn::Blocked => {
                    if ready.is_err() {
                        return None;
                    }
                }
                () = moved(&mut head), if turn == Turn::AtHead => {}
                () = stop.cancelled(), if !self.is_ending() => self.end(Close::GoingAway),
            }
        }
    }

    /// Writes until the socket is full or the head is reached.
    fn write(&self) -> Turn {
        let mut writer = self.writer();
        for _ in 0..WRITES_A_TURN_MAX {
            if writer.outbox.is_empty() {
                if let Some(close) = writer.ending {
                    return Turn::Ended(close);
                }
                match self.log.at(writer.next) {
                    Reach::Head => return Turn::AtHead,
                    Reach::Item(Item::Events(chunk)) => {
                        let all = chunk.range_after(0);
                        writer.next += 1;
                        writer.outbox.load(chunk, [all]);
                    }
                    // A client that knows no gap frame must not be left with a silent one.
                    Reach::Item(Item::Gap(gap)) => {
                        tracing::debug!(?gap, "a session ends before a gap");
                        writer.end(Close::TooSlow);
                    }
                    Reach::Gone => writer.end(Close::TooSlow),
                }
            }
            match write_once(&self.stream, &mut writer.outbox) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Blocked,
                Err(_) => return Turn::Gone,
            }
        }
        Turn::More
    }

    /// Reads all that has arrived and answers it.
    fn read(self: &Arc<Session>, unread: Bytes, message: Fragments) -> Reading {
        let session = Arc::clone(self);
        let mut reader = Reader::new(Arc::clone(&self.stream), unread, message);
        Box::pin(async move {
            loop {
                let end = match timeout(FRAME_TIMEOUT, reader.next()).await {
                    Ok(Ok(inbound)) => match session.answer(inbound) {
                        Ok(()) => continue,
                        Err(end) => end,
                    },
                    Ok(Err(end)) => end,
                    Err(_) => ReadEnd::Refused(Close::Protocol),
                };
                return (end, reader.into_fragments());
            }
        })
    }

    fn answer(&self, inbound: Inbound) -> Result<(), ReadEnd> {
        let mut writer = self.writer();
        if writer.ending.is_some() {
            // Only the client's farewell matters now.
            return if matches!(inbound, Inbound::Close(_)) { Err(ReadEnd::Gone) } else { Ok(()) };
        }
        match inbound {
            // Clients of the plain form have nothing to say; the original's took any text.
            Inbound::Text(_) | Inbound::Pong => {}
            Inbound::Ping(payload) => {
                let mut pong = BytesMut::with_capacity(payload.len() + frame::HEAD_BYTES_MAX);
                frame::put(&mut pong, Opcode::Pong, &payload);
                writer.outbox.control(&pong).map_err(|_| ReadEnd::Refused(Close::Abuse))?;
            }
            Inbound::Close(payload) => {
                let mut farewell = BytesMut::with_capacity(payload.len() + frame::HEAD_BYTES_MAX);
                frame::put(&mut farewell, Opcode::Close, &payload);
                writer.outbox.end_with(&farewell);
                writer.ending = Some(Close::Normal);
            }
        }
        // Most often the socket has room: the answer leaves at once, without a turn of its own.
        match write_once(&self.stream, &mut writer.outbox) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(ReadEnd::Gone),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn end(&self, close: Close) {
        self.writer().end(close);
    }

    fn is_ending(&self) -> bool {
        self.writer().ending.is_some()
    }

    /// Lets the client read the close frame: a socket dropped with bytes unread would be reset, and the
    /// frame lost with it.
    async fn linger(&self) {
        let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        let mut waste = [0; 512];
        let _ = timeout(CLOSE_TIMEOUT, async {
            while self.stream.readable().await.is_ok() {
                match self.stream.try_read(&mut waste) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        })
        .await;
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic while it was held would be a bug in this session only; others go on.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn end(&mut self, close: Close) {
        if self.ending.is_none() {
            self.ending = Some(close);
            self.outbox.end_with(&frame::close(close));
        }
    }
}

/// One write of what the outbox has.
fn write_once(stream: &TcpStream, outbox: &mut Outbox) -> io::Result<()> {
    if outbox.is_empty() {
        return Ok(());
    }
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    let count = outbox.pieces(&mut pieces);
    let written = stream.try_write_vectored(pieces.get(..count).unwrap_or_default())?;
    outbox.advance(written);
    Ok(())
}

async fn finished(reading: &mut Option<Reading>) -> (ReadEnd, Fragments) {
    match reading {
        Some(reading) => reading.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn moved(head: &mut watch::Receiver<u64>) {
    if head.changed().await.is_err() {
        // The log lives as long as any session: this cannot happen, and must not spin if it does.
        std::future::pending().await
    }
}
