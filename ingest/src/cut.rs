//! A large event's short form.
//!
//! **Owns** what is left out of an event that is too large for sockets. Pure. Everything but long texts
//! stays byte for byte; `_large` in front says where the whole object is.

use serde_json::{Map, Value, json};
use shared::event;

/// What is left of a long text, in bytes of its JSON form.
const TEXT_BYTES_MAX: usize = 1024;
/// What is left of a field where little else is, in bytes of its JSON form: eight of them and the reference
/// fit into the lowest LARGE_EVENT_BYTES.
const FIELD_BYTES_MAX: usize = 400;

/// The short form of `event`, whose whole is kept as `object`: at most `bytes_max` long.
#[must_use]
pub fn cut(event: &str, object: &str, bytes_max: usize) -> Vec<u8> {
    let reference = json!({"object": object, "bytes": event.len()}).to_string();
    let mut short = format!("{{\"_large\":{reference}");
    // An event is an object: what follows its brace are its fields, or its end.
    let fields = event.trim_start().strip_prefix('{').unwrap_or("}");
    if !fields.trim_start().starts_with('}') {
        short.push(',');
    }
    cut_texts(fields, &mut short);
    if short.len() > bytes_max {
        // Many short texts, or numbers: only what routing and filters read is left.
        short = skeleton(event, &reference);
    }
    short.into_bytes()
}

fn cut_texts(json: &str, out: &mut String) {
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        let (before, text) = rest.split_at(start + 1);
        out.push_str(before);
        let end = text_end(text);
        let is_key = text[end..].get(1..).is_some_and(|after| after.trim_start().starts_with(':'));
        let kept = if end > TEXT_BYTES_MAX && !is_key { boundary(text, TEXT_BYTES_MAX) } else { end };
        out.push_str(&text[..kept]);
        rest = &text[end..];
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            rest = after;
        }
    }
    out.push_str(rest);
}

/// Where a JSON text that begins after its quote ends: at its closing quote.
fn text_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if bytes[at + found] == b'"' {
            return at + found;
        }
        at += found + 2;
    }
    text.len()
}

/// The last place up to `most` that splits neither a character nor an escape nor a surrogate pair.
fn boundary(text: &str, most: usize) -> usize {
    let mut at = 0;
    loop {
        let next = at + unit_length(&text[at..]);
        if next == at || next > most {
            return at;
        }
        at = next;
    }
}

fn unit_length(text: &str) -> usize {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    match text.as_bytes() {
        // Half a pair is JSON too, and whatever follows it is a unit of its own.
        [b'\\', b'u', ..] => match (unit(0), unit(6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            _ => 6,
        },
        [b'\\', ..] => 2,
        _ => text.chars().next().map_or(0, char::len_utf8),
    }
}

fn skeleton(event: &str, reference: &str) -> String {
    let fields = event::fields(event);
    let mut msg = Map::new();
    let mut whole = Map::new();
    let put = |object: &mut Map<String, Value>, key: &str, value: Option<&str>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), front(value, FIELD_BYTES_MAX).into());
        }
    };
    put(&mut msg, "email", fields.email.as_deref());
    put(&mut msg, "sender", fields.sender.as_deref());
    put(&mut msg, "subaccount", fields.subaccount.as_deref());
    put(&mut msg, "template", fields.template.as_deref());
    put(&mut whole, "event", fields.event.as_deref());
    put(&mut whole, "type", fields.sync_type.as_deref());
    put(&mut whole, "action", fields.sync_action.as_deref());
    put(&mut whole, "_id", fields.message.as_deref());
    whole.insert("msg".to_owned(), msg.into());
    let rest = Value::Object(whole).to_string();
    format!("{{\"_large\":{reference},{}", rest.strip_prefix('{').unwrap_or("}"))
}

/// The longest front of `text` whose JSON form is no longer than `bytes_max`.
fn front(text: &str, bytes_max: usize) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|&(_, character)| {
        bytes += json_length(character);
        bytes > bytes_max
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// How many bytes serde_json writes for a character.
fn json_length(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut_value(event: &str, bytes_max: usize) -> Value {
        let short = cut(event, "obj", bytes_max);
        assert!(short.len() <= bytes_max, "{} bytes", short.len());
        serde_json::from_slice(&short).expect("JSON")
    }

    #[test]
    fn long_texts_are_cut_and_all_else_stays() {
        let event = format!(
            r#"{{"event":"inbound", "ts":1.50,"msg":{{"email":"a@b.c","raw_msg":"{}","{}":"short"}}}}"#,
            "x".repeat(5000),
            "k".repeat(2000)
        );
        let short = String::from_utf8(cut(&event, "obj", 1 << 20)).expect("text");
        let front = format!(r#"{{"_large":{{"bytes":{},"object":"obj"}},"event":"inbound", "ts":1.50,"#, event.len());
        assert!(short.starts_with(&front), "{short}");
        let value = cut_value(&event, 1 << 20);
        assert_eq!(value["msg"]["raw_msg"].as_str().map(str::len), Some(TEXT_BYTES_MAX));
        assert_eq!(value["msg"][&"k".repeat(2000)], "short");
    }

    #[test]
    fn an_event_of_a_million_numbers_keeps_what_routing_reads() {
        let event =
            format!(r#"{{"event":"open","_id":"m","msg":{{"email":"a@b.c","x":[{}0]}}}}"#, "0,".repeat(500_000));
        let value = cut_value(&event, 256 << 10);
        assert_eq!(
            (&value["event"], &value["_id"], &value["msg"]["email"]),
            (&"open".into(), &"m".into(), &"a@b.c".into())
        );
        assert_eq!(value["_large"]["bytes"], event.len());
        assert_eq!(cut_value("{}", 1 << 20), json!({"_large": {"object": "obj", "bytes": 2}}));
    }

    #[test]
    fn fields_of_nothing_but_escapes_stay_within_the_lowest_limit() {
        for text in ["\u{1}", "\"", "\u{10000}", "x"].map(|character| character.repeat(2000)) {
            let msg = json!({"email": &text, "sender": &text, "subaccount": &text, "template": &text});
            let event = json!({"event": &text, "type": &text, "action": &text, "_id": &text, "msg": msg}).to_string();
            let value = cut_value(&event, 4 << 10);
            let kept = value["msg"]["email"].as_str().expect("a text");
            assert!(text.starts_with(kept) && kept.len() >= 66, "{} bytes", kept.len());
        }
    }

    #[test]
    fn half_a_surrogate_pair_takes_nothing_with_it() {
        for behind in ["\u{1f600}", "\\n", "\\ud83d", "x"] {
            let event = format!(r#"{{"a":"\ud83d{}"}}"#, behind.repeat(600));
            let short = String::from_utf8(cut(&event, "obj", 1 << 20)).expect("text");
            assert!(event::read_first(&short).is_ok_and(|(_, end)| end == short.len()), "{short}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_event_is_json_and_its_texts_are_fronts_of_the_whole(
            text in "(\\PC|[\u{10000}-\u{10100}\"\\\\\n]){900,1200}",
            ascii: bool,
        ) {
            let mut event = json!({"msg": {"raw_msg": &text, "a": [&text, 1]}}).to_string();
            if ascii {
                event = event.chars().map(|c| if c.is_ascii() { c.to_string() } else {
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                }).collect();
            }
            let value = cut_value(&event, 1 << 20);
            let kept = value["msg"]["a"][0].as_str().expect("a text");
            prop_assert!(text.starts_with(kept));
            prop_assert!(kept.len() + 12 > TEXT_BYTES_MAX / 3 || kept == text);
        }
    }
}
