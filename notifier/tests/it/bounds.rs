//! The real binary and clients that want to cost it something: what they hold is bounded, and given back.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use shared::testing::broker::Broker;
use shared::testing::process::Process;
use shared::testing::{soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Writer, metric, parts};

async fn start(broker: &Broker, variables: &[(&str, &str)]) -> Process {
    let url = broker.url();
    let variables = [&[("NATS_URL", url.as_str()), ("ALLOW_ANONYMOUS", "true")], variables].concat();
    Process::start(Command::new(env!("CARGO_BIN_EXE_notifier")), &variables).await
}

/// A connection that has sent this, and what becomes of it is not looked at.
async fn connection(address: SocketAddr, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(sent.as_bytes()).await.expect("written");
    stream
}

/// What a process holds open.
fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.pid())).expect("its descriptors").count()
}

/// Everything but the empty line at the end.
const HALF: &str = "GET /ws/email/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end_are_cut_in_time_and_leave_nothing_behind() {
    const EACH: usize = 10;
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let process = start(&broker, &[("PING_INTERVAL", "3s"), ("MAX_SESSIONS", "10")]).await;
    let before = descriptors(&process);

    let (mut unread, mut unfinished, mut trickling) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..EACH {
        // A whole handshake whose answer is never read; half of one; nothing; one byte now and then.
        unread.push(connection(process.address, &format!("{HALF}\r\n")).await);
        unfinished.push(connection(process.address, HALF).await);
        unfinished.push(connection(process.address, "").await);
        let (reading, mut writing) = connection(process.address, "GET /ws/").await.into_split();
        trickling.push(reading);
        tokio::spawn(async move {
            while writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    let sessions = async || metric(process.admin, "mandrill_live_notifier_sessions{kind=\"plain\"}").await;
    until("those that were answered are sessions", async || sessions().await == EACH as u64).await;
    until("the others are there", async || descriptors(&process) >= before + 3 * EACH).await;
    let full = Client::try_connect(process.address, "/ws/email/", &[]).await;
    assert!(full.head.starts_with("HTTP/1.1 503 "), "{}", full.head);
    drop(full);

    for mut stream in unfinished {
        // The end, with or without a word.
        let _ = soon("an unfinished handshake is cut", stream.read_to_end(&mut Vec::new())).await;
    }
    for mut stream in trickling {
        let _ = soon("a trickling handshake is cut", stream.read_to_end(&mut Vec::new())).await;
    }
    until("unread sessions are cut", async || sessions().await == 0).await;
    until("nothing is left open", async || descriptors(&process) <= before).await;
    Client::connect(process.address, "/ws/email/", &[]).await.leave().await;
    drop(unread);
}

/// Sessions that stop reading: at the head, and after they came back to a place behind the ring.
const SLOW: usize = 200;
const RING: u64 = 8 << 20;
const EVENT: usize = 64 << 10;
const EVENTS: usize = 1024;
const READERS: u64 = 2;
/// A process that has nothing to do.
const BASE: u64 = 32 << 20;
/// A session that does not read: the chunk of which its socket has taken a part.
const SESSION: u64 = 128 << 10;
/// What was read from the stream and is kept for whoever comes next.
const KEPT: u64 = 32 << 20;
/// One that reads from it: what has arrived, and what is made of it.
const READER: u64 = 3 << 20;

/// Opens the n-th slow session, each kind in turn; nothing of it is read.
async fn slow(process: &Process, number: usize, query: &str) -> TcpStream {
    let head = match number % 3 {
        0 => format!("{HALF}\r\n"),
        1 => format!("{HALF}Sec-WebSocket-Protocol: mandrill-live.v1\r\n\r\n"),
        _ => "GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    };
    let head = head.replacen(" HTTP/1.1", &format!("{query} HTTP/1.1"), 1);
    connection(process.address, &head).await
}

async fn open_sessions(process: &Process) -> u64 {
    let mut all = 0;
    for kind in ["plain", "v1", "sse"] {
        all += metric(process.admin, &format!("mandrill_live_notifier_sessions{{kind=\"{kind}\"}}")).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sessions_that_stop_reading_cost_no_more_than_is_said() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let (ring, readers) = (RING.to_string(), READERS.to_string());
    let variables = [("RING_BYTES", ring.as_str()), ("CATCHUP_READERS", readers.as_str()), ("LAG_TIMEOUT", "10m")];
    let process = start(&broker, &variables).await;
    let mut reader = Client::connect(process.address, "/ws/email/", &[]).await;
    let mut stuck = Vec::new();
    for number in 0..SLOW / 2 {
        stuck.push(slow(&process, number, "").await);
    }
    until("they are open", async || open_sessions(&process).await == SLOW as u64 / 2 + 1).await;
    let all: Vec<String> = (0..EVENTS).map(|n| format!(r#"{{"n":{n},"fill":"{}"}}"#, "x".repeat(EVENT))).collect();
    let mut cursors = Vec::new();
    for group in all.chunks(8) {
        writer.store_all(group).await;
        for text in group {
            let (cursor, _, got) = parts(&reader.text().await);
            assert!(&got == text, "one that reads has everything");
            cursors.push(cursor);
        }
    }
    let live = process.peak_bytes();
    let bound = |sessions: u64| BASE + RING + RING / 4 + sessions * SESSION;
    assert!(live < bound(SLOW as u64 / 2), "{live} bytes at the head, bound {}", bound(SLOW as u64 / 2));
    // The others come back to as many places as there are, and read no further.
    for number in SLOW / 2..SLOW {
        let cursor = cursors[number * 8 % (EVENTS * 3 / 4)];
        stuck.push(slow(&process, number, &format!("?since={cursor}")).await);
    }
    until("they are open", async || open_sessions(&process).await == SLOW as u64 + 1).await;
    let count = async |name: &str| metric(process.admin, &format!("mandrill_live_notifier_{name}")).await;
    let mut before = 0;
    until("they have what their sockets take", async || {
        let resumed = count("resumes_total{outcome=\"stream\"}").await == SLOW as u64 / 2;
        let delivered = count("deliveries_total").await;
        resumed && count("sessions_catching_up").await == 0 && std::mem::replace(&mut before, delivered) == delivered
    })
    .await;
    let behind = process.peak_bytes();
    let bound = bound(SLOW as u64) + KEPT + READERS * READER;
    assert!(behind < bound, "{behind} bytes with more of them behind the ring, bound {bound}");
    assert_eq!(open_sessions(&process).await, SLOW as u64 + 1, "all of them are there");
    writer.store_all(&all[..1]).await;
    assert!(parts(&reader.text().await).2 == all[0], "and delay nobody");
}
