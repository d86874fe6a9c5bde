//! `GET /api/large/{id}`: the original of a large event.
//!
//! **Owns** the answer: the object as Mandrill sent it, piece by piece, to whoever may see the event that names
//! it, for as long as they may. An object whose event is gone is gone as well.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use shared::event;
use shared::http::{Body, empty};

use super::{Api, refused, takes_nothing};
use crate::access::Access;
use crate::error::Refusal;
use crate::files;
use crate::filter::subjects::Subjects;
use crate::query::{Forward, Hit, QueryError, Wanted};

/// How much earlier than its object an event may seem to be stored, where the broker's clocks differ.
const CLOCKS_APART_MS: u64 = 60_000;
/// The length of an id without the number of a twin.
const ID_LENGTH: usize = 32;

impl Api {
    /// The original of a large event.
    pub(crate) async fn large<B>(
        &self,
        request: &Request<B>,
        access: Access,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        takes_nothing(request)?;
        if !is_id(id) {
            return Err(Refusal::NoObject);
        }
        let fault = |error| refused(error, "id");
        let place = self.archive.download_place().map_err(fault)?;
        let view = self.archive.view().await.map_err(fault)?;
        let object = self.archive.storage().object(id).await.map_err(QueryError::from).map_err(fault)?;
        let object = object.ok_or(Refusal::NoObject)?;
        let subjects = object.subject.as_deref().and_then(Subjects::exactly).ok_or(Refusal::NoObject)?;
        let from = Some(object.stored_ms.saturating_sub(CLOCKS_APART_MS));
        let wanted = Wanted { filter: access.narrow(None), from, to: None, subjects: Some(subjects) };
        let mut way = Forward::begin(view, wanted, None).await.map_err(fault)?;
        let named = way.first(|hit| names(hit, id)).await.map_err(fault)?;
        let event = named.ok_or(Refusal::NoObject)?;

        let etag = format!("\"{id}\"");
        let etag = HeaderValue::from_str(&etag).map_err(|_| Refusal::NoObject)?;
        let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let mut response = if known.is_some_and(|tags| files::names(tags, &etag)) {
            let mut response = empty();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            // With less than was announced, a client knows that it has no whole answer.
            let engine = Arc::clone(&self.engine);
            let content = object.content.scan((way, place), move |(way, _), piece| {
                let piece = piece.inspect_err(|error| tracing::warn!(%error, "a large event was cut"));
                let may_go_on = engine.gate.allows(&access) && !way.is_erased(&event);
                std::future::ready(piece.ok().filter(|_| may_go_on))
            });
            let frames = content.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(object.bytes));
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// Whether this is the id of an event, as ingest makes them: there are other objects in the store.
fn is_id(id: &str) -> bool {
    let (front, twin) = id.split_once('.').map_or((id, None), |(front, twin)| (front, Some(twin)));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_number = |text: &str| {
        (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')
    };
    front.len() == ID_LENGTH && front.bytes().all(plain) && twin.is_none_or(is_number)
}

/// Whether an event is the short form of this object.
fn names(hit: &Hit, id: &str) -> bool {
    event::large_object(&hit.text).is_some_and(|object| object == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_have_ids_here() {
        let id = "abcdefghijklmnopqrstuvwxyzABCD-_";
        for good in [id.to_owned(), format!("{id}.1"), format!("{id}.1234567890")] {
            assert!(is_id(&good), "{good}");
        }
        let bad =
            ["", "rejected-x", &id[1..], &format!("{id}."), &format!("{id}.0"), &format!("{id}.x"), &format!("{id}é")];
        for bad in bad {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
