//! A cluster of three that loses its leader under load.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream;
use shared::settings::Environment;
use shared::stream::StreamError;
use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;
use shared::testing::{soon, until};
use tokio::sync::watch;

use crate::harness::{Ingest, batch, counts, events};

fn environment(cluster: &[Broker; 3]) -> Environment {
    let urls: Vec<String> = cluster.iter().map(Broker::url).collect();
    Environment::from([("NATS_URL", urls.join(",").as_str()), ("STREAM_REPLICAS", "3")])
        .or("MANDRILL_WEBHOOK_URLS", WEBHOOK.url)
        .or("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key)
}

/// Whether a batch is taken; else it is to come again.
async fn post(address: SocketAddr, batch: &str) -> bool {
    match WEBHOOK.post(address, batch).await.status {
        200 => true,
        503 => false,
        other => panic!("{other}"),
    }
}

/// Which server leads the stream.
async fn leader(cluster: &[Broker; 3], through: usize) -> usize {
    let context = jetstream::new(cluster[through].client().await);
    let mut leader = None;
    until("the stream has a leader", async || {
        let found = context.get_stream("MANDRILL").await.ok();
        let name = found.and_then(|stream| stream.cached_info().cluster.clone()?.leader);
        leader = name.and_then(|name| name.strip_prefix("node")?.parse().ok());
        leader.is_some()
    })
    .await;
    leader.expect("a leader")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_costs_time_and_no_event() {
    let mut cluster = Broker::cluster().await;
    let ingest = Ingest::start(environment(&cluster)).await;
    // Known ids are found in a replicated stream too, in whole batches and in mixed ones.
    assert_eq!(counts(&ingest.post_until_taken(&batch("a", 100)).await), (100, 0, 0));
    assert_eq!(counts(&ingest.post_until_taken(&batch("a", 100)).await), (0, 100, 0));
    assert_eq!(counts(&ingest.post_until_taken(&batch("a", 150)).await), (50, 100, 0));

    let address = ingest.address;
    let (stop, stopped) = watch::channel(false);
    let (taken, rounds) = watch::channel(0);
    let sender = tokio::spawn(async move {
        for round in 0.. {
            if *stopped.borrow() {
                return round;
            }
            let batch = batch(&format!("l{round}-"), 20);
            while !post(address, &batch).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            taken.send_replace(round + 1);
        }
        unreachable!("it is told to stop")
    });
    until("the leader is at work", async || *rounds.borrow() >= 5).await;
    let lost = leader(&cluster, 0).await;
    cluster[lost].kill();
    // One may have been on its way to the leader.
    let after = *rounds.borrow() + 1;
    until("batches are taken without it", async || *rounds.borrow() >= after + 20).await;
    stop.send_replace(true);
    let rounds = soon("the last batch is taken", sender).await.expect("no panic");

    // Only now back: everything acknowledged meanwhile is on the two that were left.
    let other = (lost + 1) % 3;
    leader(&cluster, other).await;
    let mut stored = events(&cluster[other]).await;
    assert_eq!(stored.len(), 150 + rounds * 20);
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 150 + rounds * 20, "nothing is stored twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_does_not_describe_the_stream_as_it_was_before() {
    let cluster = Broker::cluster().await;
    let ingest = Ingest::start(environment(&cluster)).await;
    counts(&ingest.post_until_taken(&batch("before", 10)).await);
    let old = leader(&cluster, 0).await;
    let asks = jetstream::new(cluster[old].client().await);
    assert_eq!(shared::stream::info(&asks, "MANDRILL").await.expect("the stream").state.last_sequence, 10);
    cluster[old].freeze();
    let other = (old + 1) % 3;
    until("another one leads", async || leader(&cluster, other).await != old).await;
    counts(&ingest.post_until_taken(&batch("after", 10)).await);
    // It is asked while it is frozen, and answers before it has heard anything.
    let asked = tokio::spawn(async move { shared::stream::info(&asks, "MANDRILL").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster[old].thaw();
    match soon("an answer", asked).await.expect("no panic") {
        Ok(info) => assert_eq!(info.state.last_sequence, 20),
        Err(error) => assert!(error.is_passing(), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_of_no_leader_does_not_describe_the_stream() {
    let mut cluster = Broker::cluster().await;
    let ingest = Ingest::start(environment(&cluster)).await;
    counts(&ingest.post_until_taken(&batch("before", 10)).await);
    let left = (leader(&cluster, 0).await + 1) % 3;
    let asks = jetstream::new(cluster[left].client().await);
    assert_eq!(shared::stream::info(&asks, "MANDRILL").await.expect("the stream").state.last_sequence, 10);
    cluster[(left + 1) % 3].kill();
    cluster[(left + 2) % 3].kill();
    // Once it has noticed, it answers from its own copy all the same.
    until("it answers without a leader", async || {
        let answer = asks.get_stream("MANDRILL").await.ok().map(|stream| stream.cached_info().clone());
        answer.and_then(|info| info.cluster).is_some_and(|cluster| cluster.leader.is_none_or(|name| name.is_empty()))
    })
    .await;
    let info = shared::stream::info(&asks, "MANDRILL").await;
    assert!(matches!(info, Err(StreamError::Deposed(_) | StreamError::Away(_))), "{info:?}");
    let counts = shared::stream::counts(&asks, "MANDRILL", "mandrill.events.>").await;
    assert!(matches!(counts, Err(StreamError::Deposed(_) | StreamError::Away(_))), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_added_and_never_taken_away() {
    let cluster = Broker::cluster().await;
    let context = jetstream::new(cluster[0].client().await);
    for (wanted, expected) in [("1", 1), ("3", 3), ("1", 3)] {
        let variables = Environment::from([("STREAM_REPLICAS", wanted), ("NATS_URL", cluster[0].url().as_str())])
            .or("MANDRILL_WEBHOOK_URLS", WEBHOOK.url)
            .or("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key);
        let ingest = Ingest::start(variables).await;
        counts(&ingest.post_until_taken(&batch(wanted, 1)).await);
        for name in ["MANDRILL", "MANDRILL_REJECTED", "OBJ_MANDRILL_LARGE"] {
            let stream = context.get_stream(name).await.expect("a stream");
            assert_eq!(stream.cached_info().config.num_replicas, expected, "{name}, {wanted} wanted");
        }
    }
}
