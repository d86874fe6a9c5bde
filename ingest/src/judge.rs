//! From a request's body to its events: content type, signature, content, in that order.
//!
//! **Owns** the order of judgement. **May not touch** sockets or the broker. Pure: what it may take long
//! over is the caller's to run where that delays nobody.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::form::{self, Form};
use shared::signature::SignedText;

use crate::batch::{self, Batch, Unusable};
use crate::error::Refusal;
use crate::trust::{Authenticity, Trust};

/// The field that holds the array.
pub(crate) const FIELD: &str = "mandrill_events";
/// Fields of one form. Mandrill sends one, and may come to send others.
pub(crate) const FIELDS_MAX: usize = 100;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// Mandrill's own.
    Form,
    /// The original project's: `{"mandrill_events":[…]}`.
    Json,
}

impl ContentType {
    /// From the header's value.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<ContentType> {
        let essence = header.split(|byte| *byte == b';').next()?.trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            Some(ContentType::Form)
        } else if essence.eq_ignore_ascii_case(b"application/json") {
            Some(ContentType::Json)
        } else {
            None
        }
    }
}

/// Judges a whole body.
///
/// # Errors
/// The refusal the sender gets. What is authentic but unusable is no refusal: it is part of the batch.
pub fn judge(
    body: BytesMut,
    content_type: ContentType,
    signature: Option<&[u8]>,
    trust: &Trust,
) -> Result<Batch, Refusal> {
    match content_type {
        ContentType::Form => judge_form(body, signature, trust),
        ContentType::Json => judge_json(&body.freeze(), signature, trust),
    }
}

fn judge_form(mut body: BytesMut, signature: Option<&[u8]>, trust: &Trust) -> Result<Batch, Refusal> {
    let form = Form::decode_in_place(&mut body, FIELDS_MAX).map_err(|_| Refusal::TooManyFields)?;
    // Which one is not repeated to the sender, nor told anybody: a name may be megabytes of anything.
    if form.repeated(&body).is_some() {
        return Err(Refusal::RepeatedField);
    }
    let body = body.freeze();
    let value = form.value_of(FIELD.as_bytes(), &body);
    let text = SignedText::new(form.fields(&body));
    judge_value(&body, value, &text, signature, trust, || {
        let mut whole = String::new();
        let lossy = String::from_utf8_lossy;
        form.fields(&body).for_each(|(name, value)| form::encode_pair(&mut whole, &lossy(name), &lossy(value)));
        whole.into()
    })
}

#[derive(Deserialize)]
struct JsonBody<'a> {
    #[serde(borrow)]
    mandrill_events: Option<&'a RawValue>,
}

fn judge_json(body: &Bytes, signature: Option<&[u8]>, trust: &Trust) -> Result<Batch, Refusal> {
    // serde takes an array for an object's fields in their order; nobody means that.
    let begins_object = body.trim_ascii_start().starts_with(b"{");
    let value = match serde_json::from_slice::<JsonBody<'_>>(body) {
        Ok(JsonBody { mandrill_events }) if begins_object => mandrill_events.map(|raw| range_in(body, raw.get())),
        // Without the array's text there is nothing a signature could be checked over.
        Ok(_) | Err(_) if trust.takes_unsigned() => {
            return Err(Refusal::Content("the body is not a JSON object with one \"mandrill_events\"".to_owned()));
        }
        Ok(_) | Err(_) => return Err(Refusal::Signature),
    };
    let field = value.clone().map(|value| (FIELD.as_bytes(), &body[value]));
    judge_value(body, value, &SignedText::new(field), signature, trust, || body.clone())
}

/// Where a slice of `body` lies in it.
fn range_in(body: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - body.as_ptr() as usize;
    start..start + part.len()
}

fn judge_value(
    body: &Bytes,
    value: Option<Range<usize>>,
    text: &SignedText<'_>,
    signature: Option<&[u8]>,
    trust: &Trust,
    whole: impl FnOnce() -> Bytes,
) -> Result<Batch, Refusal> {
    let is_empty = value.clone().is_some_and(|value| batch::is_empty_array(&body[value]));
    let signed = match trust.judge(text, signature, is_empty) {
        Authenticity::Signed => true,
        Authenticity::Unsigned => false,
        Authenticity::Check => return Ok(Batch::default()),
        Authenticity::NoKeyYet => return Err(Refusal::NoKeyYet),
        Authenticity::Forged => return Err(Refusal::Signature),
    };
    let (reason, content) = match value {
        None => ("the field mandrill_events is missing".to_owned(), whole()),
        Some(value) => {
            let value = body.slice(value);
            match batch::read(&value) {
                Ok(batch) => return Ok(batch),
                Err(reason) => (reason.to_string(), value),
            }
        }
    };
    if signed {
        Ok(Batch { events: Vec::new(), unusable: vec![Unusable { reason, content }] })
    } else {
        Err(Refusal::Content(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use proptest::prelude::*;
    use shared::settings::Environment;

    fn trust(environment: &Environment) -> Trust {
        Trust::new(&Config::read(environment).expect("settings").hook)
    }

    fn unsigned() -> Trust {
        trust(&Environment::from([("ALLOW_UNSIGNED", "true")]))
    }

    fn events(body: &str, content_type: ContentType) -> Result<usize, Refusal> {
        judge(BytesMut::from(body), content_type, None, &unsigned()).map(|batch| batch.events.len())
    }

    #[test]
    fn content_types_are_known_with_parameters_and_in_any_case() {
        let check = |header: &str, expected| assert_eq!(ContentType::parse(header.as_bytes()), expected, "{header}");
        check("application/x-www-form-urlencoded", Some(ContentType::Form));
        check("Application/X-WWW-Form-Urlencoded; charset=utf-8", Some(ContentType::Form));
        check("application/json;charset=utf-8", Some(ContentType::Json));
        check("text/plain", None);
        check("multipart/form-data; boundary=application/json", None);
        check("", None);
    }

    #[test]
    fn the_original_projects_json_is_taken_and_its_empty_object_is_not() {
        assert_eq!(events(r#"{"mandrill_events":[{"event":"open"},{}]}"#, ContentType::Json), Ok(2));
        for body in
            ["{}", "", "[]", "[[{}]]", r#"{"mandrill_events":{}}"#, r#"{"mandrill_events":[],"mandrill_events":[]}"#]
        {
            assert!(matches!(events(body, ContentType::Json), Err(Refusal::Content(_))), "{body}");
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_refused() {
        assert_eq!(
            events("mandrill_events=%5B%5D&mandrill_events=%5B%5D", ContentType::Form),
            Err(Refusal::RepeatedField)
        );
        assert_eq!(events(&"a=1&".repeat(FIELDS_MAX + 1), ContentType::Form), Err(Refusal::TooManyFields));
    }

    proptest! {
        #[test]
        fn any_body_is_judged(body: Vec<u8>, json: bool) {
            let content_type = if json { ContentType::Json } else { ContentType::Form };
            let _ = judge(BytesMut::from(&body[..]), content_type, Some(b"x"), &unsigned());
        }

        #[test]
        fn nothing_unsigned_is_believed_where_there_is_a_key(body in "(mandrill_events=)?[%0-9A-F=&a-z\\[\\]{}]{0,60}", signature: Option<Vec<u8>>) {
            let trust = trust(&Environment::from([("MANDRILL_WEBHOOK_KEYS", "key"), ("MANDRILL_WEBHOOK_URLS", "http://a")]));
            prop_assert!(judge(BytesMut::from(body.as_str()), ContentType::Form, signature.as_deref(), &trust).is_err());
        }
    }
}
