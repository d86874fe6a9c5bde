//! WebSocket frames as a server writes them (RFC 6455, section 5.2).
//!
//! **Owns** the layout of a frame's head. Pure: frames are values, who writes them is another's business.

use bytes::{BufMut, BytesMut};
use shared::close::Close;

const FINAL: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Text = 0x1,
    Close = 0x8,
    Pong = 0xA,
}

/// A ping without a payload.
pub(crate) const PING: &[u8] = &[FINAL | 0x9, 0];
/// The longest head of a server's frame: no mask.
pub(crate) const HEAD_BYTES_MAX: usize = 10;
/// The longest payload of a control frame.
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Writes the head of an unfragmented, unmasked frame.
pub(crate) fn put_head(out: &mut impl BufMut, opcode: Opcode, payload_bytes: usize) {
    out.put_u8(FINAL | opcode as u8);
    match payload_bytes {
        short @ 0..=125 => out.put_u8(short as u8),
        medium @ 126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(medium as u16);
        }
        long => {
            out.put_u8(127);
            out.put_u64(long as u64);
        }
    }
}

/// The payload of a whole frame that [`put_head`] began.
pub(crate) fn payload(frame: &[u8]) -> &[u8] {
    let head = match frame.get(1) {
        Some(127) => 10,
        Some(126) => 4,
        Some(_) | None => 2,
    };
    frame.get(head..).unwrap_or_default()
}

/// Writes a whole frame.
pub(crate) fn put(out: &mut impl BufMut, opcode: Opcode, payload: &[u8]) {
    put_head(out, opcode, payload.len());
    out.put_slice(payload);
}

/// A close frame with its code and reason.
pub(crate) fn close(close: Close) -> BytesMut {
    let mut payload = BytesMut::with_capacity(CONTROL_BYTES_MAX);
    payload.put_u16(close.code());
    payload.put_slice(close.reason().as_bytes());
    let mut frame = BytesMut::with_capacity(payload.len() + 2);
    put(&mut frame, Opcode::Close, &payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_as_few_bytes_as_the_standard_asks() {
        let check = |length: usize, head: &[u8]| {
            let mut out = BytesMut::new();
            put_head(&mut out, Opcode::Text, length);
            assert_eq!(&out[..], head, "{length}");
        };
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(0xFFFF, &[0x81, 126, 0xFF, 0xFF]);
        check(0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_frame_holds_its_code_first() {
        let frame = close(Close::GoingAway);
        assert_eq!(frame[0], 0x88);
        assert_eq!(usize::from(frame[1]), frame.len() - 2);
        assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), 1001);
    }
}
