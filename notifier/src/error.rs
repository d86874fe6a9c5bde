//! What a request is refused with.
//!
//! **Owns** the one mapping from a refusal to an HTTP answer or, for a live session whose client cannot
//! read one, to a close code.

use std::borrow::Cow;
use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use shared::close::Close;
use shared::http::Body;
use shared::problem::Problem;

use crate::access::{BadToken, Scope};
use crate::erasures::NotErased;
use crate::params::InvalidParams;
use crate::ring::GapReason;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Sent to a name that is not this service's.
    Misdirected,
    /// There is nothing under this path.
    NotFound,
    /// The path exists, for other methods.
    Method { allow: &'static str },
    /// The path has none of the types the client takes.
    NotAcceptable { offers: &'static str },
    /// The path speaks WebSocket only.
    NotAnUpgrade,
    /// The handshake is not as RFC 6455 has it.
    Handshake(Cow<'static, str>),
    /// The query cannot be used.
    Query(InvalidParams),
    /// What stands in the path cannot be used.
    Path(InvalidParams),
    /// Events after or before this cursor cannot be given: the stream is another one, or dropped them.
    CursorGone { parameter: &'static str, reason: GapReason },
    /// There is no event of this message.
    NoEvents,
    /// There is no such object.
    NoObject,
    /// As many queries are under way as may.
    Busy,
    /// The broker does not answer, or this replica has not heard of everything it has.
    Broker(Cow<'static, str>),
    /// As many sessions come from this address as may.
    Crowd,
    /// This user has as many sessions as they may.
    UserCrowd,
    /// A token is needed and none was sent.
    NoToken,
    /// The token is not good.
    BadToken(BadToken),
    /// The request holds its token in a way that means nothing, or more than one.
    TokenForm(&'static str),
    /// The token does not hold this scope.
    Scope(Scope),
    /// No token can be judged yet.
    NoKeys,
    /// A token was sent on a session of a service that asks for none.
    NoTokensHere,
    /// Nobody erases without a token, unless only this machine reaches the service.
    ErasingOff,
    /// The token's filter is on more than the person who is to be erased.
    OtherPeople,
    /// A person's events are not, or not yet, erased.
    NotErased(NotErased),
    /// The body cannot be used.
    Body(InvalidParams),
    /// The body is larger than it may be.
    TooLarge { bytes_max: usize },
    /// The body is written in something else.
    ContentType,
    /// The body stopped coming.
    Stalled,
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
/// After how long to come again where keys are being read.
const NO_KEYS_RETRY_SECONDS: u16 = 5;

/// After how long to ask again where the broker, or a place among the queries, is awaited.
const BROKER_RETRY: Duration = Duration::from_secs(2);

fn at_fault(problem: Problem, fault: InvalidParams) -> Problem {
    problem.detail(format!("{}: {}", fault.parameter, fault.detail)).parameter(fault.parameter).allowed(fault.allowed)
}

fn erasing_off(detail: Cow<'static, str>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "erasing-off", "Nobody may erase here").detail(detail)
}

fn cursor_gone(parameter: &'static str, reason: GapReason) -> Problem {
    let detail = match reason {
        GapReason::Epoch => "the cursor is of another stream, or of an earlier state of this one: ask without it",
        GapReason::Retention => "events after the cursor are no longer kept: ask without it for what there is",
    };
    Problem::new(StatusCode::GONE, "cursor-gone", "The cursor leads nowhere")
        .detail(detail)
        .parameter(parameter)
        .allowed("a cursor of this stream, not older than what is kept")
}

impl Refusal {
    /// The answer of HTTP.
    pub(crate) fn into_response(self) -> Response<Body> {
        self.problem().into_response()
    }

    /// What is wrong, for a client that is told in a control frame.
    pub(crate) fn detail(self) -> String {
        self.problem().text().to_owned()
    }

    /// The code for a client that can only read one after the upgrade.
    pub(crate) fn close(&self) -> Option<Close> {
        match self {
            Refusal::ForeignPage => Some(Close::Forbidden),
            Refusal::NoRoom { retry_seconds, .. } => Some(Close::NoRoom { retry_seconds: *retry_seconds }),
            Refusal::Draining => Some(Close::NoRoom { retry_seconds: DRAINING_RETRY_SECONDS }),
            Refusal::Crowd => Some(Close::NoRoom { retry_seconds: CROWD_RETRY_SECONDS }),
            Refusal::UserCrowd => Some(Close::NoRoom { retry_seconds: CROWD_RETRY_SECONDS }),
            Refusal::NoKeys => Some(Close::NoRoom { retry_seconds: NO_KEYS_RETRY_SECONDS }),
            Refusal::NoToken | Refusal::BadToken(_) => Some(Close::Unauthorized),
            Refusal::Scope(_) | Refusal::ErasingOff | Refusal::OtherPeople => Some(Close::Forbidden),
            Refusal::Query(_) | Refusal::TokenForm(_) | Refusal::NoTokensHere => Some(Close::BadRequest),
            Refusal::Path(_)
            | Refusal::NotErased(_)
            | Refusal::Body(_)
            | Refusal::TooLarge { .. }
            | Refusal::ContentType
            | Refusal::Stalled
            | Refusal::CursorGone { .. }
            | Refusal::NoEvents
            | Refusal::NoObject
            | Refusal::Busy
            | Refusal::Broker(_)
            | Refusal::Misdirected
            | Refusal::NotFound
            | Refusal::Method { .. }
            | Refusal::NotAcceptable { .. }
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
            Refusal::NotAcceptable { offers } => {
                Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable")
                    .detail("Accept takes none of the types this path has")
                    .parameter("Accept")
                    .allowed(offers)
            }
            Refusal::NotAnUpgrade => Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade", "WebSocket only")
                .detail("this path speaks WebSocket: open it with a WebSocket client")
                .header(header::UPGRADE, HeaderValue::from_static("websocket"))
                .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
                .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            Refusal::Handshake(detail) => {
                Problem::new(StatusCode::BAD_REQUEST, "handshake", "Not a WebSocket handshake").detail(detail)
            }
            Refusal::Query(fault) => {
                at_fault(Problem::new(StatusCode::BAD_REQUEST, "query", "The query cannot be used"), fault)
            }
            Refusal::Path(fault) => {
                at_fault(Problem::new(StatusCode::BAD_REQUEST, "path", "The path cannot be used"), fault)
            }
            Refusal::CursorGone { parameter, reason } => cursor_gone(parameter, reason),
            Refusal::NoEvents => Problem::new(StatusCode::NOT_FOUND, "no-events", "No such message")
                .detail("no event of this message is stored that may be seen"),
            Refusal::NoObject => Problem::new(StatusCode::NOT_FOUND, "no-object", "No such object")
                .detail("no large event of this id is stored that may be seen"),
            Refusal::Busy => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much at once")
                .detail("as many queries are under way as may; MAX_QUERIES sets the limit")
                .retry_after(BROKER_RETRY),
            Refusal::Broker(detail) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "broker", "Stored events cannot be read now")
                    .detail(detail)
                    .retry_after(BROKER_RETRY)
            }
            Refusal::Crowd => Problem::new(StatusCode::TOO_MANY_REQUESTS, "crowd", "Too many sessions")
                .detail("as many sessions come from this address as may; MAX_SESSIONS_PER_IP sets the limit")
                .retry_after(Duration::from_secs(CROWD_RETRY_SECONDS.into())),
            Refusal::UserCrowd => Problem::new(StatusCode::TOO_MANY_REQUESTS, "crowd", "Too many sessions")
                .detail("this user has as many sessions as they may; MAX_SESSIONS_PER_USER sets the limit")
                .retry_after(Duration::from_secs(CROWD_RETRY_SECONDS.into())),
            Refusal::NoToken => Problem::new(StatusCode::UNAUTHORIZED, "token-missing", "A token is needed")
                .detail("send a token as `Authorization: Bearer`, or as the subprotocol `bearer.<token>`")
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            Refusal::BadToken(why) => Problem::new(StatusCode::UNAUTHORIZED, "token-invalid", "The token is not good")
                .detail(why.to_string())
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\"")),
            Refusal::TokenForm(detail) => {
                Problem::new(StatusCode::BAD_REQUEST, "token-form", "Not one token").detail(detail)
            }
            Refusal::Scope(scope) => Problem::new(StatusCode::FORBIDDEN, "scope", "The token does not allow this")
                .detail(format!("this needs a token with the scope {}", scope.name()))
                .header(header::WWW_AUTHENTICATE, needs_scope(scope)),
            Refusal::NoKeys => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-keys", "Tokens cannot be judged yet")
                .detail("the keys that tokens are verified with have not been read yet")
                .retry_after(Duration::from_secs(NO_KEYS_RETRY_SECONDS.into())),
            Refusal::NoTokensHere => Problem::new(StatusCode::BAD_REQUEST, "token-form", "Not one token")
                .detail("this service asks for no tokens"),
            Refusal::ErasingOff => {
                erasing_off("nobody erases without a token where other machines reach this service".into())
            }
            Refusal::NotErased(NotErased::Off) => erasing_off(NotErased::Off.to_string().into()),
            Refusal::NotErased(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-erased", "Not erased yet")
                .detail(format!("{why}: ask again, nothing is done twice"))
                .retry_after(BROKER_RETRY),
            Refusal::OtherPeople => Problem::new(StatusCode::FORBIDDEN, "filter", "Not with this token's filter")
                .detail("the token's filter is on something else than this person's address")
                .parameter("email")
                .allowed("a token without a filter, or with one on this address only"),
            Refusal::Body(fault) => {
                at_fault(Problem::new(StatusCode::BAD_REQUEST, "body", "The body cannot be used"), fault)
            }
            Refusal::TooLarge { bytes_max } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large")
                    .detail(format!("at most {bytes_max} bytes"))
                    .close()
            }
            Refusal::ContentType => {
                Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "Content type not supported")
                    .detail("send application/json, without a content encoding")
            }
            Refusal::Stalled => Problem::new(StatusCode::REQUEST_TIMEOUT, "stalled", "Body too slow")
                .detail("the body did not arrive in time")
                .close(),
            Refusal::ForeignPage => Problem::new(StatusCode::FORBIDDEN, "origin", "Not from this page")
                .detail("pages of other sites may not use this service; ALLOWED_ORIGINS lists those that may"),
            Refusal::NoRoom { detail, retry_seconds } => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-room", "No room")
                    .detail(detail)
                    .retry_after(Duration::from_secs(retry_seconds.into()))
            }
            Refusal::Draining => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "About to stop")
                .detail("this replica is about to stop: another will answer")
                .retry_after(Duration::from_secs(DRAINING_RETRY_SECONDS.into())),
        }
    }
}

fn needs_scope(scope: Scope) -> HeaderValue {
    HeaderValue::from_static(match scope {
        Scope::Read => "Bearer error=\"insufficient_scope\", scope=\"events:read\"",
        Scope::Erase => "Bearer error=\"insufficient_scope\", scope=\"events:erase\"",
    })
}
