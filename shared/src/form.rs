//! `application/x-www-form-urlencoded`, decoded in place.
//!
//! **Owns** the encoding and nothing of what fields mean. Pure. A webhook's body is one large field with
//! an escape every few bytes, so decoding writes over the body it reads: no second buffer, no copy a field.

use std::ops::Range;

/// The fields of a form: where each name and value lies in the decoded body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(Range<usize>, Range<usize>)>,
}

/// A form with more fields than a caller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a form of more than {0} fields")]
pub struct TooManyFields(pub usize);

impl Form {
    /// Decodes `body` over itself. What is no escape (`%` without two hex digits) stands for itself, as
    /// browsers and servers have it.
    ///
    /// # Errors
    /// Where there are more than `fields_max` fields; the body is then decoded in part.
    pub fn decode_in_place(body: &mut [u8], fields_max: usize) -> Result<Form, TooManyFields> {
        let mut form = Form::default();
        let (mut from, mut to) = (0, 0);
        while from < body.len() {
            if body[from] == b'&' {
                from += 1;
                continue;
            }
            if form.fields.len() == fields_max {
                return Err(TooManyFields(fields_max));
            }
            let name_start = to;
            (from, to) = unescape(body, from, to, &NAME_STOPS);
            let name = name_start..to;
            if body.get(from) == Some(&b'=') {
                from += 1;
            }
            let value_start = to;
            (from, to) = unescape(body, from, to, &VALUE_STOPS);
            form.fields.push((name, value_start..to));
        }
        Ok(form)
    }

    /// The fields in the order they stand in, as slices of the body that was decoded.
    pub fn fields<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields.iter().map(|(name, value)| (&body[name.clone()], &body[value.clone()]))
    }

    /// Where the value of the first field of this name lies in the decoded body.
    #[must_use]
    pub fn value_of(&self, name: &[u8], body: &[u8]) -> Option<Range<usize>> {
        self.fields.iter().find(|(at, _)| &body[at.clone()] == name).map(|(_, value)| value.clone())
    }

    /// The first name that stands twice.
    #[must_use]
    pub fn repeated<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let mut names: Vec<&[u8]> = self.fields.iter().map(|(name, _)| &body[name.clone()]).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

/// The bytes that are not simply moved: escapes, and what ends a name or a value.
const NAME_STOPS: [bool; 256] = stops(b"%+&=");
const VALUE_STOPS: [bool; 256] = stops(b"%+&");

const fn stops(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// Moves decoded bytes from `from` down to `to` until an end; returns both, moved on.
///
/// A quarter of ingest's own work on a batch was here: one look at a table for each plain byte, and the
/// rest only where it says so, is twice as quick as comparing with each special byte in turn.
fn unescape(body: &mut [u8], mut from: usize, mut to: usize, stops: &[bool; 256]) -> (usize, usize) {
    while from < body.len() {
        let byte = body[from];
        if !stops[usize::from(byte)] {
            body[to] = byte;
            (from, to) = (from + 1, to + 1);
            continue;
        }
        let (decoded, length) = match byte {
            b'%' => match escaped(body, from) {
                Some(decoded) => (decoded, 3),
                None => (b'%', 1),
            },
            b'+' => (b' ', 1),
            _ => break,
        };
        body[to] = decoded;
        (from, to) = (from + length, to + 1);
    }
    (from, to)
}

/// The byte that the two hex digits behind a `%` stand for.
fn escaped(body: &[u8], at: usize) -> Option<u8> {
    let [high, low] = *body.get(at + 1..at + 3)? else { return None };
    let (high, low) = (DIGITS[usize::from(high)], DIGITS[usize::from(low)]);
    (high | low < NO_DIGIT).then_some(high << 4 | low)
}

/// The value of each hex digit; anything else has bits that no digit has.
const NO_DIGIT: u8 = 0x10;
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < NO_DIGIT {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

/// Appends `name=value` to a form as PHP encodes it: space as `+`, hex in capitals, and only letters,
/// digits and `-._` plain.
pub fn encode_pair(form: &mut String, name: &str, value: &str) {
    if !form.is_empty() {
        form.push('&');
    }
    escape(form, name);
    form.push('=');
    escape(form, value);
}

fn escape(form: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    form.reserve(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => form.push(char::from(byte)),
            b' ' => form.push('+'),
            _ => {
                form.push('%');
                form.push(char::from(DIGITS[usize::from(byte >> 4)]));
                form.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &str) -> Vec<(String, String)> {
        let mut body = text.as_bytes().to_vec();
        let form = Form::decode_in_place(&mut body, 100).expect("few fields");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        form.fields(&body).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn fields_are_decoded_as_browsers_and_php_write_them() {
        let check = |form: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> = expected.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
            assert_eq!(decode(form), expected, "{form}");
        };
        check("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check("a=x+y%20z%2B", &[("a", "x y z+")]);
        check("%61%3d=%e2%82%ac&", &[("a=", "€")]);
        check("a&&b=", &[("a", ""), ("b", "")]);
        check("a=b=c", &[("a", "b=c")]);
        check("a=100%&b=%4&c=%zz", &[("a", "100%"), ("b", "%4"), ("c", "%zz")]);
        check("=v", &[("", "v")]);
        check("", &[]);
    }

    #[test]
    fn a_form_of_a_million_fields_is_refused_after_a_few() {
        let mut bomb = "a=&".repeat(1_000_000).into_bytes();
        assert_eq!(Form::decode_in_place(&mut bomb, 100), Err(TooManyFields(100)));
    }

    #[test]
    fn a_repeated_name_is_found_however_it_is_written() {
        let mut body = b"a=1&b=2&%61=3".to_vec();
        let form = Form::decode_in_place(&mut body, 100).expect("few fields");
        assert_eq!(form.repeated(&body), Some(&b"a"[..]));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(fields in proptest::collection::vec((".{1,10}", ".{0,60}"), 0..6)) {
            let mut form = String::new();
            fields.iter().for_each(|(name, value)| encode_pair(&mut form, name, value));
            prop_assert_eq!(decode(&form), fields);
        }

        #[test]
        fn any_body_is_decoded(mut body: Vec<u8>) {
            let form = Form::decode_in_place(&mut body, 100);
            if let Ok(form) = form {
                prop_assert!(form.fields(&body).count() <= 100);
            }
        }
    }
}
