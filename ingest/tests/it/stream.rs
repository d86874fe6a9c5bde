//! The stream's limits follow the configuration, but never at an event's cost.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::Info;
use shared::settings::{Span, Value};
use shared::stream::StreamSettings;
use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;
use shared::testing::until;

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

#[tokio::test]
async fn an_age_that_events_have_reached_and_a_shorter_window_are_not_applied() {
    let broker = Broker::start().await;
    let context = async_nats::jetstream::new(broker.client().await);
    // As the variables would say it, with an age that a test can wait for.
    let ensure = async |age: &str, window: &str| {
        let span = |text| Span::parse(text).expect("a time");
        let settings = StreamSettings {
            stream_name: "MANDRILL".to_owned(),
            stream_replicas: 1,
            stream_max_age: span(age),
            stream_max_bytes: Value::parse("64MiB").expect("a size"),
            stream_dedupe_window: span(window),
            manage_stream: true,
        };
        shared::stream::ensure(&context, &settings).await.expect("a stream");
        let config = info(&broker).await.config;
        (config.max_age.as_secs(), config.duplicate_window.as_secs())
    };
    assert_eq!(ensure("1h", "30m").await, (3600, 1800));
    let ack = context.publish("mandrill.events.open.x", "{}".into()).await.expect("sent");
    ack.await.expect("stored");
    until("the event is a second old", async || {
        let stored: SystemTime = info(&broker).await.state.first_timestamp.into();
        stored.elapsed().is_ok_and(|age| age > Duration::from_secs(1))
    })
    .await;
    assert_eq!(ensure("1s", "1s").await, (3600, 1800));
    assert_eq!(ensure("2h", "1m").await, (7200, 1800));
    assert_eq!(ensure("20m", "10m").await, (1200, 1200), "no window is longer than the age");
    assert_eq!(ensure("2h", "1h").await, (7200, 3600));
    assert_eq!(info(&broker).await.state.messages, 1);
}
