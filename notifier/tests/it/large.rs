//! The originals of large events.

use async_nats::jetstream::object_store::ObjectMetadata;
use serde_json::{Value, json};
use shared::testing::broker::Broker;
use shared::testing::http::{Answer, get, send};
use shared::testing::{soon, until};
use shared::{event, stream, subject};
use tokio::io::AsyncReadExt;

use crate::support::tokens::{SECRET, Signer, claims, now};
use crate::support::{Service, Writer};

const ID: &str = "abcdefghijklmnopqrstuvwxyzABCD-_";

/// Keeps an event as ingest keeps large ones: whole as an object, its short form in the stream.
async fn keep(writer: &Writer, id: &str, whole: &str) {
    let short = format!(r#"{{"_large":{{"object":"{id}","bytes":{}}},{}"#, whole.len(), &short(whole)[1..]);
    let bucket = writer.context().get_object_store(stream::large_name("MANDRILL")).await.expect("a bucket");
    let subject = subject::of_event(&event::fields(whole));
    let metadata = ObjectMetadata {
        name: id.to_owned(),
        metadata: [(stream::LARGE_SUBJECT_KEY.to_owned(), subject)].into(),
        ..ObjectMetadata::default()
    };
    bucket.put(metadata, &mut whole.as_bytes()).await.expect("put");
    writer.store(&short).await;
}

/// More than all buffers between hold.
const HUGE: usize = 24_000_000;

fn whole(person: &str) -> String {
    whole_of(person, 3_000_000)
}

fn whole_of(person: &str, length: usize) -> String {
    json!({"event": "inbound", "msg": {"email": person, "text": "x".repeat(length)}}).to_string()
}

fn short(whole: &str) -> String {
    let mut value: Value = serde_json::from_str(whole).expect("JSON");
    value["msg"]["text"] = "x".into();
    value.to_string()
}

async fn ask(service: &Service, id: &str, token: &str, more: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers: Vec<(&str, &str)> =
        [("Authorization", bearer.as_str())].into_iter().chain(more.iter().copied()).collect();
    send(service.http, "GET", &format!("/api/large/{id}"), &headers, b"").await
}

#[tokio::test]
async fn a_large_event_is_given_whole_to_those_who_may_see_it() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let original = whole("ann@example.com");
    keep(&writer, ID, &original).await;
    let signer = Signer::secret(SECRET);
    let everybody = signer.sign(&claims(json!({})));
    let answer = ask(&service, ID, &everybody, &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("content-length"), Some(original.len().to_string().as_str()));
    assert!(answer.body == original.as_bytes(), "byte for byte");
    let etag = answer.header("etag").expect("a tag").to_owned();
    let known = ask(&service, ID, &everybody, &[("If-None-Match", &etag)]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));

    let ann = signer.sign(&claims(json!({"filter": {"email": "ann@example.com"}})));
    let bob = signer.sign(&claims(json!({"filter": {"email": "bob@example.com"}})));
    assert_eq!(ask(&service, ID, &ann, &[]).await.status, 200);
    for (id, token) in [(ID, &bob), ("rejected-x", &everybody), ("ABCDefghijklmnopqrstuvwxyzABCD-_", &everybody)] {
        let missing = ask(&service, id, token, &[]).await;
        assert_eq!(
            (missing.status, &missing.json()["type"]),
            (404, &json!("urn:mandrill-live:problem:no-object")),
            "{id}"
        );
    }
    assert_eq!(ask(&service, &format!("{ID}?x=1"), &everybody, &[]).await.json()["parameter"], "x");
}

#[tokio::test]
async fn an_object_whose_event_is_gone_is_gone_too() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[]).await;
    keep(&writer, ID, &whole("ann@example.com")).await;
    let get = async || send(service.http, "GET", &format!("/api/large/{ID}"), &[], b"").await.status;
    assert_eq!(get().await, 200);
    let stream = writer.context().get_stream("MANDRILL").await.expect("the stream");
    stream.purge().await.expect("purged");
    assert_eq!(get().await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_their_time_leave_places_to_other_queries() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("MAX_QUERIES", "2")]).await;
    keep(&writer, ID, &whole_of("ann@example.com", HUGE)).await;
    let path = format!("/api/large/{ID}");
    let slow = service.ask_slowly(&path, &[]).await;
    for long in [path.as_str(), "/api/events/export"] {
        let refused = get(service.http, long).await;
        assert_eq!(
            (refused.status, &refused.json()["type"]),
            (503, &json!("urn:mandrill-live:problem:busy")),
            "{long}"
        );
    }
    assert_eq!(get(service.http, "/api/events/").await.status, 200, "queries have places left");
    drop(slow);
    until("the place of a client that has gone is free", async || get(service.http, &path).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_to_a_slow_client_ends_when_its_token_does() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    keep(&writer, ID, &whole_of("ann@example.com", HUGE)).await;
    let token = Signer::secret(SECRET).sign(&claims(json!({"exp": now() + 3})));
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let mut slow = service.ask_slowly(&format!("/api/large/{ID}"), &headers).await;
    until("the token has ended", async || {
        send(service.http, "GET", "/api/events/?limit=1", &headers, b"").await.status == 401
    })
    .await;
    let mut rest = Vec::new();
    soon("the rest", slow.read_to_end(&mut rest)).await.expect("read");
    assert!(rest.len() < HUGE, "{} bytes", rest.len());
}
