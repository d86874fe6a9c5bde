//! Every request of `shared/fixtures/signed-requests.json` gets the answer its `expect` says.

use serde::Deserialize;
use shared::testing::broker::Broker;
use shared::testing::http;

use crate::harness::{Ingest, counts, stored};

#[derive(Deserialize)]
struct Vector {
    name: String,
    url: String,
    key: String,
    extra_keys: Vec<String>,
    body: String,
    signature: Option<String>,
    expect: String,
    events: u64,
}

const VECTORS: &str = include_str!("../../../shared/fixtures/signed-requests.json");

#[tokio::test]
async fn every_signed_request_is_answered_as_expected() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).expect("vectors");
    assert_eq!(vectors.len(), 46);
    let broker = Broker::start().await;
    for vector in &vectors {
        let keys = [std::slice::from_ref(&vector.key), &vector.extra_keys].concat().join(",");
        let environment =
            broker.environment().or("MANDRILL_WEBHOOK_URLS", &vector.url).or("MANDRILL_WEBHOOK_KEYS", &keys);
        let ingest = Ingest::start(environment).await;
        let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
        if let Some(signature) = &vector.signature {
            headers.push(("X-Mandrill-Signature", signature));
        }
        let rejected_before = stored(&broker, "MANDRILL_REJECTED").await.len();
        let answer = http::send(ingest.address, "POST", "/api/hook/", &headers, vector.body.as_bytes()).await;
        let rejected = stored(&broker, "MANDRILL_REJECTED").await.len() - rejected_before;
        // Whatever it says, a browser that is made to post here can make nothing of it.
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", vector.name);
        let policy = Some("default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.header("content-security-policy"), policy, "{}", vector.name);
        match vector.expect.as_str() {
            "accept" => {
                let (accepted, duplicates, unusable) = counts(&answer);
                assert_eq!((accepted + duplicates, unusable, rejected), (vector.events, 0, 0), "{}", vector.name);
            }
            "keep" => {
                assert_eq!(counts(&answer), (0, 0, 1), "{}", vector.name);
                assert_eq!(rejected, 1, "{}", vector.name);
            }
            "reject" => {
                assert!((400..500).contains(&answer.status), "{}: {}", vector.name, answer.head);
                assert_eq!(answer.header("content-type"), Some("application/problem+json"));
                assert_eq!(rejected, 0, "{}", vector.name);
            }
            other => panic!("{other:?} is no expectation"),
        }
    }
    // Every different event once, however often it was sent.
    let payloads: Vec<String> = stored(&broker, "MANDRILL").await.into_iter().map(|message| message.payload).collect();
    let mut different = payloads.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), payloads.len());
}
