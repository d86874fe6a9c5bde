//! Every limit has its answer, at once, and an attack costs no more memory than the documents say.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::{soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Ingest, batch, counts, signed, unsigned};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// Reads until the other side closes; what came.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = soon("the connection is closed", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_announcement() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("MAX_BODY_BYTES", "64KiB")).await;
    let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
    // Only the head is sent: the answer cannot wait for what will not be used.
    let head = "POST /api/hook/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 65537\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_where_it_passes_the_limit() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("MAX_BODY_BYTES", "64KiB")).await;
    let mut body = Vec::new();
    for _ in 0..20 {
        body.extend_from_slice(format!("{:x}\r\n{}\r\n", 8192, "a".repeat(8192)).as_bytes());
    }
    body.extend_from_slice(b"0\r\n\r\n");
    let headers = [FORM, ("Transfer-Encoding", "chunked"), ("Content-Length", "")];
    let headers = &headers[..2];
    let mut request = http::request("POST", "/api/hook/", headers, b"");
    request.extend_from_slice(&body);
    assert_eq!(http::exchange(ingest.address, &request).await.status, 413);
}

#[tokio::test]
async fn a_large_body_up_to_the_limit_is_taken() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let long = format!(r#"[{{"event":"open","x":"{}"}}]"#, "y".repeat(60 << 20));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &long).await), (1, 0, 0));
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_over_all_requests() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("MAX_INFLIGHT_BYTES", "1MiB").or("MAX_BODY_BYTES", "1MiB")).await;
    // One sender holds most of the memory and stops in the middle of its body.
    let mut slow = TcpStream::connect(ingest.address).await.expect("connected");
    let head = "POST /api/hook/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\n";
    slow.write_all(head.as_bytes()).await.expect("written");
    slow.write_all(&vec![b'a'; 900_000]).await.expect("written");
    until("its bytes are held", async || ingest.metrics().await.contains("in_flight_bytes 900000")).await;
    let large = format!(r#"[{{"x":"{}"}}]"#, "y".repeat(300_000));
    let answer = WEBHOOK.post(ingest.address, &large).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["type"], "urn:mandrill-live:problem:busy");
    assert!(answer.header("retry-after").is_some());
    // Small ones go on; and with the slow one gone, so do large ones.
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &batch("small", 1)).await), (1, 0, 0));
    drop(slow);
    until("the memory is free again", async || WEBHOOK.post(ingest.address, &large).await.status == 200).await;
    assert!(ingest.metrics().await.contains("in_flight_bytes 0"));
}

#[tokio::test]
async fn what_a_sender_has_sent_counts_until_its_commit_has_ended_also_when_it_has_left() {
    let broker = Broker::start().await;
    let limits = signed(&broker).or("MAX_CONNECTIONS", "1").or("COMMIT_TIMEOUT", "5m");
    let ingest = Ingest::start(limits).await;
    // In the stream's place, somebody who acknowledges when the test says so.
    let client = broker.client().await;
    let context = async_nats::jetstream::new(client.clone());
    context.delete_stream("MANDRILL").await.expect("deleted");
    let mut published = client.subscribe("mandrill.events.>").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let batch = format!(r#"[{{"event":"open","x":"{}"}}]"#, "y".repeat(100_000));
    let held = format!("in_flight_bytes {}\n", WEBHOOK.sign(&batch).0.len());
    let mut sender = TcpStream::connect(ingest.address).await.expect("connected");
    sender.write_all(&WEBHOOK.request("/api/hook/", &batch)).await.expect("written");
    let mut message = soon("its commit is under way", published.next()).await.expect("a message");
    drop(sender);
    // There is room for one: when another is served, the first has ended.
    until("its end is noticed", async || {
        let head = http::request("HEAD", "/api/hook/", &[], b"");
        http::try_exchange(ingest.address, &head).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    let metrics = ingest.metrics().await;
    assert!(metrics.contains(&held), "{held} in {metrics}");
    // Each attempt waits for an answer of its own.
    let acknowledge = async {
        loop {
            let reply = message.reply.take().expect("a request");
            client.publish(reply, r#"{"stream":"MANDRILL","seq":1}"#.into()).await.expect("published");
            message = published.next().await.expect("a message");
        }
    };
    let freed = until("its bytes are free", async || ingest.metrics().await.contains("in_flight_bytes 0\n"));
    tokio::select! { () = acknowledge => {}, () = freed => {} }
}

#[tokio::test]
async fn connections_are_bounded_and_one_more_is_told_so() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("MAX_CONNECTIONS", "3")).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(ingest.address).await.expect("connected"));
    }
    let mut refused = String::new();
    until("one more is refused", async || {
        let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
        refused = rest(&mut stream).await;
        !refused.is_empty()
    })
    .await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After: 5"), "{refused}");
    let metrics = ingest.metrics().await;
    let counted = |line: &str| line.starts_with(r#"mandrill_live_ingest_requests_total{outcome="connections"}"#);
    let counted = metrics.lines().find(|line| counted(line)).expect("a counter");
    assert!(!counted.ends_with("} 0"), "{counted}");
    drop(held);
    until("there is room again", async || {
        let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
        stream.write_all(&http::request("HEAD", "/api/hook/", &[], b"")).await.expect("written");
        rest(&mut stream).await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn a_head_that_never_ends_and_a_body_that_stops_are_cut() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let started = Instant::now();
    let half_head = async {
        let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
        stream.write_all(b"POST /api/hook/ HTTP/1.1\r\nHost: a\r\nX-").await.expect("written");
        rest(&mut stream).await
    };
    let half_body = async {
        let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
        let request = http::request("POST", "/api/hook/", &[FORM, ("Content-Length", "100")], b"mandrill_events=");
        stream.write_all(&request).await.expect("written");
        rest(&mut stream).await
    };
    let idle = async {
        let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
        stream.write_all(b"HEAD /api/hook/ HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        rest(&mut stream).await
    };
    let (_, body, idle) = tokio::join!(half_head, half_body, idle);
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let long = "x".repeat(40_000);
    let answer = http::send(ingest.address, "POST", "/api/hook/", &[FORM, ("X-Long", &long)], b"").await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn forms_of_a_million_fields_and_nesting_of_a_million_levels_are_answered() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(unsigned(&broker)).await;
    let post = async |body: &str| http::send(ingest.address, "POST", "/api/hook/", &[FORM], body.as_bytes()).await;
    let answer = post(&"a=&".repeat(1_000_000)).await;
    assert_eq!((answer.status, &answer.json()["type"]), (400, &"urn:mandrill-live:problem:form".into()));
    let deep = format!("mandrill_events=[{{\"x\":{}{}}}]", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(counts(&post(&deep).await), (1, 0, 0));
    assert_eq!(post(&format!("mandrill_events={}", "[".repeat(1_000_000))).await.status, 400);
    let many = format!("mandrill_events=[{}{{}}]", "{},".repeat(1_000_000));
    assert_eq!(post(&many).await.status, 400);
}
