//! What queries over very many stored events take: time, and the notifier's memory.
//!
//! The broker keeps them on disk; the notifier has the newest of them in memory, as in production. Each row is
//! asked twice: what the broker has to read from its disk first is in the first number only.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, jetstream};
use shared::settings::{Mistakes, Settings};
use shared::stream::{self, StreamSettings};
use shared::testing::broker::Broker;
use shared::testing::http;
use shared::{event, subject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::event::event as plain;
use crate::process::resident;
use crate::sides::Notifier;

/// Events of one atomic batch.
const BATCH: u64 = 1000;
/// One in so many is of the rare kind.
const RARE: u64 = 5000;

/// A message's events follow each other; one in many is rare.
fn text(number: u64) -> String {
    let kind = match number {
        number if number.is_multiple_of(RARE) => "spam",
        number => ["send", "delivered", "open", "click"][(number % 4) as usize],
    };
    plain(number / 4).replacen("\"open\"", &format!("\"{kind}\""), 1)
}

pub(crate) async fn run(notifier: &Path, events: u64) {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let context = jetstream::new(client.clone());
    let settings = StreamSettings::read(&[("STREAM_MAX_BYTES", "16GiB")].into(), &mut Mistakes::default());
    stream::ensure(&context, &settings.expect("settings")).await.expect("a stream");
    let started = Instant::now();
    for first in (0..events).step_by(BATCH as usize) {
        store(&client, first, BATCH.min(events - first)).await;
    }
    println!("stored         {events} events of 1.2 kB in {:.1} s", started.elapsed().as_secs_f64());
    println!("               broker {} MiB", resident(broker.pid()) >> 20);

    let notifier = Notifier::start(notifier, &broker).await;
    let (address, middle) = (notifier.address, events / 8);
    let id = format!("{middle:032x}");
    let address_of = format!("user{middle}@example.com");
    for (name, path) in [
        ("newest page", "/api/events/?limit=100".to_owned()),
        ("message and address", format!("/api/messages/{id}?email={address_of}")),
        ("recipient", format!("/api/recipients/{address_of}")),
        ("message alone", format!("/api/messages/{id}")),
        ("rare events", "/api/events/?event=spam&limit=100".to_owned()),
        ("by tag", "/api/events/?tag=none&limit=100".to_owned()),
        ("statistics", "/api/stats?window=1d&step=10m".to_owned()),
    ] {
        let mut row = format!("{name:20}");
        for _ in 0..2 {
            let asked = Instant::now();
            let answer = http::get(address, &path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.head);
            row.push_str(&format!(" {:9.1} ms", asked.elapsed().as_secs_f64() * 1e3));
        }
        println!("{row}   notifier {} MiB", resident(notifier.pid()) >> 20);
    }
    for format in ["ndjson", "csv"] {
        export(&notifier, address, format).await;
    }
    println!("               broker {} MiB", resident(broker.pid()) >> 20);
}

async fn store(client: &async_nats::Client, first: u64, count: u64) {
    for at in 0..count {
        let text = text(first + at);
        let subject = subject::of_event(&event::fields(&text));
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Batch-Id", format!("bench-{first}"));
        headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
        if at + 1 < count {
            client.publish_with_headers(subject, headers, text.into()).await.expect("published");
        } else {
            headers.insert("Nats-Batch-Commit", "1");
            let ack = client.request_with_headers(subject, headers, text.into()).await.expect("an answer");
            assert!(!String::from_utf8_lossy(&ack.payload).contains("error"), "{ack:?}");
        }
    }
}

/// Takes a whole export, and sees what the notifier holds meanwhile.
async fn export(notifier: &Notifier, address: SocketAddr, format: &str) {
    let path = format!("/api/events/export?format={format}");
    let (before, started) = (resident(notifier.pid()), Instant::now());
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(&http::request("GET", &path, &[], b"")).await.expect("asked");
    let (mut buffer, mut bytes, mut most) = (vec![0; 1 << 20], 0_u64, before);
    let mut looked = Instant::now();
    let mut end = Vec::new();
    loop {
        let read = stream.read(&mut buffer).await.expect("a piece");
        if read == 0 {
            break;
        }
        bytes += read as u64;
        end = buffer[read.saturating_sub(300)..read].to_vec();
        if looked.elapsed() > Duration::from_millis(50) {
            (most, looked) = (most.max(resident(notifier.pid())), Instant::now());
        }
    }
    assert!(String::from_utf8_lossy(&end).contains("complete"), "a whole export");
    println!(
        "export {format:12}  {:9.1} s   {:6.0} MB/s   notifier {} MiB before, {} at most",
        started.elapsed().as_secs_f64(),
        bytes as f64 / 1e6 / started.elapsed().as_secs_f64(),
        before >> 20,
        most >> 20,
    );
}
