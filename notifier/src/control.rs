//! The control frames of the subprotocol `mandrill-live.v1`.
//!
//! **Owns** their names and fields, which are a promise to clients. Pure. A frame with `_cursor` is an
//! event; one with `_control` is one of these.

use std::fmt::Display;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use shared::cursor::Cursor;
use shared::subject::RecipientHash;

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
    /// Forget this person's events.
    Erased {
        #[serde(serialize_with = "text")]
        recipient: RecipientHash,
    },
    /// Open another connection now; this one closes then.
    Goaway { reason: &'static str, within_ms: u64 },
    /// The filter that holds from here on.
    Filter {
        #[serde(serialize_with = "text")]
        at: Cursor,
    },
    /// The token that holds from here on, and its end in milliseconds since 1970.
    Token { expires_at: u64 },
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

fn text<S: serde::Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "_control", rename_all = "lowercase")]
pub(crate) enum Asked {
    /// Another filter from here on: names with a value or several.
    Filter(serde_json::Map<String, serde_json::Value>),
    /// A newer token.
    Token { token: Token },
}

/// A token on its way to be judged: nothing prints it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(pub(crate) String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(token)")
    }
}

/// Reads what a client said.
pub(crate) fn read(text: &str) -> Result<Asked, String> {
    // An array would do for an object elsewhere.
    if !text.trim_ascii_start().starts_with('{') {
        return Err("not a control message: it is not a JSON object".to_owned());
    }
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
        check(
            Control::Erased { recipient: RecipientHash::of("user@example.com") },
            serde_json::json!({"_control": "erased", "recipient": "b4c9a289323b21a0"}),
        );
        check(Control::Token { expires_at: 8 }, serde_json::json!({"_control": "token", "expires_at": 8}));
    }

    /// One of each, with and without what may be left out. A new one has to be added: the match is exhaustive.
    fn one_of_each() -> Vec<Control> {
        let at = Cursor { epoch: Epoch::random(), sequence: 3, stored_ms: 4 };
        let next = |control: &Control| match control {
            Control::Hello { reason: None, .. } => Some(Control::hello(at, Recovered::No(GapReason::Epoch), 1, 25)),
            Control::Hello { .. } => Some(Control::Position { at }),
            Control::Position { .. } => Some(Control::gap(&Gap { after: at, before: at, reason: GapReason::Epoch })),
            Control::Gap { .. } => Some(Control::status(FeedState::Live)),
            Control::Status { since: None, .. } => Some(Control::status(FeedState::Stalled { since_ms: 5 })),
            Control::Status { .. } => Some(Control::Erased { recipient: RecipientHash::of("a@example.com") }),
            Control::Erased { .. } => Some(Control::Goaway { reason: "drain", within_ms: 7 }),
            Control::Goaway { .. } => Some(Control::Filter { at }),
            Control::Filter { .. } => Some(Control::Token { expires_at: 8 }),
            Control::Token { .. } => Some(Control::Error { detail: "no".into() }),
            Control::Error { .. } => None,
        };
        std::iter::successors(Some(Control::hello(at, Recovered::NotAsked, 255, 25)), next).collect()
    }

    #[test]
    fn the_document_has_every_frame_with_the_fields_it_has() {
        use std::collections::{BTreeMap, BTreeSet};
        // Each frame's fields: those it may have, and those it always has.
        type Fields = (BTreeSet<String>, BTreeSet<String>);
        let mut spoken = BTreeMap::<String, Fields>::new();
        for control in one_of_each() {
            let value: serde_json::Value = serde_json::from_slice(&control.json()).expect("JSON");
            let fields: BTreeSet<String> = value.as_object().expect("an object").keys().cloned().collect();
            let name = value["_control"].as_str().expect("a name").to_owned();
            let (may, always) = spoken.entry(name).or_insert_with(|| (fields.clone(), fields.clone()));
            *always = always.intersection(&fields).cloned().collect();
            may.extend(fields);
        }
        let document: serde_json::Value =
            serde_saphyr::from_str(include_str!("../../shared/asyncapi.yaml")).expect("YAML");
        let told = document["operations"]["tell"]["messages"].as_array().expect("messages");
        let names = told.iter().filter_map(|message| message["$ref"].as_str()?.rsplit('/').next());
        let described: BTreeMap<String, Fields> = names
            .map(|name| {
                let payload = &document["components"]["messages"][name]["payload"];
                assert_eq!(payload["properties"]["_control"]["const"], name);
                let may = payload["properties"].as_object().expect("properties").keys().cloned().collect();
                let always = payload["required"].as_array().expect("a list").iter().filter_map(|field| field.as_str());
                (name.to_owned(), (may, always.map(str::to_owned).collect()))
            })
            .collect();
        assert_eq!(spoken, described);
    }

    #[test]
    fn what_the_document_lets_a_client_say_is_understood() {
        let document: serde_json::Value =
            serde_saphyr::from_str(include_str!("../../shared/asyncapi.yaml")).expect("YAML");
        let heard = document["operations"]["listen"]["messages"].as_array().expect("messages");
        for name in heard.iter().filter_map(|message| message["$ref"].as_str()?.rsplit('/').next()) {
            let example = &document["components"]["messages"][name]["examples"][0]["payload"];
            read(&example.to_string()).expect(name);
        }
    }

    #[test]
    fn what_a_client_says_is_read_or_refused() {
        assert!(matches!(read(r#"{"_control":"filter","event":["open"]}"#), Ok(Asked::Filter(map)) if map.len() == 1));
        assert!(matches!(read(r#"{"_control":"token","token":"a"}"#), Ok(Asked::Token { token }) if token.0 == "a"));
        for bad in ["", "{}", r#"{"_control":"shutdown"}"#, "[1]", r#"["token","a"]"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
