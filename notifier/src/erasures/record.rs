//! An erasure as it is kept apart from the broker: who, and when. Never an address.
//!
//! **Owns** the log lines that are written of each, and the reading of such lines: a restored backup knows nothing
//! of those that came after it. Pure but for the log.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shared::subject::RecipientHash;

use super::NotErased;

/// One erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Whose events were erased.
    pub recipient: RecipientHash,
    /// Those stored up to then, in milliseconds since 1970.
    pub erased_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    recipient: String,
    erased_at: String,
}

impl Record {
    /// Reads a line of a list, or of a notifier's log in either format; nothing where the line is of no erasure.
    #[must_use]
    pub fn read(line: &str) -> Option<Record> {
        let Line { recipient, erased_at } = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(_) => {
                let field = |name: &str| {
                    let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                    value.map(str::to_owned)
                };
                Line { recipient: field("recipient")?, erased_at: field("erased_at")? }
            }
        };
        let erased = humantime::parse_rfc3339(&erased_at).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let recipient = RecipientHash::parse(&recipient)?;
        Some(Record { recipient, erased_ms: u64::try_from(erased.as_millis()).ok()? })
    }

    /// Its line in a list: JSON.
    #[must_use]
    pub fn line(&self) -> String {
        let line = Line { recipient: self.recipient.to_string(), erased_at: self.erased_at() };
        serde_json::to_string(&line).unwrap_or_default()
    }

    fn erased_at(&self) -> String {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.erased_ms)).to_string()
    }

    /// A replica met the tombstone: from here on it shows nothing of what was stored before. Every replica says so, since
    /// the one that was asked to erase may end before it can.
    pub(crate) fn log_met(&self, sequence: u64) {
        let (recipient, erased_at) = (self.recipient, self.erased_at());
        tracing::info!(%recipient, %erased_at, sequence, "a person is erased: nothing of theirs is shown any more");
    }

    /// It is done.
    pub(super) fn log(&self, sequence: u64, events: u64) {
        let (recipient, erased_at) = (self.recipient, self.erased_at());
        tracing::info!(%recipient, %erased_at, sequence, events, "a person's events were erased");
    }

    /// The tombstone is stored: nothing of theirs is shown, and the rest will be done.
    pub(super) fn log_unfinished(&self, sequence: u64, why: &NotErased) {
        let (recipient, erased_at) = (self.recipient, self.erased_at());
        tracing::warn!(%recipient, %erased_at, sequence, %why, "a person's events are being erased, and not all is done");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_from_a_list_and_from_a_log_in_either_format() {
        let record = Record { recipient: RecipientHash::of("user@example.com"), erased_ms: 1_760_000_000_123 };
        assert_eq!(record.line(), r#"{"recipient":"b4c9a289323b21a0","erased_at":"2025-10-09T08:53:20.123Z"}"#);
        let json = r#"{"timestamp":"2025-10-09T08:53:21.5Z","level":"INFO","message":"a person's events were erased",
            "recipient":"b4c9a289323b21a0","erased_at":"2025-10-09T08:53:20.123Z","sequence":42,"events":3}"#;
        let text = "2025-10-09T08:53:21.500000Z  INFO notifier::erasures: a person's events were erased \
                    recipient=b4c9a289323b21a0 erased_at=2025-10-09T08:53:20.123Z sequence=42 events=3";
        for line in [record.line().as_str(), json, text] {
            assert_eq!(Record::read(line), Some(record), "{line}");
        }
        for other in [
            "",
            "{}",
            "2025-10-09T08:53:21.5Z  INFO notifier: the feed is live",
            r#"{"recipient":"user@example.com","erased_at":"2025-10-09T08:53:20.123Z"}"#,
            r#"{"recipient":"b4c9a289323b21a0","erased_at":"yesterday"}"#,
            "recipient=b4c9a289323b21a0",
        ] {
            assert_eq!(Record::read(other), None, "{other}");
        }
    }
}
