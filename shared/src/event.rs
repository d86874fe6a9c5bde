//! Mandrill's event format: the one place that knows it.
//!
//! **Owns** which fields of an event routing and filters read, and how leniently. An event's bytes
//! travel untouched from the webhook to the socket; this module only looks at them.
//! **May not touch** sockets, the broker, the clock.
//!
//! Vendors add keys at any time and PHP writes an empty map as `[]`, so every field is optional and
//! a field of an unexpected type reads as absent: what Mandrill sends is never refused for its shape.

mod visit;

use std::borrow::Cow;

use serde::de::Deserialize;
use serde_json::value::RawValue;

/// The fields of one event that routing and filters read, borrowed from its text where JSON needs no
/// unescaping.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `event`: what happened, as Mandrill spells it (`hard_bounce`). Absent on sync events.
    pub event: Option<Cow<'a, str>>,
    /// `type` of a sync event: `blacklist`, `whitelist`, …
    pub sync_type: Option<Cow<'a, str>>,
    /// `action` of a sync event: `add`, `change`, `remove`.
    pub sync_action: Option<Cow<'a, str>>,
    /// `_id`, or `msg._id` in events of Mandrill's first years, which have no other.
    pub message: Option<Cow<'a, str>>,
    /// `msg.email`; for sync events the address in `reject` or `entry`.
    pub email: Option<Cow<'a, str>>,
    /// `msg.sender`.
    pub sender: Option<Cow<'a, str>>,
    /// `msg.subaccount`.
    pub subaccount: Option<Cow<'a, str>>,
    /// `msg.template`.
    pub template: Option<Cow<'a, str>>,
    /// The JSON text of `msg.tags`: an array of strings, if Mandrill keeps its word.
    pub tags: Option<Cow<'a, str>>,
    /// The JSON text of `msg.metadata`: an object, or `[]` where it is empty.
    pub metadata: Option<Cow<'a, str>>,
}

/// One element of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element<'a> {
    /// A JSON object: an event, known or not.
    Event(Fields<'a>),
    /// Anything else: valid JSON, but no event.
    NotAnObject,
}

/// The text does not begin with a complete JSON value.
#[derive(Debug, thiserror::Error)]
#[error("not JSON: {0}")]
pub struct NotJson(#[from] serde_json::Error);

/// Reads the JSON value at the front of `text` in one pass: its fields, and where it ends (a byte
/// offset; leading white space counts).
///
/// # Errors
/// Where `text` does not begin with a complete JSON value.
pub fn read_first(text: &str) -> Result<(Element<'_>, usize), NotJson> {
    match first::<Element<'_>>(text) {
        Ok(read) => Ok(read),
        Err(_) => read_first_odd(text),
    }
}

/// The object that holds the whole of a large event, of which this is the short form.
#[must_use]
pub fn large_object(event: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Short {
        _large: Reference,
    }
    #[derive(serde::Deserialize)]
    struct Reference {
        object: String,
    }
    serde_json::from_slice::<Short>(event).ok().map(|short| short._large.object)
}

/// Reads the fields of one event. What is not a JSON object has none.
#[must_use]
pub fn fields(event: &str) -> Fields<'_> {
    match read_first(event) {
        Ok((Element::Event(fields), _)) => fields,
        Ok((Element::NotAnObject, _)) | Err(_) => Fields::default(),
    }
}

/// Values that are JSON by its grammar but that serde_json will not decode: half a surrogate pair in
/// a string we read, a number out of range. They are no reason to lose an event.
#[cold]
fn read_first_odd(text: &str) -> Result<(Element<'_>, usize), NotJson> {
    let (raw, end) = first::<&RawValue>(text)?;
    if !raw.get().starts_with('{') {
        return Ok((Element::NotAnObject, end));
    }
    let mended = mend_surrogates(raw.get());
    let fields = match first::<Element<'_>>(&mended) {
        Ok((Element::Event(fields), _)) => fields.into_owned(),
        Ok((Element::NotAnObject, _)) | Err(_) => Fields::default(),
    };
    Ok((Element::Event(fields), end))
}

fn first<'a, T: Deserialize<'a>>(text: &'a str) -> Result<(T, usize), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<T>();
    match values.next() {
        Some(value) => Ok((value?, values.byte_offset())),
        None => Err(serde::de::Error::custom("nothing where a value was expected")),
    }
}

/// Replaces each `\uXXXX` that is half a surrogate pair by U+FFFD, written with as many characters.
fn mend_surrogates(json: &str) -> String {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut at) = (String::with_capacity(json.len()), 0);
    while let Some(found) = json[at..].find('\\') {
        out.push_str(&json[at..at + found]);
        at += found;
        let (replacement, length) = match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (&json[at..at + 12], 12),
            (Some(0xD800..=0xDFFF), _) => ("\\ufffd", 6),
            // The escaped character may itself be a backslash: it is taken along.
            _ => {
                let length = 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8);
                (&json[at..at + length], length)
            }
        };
        out.push_str(replacement);
        at += length;
    }
    out.push_str(&json[at..]);
    out
}

impl Fields<'_> {
    /// The same fields, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Fields<'static> {
        let own = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Fields {
            event: own(self.event),
            sync_type: own(self.sync_type),
            sync_action: own(self.sync_action),
            message: own(self.message),
            email: own(self.email),
            sender: own(self.sender),
            subaccount: own(self.subaccount),
            template: own(self.template),
            tags: own(self.tags),
            metadata: own(self.metadata),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Fields<'_> {
        match read_first(text).expect("JSON") {
            (Element::Event(fields), end) => {
                assert_eq!(end, text.len());
                fields
            }
            (Element::NotAnObject, _) => panic!("not an object: {text}"),
        }
    }

    #[test]
    fn a_message_event_has_its_fields_read_wherever_they_stand() {
        let fields = read(
            r#"{"ts":1,"msg":{"metadata":{"a":1},"tags":["x"],"email":"A@b.c","sender":"s@t.u","template":"t","subaccount":"sub","_id":"inner"},"_id":"outer","event":"open"}"#,
        );
        assert_eq!(fields.event.as_deref(), Some("open"));
        assert_eq!(fields.message.as_deref(), Some("outer"));
        assert_eq!(fields.email.as_deref(), Some("A@b.c"));
        assert_eq!(fields.sender.as_deref(), Some("s@t.u"));
        assert_eq!(fields.template.as_deref(), Some("t"));
        assert_eq!(fields.subaccount.as_deref(), Some("sub"));
        assert_eq!(fields.tags.as_deref(), Some(r#"["x"]"#));
        assert_eq!(fields.metadata.as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn the_first_years_had_the_id_in_msg_only() {
        assert_eq!(read(r#"{"event":"click","msg":{"_id":"m1"}}"#).message.as_deref(), Some("m1"));
    }

    #[test]
    fn sync_events_keep_their_address_in_reject_or_entry() {
        let entry = read(r#"{"type":"whitelist","action":"add","entry":{"email":"a@b.c"}}"#);
        assert_eq!(
            (entry.sync_type.as_deref(), entry.sync_action.as_deref(), entry.email.as_deref()),
            (Some("whitelist"), Some("add"), Some("a@b.c"))
        );
        assert_eq!(read(r#"{"type":"blacklist","reject":{"email":"r@b.c"}}"#).email.as_deref(), Some("r@b.c"));
    }

    #[test]
    fn a_field_of_another_type_reads_as_absent() {
        for odd in ["1", "null", "true", "[]", "[[{}]]", "{\"event\":1}", "1.5", "-2"] {
            let text = format!(r#"{{"event":{odd},"_id":{odd},"msg":{odd},"reject":{odd}}}"#);
            assert_eq!(read(&text), Fields::default(), "{text}");
        }
    }

    #[test]
    fn what_serde_json_will_not_decode_is_an_event_all_the_same() {
        let lone = read(r#"{"event":"open","\udc00":1,"msg":{"email":"a\ud800@b\\udc00.c","subject":"\ud83d\ude00"}}"#);
        assert_eq!(lone.event.as_deref(), Some("open"));
        assert_eq!(lone.email.as_deref(), Some("a\u{fffd}@b\\udc00.c"));
        assert_eq!(read(r#"{"event":1e999}"#), Fields::default());
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!(r#"{{"x":{}1{},"event":"open"}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(read(&deep).event.as_deref(), Some("open"));
        let deep = format!(r#"{{"event":{}1{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(read(&deep), Fields::default());
    }

    #[test]
    fn the_value_ends_where_it_ends() {
        assert_eq!(read_first(" {} ,{}").expect("JSON"), (Element::Event(Fields::default()), 3));
        assert_eq!(read_first("12,3").expect("JSON"), (Element::NotAnObject, 2));
        for bad in ["", "  ", "{", "nul", "{\"a\":}", "]", "{\"a\":1,}", "\"\n\""] {
            assert!(read_first(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_value_or_an_error(text in ".{0,200}") {
            let _ = read_first(&text);
        }

        #[test]
        fn agrees_with_serde_json_on_what_is_an_object(text in r#"[\[\]{}",:0-9a-z\\u ]{0,40}"#) {
            let ours = read_first(&text).ok().map(|(element, _)| matches!(element, Element::Event(_)));
            let theirs = first::<&RawValue>(&text).ok().map(|(raw, _)| raw.get().starts_with('{'));
            prop_assert_eq!(ours, theirs);
        }
    }
}
