//! What holds for any input (feature `invariants`): run by fuzz targets and, over their corpora, by tests.
//!
//! **Owns** the checks of this crate's parsers: each takes any bytes and panics where a promise is broken.
//! Nothing here runs in a service.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise ends the run")]

mod headers;

use std::path::Path;

use serde_json::value::RawValue;

use crate::cursor::{CURSOR_LENGTH, Cursor};
use crate::event::{self, Element};
use crate::form::{self, Form};
use crate::subject;
pub use headers::{OTHER_PAGE, headers, headers_of, lines, origins};

/// Fields of one form, as ingest bounds them.
const FIELDS_MAX: usize = 100;

/// A form is decoded as a plain reading of the standard has it, and encoded again it stays what it was.
pub fn form(input: &[u8]) {
    let decoded = decode(input);
    let plainly = fields_plainly(input);
    assert_eq!(decoded.is_none(), plainly.len() > FIELDS_MAX, "the limit of fields");
    let Some(decoded) = decoded else { return };
    assert_eq!(decoded, plainly);

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields: Vec<_> = decoded.iter().map(|(name, value)| (text(name), text(value))).collect();
    let mut encoded = String::new();
    fields.iter().for_each(|(name, value)| form::encode_pair(&mut encoded, name, value));
    assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()), "an encoded form is plain: {encoded}");
    let again = decode(encoded.as_bytes()).expect("as many fields as before");
    assert!(again.iter().map(|(name, value)| (text(name), text(value))).eq(fields), "decoded again: {encoded}");
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(form: &[u8]) -> Option<Fields> {
    let mut body = form.to_vec();
    let form = Form::decode_in_place(&mut body, FIELDS_MAX).ok()?;
    Some(form.fields(&body).map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

/// A form's fields, by splitting and copying: slow and hard to get wrong.
#[must_use]
pub fn fields_plainly(form: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || unescape_plainly(halves.next().unwrap_or_default());
            (half(), half())
        })
        .collect()
}

fn unescape_plainly(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
                at += 2;
            }
            (b'+', _, _) => out.push(b' '),
            (byte, _, _) => out.push(*byte),
        }
        at += 1;
    }
    out
}

/// A text is the cursor that plain arithmetic over its characters gives, or none; and written again it is the same.
pub fn cursor(input: &[u8]) {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Six bits a character: three numbers of 64 bits are 32 characters.
    let digits: Option<Vec<u64>> =
        input.iter().map(|byte| ALPHABET.iter().position(|known| known == byte).map(|digit| digit as u64)).collect();
    let plainly = digits.filter(|digits| digits.len() == CURSOR_LENGTH).map(|digits| {
        let bit = |at: usize| digits[at / 6] >> (5 - at % 6) & 1;
        [0, 1, 2].map(|number| (number * 64..(number + 1) * 64).fold(0, |bits, at| bits << 1 | bit(at)))
    });
    let read = text.parse::<Cursor>().ok();
    let numbers = read.map(|cursor| {
        let epoch = u64::from_str_radix(&cursor.epoch.to_string(), 16).expect("an epoch is hex digits");
        [epoch, cursor.sequence, cursor.stored_ms]
    });
    assert_eq!(numbers, plainly, "{text:?}");
    if let Some(cursor) = read {
        assert_eq!(cursor.to_string(), text, "one place has one cursor");
    }
}

/// What is JSON, what is an object and where it ends is as serde_json has it; an event has a subject.
pub fn event(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let theirs = values.next().and_then(Result::ok).map(|raw| (raw.get().starts_with('{'), values.byte_offset()));
    let read = event::read_first(text).ok();
    let ours = read.as_ref().map(|(element, end)| (matches!(element, Element::Event(_)), *end));
    assert_eq!(ours, theirs, "{text:?}");
    if let Some((Element::Event(fields), _)) = read {
        is_subject(&subject::of_event(&fields));
    }
}

/// A subject has five tokens that no server or client takes for anything else.
pub fn is_subject(subject: &str) {
    let tokens: Vec<&str> = subject.split('.').collect();
    assert!(matches!(tokens[..], ["mandrill", "events", _, _, _]), "{subject:?}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    assert!(tokens.iter().all(|token| !token.is_empty() && token.bytes().all(plain)), "{subject:?}");
}

/// Runs a check over its corpus: inputs once worth keeping stay checked.
pub fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(target);
    let files = std::fs::read_dir(&folder).expect("a corpus");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "an empty corpus: {}", folder.display());
    for path in paths {
        let input = std::fs::read(&path).expect("a readable file");
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&input)));
        assert!(held.is_ok(), "does not hold: {}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_of_forms_holds() {
        replay("form", form);
    }

    #[test]
    fn the_corpus_of_events_holds() {
        replay("event", event);
    }

    #[test]
    fn the_corpus_of_cursors_holds() {
        replay("cursor", cursor);
    }

    #[test]
    fn the_corpus_of_headers_holds() {
        replay("headers", headers);
    }
}
