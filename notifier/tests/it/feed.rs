//! The feed goes on after whatever happens to the broker, losing and repeating nothing.

use shared::testing::broker::Broker;

use crate::support::{Service, Writer, events, expect, expect_silence};

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_loses_and_repeats_nothing() {
    let mut broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let all = events(300);
    writer.store_all(&all[..200]).await;
    expect(&mut client, &all[..200]).await;
    broker.kill();
    broker.restart().await;
    Writer::new(&broker).await.store_all(&all[200..]).await;
    expect(&mut client, &all[200..]).await;
    expect_silence(&mut client).await;
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let mut broker = Broker::absent("");
    let service = Service::launch(&broker, &[]).await;
    assert!(!service.is_ready().await);
    broker.restart().await;
    assert!(!service.is_ready().await, "the stream does not exist yet");
    let writer = Writer::new(&broker).await;
    service.ready().await;
    let mut client = service.session().await;
    let batch = events(5);
    writer.store_all(&batch).await;
    expect(&mut client, &batch).await;
}

#[tokio::test]
async fn a_purge_takes_nothing_from_who_has_read_it_already() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let all = events(20);
    writer.store_all(&all[..10]).await;
    expect(&mut client, &all[..10]).await;
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    stream.purge().await.expect("purged");
    writer.store_all(&all[10..]).await;
    expect(&mut client, &all[10..]).await;
    expect_silence(&mut client).await;
}
