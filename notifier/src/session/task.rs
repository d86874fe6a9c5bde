//! A session's own task: looks after what its client sends, and writes while the session is behind.
//!
//! **Owns** the turns of a session that does not keep up, its way through the stream behind the ring, and
//! the limits of its slowness. While a worker holds the session, the task sleeps until there is something
//! to read.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::close::Close;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::answers::{Glance, finished, read};
use super::inbound::{Fragments, ReadEnd};
use super::outbox::{Outbox, PIECES_MAX};
use super::pace::{Lag, Waited, wait, waited};
use super::{Holder, Session, State};
use crate::control::Control;
use crate::frame;
use crate::store::Busy;
use crate::walk::{Request, Step, Stretch};
use crate::worker::{Command, Joining};

/// For a client to take the close frame and answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Writes in a row before other sessions of the same thread get their turn.
const WRITES_A_TURN_MAX: usize = 16;
/// After how long to come again where too many catch up.
const BUSY_RETRY_SECONDS: u16 = 5;

/// What a turn of writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A worker writes.
    Held,
    /// The socket takes no more for now.
    Blocked,
    /// There is more, but others shall have their turn.
    More,
    /// The ring has moved on.
    Behind(Request),
    /// The last frame was written.
    Ended(Close),
    /// The connection is gone.
    Gone,
}

type Catching = Pin<Box<dyn Future<Output = Result<Arc<Stretch>, Busy>> + Send>>;

/// Runs a session to its end; `unread` is what came with the handshake. Says why it ended, where a close
/// frame did.
pub(crate) async fn run(session: &Arc<Session>, unread: Bytes) -> Option<Close> {
    let end = serve(session, unread).await;
    session.leave();
    if end.heard {
        Box::pin(linger(&session.stream)).await;
    }
    end.close
}

/// How a session ended.
struct End {
    /// The code it was ended with.
    close: Option<Close>,
    /// Whether the socket took the close frame.
    heard: bool,
}

impl End {
    fn gone() -> End {
        End { close: None, heard: false }
    }
}

async fn serve(session: &Arc<Session>, unread: Bytes) -> End {
    let mut reading = (!unread.is_empty()).then(|| read(session, unread, Fragments::default()));
    let mut message = Fragments::default();
    let mut catching: Option<Catching> = None;
    let mut lag = Lag::default();
    loop {
        let turn = if catching.is_some() { session.flush(&mut lag) } else { session.turn(&mut lag) };
        match turn {
            Turn::Ended(close) => return End { close: Some(close), heard: true },
            Turn::Gone => return End::gone(),
            Turn::More => {
                tokio::task::yield_now().await;
                continue;
            }
            Turn::Behind(request) if catching.is_none() => catching = Some(catch_up(session, request)),
            Turn::Held | Turn::Blocked | Turn::Behind(_) => {}
        }
        let blocked = turn == Turn::Blocked;
        let mut waiting =
            session.time_limit(blocked, &mut lag).map(|limit| wait(Arc::clone(&session.stream), blocked, limit));
        tokio::select! {
            end = finished(&mut reading) => {
                reading = None;
                match end {
                    (ReadEnd::Idle, fragments) => message = fragments,
                    (ReadEnd::Gone, _) => return End::gone(),
                    (ReadEnd::Refused(close), _) => session.end(close),
                }
            }
            // The stream's `readable()` would be a fifth of what an idle session costs; this is a pointer.
            ready = poll_fn(|context| session.stream.poll_read_ready(context)), if reading.is_none() => match ready {
                Ok(()) => match session.glance() {
                    Glance::Nothing => {}
                    Glance::Bytes(bytes) => reading = Some(read(session, bytes, std::mem::take(&mut message))),
                    Glance::End => return End::gone(),
                },
                Err(_) => return End::gone(),
            },
            outcome = waited(&mut waiting) => match outcome {
                Waited::Writable => {}
                Waited::Gone => return End::gone(),
                Waited::TimeIsUp if session.is_over() => return End { close: session.ending(), heard: false },
                Waited::TimeIsUp if lag.is_too_slow(&session.engine.limits.least) => session.end(Close::TooSlow),
                Waited::TimeIsUp => {}
            },
            stretch = caught_up(&mut catching) => {
                catching = None;
                session.supply(stretch);
            }
            () = session.wake.notified() => {}
        }
    }
}

impl Session {
    /// Writes until the socket is full or the head is reached, where a worker takes over.
    fn turn(self: &Arc<Session>, lag: &mut Lag) -> Turn {
        let mut state = self.state();
        let turn = self.write_on(&mut state, lag);
        // Nobody knows how long what comes next will take.
        state.walk.let_go();
        turn
    }

    fn write_on(self: &Arc<Session>, state: &mut State, lag: &mut Lag) -> Turn {
        if state.gone {
            return Turn::Gone;
        }
        if state.holder != Holder::Task {
            return Turn::Held;
        }
        for _ in 0..WRITES_A_TURN_MAX {
            if state.outbox.is_empty() {
                if let Some(close) = state.ending {
                    return Turn::Ended(close);
                }
                if let Some(change) = state.change.take() {
                    state.filter = state.access.narrow(state.asked.as_ref());
                    let filter = change.filter.then(|| Control::Filter { at: state.walk.cursor() });
                    let token = change.token.map(|expires_at| Control::Token { expires_at });
                    for answer in token.into_iter().chain(filter) {
                        // The outbox is empty: there is room.
                        let _ = state.outbox.control(&answer.frame());
                    }
                    continue;
                }
                let step = self.engine.log.read(|ring| state.walk.step(ring, state.filter.as_deref()));
                match step.unwrap_or(Step::Head) {
                    Step::Head => {
                        *lag = Lag::default();
                        return self.join(state);
                    }
                    Step::Behind(request) => return Turn::Behind(request),
                    Step::Events(chunk, wanted) => {
                        if wanted.events > 0 {
                            self.engine.metrics.delivered(wanted.events as u64, wanted.bytes() as u64);
                            state.sent(chunk.last().sequence);
                            state.outbox.load(chunk, wanted.runs);
                        }
                    }
                    Step::Gap(gap) if state.control => {
                        state.told = gap.before.sequence;
                        // The outbox is empty: there is room.
                        let _ = state.outbox.control(&Control::gap(&gap).frame());
                    }
                    Step::Erased(erasure) => {
                        if let Some(frame) = state.word_of(&erasure) {
                            // The outbox is empty: there is room.
                            let _ = state.outbox.control(&frame);
                        }
                    }
                    // A client that knows no gap frame must not be left with a silent one.
                    Step::Gap(_) => self.end_now(state, Close::TooSlow),
                }
            }
            match write_once(&self.stream, &mut state.outbox) {
                Ok(0) => {}
                Ok(written) => lag.took(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Blocked,
                Err(_) => return Turn::Gone,
            }
        }
        Turn::More
    }

    /// Writes what is in the outbox only: what comes next is being read from the stream.
    fn flush(&self, lag: &mut Lag) -> Turn {
        let mut state = self.state();
        while !state.gone && !state.outbox.is_empty() {
            match write_once(&self.stream, &mut state.outbox) {
                Ok(written) => lag.took(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Blocked,
                Err(_) => return Turn::Gone,
            }
        }
        match state.ending {
            _ if state.gone => Turn::Gone,
            Some(close) => Turn::Ended(close),
            None => Turn::Held,
        }
    }

    fn join(self: &Arc<Session>, state: &mut State) -> Turn {
        if let (Some(handle), Some(next)) = (self.engine.workers.get(self.worker), state.walk.next_index()) {
            state.holder = Holder::Joining;
            let (held, filter) = (state.held, state.filter.clone());
            handle.send(Command::Join(Joining { session: Arc::clone(self), held, next, filter }));
        }
        Turn::Held
    }

    fn supply(&self, stretch: Result<Arc<Stretch>, Busy>) {
        let mut state = self.state();
        match stretch {
            Ok(stretch) => match state.walk.supply(stretch) {
                Some(gap) if state.control => {
                    state.told = gap.before.sequence;
                    // Answers may wait in front of it: a gap that finds no room is not kept silent.
                    if state.outbox.control(&Control::gap(&gap).frame()).is_err() {
                        self.end_now(&mut state, Close::Abuse);
                    }
                }
                Some(_) => self.end_now(&mut state, Close::TooSlow),
                None => {}
            },
            Err(Busy) => self.end_now(&mut state, Close::NoRoom { retry_seconds: BUSY_RETRY_SECONDS }),
        }
    }

    /// Until when the state a turn has come to may last.
    fn time_limit(&self, blocked: bool, lag: &mut Lag) -> Option<Instant> {
        if self.is_over() {
            return Some(lag.ending_since() + CLOSE_TIMEOUT);
        }
        blocked.then(|| lag.blocked(&self.engine.limits.least))
    }
}

fn catch_up(session: &Arc<Session>, request: Request) -> Catching {
    let engine = Arc::clone(&session.engine);
    Box::pin(async move {
        let _counted = engine.metrics.catching_up();
        engine.store.stretch(request).await
    })
}

/// One write of what the outbox has; returns the bytes taken.
pub(super) fn write_once(stream: &TcpStream, outbox: &mut Outbox) -> io::Result<usize> {
    if outbox.is_empty() {
        return Ok(0);
    }
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    let count = outbox.pieces(&mut pieces);
    let written = stream.try_write_vectored(pieces.get(..count).unwrap_or_default())?;
    outbox.advance(written);
    Ok(written)
}

/// Lets the client read the close frame: a socket dropped with bytes unread would be reset, and the frame
/// lost with it.
async fn linger(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let mut waste = [0; 512];
    let _ = timeout(CLOSE_TIMEOUT, async {
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut waste) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    })
    .await;
}

async fn caught_up(catching: &mut Option<Catching>) -> Result<Arc<Stretch>, Busy> {
    match catching {
        Some(catching) => catching.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Ends a connection that was upgraded only to be refused.
pub(crate) async fn refuse(mut stream: TcpStream, close: Close, limit: Duration) {
    let written = timeout(limit, stream.write_all(&frame::close(close))).await;
    if let Ok(Ok(())) = written {
        linger(&stream).await;
    }
}
