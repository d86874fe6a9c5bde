//! An event is stored once, however often and by whichever way it comes; twins of one request are two.

use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;

use crate::harness::{Ingest, batch, counts, events, signed};

fn assert_each_once(mut stored: Vec<String>, count: usize) {
    assert_eq!(stored.len(), count);
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), count);
}

fn joined(batches: &[&str]) -> String {
    let inside: Vec<&str> = batches.iter().map(|batch| &batch[1..batch.len() - 1]).collect();
    format!("[{}]", inside.join(","))
}

#[tokio::test]
async fn a_request_sent_again_whole_in_part_or_mixed_is_stored_once() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let (a, b) = (batch("a", 100), batch("b", 100));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &a).await), (100, 0, 0));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &a).await), (0, 100, 0));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &batch("a", 3)).await), (0, 3, 0));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &joined(&[&a, &b])).await), (100, 100, 0));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &joined(&[&batch("b", 2), &batch("c", 2)])).await), (2, 2, 0));
    assert_each_once(events(&broker).await, 202);
}

#[tokio::test]
async fn a_full_batch_of_which_one_event_is_known_is_stored_but_for_that_one() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    WEBHOOK.post(ingest.address, &batch("a", 1)).await;
    let mixed = joined(&[&batch("b", 500), &batch("a", 1), &batch("c", 499)]);
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &mixed).await), (999, 1, 0));
    let stored = events(&broker).await;
    let order: Vec<&str> = stored.iter().filter(|event| !event.contains("\"_id\":\"a")).map(String::as_str).collect();
    let sorts: Vec<&str> = order.iter().map(|event| &event[23..24]).collect();
    assert_eq!(sorts.concat(), "b".repeat(500) + &"c".repeat(499), "the order of the request is kept");
    assert_each_once(stored, 1000);
}

#[tokio::test]
async fn twins_of_one_request_are_both_kept_and_stay_two_when_it_comes_again() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let twins = r#"[{"event":"open","_id":"t"},{"event":"click","_id":"t"},{"event":"open","_id":"t"}]"#;
    assert_eq!(counts(&WEBHOOK.post(ingest.address, twins).await), (3, 0, 0));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, twins).await), (0, 3, 0));
    let stored = events(&broker).await;
    assert_eq!(stored.iter().filter(|event| event.contains("open")).count(), 2);
    assert_eq!(stored.len(), 3);
}

#[tokio::test]
async fn the_same_request_to_two_replicas_at_once_is_stored_once() {
    let broker = Broker::start().await;
    let (one, two) = tokio::join!(Ingest::start(signed(&broker)), Ingest::start(signed(&broker)));
    for round in 0..10 {
        let batch = batch(&format!("r{round}-"), 200);
        let (a, b) = tokio::join!(one.post_until_taken(&batch), two.post_until_taken(&batch));
        let ((stored_a, known_a, _), (stored_b, known_b, _)) = (counts(&a), counts(&b));
        assert_eq!((stored_a + known_a, stored_b + known_b), (200, 200));
    }
    assert_each_once(events(&broker).await, 2000);
}

#[tokio::test]
async fn many_senders_of_the_same_events_to_one_replica_store_each_once() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let posts: Vec<_> = (0..40)
        .map(|sender| {
            let (address, batch) = (ingest.address, batch("s", 1 + sender % 20));
            tokio::spawn(async move { counts(&WEBHOOK.post(address, &batch).await) })
        })
        .collect();
    let mut stored = 0;
    for post in posts {
        stored += post.await.expect("an answer").0;
    }
    assert_eq!(stored, 20, "each event is claimed by one request");
    assert_each_once(events(&broker).await, 20);
}
