//! What holds for any request (feature `invariants`): run by fuzz targets and, over their corpora, by tests.
//!
//! **Owns** the checks of this crate's pure parts: each takes any bytes and panics where a promise is broken.
//! Nothing here runs in a service.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise ends the run")]

use std::collections::HashSet;
use std::sync::LazyLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::event::{self, Element};
use shared::form::Form;
use shared::invariants::{headers_of, is_subject, lines};
use shared::settings::Environment;
use shared::signature::{TEST_KEY, sign};

use crate::batch::{self, Batch, ELEMENTS_MAX, Event};
use crate::config::Config;
use crate::error::Refusal;
use crate::judge::{ContentType, judge};
use crate::trust::Trust;
use crate::{cut, redrive, trace};

const URL: &str = "https://hooks.example.com/api/hook/";
const KEY: &str = "ExampleKey_not-secret01";

static SIGNED: LazyLock<Trust> =
    LazyLock::new(|| trust(&[("MANDRILL_WEBHOOK_KEYS", KEY), ("MANDRILL_WEBHOOK_URLS", URL)].into()));
static UNSIGNED: LazyLock<Trust> = LazyLock::new(|| trust(&[("ALLOW_UNSIGNED", "true")].into()));

fn trust(environment: &Environment) -> Trust {
    Trust::new(&Config::read(environment).expect("settings").hook)
}

/// A request of three parts: a line with its content type, a line with its signature, its body.
///
/// Without keys it is a batch or refused; with a key it is refused unless it is signed, and signed it is
/// the same batch, or kept. What is kept can be read again.
pub fn body(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(content_type), Some(signature), Some(body)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Some(content_type) = ContentType::parse(content_type) else { return };
    let judged = |signature: Option<&[u8]>, trust: &Trust| judge(body.into(), content_type, signature, trust);

    let open = judged(None, &UNSIGNED);
    match &open {
        Ok(batch) => is_batch(batch),
        Err(refusal) => assert!(is_about_the_body(refusal), "{refusal}"),
    }
    let unsigned = judged(None, &SIGNED);
    assert!(unsigned.is_err(), "nothing unsigned is believed where there is a key");

    let right = signature_of(content_type, body, KEY);
    let check = signature_of(content_type, body, TEST_KEY);
    let is = |known: &Option<String>| known.as_ref().is_some_and(|known| known.as_bytes() == signature);
    match judged(Some(signature), &SIGNED) {
        Ok(_) if is(&right) => {}
        Ok(batch) => assert!(is(&check) && batch == Batch::default(), "the test key is good for an empty batch"),
        Err(_) => assert!(!is(&right) || open.is_err(), "a signed batch is taken"),
    }

    let Some(right) = right else {
        assert!(matches!(open, Err(Refusal::Content(_))), "{open:?} of a body that nobody could have signed");
        return;
    };
    match (open, judged(Some(right.as_bytes()), &SIGNED)) {
        (Ok(open), Ok(signed)) => assert_eq!(open, signed, "a batch is the same by whichever way it is believed"),
        (Err(Refusal::Content(_)), Ok(signed)) => {
            assert!(signed.events.is_empty() && signed.unusable.len() == 1, "{signed:?}");
            signed.unusable.iter().for_each(|unusable| again(&unusable.content));
        }
        (Err(open), Err(signed)) => assert_eq!(open, signed, "a form that cannot be read"),
        (open, signed) => panic!("{open:?} without keys, but {signed:?} when signed"),
    }
    again(&Bytes::copy_from_slice(body));
}

/// What was kept is read again: into events, or not.
fn again(content: &Bytes) {
    if let Ok(events) = redrive::events(content) {
        assert!(!events.is_empty(), "what is redriven is not lost");
        are_events(&events);
    }
}

/// A right signature, where there is a text that it could be made over.
fn signature_of(content_type: ContentType, body: &[u8], key: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        mandrill_events: Option<&'a RawValue>,
    }
    match content_type {
        ContentType::Form => {
            let mut body = body.to_vec();
            // Forms of more fields are refused before anything else is looked at.
            let form = Form::decode_in_place(&mut body, usize::MAX).expect("any number of fields");
            Some(sign(key, URL, &form.fields(&body).collect::<Vec<_>>()))
        }
        ContentType::Json => {
            let body = body.trim_ascii_start().starts_with(b"{").then_some(body)?;
            let body: Body<'_> = serde_json::from_slice(body).ok()?;
            let field = body.mandrill_events.map(|value| (&b"mandrill_events"[..], value.get().as_bytes()));
            Some(sign(key, URL, &field.into_iter().collect::<Vec<_>>()))
        }
    }
}

/// Refusals that a body can lead to by itself.
fn is_about_the_body(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Content(_) | Refusal::TooManyFields | Refusal::RepeatedField)
}

fn is_batch(batch: &Batch) {
    assert!(batch.events.len() + batch.unusable.len() <= ELEMENTS_MAX);
    are_events(&batch.events);
    for unusable in &batch.unusable {
        let json: &RawValue = serde_json::from_slice(&unusable.content).expect("an element is JSON");
        assert!(!json.get().starts_with('{'), "an object is an event");
        // It becomes a header's value.
        assert!(!unusable.reason.contains(char::is_control), "{:?}", unusable.reason);
        again(&unusable.content);
    }
}

fn are_events(events: &[Event]) {
    let mut ids = HashSet::new();
    for event in events {
        assert!(ids.insert(event.id.to_string()), "{} twice", event.id);
        is_subject(&event.subject);
        let json: &RawValue = serde_json::from_slice(&event.payload).expect("an event is JSON");
        assert!(json.get().starts_with('{') && json.get().len() == event.payload.len(), "an event is an object");
        assert!(!event.payload.contains(&b'\n') && !event.payload.contains(&b'\r'), "an event is one line");
    }
}

/// A trace is carried on where its parent has the standard's form, byte by byte, and a body is what its type says,
/// whatever stands behind a semicolon.
pub fn headers(input: &[u8]) {
    let headers = headers_of(input);
    for line in lines(&headers, trace::HEADER) {
        const FORM: &[u8] = b"00-tttttttttttttttttttttttttttttttt-ssssssssssssssss-ff";
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = |(byte, form): (&u8, &u8)| if form.is_ascii_alphabetic() { digit(*byte) } else { byte == form };
        let is_said = |part: &[u8]| part.iter().any(|byte| *byte != b'0');
        let plainly = line.len() == FORM.len()
            && line.iter().zip(FORM).all(fits)
            && is_said(&line[3..35])
            && is_said(&line[36..52]);
        assert_eq!(trace::parse(line).as_deref().map(str::as_bytes), plainly.then_some(line));
    }
    for line in lines(&headers, "content-type") {
        let essence = String::from_utf8_lossy(line).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let plainly = match essence.as_str() {
            "application/x-www-form-urlencoded" => Some(ContentType::Form),
            "application/json" => Some(ContentType::Json),
            _ => None,
        };
        assert_eq!(ContentType::parse(line), plainly, "{essence}");
    }
}

/// An event's short form is an object within its limit, and says first where the whole is.
pub fn cut(input: &[u8]) {
    /// The lowest LARGE_EVENT_BYTES, and a usual one.
    const BYTES_MAX: [usize; 2] = [4 << 10, 256 << 10];
    const OBJECT: &str = "9hfxcRhxTPn1xSAHbEsZlKrDoUPiCMYg.12";
    let wrapped = Bytes::from([b"[", input, b"]"].concat());
    // What is cut is an event: an object on one line.
    let Ok(Batch { events, .. }) = batch::read(&wrapped) else { return };
    for event in events {
        let event = std::str::from_utf8(&event.payload).expect("an event is text");
        for bytes_max in BYTES_MAX {
            let short = cut::cut(event, OBJECT, bytes_max);
            assert!(short.len() <= bytes_max, "{} bytes, not {bytes_max}", short.len());
            let short = std::str::from_utf8(&short).expect("a short form is text");
            let front = format!(r#"{{"_large":{{"bytes":{},"object":"{OBJECT}"}}"#, event.len());
            assert!(short.starts_with(&front), "{short}");
            let (element, end) = event::read_first(short).expect("a short form is JSON");
            assert!(matches!(element, Element::Event(_)) && end == short.len(), "{short}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::invariants::replay;

    #[test]
    fn the_corpus_of_bodies_holds() {
        replay("body", body);
    }

    #[test]
    fn the_corpus_of_headers_holds() {
        replay("headers", headers);
    }

    #[test]
    fn the_corpus_of_events_that_are_cut_holds() {
        replay("cut", cut);
    }
}
