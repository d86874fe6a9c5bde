//! Events too large for sockets: whole in the object store, short in the stream.

use base64::Engine;
use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;
use tokio::io::AsyncReadExt;

use crate::harness::{Ingest, batch, counts, events, signed};

/// An inbound mail with attachments of so many bytes, as Mandrill sends it: each of them twice.
fn inbound(attachment_bytes: usize) -> String {
    let content: Vec<u8> = (0..attachment_bytes).map(|at| (at * 31 % 251) as u8).collect();
    let content = base64::engine::general_purpose::STANDARD.encode(content).replace('/', "\\/");
    format!(
        r#"{{"event":"inbound","ts":1760000000,"msg":{{"email":"in@example.com","subject":"Größe","raw_msg":"Subject: x\r\n\r\n{content}","attachments":{{"a.bin":{{"name":"a.bin","type":"application\/octet-stream","content":"{content}","base64":true}}}}}}}}"#
    )
}

async fn object(broker: &Broker, name: &str) -> Vec<u8> {
    let context = async_nats::jetstream::new(broker.client().await);
    let bucket = context.get_object_store("MANDRILL_LARGE").await.expect("the bucket");
    let mut bytes = Vec::new();
    bucket.get(name).await.expect("the object").read_to_end(&mut bytes).await.expect("its bytes");
    bytes
}

#[tokio::test]
async fn an_inbound_mail_of_25_mb_is_kept_whole_and_shown_short() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    // 9.4 MB of attachments are 25 MB of JSON: base64, twice.
    let event = inbound(9_400_000);
    assert!(event.len() > 25_000_000);
    let mixed = format!("[{event},{}", &batch("beside", 2)[1..]);
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &mixed).await), (3, 0, 0));
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &mixed).await), (0, 3, 0));
    let stored = events(&broker).await;
    assert_eq!(stored.len(), 3);
    assert!(stored[0].len() < 4096, "{} bytes", stored[0].len());
    let short: serde_json::Value = serde_json::from_str(&stored[0]).expect("JSON");
    assert_eq!(short["event"], "inbound");
    assert_eq!(short["msg"]["subject"], "Größe");
    assert_eq!(short["_large"]["bytes"], event.len());
    let whole = object(&broker, short["_large"]["object"].as_str().expect("a name")).await;
    assert!(whole == event.as_bytes(), "the original, byte for byte");
}

#[tokio::test]
async fn a_broker_that_takes_small_messages_only_loses_nothing() {
    let broker = Broker::with("max_payload: 65536").await;
    let ingest = Ingest::start(signed(&broker)).await;
    let event = inbound(100_000);
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &format!("[{event}]")).await), (1, 0, 0));
    let short: serde_json::Value = serde_json::from_str(&events(&broker).await[0]).expect("JSON");
    assert_eq!(short["_large"]["bytes"], event.len());
}
