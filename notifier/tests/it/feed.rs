//! The feed goes on after whatever happens to the broker, losing and repeating nothing.

use std::time::Duration;

use futures_util::TryStreamExt;
use shared::testing::broker::Broker;
use shared::testing::proxy::{Proxy, Weather};
use shared::testing::until;

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

#[tokio::test]
async fn a_broker_that_freezes_and_thaws_loses_and_repeats_nothing() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let all = events(40);
    writer.store_all(&all[..20]).await;
    expect(&mut client, &all[..20]).await;
    broker.freeze();
    // Longer than the heartbeats' patience: the feed begins anew while the broker is still frozen.
    tokio::time::sleep(Duration::from_secs(4)).await;
    broker.thaw();
    writer.store_all(&all[20..]).await;
    expect(&mut client, &all[20..]).await;
    expect_silence(&mut client).await;
}

#[tokio::test]
async fn a_consumer_that_somebody_deletes_is_made_anew() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    let names: Vec<String> = stream.consumer_names().try_collect().await.expect("names");
    for name in names {
        stream.delete_consumer(&name).await.expect("deleted");
    }
    let all = events(20);
    writer.store_all(&all).await;
    expect(&mut client, &all).await;
    expect_silence(&mut client).await;
}

#[tokio::test]
async fn a_stream_made_anew_never_continues_an_old_session() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let (before, after) = (events(20), events(30));
    writer.store_all(&before).await;
    expect(&mut client, &before).await;
    writer.context().delete_stream("MANDRILL").await.expect("deleted");
    writer.make_stream().await;
    assert_eq!(client.closed().await.0, 4408, "a plain client learns of the loss by its end");
    let mut next = service.session().await;
    writer.store_all(&after).await;
    expect(&mut next, &after).await;
}

#[tokio::test]
async fn a_stream_restored_with_its_epoch_is_noticed_by_the_time_of_the_last_event() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let before = events(10);
    writer.store_all(&before).await;
    expect(&mut client, &before).await;
    // The same metadata and, in the end, the same last sequence: other events.
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    let config = stream.cached_info().config.clone();
    writer.context().delete_stream("MANDRILL").await.expect("deleted");
    writer.context().create_stream(config).await.expect("restored");
    writer.store_all(&events(12)).await;
    assert_eq!(client.closed().await.0, 4408);
}

#[tokio::test]
async fn a_user_who_may_not_answer_flow_control_still_gets_every_event() {
    // Without the permission a push consumer stalls after some thousand messages, and its heartbeats go on.
    let broker = Broker::with(
        r#"no_auth_user: writer
        authorization { users = [
            { user: writer, password: w }
            { user: reader, password: r, permissions: { publish: { deny: ["$JS.FC.>"] } } }
        ] }"#,
    )
    .await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("NATS_USER", "reader"), ("NATS_PASSWORD", "r")]).await;
    let mut client = service.session().await;
    let all = events(6000);
    let (_, ()) = tokio::join!(writer.store_all(&all), expect(&mut client, &all));
}

#[tokio::test]
async fn events_dropped_while_the_broker_was_out_of_reach_are_a_gap() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let wire = Proxy::before(broker.address()).await;
    let service = Service::with(&broker, &[("NATS_URL", &format!("nats://{}", wire.address()))]).await;
    let mut client = service.session().await;
    let all = events(30);
    writer.store_all(&all[..10]).await;
    expect(&mut client, &all[..10]).await;
    wire.set(Weather::Cut);
    writer.store_all(&all[10..20]).await;
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    stream.purge().await.expect("purged");
    wire.set(Weather::Clear);
    assert_eq!(client.closed().await.0, 4408);
    let mut next = service.session().await;
    writer.store_all(&all[20..]).await;
    expect(&mut next, &all[20..]).await;
}

#[tokio::test]
async fn a_stall_that_lasts_turns_the_replica_unready_and_a_short_one_does_not() {
    let mut broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("FEED_STALL_UNREADY", "2s")]).await;
    broker.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(service.is_ready().await, "an election must not take every replica away");
    until("it is not ready", async || !service.is_ready().await).await;
    broker.restart().await;
    service.ready().await;
    drop(writer);
}
