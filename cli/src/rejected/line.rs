//! What is printed of a rejected message: never its content.
//!
//! **Owns** the columns and the JSON form. Pure.

use std::time::SystemTime;

use serde::Serialize;

use super::shelf::Entry;
use crate::terminal::plain;

/// A line of JSON.
pub(super) fn json(entry: &Entry) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        sequence: u64,
        received: String,
        bytes: Option<usize>,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        object: Option<&'a str>,
    }
    let line = Line {
        sequence: entry.sequence,
        received: time(entry.received),
        bytes: entry.bytes,
        reason: &entry.reason,
        object: entry.object.as_deref(),
    };
    // Numbers and texts are always JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

/// A line each, its numbers aligned with those of the others.
pub(super) fn aligned(entries: &[Entry]) -> Vec<String> {
    let width = |of: fn(&Entry) -> String| entries.iter().map(|entry| of(entry).len()).max().unwrap_or_default();
    let (sequence_width, bytes_width) = (width(|entry| entry.sequence.to_string()), width(bytes));
    let line = |entry: &Entry| {
        format!(
            "{:>sequence_width$}  {}  {:>bytes_width$}  {}",
            entry.sequence,
            time(entry.received),
            bytes(entry),
            plain(&entry.reason)
        )
    };
    entries.iter().map(line).collect()
}

/// What is known of one, a line each.
pub(super) fn card(entry: &Entry) -> String {
    let mut card = format!(
        "sequence  {}\nreceived  {}\nbytes     {}\nreason    {}\n",
        entry.sequence,
        time(entry.received),
        bytes(entry),
        plain(&entry.reason)
    );
    if let Some(object) = &entry.object {
        card.push_str(&format!("object    {}\n", plain(object)));
    }
    card
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn bytes(entry: &Entry) -> String {
    entry.bytes.map_or_else(|| "gone".to_owned(), |bytes| bytes.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(sequence: u64, bytes: Option<usize>, reason: &str) -> Entry {
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_000_000);
        Entry { sequence, received, bytes, reason: reason.to_owned(), object: None }
    }

    #[test]
    fn lines_are_aligned_and_hold_nothing_a_terminal_obeys() {
        assert_eq!(
            aligned(&[entry(9, Some(7), "one"), entry(10, Some(123), "an\x1bother"), entry(11, None, "three")]),
            [
                " 9  2025-10-09T08:53:20Z     7  one",
                "10  2025-10-09T08:53:20Z   123  an\u{fffd}other",
                "11  2025-10-09T08:53:20Z  gone  three"
            ]
        );
    }

    #[test]
    fn a_pipe_gets_json() {
        let mut large = entry(9, Some(7), "a \"reason\"");
        assert_eq!(
            json(&large),
            r#"{"sequence":9,"received":"2025-10-09T08:53:20Z","bytes":7,"reason":"a \"reason\""}"#
        );
        large.object = Some("rejected-x".to_owned());
        assert!(json(&large).ends_with(r#","object":"rejected-x"}"#));
        assert!(card(&large).ends_with("\nobject    rejected-x\n"));
    }
}
