//! Where an event stands on the broker: subjects and recipient hashes.
//!
//! **Owns** the subject names that every NATS program may rely on, and the hash that stands for a
//! person's address in them. **May not touch** the broker.
//!
//! An event's subject is `mandrill.events.<kind>.<recipient>.<message>`. The kind comes first, so that a
//! recipient's events are a dozen short walks of the server's subject tree rather than a walk of all of it.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::event::Fields;

/// All events: what the stream keeps.
pub const EVENTS_ALL: &str = "mandrill.events.>";
/// What the subjects of all events begin with.
pub const EVENT_SUBJECTS: &str = "mandrill.events.";
/// Tombstones of erased people, in the same stream so that every replica meets them in order.
pub const ERASURES_ALL: &str = "mandrill.erasures.>";
/// What the subjects of tombstones begin with.
pub const ERASURE_SUBJECTS: &str = "mandrill.erasures.";
/// Authentic content that is not an event.
pub const REJECTED: &str = "mandrill.rejected";
/// What ingest says of itself (core NATS, not stored).
pub const STATUS_INGEST: &str = "mandrill.status.ingest";

const KIND_LENGTH_MAX: usize = 32;
const MESSAGE_LENGTH_MAX: usize = 64;
const HASH_BYTES: usize = 8;
/// The token of an event whose kind fits no rule, and of a part that an event has not.
const OTHER: &str = "other";
const NONE: &str = "none";

/// Sixteen hex digits that stand for an address: the front of SHA-256 of it, trimmed and lower-cased.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecipientHash([u8; HASH_BYTES]);

impl RecipientHash {
    /// The hash of an address, however it is spelled.
    #[must_use]
    pub fn of(address: &str) -> RecipientHash {
        RecipientHash(hash(normal_address(address).as_bytes()))
    }

    /// Reads sixteen lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<RecipientHash> {
        let mut bytes = [0; HASH_BYTES];
        if text.len() != HASH_BYTES * 2 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(RecipientHash(bytes))
    }
}

impl fmt::Display for RecipientHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(hex(&self.0, &mut [0; HASH_BYTES * 2]))
    }
}

impl fmt::Debug for RecipientHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An address as it is compared: trimmed and lower-cased.
#[must_use]
pub fn normal_address(address: &str) -> Cow<'_, str> {
    let trimmed = address.trim();
    if trimmed.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(trimmed)
    } else {
        Cow::Owned(trimmed.to_lowercase())
    }
}

/// The subject an event is stored under.
#[must_use]
pub fn of_event(fields: &Fields<'_>) -> String {
    let mut subject = String::with_capacity("mandrill.events.".len() + 32 + 1 + 16 + 1 + 32);
    subject.push_str("mandrill.events.");
    push_kind(&mut subject, fields);
    subject.push('.');
    match &fields.email {
        Some(address) => subject.push_str(hex(&RecipientHash::of(address).0, &mut [0; HASH_BYTES * 2])),
        None => subject.push_str(NONE),
    }
    subject.push('.');
    match &fields.message {
        Some(id) => subject.push_str(&message_token(id)),
        None => subject.push_str(NONE),
    }
    subject
}

/// The kind of an event: Mandrill's `event`, `sync_<type>_<action>` of a sync event, or `other`.
#[must_use]
pub fn kind(fields: &Fields<'_>) -> String {
    let mut kind = String::with_capacity(KIND_LENGTH_MAX);
    push_kind(&mut kind, fields);
    kind
}

fn push_kind(out: &mut String, fields: &Fields<'_>) {
    let parts: &[&str] = match (&fields.event, &fields.sync_type, &fields.sync_action) {
        (Some(event), _, _) => &[event],
        (None, Some(kind), Some(action)) => &["sync_", kind, "_", action],
        (None, _, _) => &[],
    };
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if (1..=KIND_LENGTH_MAX).contains(&length) && parts.iter().all(|part| is_plain(part)) {
        parts.iter().for_each(|part| out.push_str(part));
    } else {
        out.push_str(OTHER);
    }
}

/// The pattern of subjects with these parts; `*` stands for any.
#[must_use]
pub fn pattern(kind: &str, recipient: &str, message: &str) -> String {
    match (kind, recipient, message) {
        ("*", "*", "*") => EVENTS_ALL.to_owned(),
        (kind, "*", "*") => format!("mandrill.events.{kind}.>"),
        (kind, recipient, "*") => format!("mandrill.events.{kind}.{recipient}.>"),
        (kind, recipient, message) => format!("mandrill.events.{kind}.{recipient}.{message}"),
    }
}

/// The pattern of all events of a person.
#[must_use]
pub fn events_of(recipient: RecipientHash) -> String {
    pattern("*", &recipient.to_string(), "*")
}

/// The subject of a person's tombstones.
#[must_use]
pub fn of_erasure(recipient: RecipientHash) -> String {
    format!("{ERASURE_SUBJECTS}{recipient}")
}

/// Whose tombstone is stored under this subject; nothing where it is no tombstone's.
#[must_use]
pub fn erased_under(subject: &str) -> Option<RecipientHash> {
    RecipientHash::parse(subject.strip_prefix(ERASURE_SUBJECTS)?)
}

/// The token that stands for a message's id.
#[must_use]
pub fn message_token(id: &str) -> Cow<'_, str> {
    if is_message_token(id) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(format!("x{}", hex(&hash(id.as_bytes()), &mut [0; HASH_BYTES * 2])))
    }
}

/// The token that events of a kind are stored under, however Mandrill spells it.
#[must_use]
pub fn kind_token(kind: &str) -> &str {
    if (1..=KIND_LENGTH_MAX).contains(&kind.len()) && is_plain(kind) { kind } else { OTHER }
}

fn is_plain(part: &str) -> bool {
    part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn is_message_token(id: &str) -> bool {
    (1..=MESSAGE_LENGTH_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let digest = Sha256::digest(bytes);
    let mut front = [0; HASH_BYTES];
    front.copy_from_slice(&digest[..HASH_BYTES]);
    front
}

fn hex<'a>(bytes: &[u8; HASH_BYTES], out: &'a mut [u8; HASH_BYTES * 2]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in bytes.iter().enumerate() {
        out[at * 2] = DIGITS[usize::from(byte >> 4)];
        out[at * 2 + 1] = DIGITS[usize::from(byte & 15)];
    }
    std::str::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::fields;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_stored_by_kind_recipient_and_message() {
        let check = |event: &str, subject: &str| assert_eq!(of_event(&fields(event)), subject, "{event}");
        check(
            r#"{"event":"hard_bounce","_id":"5f0c3a","msg":{"email":" User@Example.com "}}"#,
            "mandrill.events.hard_bounce.b4c9a289323b21a0.5f0c3a",
        );
        check(
            r#"{"type":"blacklist","action":"add","reject":{"email":"user@example.com"}}"#,
            "mandrill.events.sync_blacklist_add.b4c9a289323b21a0.none",
        );
        check(r#"{"event":"inbound"}"#, "mandrill.events.inbound.none.none");
        check(r#"{"event":"click","_id":"8606637.5f"}"#, "mandrill.events.click.none.x990fde776996aeba");
        check("{}", "mandrill.events.other.none.none");
        check(r#"{"event":"Hard-Bounce"}"#, "mandrill.events.other.none.none");
        check(r#"{"event":""}"#, "mandrill.events.other.none.none");
        check(r#"{"type":"quota"}"#, "mandrill.events.other.none.none");
        check(&format!(r#"{{"event":"{}"}}"#, "a".repeat(33)), "mandrill.events.other.none.none");
    }

    proptest! {
        #[test]
        fn every_subject_has_five_plain_tokens(event in ".{0,40}", id in ".{0,70}", email in ".{0,30}") {
            let event = serde_json::json!({"event": event, "_id": id, "msg": {"email": email}}).to_string();
            let subject = of_event(&fields(&event));
            let tokens: Vec<&str> = subject.split('.').collect();
            prop_assert_eq!(tokens.len(), 5);
            for token in tokens {
                prop_assert!(!token.is_empty());
                prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{}", token);
            }
        }

        #[test]
        fn a_hash_reads_back(address in ".{0,30}") {
            let hash = RecipientHash::of(&address);
            prop_assert_eq!(RecipientHash::parse(&hash.to_string()), Some(hash));
            prop_assert_eq!(erased_under(&of_erasure(hash)), Some(hash));
            prop_assert_eq!(RecipientHash::of(&address.to_lowercase()), RecipientHash::of(&address.to_lowercase()));
        }
    }
}
