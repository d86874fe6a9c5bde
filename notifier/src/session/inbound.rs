//! What a client sends.
//!
//! **Owns** the reading of client frames: fastwebsockets parses them, this bounds them and says what each
//! asks for. **May not** write: answers are the session's business.
//!
//! A reader exists only while there is something to read. Most clients send nothing for hours, and a
//! reader's buffer would be most of what they cost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use fastwebsockets::{CloseCode, Frame, OpCode, Role, WebSocket, WebSocketError};
use shared::close::Close;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::frame::CONTROL_BYTES_MAX;

/// The longest message a client may send, fragments together.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A text message.
    Text(String),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// An answer to our ping.
    Pong,
    /// It says goodbye; its close frame's payload is sent back.
    Close(Vec<u8>),
}

/// Why nothing more is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// All that has arrived was read; the next byte begins a frame.
    Idle,
    /// The connection is gone.
    Gone,
    /// The client broke the rules.
    Refused(Close),
}

/// Reads frames off a socket until it has no more, without keeping a byte of the next.
pub(crate) struct Reader {
    socket: WebSocket<Source>,
    taken: Arc<AtomicUsize>,
    message: Fragments,
}

/// Parts of a message that have arrived.
#[derive(Debug, Default)]
pub(crate) struct Fragments(Option<Vec<u8>>);

impl Reader {
    /// `unread` is what arrived with the handshake; `message` what an earlier reader left.
    pub(crate) fn new(stream: Arc<TcpStream>, unread: Bytes, message: Fragments) -> Reader {
        let taken = Arc::new(AtomicUsize::new(0));
        let source = Source { stream, unread, handed: 0, taken: Arc::clone(&taken) };
        let mut socket = WebSocket::after_handshake(source, Role::Server);
        // Writing is the session's business, the limit includes its value, and what is masked must be
        // seen to be masked before it is unmasked.
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        socket.set_max_message_size(MESSAGE_BYTES_MAX + 1);
        Reader { socket, taken, message }
    }

    /// The next thing the client asks for. Not to be dropped half-way and asked again.
    pub(crate) async fn next(&mut self) -> Result<Inbound, ReadEnd> {
        loop {
            let mut frame = self.socket.read_frame().await.map_err(|error| end_of(&error))?;
            self.count(&mut frame)?;
            if let Some(inbound) = self.message.take(&frame)? {
                return Ok(inbound);
            }
        }
    }

    /// What is left of a message that is under way.
    pub(crate) fn into_fragments(self) -> Fragments {
        self.message
    }

    /// Counts a frame's bytes as taken, and refuses it where it is not masked.
    fn count(&self, frame: &mut Frame<'_>) -> Result<(), ReadEnd> {
        let mut head = [0; 16];
        let head_bytes = frame.fmt_head(&mut head);
        self.taken.fetch_add(head_bytes + frame.payload.len(), Ordering::Relaxed);
        let masked = head[1] & 0x80 != 0;
        // A length written in more bytes than it needs is against the standard, and leaves bytes uncounted:
        // `Source` then takes the connection for one with a frame under way, which ends it in time.
        if masked { Ok(()) } else { Err(ReadEnd::Refused(Close::Protocol)) }
    }
}

impl Fragments {
    fn take(&mut self, frame: &Frame<'_>) -> Result<Option<Inbound>, ReadEnd> {
        let payload = &frame.payload[..];
        match (frame.opcode, &mut self.0) {
            (OpCode::Ping | OpCode::Pong | OpCode::Close, _) if payload.len() > CONTROL_BYTES_MAX => {
                Err(ReadEnd::Refused(Close::Protocol))
            }
            (OpCode::Ping, _) => Ok(Some(Inbound::Ping(payload.to_vec()))),
            (OpCode::Pong, _) => Ok(Some(Inbound::Pong)),
            (OpCode::Close, _) => goodbye(payload).map(Some),
            (OpCode::Binary, _) => Err(ReadEnd::Refused(Close::Unsupported)),
            (OpCode::Text, Some(_)) | (OpCode::Continuation, None) => Err(ReadEnd::Refused(Close::Protocol)),
            (OpCode::Text, None) if frame.fin => text(payload.to_vec()).map(Some),
            (OpCode::Text, None) => {
                self.0 = Some(payload.to_vec());
                Ok(None)
            }
            (OpCode::Continuation, Some(message)) => {
                if message.len() + payload.len() > MESSAGE_BYTES_MAX {
                    return Err(ReadEnd::Refused(Close::TooLarge));
                }
                message.extend_from_slice(payload);
                if frame.fin { text(self.0.take().unwrap_or_default()).map(Some) } else { Ok(None) }
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> Result<Inbound, ReadEnd> {
    String::from_utf8(bytes).map(Inbound::Text).map_err(|_| ReadEnd::Refused(Close::InvalidText))
}

fn goodbye(payload: &[u8]) -> Result<Inbound, ReadEnd> {
    match payload {
        [] => Ok(Inbound::Close(Vec::new())),
        [high, low, reason @ ..] if CloseCode::from(u16::from_be_bytes([*high, *low])).is_allowed() => {
            match std::str::from_utf8(reason) {
                Ok(_) => Ok(Inbound::Close(payload.to_vec())),
                Err(_) => Err(ReadEnd::Refused(Close::InvalidText)),
            }
        }
        _ => Err(ReadEnd::Refused(Close::Protocol)),
    }
}

fn end_of(error: &WebSocketError) -> ReadEnd {
    match error {
        WebSocketError::IoError(error) if error.kind() == io::ErrorKind::WouldBlock => ReadEnd::Idle,
        WebSocketError::IoError(_) | WebSocketError::UnexpectedEOF | WebSocketError::ConnectionClosed => ReadEnd::Gone,
        WebSocketError::InvalidUTF8 => ReadEnd::Refused(Close::InvalidText),
        WebSocketError::FrameTooLarge => ReadEnd::Refused(Close::TooLarge),
        // The library's list is open, and much of it is about clients; whatever else it finds is not
        // WebSocket as the standard has it.
        _ => ReadEnd::Refused(Close::Protocol),
    }
}

/// The socket's bytes. Where none are left and no frame has begun, it fails with `WouldBlock` instead of
/// waiting, which ends the reader.
struct Source {
    stream: Arc<TcpStream>,
    unread: Bytes,
    handed: usize,
    taken: Arc<AtomicUsize>,
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(out.remaining());
            out.put_slice(&self.unread[..count]);
            self.unread.advance(count);
            self.handed += count;
            return Poll::Ready(Ok(()));
        }
        loop {
            match self.stream.try_read(out.initialize_unfilled()) {
                Ok(count) => {
                    out.advance(count);
                    self.handed += count;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.handed == self.taken.load(Ordering::Relaxed) {
                        return Poll::Ready(Err(error));
                    }
                    std::task::ready!(self.stream.poll_read_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Source {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
