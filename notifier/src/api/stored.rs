//! `GET /api/events/`, `/api/messages/{id}`, `/api/recipients/{recipient}`: pages of stored events.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response};
use shared::http::{Body, full};

use super::{Api, cursor_json, refused, takes_json};
use crate::access::Access;
use crate::error::Refusal;
use crate::params::{self, Asked, IN_PATH_LENGTH_MAX, InvalidParams, PAGE_MAX};
use crate::query::{Forward, Page, View, Wanted};

/// A page's events where the request does not say.
const PAGE_DEFAULT: usize = 100;

impl Api {
    /// Stored events, newest first.
    pub(crate) async fn events<B>(&self, request: &Request<B>, access: &Access) -> Result<Response<Body>, Refusal> {
        let asked = read(request, &["from", "to", "limit", "before"], None)?;
        let (view, page) = self.newest(&asked, access).await?;
        Ok(page_json("", &page, &view))
    }

    /// One person's events, newest first.
    pub(crate) async fn recipient<B>(
        &self,
        request: &Request<B>,
        access: &Access,
        person: &str,
    ) -> Result<Response<Body>, Refusal> {
        let hash = params::person(person).ok_or_else(|| {
            let allowed = "an address, or the 16 hex digits that stand for it";
            Refusal::Path(InvalidParams::new("recipient", "it is no address", allowed))
        })?;
        let hash = hash.to_string();
        let asked = read(request, &["from", "to", "limit", "before"], Some(("email", &hash)))?;
        let (view, page) = self.newest(&asked, access).await?;
        Ok(page_json(&format!(r#""recipient":"{hash}","#), &page, &view))
    }

    /// One message's events, oldest first.
    pub(crate) async fn message<B>(
        &self,
        request: &Request<B>,
        access: &Access,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        if id.chars().count() > IN_PATH_LENGTH_MAX || id.trim().is_empty() {
            let allowed = format!("1 to {IN_PATH_LENGTH_MAX} characters, as `_id` holds them");
            return Err(Refusal::Path(InvalidParams::new("id", "it is no message's id", allowed)));
        }
        let asked = read(request, &["from", "to", "limit", "since"], Some(("message", id)))?;
        let since = asked.since;
        let fault = |error| refused(error, "since");
        let view = self.archive.view().await.map_err(fault)?;
        let epoch = view.epoch();
        let way = Forward::begin(view, wanted(&asked, access), since.as_ref()).await.map_err(fault)?;
        let page = way.page(asked.limit.unwrap_or(PAGE_MAX)).await.map_err(fault)?;
        if page.hits.is_empty() && page.next.is_none() && since.is_none() {
            return Err(Refusal::NoEvents);
        }
        let next = page.next.map(|place| place.cursor(epoch));
        let id = serde_json::Value::from(id);
        Ok(json(document(&format!(r#""message":{id},"#), &page, &cursor_json(next))))
    }

    async fn newest(&self, asked: &Asked, access: &Access) -> Result<(View, Page), Refusal> {
        let fault = |error| refused(error, "before");
        let view = self.archive.view().await.map_err(fault)?;
        let limit = asked.limit.unwrap_or(PAGE_DEFAULT);
        let page = view.newest(&wanted(asked, access), asked.before.as_ref(), limit).await.map_err(fault)?;
        Ok((view, page))
    }
}

fn read<B>(
    request: &Request<B>,
    names: &[&'static str],
    in_path: Option<(&'static str, &str)>,
) -> Result<Asked, Refusal> {
    takes_json(request.headers())?;
    Asked::read(request.uri().query(), names, in_path).map_err(Refusal::Query)
}

/// What was asked for, as far as it may be seen.
pub(super) fn wanted(asked: &Asked, access: &Access) -> Wanted {
    Wanted { filter: access.narrow(asked.filter.as_ref()), from: asked.from, to: asked.to, subjects: None }
}

fn page_json(front: &str, page: &Page, view: &View) -> Response<Body> {
    json(document(front, page, &cursor_json(page.next.map(|place| place.cursor(view.epoch())))))
}

/// The events are JSON already: they are put together, not written again.
fn document(front: &str, page: &Page, next: &str) -> Bytes {
    let bytes: usize = page.hits.iter().map(|hit| hit.text.len() + 1).sum();
    let mut text = Vec::with_capacity(bytes + front.len() + next.len() + 32);
    text.push(b'{');
    text.extend_from_slice(front.as_bytes());
    text.extend_from_slice(br#""events":["#);
    for (at, hit) in page.hits.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&hit.text);
    }
    text.extend_from_slice(br#"],"next":"#);
    text.extend_from_slice(next.as_bytes());
    text.push(b'}');
    text.into()
}

fn json(text: Bytes) -> Response<Body> {
    let mut response = Response::new(full(text).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
