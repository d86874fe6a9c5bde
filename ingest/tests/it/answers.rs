//! The table of answers: one test a row.

use std::time::Duration;

use shared::signature;
use shared::testing::broker::Broker;
use shared::testing::http::{self, Answer, WEBHOOK};
use shared::testing::until;

use crate::harness::{Ingest, batch, counts, events, signed, stored, unsigned};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn is_problem(answer: &Answer, status: u16, name: &str) {
    assert_eq!(answer.status, status, "{} {}", answer.head, String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:mandrill-live:problem:{name}"));
    assert_eq!(problem["status"], status);
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
}

#[tokio::test]
async fn mandrills_check_of_a_url_is_answered_before_any_key_exists() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(broker.environment()).await;
    for path in ["/api/hook/", "/api/hook", "/api/mandrill/hook/", "/api/mandrill/hook"] {
        let answer = http::send(ingest.address, "HEAD", path, &[], b"").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
    let signature = signature::sign(signature::TEST_KEY, WEBHOOK.url, &[(b"mandrill_events", b"[]")]);
    let headers = [FORM, ("X-Mandrill-Signature", &signature)];
    let answer = http::send(ingest.address, "POST", "/api/hook/", &headers, b"mandrill_events=%5B%5D").await;
    assert_eq!(counts(&answer), (0, 0, 0));
}

#[tokio::test]
async fn a_batch_is_on_disk_when_it_is_answered() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let answer = WEBHOOK.post(ingest.address, &batch("a", 3)).await;
    assert_eq!(counts(&answer), (3, 0, 0));
    let stored = stored(&broker, "MANDRILL").await;
    assert_eq!(stored.len(), 3);
    let hash = shared::subject::RecipientHash::of("a@example.com");
    assert_eq!(stored[1].subject, format!("mandrill.events.open.{hash}.a1"));
    assert_eq!(stored[1].payload, r#"{"event":"open","_id":"a1","msg":{"email":"a@example.com"},"ts":1}"#);
    assert_eq!(stored[1].headers.get("Nats-Msg-Id").map(|id| id.as_str().len()), Some(32));
}

#[tokio::test]
async fn the_original_projects_json_is_taken_signed_or_in_development() {
    let broker = Broker::start().await;
    let array = r#"[ {"event":"open","_id":"j1"}, {"event":"send","_id":"j2"} ]"#;
    let body = format!(r#"{{"mandrill_events": {array}}}"#);
    let ingest = Ingest::start(signed(&broker)).await;
    let signature = signature::sign(WEBHOOK.key, WEBHOOK.url, &[(b"mandrill_events", array.as_bytes())]);
    let post = async |headers: &[(&str, &str)]| {
        http::send(ingest.address, "POST", "/api/mandrill/hook", headers, body.as_bytes()).await
    };
    assert_eq!(counts(&post(&[JSON, ("X-Mandrill-Signature", &signature)]).await), (2, 0, 0));
    is_problem(&post(&[JSON]).await, 401, "signature");

    let development = Ingest::start(unsigned(&broker)).await;
    let answer = http::send(development.address, "POST", "/api/hook/", &[JSON], body.as_bytes()).await;
    assert_eq!(counts(&answer), (0, 2, 0));
    is_problem(&http::send(development.address, "POST", "/api/hook/", &[JSON], b"{}").await, 400, "content");
}

#[tokio::test]
async fn the_public_test_key_is_good_for_an_empty_batch_only() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let forger = http::Webhook { key: signature::TEST_KEY, ..WEBHOOK };
    assert_eq!(counts(&forger.post(ingest.address, "[]").await), (0, 0, 0));
    is_problem(&forger.post(ingest.address, "[{}]").await, 401, "signature");
    is_problem(&forger.post(ingest.address, "[").await, 401, "signature");
}

#[tokio::test]
async fn two_signatures_are_none() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let (body, right) = WEBHOOK.sign(&batch("s", 1));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for other in [right.as_str(), "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", ""] {
        for [first, second] in [[right.as_str(), other], [other, &right]] {
            let headers = [form, ("X-Mandrill-Signature", first), ("X-Mandrill-Signature", second)];
            let answer = http::send(ingest.address, "POST", "/api/hook/", &headers, body.as_bytes()).await;
            is_problem(&answer, 401, "signature");
        }
    }
    assert_eq!(events(&broker).await, [""; 0]);
}

#[tokio::test]
async fn a_real_batch_waits_at_mandrill_while_no_key_is_configured() {
    let broker = Broker::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let environment =
        broker.environment().or("MANDRILL_WEBHOOK_URLS", WEBHOOK.url).or("MANDRILL_WEBHOOK_KEYS_FILE", path);
    let ingest = Ingest::start(environment).await;
    let answer = WEBHOOK.post(ingest.address, &batch("w", 1)).await;
    is_problem(&answer, 503, "no-key");
    assert!(answer.header("retry-after").is_some());
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("MANDRILL_WEBHOOK_KEYS")));
    assert_eq!(events(&broker).await, [""; 0]);
    // The key arrives where it was said it would, and the service goes on with it.
    std::fs::write(path, WEBHOOK.key).expect("written");
    until("the key is in force", async || WEBHOOK.post(ingest.address, &batch("w", 1)).await.status == 200).await;
}

#[tokio::test]
async fn what_is_authentic_but_unusable_is_kept_and_answered_200() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    assert_eq!(counts(&WEBHOOK.post(ingest.address, "GARBAGE \r\n \u{e9}").await), (0, 0, 1));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, r#"[{"a":1},7,{"a":2},"x"]"#).await), (2, 0, 2));
    // Sent again, it is kept once.
    assert_eq!(counts(&WEBHOOK.post(ingest.address, "GARBAGE \r\n \u{e9}").await), (0, 0, 1));
    let kept = stored(&broker, "MANDRILL_REJECTED").await;
    let contents: Vec<&str> = kept.iter().map(|message| message.payload.as_str()).collect();
    assert_eq!(contents, ["GARBAGE \r\n \u{e9}", "7", "\"x\""]);
    let reason = |at: usize| kept[at].headers.get("Mandrill-Live-Reason").map(|reason| reason.as_str().to_owned());
    assert_eq!(reason(0).as_deref(), Some("the value is not JSON (from byte 0 on)"));
    assert_eq!(reason(1).as_deref(), Some("element 1 of the array is not an object"));
    assert_eq!(events(&broker).await.len(), 2);
}

#[tokio::test]
async fn unusable_content_larger_than_a_message_is_kept_as_an_object() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let garbage = "x".repeat(9 << 20);
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &garbage).await), (0, 0, 1));
    let kept = stored(&broker, "MANDRILL_REJECTED").await;
    let name = kept[0].headers.get("Mandrill-Live-Object").expect("an object's name").as_str();
    let context = async_nats::jetstream::new(broker.client().await);
    let bucket = context.get_object_store("MANDRILL_LARGE").await.expect("the bucket");
    assert_eq!(bucket.info(name).await.expect("the object").size, garbage.len());
}

#[tokio::test]
async fn unsigned_and_unusable_is_refused() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(unsigned(&broker)).await;
    let post =
        async |header, body: &str| http::send(ingest.address, "POST", "/api/hook/", &[header], body.as_bytes()).await;
    for body in ["", "something=else", "mandrill_events=GARBAGE", "mandrill_events=%7B%7D", "mandrill_events="] {
        is_problem(&post(FORM, body).await, 400, "content");
    }
    for body in ["", "{}", "[]", "GARBAGE", r#"{"mandrill_events":{}}"#] {
        is_problem(&post(JSON, body).await, 400, "content");
    }
    is_problem(&post(FORM, "mandrill_events=%5B%5D&mandrill_events=%5B%5D").await, 400, "form");
    assert_eq!(stored(&broker, "MANDRILL_REJECTED").await.len(), 0);
}

#[tokio::test]
async fn unsigned_batches_are_not_taken_from_pages_of_other_sites() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(unsigned(&broker).or("PUBLIC_URLS", "http://localhost")).await;
    let body = b"mandrill_events=%5B%7B%7D%5D";
    let post = async |headers: &[(&str, &str)]| http::send(ingest.address, "POST", "/api/hook/", headers, body).await;
    is_problem(&post(&[FORM, ("Origin", "https://evil.example.net")]).await, 403, "cross-site");
    is_problem(&post(&[FORM, ("Origin", "null")]).await, 403, "cross-site");
    is_problem(&post(&[FORM, ("Sec-Fetch-Site", "cross-site")]).await, 403, "cross-site");
    is_problem(&post(&[FORM, ("Host", "rebound.example.net")]).await, 421, "host");
    assert_eq!(events(&broker).await.len(), 0);
    assert_eq!(counts(&post(&[FORM, ("Origin", "http://localhost")]).await), (1, 0, 0));
}

#[tokio::test]
async fn other_methods_paths_and_types_are_refused_with_what_is_right() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = http::send(ingest.address, method, "/api/hook/", &[], b"").await;
        is_problem(&answer, 405, "method");
        assert_eq!(answer.header("allow"), Some("HEAD, OPTIONS, POST"));
    }
    let options = http::send(ingest.address, "OPTIONS", "/api/hook", &[], b"").await;
    assert_eq!((options.status, options.header("allow")), (204, Some("HEAD, OPTIONS, POST")));
    for path in ["/", "/api", "/api/hook//", "/api/hook/x", "/API/hook"] {
        is_problem(&http::send(ingest.address, "POST", path, &[FORM], b"a=1").await, 404, "not-found");
    }
    let typed = async |headers: &[(&str, &str)]| http::send(ingest.address, "POST", "/api/hook", headers, b"a=1").await;
    is_problem(&typed(&[("Content-Type", "text/plain")]).await, 415, "content-type");
    is_problem(&typed(&[]).await, 415, "content-type");
    is_problem(&typed(&[FORM, ("Content-Encoding", "gzip")]).await, 415, "content-type");
    is_problem(&typed(&[FORM]).await, 401, "signature");
    is_problem(&typed(&[FORM, ("X-Mandrill-Signature", "x"), ("X-Mandrill-Signature", "x")]).await, 401, "signature");
}

#[tokio::test]
async fn keys_and_urls_are_all_tried() {
    let broker = Broker::start().await;
    let other = http::Webhook { url: "https://hooks.example.com:443/old?a=1,2", key: "ExampleKey_retired-0000" };
    let environment = broker
        .environment()
        .or("MANDRILL_WEBHOOK_URLS", &format!("{},{}", WEBHOOK.url, other.url))
        .or("MANDRILL_WEBHOOK_KEYS", &format!("{},{}", WEBHOOK.key, other.key));
    let ingest = Ingest::start(environment).await;
    for (at, (url, key)) in
        [(WEBHOOK.url, WEBHOOK.key), (WEBHOOK.url, other.key), (other.url, WEBHOOK.key), (other.url, other.key)]
            .into_iter()
            .enumerate()
    {
        let answer = http::Webhook { url, key }.post(ingest.address, &batch(&format!("p{at}-"), 1)).await;
        assert_eq!(counts(&answer), (1, 0, 0), "{url} {key}");
    }
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_no_more() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let broker = Broker::start().await;
    let mut ingest = Ingest::start(signed(&broker)).await;
    let request = WEBHOOK.request("/api/hook/", &batch("stop", 50));
    let mut stream = tokio::net::TcpStream::connect(ingest.address).await.expect("connected");
    let (front, rest) = request.split_at(request.len() / 2);
    stream.write_all(front).await.expect("written");
    // The request is known to have been begun once a second one has been answered.
    WEBHOOK.post(ingest.address, "[]").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    ingest.stop.cancel();
    until("no new connection", async || tokio::net::TcpStream::connect(ingest.address).await.is_err()).await;
    stream.write_all(rest).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    shared::testing::soon("it ends", &mut ingest.running).await.expect("without a panic");
    assert_eq!(events(&broker).await.len(), 50);
}
