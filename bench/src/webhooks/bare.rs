//! The broker's client alone: what storing events costs without a webhook around it.

use async_nats::{HeaderMap, HeaderValue, Request, header};
use ingest::batch::Event;

/// Commits one batch atomically, as ingest does, from events that are ready.
pub(crate) async fn commit_batch(client: &async_nats::Client, events: &[Event]) {
    let batch = HeaderValue::from(nuid::next().as_str());
    let (last, first) = events.split_last().expect("events");
    for (at, event) in first.iter().enumerate() {
        let headers = headers(event, &batch, at + 1);
        let published = client.publish_with_headers(event.subject.clone(), headers, event.payload.clone());
        published.await.expect("published");
    }
    let mut headers = headers(last, &batch, events.len());
    headers.insert(header::NATS_BATCH_COMMIT, header::NATS_BATCH_COMMIT_FINAL);
    acknowledged(client, last, headers).await;
}

/// Publishes one event and waits for its acknowledgement.
pub(crate) async fn publish(client: &async_nats::Client, event: &Event) {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, event.id.to_string());
    acknowledged(client, event, headers).await;
}

async fn acknowledged(client: &async_nats::Client, event: &Event, headers: HeaderMap) {
    let request = Request::new().headers(headers).payload(event.payload.clone());
    let reply = client.send_request(event.subject.clone(), request).await.expect("a reply");
    let text = String::from_utf8_lossy(&reply.payload);
    assert!(text.contains("\"seq\":") && !text.contains("\"error\""), "{text}");
}

fn headers(event: &Event, batch: &HeaderValue, sequence: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, event.id.to_string());
    headers.insert(header::NATS_BATCH_ID, batch.clone());
    headers.insert(header::NATS_BATCH_SEQUENCE, HeaderValue::from(sequence));
    headers
}
