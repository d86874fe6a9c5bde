//! The webhook endpoint: one request from its head to its answer.
//!
//! **Owns** the order of the checks on a request's head and what is told to whom. The body's judgement is
//! [`judge`](crate::judge)'s, its storage [`commit`](crate::commit)'s and [`aside`](crate::aside)'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, Response};
use serde::Serialize;
use shared::http::{self, Body, plain_path};
use shared::origin::Origins;
use shared::serve::Handler;
use shared::spans::{Span, SpanKind, Traces};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::aside::Aside;
use crate::batch::Batch;
use crate::body::{self, Held, InFlight};
use crate::commit::Message;
use crate::commit::group::{Committer, Tally};
use crate::error::{NotStored, Refusal};
use crate::hint::{Arrival, hint};
use crate::judge::{self, ContentType};
use crate::metrics::{KindCounts, Metrics};
use crate::status::{Status, without_credentials};
use crate::trace;
use crate::trust::Trust;

/// Where Mandrill posts; the second is the original project's.
const PATHS: [&str; 2] = ["/api/hook", "/api/mandrill/hook"];
/// What these paths answer, as `Allow` lists it.
pub(crate) const METHODS: &str = "HEAD, OPTIONS, POST";
const SIGNATURE: HeaderName = HeaderName::from_static("x-mandrill-signature");
/// A body up to here is judged where it was read: handing it over would cost more than it delays others.
const JUDGED_INLINE_MAX: usize = 32 << 10;

/// The answer to a batch that is stored.
#[derive(Debug, Default, Serialize)]
struct Accepted {
    /// Events that this request stored.
    accepted: usize,
    /// Events that were stored before.
    duplicates: usize,
    /// Elements that are no events, kept for a person to look at.
    rejected: usize,
}

impl Accepted {
    fn is_nothing(&self) -> bool {
        self.accepted + self.duplicates + self.rejected == 0
    }
}

/// What every request shares.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) trust: Trust,
    pub(crate) origins: Origins,
    pub(crate) in_flight: InFlight,
    pub(crate) body_bytes_max: u64,
    pub(crate) commit_timeout: Duration,
    pub(crate) committer: Committer,
    pub(crate) aside: Aside,
    pub(crate) judges: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) status: Status,
    pub(crate) stop: CancellationToken,
    pub(crate) traces: Traces,
}

/// The endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest(pub(crate) Arc<Parts>);

/// Whether a path is the webhook's, with or without its last slash.
#[must_use]
pub fn is_hook(path: &str) -> bool {
    PATHS.contains(&plain_path(path))
}

/// Every path with the methods it answers, for the documents: without its last slash.
pub fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    PATHS.into_iter().map(|path| (path, METHODS))
}

fn traceparent(headers: &HeaderMap) -> Option<Arc<str>> {
    headers.get(trace::HEADER).and_then(|value| trace::parse(value.as_bytes()))
}

impl Handler for Ingest {
    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let mut response = self.answer(request).await;
        http::secure(&mut response);
        response
    }

    fn turned_away(&self) {
        self.0.metrics.answered("connections");
    }
}

impl Ingest {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if is_hook(head.uri.path()) && self.knows_host(&head) {
            match head.method {
                // Mandrill's check of a URL that is being registered: no key exists yet.
                Method::HEAD => {
                    self.0.metrics.answered("check");
                    return http::empty();
                }
                Method::OPTIONS => {
                    self.0.metrics.answered("options");
                    return http::options(METHODS);
                }
                _ => {}
            }
        }
        let mut span = self.begin(&head);
        let response = match self.take(&head, body, &mut span).await {
            // Mandrill's check, or that of `mandrill-live webhook check`: that nothing came is no batch.
            Ok(accepted) if accepted.is_nothing() => {
                self.0.metrics.answered("check");
                http::json(&accepted)
            }
            Ok(accepted) => {
                self.0.metrics.answered("accepted");
                self.0.status.accepted(accepted.accepted, accepted.duplicates, accepted.rejected);
                http::json(&accepted)
            }
            Err(refusal) => self.refuse(&head, &refusal),
        };
        span.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            span.failed("the batch is to come again");
        }
        response
    }

    fn knows_host(&self, head: &hyper::http::request::Parts) -> bool {
        self.0.origins.knows_host(&head.headers, &head.uri)
    }

    /// A request's span. One that carries no trace begins one.
    fn begin(&self, head: &hyper::http::request::Parts) -> Span {
        let traces = &self.0.traces;
        if !traces.are_made() || head.method != Method::POST || !is_hook(head.uri.path()) {
            return Span::none();
        }
        let parent = traceparent(&head.headers);
        let mut span = traces.begin("POST hook", SpanKind::Server, parent.as_deref());
        span.set("http.request.method", "POST");
        span.set("http.route", PATHS[0]);
        span
    }

    async fn take(
        &self,
        head: &hyper::http::request::Parts,
        mut body: Incoming,
        span: &mut Span,
    ) -> Result<Accepted, Refusal> {
        let read = match self.check_head(head) {
            Ok(content_type) => {
                body::read(&mut body, self.0.body_bytes_max, &self.0.in_flight).await.map(|read| (content_type, read))
            }
            Err(refusal) => Err(refusal),
        };
        let (content_type, (bytes, held)) = match read {
            Ok(read) => read,
            Err(refusal) => {
                body::linger(body);
                return Err(refusal);
            }
        };
        let (judged, held) = self.judge(bytes, held, content_type, &head.headers).await?;
        span.set("messaging.batch.message_count", i64::try_from(judged.events.len()).unwrap_or(i64::MAX));
        let traceparent = span.traceparent().or_else(|| traceparent(&head.headers));
        self.store(judged, held, traceparent).await.map_err(Refusal::NotStored)
    }

    /// Everything that can be told without the body. Size comes before type: section "Answers" of
    /// docs/ARCHITECTURE.md.
    fn check_head(&self, head: &hyper::http::request::Parts) -> Result<ContentType, Refusal> {
        if !self.knows_host(head) {
            return Err(Refusal::Host);
        }
        if !is_hook(head.uri.path()) {
            return Err(Refusal::Path);
        }
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        if self.0.stop.is_cancelled() {
            return Err(Refusal::Draining);
        }
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.0.body_bytes_max) {
            return Err(Refusal::TooLarge(self.0.body_bytes_max));
        }
        if self.0.trust.takes_unsigned() && !self.0.origins.allows_page(&head.headers) {
            return Err(Refusal::CrossSite);
        }
        // A compressed body would be a way around its limit; Mandrill sends none.
        let plain = head.headers.get(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
        let content_type =
            head.headers.get(header::CONTENT_TYPE).and_then(|value| ContentType::parse(value.as_bytes()));
        content_type.filter(|_| plain).ok_or(Refusal::ContentType)
    }

    async fn judge(
        &self,
        body: BytesMut,
        held: Held,
        content_type: ContentType,
        headers: &HeaderMap,
    ) -> Result<(Batch, Held), Refusal> {
        let mut signatures = headers.get_all(SIGNATURE).iter();
        // Two signatures are none: which one counts would be anybody's guess.
        let signature =
            signatures.next().filter(|_| signatures.next().is_none()).map(|value| value.as_bytes().to_vec());
        if body.len() <= JUDGED_INLINE_MAX {
            return judge::judge(body, content_type, signature.as_deref(), &self.0.trust).map(|batch| (batch, held));
        }
        // Large bodies take milliseconds: on a thread of their own they delay no other request, and no
        // more of them run at once than there are cores. The semaphore is never closed.
        let place = Arc::clone(&self.0.judges).acquire_owned().await;
        let trust = self.0.trust.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let judged = judge::judge(body, content_type, signature.as_deref(), &trust);
            drop(place);
            judged.map(|batch| (batch, held))
        });
        judged.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a body's judgement ended early: this is a bug");
            Err(Refusal::NotStored(NotStored::Slow))
        })
    }

    async fn store(&self, mut batch: Batch, held: Held, traceparent: Option<Arc<str>>) -> Result<Accepted, NotStored> {
        if batch.events.is_empty() && batch.unusable.is_empty() {
            return Ok(Accepted::default());
        }
        let started = Instant::now();
        let parts = &*self.0;
        let deadline = tokio::time::Instant::now() + parts.commit_timeout;
        parts.aside.keep_unusable(&batch.unusable, deadline).await?;
        let large = parts.aside.keep_large(&mut batch.events, deadline).await?;
        let kinds = KindCounts::of(&batch.events);
        let messages = batch.events.into_iter().map(|event| Message { event, traceparent: traceparent.clone() });
        let Tally { stored, duplicates } = parts.committer.commit(messages.collect(), held, deadline).await?;
        let rejected = batch.unusable.len();
        parts.metrics.committed(&kinds, duplicates, large, started.elapsed());
        if rejected > 0 {
            parts.metrics.rejected(rejected);
            let reason = &batch.unusable[0].reason;
            tracing::error!(
                rejected,
                reason,
                "authentic content that is no event was put aside: see `mandrill-live rejected list`"
            );
        }
        Ok(Accepted { accepted: stored, duplicates, rejected })
    }

    fn refuse(&self, head: &hyper::http::request::Parts, refusal: &Refusal) -> Response<Body> {
        let problem = refusal.problem();
        let hint = (*refusal == Refusal::Signature).then(|| self.log_forged(head));
        match refusal {
            Refusal::Signature => {}
            Refusal::NotStored(error) => tracing::warn!(%error, "a batch was not stored: Mandrill will send it again"),
            Refusal::NoKeyYet | Refusal::Busy => tracing::warn!("{refusal}: Mandrill will send the batch again"),
            _ => tracing::info!(refusal = problem.name(), "a request was refused"),
        }
        self.0.metrics.answered(problem.name());
        self.0.status.refused(refusal, problem.name(), hint);
        problem.into_response()
    }

    /// Says what a person needs to find out why Mandrill's requests are refused. What the sender wrote is
    /// quoted: it cannot forge a line.
    fn log_forged(&self, head: &hyper::http::request::Parts) -> &'static str {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let arrival = Arrival {
            scheme: text("x-forwarded-proto"),
            host: text("host").unwrap_or_default(),
            path: head.uri.path_and_query().map_or("/", |path| path.as_str()),
        };
        let urls = self.0.trust.urls();
        let hint = hint(arrival, head.headers.contains_key(SIGNATURE), urls);
        let tried: Vec<String> = urls.iter().map(|url| without_credentials(url)).collect();
        tracing::warn!(?tried, host = ?arrival.host, path = ?head.uri.path(), hint, "a request's signature is missing or wrong");
        hint
    }
}
