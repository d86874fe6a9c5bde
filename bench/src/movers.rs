//! Clients that follow everything and, when their notifier is killed, go on at another from their cursor.
//!
//! It prints `ready`; told a number of events, it waits until every session has as many and prints what was
//! lost, what was doubled, and how long it took to come back. Sequences have no holes here: each event's is
//! the one before plus one.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use shared::cursor::{CURSOR_LENGTH, Cursor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use crate::clients::{CONNECTING_MAX, Protocol, connect};

const MARK: &[u8] = b"\"_cursor\":\"";

#[derive(Default)]
struct Seen {
    events: Cell<u64>,
    lost: Cell<u64>,
    doubled: Cell<u64>,
    away: RefCell<Vec<Duration>>,
}

pub(crate) async fn run(first: SocketAddr, second: SocketAddr, sessions: usize) {
    let (seen, connecting) = (Rc::new(Seen::default()), Rc::new(Semaphore::new(CONNECTING_MAX)));
    LocalSet::new()
        .run_until(async {
            let mut opening = Vec::with_capacity(sessions);
            for _ in 0..sessions {
                let connecting = Rc::clone(&connecting);
                opening.push(spawn_local(async move {
                    let _one = connecting.acquire().await.expect("open");
                    connect(first, Protocol::Events, "/ws/email/").await
                }));
            }
            for socket in opening {
                let (socket, _) = socket.await.expect("no panic");
                spawn_local(follow(socket, second, Rc::clone(&seen), Rc::clone(&connecting)));
            }
            println!("ready");
            let line = BufReader::new(stdin()).lines().next_line().await.expect("a line").expect("a number");
            let expected = line.parse::<u64>().expect("a number") * sessions as u64;
            while seen.events.get() < expected {
                sleep(Duration::from_millis(10)).await;
            }
            let mut away = seen.away.borrow_mut();
            away.sort();
            let at = |share: f64| away.get((away.len() as f64 * share) as usize).map_or(0, Duration::as_millis);
            println!(
                "{sessions} sessions, {} moved: {} lost, {} doubled; away p50 {} ms, p99 {} ms, max {} ms",
                away.len(),
                seen.lost.get(),
                seen.doubled.get(),
                at(0.5),
                at(0.99),
                away.last().map_or(0, Duration::as_millis),
            );
        })
        .await;
}

async fn follow(mut socket: TcpStream, second: SocketAddr, seen: Rc<Seen>, connecting: Rc<Semaphore>) {
    // Events may come together with the answer of a handshake.
    let mut behind_handshake = false;
    let (finder, mut text, mut last) = (Finder::new(MARK), Vec::with_capacity(8 << 10), None::<Cursor>);
    loop {
        let had = std::mem::take(&mut behind_handshake);
        if had || matches!(socket.read_buf(&mut text).await, Ok(count) if count > 0) {
            let mut from = 0;
            while let Some(found) = finder.find(&text[from..]) {
                let start = from + found + MARK.len();
                let Some(cursor) = text.get(start..start + CURSOR_LENGTH) else { break };
                let cursor: Cursor = std::str::from_utf8(cursor).expect("text").parse().expect("a cursor");
                seen.take(last, cursor);
                last = Some(cursor);
                from = start + CURSOR_LENGTH;
            }
            // What may hold the beginning of a mark, or a mark whose cursor is cut off.
            let keep = text.len() - text.len().min(MARK.len() + CURSOR_LENGTH).min(text.len() - from);
            text.drain(..keep);
            continue;
        }
        let lost_at = Instant::now();
        let path = last.map_or_else(|| "/ws/email/".to_owned(), |cursor| format!("/ws/email/?since={cursor}"));
        let _one = connecting.acquire().await.expect("open");
        (socket, text) = connect(second, Protocol::Events, &path).await;
        seen.away.borrow_mut().push(lost_at.elapsed());
        behind_handshake = true;
    }
}

impl Seen {
    fn take(&self, last: Option<Cursor>, cursor: Cursor) {
        let expected = last.map_or(1, |last| last.sequence + 1);
        if cursor.sequence < expected {
            self.doubled.set(self.doubled.get() + 1);
        } else {
            self.lost.set(self.lost.get() + cursor.sequence - expected);
            self.events.set(self.events.get() + 1);
        }
    }
}
