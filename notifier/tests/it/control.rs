//! The subprotocol `mandrill-live.v1`: what its clients are told, and what they may say.

use serde_json::{Value, json};
use shared::cursor::Cursor;
use shared::testing::broker::Broker;
use shared::testing::proxy::{Proxy, Weather};

use crate::support::client::{Frame, PONG, TEXT};
use crate::support::{Client, Service, Writer, events, expect, expect_silence, parts};

const PATH: &str = "/ws/email/";

fn open(number: usize) -> String {
    format!(r#"{{"event":"open","n":{number}}}"#)
}

fn click(number: usize) -> String {
    format!(r#"{{"event":"click","n":{number}}}"#)
}

#[tokio::test]
async fn the_first_frame_says_where_the_session_begins() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let (client, hello) = Client::control(service.http, PATH).await;
    assert!(client.head.to_ascii_lowercase().contains("sec-websocket-protocol: mandrill-live.v1"), "{}", client.head);
    assert_eq!(
        (&hello["version"], &hello["recovered"], &hello["ping_interval"]),
        (&1.into(), &Value::Null, &25.into())
    );
    let _: Cursor = hello["at"].as_str().expect("a cursor").parse().expect("a cursor");
    let plain = service.session().await;
    assert!(!plain.head.to_ascii_lowercase().contains("sec-websocket-protocol"), "{}", plain.head);
}

#[tokio::test]
async fn a_quiet_filtered_session_learns_how_far_it_has_come_and_resumes_there() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("PING_INTERVAL", "1s")]).await;
    let (mut client, _) = Client::control(service.http, "/ws/email/?event=open").await;
    writer.store_all(&[click(1), click(2), open(3), click(4)]).await;
    expect(&mut client, &[open(3)]).await;
    let at = loop {
        let position = client.json().await;
        assert_eq!(position["_control"], "position");
        let at: Cursor = position["at"].as_str().expect("a cursor").parse().expect("a cursor");
        // Past the click it did not want, at the latest with the next look.
        if at.sequence == 4 {
            break at;
        }
    };
    drop(client);
    writer.store_all(&[click(5), open(6)]).await;
    let (mut client, hello) = Client::control(service.http, &format!("/ws/email/?event=open&since={at}")).await;
    assert_eq!(hello["recovered"], true);
    expect(&mut client, &[open(6)]).await;
}

#[tokio::test]
async fn a_loss_is_a_gap_frame_and_the_session_goes_on() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let wire = Proxy::before(broker.address()).await;
    let service = Service::with(&broker, &[("NATS_URL", &format!("nats://{}", wire.address()))]).await;
    let (mut client, _) = Client::control(service.http, PATH).await;
    let all = events(30);
    writer.store_all(&all[..10]).await;
    expect(&mut client, &all[..10]).await;
    wire.set(Weather::Cut);
    writer.store_all(&all[10..20]).await;
    writer.context().get_stream("MANDRILL").await.expect("the stream").purge().await.expect("purged");
    let stalled = client.json().await;
    assert_eq!((&stalled["_control"], &stalled["feed"]), (&"status".into(), &"stalled".into()));
    assert!(stalled["since"].as_u64().is_some_and(|since| since > 1_700_000_000_000));
    wire.set(Weather::Clear);
    let mut told = [client.json().await, client.json().await];
    told.sort_by_key(|frame| frame["_control"].to_string());
    assert_eq!((&told[0]["_control"], &told[0]["reason"]), (&"gap".into(), &"retention".into()));
    assert_eq!((&told[1]["_control"], &told[1]["feed"]), (&"status".into(), &"live".into()));
    let cursor = |name: &str| told[0][name].as_str().expect("a cursor").parse::<Cursor>().expect("a cursor");
    assert_eq!((cursor("after").sequence, cursor("before").sequence), (10, 20));
    writer.store_all(&all[20..]).await;
    expect(&mut client, &all[20..]).await;
}

#[tokio::test]
async fn a_stream_made_anew_is_a_gap_of_epoch() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let (mut client, _) = Client::control(service.http, PATH).await;
    let (before, after) = (events(20), events(5));
    writer.store_all(&before).await;
    expect(&mut client, &before).await;
    writer.context().delete_stream("MANDRILL").await.expect("deleted");
    writer.make_stream().await;
    loop {
        let frame = client.json().await;
        if frame["_control"] == "gap" {
            assert_eq!(frame["reason"], "epoch");
            break;
        }
        assert_eq!(frame["_control"], "status");
    }
    writer.store_all(&after).await;
    let mut texts = Vec::new();
    while texts.len() < after.len() {
        let text = client.text().await;
        if !text.contains("_control") {
            texts.push(parts(&text).2);
        }
    }
    assert_eq!(texts, after);
}

#[tokio::test]
async fn a_client_changes_its_filter_without_losing_its_place() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let (mut client, _) = Client::control(service.http, "/ws/email/?event=open").await;
    // The last open shows that the click before it has been passed over.
    writer.store_all(&[open(1), click(2), open(0)]).await;
    expect(&mut client, &[open(1), open(0)]).await;
    client.send(TEXT, json!({"_control": "filter", "event": ["click", "send"]}).to_string().as_bytes()).await;
    assert_eq!(client.json().await["_control"], "filter");
    writer.store_all(&[open(3), click(4)]).await;
    expect(&mut client, &[click(4)]).await;
    // Without one, everything from here on.
    client.send(TEXT, br#"{"_control":"filter"}"#).await;
    assert_eq!(client.json().await["_control"], "filter");
    writer.store_all(&[open(5), click(6)]).await;
    expect(&mut client, &[open(5), click(6)]).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_answered_and_changes_nothing() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let (mut client, _) = Client::control(service.http, "/ws/email/?event=open").await;
    for text in ["hello", "{}", r#"{"_control":"filter","colour":"red"}"#, r#"{"_control":"filter","event":1}"#] {
        client.send(TEXT, text.as_bytes()).await;
        let answer = client.json().await;
        assert_eq!(answer["_control"], "error", "{text}");
        assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    writer.store_all(&[click(1), open(2)]).await;
    expect(&mut client, &[open(2)]).await;
}

#[tokio::test]
async fn a_session_that_is_old_enough_is_asked_to_move_and_a_plain_one_is_left_alone() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("PING_INTERVAL", "1s"), ("SESSION_MAX_AGE", "1s")]).await;
    let mut plain = service.session().await;
    let left_alone = tokio::spawn(async move {
        for _ in 0..5 {
            let Frame::Ping(payload) = plain.frame().await else { panic!("pings only") };
            plain.send(PONG, &payload).await;
        }
    });
    let (mut client, _) = Client::control(service.http, PATH).await;
    let goaway = client.json().await;
    assert_eq!((&goaway["_control"], &goaway["reason"]), (&"goaway".into(), &"max_age".into()));
    assert_eq!(client.closed().await.0, 1001);
    left_alone.await.expect("it stays");
}

#[tokio::test]
async fn filters_hold_for_what_is_live() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let event = |number: usize, email: &str, tag: &str| {
        format!(
            r#"{{"event":"open","_id":"m{number}","msg":{{"email":"{email}","tags":["{tag}"],"metadata":{{"n":{number}}}}}}}"#
        )
    };
    let all = [event(1, "ann@example.com", "a"), event(2, "bob@example.com", "a"), event(3, "ann@example.com", "b")];
    let check: [(&str, &[usize]); 6] = [
        ("email=Ann@Example.com", &[0, 2]),
        ("email=ann@example.com,bob@example.com&tag=a", &[0, 1]),
        ("message=m3", &[2]),
        ("metadata.n=2", &[1]),
        ("event=click", &[]),
        ("", &[0, 1, 2]),
    ];
    let mut clients = Vec::new();
    for (query, wanted) in check {
        let client = Client::connect(service.http, &format!("/ws/email/?{query}"), &[]).await;
        clients.push((client, wanted));
    }
    writer.store_all(&all).await;
    for (client, wanted) in &mut clients {
        let wanted: Vec<String> = wanted.iter().map(|at| all[*at].clone()).collect();
        expect(client, &wanted).await;
        expect_silence(client).await;
    }
}
