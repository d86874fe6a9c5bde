//! Delivery to the sessions that keep up.
//!
//! **Owns** those sessions' writes: when a chunk arrives, a worker goes over its sessions and writes to each,
//! without waking a task a session. A session whose socket does not take all at once is handed to its own
//! task and comes back when it has reached the head, so a slow one delays nobody. **May not** wait for a
//! socket.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use slab::Slab;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chunk::{Chunk, Place, Wanted};
use crate::engine::Engine;
use crate::erased::Erasure;
use crate::filter::Filter;
use crate::filter::index::Index;
use crate::ring::{Item, Reach};
use crate::session::outbox::PIECES_MAX;
use crate::session::{Delivered, Held, Session};

/// Chunks that one write takes together: small ones pile up while a round is under way.
const CHUNKS_A_ROUND: usize = 16;
/// Sessions written to before other tasks of the thread get their turn.
const SESSIONS_A_TURN: usize = 256;

/// What sessions and others know of a worker.
#[derive(Debug, Default)]
pub(crate) struct Handle {
    inbox: Mutex<Vec<Command>>,
    wake: Notify,
    done: Mutex<Done>,
    /// Wakes those who wait for it to come further.
    further: Notify,
}

/// Everything before item `next`, whose last event is at `read`, was written to every session it holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) next: u64,
    pub(crate) read: Place,
}

/// What a worker is asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take a session that has everything before item `next`.
    Join(Joining),
    /// Forget a session.
    Leave(u64),
}

/// A session on its way to a worker.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) session: Arc<Session>,
    pub(crate) held: Held,
    pub(crate) next: u64,
    pub(crate) filter: Option<Arc<Filter>>,
}

impl Handle {
    /// Asks the worker for something. Bounded by the sessions there are: each has one request under way.
    pub(crate) fn send(&self, command: Command) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.wake.notify_one();
    }

    /// How far it has come.
    pub(crate) fn done(&self) -> Done {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything before an item was written.
    pub(crate) async fn passed(&self, next: u64) {
        loop {
            let further = self.further.notified();
            if self.done().next >= next {
                return;
            }
            further.await;
        }
    }

    fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_done(&self, done: Done) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = done;
        self.further.notify_waiters();
    }
}

/// One of a few, each with its share of the sessions.
pub(crate) struct Worker {
    engine: Arc<Engine>,
    number: usize,
    next: u64,
    members: Slab<Member>,
    slots: HashMap<u64, usize>,
    /// Members that want everything.
    unfiltered: Vec<usize>,
    filtered: Index,
    /// Sessions that are further than this worker.
    early: Vec<Joining>,
    /// Filtered members that want something of the round's chunks.
    touched: Vec<usize>,
    /// What the round has written.
    events: u64,
    bytes: u64,
}

struct Member {
    session: Arc<Session>,
    held: Held,
    filter: Option<Arc<Filter>>,
    /// Where it stands in `unfiltered`.
    position: usize,
    /// What it wants of each of the round's chunks.
    wanted: Vec<(usize, Wanted)>,
}

impl Worker {
    pub(crate) fn new(engine: Arc<Engine>, number: usize) -> Worker {
        Worker {
            engine,
            number,
            next: 0,
            members: Slab::new(),
            slots: HashMap::new(),
            unfiltered: Vec::new(),
            filtered: Index::default(),
            early: Vec::new(),
            touched: Vec::new(),
            events: 0,
            bytes: 0,
        }
    }

    fn handle(&self) -> Option<&Handle> {
        self.engine.workers.get(self.number)
    }

    /// Delivers until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let engine = Arc::clone(&self.engine);
        let Some(handle) = engine.workers.get(self.number) else { return };
        let mut head = engine.log.head();
        loop {
            head.mark_unchanged();
            self.obey(handle.take());
            if self.round().await {
                continue;
            }
            tokio::select! {
                _ = head.changed() => {}
                () = handle.wake.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Writes what is new to everybody; says whether there was anything.
    async fn round(&mut self) -> bool {
        if self.members.is_empty() {
            return self.skip();
        }
        let mut chunks = Vec::with_capacity(CHUNKS_A_ROUND);
        let mut after = None;
        while chunks.len() < CHUNKS_A_ROUND {
            match self.engine.log.at(self.next + chunks.len() as u64) {
                Reach::Item(Item::Events(chunk)) => chunks.push(chunk),
                other => {
                    after = Some(other);
                    break;
                }
            }
        }
        if let Some(last) = chunks.last().map(|chunk| chunk.last()) {
            self.deliver(&chunks).await;
            self.next += chunks.len() as u64;
            self.done(last);
            let (events, bytes) = (std::mem::take(&mut self.events), std::mem::take(&mut self.bytes));
            self.engine.metrics.delivered(events, bytes);
            self.engine.metrics.lag(now_ms().saturating_sub(last.stored_ms));
            return true;
        }
        match after {
            // Each session says a loss its own way, in its own task.
            Some(Reach::Item(Item::Gap(gap))) => {
                self.release_all();
                self.next += 1;
                self.done(Place { sequence: gap.before.sequence, stored_ms: gap.before.stored_ms });
                true
            }
            Some(Reach::Item(Item::Erased(erasure))) => {
                self.next += 1;
                self.tell(&erasure).await;
                self.done(erasure.tombstone.place);
                true
            }
            // This worker got no time while a whole ring passed: the sessions catch up, each at its pace.
            Some(Reach::Gone) => {
                self.release_all();
                self.skip()
            }
            Some(Reach::Head | Reach::Item(Item::Events(_))) | None => false,
        }
    }

    /// Tells everybody of an erasure.
    async fn tell(&mut self, erasure: &Erasure) {
        let members: Vec<(Arc<Session>, Held)> =
            self.members.iter().map(|(_, member)| (Arc::clone(&member.session), member.held)).collect();
        for (count, (session, held)) in members.into_iter().enumerate() {
            session.tell_erased(held, self.next, erasure);
            if count % SESSIONS_A_TURN == SESSIONS_A_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Goes to the head, with nobody to write to; says whether that is further on.
    fn skip(&mut self) -> bool {
        let head = self.engine.log.read(|ring| (ring.head_index(), ring.head()));
        let Some((next, read)) = head.filter(|(next, _)| *next != self.next) else { return false };
        self.next = next;
        self.done(read);
        true
    }

    fn done(&mut self, read: Place) {
        if let Some(handle) = self.handle() {
            handle.set_done(Done { next: self.next, read });
        }
        let (due, early) = std::mem::take(&mut self.early).into_iter().partition(|joining| joining.next <= self.next);
        self.early = early;
        self.obey(Vec::from_iter(due).into_iter().map(Command::Join).collect());
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Leave(id) => self.forget(id),
                Command::Join(joining) if joining.next > self.next => self.early.push(joining),
                // Something new has come meanwhile: it goes on by itself, and comes again.
                Command::Join(joining) if joining.next < self.next => joining.session.release(joining.held),
                Command::Join(joining) => self.add(joining),
            }
        }
    }

    fn add(&mut self, joining: Joining) {
        let Joining { session, held, filter, .. } = joining;
        let id = session.id();
        self.forget(id);
        if !session.accept(held) {
            return;
        }
        let member =
            Member { session, held, filter: filter.clone(), position: self.unfiltered.len(), wanted: Vec::new() };
        let slot = self.members.insert(member);
        self.slots.insert(id, slot);
        match filter {
            Some(filter) => self.filtered.insert(slot, &filter),
            None => self.unfiltered.push(slot),
        }
    }

    fn forget(&mut self, id: u64) {
        self.early.retain(|joining| joining.session.id() != id);
        if let Some(slot) = self.slots.remove(&id) {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: usize) -> Option<Member> {
        let member = self.members.try_remove(slot)?;
        self.slots.remove(&member.session.id());
        match &member.filter {
            Some(filter) => self.filtered.remove(slot, filter),
            None => {
                self.unfiltered.swap_remove(member.position);
                if let Some(moved) = self.unfiltered.get(member.position).and_then(|slot| self.members.get_mut(*slot)) {
                    moved.position = member.position;
                }
            }
        }
        Some(member)
    }

    fn release_all(&mut self) {
        for (_, member) in std::mem::take(&mut self.members) {
            member.session.release(member.held);
        }
        self.slots.clear();
        self.unfiltered.clear();
        self.filtered = Index::default();
    }

    async fn deliver(&mut self, chunks: &[Arc<Chunk>]) {
        let whole: Vec<(usize, Wanted)> =
            chunks.iter().enumerate().map(|(at, chunk)| (at, chunk.wanted(0, None))).collect();
        // Backwards, so that a member that is removed changes nothing before it.
        for at in (0..self.unfiltered.len()).rev() {
            if at % SESSIONS_A_TURN == SESSIONS_A_TURN - 1 {
                tokio::task::yield_now().await;
            }
            if let Some(&slot) = self.unfiltered.get(at) {
                self.write(slot, chunks, &whole);
            }
        }
        if self.filtered.is_empty() {
            return;
        }
        self.choose(chunks);
        for (count, slot) in std::mem::take(&mut self.touched).into_iter().enumerate() {
            if count % SESSIONS_A_TURN == SESSIONS_A_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let wanted = self.members.get_mut(slot).map(|member| std::mem::take(&mut member.wanted));
            self.write(slot, chunks, &wanted.unwrap_or_default());
        }
    }

    /// Finds who wants what.
    fn choose(&mut self, chunks: &[Arc<Chunk>]) {
        let (members, touched) = (&mut self.members, &mut self.touched);
        for (at, chunk) in chunks.iter().enumerate() {
            for (index, entry) in chunk.entries().iter().enumerate() {
                let run = chunk.range_of(index);
                self.filtered.candidates(&entry.labels, |slot| {
                    let Some(member) = members.get_mut(slot) else { return };
                    if !member.filter.as_ref().is_some_and(|filter| filter.holds(&entry.labels)) {
                        return;
                    }
                    if member.wanted.is_empty() {
                        touched.push(slot);
                    }
                    match member.wanted.last_mut() {
                        // An event with two of a filter's keys is found twice.
                        Some((last, wanted)) if *last == at => {
                            if wanted.runs.last().is_none_or(|last| last.end < run.end) {
                                wanted.add(run.clone(), 1);
                            }
                        }
                        Some(_) | None => {
                            let mut wanted = Wanted::default();
                            wanted.add(run.clone(), 1);
                            member.wanted.push((at, wanted));
                        }
                    }
                });
            }
        }
    }

    /// Writes to one member; it leaves where its socket does not take all.
    fn write(&mut self, slot: usize, chunks: &[Arc<Chunk>], wanted: &[(usize, Wanted)]) {
        let Some(member) = self.members.get(slot) else { return };
        let delivered = member.session.deliver(member.held, self.next, chunks, wanted);
        let taken = match delivered {
            Delivered::All => wanted.len(),
            // Those behind are counted when the session's own task comes to them.
            Delivered::Part(chunks) => chunks,
            Delivered::Nothing => 0,
        };
        for (_, wanted) in wanted.iter().take(taken) {
            self.events += wanted.events as u64;
            self.bytes += wanted.bytes() as u64;
        }
        if delivered != Delivered::All {
            self.remove(slot);
        }
    }
}

/// Writes runs of several chunks until the socket takes no more; returns the bytes it took. An error after
/// some bytes were taken comes again with the next write.
pub(crate) fn write_runs(stream: &TcpStream, chunks: &[Arc<Chunk>], wanted: &[(usize, Wanted)]) -> io::Result<usize> {
    let mut runs = wanted.iter().flat_map(|(at, wanted)| {
        let frames = chunks.get(*at).map_or(&[][..], |chunk| chunk.frames());
        wanted.runs.iter().map(|run| frames.get(run.start as usize..run.end as usize).unwrap_or_default())
    });
    let mut written = 0;
    loop {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let (mut count, mut bytes) = (0, 0);
        for (slot, run) in pieces.iter_mut().zip(runs.by_ref()) {
            *slot = IoSlice::new(run);
            (count, bytes) = (count + 1, bytes + run.len());
        }
        if count == 0 {
            return Ok(written);
        }
        match stream.try_write_vectored(pieces.get(..count).unwrap_or_default()) {
            Ok(taken) if taken == bytes => written += taken,
            Ok(taken) => return Ok(written + taken),
            Err(_) if written > 0 => return Ok(written),
            Err(error) => return Err(error),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
