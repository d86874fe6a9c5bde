//! One WebSocket session.
//!
//! **Owns** its socket from the handshake to its last byte: what is written in which order, who writes, and
//! how it ends. **May not touch** the broker, and never waits for another session.
//!
//! A session is a place in the log and what its socket did not take yet, nothing more. While it keeps up,
//! a [worker](crate::worker) writes to it; while it does not, its own task does (`task`). Both hold its lock
//! while they write, so frames never mix.

mod answers;
pub(crate) mod inbound;
#[cfg(any(test, feature = "invariants"))]
pub(crate) mod invariants;
pub(crate) mod outbox;
mod pace;
mod state;
pub(crate) mod task;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::close::Close;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::access::Access;
use crate::chunk::{Chunk, Wanted};
use crate::control::{Control, Recovered};
use crate::engine::Engine;
use crate::erased::Erasure;
use crate::filter::Filter;
use crate::frame;
use crate::log::FeedState;
use crate::ring::Ring;
use crate::walk::Walk;
use crate::worker::{Command, write_runs};
pub(crate) use state::Held;
use state::{Holder, State};

/// A session's socket and state.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    stream: Arc<TcpStream>,
    engine: Arc<Engine>,
    worker: usize,
    /// When it is old enough to move.
    expires: Instant,
    /// Wakes its own task.
    wake: Notify,
    state: Mutex<State>,
}

/// What a session asks for at its start.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) walk: Walk,
    /// The filter it asks for.
    pub(crate) asked: Option<Arc<Filter>>,
    pub(crate) access: Access,
    /// Whether it takes control frames.
    pub(crate) control: bool,
}

/// What came of a worker's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The socket took all.
    All,
    /// It took some, or waits with some, of so many of the chunks: its own task writes the rest.
    Part(usize),
    /// It is not this worker's any more, or gone.
    Nothing,
}

impl Session {
    pub(crate) fn new(id: u64, stream: TcpStream, engine: Arc<Engine>, opening: Opening) -> Arc<Session> {
        // How long a session may take nothing is its own limit from here on.
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(None);
        let worker = usize::try_from(id).unwrap_or_default() % engine.workers.len().max(1);
        let state = Mutex::new(State::new(opening));
        // Sessions that came together must not move together.
        let age = engine.limits.session_max_age.mul_f64(rand::random_range(0.8..1.2));
        let expires = Instant::now() + age;
        Arc::new(Session { id, stream: Arc::new(stream), engine, worker, expires, wake: Notify::new(), state })
    }

    /// Its number, unique in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its kind, for the metrics.
    pub(crate) fn kind(&self) -> &'static str {
        if self.state().control { "v1" } else { "plain" }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would be a bug in this session only; others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker makes it its own, unless it has been taken back meanwhile.
    pub(crate) fn accept(&self, held: Held) -> bool {
        let mut state = self.state();
        let waits = state.held == held && state.holder == Holder::Joining;
        if waits {
            state.holder = Holder::Worker;
        }
        waits
    }

    /// A worker gives it back to its own task.
    pub(crate) fn release(&self, held: Held) {
        let mut state = self.state();
        if state.held == held {
            self.take_over(&mut state);
        }
    }

    /// A worker writes what is new: items from `next` on, and of each what this session wants.
    pub(crate) fn deliver(
        &self,
        held: Held,
        next: u64,
        chunks: &[Arc<Chunk>],
        wanted: &[(usize, Wanted)],
    ) -> Delivered {
        let mut state = self.state();
        if state.held != held || state.holder != Holder::Worker {
            return Delivered::Nothing;
        }
        let mut written = match write_runs(&self.stream, chunks, wanted) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                state.gone = true;
                self.take_over(&mut state);
                return Delivered::Nothing;
            }
        };
        for (count, (at, wanted)) in wanted.iter().enumerate() {
            let bytes = wanted.bytes();
            if written < bytes {
                if let Some(chunk) = chunks.get(*at) {
                    state.outbox.load_rest(Arc::clone(chunk), &wanted.runs, written);
                    state.walk.passed(next + *at as u64 + 1, chunk.last());
                    state.sent(chunk.last().sequence);
                }
                state.take_back();
                self.wake.notify_one();
                return Delivered::Part(count + 1);
            }
            written -= bytes;
        }
        if let Some(last) = chunks.last().map(|chunk| chunk.last()) {
            state.walk.passed(next + chunks.len() as u64, last);
            state.sent(last.sequence);
        }
        Delivered::All
    }

    /// A worker has met an erasure: tells the client, and goes on with the item `next`.
    pub(crate) fn tell_erased(&self, held: Held, next: u64, erasure: &Erasure) {
        let mut state = self.state();
        if state.held != held || state.holder != Holder::Worker {
            return;
        }
        state.walk.passed(next, erasure.tombstone.place);
        if let Some(frame) = state.word_of(erasure) {
            self.say(&mut state, &frame);
        }
    }

    /// Lets go of frames that wait for the socket, where they are of people whose events were erased.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        let forget = |ring: &Ring| {
            let erased = ring.erased();
            state.outbox.forget(|chunk, entry| erased.covers_waiting(chunk.epoch(), entry.recipient, entry.place));
        };
        self.engine.log.read(forget);
    }

    /// Says hello, and what is to be known at once.
    pub(crate) fn greet(&self, recovered: Recovered) {
        let mut state = self.state();
        if state.control {
            let ping_seconds = self.engine.limits.ping_interval.as_secs();
            let hello = Control::hello(state.walk.cursor(), recovered, self.id, ping_seconds);
            self.say(&mut state, &hello.frame());
        }
        drop(state);
        let feed = *self.engine.log.feed().borrow();
        self.tell_feed(feed);
    }

    /// Makes its own task its writer.
    fn take_over(&self, state: &mut State) {
        let handle = self.engine.workers.get(self.worker);
        match (state.holder, handle) {
            (Holder::Task, _) | (_, None) => {}
            (Holder::Joining, Some(_)) => state.take_back(),
            (Holder::Worker, Some(handle)) => {
                // What the worker has passed without this session wanting it counts as met.
                let done = handle.done();
                state.walk.passed(done.next, done.read);
                state.take_back();
                handle.send(Command::Leave(self.id));
            }
        }
        self.wake.notify_one();
    }

    /// Writes a control frame as soon as may be.
    fn say(&self, state: &mut State, frame: &[u8]) {
        if state.ending.is_some() || state.gone {
            return;
        }
        if state.outbox.control(frame).is_err() {
            return self.end_now(state, Close::Abuse);
        }
        // Most often the socket has room: the frame leaves at once, without anybody being woken.
        match task::write_once(&self.stream, &mut state.outbox) {
            Ok(_) if state.outbox.is_empty() => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                state.gone = true;
                self.take_over(state);
            }
            Ok(_) | Err(_) => self.take_over(state),
        }
    }

    /// Ends it with a code.
    pub(crate) fn end(&self, close: Close) {
        self.end_now(&mut self.state(), close);
    }

    fn end_now(&self, state: &mut State, close: Close) {
        if state.ending.is_none() {
            state.ending = Some(close);
            state.outbox.end_with(&frame::close(close));
            self.take_over(state);
        }
    }

    /// The connection is gone: nobody writes any more.
    fn leave(&self) {
        let mut state = self.state();
        state.gone = true;
        self.take_over(&mut state);
    }

    /// The code it is ended with.
    fn ending(&self) -> Option<Close> {
        self.state().ending
    }

    /// Whether it is ending or gone.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.ending.is_some() || state.gone
    }

    /// As whom it is here now.
    pub(crate) fn access(&self) -> Access {
        self.state().access.clone()
    }

    /// Ends it where its token has ended or its token's key was withdrawn.
    pub(crate) fn end_unless_allowed(&self) {
        if !self.engine.gate.allows(&self.access()) {
            self.end(Close::Unauthorized);
        }
    }

    /// Tells the client to move, where it can be told; says whether it could.
    pub(crate) fn go_away(&self, reason: &'static str, within_ms: u64) -> bool {
        let mut state = self.state();
        let told = state.control && !std::mem::replace(&mut state.told_to_go, true);
        if told {
            self.say(&mut state, &Control::Goaway { reason, within_ms }.frame());
        }
        told
    }

    /// Moves a session that is old enough, and knows how to move, to whichever replica it reaches next.
    pub(crate) fn grow_old(&self, notice: Duration) {
        if Instant::now() < self.expires || !self.state().control {
            return;
        }
        let within_ms = u64::try_from(notice.as_millis()).unwrap_or(u64::MAX);
        if !self.go_away("max_age", within_ms) {
            self.end(Close::GoingAway);
        }
    }

    /// Asks whether the client is still there; one that keeps up and has not said anything since the last time is
    /// taken for gone.
    pub(crate) fn ping(&self) {
        let mut state = self.state();
        if state.asks_again() {
            self.say(&mut state, frame::PING);
        } else {
            state.gone = true;
            self.take_over(&mut state);
        }
    }

    /// Tells a quiet client up to where there was nothing for it, so that it resumes from there.
    pub(crate) fn tell_position(&self) {
        let mut state = self.state();
        let busy = std::mem::take(&mut state.sent_lately);
        // A position must not overtake an event that waits for the socket.
        if !state.control || busy || !state.outbox.is_empty() {
            return;
        }
        if let (Holder::Worker, Some(handle)) = (state.holder, self.engine.workers.get(self.worker)) {
            let done = handle.done();
            state.walk.passed(done.next, done.read);
        }
        let at = state.walk.cursor();
        if at.sequence > state.told {
            state.told = at.sequence;
            self.say(&mut state, &Control::Position { at }.frame());
        }
    }

    /// Tells the client whether this replica hears the broker, where that has changed.
    pub(crate) fn tell_feed(&self, feed: FeedState) {
        let mut state = self.state();
        if state.control && std::mem::replace(&mut state.told_feed, feed) != feed {
            self.say(&mut state, &Control::status(feed).frame());
        }
    }
}
