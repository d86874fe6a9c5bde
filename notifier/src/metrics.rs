//! What is counted.
//!
//! **Owns** the names of the notifier's metrics; each part is given its own and counts for itself. None
//! holds an address or an id: labels are fixed words.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::chunk::Chunk;
use crate::feed::Fault;

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) feed: FeedMetrics,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Metrics {
        let registry = registry.sub_registry_with_prefix("notifier");
        Metrics { feed: FeedMetrics::new(registry) }
    }
}

/// The feed's.
#[derive(Debug)]
pub(crate) struct FeedMetrics {
    live: Gauge,
    faults: Family<FaultLabels, Counter>,
    events: Counter,
    bytes: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: &'static str,
}

impl FeedMetrics {
    fn new(registry: &mut Registry) -> FeedMetrics {
        let metrics = FeedMetrics {
            live: Gauge::default(),
            faults: Family::default(),
            events: Counter::default(),
            bytes: Counter::default(),
        };
        registry.register(
            "feed_live",
            "Whether events arrive from the broker as they are stored",
            metrics.live.clone(),
        );
        registry.register("feed_faults", "Times the feed had to begin again", metrics.faults.clone());
        registry.register("feed_events", "Events read from the stream", metrics.events.clone());
        registry.register("feed_bytes", "Bytes of frames made of them", metrics.bytes.clone());
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
}
