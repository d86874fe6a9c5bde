//! The feed: the stream's events, in order, into the log. One a replica.
//!
//! **Owns** reading the stream and healing: whatever happens to the broker, the connection, the consumer
//! or the stream, reading goes on after the last event, none lost unsaid, none repeated. **May not touch**
//! a socket or know of a session. Tested in `tests/it/feed.rs` against a broker that is killed, frozen,
//! purged and emptied.

mod consumer;
mod fault;
pub(crate) mod health;
mod message;
mod plan;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use shared::broker::Broker;
use shared::cursor::Epoch;
use shared::stream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::chunk::{ChunkBuilder, Place};
use crate::log::Log;
use crate::metrics::FeedMetrics;
use crate::ring::Ring;
pub(crate) use consumer::context;
use consumer::{Consumer, Next, Stored};
pub(crate) use fault::Fault;
use plan::{Plan, Position};

/// For the broker to describe the stream and make a consumer: a cluster that lost its leader needs longer,
/// and is asked again.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The subjects of events begin so; the stream also holds tombstones.
const EVENT_SUBJECTS: &str = "mandrill.events.";

/// Reads the stream into the log.
pub(crate) struct Feed {
    broker: Broker,
    context: jetstream::Context,
    stream: String,
    log: Arc<Log>,
    ring_bytes: usize,
    metrics: FeedMetrics,
    /// How far was read; nothing before the ring is filled.
    read: Option<Position>,
    /// The last fault that was logged, so that a lasting one is not logged five times a second.
    logged: Option<String>,
}

impl Feed {
    pub(crate) fn new(broker: Broker, stream: String, log: Arc<Log>, ring_bytes: usize, metrics: FeedMetrics) -> Feed {
        let context = consumer::context(broker.client(), OPEN_TIMEOUT);
        Feed { broker, context, stream, log, ring_bytes, metrics, read: None, logged: None }
    }

    /// Reads until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let fault = tokio::select! {
                fault = self.follow() => match fault { Err(fault) => fault, Ok(never) => match never {} },
                () = stop.cancelled() => return,
            };
            self.failed(&fault);
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn failed(&mut self, fault: &Fault) {
        let text = fault.to_string();
        if self.logged.as_ref() != Some(&text) {
            tracing::warn!(stream = self.stream, "the feed stopped: {text}; trying again until it goes on");
            self.logged = Some(text);
        }
        self.metrics.failed(fault);
        if self.read.is_some() {
            self.log.stalled(now_ms());
        }
        if let (Fault::Rewritten, Some(read)) = (fault, &mut self.read) {
            // The same epoch, but another history: nothing read before may be compared with it.
            read.epoch = Epoch::random();
        }
    }

    /// Reads on until something goes wrong.
    async fn follow(&mut self) -> Result<Infallible, Fault> {
        self.broker.connected().await;
        self.broker.mark_seen();
        let (epoch, plan, mut consumer) = timeout(OPEN_TIMEOUT, self.open()).await.map_err(|_| Fault::NoAnswer)??;
        if let Plan::Fill { .. } = plan {
            self.fill(epoch, &mut consumer).await?;
        }
        self.begin(epoch, &plan, &consumer);
        loop {
            let next = tokio::select! {
                next = consumer.next() => next?,
                () = self.broker.changed() => return Err(Fault::Connection),
            };
            let mut batch = ChunkBuilder::new(epoch);
            let fault = self.collect(&mut batch, next, &mut consumer).await.err();
            // What arrived before a fault is as good as ever: it must not be read twice.
            if let Some(chunk) = batch.take() {
                self.metrics.read(&chunk);
                self.log.change(|ring| {
                    ring.push(chunk);
                    self.metrics.ring(ring);
                });
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
    }

    async fn open(&self) -> Result<(Epoch, Plan, Consumer), Fault> {
        let info = stream::info(&self.context, &self.stream).await?;
        let epoch = stream::epoch_of(&info)?;
        let plan = Plan::new(self.read, epoch, &info.state, self.ring_bytes);
        let consumer =
            Consumer::create(self.broker.client(), &self.context, &self.stream, plan.deliver_policy()).await?;
        Ok((epoch, plan, consumer))
    }

    /// Fills a ring of its own, which nobody reads before it has caught up with the stream.
    async fn fill(&mut self, epoch: Epoch, consumer: &mut Consumer) -> Result<(), Fault> {
        let start = Place { sequence: consumer.starts_after(), stored_ms: 0 };
        let mut ring = Ring::new(epoch, start, self.ring_bytes);
        let mut left = consumer.pending();
        let mut batch = ChunkBuilder::new(epoch);
        while left > 0 {
            match consumer.next().await? {
                Next::Stored(stored) => {
                    left = stored.delivery.pending;
                    add(&mut batch, &stored);
                }
                // It has nothing more: what was pending has been purged meanwhile.
                Next::Idle => left = 0,
                Next::Quiet => {}
            }
            if batch.is_full() || left == 0 {
                batch.take().into_iter().for_each(|chunk| ring.push(chunk));
            }
        }
        self.read = Some(Position { epoch, place: ring.head() });
        self.metrics.ring(&ring);
        self.log.open(ring);
        Ok(())
    }

    /// The consumer stands: says so, and what was lost.
    fn begin(&mut self, epoch: Epoch, plan: &Plan, consumer: &Consumer) {
        if let Some(reason) = plan.gap() {
            let start = Place { sequence: consumer.starts_after(), stored_ms: 0 };
            tracing::warn!(?reason, "events were lost to this replica: every session that reads on is told");
            self.log.change(|ring| ring.gap(reason, epoch, start));
            self.read = Some(Position { epoch, place: start });
        }
        self.logged = None;
        self.log.live();
        self.metrics.live();
        tracing::info!(stream = self.stream, "the feed is live");
    }

    /// Takes a message and all that have arrived behind it, up to a chunk's size.
    async fn collect(&mut self, batch: &mut ChunkBuilder, first: Next, consumer: &mut Consumer) -> Result<(), Fault> {
        let mut next = Some(first);
        while let Some(received) = next {
            if let Next::Stored(stored) = received {
                self.accept(batch, &stored)?;
            }
            if batch.is_full() {
                break;
            }
            next = consumer.arrived().await?;
        }
        Ok(())
    }

    fn accept(&mut self, batch: &mut ChunkBuilder, stored: &Stored) -> Result<(), Fault> {
        let place = stored.delivery.place;
        if let Some(read) = &mut self.read {
            if place.sequence == read.place.sequence {
                let known = read.place.stored_ms;
                return if known == 0 || known == place.stored_ms { Ok(()) } else { Err(Fault::Rewritten) };
            }
            if place.sequence < read.place.sequence {
                return Ok(());
            }
            read.place = place;
        }
        add(batch, stored);
        Ok(())
    }
}

fn add(batch: &mut ChunkBuilder, stored: &Stored) {
    if !stored.message.subject.starts_with(EVENT_SUBJECTS) {
        return;
    }
    let place = stored.delivery.place;
    if let Err(reason) = batch.push(place, &stored.message.payload) {
        tracing::error!(sequence = place.sequence, %reason, "a stored message is not an event and is left out");
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
