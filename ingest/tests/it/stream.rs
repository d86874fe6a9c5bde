//! The stream's limits follow the configuration, but never at an event's cost.

use async_nats::jetstream::stream::Info;
use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;

use crate::harness::{Ingest, counts, signed};

async fn info(broker: &Broker) -> Info {
    let context = async_nats::jetstream::new(broker.client().await);
    context.get_stream("MANDRILL").await.expect("the stream").cached_info().clone()
}

#[tokio::test]
async fn changed_limits_are_applied_unless_that_would_drop_events() {
    let broker = Broker::start().await;
    let start = async |bytes| Ingest::start(signed(&broker).or("STREAM_MAX_BYTES", bytes)).await;
    let ingest = start("64MiB").await;
    let events: Vec<String> =
        (0..40).map(|at| format!(r#"{{"event":"open","n":{at},"text":"{}"}}"#, "x".repeat(50_000))).collect();
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &format!("[{}]", events.join(","))).await), (40, 0, 0));
    drop(ingest);
    for (wanted, kept) in [("1MiB", 64 << 20), ("128MiB", 128 << 20)] {
        drop(start(wanted).await);
        let info = info(&broker).await;
        assert_eq!((info.config.max_bytes, info.state.messages), (kept, 40), "{wanted}");
    }
}
