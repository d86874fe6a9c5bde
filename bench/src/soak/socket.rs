//! One session's socket, from the client's side: frames as they come, without a copy of each.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{masked, shake_hands};

/// The subprotocol with control frames.
const V1: &str = "Sec-WebSocket-Protocol: mandrill-live.v1\r\n";
/// What one read may take.
const READ_BYTES: usize = 64 << 10;
/// The head of a server's frame: two bytes, and its length in two or eight more.
const HEAD_BYTES: usize = 2;

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Text(&'a [u8]),
    Ping,
    /// With its code, where it has one.
    Close(Option<u16>),
}

pub(super) struct Socket {
    stream: TcpStream,
    frames: Frames,
}

/// Bytes that have come, and how many of them were read.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    read: usize,
}

impl Socket {
    pub(super) async fn open(address: SocketAddr, path: &str, control: bool) -> Socket {
        let (stream, bytes) = shake_hands(address, path, if control { V1 } else { "" }).await;
        Socket { stream, frames: Frames { bytes, read: 0 } }
    }

    /// The next frame that has come whole.
    pub(super) fn next(&mut self) -> Option<Frame<'_>> {
        self.frames.next()
    }

    /// Waits for more; false where nothing comes any more.
    pub(super) async fn more(&mut self) -> bool {
        let Frames { bytes, read } = &mut self.frames;
        bytes.drain(..*read);
        *read = 0;
        bytes.reserve(READ_BYTES);
        matches!(self.stream.read_buf(bytes).await, Ok(count) if count > 0)
    }

    /// Answers a ping without a payload.
    pub(super) async fn pong(&mut self) {
        let _ = self.stream.write_all(&masked(0x8A, b"")).await;
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        let _ = self.stream.write_all(&masked(0x88, &1000_u16.to_be_bytes())).await;
    }
}

impl Frames {
    fn next(&mut self) -> Option<Frame<'_>> {
        let rest = &self.bytes[self.read..];
        let (opcode, short) = (*rest.first()? & 0x0F, *rest.get(1)?);
        let (wide, length) = match short {
            126 => (2, u64::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?))),
            127 => (8, u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)),
            short => (0, u64::from(short)),
        };
        let start = HEAD_BYTES + wide;
        let end = start + usize::try_from(length).ok()?;
        let payload = rest.get(start..end)?;
        self.read += end;
        Some(match opcode {
            0x1 => Frame::Text(payload),
            0x9 => Frame::Ping,
            0x8 => Frame::Close(payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]))),
            other => panic!("a frame of the kind {other:x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_come_whole() {
        let long = "x".repeat(300);
        let sent = [b"\x81\x02hi\x89\x00\x81\x7e\x01\x2c".as_slice(), long.as_bytes(), b"\x88\x02\x0f\xa1"].concat();
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for byte in sent {
            frames.bytes.push(byte);
            if let Some(frame) = frames.next() {
                found.push(format!("{frame:?}"));
            }
        }
        let text = |text: &str| format!("{:?}", Frame::Text(text.as_bytes()));
        assert_eq!(found, [text("hi"), "Ping".to_owned(), text(&long), format!("{:?}", Frame::Close(Some(4001)))]);
    }
}
