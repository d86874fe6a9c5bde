//! Events reach every session, as they happen.

use shared::testing::broker::Broker;
use shared::testing::http::get;

use crate::support::{Service, Writer, events, expect, expect_silence};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_1000_events_reaches_50_sessions_completely_and_in_order() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut readers = tokio::task::JoinSet::new();
    let batch = std::sync::Arc::new(events(1000));
    for _ in 0..50 {
        let (mut client, batch) = (service.session().await, batch.clone());
        readers.spawn(async move {
            expect(&mut client, &batch).await;
            client.leave().await;
        });
    }
    writer.store_all(&batch).await;
    while let Some(read) = readers.join_next().await {
        read.expect("every session has every event");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_client_of_the_original_project_works_as_it_is() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut page = service.session().await;
    writer.store(r#"{"event":"open","_id":"m1","msg":{"email":"a@example.com","state":"sent"},"ts":1}"#).await;
    // What its script does: `JSON.parse(e.data)`, then four fields.
    let data: serde_json::Value = serde_json::from_str(&page.text().await).expect("JSON");
    assert_eq!(data["event"], "open");
    assert_eq!(data["_id"], "m1");
    assert_eq!(data["msg"]["email"], "a@example.com");
    assert_eq!(data["msg"]["state"], "sent");
}

#[tokio::test]
async fn events_of_every_shape_pass_unchanged() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let shapes = [
        r#"{"type":"blacklist","action":"add","reject":{"email":"a@example.com"},"ts":1}"#,
        r#"{"event":"inbound","msg":{"raw_msg":"From: a\r\n\r\nb","headers":[]}}"#,
        "{}",
        r#"{"event":"a kind of tomorrow","n":1e999,"t":"\ud83d\ude00 é 漢 \u0000"}"#,
        r#"{ "event" : "open" , "msg" : [] }"#,
    ]
    .map(str::to_owned);
    writer.store_all(&shapes).await;
    for shape in &shapes {
        let frame = client.text().await;
        assert!(frame.ends_with(&shape.trim_start()[1..]), "{frame} ends as {shape}");
    }
}

#[tokio::test]
async fn a_new_session_begins_at_the_head() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let before = events(20);
    writer.store_all(&before).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    expect_silence(&mut client).await;
    let after = events(30);
    writer.store_all(&after).await;
    expect(&mut client, &after).await;
}

#[tokio::test]
async fn the_path_works_without_its_last_slash() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = crate::support::Client::connect(service.http, "/ws/email", &[]).await;
    let batch = events(3);
    writer.store_all(&batch).await;
    expect(&mut client, &batch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_have_every_event_in_order() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let batch = std::sync::Arc::new(events(300));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (mut client, batch) = (service.session().await, batch.clone());
        readers.spawn(async move { expect(&mut client, &batch).await });
    }
    writer.store_all(&batch).await;
    while let Some(read) = readers.join_next().await {
        read.expect("every session has every event");
    }
    let metrics = String::from_utf8(get(service.admin, "/metrics").await.body).expect("text");
    for line in [
        "mandrill_live_notifier_deliveries_total 300000",
        "mandrill_live_notifier_feed_events_total 300",
        "mandrill_live_notifier_feed_live 1",
        "mandrill_live_notifier_ring_events 300",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    assert!(metrics.contains("mandrill_live_notifier_delivery_lag_seconds_bucket"), "{metrics}");
}
