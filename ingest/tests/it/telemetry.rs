//! What people are told: metrics, the status message, traces. And what they are not: secrets, content.

use std::process::Command;

use futures_util::StreamExt;
use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::log::Log;
use shared::testing::process::Process;
use shared::testing::soon;

use crate::harness::{Ingest, batch, counts, signed, stored};

#[tokio::test]
async fn what_happens_is_counted_by_names_of_ours() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    WEBHOOK.post(ingest.address, &batch("m", 3)).await;
    WEBHOOK.post(ingest.address, &batch("m", 4)).await;
    WEBHOOK.post(ingest.address, r#"[{"event":"made_up"},7]"#).await;
    http::send(ingest.address, "POST", "/api/hook/", &[("Content-Type", "text/plain")], b"x").await;
    let metrics = ingest.metrics().await;
    for line in [
        "mandrill_live_ingest_requests_total{outcome=\"accepted\"} 3",
        "mandrill_live_ingest_requests_total{outcome=\"content-type\"} 1",
        "mandrill_live_ingest_events_total{kind=\"open\"} 7",
        "mandrill_live_ingest_events_total{kind=\"other\"} 1",
        "mandrill_live_ingest_events_total{kind=\"hard_bounce\"} 0",
        "mandrill_live_ingest_duplicates_total 3",
        "mandrill_live_ingest_rejected_total 1",
        "mandrill_live_ingest_batch_events_count 3",
        "mandrill_live_ingest_commit_seconds_count 3",
        "mandrill_live_ingest_bodies_in_flight_bytes 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\nin {metrics}");
    }
    assert!(metrics.contains("mandrill_live_ingest_last_batch_age_seconds"), "{metrics}");
    assert!(!metrics.contains("made_up") && metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_status_message_says_why_nothing_arrives() {
    let broker = Broker::start().await;
    let mut status = broker.client().await.subscribe("mandrill.status.ingest").await.expect("subscribed");
    let ingest = Ingest::start(signed(&broker)).await;
    counts(&WEBHOOK.post(ingest.address, &batch("s", 2)).await);
    let forger = http::Webhook { key: "another", ..WEBHOOK };
    let request = forger.request("/api/hook", &batch("s", 1));
    http::exchange(ingest.address, &request).await;
    let message = soon("a status with the refusal", async {
        loop {
            let message = status.next().await.expect("a status");
            let text = String::from_utf8(message.payload.to_vec()).expect("text");
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if !json["last_refusal"].is_null() {
                assert!(!text.contains(WEBHOOK.key) && !text.contains("example.com\",") && !text.contains("another"));
                return json;
            }
        }
    })
    .await;
    assert_eq!(message["authentication"], "signed");
    assert_eq!(message["urls"][0], WEBHOOK.url);
    assert_eq!((&message["events"], &message["requests"]["accepted"]), (&2.into(), &1.into()));
    assert_eq!(message["requests"]["signature"], 1);
    assert!(message["last_batch_ms"].as_u64() > Some(1_700_000_000_000));
    assert_eq!(message["last_refusal"]["name"], "signature");
    assert!(message["last_refusal"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
}

#[tokio::test]
async fn an_empty_batch_is_a_check_and_no_batch() {
    let broker = Broker::start().await;
    let mut status = broker.client().await.subscribe("mandrill.status.ingest").await.expect("subscribed");
    let ingest = Ingest::start(signed(&broker)).await;
    for key in [WEBHOOK.key, "test-webhook"] {
        counts(&http::Webhook { key, ..WEBHOOK }.post(ingest.address, "[]").await);
    }
    // A refusal, to know a status that was made after them.
    http::Webhook { key: "another", ..WEBHOOK }.post(ingest.address, &batch("e", 1)).await;
    let message = soon("a status with the refusal", async {
        loop {
            let message = status.next().await.expect("a status");
            let json: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
            if !json["last_refusal"].is_null() {
                return json;
            }
        }
    })
    .await;
    assert!(message["last_batch_ms"].is_null() && message["requests"]["accepted"].is_null(), "{message}");
    let metrics = ingest.metrics().await;
    for line in [
        "mandrill_live_ingest_requests_total{outcome=\"check\"} 2",
        "mandrill_live_ingest_batch_events_count 0",
        "mandrill_live_ingest_commit_seconds_count 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\nin {metrics}");
    }
    assert!(!metrics.contains("ingest_last_batch_age_seconds"), "{metrics}");
}

#[tokio::test]
async fn a_requests_trace_is_carried_into_its_messages() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (sort, count) in [("one", 1), ("many", 20)] {
        let (body, signature) = WEBHOOK.sign(&batch(sort, count));
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("X-Mandrill-Signature", &signature),
            ("traceparent", trace),
        ];
        counts(&http::send(ingest.address, "POST", "/api/hook/", &headers, body.as_bytes()).await);
    }
    WEBHOOK.post(ingest.address, &batch("none", 1)).await;
    let traces: Vec<bool> = stored(&broker, "MANDRILL")
        .await
        .iter()
        .map(|message| message.headers.get("traceparent").is_some_and(|found| found.as_str() == trace))
        .collect();
    assert_eq!(traces, [vec![true; 21], vec![false]].concat());
}

#[tokio::test]
async fn the_admin_listener_has_its_own_paths_only() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    for (path, status) in
        [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/metrics/", 200), ("/api/hook/", 404)]
    {
        assert_eq!(http::get(ingest.admin, path).await.status, status, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(http::get(ingest.address, path).await.status, 404, "{path} is not public");
    }
}

#[tokio::test]
async fn no_log_line_holds_a_key_a_signature_an_address_or_content() {
    let mut broker = Broker::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
    let log = Log::of(&mut command);
    let own = http::Webhook { url: "https://user:passw0rd@hooks.example.com/api/hook/", ..WEBHOOK };
    let other = http::Webhook { key: "an0ther-key", ..own };
    let url = broker.url();
    let variables = [
        ("NATS_URL", url.as_str()),
        ("MANDRILL_WEBHOOK_URLS", own.url),
        ("MANDRILL_WEBHOOK_KEYS", own.key),
        ("LARGE_EVENT_BYTES", "4KiB"),
        ("COMMIT_TIMEOUT", "1s"),
        ("RUST_LOG", "info,ingest=trace,shared=trace"),
    ];
    let process = Process::start(command, &variables).await;
    let event = r#"{"event":"open","msg":{"email":"private.person@example.com","subject":"confidential"}}"#;
    let large = format!(r#"[{{"event":"confidential","text":"{}"}}]"#, "confidential ".repeat(1000));
    let mut secrets = vec![own.key.to_owned(), other.key.to_owned(), "private.person".to_owned()];
    secrets.extend(["confidential", "passw0rd"].map(str::to_owned));
    let batches = [&format!("[{event}]"), &format!("[{event},\"confidential\"]"), "confidential", &large];
    for webhook in [&own, &other] {
        for batch in batches {
            webhook.post(process.address, batch).await;
            secrets.push(webhook.sign(batch).1);
        }
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    http::send(process.address, "POST", "/api/hook/", &form, b"confidential=1&confidential=2").await;
    broker.kill();
    own.post(process.address, r#"[{"event":"confidential"}]"#).await;
    drop(process);
    let log = log.text();
    for told in ["signature is missing or wrong", "put aside", "was not stored", "refusal=\"form\""] {
        assert!(log.contains(told), "{told}\nin {log}");
    }
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}\nin {log}");
    }
}

/// What would end a line and begin another, or move a terminal's cursor, as far as HTTP lets it through.
const FORGED: &str = "\\n2026-01-01T00:00:00.000000Z ERROR ingest: forged\u{9b}2J";

#[tokio::test]
async fn no_sender_writes_a_line_of_the_log() {
    let broker = Broker::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
    let log = Log::of(&mut command);
    let url = broker.url();
    let variables = [
        ("NATS_URL", url.as_str()),
        ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url),
        ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key),
        ("RUST_LOG", "info,ingest=trace,shared=trace"),
    ];
    let process = Process::start(command, &variables).await;
    let path = "/api/hook/?%0A2026-01-01T00:00:00.000000Z%20ERROR%20ingest:%20forged%1B[2J";
    let headers = [
        ("Host", FORGED),
        ("X-Forwarded-Proto", FORGED),
        ("X-Mandrill-Signature", FORGED),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    for path in [path, "/api/hook/", "/%0Aforged"] {
        http::send(process.address, "POST", path, &headers, b"mandrill_events=[]").await;
        http::send(process.address, "POST", path, &headers[1..], b"mandrill_events=[]").await;
    }
    http::send(process.address, FORGED, "/", &[], b"").await;
    let forged = "\n2026-01-01T00:00:00.000000Z ERROR ingest: forged\u{1b}[2J\u{9b}2J";
    let element = serde_json::json!(forged).to_string();
    let event = serde_json::json!({"event": forged, "_id": forged, "msg": {"email": forged}}).to_string();
    for batch in [format!("[{element},{event}]"), forged.to_owned(), format!("[{{\"event\":\"{forged}\"}}]")] {
        WEBHOOK.post(process.address, &batch).await;
    }
    drop(process);
    assert!(log.text().contains("signature is missing or wrong") && log.text().contains("put aside"), "{}", log.text());
    log.is_the_services_own();
}
