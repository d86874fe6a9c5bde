//! A webhook request as Mandrill makes it.

use crate::form::encode_pair;
use crate::signature::sign;

/// What a request is signed with.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// The webhook's key, as Mandrill shows it.
    pub key: &'a str,
    /// The URL as it was typed into Mandrill, whatever address the request goes to.
    pub url: &'a str,
}

/// The body and the signature of one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `application/x-www-form-urlencoded`.
    pub body: String,
    /// The value of `X-Mandrill-Signature`.
    pub signature: Option<String>,
}

impl Request {
    /// The content type of [`Request::body`].
    pub const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

    /// One batch of these events, each the text of a JSON object, byte for byte.
    #[must_use]
    pub fn new<E: AsRef<str>>(events: &[E], signing: Option<Signing<'_>>) -> Request {
        let length = events.iter().map(|event| event.as_ref().len() + 1).sum::<usize>();
        let mut batch = String::with_capacity(length + 2);
        batch.push('[');
        for (index, event) in events.iter().enumerate() {
            if index > 0 {
                batch.push(',');
            }
            batch.push_str(event.as_ref());
        }
        batch.push(']');
        Request::of_batch(&batch, signing)
    }

    /// One of a batch's text, whatever that is.
    #[must_use]
    pub fn of_batch(batch: &str, signing: Option<Signing<'_>>) -> Request {
        const FIELD: &str = "mandrill_events";
        let mut body = String::new();
        encode_pair(&mut body, FIELD, batch);
        let signature = signing.map(|with| sign(with.key, with.url, &[(FIELD.as_bytes(), batch.as_bytes())]));
        Request { body, signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_byte_for_byte_what_mandrill_sends() {
        let vectors = include_str!("../../fixtures/signed-requests.json");
        let vectors: Vec<serde_json::Value> = serde_json::from_str(vectors).expect("fixtures are JSON");
        let vector = vectors.iter().find(|vector| vector["name"] == "single-event").expect("the fixture is there");
        let field = |name: &str| vector[name].as_str().expect("a text").to_owned();

        let mut form = field("body").into_bytes();
        let fields = crate::form::Form::decode_in_place(&mut form, 1).expect("one field");
        let value = fields.value_of(b"mandrill_events", &form).expect("it is that one");
        let batch = std::str::from_utf8(&form[value]).expect("UTF-8");
        let event = batch.trim_start_matches('[').trim_end_matches(']');

        let request = Request::new(&[event], Some(Signing { key: &field("key"), url: &field("url") }));
        assert_eq!(request, Request { body: field("body"), signature: Some(field("signature")) });
    }

    #[test]
    fn without_a_key_there_is_no_signature() {
        let request = Request::new::<&str>(&[], None);
        assert_eq!(request, Request { body: "mandrill_events=%5B%5D".to_owned(), signature: None });
    }
}
