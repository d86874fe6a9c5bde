//! What is counted.
//!
//! **Owns** the names of the notifier's metrics; each part is given its own and counts for itself. None
//! holds an address or an id: labels are fixed words.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use shared::close::Close;

use crate::chunk::Chunk;
use crate::feed::Fault;
use crate::ring::Ring;

/// From an event's storing to the last of a worker's sessions having it, in seconds.
const LAG_BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// From a request's head to its answer's, in seconds. What takes longest are queries far back and erasures.
const ANSWER_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) feed: FeedMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) sessions: SessionMetrics,
    pub(crate) access: AccessMetrics,
    pub(crate) requests: RequestMetrics,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let registry = registry.sub_registry_with_prefix("notifier");
        Metrics {
            feed: FeedMetrics::new(registry),
            store: StoreMetrics::new(registry),
            sessions: SessionMetrics::new(registry),
            access: AccessMetrics::new(registry),
            requests: RequestMetrics::new(registry),
        }
    }
}

/// What sessions are counted as.
const SESSION_KINDS: [&str; 3] = ["plain", "v1", "sse"];

/// A label of one fixed word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl OutcomeLabels {
    fn of_reading(good: bool) -> OutcomeLabels {
        OutcomeLabels { outcome: if good { "read" } else { "failed" } }
    }

    fn of_resuming(outcome: Resumed) -> OutcomeLabels {
        let outcome = match outcome {
            Resumed::FromRing => "ring",
            Resumed::FromStream => "stream",
            Resumed::Refused => "gone",
        };
        OutcomeLabels { outcome }
    }
}

/// Metrics that are zero from the start: the first of one that was not there before is no increase to who watches it.
fn from_zero<L: Clone + Eq + Hash, M: Default>(labels: impl IntoIterator<Item = L>) -> Family<L, M> {
    let family = Family::default();
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
    family
}

/// The feed's.
#[derive(Debug)]
pub(crate) struct FeedMetrics {
    live: Gauge,
    faults: Family<FaultLabels, Counter>,
    events: Counter,
    bytes: Counter,
    ring_events: Gauge,
    ring_seconds: Gauge<f64, AtomicU64>,
}

impl FeedMetrics {
    fn new(registry: &mut Registry) -> FeedMetrics {
        let metrics = FeedMetrics {
            live: Gauge::default(),
            faults: from_zero(Fault::NAMES.map(|fault| FaultLabels { fault })),
            events: Counter::default(),
            bytes: Counter::default(),
            ring_events: Gauge::default(),
            ring_seconds: Gauge::default(),
        };
        registry.register("feed_live", "Whether events arrive from the broker", metrics.live.clone());
        registry.register("feed_faults", "Times the feed had to begin again", metrics.faults.clone());
        registry.register("feed_events", "Events read from the stream", metrics.events.clone());
        registry.register("feed_bytes", "Bytes of the frames made of them", metrics.bytes.clone());
        registry.register("ring_events", "Events in memory, ready to be sent", metrics.ring_events.clone());
        registry.register(
            "ring_seconds",
            "The time between the oldest and the newest of them",
            metrics.ring_seconds.clone(),
        );
        metrics
    }

    /// The feed hears the broker.
    pub(crate) fn live(&self) {
        self.live.set(1);
    }

    /// It has to begin again.
    pub(crate) fn failed(&self, fault: &Fault) {
        self.live.set(0);
        self.faults.get_or_create(&FaultLabels { fault: fault.name() }).inc();
    }

    /// A chunk was read.
    pub(crate) fn read(&self, chunk: &Chunk) {
        self.events.inc_by(chunk.entries().len() as u64);
        self.bytes.inc_by(chunk.frames().len() as u64);
    }

    /// The ring has changed.
    pub(crate) fn ring(&self, ring: &Ring) {
        let (events, span_ms) = ring.span();
        self.ring_events.set(i64::try_from(events).unwrap_or(i64::MAX));
        self.ring_seconds.set(span_ms as f64 / 1000.0);
    }
}

/// Of tokens and the keys they are verified with. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct AccessMetrics {
    refused: Family<ReasonLabels, Counter>,
    reads: Family<OutcomeLabels, Counter>,
    keys: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl AccessMetrics {
    fn new(registry: &mut Registry) -> AccessMetrics {
        let reads = from_zero([true, false].map(OutcomeLabels::of_reading));
        let metrics = AccessMetrics { refused: Family::default(), reads, keys: Gauge::default() };
        registry.register("tokens_refused", "Tokens that were missing or bad", metrics.refused.clone());
        registry.register("jwks_reads", "Readings of JWT_JWKS", metrics.reads.clone());
        registry.register("token_keys", "Keys that tokens are verified with", metrics.keys.clone());
        metrics
    }

    /// A token was missing or bad.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The JWKS was read, or could not be.
    pub(crate) fn read(&self, good: bool) {
        self.reads.get_or_create(&OutcomeLabels::of_reading(good)).inc();
    }

    /// So many keys are in force.
    pub(crate) fn keys(&self, count: usize) {
        self.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Of requests, handshakes of sockets among them.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    answers: Family<AnswerLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    turned_away: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

impl RequestMetrics {
    fn new(registry: &mut Registry) -> RequestMetrics {
        let histogram: fn() -> Histogram = || Histogram::new(ANSWER_BUCKETS);
        let seconds = Family::new_with_constructor(histogram);
        let metrics = RequestMetrics { answers: Family::default(), seconds, turned_away: Counter::default() };
        registry.register("requests", "Requests by their path and the status of the answer", metrics.answers.clone());
        registry.register(
            "answer_seconds",
            "From a request's head until the head of its answer",
            metrics.seconds.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections beyond as many as may be at once",
            metrics.turned_away.clone(),
        );
        metrics
    }

    /// A connection was one too many.
    pub(crate) fn turned_away(&self) {
        self.turned_away.inc();
    }

    /// A request was answered after so long.
    pub(crate) fn answered(&self, route: &'static str, status: StatusCode, took: Duration) {
        self.answers.get_or_create(&AnswerLabels { route, status: status.as_u16() }).inc();
        self.seconds.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }
}

/// Of readers the ring has left behind.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    stretches: Counter,
}

impl StoreMetrics {
    fn new(registry: &mut Registry) -> StoreMetrics {
        let metrics = StoreMetrics { stretches: Counter::default() };
        registry.register("catchup_reads", "Stretches of the stream read for sessions", metrics.stretches.clone());
        metrics
    }

    /// A stretch is being read.
    pub(crate) fn read(&self) {
        self.stretches.inc();
    }
}

/// The sessions'. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct SessionMetrics(Arc<SessionCounts>);

#[derive(Debug)]
struct SessionCounts {
    open: Family<KindLabels, Gauge>,
    closes: Family<CodeLabels, Counter>,
    resumes: Family<OutcomeLabels, Counter>,
    deliveries: Counter,
    bytes: Counter,
    catching_up: Gauge,
    draining: Gauge,
    lag: Histogram,
}

/// One in a gauge, while it lives.
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How a resume came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    FromRing,
    FromStream,
    Refused,
}

impl Resumed {
    const ALL: [Resumed; 3] = [Resumed::FromRing, Resumed::FromStream, Resumed::Refused];
}

impl SessionMetrics {
    fn new(registry: &mut Registry) -> SessionMetrics {
        let counts = SessionCounts {
            open: from_zero(SESSION_KINDS.map(|kind| KindLabels { kind })),
            closes: from_zero(Close::ALL.map(|close| CodeLabels { code: close.code() })),
            resumes: from_zero(Resumed::ALL.map(OutcomeLabels::of_resuming)),
            deliveries: Counter::default(),
            bytes: Counter::default(),
            catching_up: Gauge::default(),
            draining: Gauge::default(),
            lag: Histogram::new(LAG_BUCKETS),
        };
        registry.register("sessions", "Open sessions", counts.open.clone());
        registry.register(
            "session_closes",
            "Sessions ended by this side or the client's goodbye",
            counts.closes.clone(),
        );
        registry.register("resumes", "Sessions that asked to go on after a cursor", counts.resumes.clone());
        registry.register("deliveries", "Events written to sessions", counts.deliveries.clone());
        registry.register("delivered_bytes", "Bytes of events written to sessions", counts.bytes.clone());
        registry.register("sessions_catching_up", "Sessions that read from the stream", counts.catching_up.clone());
        registry.register("sessions_to_drain", "Sessions still open while this replica stops", counts.draining.clone());
        registry.register(
            "delivery_lag_seconds",
            "From an event's storing until the last session of a worker was written to",
            counts.lag.clone(),
        );
        SessionMetrics(Arc::new(counts))
    }

    /// A session opened.
    pub(crate) fn opened(&self, kind: &'static str) {
        self.0.open.get_or_create(&KindLabels { kind }).inc();
    }

    /// A session ended, with a code where one was sent.
    pub(crate) fn closed(&self, kind: &'static str, close: Option<Close>) {
        self.0.open.get_or_create(&KindLabels { kind }).dec();
        self.refused(close);
    }

    /// A connection was ended with a code.
    pub(crate) fn refused(&self, close: Option<Close>) {
        if let Some(close) = close {
            self.0.closes.get_or_create(&CodeLabels { code: close.code() }).inc();
        }
    }

    /// A session asked to resume.
    pub(crate) fn resumed(&self, outcome: Resumed) {
        self.0.resumes.get_or_create(&OutcomeLabels::of_resuming(outcome)).inc();
    }

    /// Events were written.
    pub(crate) fn delivered(&self, events: u64, bytes: u64) {
        self.0.deliveries.inc_by(events);
        self.0.bytes.inc_by(bytes);
    }

    /// A round of a worker ended this long after its newest event was stored.
    pub(crate) fn lag(&self, lag_ms: u64) {
        self.0.lag.observe(lag_ms as f64 / 1000.0);
    }

    /// A session reads from the stream, as long as what is returned lives.
    pub(crate) fn catching_up(&self) -> impl Drop + use<> {
        self.0.catching_up.inc();
        Counted(self.0.catching_up.clone())
    }

    /// How many sessions are left to drain.
    pub(crate) fn draining(&self, left: usize) {
        self.0.draining.set(i64::try_from(left).unwrap_or(i64::MAX));
    }
}
