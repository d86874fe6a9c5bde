//! Many who read from the stream at once: how many may, and what the others are told.

use shared::cursor::Cursor;
use shared::testing::broker::Broker;
use shared::testing::http::{Answer, send};
use shared::testing::{soon, until};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::client::Frame;
use crate::support::{Client, Service, V1, Writer, expect, metric, parts};

/// Sessions that may wait for one reader, the one that is served among them.
const PLACES: usize = 64;
/// Sessions beyond, of each form.
const BEYOND: usize = 3;
/// What they are told to wait.
const NO_ROOM: (u16, &str) = (1013, "no room: connect again after 5 s");

fn event(number: usize) -> String {
    format!(r#"{{"n":{number},"fill":"{}"}}"#, "x".repeat(4000))
}

/// A client that comes back: it has everything after the cursor, or is refused before the first of it.
async fn come_back(mut client: Client, wanted: &[String]) -> Option<(u16, String)> {
    match client.next().await {
        Frame::Close(close) => return Some(close.expect("a code and a reason")),
        Frame::Text(first) => assert!(parts(&first).2 == wanted[0], "the first event"),
        other => panic!("an event or a refusal, not {other:?}"),
    }
    expect(&mut client, &wanted[1..]).await;
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_beyond_the_queue_are_told_when_to_come_again_and_those_in_it_get_everything() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let variables = [("CATCHUP_READERS", "1"), ("RING_BYTES", "1MiB"), ("LAG_TIMEOUT", "5m")];
    let all: Vec<String> = (0..1400).map(event).collect();
    let (early, late) = all.split_at(700);
    let first = Service::with(&broker, &variables).await;
    let mut client = first.session().await;
    writer.store_all(&early[..1]).await;
    let (cursor, _, _) = parts(&client.text().await);
    writer.store_all(&early[1..]).await;
    first.stop().await;
    // One that has read nothing from the stream near the cursor.
    let service = Service::with(&broker, &variables).await;
    let mut behind = Client::narrow(service.http, "/ws/email/").await;
    until("it is a session", async || service.sessions("plain").await == 1).await;
    writer.store_all(late).await;
    let heard = async || metric(service.admin, "mandrill_live_notifier_feed_events_total").await;
    until("the ring has moved on", async || heard().await == late.len() as u64).await;

    // While the broker answers nobody, the queue fills.
    broker.freeze();
    let path = format!("/ws/email/?since={cursor}");
    let (refused, mut refusals) = mpsc::unbounded_channel();
    let mut returning = JoinSet::new();
    for number in 0..PLACES + 2 * BEYOND {
        // A refusal of this kind is known only after the upgrade: programs and pages read it alike.
        let headers: &[(&str, &str)] = if number % 2 == 0 { &[] } else { &[("Origin", "http://localhost")] };
        let client = Client::connect(service.http, &path, headers).await;
        let (all, refused) = (all.clone(), refused.clone());
        returning.spawn(async move {
            if let Some(close) = come_back(client, &all[1..]).await {
                refused.send(close).expect("heard");
            }
        });
    }
    for _ in 0..2 * BEYOND {
        let (code, reason) = soon("one beyond the queue is refused", refusals.recv()).await.expect("a refusal");
        assert_eq!((code, reason.as_str()), NO_ROOM);
    }
    let mut control = Client::connect(service.http, &path, &[V1]).await;
    assert_eq!(control.next().await, Frame::Close(Some((NO_ROOM.0, NO_ROOM.1.to_owned()))), "without a hello");
    let stream = stream_answer(&service, &cursor).await;
    assert_eq!((stream.status, stream.header("retry-after")), (503, Some("5")));
    // One that was there all along and has to read from the stream now is not served before others either,
    // and nothing is left out before it is told.
    let mut had = 0;
    let close = loop {
        match behind.next().await {
            Frame::Text(text) => {
                assert!(parts(&text).2 == late[had], "event {had}");
                had += 1;
            }
            Frame::Close(close) => break close.expect("a code and a reason"),
            other => panic!("an event or the end, not {other:?}"),
        }
    };
    assert_eq!((close.0, close.1.as_str()), NO_ROOM);
    assert!(had > 0 && had < late.len(), "it was behind the ring: {had}");

    broker.thaw();
    while let Some(ended) = returning.join_next().await {
        ended.expect("everything after its cursor, once and in order");
    }
    assert!(refusals.try_recv().is_err(), "nobody who had a place lost it");
    // There is room again.
    let again = Client::connect(service.http, &path, &[]).await;
    assert_eq!(come_back(again, &all[1..]).await, None);
}

async fn stream_answer(service: &Service, cursor: &Cursor) -> Answer {
    send(service.http, "GET", &format!("/api/events/stream?since={cursor}"), &[], b"").await
}
