//! Small things every HTTP answer is made of.
//!
//! **Owns** the body type, how paths are compared, and the headers every answer carries. **May not** know a route.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The body of an answer: one buffer, or a stream that ends when the client goes.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}

/// A 200 with a JSON document that must not be kept by caches.
#[must_use]
pub fn json(document: &impl serde::Serialize) -> Response<Body> {
    let mut response = Response::new(full(serde_json::to_vec(document).unwrap_or_default()).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A 200 without a body.
#[must_use]
pub fn empty() -> Response<Body> {
    Response::new(full(Bytes::new()).boxed_unsync())
}

/// What a path may be asked with.
#[must_use]
pub fn options(allow: &'static str) -> Response<Body> {
    let mut response = empty();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// Adds what protects a browser to every answer. What an answer says itself stands.
pub fn secure(response: &mut Response<Body>) {
    const HEADERS: [(&str, &str); 4] = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ];
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
}

/// A path without its last slash: every path answers with and without it.
#[must_use]
pub fn plain_path(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(plain) => plain,
    }
}
