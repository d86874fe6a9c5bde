//! Content that was kept as unusable, read again.
//!
//! **Owns** what becomes of it under this version's rules: whole events, or a reason why still not.
//! **May not touch** sockets, the broker, keys. Pure. Who asked for it, and that it was authentic, was
//! settled when it was kept; `mandrill-live rejected redrive` is who asks.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::event::{self, Element};
use shared::form::Form;

use crate::batch::{self, Batch, Event, NotABatch};
use crate::judge::{FIELD, FIELDS_MAX};

/// Why content is of no use, still.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StillUnusable {
    /// It is no array, or not one that can be read.
    #[error(transparent)]
    NotABatch(#[from] NotABatch),
    /// Not even a webhook's body.
    #[error("neither JSON nor a form with the field mandrill_events")]
    Nothing,
    /// An array of nothing: there is nothing to store, and no reason to forget that it came.
    #[error("the array is empty")]
    Empty,
    /// Part of it is no event. To store the rest and keep this part would need two messages for one.
    #[error("{0}")]
    Part(String),
}

/// The events of content that was kept: of a value, of a body as a form or as JSON, or one event that stood
/// by itself. All of it is events, or none is.
///
/// # Errors
/// Where this version has no use for it either.
pub fn events(content: &Bytes) -> Result<Vec<Event>, StillUnusable> {
    let Batch { events, unusable } = match Content::of(content) {
        Content::Event(event) => batch::read(&Bytes::from([b"[", event, b"]"].concat()))?,
        Content::Value(value) => batch::read(&value)?,
        Content::Nothing => return Err(StillUnusable::Nothing),
    };
    match unusable.into_iter().next() {
        Some(part) => Err(StillUnusable::Part(part.reason)),
        None if events.is_empty() => Err(StillUnusable::Empty),
        None => Ok(events),
    }
}

/// What content is written as.
enum Content<'a> {
    /// The value of `mandrill_events`, or something in its place.
    Value(Bytes),
    /// A JSON object that is no body.
    Event(&'a [u8]),
    /// Neither.
    Nothing,
}

#[derive(Deserialize)]
struct JsonBody<'a> {
    #[serde(borrow)]
    mandrill_events: &'a RawValue,
}

impl Content<'_> {
    fn of(content: &Bytes) -> Content<'_> {
        if is_object(content) {
            match serde_json::from_slice::<JsonBody<'_>>(content) {
                Ok(body) => Content::Value(content.slice_ref(body.mandrill_events.get().as_bytes())),
                Err(_) => Content::Event(content),
            }
        } else if let Some(value) = field(content) {
            Content::Value(value)
        } else if begins_json(content) {
            Content::Value(content.clone())
        } else {
            Content::Nothing
        }
    }
}

fn is_object(content: &[u8]) -> bool {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let read = event::read_first(text);
    read.is_ok_and(|(element, end)| matches!(element, Element::Event(_)) && text[end..].trim_ascii().is_empty())
}

/// Whether a reason that speaks of JSON helps whoever reads it.
fn begins_json(content: &[u8]) -> bool {
    let trimmed = content.trim_ascii_start();
    trimmed.starts_with(b"[") || trimmed.starts_with(b"{") || serde_json::from_slice::<&RawValue>(content).is_ok()
}

fn field(content: &[u8]) -> Option<Bytes> {
    let mut body = BytesMut::from(content);
    let form = Form::decode_in_place(&mut body, FIELDS_MAX).ok()?;
    let value = form.value_of(FIELD.as_bytes(), &body)?;
    Some(body.freeze().slice(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payloads(content: &str) -> Result<Vec<String>, StillUnusable> {
        let events = events(&Bytes::copy_from_slice(content.as_bytes()))?;
        Ok(events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect())
    }

    #[test]
    fn content_is_read_in_every_form_it_may_have_been_kept_in() {
        let check = |content: &str, expected: &[&str]| assert_eq!(payloads(content).expect("events"), expected);
        check(r#"[{"a":1},{"a":2}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#]);
        check("mandrill_events=%5B%7B%22a%22%3A1%7D%5D&more=1", &[r#"{"a":1}"#]);
        check(r#"{"mandrill_events":[{"a":1}]}"#, &[r#"{"a":1}"#]);
        check(" {\"a\":\n1}\n", &[r#"{"a":1}"#]);
        check(r#"{"a":"half \ud800"}"#, &[r#"{"a":"half \ud800"}"#]);
    }

    #[test]
    fn an_event_has_the_id_that_a_webhook_would_give_it() {
        let id = |content: &str| payload_id(content);
        assert_eq!(id(r#"{"event":"open"}"#), id(r#"[{"event":"open"}]"#));
    }

    fn payload_id(content: &str) -> String {
        let events = events(&Bytes::copy_from_slice(content.as_bytes())).expect("events");
        events[0].id.to_string()
    }

    #[test]
    fn what_is_of_no_use_still_says_why() {
        let check = |content: &str, expected: &str| {
            assert_eq!(payloads(content).expect_err(content).to_string(), expected, "{content}");
        };
        check("GARBAGE", "neither JSON nor a form with the field mandrill_events");
        check("mandrill_event=%5B%5D", "neither JSON nor a form with the field mandrill_events");
        check("", "neither JSON nor a form with the field mandrill_events");
        check("[{}", "the value is not JSON (from byte 3 on)");
        check("{}{}", "the value is not JSON (from byte 0 on)");
        check("mandrill_events=GARBAGE", "the value is not JSON (from byte 0 on)");
        check("7", "the value is JSON, but not an array");
        check(r#"{"mandrill_events":7}"#, "the value is JSON, but not an array");
        check("[]", "the array is empty");
        check("[{},7]", "element 1 of the array is not an object");
    }

    proptest! {
        #[test]
        fn any_content_is_events_or_says_why(content: Vec<u8>) {
            let _ = events(&content.into());
        }
    }
}
