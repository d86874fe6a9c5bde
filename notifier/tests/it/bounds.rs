//! The real binary and clients that want to cost it something: what they hold is bounded, and given back.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use shared::testing::broker::Broker;
use shared::testing::process::Process;
use shared::testing::{soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Writer, metric};

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
