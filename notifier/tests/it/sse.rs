//! `GET /api/events/stream`, `GET /api/status`, and who may call them.

use std::time::Duration;

use shared::cursor::Cursor;
use shared::testing::broker::Broker;
use shared::testing::http::{get, request, send};
use shared::testing::{soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::support::{EventStream, Message, Service, Writer, events, expect, parts};

async fn service(variables: &[(&str, &str)]) -> (Broker, Writer, Service) {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, variables).await;
    (broker, writer, service)
}

/// Reads these events; returns the last one's id.
async fn read(stream: &mut EventStream, expected: &[String]) -> String {
    let mut last = String::new();
    for wanted in expected {
        let message = stream.next().await.expect("an event");
        let (cursor, _, text) = parts(&message.data);
        assert_eq!((&text, message.event), (wanted, None));
        last = message.id.expect("an id");
        assert_eq!(last, cursor.to_string());
    }
    last
}

#[tokio::test]
async fn events_come_as_they_happen_and_a_reader_resumes_by_their_id() {
    let (_broker, writer, service) = service(&[]).await;
    let all = events(60);
    let (mut stream, hello) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    let head = stream.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("x-accel-buffering: no") && head.contains("cache-control: no-store"), "{head}");
    assert_eq!(hello.event.as_deref(), Some("control"));
    writer.store_all(&all[..20]).await;
    let id = read(&mut stream, &all[..20]).await;
    drop(stream);
    writer.store_all(&all[20..40]).await;
    let (mut stream, hello) = EventStream::open(service.http, "/api/events/stream/", &[("Last-Event-ID", &id)]).await;
    assert_eq!(hello.json()["recovered"], true);
    writer.store_all(&all[40..]).await;
    read(&mut stream, &all[20..]).await;
}

#[tokio::test]
async fn filters_and_the_newest_events_are_asked_for_as_on_the_socket() {
    let (_broker, writer, service) = service(&[]).await;
    let all: Vec<String> =
        (0..9).map(|n| format!(r#"{{"event":"{}","n":{n}}}"#, ["open", "click", "send"][n % 3])).collect();
    writer.store_all(&all).await;
    until("they have come", async || get(service.http, "/api/status").await.json()["ring"]["events"] == 9).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream?last=2&event=click", &[]).await;
    read(&mut stream, &[all[4].clone(), all[7].clone()]).await;
    assert_eq!(get(service.http, "/api/events/stream?evnet=open").await.status, 400);
    assert_eq!(send(service.http, "POST", "/api/events/stream", &[], b"").await.status, 405);
}

#[tokio::test]
async fn a_stream_made_anew_and_a_broker_that_is_away_are_said() {
    let (mut broker, writer, service) = service(&[]).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    let batch = events(5);
    writer.store_all(&batch).await;
    read(&mut stream, &batch).await;
    broker.kill();
    let stalled = stream.next().await.expect("news").json();
    assert_eq!((&stalled["_control"], &stalled["feed"]), (&"status".into(), &"stalled".into()));
    let status = get(service.http, "/api/status").await.json();
    assert_eq!(status["feed"]["state"], "stalled");
    broker.restart().await;
    assert_eq!(stream.next().await.expect("news").json()["feed"], "live");
}

#[tokio::test]
async fn a_stream_for_which_nothing_comes_says_where_it_is_however_much_comes_for_others() {
    let (_broker, writer, service) = service(&[]).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream?event=open", &[]).await;
    // Another sort of event comes all the time.
    let storing = tokio::spawn(async move {
        loop {
            writer.store(r#"{"event":"click"}"#).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let mut last = 0;
    for _ in 0..2 {
        let message = stream.next().await.expect("a position");
        let position = message.json();
        assert_eq!((&position["_control"], position["at"].as_str()), (&"position".into(), message.id.as_deref()));
        let at: Cursor = message.id.expect("an id").parse().expect("a cursor");
        assert!(at.sequence > last, "{last}, {at}");
        last = at.sequence;
    }
    storing.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_behind_is_told_that_the_broker_is_away_and_goes_on_when_it_is_back() {
    let (mut broker, writer, service) = service(&[("RING_BYTES", "1MiB")]).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    writer.store_all(&events(1)).await;
    let first = stream.next().await.expect("an event").id.expect("an id");
    // More than the sockets and the ring hold.
    let all: Vec<String> = (0..600).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(20_000))).collect();
    writer.store_all(&all).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream", &[("Last-Event-ID", &first)]).await;
    broker.kill();
    let (mut had, mut feed) = (0, Vec::new());
    while had < all.len() {
        let message = stream.next().await.expect("more");
        if message.event.is_none() {
            assert!(parts(&message.data).2 == all[had], "event {had}");
            had += 1;
            continue;
        }
        feed.push(message.json()["feed"].as_str().expect("news of the feed").to_owned());
        if feed == ["stalled"] {
            assert!(had < all.len() - 100, "told on the way: {had}");
            broker.restart().await;
        }
    }
    assert_eq!(feed.first().map(String::as_str), Some("stalled"));
}

#[tokio::test]
async fn a_stream_is_told_that_the_replica_stops() {
    let (_broker, _writer, service) = service(&[]).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    service.tell_to_stop();
    let goaway = stream.next().await.expect("a farewell").json();
    assert_eq!((&goaway["_control"], &goaway["reason"]), (&"goaway".into(), &"drain".into()));
    assert_eq!(stream.next().await, None);
    service.stop().await;
}

/// Whether a message asks to move because of the stream's age, and says when the stream ends.
fn asks_to_move(message: &Message) -> bool {
    let json = message.json();
    let asked = json["_control"] == "goaway";
    assert!(!asked || (json["reason"] == "max_age" && json["within_ms"] == 1000), "{json}");
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_stream_moves_to_another_replica_and_on_the_way_nothing_is_lost_or_comes_twice() {
    let (broker, writer, first) = service(&[("SESSION_MAX_AGE", "1s"), ("PING_INTERVAL", "1s")]).await;
    let second = Service::with(&broker, &[("SESSION_MAX_AGE", "1s"), ("PING_INTERVAL", "1s")]).await;
    let (mut stream, _) = EventStream::open(first.http, "/api/events/stream", &[]).await;
    let (enough, mut told) = oneshot::channel::<()>();
    // Events go on all the time, also between the end of one stream and the start of the next.
    let storing = tokio::spawn(async move {
        let mut stored = Vec::new();
        while told.try_recv().is_err() {
            stored.push(format!(r#"{{"n":{}}}"#, stored.len()));
            writer.store_all(&stored[stored.len() - 1..]).await;
        }
        stored
    });
    let (mut got, mut last, mut asked) = (Vec::new(), String::new(), false);
    for replica in [&second, &first] {
        while let Some(message) = stream.next().await {
            if message.event.is_some() {
                asked |= asks_to_move(&message);
                continue;
            }
            last = message.id.expect("an id");
            got.push(parts(&message.data).2);
        }
        assert!(std::mem::take(&mut asked), "the stream said that it would end");
        let id = [("Last-Event-ID", last.as_str())];
        let (next, hello) = EventStream::open(replica.http, "/api/events/stream", &id).await;
        assert_eq!((&hello.json()["recovered"], &hello.json()["at"]), (&true.into(), &last.as_str().into()));
        stream = next;
    }
    enough.send(()).expect("still storing");
    let stored = storing.await.expect("no panic");
    while got.len() < stored.len() {
        let message = stream.next().await.expect("an event");
        if message.event.is_none() {
            got.push(parts(&message.data).2);
        }
    }
    assert_eq!(got, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_catches_up_is_asked_to_move_as_well() {
    let (_broker, writer, service) = service(&[("SESSION_MAX_AGE", "1s"), ("PING_INTERVAL", "1s")]).await;
    let (mut behind, _) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    let all: Vec<String> = (0..600).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(20_000))).collect();
    writer.store_all(&all).await;
    // When a later one has ended of age, this one is old as well, with more before it than its socket holds.
    let (mut idle, _) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    while idle.next().await.is_some() {}
    let mut had = 0;
    loop {
        let message = behind.next().await.expect("to be asked to move, before the end");
        if message.event.is_some() && asks_to_move(&message) {
            break;
        }
        assert!(parts(&message.data).2 == all[had], "event {had}");
        had += 1;
    }
    assert!(had < all.len() - 100, "asked on the way, not at the head: {had}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_delays_nobody_and_is_cut_in_time() {
    let (_broker, writer, service) = service(&[("LAG_TIMEOUT", "5s"), ("RING_BYTES", "2MiB")]).await;
    let mut stuck = TcpStream::connect(service.http).await.expect("connected");
    stuck.write_all(&request("GET", "/api/events/stream", &[], b"")).await.expect("sent");
    until("its stream is open", async || service.sessions("sse").await == 1).await;
    let (mut stream, _) = EventStream::open(service.http, "/api/events/stream", &[]).await;
    let mut socket = service.session().await;
    let all: Vec<String> = (0..400).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(20_000))).collect();
    // The next events come only when the others have these.
    for group in all.chunks(20) {
        writer.store_all(group).await;
        read(&mut stream, group).await;
        expect(&mut socket, group).await;
    }
    assert_eq!(service.sessions("sse").await, 2, "the others had everything while it was stuck");
    until("it is cut", async || service.sessions("sse").await == 1).await;
    let mut held = Vec::new();
    // What the kernel held is still there to be read; then the connection has ended, or was reset.
    let _ = soon("the end", stuck.read_to_end(&mut held)).await;
    assert!(held.len() < all.len() * 20_000 - (2 << 20), "it was cut while it was behind the ring: {}", held.len());
    let more = events(3);
    writer.store_all(&more).await;
    read(&mut stream, &more).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_which_a_few_bytes_are_taken_now_and_then_is_cut_in_time() {
    let (_broker, writer, service) = service(&[("LAG_TIMEOUT", "3s"), ("RING_BYTES", "2MiB")]).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let mut trickling = socket.connect(service.http).await.expect("connected");
    trickling.write_all(&request("GET", "/api/events/stream", &[], b"")).await.expect("sent");
    until("its stream is open", async || service.sessions("sse").await == 1).await;
    let all: Vec<String> = (0..400).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(20_000))).collect();
    writer.store_all(&all).await;
    let trickle = tokio::spawn(async move {
        // Some kilobytes a second, less than MIN_RATE_BYTES.
        let mut some = [0; 200];
        while matches!(trickling.read(&mut some).await, Ok(count) if count > 0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    until("it is cut", async || service.sessions("sse").await == 0).await;
    trickle.abort();
}

#[tokio::test]
async fn the_status_tells_what_is_kept_and_what_ingest_reports() {
    let (broker, writer, service) = service(&[]).await;
    writer.store_all(&events(7)).await;
    let client = broker.client().await;
    let report = r#"{"replica":"one","last_refusal":{"name":"signature"}}"#;
    until("the report has come", async || {
        client.publish("mandrill.status.ingest", report.into()).await.expect("published");
        client.publish("mandrill.status.ingest", "nonsense".into()).await.expect("published");
        !get(service.http, "/api/status").await.json()["ingest"].as_array().expect("a list").is_empty()
    })
    .await;
    until("the span is fresh", async || get(service.http, "/api/status").await.json()["stream"]["messages"] == 7).await;
    let answer = get(service.http, "/api/status/").await;
    let status = answer.json();
    assert_eq!((&status["feed"]["state"], &status["ring"]["events"]), (&"live".into(), &7.into()));
    assert_eq!(status["ingest"][0]["last_refusal"]["name"], "signature");
    assert_eq!(status["ingest"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn pages_of_allowed_sites_may_call_the_api_and_others_may_not() {
    let variables = [("PUBLIC_URLS", "http://localhost"), ("ALLOWED_ORIGINS", "https://app.example.com")];
    let (_broker, _writer, service) = service(&variables).await;
    let call = async |method: &str, origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "GET")];
        send(service.http, method, "/api/status", &headers, b"").await
    };
    let allowed = call("GET", "https://app.example.com").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(allowed.header("access-control-expose-headers"), Some("Retry-After, WWW-Authenticate"));
    assert_eq!(allowed.header("vary"), Some("Origin"));
    let preflight = call("OPTIONS", "https://app.example.com").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, Some("GET, HEAD, OPTIONS")));
    for method in ["GET", "OPTIONS"] {
        let foreign = call(method, "https://evil.example.net").await;
        assert!(matches!(foreign.status, 403 | 405), "{method}: {}", foreign.status);
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
}
