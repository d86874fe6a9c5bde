//! Clients that listen: each is cut off, comes back from its last cursor at whichever replica, and writes down what it
//! sees. Nothing is judged here, but for answers that no client should get.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use shared::cursor::{Cursor, Epoch};
use shared::subject::RecipientHash;
use shared::testing::sse::EventStream;
use shared::testing::websocket::{Client, Frame, V1};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::event::{self, PEOPLE, Wish};
use crate::readers;
use crate::record::{Entry, Pace, Session, Way};

/// For the answer to a handshake; a replica that is behind may wait for its feed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Before it comes back.
const BACK_MS: std::ops::Range<u64> = 20..600;
/// Of so many events one is the last that it reads of a connection.
const LEAVES: u32 = 400;
/// The same of a wanderer's.
const WANDERS: u32 = 150;
/// Of so many events a slow reader rests after one.
const RESTS: u32 = 12;
/// For how long.
const REST_MS: std::ops::Range<u64> = 100..3_000;
/// Of so many returns one of a wanderer's is late.
const LATE: u32 = 2;
/// How late: longer than what is in a notifier's memory lasts.
const LATE_MS: std::ops::Range<u64> = 8_000..20_000;

/// What sorts there are, how many of each, and what they want.
pub(crate) fn sorts() -> Vec<(Way, Pace, Wish)> {
    let some = [Wish::Kinds(&["open", "click"]), Wish::Person(1), Wish::PersonAndKind(2, "send")];
    let of = |way: Way| {
        let steady = some.iter().cloned().chain([Wish::Everything]).map(move |wish| (way, Pace::Steady, wish));
        let slow = [(way, Pace::Slow, Wish::Everything)];
        let wanders = [Wish::Everything, Wish::Kinds(&["open", "click"])].map(|wish| (way, Pace::Wanders, wish));
        steady.chain(slow).chain(wanders).collect::<Vec<_>>()
    };
    [Way::Plain, Way::V1, Way::Events].into_iter().flat_map(of).collect()
}

/// What all sessions of a run share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// The wires to the notifiers.
    pub(crate) notifiers: Vec<SocketAddr>,
    /// Where they begin.
    pub(crate) start: Cursor,
    /// No more rests: what is left is to be read to its end.
    pub(crate) hurry: CancellationToken,
    /// The run is over.
    pub(crate) over: CancellationToken,
}

/// A session that can be looked at while it goes on.
pub(crate) type Handle = Arc<Mutex<Session>>;

pub(crate) fn open(session: &Handle) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session that has seen nothing.
pub(crate) fn new(number: usize, (way, pace, wish): (Way, Pace, Wish), start: u64) -> Handle {
    let (entries, odd) = (Vec::new(), Vec::new());
    Arc::new(Mutex::new(Session { number, way, pace, wish, start, entries, odd, resumes: 0 }))
}

/// Its life.
pub(crate) async fn live(session: Handle, shared: Shared, seed: u64) {
    let (way, pace, query) = {
        let session = open(&session);
        (session.way, session.pace, session.wish.query())
    };
    let random = StdRng::seed_from_u64(seed);
    let cursor = Some(shared.start);
    let mut listener = Listener { session, epoch: shared.start.epoch, cursor, random, pace, hurry: shared.hurry };
    let life = async {
        loop {
            let replica = listener.random.random_range(0..shared.notifiers.len());
            let address = shared.notifiers[replica];
            listener.note(Entry::Connects { replica, at: Instant::now() });
            match way {
                Way::Events => listener.stream(address, &query).await,
                Way::Plain => listener.socket(address, &query, &[]).await,
                Way::V1 => listener.socket(address, &query, &[V1]).await,
            }
            listener.away().await;
        }
    };
    tokio::select! { () = life => {}, () = shared.over.cancelled() => {} }
}

struct Listener {
    session: Handle,
    epoch: Epoch,
    /// From where it goes on.
    cursor: Option<Cursor>,
    random: StdRng,
    pace: Pace,
    hurry: CancellationToken,
}

/// Whether it reads on.
#[derive(PartialEq, Eq)]
enum Then {
    ReadsOn,
    Leaves,
}

impl Listener {
    fn path(&self, path: &str, query: &str) -> String {
        let since = self.cursor.map(|cursor| format!("since={cursor}")).unwrap_or_default();
        readers::path(path, &[&since, query])
    }

    /// Between two connections.
    async fn away(&mut self) {
        let late = self.pace == Pace::Wanders && self.random.random_ratio(1, LATE);
        let ms = self.random.random_range(if late { LATE_MS } else { BACK_MS });
        let away = sleep(Duration::from_millis(ms));
        tokio::select! { () = away => {}, () = self.hurry.cancelled(), if late => {} }
    }

    fn note(&self, entry: Entry) {
        open(&self.session).entries.push(entry);
    }

    fn odd(&self, what: String) {
        open(&self.session).odd.push(what);
    }

    /// One connection of a WebSocket.
    async fn socket(&mut self, address: SocketAddr, query: &str, headers: &[(&str, &str)]) {
        let path = self.path("/ws/email/", query);
        let Ok(Ok(mut client)) = timeout(HANDSHAKE_TIMEOUT, Client::begin(address, &path, headers)).await else {
            return;
        };
        if !self.admitted(&client.head, 101) {
            return;
        }
        loop {
            match client.receive().await {
                Frame::Text(text) if text.starts_with(r#"{"_control""#) => {
                    if self.told(&serde_json::from_str(&text).unwrap_or_default()) == Then::Leaves {
                        return;
                    }
                }
                Frame::Text(text) => {
                    if self.event(event::of_frame(&text), &text).await == Then::Leaves {
                        return;
                    }
                }
                Frame::Close(close) => {
                    return self.closed(close.as_ref().map(|(code, reason)| (*code, reason.as_str())));
                }
                Frame::End => return,
                Frame::Ping(_) | Frame::Pong(_) => {}
            }
        }
    }

    /// One connection of Server-Sent Events.
    async fn stream(&mut self, address: SocketAddr, query: &str) {
        // The cursor goes where browsers put it.
        let path = readers::path("/api/events/stream", &[query]);
        let id = self.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let headers = [("Last-Event-ID", id.as_str())];
        let headers = if id.is_empty() { &headers[1..] } else { &headers[..] };
        let begun = timeout(HANDSHAKE_TIMEOUT, EventStream::begin(address, &path, headers)).await;
        let Ok(Ok(mut stream)) = begun else { return };
        if !self.admitted(&stream.head, 200) {
            return;
        }
        while let Ok(Some(message)) = stream.receive().await {
            let then = if message.event.is_some() {
                self.told(&serde_json::from_str(&message.data).unwrap_or_default())
            } else {
                let frame = event::of_frame(&message.data);
                if frame.map(|(cursor, _)| cursor.to_string()) != message.id {
                    self.odd(format!("an event's id is {:?} and its data {}", message.id, message.data));
                }
                self.event(frame, &message.data).await
            };
            if then == Then::Leaves {
                return;
            }
        }
    }

    /// Whether the handshake was taken. A cursor that is gone may also be said there.
    fn admitted(&mut self, head: &str, wanted: u16) -> bool {
        let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        match status {
            Some(status) if status == wanted => {
                open(&self.session).resumes += u64::from(self.cursor.is_some());
                return true;
            }
            // No room, or not ready: it comes back.
            Some(429 | 503) => {}
            Some(410) => self.gone(),
            _ => self.odd(format!("a handshake was answered {head:?}")),
        }
        false
    }

    fn gone(&mut self) {
        self.cursor = None;
        self.note(Entry::CursorGone { at: Instant::now() });
    }

    fn closed(&mut self, close: Option<(u16, &str)>) {
        match close {
            // Going away, no room, too slow: it comes back from its cursor.
            Some((1001 | 1013 | 4408, _)) => {}
            Some((4410, _)) => self.gone(),
            other => self.odd(format!("it was closed with {other:?}")),
        }
    }

    /// A control frame.
    fn told(&mut self, frame: &Value) -> Then {
        let place = |name: &str| frame[name].as_str().and_then(|text| text.parse::<Cursor>().ok());
        let ours = |cursor: Option<Cursor>| cursor.filter(|cursor| cursor.epoch == self.epoch);
        match (frame["_control"].as_str(), ours(place("at")), ours(place("after")), ours(place("before"))) {
            (Some("hello"), Some(at), ..) => match (&frame["recovered"], frame["reason"].as_str()) {
                (Value::Bool(false), Some("retention")) => self.note(Entry::NotRecovered { at: Instant::now() }),
                (Value::Bool(true), None) if self.cursor.is_some_and(|cursor| cursor.sequence == at.sequence) => {}
                (Value::Null, None) if self.cursor.is_none() => {}
                _ => self.odd(format!("it was greeted with {frame} on coming back from {:?}", self.cursor)),
            },
            (Some("position"), Some(at), ..) => {
                self.cursor = Some(at);
                self.note(Entry::Position { at: at.sequence });
            }
            (Some("gap"), _, Some(after), Some(before)) if frame["reason"] == "retention" => {
                self.cursor = Some(before);
                self.note(Entry::Gap { after: after.sequence, before: before.sequence, at: Instant::now() });
            }
            (Some("erased"), ..) => {
                let known =
                    |person: &u32| frame["recipient"] == RecipientHash::of(&event::address(*person)).to_string();
                match (0..PEOPLE).find(known) {
                    Some(person) => self.note(Entry::Forget { person }),
                    None => self.odd(format!("it was told {frame}")),
                }
            }
            (Some("goaway"), ..) => return Then::Leaves,
            (Some("status"), ..) => {}
            _ => self.odd(format!("it was told {frame}")),
        }
        Then::ReadsOn
    }

    async fn event(&mut self, frame: Option<(Cursor, event::Content)>, text: &str) -> Then {
        match frame {
            Some((cursor, content)) if cursor.epoch == self.epoch => {
                self.cursor = Some(cursor);
                self.note(Entry::Event { sequence: cursor.sequence, content });
            }
            _ => self.odd(format!("it got {text}")),
        }
        if self.pace == Pace::Slow && !self.hurry.is_cancelled() && self.random.random_ratio(1, RESTS) {
            let rest = sleep(Duration::from_millis(self.random.random_range(REST_MS)));
            tokio::select! { () = rest => {}, () = self.hurry.cancelled() => {} }
        }
        let stays = if self.pace == Pace::Wanders { WANDERS } else { LEAVES };
        if !self.hurry.is_cancelled() && self.random.random_ratio(1, stays) { Then::Leaves } else { Then::ReadsOn }
    }
}
