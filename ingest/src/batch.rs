//! A batch's text, taken apart.
//!
//! **Owns** what of Mandrill's array is an event, and each event's identity, subject and stored bytes.
//! **May not touch** sockets, the broker, keys. Pure.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::event::{self, Element};
use shared::subject;

/// Elements of one array. Mandrill sends at most 1000; a body of the largest size could hold millions.
pub const ELEMENTS_MAX: usize = 20_000;

/// What one event is known by on the broker (`Nats-Msg-Id`): a hash of its bytes, and its ordinal among
/// identical events of one request. A request that is sent again gives the same; twins in one differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    hash: [u8; 24],
    ordinal: u32,
}

impl EventId {
    /// Of these bytes, the first of their kind.
    #[must_use]
    pub fn of(bytes: &[u8]) -> EventId {
        let mut hash = [0; 24];
        hash.copy_from_slice(&Sha256::digest(bytes)[..24]);
        EventId { hash, ordinal: 0 }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        // 24 bytes are 32 characters: the slice always fits.
        let _ = URL_SAFE_NO_PAD.encode_slice(self.hash, &mut text);
        formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())?;
        if self.ordinal > 0 { write!(formatter, ".{}", self.ordinal) } else { Ok(()) }
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// One event, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is known by.
    pub id: EventId,
    /// The subject it is stored under.
    pub subject: String,
    /// Its JSON object as Mandrill sent it, on one line.
    pub payload: Bytes,
}

/// Something authentic that is no event: kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Why.
    pub reason: String,
    /// The content, whole.
    pub content: Bytes,
}

/// An array's events, in order, and what of it was none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// Elements that are not objects.
    pub unusable: Vec<Unusable>,
}

/// Why a value is no batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABatch {
    /// It is not JSON. The position is in bytes.
    #[error("the value is not JSON (from byte {0} on)")]
    NotJson(usize),
    /// It is JSON, but no array.
    #[error("the value is JSON, but not an array")]
    NotAnArray,
    /// It is longer than anything Mandrill sends.
    #[error("the array has more than {ELEMENTS_MAX} elements")]
    TooMany,
}

/// Takes an array's text apart. Events share `text`'s memory.
///
/// # Errors
/// Where it is not an array of JSON values.
pub fn read(text: &Bytes) -> Result<Batch, NotABatch> {
    let json = std::str::from_utf8(text).map_err(|error| NotABatch::NotJson(error.valid_up_to()))?;
    let mut batch = Batch::default();
    let mut seen = HashMap::new();
    elements(json, |element, at| match element {
        Element::Event(fields) => {
            let payload = on_one_line(text, at);
            let mut id = EventId::of(&payload);
            let twins: &mut u32 = seen.entry(id.hash).or_default();
            id.ordinal = *twins;
            *twins += 1;
            batch.events.push(Event { id, subject: subject::of_event(&fields), payload });
        }
        Element::NotAnObject => {
            let ordinal = batch.events.len() + batch.unusable.len();
            let reason = format!("element {ordinal} of the array is not an object");
            batch.unusable.push(Unusable { reason, content: text.slice(at) });
        }
    })?;
    Ok(batch)
}

/// Whether the text is an array without elements.
#[must_use]
pub fn is_empty_array(text: &[u8]) -> bool {
    let inside = text.trim_ascii().strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// Calls `each` with every element of an array and where it stands in `json`.
fn elements<'a>(json: &'a str, mut each: impl FnMut(Element<'a>, Range<usize>)) -> Result<(), NotABatch> {
    let mut at = skip_space(json, 0);
    if !json[at..].starts_with('[') {
        let whole = event::read_first(json).is_ok_and(|(_, end)| skip_space(json, end) == json.len());
        return Err(if whole { NotABatch::NotAnArray } else { NotABatch::NotJson(at) });
    }
    at = skip_space(json, at + 1);
    let mut count = 0;
    if !json[at..].starts_with(']') {
        loop {
            let (element, length) = event::read_first(&json[at..]).map_err(|_| NotABatch::NotJson(at))?;
            count += 1;
            if count > ELEMENTS_MAX {
                return Err(NotABatch::TooMany);
            }
            each(element, at..at + length);
            at = skip_space(json, at + length);
            match json.as_bytes().get(at) {
                Some(b',') => at = skip_space(json, at + 1),
                Some(b']') => break,
                _ => return Err(NotABatch::NotJson(at)),
            }
        }
    }
    let end = skip_space(json, at + 1);
    if end == json.len() { Ok(()) } else { Err(NotABatch::NotJson(end)) }
}

fn skip_space(json: &str, from: usize) -> usize {
    let rest = &json.as_bytes()[from..];
    from + rest.iter().position(|byte| !is_space(*byte)).unwrap_or(rest.len())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The element's bytes; white space that holds a line break is left out, so that an event is one line
/// wherever it goes. Inside a JSON string there are no line breaks: those are escaped.
fn on_one_line(text: &Bytes, at: Range<usize>) -> Bytes {
    let json = &text[at.clone()];
    if memchr::memchr2(b'\n', b'\r', json).is_none() {
        return text.slice(at);
    }
    let mut line = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', rest) {
        let before = rest[..found].trim_ascii_end();
        line.extend_from_slice(before);
        let spaces = rest[found..].iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[found + spaces..];
    }
    line.extend_from_slice(rest);
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Batch, NotABatch> {
        read(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn payloads(text: &str) -> Vec<String> {
        let batch = of(text).expect("a batch");
        batch.events.iter().map(|event| String::from_utf8(event.payload.to_vec()).expect("text")).collect()
    }

    #[test]
    fn events_keep_their_bytes() {
        let escaped = r#"{"event":"click","url":"http:\/\/a.b","x":"é\u00e9" ,  "n":1.50}"#;
        assert_eq!(payloads(&format!(" [ {escaped} ,{{}}]\n")), [escaped, "{}"]);
    }

    #[test]
    fn only_white_space_that_holds_a_line_break_is_left_out() {
        assert_eq!(payloads("[{\r\n  \"a\" : [1,\n2] ,\t\n\"b\": \" \\n \"\n}]"), [r#"{"a" : [1,2] ,"b": " \n "}"#]);
    }

    #[test]
    fn a_request_sent_again_has_the_same_ids_and_twins_have_their_own() {
        let ids = |text: &str| of(text).expect("a batch").events.iter().map(|e| e.id.to_string()).collect::<Vec<_>>();
        let first = ids(r#"[{"a":1},{"a":2},{"a":1},{"a":1}]"#);
        assert_eq!(first, ids(r#"[{"a":1},{"a":2},{"a":1},{"a":1}]"#));
        assert_eq!(first[0].len(), 32);
        assert_eq!(first[2], format!("{}.1", first[0]));
        assert_eq!(first[3], format!("{}.2", first[0]));
        assert_ne!(first[0], first[1]);
        assert_eq!(ids("[{\n\"a\":1}]"), ids(r#"[{"a":1}]"#));
    }

    #[test]
    fn elements_that_are_no_objects_are_kept_beside_the_events() {
        let batch = of(r#"[{"a":1},2,"x",[{}],null]"#).expect("a batch");
        assert_eq!(batch.events.len(), 1);
        let kept: Vec<_> = batch.unusable.iter().map(|u| u.content.as_ref()).collect();
        assert_eq!(kept, [&b"2"[..], b"\"x\"", b"[{}]", b"null"]);
        assert_eq!(batch.unusable[1].reason, "element 2 of the array is not an object");
    }

    #[test]
    fn what_is_no_batch_says_why() {
        assert_eq!(of("GARBAGE"), Err(NotABatch::NotJson(0)));
        assert_eq!(of("{}"), Err(NotABatch::NotAnArray));
        assert_eq!(of(" 1 "), Err(NotABatch::NotAnArray));
        assert_eq!(of("[{}"), Err(NotABatch::NotJson(3)));
        assert_eq!(of("[{},]"), Err(NotABatch::NotJson(4)));
        assert_eq!(of("[{}] x"), Err(NotABatch::NotJson(5)));
        assert_eq!(read(&Bytes::from_static(b"[\"\xff\"]")), Err(NotABatch::NotJson(2)));
        assert_eq!(of(&format!("[{}0]", "0,".repeat(ELEMENTS_MAX))), Err(NotABatch::TooMany));
    }

    #[test]
    fn an_empty_array_is_known_in_any_spelling() {
        assert!(is_empty_array(b"[]") && is_empty_array(b" [ \n] "));
        assert!(!is_empty_array(b"[{}]") && !is_empty_array(b"") && !is_empty_array(b"[") && !is_empty_array(b"[]]"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_batch_or_says_why(text: Vec<u8>) {
            let _ = read(&Bytes::from(text));
        }

        #[test]
        fn an_array_is_a_batch_exactly_where_serde_json_says_so(text in r#"[\[\]{}",:0-9a-z\\u \n]{0,40}"#) {
            let theirs = serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(&text);
            let ours = of(&text).map(|batch| batch.events.len() + batch.unusable.len());
            prop_assert_eq!(ours.ok(), theirs.ok().map(|elements| elements.len()));
        }

        #[test]
        fn one_line_means_the_same(value in json_object(), indent: bool) {
            let text = if indent { serde_json::to_string_pretty(&[&value]) } else { serde_json::to_string(&[&value]) };
            let payloads = payloads(&text.expect("JSON"));
            prop_assert!(!payloads[0].contains('\n'));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&payloads[0]).expect("JSON"), value);
        }
    }

    fn json_object() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
            Just(serde_json::Value::Null)
        ];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        });
        proptest::collection::btree_map(".{0,4}", value, 0..4)
            .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
    }
}
