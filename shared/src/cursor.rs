//! A place in the stream, as a client stores it.
//!
//! **Owns** the text of a cursor. What a cursor means (whether its epoch is the stream's, whether the
//! event before it still exists) is decided where the stream is read. **May not touch** the broker.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The random id of one life of the stream, kept in the stream's metadata. Sequences are only
/// comparable within it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// A new one, for a stream just created.
    #[must_use]
    pub fn random() -> Epoch {
        Epoch(rand::random())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Epoch {
    type Err = InvalidCursor;
    fn from_str(text: &str) -> Result<Epoch, InvalidCursor> {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Epoch).ok_or(InvalidCursor)
    }
}

/// The position just after one event (or after none, with sequence 0).
///
/// Clients store its text, 32 characters of `A–Z a–z 0–9 _ -`, and give it back unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the stream this position belongs to.
    pub epoch: Epoch,
    /// The event's sequence in the stream; the first is 1.
    pub sequence: u64,
    /// When the broker stored the event, in milliseconds since 1970: a check against sequences that a
    /// restored backup uses again.
    pub stored_ms: u64,
}

/// The text is not a cursor this service gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: give back the value of `_cursor`, `at` or `next` as it was received")]
pub struct InvalidCursor;

/// The length of a cursor's text, in characters.
pub const CURSOR_LENGTH: usize = 32;

impl Cursor {
    fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.stored_ms.to_be_bytes());
        bytes
    }

    /// Writes the cursor's text without allocating.
    pub fn encode<'a>(&self, out: &'a mut [u8; CURSOR_LENGTH]) -> &'a str {
        // 24 bytes are 32 characters: the slice always fits.
        let _ = URL_SAFE_NO_PAD.encode_slice(self.bytes(), out);
        std::str::from_utf8(out).unwrap_or_default()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.encode(&mut [0; CURSOR_LENGTH]))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;
    fn from_str(text: &str) -> Result<Cursor, InvalidCursor> {
        if text.len() != CURSOR_LENGTH {
            return Err(InvalidCursor);
        }
        let mut bytes = [0; 24];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| InvalidCursor)?;
        let number = |at: usize| -> Result<u64, InvalidCursor> {
            let part = bytes.get(at..at + 8).ok_or(InvalidCursor)?;
            Ok(u64::from_be_bytes(part.try_into().map_err(|_| InvalidCursor)?))
        };
        if length != bytes.len() {
            return Err(InvalidCursor);
        }
        Ok(Cursor { epoch: Epoch(number(0)?), sequence: number(8)?, stored_ms: number(16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back(epoch: u64, sequence: u64, stored_ms: u64) {
            let cursor = Cursor { epoch: Epoch(epoch), sequence, stored_ms };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            prop_assert_eq!(Epoch(epoch).to_string().parse(), Ok(Epoch(epoch)));
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in ".{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
