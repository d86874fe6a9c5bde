//! The real binary under attack: its memory stays below the bound that docs/OPERATIONS.md states, and it
//! answers others meanwhile.

use std::process::Command;
use std::time::Duration;

use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::process::Process;
use shared::testing::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{batch, counts};

const CONNECTIONS: usize = 10_000;
const IN_FLIGHT: u64 = 32 << 20;
/// A process that has nothing to do.
const BASE: u64 = 32 << 20;
/// A connection whose request has not begun: its buffer and its state.
const CONNECTION: u64 = 24 << 10;

async fn start(broker: &Broker) -> Process {
    let (in_flight, connections) = (IN_FLIGHT.to_string(), (CONNECTIONS + 100).to_string());
    let variables = [
        ("NATS_URL", broker.url()),
        ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url.to_owned()),
        ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key.to_owned()),
        ("MAX_INFLIGHT_BYTES", in_flight.clone()),
        ("MAX_BODY_BYTES", in_flight),
        ("MAX_CONNECTIONS", connections),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    Process::start(Command::new(env!("CARGO_BIN_EXE_ingest")), &variables).await
}

#[tokio::test]
async fn memory_stays_below_its_bound_under_attack() {
    let broker = Broker::start().await;
    let mut process = start(&broker).await;

    // Ten thousand connections that send half a head.
    let mut half = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(process.address).await.expect("connected");
        stream.write_all(b"POST /api/hook/ HTTP/1.1\r\nHost: a\r\nX-Half: ").await.expect("written");
        half.push(stream);
    }
    assert_eq!(counts(&WEBHOOK.post(process.address, &batch("during", 5)).await), (5, 0, 0));
    let connections = process.peak_bytes();
    let bound = BASE + CONNECTIONS as u64 * CONNECTION;
    assert!(connections < bound, "{connections} bytes with half heads, bound {bound}");
    drop(half);

    // Bodies that trickle, more of them than there is memory for.
    let head = "POST /api/hook/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30000000\r\n\r\n";
    let mut trickling = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(process.address).await.expect("connected");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), stream.write_all(&vec![b'%'; 2 << 20])).await;
        trickling.push(stream);
    }
    // Bombs: a million fields, a million levels; forged, so that none of it may be stored.
    for bomb in ["a=&".repeat(1_000_000), format!("mandrill_events={}", "[".repeat(4_000_000))] {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Mandrill-Signature", "x")];
        let answer = http::send(process.address, "POST", "/api/hook/", &headers, bomb.as_bytes()).await;
        assert!([400, 401, 503].contains(&answer.status), "{}", answer.head);
    }
    let peak = process.peak_bytes();
    let bound = bound + 2 * IN_FLIGHT;
    assert!(peak < bound, "{peak} bytes in all, bound {bound}");
    drop(trickling);
    until("batches are taken again", async || WEBHOOK.post(process.address, &batch("after", 5)).await.status == 200)
        .await;
    assert!(process.lives(), "it lives");
}
