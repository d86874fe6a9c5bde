//! From how many events on is one atomic batch quicker than as many publishes? And does the broker reward
//! several commits at once? The constants of `ingest::commit` come from here.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use ingest::batch::{self, Event, EventId};
use shared::settings::{Environment, Mistakes, Settings};
use shared::stream::{self, StreamSettings};
use shared::synthetic::SyntheticEvents;
use shared::testing::broker::Broker;

use super::bare;
use super::report::row;
use crate::process;

/// How long each way is measured.
const SPAN: Duration = Duration::from_secs(2);

pub(crate) async fn run() {
    println!("Commits of a bare client, fsync before every acknowledgement");
    let broker = Broker::start().await;
    let settings = StreamSettings::read(&Environment::default(), &mut Mistakes::default()).expect("defaults");
    let context = async_nats::jetstream::new(broker.client().await);
    stream::ensure(&context, &settings).await.expect("the stream");
    for size in [1, 4, 8, 16, 32, 64, 128, 1000] {
        for at_once in [1, 2] {
            for atomic in [false, true] {
                let (cpu, started) = (process::Usage::of(broker.pid()).cpu, Instant::now());
                let lanes = join_all((0..at_once).map(|_| lane(&broker, size, atomic))).await;
                let events = lanes.iter().sum::<usize>() as f64;
                let rate = events / started.elapsed().as_secs_f64();
                let cpu = (process::Usage::of(broker.pid()).cpu - cpu).as_secs_f64() * 1e6 / events;
                let way = if atomic { "one batch" } else { "singly" };
                let label = format!("{size} events, {at_once} at once, {way}");
                row(&label, &[format!("{rate:.0} events/s"), format!("server {cpu:.1} µs")]);
            }
        }
    }
}

/// Commits for a while; how many events that were.
async fn lane(broker: &Broker, size: usize, atomic: bool) -> usize {
    let client = broker.client().await;
    let texts: Vec<String> = SyntheticEvents::new(1, &[], 1_760_000_000).take(size).collect();
    let batch = batch::read(&Bytes::from(format!("[{}]", texts.join(",")))).expect("a batch");
    let mut events = batch.events;
    let (started, mut stored) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        // The same bytes under new names: what is stored already would cost nothing.
        events.iter_mut().for_each(|event: &mut Event| event.id = EventId::of(nuid::next().as_bytes()));
        if atomic {
            bare::commit_batch(&client, &events).await;
        } else {
            join_all(events.iter().map(|event| bare::publish(&client, event))).await;
        }
        stored += size;
    }
    stored
}
