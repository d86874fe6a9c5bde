//! The control frames of the subprotocol `mandrill-live.v1`.
//!
//! **Owns** their names and fields, which are a promise to clients. Pure. A frame with `_cursor` is an
//! event; one with `_control` is one of these.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use shared::cursor::Cursor;

use crate::frame::{self, Opcode};
use crate::log::FeedState;
use crate::ring::{Gap, GapReason};

/// The subprotocol's name.
pub(crate) const SUBPROTOCOL: &str = "mandrill-live.v1";
/// Its version, as `hello` says it.
const VERSION: u32 = 1;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "_control", rename_all = "lowercase")]
pub(crate) enum Control {
    /// The first frame.
    Hello {
        version: u32,
        #[serde(serialize_with = "text")]
        at: Cursor,
        recovered: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        session: String,
        ping_interval: u64,
    },
    /// Nothing for this session up to here.
    Position {
        #[serde(serialize_with = "text")]
        at: Cursor,
    },
    /// Events are lost to this session.
    Gap {
        #[serde(serialize_with = "text")]
        after: Cursor,
        #[serde(serialize_with = "text")]
        before: Cursor,
        reason: &'static str,
    },
    /// Whether this replica hears the broker.
    Status {
        feed: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
    },
    /// Open another connection now; this one closes then.
    Goaway { reason: &'static str, within_ms: u64 },
    /// The filter that holds from here on.
    Filter {
        #[serde(serialize_with = "text")]
        at: Cursor,
    },
    /// What the client sent could not be used.
    Error { detail: String },
}

/// What a session is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// It did not ask to resume.
    NotAsked,
    /// It misses nothing.
    Yes,
    /// It does.
    No(GapReason),
}

impl Control {
    pub(crate) fn hello(at: Cursor, recovered: Recovered, session: u64, ping_seconds: u64) -> Control {
        let (recovered, reason) = match recovered {
            Recovered::NotAsked => (None, None),
            Recovered::Yes => (Some(true), None),
            Recovered::No(reason) => (Some(false), Some(reason.word())),
        };
        let session = format!("{session:x}");
        Control::Hello { version: VERSION, at, recovered, reason, session, ping_interval: ping_seconds }
    }

    pub(crate) fn gap(gap: &Gap) -> Control {
        Control::Gap { after: gap.after, before: gap.before, reason: gap.reason.word() }
    }

    pub(crate) fn status(feed: FeedState) -> Control {
        match feed {
            FeedState::Live => Control::Status { feed: "live", since: None },
            FeedState::Starting => Control::Status { feed: "stalled", since: None },
            FeedState::Stalled { since_ms } => Control::Status { feed: "stalled", since: Some(since_ms) },
        }
    }

    /// Its JSON text.
    pub(crate) fn json(&self) -> Vec<u8> {
        // Plain data cannot fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As a text frame.
    pub(crate) fn frame(&self) -> BytesMut {
        let text = self.json();
        let mut out = BytesMut::with_capacity(frame::HEAD_BYTES_MAX + text.len());
        frame::put(&mut out, Opcode::Text, &text);
        out
    }
}

impl GapReason {
    /// As clients read it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            GapReason::Retention => "retention",
            GapReason::Epoch => "epoch",
        }
    }
}

fn text<S: serde::Serializer>(cursor: &Cursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "_control", rename_all = "lowercase")]
pub(crate) enum Asked {
    /// Another filter from here on: names with a value or several.
    Filter(serde_json::Map<String, serde_json::Value>),
}

/// Reads what a client said.
pub(crate) fn read(text: &str) -> Result<Asked, String> {
    serde_json::from_str(text).map_err(|error| format!("not a control message: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::cursor::Epoch;

    #[test]
    fn frames_are_as_the_protocol_has_them() {
        let at = Cursor { epoch: Epoch::random(), sequence: 3, stored_ms: 4 };
        let check = |control: Control, expected: serde_json::Value| {
            let value: serde_json::Value = serde_json::from_slice(&control.json()).expect("JSON");
            assert_eq!(value, expected);
        };
        let cursor = at.to_string();
        check(
            Control::hello(at, Recovered::NotAsked, 255, 25),
            serde_json::json!({"_control": "hello", "version": 1, "at": cursor, "recovered": null, "session": "ff", "ping_interval": 25}),
        );
        check(
            Control::hello(at, Recovered::No(GapReason::Epoch), 1, 25),
            serde_json::json!({"_control": "hello", "version": 1, "at": cursor, "recovered": false, "reason": "epoch", "session": "1", "ping_interval": 25}),
        );
        check(Control::Position { at }, serde_json::json!({"_control": "position", "at": cursor}));
        check(
            Control::gap(&Gap { after: at, before: at, reason: GapReason::Retention }),
            serde_json::json!({"_control": "gap", "after": cursor, "before": cursor, "reason": "retention"}),
        );
        check(Control::status(FeedState::Live), serde_json::json!({"_control": "status", "feed": "live"}));
        check(
            Control::status(FeedState::Stalled { since_ms: 5 }),
            serde_json::json!({"_control": "status", "feed": "stalled", "since": 5}),
        );
        check(
            Control::Goaway { reason: "drain", within_ms: 7 },
            serde_json::json!({"_control": "goaway", "reason": "drain", "within_ms": 7}),
        );
    }

    #[test]
    fn what_a_client_says_is_read_or_refused() {
        assert!(matches!(read(r#"{"_control":"filter","event":["open"]}"#), Ok(Asked::Filter(map)) if map.len() == 1));
        for bad in ["", "{}", r#"{"_control":"shutdown"}"#, "[1]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
