//! What one client may take, and what it may not take from others.

use std::time::Duration;

use notifier::{Config, Notifier, connection_limits};
use shared::admin::Readiness;
use shared::serve::{self, ConnectionLimits};
use shared::settings::Environment;
use shared::telemetry;
use shared::testing::broker::Broker;
use shared::testing::{http, soon, until};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::client::{Frame, PING, PONG, masked};
use crate::support::{Client, Service, Writer, events, expect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_stops_reading_delays_nobody_and_is_closed_in_time() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("LAG_TIMEOUT", "1s"), ("RING_BYTES", "2MiB")]).await;
    let mut stuck = service.session().await;
    let mut good = service.session().await;
    let all = events(3000);
    tokio::join!(writer.store_all(&all), expect(&mut good, &all));
    tokio::time::sleep(Duration::from_secs(4)).await;
    // What the kernel held is still there to be read; then the connection has ended.
    loop {
        match stuck.next().await {
            Frame::Text(_) => {}
            Frame::Close(close) => {
                assert_eq!(close.map(|close| close.0), Some(4408));
                break;
            }
            Frame::End => break,
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_session_that_reads_on_gets_everything_also_when_the_ring_has_passed_it() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    // It reads nothing until all is stored, however long that takes.
    let service = Service::with(&broker, &[("RING_BYTES", "1MiB"), ("LAG_TIMEOUT", "5m")]).await;
    let mut slow = Client::narrow(service.http, "/ws/email/").await;
    let all = events(6000);
    writer.store_all(&all).await;
    for group in all.chunks(500) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        expect(&mut slow, group).await;
    }
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_cut_and_one_that_does_stays() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("PING_INTERVAL", "1s")]).await;
    let mut dead = service.session().await;
    let mut alive = service.session().await;
    for _ in 0..4 {
        let Frame::Ping(payload) = alive.frame().await else { panic!("a ping") };
        alive.send(PONG, &payload).await;
    }
    assert!(matches!(dead.frame().await, Frame::Ping(_)));
    assert_eq!(dead.frame().await, Frame::End);
    let batch = events(3);
    writer.store_all(&batch).await;
    expect(&mut alive, &batch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_reads_slowly_is_not_cut_for_pings_that_wait_behind_its_events() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("PING_INTERVAL", "3s")]).await;
    // Far more than the kernel holds: a ping comes to it only after seconds of what was sent before.
    let all: Vec<String> = (0..300).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(20_000))).collect();
    writer.store_all(&all).await;
    let kept = async || http::get(service.http, "/api/status").await.json()["ring"]["events"] == all.len();
    until("they have come", kept).await;
    let mut slow = Client::narrow(service.http, "/ws/email/?last=300").await;
    // 50 kB a second: more than MIN_RATE_BYTES, and less than would bring a ping through in its time.
    let (at_first, then) = all.split_at(25);
    for event in at_first {
        expect(&mut slow, std::slice::from_ref(event)).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    expect(&mut slow, then).await;
}

#[tokio::test]
async fn a_flood_of_pings_that_is_not_read_ends_the_session() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    let flood = masked(0x80 | PING, &[b'x'; 125]).repeat(1000);
    let ended = async {
        // It writes and never reads, until the server has had enough.
        loop {
            if client.write(&flood).await.is_err() {
                return;
            }
        }
    };
    soon("the flood ends", ended).await;
}

#[tokio::test]
async fn an_address_has_so_many_sessions_also_behind_a_proxy() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let variables = [("MAX_SESSIONS_PER_IP", "1"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let service = Service::with(&broker, &variables).await;
    let from = |address| [("X-Forwarded-For", address)];
    let first = Client::connect(service.http, "/ws/email/", &from("192.0.2.1")).await;
    let second = Client::try_connect(service.http, "/ws/email/", &from("192.0.2.1")).await;
    assert!(second.head.starts_with("HTTP/1.1 429 "), "{}", second.head);
    assert!(second.head.to_ascii_lowercase().contains("retry-after: 30"), "{}", second.head);
    Client::connect(service.http, "/ws/email/", &from("192.0.2.2")).await;
    first.leave().await;
    until("there is room again", async || {
        let again = Client::try_connect(service.http, "/ws/email/", &from("192.0.2.1")).await;
        again.head.starts_with("HTTP/1.1 101 ")
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_never_ends_is_not_waited_for_for_ever() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    client.raw(&[0x81, 0x85]).await;
    assert_eq!(client.closed().await.0, 1002);
}

#[tokio::test]
async fn a_client_that_asks_for_too_many_answers_is_ended_also_where_it_reads_them() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = service.session().await;
    for _ in 0..30 {
        client.raw(&masked(0x80 | PING, b"x").repeat(10)).await;
    }
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_counted() {
    let broker = Broker::start().await;
    let environment = Environment::from([("NATS_URL", broker.url().as_str()), ("ALLOW_ANONYMOUS", "true")]);
    let config = Config::read(&environment).expect("a configuration");
    let mut registry = telemetry::registry();
    let notifier = Notifier::start(&config, &mut registry, Readiness::default()).await.expect("a notifier");
    let listener = serve::bind(([127, 0, 0, 1], 0).into(), "HTTP_ADDR").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let limits = ConnectionLimits { connections_max: 1, ..connection_limits(&config) };
    tokio::spawn(serve::run(listener, notifier, limits, CancellationToken::new(), Duration::ZERO));
    let _first = TcpStream::connect(address).await.expect("connected");
    let (mut second, mut answer) = (TcpStream::connect(address).await.expect("connected"), String::new());
    soon("an answer", second.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &registry).expect("text");
    let line = "mandrill_live_notifier_connections_refused_total 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}
