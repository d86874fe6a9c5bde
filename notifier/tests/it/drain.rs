//! Stopping: every session is told, nothing is cut.

use shared::testing::broker::Broker;
use shared::testing::until;

use crate::support::client::Frame;
use crate::support::{Client, Service, Writer, events, expect};

#[tokio::test]
async fn sessions_are_told_to_go_and_everything_they_were_owed_arrives_first() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let batch = events(100);
    writer.store_all(&batch).await;
    expect(&mut client, &batch).await;
    service.tell_to_stop();
    assert_eq!(client.closed().await.0, 1001);
    assert_eq!(client.next().await, Frame::End);
    service.stop().await;
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
