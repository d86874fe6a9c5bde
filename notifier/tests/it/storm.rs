//! Everything at once: sessions that read in fits and starts, leave and come back, change between the ring
//! and the stream behind it, while the broker is killed in between. Every one has every event it wants,
//! once and in order. The seed of a failure is in its message.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::cursor::Cursor;
use shared::testing::broker::Broker;

use crate::support::client::Frame;
use crate::support::{Client, Service, Writer, parts};

const EVENTS: usize = 6000;
const SESSIONS: u64 = 40;
const KINDS: [&str; 3] = ["open", "click", "send"];

fn event(number: usize) -> String {
    let (kind, fill) = (KINDS[number % KINDS.len()], "x".repeat(400 + number * 7 % 900));
    format!(r#"{{"event":"{kind}","n":{number},"msg":{{"email":"p{}@example.com"}},"fill":"{fill}"}}"#, number % 5)
}

/// One client's life, from its seed.
async fn live(service: Arc<Service>, all: Arc<Vec<String>>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (query, wanted): (String, Box<dyn Fn(usize) -> bool + Send + Sync>) = match seed % 4 {
        0 | 1 => (String::new(), Box::new(|_| true)),
        2 => ("event=click".to_owned(), Box::new(|number| KINDS[number % KINDS.len()] == "click")),
        _ => (
            "email=p3@example.com,p4@example.com&event=open,send".to_owned(),
            Box::new(|number| matches!(number % 5, 3 | 4) && KINDS[number % KINDS.len()] != "click"),
        ),
    };
    let (mut cursor, mut client) = (None::<Cursor>, None);
    for text in all.iter().enumerate().filter(|(number, _)| wanted(*number)).map(|(_, text)| text) {
        let got = loop {
            let connected = match client.take() {
                Some(connected) => connected,
                None => connect(&service, &query, cursor, &mut random).await,
            };
            let reader = client.insert(connected);
            match reader.next().await {
                Frame::Text(text) if text.starts_with(r#"{"_control""#) => {
                    assert!(!text.contains("gap"), "{seed}: {text}")
                }
                Frame::Text(text) => break text,
                // Too slow, or no room: it comes back from where it was.
                Frame::Close(Some((4408 | 1013, _))) | Frame::End => client = None,
                other => panic!("{seed}: {other:?}"),
            }
        };
        let (at, _, got) = parts(&got);
        assert_eq!(&got, text, "{seed}");
        cursor = Some(at);
        match random.random_range(0..400) {
            0 => client = None,
            1..4 => tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await,
            _ => {}
        }
    }
}

async fn connect(service: &Service, query: &str, cursor: Option<Cursor>, random: &mut StdRng) -> Client {
    // Before the first event there is no cursor to come back to: the newest thousand hold them all.
    let start = cursor.map_or_else(|| "last=1000".to_owned(), |cursor| format!("since={cursor}"));
    let path = format!("/ws/email/?{start}&{query}");
    let path = path.trim_end_matches('&');
    if random.random_bool(0.5) {
        Client::control(service.http, path).await.0
    } else {
        Client::connect(service.http, path, &[]).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_every_temper_have_every_event_once_whatever_happens() {
    let mut broker = Broker::start().await;
    let mut writer = Writer::new(&broker).await;
    let service = Arc::new(Service::with(&broker, &[("RING_BYTES", "1MiB")]).await);
    let all = Arc::new((0..EVENTS).map(event).collect::<Vec<String>>());
    let mut lives = tokio::task::JoinSet::new();
    for seed in 0..SESSIONS {
        lives.spawn(live(Arc::clone(&service), Arc::clone(&all), seed));
    }
    for (at, group) in all.chunks(EVENTS / 3).enumerate() {
        if at > 0 {
            broker.kill();
            broker.restart().await;
            writer = Writer::new(&broker).await;
        }
        writer.store_all(group).await;
    }
    while let Some(ended) = lives.join_next().await {
        ended.expect("every session has every event");
    }
}
