//! The whole way, as a user has it: `mandrill-live up` beside a broker, `mandrill-live send`, sockets.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::process::Command;

use shared::synthetic::SyntheticEvents;
use shared::testing::broker::Broker;
use shared::testing::http;
use shared::testing::process::Process;
use shared::testing::websocket::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mandrill-live");
const EVENTS: usize = 1000;
const SESSIONS: usize = 50;

async fn up(broker: &Broker, variables: &[(&str, &str)]) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("up");
    let url = broker.url();
    let base = [("NATS_URL", url.as_str()), ("ALLOW_ANONYMOUS", "true"), ("DRAIN_SECONDS", "2")];
    Process::start(command, &[&base, variables].concat()).await
}

async fn socket(up: &Process) -> Client {
    let host = up.address.to_string();
    Client::connect(up.address, "/ws/email/", &[("Host", host.as_str())]).await
}

/// The two fields that are added in front, taken off again.
fn as_sent(frame: &str) -> String {
    let rest = frame.strip_prefix(r#"{"_cursor":""#).expect("the cursor in front");
    let (cursor, rest) = rest.split_once(r#"","_received":"#).expect("then the time");
    assert_eq!(cursor.len(), 32, "{cursor}");
    let (received, fields) = rest.split_once(',').expect("then Mandrill's fields");
    assert!(received.parse::<u64>().expect("milliseconds") > 1_700_000_000_000);
    format!("{{{fields}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_batch_reaches_every_session_completely_in_order_and_unchanged() {
    let broker = Broker::start().await;
    let keys = [("MANDRILL_WEBHOOK_URLS", http::WEBHOOK.url), ("MANDRILL_WEBHOOK_KEYS", http::WEBHOOK.key)];
    let up = up(&broker, &keys).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(socket(&up).await);
    }
    let mut send = Command::new(PROGRAM);
    send.args(["send", "--events", "1000", "--batch", "1000", "--seed", "7"])
        .args(["--url", &format!("http://{}/api/hook/", up.address)])
        .args(["--key", http::WEBHOOK.key, "--signed-url", http::WEBHOOK.url])
        .env_clear();
    let sent = tokio::task::spawn_blocking(move || send.output()).await.expect("no panic").expect("send runs");
    let summary = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(sent.status.success(), "{summary} {}", String::from_utf8_lossy(&sent.stderr));
    assert!(summary.lines().any(|line| line.split_whitespace().eq(["accepted", "1000"])), "{summary}");

    let reads = sessions.into_iter().map(|mut session| {
        tokio::spawn(async move {
            let mut frames = Vec::with_capacity(EVENTS);
            for _ in 0..EVENTS {
                frames.push(as_sent(&session.text().await));
            }
            frames
        })
    });
    let mut first: Option<Vec<String>> = None;
    for read in reads.collect::<Vec<_>>() {
        let frames = read.await.expect("all frames");
        assert!(first.get_or_insert_with(|| frames.clone()) == &frames, "every session has the same");
    }
    // What was sent is known: the same seed makes the same events, but for the time they begin at.
    let frames = first.expect("sessions");
    let start = serde_json::from_str::<serde_json::Value>(&frames[0]).expect("JSON")["ts"].as_u64().expect("a time");
    let expected = (start.saturating_sub(2)..=start + 2)
        .map(|now| SyntheticEvents::new(7, &[], now).take(EVENTS).collect::<Vec<_>>())
        .find(|events| events[0] == frames[0]);
    assert!(expected.expect("the events that were sent") == frames, "in order, byte for byte");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_event_is_followed_short_and_fetched_whole() {
    let broker = Broker::start().await;
    let keys = [("MANDRILL_WEBHOOK_URLS", http::WEBHOOK.url), ("MANDRILL_WEBHOOK_KEYS", http::WEBHOOK.key)];
    let up = up(&broker, &keys).await;
    let mut session = socket(&up).await;
    let (host, text) = (up.address.to_string(), "An attachment, \\u00e9. ".repeat(40_000));
    let event = format!(r#"{{"event":"inbound","msg":{{"email":"inbox@example.com","raw_msg":"{text}"}},"ts":7}}"#);
    let (body, signature) = http::WEBHOOK.sign(&format!("[{event}]"));
    let headers = [
        ("Host", host.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Mandrill-Signature", signature.as_str()),
    ];
    let answer = http::send(up.address, "POST", "/api/hook/", &headers, body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &1.into()));

    let frame = session.text().await;
    let short: serde_json::Value = serde_json::from_str(&frame).expect("JSON");
    assert!(frame.len() < 4096 && short["msg"]["email"] == "inbox@example.com", "{frame}");
    assert_eq!(short["_large"]["bytes"], event.len());
    let path = format!("/api/large/{}", short["_large"]["object"].as_str().expect("a name"));
    let whole = http::send(up.address, "GET", &path, &[("Host", host.as_str())], b"").await;
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("application/json")));
    assert!(whole.body == event.as_bytes(), "{} bytes, byte for byte as Mandrill sent them", whole.body.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_projects_json_post_and_page_work_as_they_are() {
    let broker = Broker::start().await;
    let up = up(&broker, &[("ALLOW_UNSIGNED", "true")]).await;
    let mut page = socket(&up).await;
    let host = up.address.to_string();
    let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
    let event = r#"{"event":"send","_id":"m1","msg":{"email":"a@example.com","state":"sent"}}"#;
    let body = format!(r#"{{"mandrill_events":[{event}]}}"#);
    let answer = http::send(up.address, "POST", "/api/mandrill/hook/", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let frame: serde_json::Value = serde_json::from_str(&page.text().await).expect("JSON");
    assert_eq!((&frame["event"], &frame["_id"]), (&"send".into(), &"m1".into()));
    assert_eq!((&frame["msg"]["email"], &frame["msg"]["state"]), (&"a@example.com".into(), &"sent".into()));
    assert_eq!(http::send(up.address, "POST", "/api/hook/", &headers, b"{}").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_can_neither_post_nor_listen() {
    let broker = Broker::start().await;
    let up = up(&broker, &[("ALLOW_UNSIGNED", "true")]).await;
    let body = br#"{"mandrill_events":[{}]}"#;
    let own = up.address.to_string();
    let post = async |host: &str, origin: &str| {
        let headers = [("Host", host), ("Origin", origin), ("Content-Type", "application/json")];
        http::send(up.address, "POST", "/api/hook/", &headers, body).await.status
    };
    assert_eq!(post(&own, "https://evil.example.net").await, 403);
    assert_eq!(post("rebound.example.net", "http://rebound.example.net").await, 421);
    assert_eq!(post(&own, &format!("http://{own}")).await, 200);
    let rebound = Client::try_connect(up.address, "/ws/email/", &[("Host", "rebound.example.net")]).await;
    assert!(rebound.head.starts_with("HTTP/1.1 421"), "{}", rebound.head);
}
