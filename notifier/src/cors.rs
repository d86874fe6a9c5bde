//! What pages of other sites may do with the API.
//!
//! **Owns** the headers of cross-origin requests. Which origins may is decided in `shared::origin`.

use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use shared::http::{Body, empty};
use shared::origin::Origins;

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// The answer to a browser that asks whether its page may: without a token, by its nature.
/// `methods` are the path's.
pub(crate) fn preflight<B>(request: &Request<B>, methods: &'static str, origins: &Origins) -> Option<Response<Body>> {
    let asks = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || !origins.allows_page(request.headers()) {
        return None;
    }
    let mut response = empty();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type, Last-Event-ID"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_AGE.as_secs()));
    Some(response)
}

/// Lets an allowed page read an answer of the API.
pub(crate) fn allow(answer: &mut HeaderMap, request: &HeaderMap, origins: &Origins) {
    // Whether it was or not, a cache must not give this answer to another page.
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = request.get(header::ORIGIN)
        && origins.allows_page(request)
    {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After, WWW-Authenticate"));
    }
}
