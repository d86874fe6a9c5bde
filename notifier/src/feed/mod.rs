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
pub(crate) mod tombstones;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use shared::broker::Broker;
use shared::cursor::Epoch;
use shared::spans::{SpanKind, Traces};
use shared::{stream, subject};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::chunk::{Chunk, ChunkBuilder, Place};
use crate::erased::{Erased, Tombstone};
use crate::erasures::Record;
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
/// The trace of the request that stored an event.
const TRACEPARENT: &str = "traceparent";

/// Reads the stream into the log.
pub(crate) struct Feed {
    broker: Broker,
    context: jetstream::Context,
    stream: String,
    log: Arc<Log>,
    ring_bytes: usize,
    metrics: FeedMetrics,
    traces: Traces,
    /// The traces of the events about to be delivered; empty where none are made.
    traced: Vec<String>,
    /// How far was read; nothing before the ring is filled.
    read: Option<Position>,
    /// The last fault that was logged, so that a lasting one is not logged five times a second.
    logged: Option<String>,
}

impl Feed {
    pub(crate) fn new(
        broker: Broker,
        stream: String,
        log: Arc<Log>,
        ring_bytes: usize,
        metrics: FeedMetrics,
        traces: Traces,
    ) -> Feed {
        let context = consumer::context(broker.client(), OPEN_TIMEOUT);
        Feed { broker, context, stream, log, ring_bytes, metrics, traces, traced: Vec::new(), read: None, logged: None }
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
        let info = timeout(OPEN_TIMEOUT, stream::info(&self.context, &self.stream));
        let info = info.await.map_err(|_| Fault::NoAnswer)??;
        let (epoch, last) = (stream::epoch_of(&info)?, info.state.last_sequence);
        let plan = Plan::new(self.read, epoch, &info.state, self.ring_bytes);
        // Those erased before its first message; where it goes on, it knows them. They are read before there is a
        // consumer: one that nobody listens to meanwhile says that it is stalled.
        let erased = match plan {
            Plan::Fill { .. } | Plan::Anew { .. } => Some(self.erased_before(epoch, last).await?),
            Plan::Continue { .. } | Plan::Lost { .. } => None,
        };
        let policy = plan.deliver_policy();
        let consumer = Consumer::create(self.broker.client(), &self.context, &self.stream, policy);
        let mut consumer = timeout(OPEN_TIMEOUT, consumer).await.map_err(|_| Fault::NoAnswer)??;
        if consumer.starts_after() > plan.passes_over(last) {
            return Err(Fault::Dropped);
        }
        if let Plan::Fill { .. } = plan {
            self.fill(epoch, &mut consumer, erased).await?;
        } else {
            self.begin_after(epoch, &plan, &consumer, erased);
        }
        self.stands();
        loop {
            let next = tokio::select! {
                next = consumer.next() => next?,
                () = self.broker.changed() => return Err(Fault::Connection),
            };
            let mut batch = ChunkBuilder::new(epoch);
            let since = SystemTime::now();
            let (tombstone, fault) = match self.collect(&mut batch, next, &mut consumer).await {
                Ok(tombstone) => (tombstone, None),
                Err(fault) => (None, Some(fault)),
            };
            let span = self.traces.join("deliver", SpanKind::Consumer, self.traced.iter().map(String::as_str), since);
            self.traced.clear();
            // What arrived before a fault is as good as ever: it must not be read twice.
            self.publish(batch.take(), tombstone);
            // Every worker has been told: what a slow session adds is its own.
            drop(span);
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
    }

    /// Shares what was read, also where none of it is an event: queries wait for the stream's last sequence. A
    /// tombstone is met in the moment it is heard: nobody reads past it what it covers.
    fn publish(&self, chunk: Option<Chunk>, tombstone: Option<Tombstone>) {
        let heard = self.read.map_or(Place::default(), |read| read.place);
        let nothing = chunk.is_none() && tombstone.is_none();
        if nothing && self.log.read(|ring| ring.head().sequence) >= Some(heard.sequence) {
            return;
        }
        let add = |ring: &mut Ring| {
            if let Some(chunk) = chunk {
                self.metrics.read(&chunk);
                ring.push(chunk);
            }
            ring.heard(heard);
            self.metrics.ring(ring);
        };
        match tombstone {
            Some(tombstone) => self.log.erase(tombstone, add),
            None => self.log.change(add),
        }
    }

    async fn erased_before(&self, epoch: Epoch, start: u64) -> Result<Erased, Fault> {
        let read = tombstones::read(self.broker.client(), &self.context, &self.stream, start);
        let mut erased = Erased::nobody(epoch);
        read.await?.iter().for_each(|read| erased.add(read.tombstone));
        Ok(erased)
    }

    /// Fills a ring of its own, which nobody reads before it has caught up with the stream.
    async fn fill(&mut self, epoch: Epoch, consumer: &mut Consumer, erased: Option<Erased>) -> Result<(), Fault> {
        let start = Place { sequence: consumer.starts_after(), stored_ms: 0 };
        let mut ring = Ring::new(epoch, start, self.ring_bytes);
        erased.into_iter().for_each(|erased| ring.remember(erased));
        let (mut left, mut heard) = (consumer.pending(), start);
        let mut batch = ChunkBuilder::new(epoch);
        while left > 0 {
            match consumer.next().await? {
                Next::Stored(stored) => {
                    (left, heard) = (stored.delivery.pending, stored.delivery.place);
                    if let Some(tombstone) = add(&mut batch, &stored) {
                        batch.take().into_iter().for_each(|chunk| ring.push(chunk));
                        ring.erase(tombstone);
                    }
                }
                // It has nothing more: what was pending has been purged meanwhile.
                Next::Idle => left = 0,
                Next::Quiet => {}
            }
            if batch.is_full() || left == 0 {
                batch.take().into_iter().for_each(|chunk| ring.push(chunk));
            }
        }
        ring.heard(heard);
        self.read = Some(Position { epoch, place: ring.head() });
        self.metrics.ring(&ring);
        self.log.open(ring);
        Ok(())
    }

    /// Goes on in a ring that is read already: says what was lost.
    fn begin_after(&mut self, epoch: Epoch, plan: &Plan, consumer: &Consumer, erased: Option<Erased>) {
        let Some(reason) = plan.gap() else { return };
        let start = Place { sequence: consumer.starts_after(), stored_ms: 0 };
        tracing::warn!(?reason, "events were lost to this replica: every session that reads on is told");
        self.log.change(|ring| {
            ring.gap(reason, epoch, start);
            erased.into_iter().for_each(|erased| ring.remember(erased));
        });
        self.read = Some(Position { epoch, place: start });
    }

    /// The consumer stands: says so.
    fn stands(&mut self) {
        self.logged = None;
        self.log.live();
        self.metrics.live();
        tracing::info!(stream = self.stream, "the feed is live");
    }

    /// Takes a message and all that have arrived behind it, up to a chunk's size or a tombstone.
    async fn collect(
        &mut self,
        batch: &mut ChunkBuilder,
        first: Next,
        consumer: &mut Consumer,
    ) -> Result<Option<Tombstone>, Fault> {
        let mut next = Some(first);
        while let Some(received) = next {
            if let Next::Stored(stored) = received
                && let Some(tombstone) = self.accept(batch, &stored)?
            {
                return Ok(Some(tombstone));
            }
            if batch.is_full() {
                break;
            }
            next = consumer.arrived().await?;
        }
        Ok(None)
    }

    fn accept(&mut self, batch: &mut ChunkBuilder, stored: &Stored) -> Result<Option<Tombstone>, Fault> {
        let place = stored.delivery.place;
        if let Some(read) = &mut self.read {
            if place.sequence == read.place.sequence {
                let known = read.place.stored_ms;
                return if known == 0 || known == place.stored_ms { Ok(None) } else { Err(Fault::Rewritten) };
            }
            if place.sequence < read.place.sequence {
                return Ok(None);
            }
            read.place = place;
        }
        if self.traces.are_made() {
            let traceparent = stored.message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
            // Events of one request stand side by side: it is kept once.
            if let Some(text) = traceparent.map(|value| value.as_str())
                && self.traced.last().is_none_or(|last| last != text)
            {
                self.traced.push(text.to_owned());
            }
        }
        Ok(add(batch, stored))
    }
}

/// Takes a message in: an event into the batch, a tombstone to be dealt with.
fn add(batch: &mut ChunkBuilder, stored: &Stored) -> Option<Tombstone> {
    let (place, message) = (stored.delivery.place, &stored.message);
    if message.subject.starts_with(subject::EVENT_SUBJECTS) {
        if let Err(reason) = batch.push(place, &message.payload) {
            tracing::error!(sequence = place.sequence, %reason, "a stored message is not an event and is left out");
        }
        return None;
    }
    let read = tombstones::of(&message.subject, &message.payload, place);
    if read.is_none() {
        tracing::error!(sequence = place.sequence, "a stored message is neither an event nor a tombstone");
    }
    let read = read?;
    let record = Record { recipient: read.tombstone.recipient, erased_ms: read.erased_ms };
    record.log_met(place.sequence);
    Some(read.tombstone)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
