//! What a request is refused with.
//!
//! **Owns** the one mapping from a refusal to an HTTP answer or, for a live session whose client cannot
//! read one, to a close code.

use std::borrow::Cow;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use shared::close::Close;
use shared::http::Body;
use shared::problem::Problem;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Sent to a name that is not this service's.
    Misdirected,
    /// There is nothing under this path.
    NotFound,
    /// The path exists, for other methods.
    Method { allow: &'static str },
    /// The path speaks WebSocket only.
    NotAnUpgrade,
    /// The handshake is not as RFC 6455 has it.
    Handshake(Cow<'static, str>),
    /// The query cannot be used.
    Query(Cow<'static, str>),
    /// As many sessions come from this address as may.
    Crowd,
    /// From a page of a site that is not allowed.
    ForeignPage,
    /// No room for another session, or nothing to read yet.
    NoRoom { detail: &'static str, retry_seconds: u16 },
    /// This replica is about to stop.
    Draining,
}

/// After how long a client of a replica that stops may come again: another will have its place.
const DRAINING_RETRY_SECONDS: u16 = 1;
/// After how long to come again where an address has too many sessions: some must end first.
const CROWD_RETRY_SECONDS: u16 = 30;

impl Refusal {
    /// The answer of HTTP.
    pub(crate) fn into_response(self) -> Response<Body> {
        self.problem().into_response()
    }

    /// The code for a client that can only read one after the upgrade.
    pub(crate) fn close(&self) -> Option<Close> {
        match self {
            Refusal::ForeignPage => Some(Close::Forbidden),
            Refusal::NoRoom { retry_seconds, .. } => Some(Close::NoRoom { retry_seconds: *retry_seconds }),
            Refusal::Draining => Some(Close::NoRoom { retry_seconds: DRAINING_RETRY_SECONDS }),
            Refusal::Crowd => Some(Close::NoRoom { retry_seconds: CROWD_RETRY_SECONDS }),
            Refusal::Query(_) => Some(Close::BadRequest),
            Refusal::Misdirected
            | Refusal::NotFound
            | Refusal::Method { .. }
            | Refusal::NotAnUpgrade
            | Refusal::Handshake(_) => None,
        }
    }

    fn problem(self) -> Problem {
        match self {
            Refusal::Misdirected => Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "Not this host")
                .detail("this service is not reached under this name; PUBLIC_URLS lists its names")
                .close(),
            Refusal::NotFound => {
                Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found").detail("there is nothing under this path")
            }
            Refusal::Method { allow } => Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed")
                .detail("this path answers other methods")
                .header(header::ALLOW, HeaderValue::from_static(allow)),
            Refusal::NotAnUpgrade => Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade", "WebSocket only")
                .detail("this path speaks WebSocket: open it with a WebSocket client")
                .header(header::UPGRADE, HeaderValue::from_static("websocket"))
                .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
                .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            Refusal::Handshake(detail) => {
                Problem::new(StatusCode::BAD_REQUEST, "handshake", "Not a WebSocket handshake").detail(detail)
            }
            Refusal::Query(detail) => {
                Problem::new(StatusCode::BAD_REQUEST, "query", "The query cannot be used").detail(detail)
            }
            Refusal::Crowd => Problem::new(StatusCode::TOO_MANY_REQUESTS, "crowd", "Too many sessions")
                .detail("as many sessions come from this address as may; MAX_SESSIONS_PER_IP sets the limit")
                .retry_after(std::time::Duration::from_secs(CROWD_RETRY_SECONDS.into())),
            Refusal::ForeignPage => Problem::new(StatusCode::FORBIDDEN, "origin", "Not from this page")
                .detail("pages of other sites may not use this service; ALLOWED_ORIGINS lists those that may"),
            Refusal::NoRoom { detail, retry_seconds } => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-room", "No room")
                    .detail(detail)
                    .retry_after(std::time::Duration::from_secs(retry_seconds.into()))
            }
            Refusal::Draining => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "About to stop")
                .detail("this replica is about to stop: another will answer")
                .retry_after(std::time::Duration::from_secs(DRAINING_RETRY_SECONDS.into())),
        }
    }
}
