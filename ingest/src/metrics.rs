//! What ingest counts.
//!
//! **Owns** the metrics' names, labels and buckets. Labels hold names of ours only, never what a sender
//! wrote: kinds that are not Mandrill's count as `other`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::batch::Event;
use crate::body::InFlight;

/// The kinds that have a series of their own.
const KINDS: [&str; 16] = [
    "send",
    "deferral",
    "delivered",
    "hard_bounce",
    "soft_bounce",
    "open",
    "click",
    "spam",
    "unsub",
    "reject",
    "inbound",
    "sync_blacklist_add",
    "sync_blacklist_change",
    "sync_blacklist_remove",
    "sync_whitelist_add",
    "sync_whitelist_remove",
];
const OTHER: &str = "other";
/// Every answer by its name. They are counted from zero on: the first of a counter that was not there before is no
/// increase to who watches it.
const OUTCOMES: [&str; 19] = [
    "accepted",
    "check",
    "options",
    "aborted",
    "busy",
    "connections",
    "content",
    "content-type",
    "cross-site",
    "draining",
    "form",
    "host",
    "method",
    "no-key",
    "not-found",
    "not-stored",
    "signature",
    "stalled",
    "too-large",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Ingest's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    events: [Counter; KINDS.len() + 1],
    duplicates: Counter,
    rejected: Counter,
    large: Counter,
    batch_events: Histogram,
    commit_seconds: Histogram,
    last_batch: LastBatch,
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &mut Registry, in_flight: InFlight) -> Metrics {
        let registry = registry.sub_registry_with_prefix("ingest");
        let kinds = Family::<Kind, Counter>::default();
        let counter = |kind| kinds.get_or_create_owned(&Kind { kind });
        let events = std::array::from_fn(|at| counter(KINDS.get(at).copied().unwrap_or(OTHER)));
        let requests = Family::<Outcome, Counter>::default();
        for outcome in OUTCOMES {
            drop(requests.get_or_create(&Outcome { outcome }));
        }
        let metrics = Metrics {
            requests,
            events,
            duplicates: Counter::default(),
            rejected: Counter::default(),
            large: Counter::default(),
            batch_events: Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0]),
            commit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            last_batch: LastBatch::default(),
        };
        registry.register("requests", "Requests to the webhook, by the name of their answer", metrics.requests.clone());
        registry.register("events", "Events taken in, by kind; those stored before included", kinds);
        registry.register("duplicates", "Events that were stored before", metrics.duplicates.clone());
        registry.register(
            "rejected",
            "Authentic contents that are no event; each is kept in the stream of rejected content",
            metrics.rejected.clone(),
        );
        registry.register("large_events", "Events kept whole in the object store", metrics.large.clone());
        registry.register("batch_events", "Events of a request", metrics.batch_events.clone());
        registry.register(
            "commit_seconds",
            "From a request's judgement to its events' last acknowledgement",
            metrics.commit_seconds.clone(),
        );
        registry.register_collector(Box::new(Gauges { in_flight, last_batch: metrics.last_batch.clone() }));
        metrics
    }

    /// Counts a request by the name of its answer.
    pub fn answered(&self, outcome: &'static str) {
        self.requests.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a request whose events are all stored.
    pub fn committed(&self, kinds: &KindCounts, duplicates: usize, large: usize, took: Duration) {
        for (counter, count) in self.events.iter().zip(kinds.0) {
            counter.inc_by(count);
        }
        self.duplicates.inc_by(duplicates as u64);
        self.large.inc_by(large as u64);
        self.batch_events.observe(kinds.0.iter().sum::<u64>() as f64);
        self.commit_seconds.observe(took.as_secs_f64());
        self.last_batch.now();
    }

    /// Counts authentic contents that are no event.
    pub fn rejected(&self, count: usize) {
        self.rejected.inc_by(count as u64);
    }
}

/// A request's events by kind.
#[derive(Debug, Default)]
pub struct KindCounts([u64; KINDS.len() + 1]);

impl KindCounts {
    /// Of these events.
    #[must_use]
    pub fn of(events: &[Event]) -> KindCounts {
        let mut counts = KindCounts::default();
        for event in events {
            let kind = event.subject.split('.').nth(2).unwrap_or(OTHER);
            let place = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len());
            counts.0[place] += 1;
        }
        counts
    }
}

/// When the last batch was stored; zero for never.
#[derive(Debug, Clone)]
struct LastBatch {
    started: Instant,
    after_ms: Arc<AtomicU64>,
}

impl Default for LastBatch {
    fn default() -> Self {
        LastBatch { started: Instant::now(), after_ms: Arc::default() }
    }
}

impl LastBatch {
    fn now(&self) {
        let after_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(after_ms.max(1), Ordering::Relaxed);
    }

    fn seconds_ago(&self) -> Option<f64> {
        let after_ms = self.after_ms.load(Ordering::Relaxed);
        (after_ms > 0).then(|| self.started.elapsed().as_secs_f64() - after_ms as f64 / 1000.0)
    }
}

/// What is read when it is asked for.
#[derive(Debug)]
struct Gauges {
    in_flight: InFlight,
    last_batch: LastBatch,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let bytes = ConstGauge::new(i64::try_from(self.in_flight.held()).unwrap_or(i64::MAX));
        let metric =
            encoder.encode_descriptor("bodies_in_flight_bytes", "Bytes of bodies held", None, bytes.metric_type())?;
        bytes.encode(metric)?;
        if let Some(seconds) = self.last_batch.seconds_ago() {
            let gauge = ConstGauge::new(seconds);
            let metric = encoder.encode_descriptor(
                "last_batch_age_seconds",
                "Since the last batch was stored by this replica",
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
