//! A client that comes back goes on where it was, or is told why not.

use std::time::Duration;

use futures_util::TryStreamExt;
use shared::cursor::{Cursor, Epoch};
use shared::stream;
use shared::testing::broker::Broker;
use shared::testing::proxy::{Proxy, Weather};
use shared::testing::soon;
use tokio::time::timeout;

use crate::support::client::Frame;
use crate::support::{Client, Service, V1, Writer, events, expect, expect_silence, parts};

/// Reads these events and returns the last one's cursor.
async fn read(client: &mut Client, expected: &[String]) -> Cursor {
    let mut last = None;
    for wanted in expected {
        let (cursor, _, text) = parts(&client.text().await);
        assert_eq!(&text, wanted);
        last = Some(cursor);
    }
    last.expect("events")
}

fn since(cursor: &Cursor) -> String {
    format!("/ws/email/?since={cursor}")
}

#[tokio::test]
async fn a_client_that_reconnects_gets_what_it_missed_once_and_in_order() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let all = events(60);
    let mut client = service.session().await;
    writer.store_all(&all[..20]).await;
    let cursor = read(&mut client, &all[..20]).await;
    drop(client);
    writer.store_all(&all[20..40]).await;
    let mut client = Client::connect(service.http, &since(&cursor), &[]).await;
    writer.store_all(&all[40..]).await;
    expect(&mut client, &all[20..]).await;
    expect_silence(&mut client).await;
}

#[tokio::test]
async fn a_client_moves_to_another_replica_and_misses_nothing() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let (first, second) = (Service::start(&broker).await, Service::start(&broker).await);
    let all = events(40);
    let mut client = first.session().await;
    writer.store_all(&all[..20]).await;
    let cursor = read(&mut client, &all[..20]).await;
    first.stop().await;
    writer.store_all(&all[20..]).await;
    let (mut client, hello) = Client::control(second.http, &since(&cursor)).await;
    assert_eq!(hello["recovered"], true);
    assert_eq!(hello["at"], cursor.to_string());
    expect(&mut client, &all[20..]).await;
    // A replica that starts now fills its ring first, and serves the same cursor.
    let third = Service::start(&broker).await;
    let mut client = Client::connect(third.http, &since(&cursor), &[]).await;
    expect(&mut client, &all[20..]).await;
}

#[tokio::test]
async fn what_the_ring_has_left_behind_comes_from_the_stream() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("RING_BYTES", "1MiB")]).await;
    let all = events(4000);
    let mut client = service.session().await;
    writer.store_all(&all[..100]).await;
    let cursor = read(&mut client, &all[..100]).await;
    drop(client);
    writer.store_all(&all[100..3900]).await;
    let (mut first, hello) = Client::control(service.http, &since(&cursor)).await;
    assert_eq!(hello["recovered"], true);
    let mut second = Client::connect(service.http, &since(&cursor), &[]).await;
    writer.store_all(&all[3900..]).await;
    expect(&mut first, &all[100..]).await;
    expect(&mut second, &all[100..]).await;
    expect_silence(&mut second).await;
}

#[tokio::test]
async fn a_cursor_older_than_what_is_kept_is_answered_so() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let all = events(40);
    let mut client = service.session().await;
    writer.store_all(&all[..10]).await;
    let cursor = read(&mut client, &all[..10]).await;
    writer.store_all(&all[10..30]).await;
    expect(&mut client, &all[10..30]).await;
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    stream.purge().sequence(21).await.expect("purged");
    // A replica that starts now has only what is kept.
    let fresh = Service::start(&broker).await;
    let mut plain = Client::connect(fresh.http, &since(&cursor), &[]).await;
    assert_eq!(plain.closed().await.0, 4410);
    let (mut client, hello) = Client::control(fresh.http, &since(&cursor)).await;
    assert_eq!((&hello["recovered"], &hello["reason"]), (&false.into(), &"retention".into()));
    writer.store_all(&all[30..]).await;
    expect(&mut client, &all[20..]).await;
}

#[tokio::test]
async fn a_cursor_of_a_stream_that_was_made_anew_never_gets_its_events() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let all = events(30);
    let mut client = service.session().await;
    writer.store_all(&all[..20]).await;
    let cursor = read(&mut client, &all[..20]).await;
    writer.context().delete_stream("MANDRILL").await.expect("deleted");
    writer.make_stream().await;
    writer.store_all(&all[20..]).await;
    assert_eq!(client.closed().await.0, 4408);
    let mut plain = Client::connect(service.http, &since(&cursor), &[]).await;
    assert_eq!(plain.closed().await.0, 4410);
    let (mut client, hello) = Client::control(service.http, &since(&cursor)).await;
    assert_eq!((&hello["recovered"], &hello["reason"]), (&false.into(), &"epoch".into()));
    expect(&mut client, &all[20..]).await;
}

#[tokio::test]
async fn a_cursor_of_a_restored_backup_is_told_from_the_sequences_it_shares() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let all = events(40);
    let mut client = service.session().await;
    writer.store_all(&all[..20]).await;
    let cursor = read(&mut client, &all[..20]).await;
    service.stop().await;
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    let config = stream.cached_info().config.clone();
    writer.context().delete_stream("MANDRILL").await.expect("deleted");
    writer.context().create_stream(config).await.expect("restored");
    writer.store_all(&all[..30]).await;
    let service = Service::start(&broker).await;
    let (_, hello) = Client::control(service.http, &since(&cursor)).await;
    assert_eq!((&hello["recovered"], &hello["reason"]), (&false.into(), &"epoch".into()));
}

#[tokio::test]
async fn a_replica_that_lags_behind_the_client_is_waited_for() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("LAG_TIMEOUT", "2s")]).await;
    let all = events(20);
    let mut client = service.session().await;
    writer.store_all(&all[..10]).await;
    let cursor = read(&mut client, &all[..10]).await;
    let ahead = Cursor { sequence: cursor.sequence + 5, stored_ms: 0, ..cursor };
    let waiting = tokio::spawn({
        let address = service.http;
        async move { Client::control(address, &since(&ahead)).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    writer.store_all(&all[10..]).await;
    let (mut client, hello) = soon("a hello", waiting).await.expect("no panic");
    assert_eq!(hello["recovered"], true);
    expect(&mut client, &all[15..]).await;
    let never = Cursor { sequence: cursor.sequence + 1000, ..cursor };
    let (_, hello) = Client::control(service.http, &since(&never)).await;
    assert_eq!((&hello["recovered"], &hello["reason"]), (&false.into(), &"epoch".into()));
}

#[tokio::test]
async fn a_replica_that_does_not_hear_the_broker_takes_no_cursor_for_one_of_another_stream() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let wire = Proxy::before(broker.address()).await;
    let url = format!("nats://{}", wire.address());
    let behind = Service::with(&broker, &[("LAG_TIMEOUT", "1s"), ("NATS_URL", &url)]).await;
    let service = Service::start(&broker).await;
    let all = events(20);
    let mut client = service.session().await;
    wire.set(Weather::Cut);
    writer.store_all(&all[..10]).await;
    let cursor = read(&mut client, &all[..10]).await;
    // The one that comes back is sent on, whatever it speaks.
    for headers in [&[V1][..], &[]] {
        let mut told = Client::connect(behind.http, &since(&cursor), headers).await;
        assert_eq!(told.closed().await.0, 1013);
    }
    wire.set(Weather::Clear);
    let (mut client, hello) = soon("it hears the broker again", async {
        loop {
            let mut client = Client::connect(behind.http, &since(&cursor), &[V1]).await;
            if let Frame::Text(hello) = client.next().await {
                return (client, hello);
            }
        }
    })
    .await;
    assert!(hello.contains(r#""recovered":true"#), "{hello}");
    writer.store_all(&all[10..]).await;
    let mut texts = Vec::new();
    while texts.len() < 10 {
        let text = client.text().await;
        if !text.contains("_control") {
            texts.push(parts(&text).2);
        }
    }
    assert_eq!(texts, all[10..]);
}

#[tokio::test]
async fn a_replica_that_has_not_heard_of_another_epoch_takes_no_cursor_of_it_for_one_of_another_stream() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let all = events(30);
    writer.store_all(&all[..20]).await;
    // A feed whose consumer lives on does not notice this.
    stream::renew_epoch(writer.context(), "MANDRILL").await.expect("another epoch");
    let fresh = Service::start(&broker).await;
    let mut client = Client::connect(fresh.http, "/ws/email/?last=20", &[]).await;
    let cursor = read(&mut client, &all[..10]).await;
    let other = Cursor { epoch: Epoch::random(), ..cursor };
    assert_eq!(Client::connect(service.http, &since(&other), &[]).await.closed().await.0, 4410);
    let address = service.http;
    let waiting = tokio::spawn(async move { Client::control(address, &since(&cursor)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Now the feeds begin anew, and notice.
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    let names: Vec<String> = stream.consumer_names().try_collect().await.expect("names");
    for name in names {
        stream.delete_consumer(&name).await.expect("deleted");
    }
    let (mut client, hello) = soon("a hello", waiting).await.expect("no panic");
    assert_eq!(hello["recovered"], true, "{hello}");
    expect(&mut client, &all[10..20]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_ring_of_a_stream_that_was_made_anew_one_gap_is_told_and_every_event_comes_once() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("RING_BYTES", "1MiB")]).await;
    // More than all buffers between hold.
    let all: Vec<String> =
        (0..6000).map(|number| format!(r#"{{"n":{number},"fill":"{}"}}"#, "x".repeat(4000))).collect();
    let mut client = service.session().await;
    writer.store(&all[0]).await;
    let cursor = read(&mut client, &all[..1]).await;
    drop(client);
    writer.store_in_batches(&all[1..]).await;
    let (mut client, hello) = Client::control(service.http, &since(&cursor)).await;
    assert_eq!(hello["recovered"], true, "{hello}");
    // A feed whose consumer lives on does not notice this.
    stream::renew_epoch(writer.context(), "MANDRILL").await.expect("another epoch");
    let told = |frame: Frame| match frame {
        Frame::Text(text) if !text.contains("_control") => text,
        Frame::Text(text) if text.contains(r#""_control":"gap""#) => "gap".to_owned(),
        Frame::Text(_) => String::new(),
        other => panic!("a text, not {other:?}"),
    };
    while let Ok(frame) = timeout(Duration::from_secs(1), client.receive()).await {
        assert_ne!(told(frame), "gap", "before the feed knows of it");
    }
    writer.context().delete_stream("MANDRILL").await.expect("deleted");
    writer.make_stream().await;
    let new = events(20);
    writer.store_all(&new).await;
    // What is left of the old stream may come still.
    while told(client.next().await) != "gap" {}
    let mut texts = Vec::new();
    while texts.len() < new.len() {
        let text = told(client.next().await);
        if !text.is_empty() {
            texts.push(parts(&text).2);
        }
    }
    assert_eq!(texts, new);
}

#[tokio::test]
async fn the_newest_that_match_come_first() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let kinds = ["open", "click", "open", "send", "open", "click"];
    let all: Vec<String> =
        kinds.iter().enumerate().map(|(at, kind)| format!(r#"{{"event":"{kind}","n":{at}}}"#)).collect();
    writer.store_all(&all).await;
    let service = Service::start(&broker).await;
    let mut two = Client::connect(service.http, "/ws/email/?last=2", &[]).await;
    expect(&mut two, &all[4..]).await;
    let mut opens = Client::connect(service.http, "/ws/email/?last=2&event=open", &[]).await;
    expect(&mut opens, &[all[2].clone(), all[4].clone()]).await;
    let mut many = Client::connect(service.http, "/ws/email/?last=1000", &[]).await;
    expect(&mut many, &all).await;
    expect_silence(&mut two).await;
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_refused() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    for query in ["evnet=open", "since=yesterday", "last=5000", "event=", "since=a&last=1"] {
        let path = format!("/ws/email/?{query}");
        let program = Client::try_connect(service.http, &path, &[]).await;
        assert!(program.head.starts_with("HTTP/1.1 400 "), "{query}: {}", program.head);
        let mut browser = Client::connect(service.http, &path, &[V1]).await;
        assert_eq!(browser.closed().await.0, 4400, "{query}");
    }
}

#[tokio::test]
async fn large_events_come_from_the_stream_as_well() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("RING_BYTES", "1MiB")]).await;
    let large = |number: usize, bytes: usize| format!(r#"{{"n":{number},"fill":"{}"}}"#, "x".repeat(bytes));
    let all = [large(0, 10), large(1, 5 << 20), large(2, 5 << 20), large(3, 10), large(4, 3 << 20), large(5, 10)];
    let mut client = service.session().await;
    writer.store_all(&all[..1]).await;
    let cursor = read(&mut client, &all[..1]).await;
    drop(client);
    writer.store_all(&all[1..]).await;
    let filler = events(2000);
    writer.store_all(&filler).await;
    let mut client = Client::connect(service.http, &since(&cursor), &[]).await;
    expect(&mut client, &all[1..]).await;
    expect(&mut client, &filler).await;
}

#[tokio::test]
async fn a_hole_that_reaches_up_to_the_ring_is_no_loss() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("RING_BYTES", "1MiB")]).await;
    let all = events(3000);
    let mut client = service.session().await;
    writer.store_all(&all[..10]).await;
    let cursor = read(&mut client, &all[..10]).await;
    drop(client);
    writer.store_all(&all[10..]).await;
    // What lies between the cursor and the newest event is gone, one by one, as erasing takes it.
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    let info = stream.get_info().await.expect("its state");
    for sequence in 11..=30 {
        stream.delete_message(sequence).await.expect("deleted");
    }
    assert_eq!(info.state.last_sequence, 3000);
    let mut client = Client::connect(service.http, &since(&cursor), &[]).await;
    expect(&mut client, &all[30..]).await;
}
