//! Which path is what.
//!
//! **Owns** paths, methods and the headers every answer carries. **May not** answer anything itself.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response};
use shared::http::{Body, plain_path};

use crate::error::Refusal;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The live socket.
    Live,
    /// Live events over HTTP.
    Stream,
    /// What this replica knows of the whole.
    Status,
    /// A file of the page, by any method, or nothing.
    Page,
}

/// The live socket's path.
const LIVE: &str = "/ws/email";
const STREAM: &str = "/api/events/stream";
const STATUS: &str = "/api/status";
/// What begins so may be called by pages of allowed sites.
const API: &str = "/api/";

/// Whether a path belongs to the API.
pub(crate) fn is_api(path: &str) -> bool {
    path.starts_with(API)
}

/// The route of a request, with and without the path's last slash.
pub(crate) fn find(method: &Method, path: &str) -> Result<Route, Refusal> {
    match (plain_path(path), method) {
        (LIVE, &Method::GET) => Ok(Route::Live),
        (STREAM, &Method::GET) => Ok(Route::Stream),
        (STATUS, &Method::GET | &Method::HEAD) => Ok(Route::Status),
        (LIVE | STREAM, _) => Err(Refusal::Method { allow: "GET" }),
        (STATUS, _) => Err(Refusal::Method { allow: "GET, HEAD" }),
        (_, _) => Ok(Route::Page),
    }
}

/// Adds what protects a browser to every answer. What an answer says itself stands.
pub(crate) fn secure(response: &mut Response<Body>) {
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
