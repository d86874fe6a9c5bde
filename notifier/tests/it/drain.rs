//! Stopping: every session is told, and can go on elsewhere.

use std::time::{Duration, Instant};

use shared::testing::broker::Broker;
use shared::testing::http::get;
use shared::testing::until;

use crate::support::client::Frame;
use crate::support::{Client, Service, Writer, expect, expect_silence, parts};

#[tokio::test]
async fn a_session_that_is_ended_in_the_midst_of_its_events_goes_on_elsewhere_without_loss_or_repeat() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let (first, second) = (Service::start(&broker).await, Service::start(&broker).await);
    let mut client = Client::narrow(first.http, "/ws/email/").await;
    // More than its socket takes: it has begun a frame when it is told to go.
    let all: Vec<String> = (0..300).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(20_000))).collect();
    writer.store_all(&all).await;
    for service in [&first, &second] {
        let kept = async || get(service.http, "/api/status").await.json()["ring"]["events"] == all.len();
        until("they have come", kept).await;
    }
    first.tell_to_stop();
    let (mut had, mut last) = (0, None);
    loop {
        match client.next().await {
            Frame::Text(text) => {
                let (cursor, _, event) = parts(&text);
                assert!(event == all[had], "event {had}");
                (had, last) = (had + 1, Some(cursor));
            }
            Frame::Close(Some((code, _))) => break assert_eq!(code, 1001),
            other => panic!("events and the reason, not {other:?}"),
        }
    }
    assert_eq!(client.next().await, Frame::End);
    let path = format!("/ws/email/?since={}", last.expect("some of the events"));
    let mut client = Client::connect(second.http, &path, &[]).await;
    expect(&mut client, &all[had..]).await;
    expect_silence(&mut client).await;
    first.stop().await;
}

#[tokio::test]
async fn a_replica_that_stops_is_not_ready_and_takes_nobody() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let client = service.session().await;
    service.tell_to_stop();
    until("it is not ready", async || !service.is_ready().await).await;
    assert!(tokio::net::TcpStream::connect(service.http).await.is_err(), "it accepts nobody");
    drop(client);
    service.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_up_the_end() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("DRAIN_SECONDS", "2")]).await;
    let _stuck: Client = service.session().await;
    writer.store_all(&vec![format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000)); 100]).await;
    service.stop().await;
}

#[tokio::test]
async fn sessions_end_spread_over_the_window_and_those_that_can_are_told_first() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("DRAIN_SECONDS", "5")]).await;
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut plain = service.session().await;
        sessions.spawn(async move {
            assert_eq!(plain.closed().await.0, 1001);
            Instant::now()
        });
    }
    let (mut told, _) = Client::control(service.http, "/ws/email/").await;
    let started = Instant::now();
    service.tell_to_stop();
    let goaway = told.json().await;
    assert_eq!((&goaway["_control"], &goaway["reason"]), (&"goaway".into(), &"drain".into()));
    let told_after = started.elapsed();
    told.leave().await;
    let mut ends = Vec::new();
    while let Some(end) = sessions.join_next().await {
        ends.push(end.expect("closed with its code").duration_since(started));
    }
    ends.sort();
    // The window is what is left of the drain without the time for farewells: 2.5 seconds. Nobody is closed before
    // the turn of its own; how long after it depends on the machine.
    assert!(told_after < ends[9], "told at once: {told_after:?} of {ends:?}");
    assert!(ends[0] + Duration::from_secs(1) < ends[9], "spread: {ends:?}");
    assert!(ends[4] > Duration::from_millis(700), "{ends:?}");
    assert!(ends[9] > Duration::from_millis(1800), "{ends:?}");
    service.stop().await;
}

#[tokio::test]
async fn a_drain_ends_as_soon_as_the_last_session_has_moved() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("DRAIN_SECONDS", "60")]).await;
    let (mut client, _) = Client::control(service.http, "/ws/email/").await;
    service.tell_to_stop();
    assert_eq!(client.json().await["_control"], "goaway");
    client.leave().await;
    service.stop().await;
}
