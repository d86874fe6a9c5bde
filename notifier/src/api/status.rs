//! What this replica knows of the whole: its feed, the stream's span, ingest's last reports.
//!
//! **Owns** `GET /api/status` and the subscription to ingest's reports. It is how the page can say why
//! nothing arrives. **May not** hold an event's content.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt;
use hyper::Response;
use serde::Serialize;
use serde_json::Value;
use shared::broker::Broker;
use shared::http::{Body, json};
use shared::{stream, subject};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

use crate::access::Access;
use crate::engine::Engine;
use crate::log::FeedState;

/// A replica of ingest that has not reported for so long is gone.
const REPORT_AGE_MAX: Duration = Duration::from_secs(30);
/// Replicas of ingest that are listed.
const REPORTS_MAX: usize = 64;
/// A report larger than this is none of ingest's.
const REPORT_BYTES_MAX: usize = 16 << 10;
/// Between two attempts to subscribe.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long the stream's span is given out before it is asked again: the broker is asked at most so often,
/// whoever asks here.
const SPAN_AGE_MAX: Duration = Duration::from_secs(1);
/// For the broker to describe the stream.
const SPAN_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known.
#[derive(Debug)]
pub(crate) struct Status {
    reports: Mutex<HashMap<String, (Instant, Value)>>,
    span: AsyncMutex<Option<(Instant, Option<Span>)>>,
    context: jetstream::Context,
    stream: String,
}

/// The events the broker keeps.
#[derive(Debug, Clone, Copy, Serialize)]
struct Span {
    messages: u64,
    bytes: u64,
    first_sequence: u64,
    last_sequence: u64,
    first_ms: i128,
    last_ms: i128,
}

#[derive(Serialize)]
struct Document {
    feed: FeedDocument,
    ring: Option<RingDocument>,
    stream: Option<Span>,
    ingest: Option<Vec<Value>>,
}

#[derive(Serialize)]
struct FeedDocument {
    state: &'static str,
    since: Option<u64>,
    at: Option<String>,
}

#[derive(Serialize)]
struct RingDocument {
    events: u64,
    seconds: f64,
}

impl Status {
    pub(crate) fn new(context: jetstream::Context, stream: String) -> Status {
        Status { reports: Mutex::default(), span: AsyncMutex::default(), context, stream }
    }

    /// Listens to ingest's reports.
    pub(crate) async fn listen(&self, broker: &Broker) {
        loop {
            if let Ok(mut messages) = broker.client().subscribe(subject::STATUS_INGEST).await {
                while let Some(message) = messages.next().await {
                    self.take(&message.payload);
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn take(&self, report: &[u8]) {
        if report.len() > REPORT_BYTES_MAX {
            return;
        }
        let Ok(report) = serde_json::from_slice::<Value>(report) else { return };
        let Some(replica) = report.get("replica").and_then(Value::as_str).map(str::to_owned) else { return };
        // The map holds whole values: a panic elsewhere cannot have left it half changed.
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|_, (heard, _)| heard.elapsed() < REPORT_AGE_MAX);
        if reports.len() < REPORTS_MAX || reports.contains_key(&replica) {
            reports.insert(replica, (Instant::now(), report));
        }
    }

    fn reports(&self) -> Vec<Value> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = reports.iter().filter(|(_, (heard, _))| heard.elapsed() < REPORT_AGE_MAX);
        let mut named: Vec<(&String, Value)> = fresh.map(|(replica, (_, report))| (replica, report.clone())).collect();
        named.sort_by_key(|(replica, _)| *replica);
        named.into_iter().map(|(_, report)| report).collect()
    }

    async fn span(&self) -> Option<Span> {
        // One request at a time: the others wait for its answer.
        let mut known = self.span.lock().await;
        match *known {
            Some((asked, span)) if asked.elapsed() < SPAN_AGE_MAX => span,
            Some(_) | None => {
                let asked = timeout(SPAN_TIMEOUT, stream::info(&self.context, &self.stream)).await;
                let span = asked.ok().and_then(Result::ok).map(|info| Span {
                    messages: info.state.messages,
                    bytes: info.state.bytes,
                    first_sequence: info.state.first_sequence,
                    last_sequence: info.state.last_sequence,
                    first_ms: info.state.first_timestamp.unix_timestamp_nanos() / 1_000_000,
                    last_ms: info.state.last_timestamp.unix_timestamp_nanos() / 1_000_000,
                });
                *known = Some((Instant::now(), span));
                span
            }
        }
    }

    /// The answer. Whoever may see some events only is told of the feed, and neither a number
    /// of all events nor what ingest reports.
    pub(crate) async fn answer(&self, engine: &Engine, access: &Access) -> Response<Body> {
        let (state, since) = match *engine.log.feed().borrow() {
            FeedState::Starting => ("starting", None),
            FeedState::Live => ("live", None),
            FeedState::Stalled { since_ms } => ("stalled", Some(since_ms)),
        };
        let ring = engine.log.read(|ring| (ring.head_cursor().to_string(), ring.span()));
        let (events, span_ms) = ring.as_ref().map_or((0, 0), |(_, span)| *span);
        let feed = FeedDocument { state, since, at: ring.map(|(at, _)| at) };
        if access.filter().is_some() {
            return json(&Document { feed, ring: None, stream: None, ingest: None });
        }
        json(&Document {
            feed,
            ring: Some(RingDocument { events, seconds: span_ms as f64 / 1000.0 }),
            stream: self.span().await,
            ingest: Some(self.reports()),
        })
    }
}
