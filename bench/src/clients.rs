//! Many clients in one process: connect, then count events and how old they are.
//!
//! It prints `ready`, then obeys lines on its input: `expect N` prints `reached` once N more events have come,
//! `report` prints a [`Report`] of all. Events are found by the mark in their text, whatever carries them.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, stdin};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{LocalSet, spawn_local};

use crate::ages::Ages;
use crate::event::{DIGITS, MARK, now_us};

/// What a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// A text frame an event.
    Events,
    /// NATS within WebSocket.
    Nats,
}

/// What has come.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) events: u64,
    /// Ages on arrival, in microseconds.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// Connections being made at once: more would overrun the listener's queue.
pub(crate) const CONNECTING_MAX: usize = 64;
/// What one read takes.
const READ_BYTES: usize = 256 << 10;

struct Counts {
    events: Cell<u64>,
    /// All that was asked for so far.
    asked: Cell<u64>,
    expected: Cell<u64>,
    reached: Notify,
    ages: RefCell<Ages>,
    buffer: RefCell<Vec<u8>>,
    mark: Finder<'static>,
}

pub(crate) async fn run(address: SocketAddr, protocol: Protocol, sessions: usize, path: &str) {
    let counts = Rc::new(Counts {
        events: Cell::new(0),
        asked: Cell::new(0),
        expected: Cell::new(u64::MAX),
        reached: Notify::new(),
        ages: RefCell::new(Ages::new()),
        buffer: RefCell::new(vec![0; READ_BYTES]),
        mark: Finder::new(MARK),
    });
    let local = LocalSet::new();
    local
        .run_until(async {
            let connecting = Rc::new(Semaphore::new(CONNECTING_MAX));
            let mut opening = Vec::with_capacity(sessions);
            for number in 0..sessions {
                let (path, connecting) = (path.replace("{}", &number.to_string()), Rc::clone(&connecting));
                opening.push(spawn_local(async move {
                    let _one = connecting.acquire().await.expect("open");
                    connect(address, protocol, &path).await
                }));
            }
            for session in opening {
                let (socket, _) = session.await.expect("no panic");
                spawn_local(read(socket, Rc::clone(&counts)));
            }
            println!("ready");
            obey(&counts).await;
        })
        .await;
}

async fn obey(counts: &Counts) {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("a line") {
        if line == "report" {
            println!("{}", serde_json::to_string(&counts.report()).expect("a report"));
            continue;
        }
        let more: u64 = line.strip_prefix("expect ").and_then(|count| count.parse().ok()).expect("expect N");
        let expected = counts.asked.get() + more;
        counts.asked.set(expected);
        counts.expected.set(expected);
        while counts.events.get() < expected {
            counts.reached.notified().await;
        }
        println!("reached");
    }
}

/// Opens a session; returns what has come behind the handshake's answer as well.
pub(crate) async fn connect(address: SocketAddr, protocol: Protocol, path: &str) -> (TcpStream, Vec<u8>) {
    let (mut socket, mut answer) = shake_hands(address, path, "").await;
    if protocol == Protocol::Nats {
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB mandrill.events.> 1\r\nPING\r\n";
        socket.write_all(&masked(0x82, connect.as_bytes())).await.expect("sent");
        while !answer.windows(4).any(|four| four == b"PONG") {
            assert!(socket.read_buf(&mut answer).await.expect("an answer") > 0, "closed");
        }
    }
    (socket, answer)
}

/// Makes a WebSocket, with these further lines in the request's head; returns what has come behind the answer too.
pub(crate) async fn shake_hands(address: SocketAddr, path: &str, lines: &str) -> (TcpStream, Vec<u8>) {
    let mut socket = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let head_end = loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(socket.read_buf(&mut answer).await.expect("an answer") > 0, "closed: {answer:?}");
    };
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let behind = answer.split_off(head_end);
    (socket, behind)
}

async fn read(socket: TcpStream, counts: Rc<Counts>) {
    // What of an event's mark and moment may be cut off at the end of a read.
    let mut carried: Vec<u8> = Vec::new();
    loop {
        socket.readable().await.expect("readable");
        let mut buffer = counts.buffer.borrow_mut();
        buffer[..carried.len()].copy_from_slice(&carried);
        let length = match socket.try_read(&mut buffer[carried.len()..]) {
            Ok(0) => panic!("the server has closed"),
            Ok(length) => carried.len() + length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => panic!("{error}"),
        };
        // Pings are two bytes here and alone: answered, so that idle sessions live.
        if buffer[..length] == [0x89, 0] {
            let _ = socket.try_write(&masked(0x8A, b""));
            carried.clear();
            continue;
        }
        if buffer[..length].windows(6).rev().take(64).any(|six| six == b"PING\r\n") {
            let _ = socket.try_write(&masked(0x82, b"PONG\r\n"));
        }
        let rest = counts.count(&buffer[..length]);
        carried.clear();
        carried.extend_from_slice(&buffer[rest..length]);
    }
}

impl Counts {
    /// Counts the events in these bytes; returns where what may be cut off begins.
    fn count(&self, bytes: &[u8]) -> usize {
        let (now, mut from, mut events) = (now_us(), 0, 0);
        while let Some(found) = self.mark.find(&bytes[from..]) {
            let digits = from + found + MARK.len();
            let Some(digits) = bytes.get(digits..digits + DIGITS) else {
                from += found;
                self.add(events);
                return from;
            };
            let made: u64 = std::str::from_utf8(digits).expect("digits").parse().expect("digits");
            self.ages.borrow_mut().add(now.saturating_sub(made));
            events += 1;
            from += found + MARK.len() + DIGITS;
        }
        self.add(events);
        bytes.len() - bytes.len().min(MARK.len() - 1).min(bytes.len() - from)
    }

    fn add(&self, events: u64) {
        self.events.set(self.events.get() + events);
        if self.events.get() >= self.expected.get() {
            self.reached.notify_one();
        }
    }

    fn report(&self) -> Report {
        let ages = self.ages.borrow();
        Report { events: self.events.get(), p50_us: ages.at(0.5), p99_us: ages.at(0.99), max_us: ages.at(1.0) }
    }
}

pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= 125, "a short frame");
    // A mask of zeros is a mask.
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend(payload);
    frame
}
