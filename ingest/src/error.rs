//! Every way a request can fail, and its answer.
//!
//! **Owns** the one mapping from refusals to HTTP. What a sender reads here is all it learns; details for
//! the operator go to the log where the refusal arises.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use shared::problem::Problem;

use crate::server::METHODS;

/// When a refused batch is worth sending again. Mandrill keeps its own time; others may heed it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a request is not answered with 200.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is none of ours.
    #[error("no such path: the webhook is at /api/hook/")]
    Path,
    /// The method has no meaning here.
    #[error("the webhook takes POST, and HEAD for Mandrill's check of its URL")]
    Method,
    /// The request was sent to a name that is not ours.
    #[error("this host is not served here: PUBLIC_URLS names those that are")]
    Host,
    /// A page of another site sent it.
    #[error("unsigned requests are taken from this machine's own programs, not from pages of other sites")]
    CrossSite,
    /// The body is too large.
    #[error("the body is larger than {0} bytes (MAX_BODY_BYTES)")]
    TooLarge(u64),
    /// The body is written in something else.
    #[error("send application/x-www-form-urlencoded as Mandrill does, or application/json, without a content encoding")]
    ContentType,
    /// The body stopped coming.
    #[error("the body did not arrive in time")]
    Stalled,
    /// The body ended in the middle.
    #[error("the body ended before its end")]
    Aborted,
    /// More fields than any webhook has.
    #[error("the form has more fields than any of Mandrill's")]
    TooManyFields,
    /// A field stands twice, so that what is signed may not be what is read.
    #[error("a field of the form stands more than once")]
    RepeatedField,
    /// The signature is missing or not made with a key of ours.
    #[error("X-Mandrill-Signature is missing, or is not this body's under any configured URL and key")]
    Signature,
    /// Nothing can be checked yet.
    #[error("no webhook key is configured yet: set MANDRILL_WEBHOOK_KEYS to the key Mandrill shows for this webhook")]
    NoKeyYet,
    /// Unsigned, and of no use.
    #[error("{0}")]
    Content(String),
    /// Too much is being held already.
    #[error("too many bytes are in flight (MAX_INFLIGHT_BYTES)")]
    Busy,
    /// This process is about to stop.
    #[error("this replica is about to stop")]
    Draining,
    /// The broker did not store all of it.
    #[error("the events could not be stored: {0}")]
    NotStored(NotStored),
}

/// Why events are not known to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// The connection is down.
    #[error("the broker is away")]
    Away,
    /// The stream is not there, or has no leader.
    #[error("the stream does not answer")]
    NoStream,
    /// No acknowledgement came in time.
    #[error("the broker was too slow")]
    Slow,
    /// The broker said no.
    #[error("the broker refused: {0}")]
    Refused(String),
}

impl Refusal {
    /// The answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let problem = |status, name, title| Problem::new(status, name, title).detail(self.to_string());
        match self {
            Refusal::Path => problem(StatusCode::NOT_FOUND, "not-found", "Not found"),
            Refusal::Method => problem(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed")
                .header(header::ALLOW, HeaderValue::from_static(METHODS)),
            Refusal::Host => problem(StatusCode::MISDIRECTED_REQUEST, "host", "Not this host"),
            Refusal::CrossSite => problem(StatusCode::FORBIDDEN, "cross-site", "Not from another site"),
            Refusal::TooLarge(_) => problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large").close(),
            Refusal::ContentType => {
                problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "Content type not supported")
            }
            Refusal::Stalled => problem(StatusCode::REQUEST_TIMEOUT, "stalled", "Body too slow").close(),
            Refusal::Aborted => problem(StatusCode::BAD_REQUEST, "aborted", "Body incomplete").close(),
            Refusal::TooManyFields | Refusal::RepeatedField => {
                problem(StatusCode::BAD_REQUEST, "form", "Form not usable")
            }
            Refusal::Signature => problem(StatusCode::UNAUTHORIZED, "signature", "Signature missing or wrong"),
            Refusal::NoKeyYet => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "no-key", "No webhook key yet").retry_after(RETRY_AFTER)
            }
            Refusal::Content(_) => problem(StatusCode::BAD_REQUEST, "content", "Content not usable"),
            Refusal::Busy => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much at once").retry_after(RETRY_AFTER).close()
            }
            Refusal::Draining => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "draining", "About to stop").retry_after(RETRY_AFTER).close()
            }
            Refusal::NotStored(_) => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "not-stored", "Not stored").retry_after(RETRY_AFTER)
            }
        }
    }
}
