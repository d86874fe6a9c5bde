//! The coming and going of sessions.
//!
//! **Owns** admission, the limits, and the drain: every session is counted from before its handshake is
//! answered to its last byte. **May not** know what a session sends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shared::close::Close;
use shared::drain;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::engine::Engine;
use crate::error::Refusal;
use crate::handshake::Upgrade;
use crate::log::FeedState;
use crate::opening;
use crate::params::Params;
use crate::peer::{Crowd, Presence};
use crate::registry::Registry;
use crate::session::{self, Opening, Session};
use crate::sse::Draining;

/// From the answer of a handshake to the socket being ours: the time a client may take to read it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For a client to take a close frame that refuses it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// After how long to come again where there is no room.
const NO_ROOM_RETRY_SECONDS: u16 = 5;
/// After how long to come again where the ring is being filled.
const STARTING_RETRY_SECONDS: u16 = 1;
/// What is left of the drain for the last sessions to say goodbye.
const FAREWELL: Duration = Duration::from_millis(2500);

/// The sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    engine: Arc<Engine>,
    registry: Arc<Registry>,
    ids: AtomicU64,
    places: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    tasks: TaskTracker,
    draining: Draining,
}

/// A session's right to be, held as long as it is.
#[derive(Debug)]
pub(crate) struct Admission {
    _place: OwnedSemaphorePermit,
    _presence: Presence,
}

impl Sessions {
    pub(crate) fn new(engine: Arc<Engine>, registry: Arc<Registry>, most: u32, most_an_address: u32) -> Sessions {
        Sessions {
            engine,
            registry,
            ids: AtomicU64::new(1),
            places: Arc::new(Semaphore::new(most as usize)),
            crowd: Crowd::new(most_an_address),
            tasks: TaskTracker::new(),
            draining: Draining::default(),
        }
    }

    /// A place for one more session of an address.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Admission, Refusal> {
        if self.draining.signal.is_cancelled() {
            return Err(Refusal::Draining);
        }
        if *self.engine.log.feed().borrow() == FeedState::Starting {
            let detail = "this replica has not read the stream yet";
            return Err(Refusal::NoRoom { detail, retry_seconds: STARTING_RETRY_SECONDS });
        }
        let presence = self.crowd.enter(address).ok_or(Refusal::Crowd)?;
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Admission { _place: place, _presence: presence }),
            Err(_) => Err(Refusal::NoRoom {
                detail: "this replica has as many sessions as it may have",
                retry_seconds: NO_ROOM_RETRY_SECONDS,
            }),
        }
    }

    /// How streams learn of the end.
    pub(crate) fn draining(&self) -> Draining {
        self.draining.clone()
    }

    /// Starts the session of a handshake that is being answered.
    pub(crate) fn start(self: &Arc<Sessions>, upgrade: Upgrade, params: Params, control: bool, admission: Admission) {
        let sessions = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Ok(Some((stream, unread))) = timeout(HANDSHAKE_TIMEOUT, upgrade.socket()).await {
                // The opening is done with before the session's long life begins: its memory with it.
                if let Some(session) = Box::pin(sessions.open(stream, params, control)).await {
                    sessions.run(session, unread).await;
                }
            }
            drop(admission);
        });
    }

    async fn open(&self, stream: TcpStream, params: Params, control: bool) -> Option<Arc<Session>> {
        match opening::open(&self.engine, &params, control).await {
            Ok((walk, recovered)) => {
                let id = self.ids.fetch_add(1, Ordering::Relaxed);
                let opening = Opening { walk, filter: opening::shared_filter(params), control };
                let session = Session::new(id, stream, Arc::clone(&self.engine), opening);
                session.greet(recovered);
                Some(session)
            }
            Err(close) => {
                self.engine.metrics.refused(Some(close));
                session::task::refuse(stream, close, REFUSAL_TIMEOUT).await;
                None
            }
        }
    }

    async fn run(&self, session: Arc<Session>, unread: Bytes) {
        let kind = session.kind();
        self.engine.metrics.opened(kind);
        let registered = self.registry.add(Arc::clone(&session));
        if self.draining.signal.is_cancelled() {
            session.end(Close::GoingAway);
        }
        let ended = session::task::run(&session, unread).await;
        drop(registered);
        self.engine.metrics.closed(kind, ended);
    }

    /// Tells a client that was upgraded only to be refused.
    pub(crate) fn refuse(&self, upgrade: Upgrade, close: Close) {
        self.engine.metrics.refused(Some(close));
        self.tasks.spawn(async move {
            if let Ok(Some((stream, _))) = timeout(HANDSHAKE_TIMEOUT, upgrade.socket()).await {
                session::task::refuse(stream, close, REFUSAL_TIMEOUT).await;
            }
        });
    }

    /// Takes no more sessions and ends those there are, evenly until `deadline`: their clients connect to
    /// other replicas, and all at once would be too much for those.
    pub(crate) async fn drain(&self, deadline: Instant) {
        let _ = self.draining.deadline.set(deadline);
        self.draining.signal.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.spread(deadline) => {}
        }
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.tasks.len(), "sessions were still open at the end of the drain: leaving them");
        }
        self.engine.metrics.draining(0);
    }

    async fn spread(&self, deadline: Instant) {
        let start = Instant::now();
        let window = drain::left(deadline).saturating_sub(FAREWELL);
        let within_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        // Those that were told to move have half of the window to do so by themselves.
        let (told, untold): (Vec<_>, Vec<_>) =
            self.registry.all().into_iter().partition(|session| session.go_away("drain", within_ms));
        let part = |of: usize, at: usize| at as f64 / of.max(1) as f64;
        let count = (untold.len(), told.len());
        let untold = untold.into_iter().enumerate().map(|(at, session)| (part(count.0, at), session));
        let told = told.into_iter().enumerate().map(|(at, session)| (0.5 + part(count.1, at) / 2.0, session));
        let mut ends: Vec<(f64, Arc<Session>)> = untold.chain(told).collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (at, session) in ends {
            self.engine.metrics.draining(self.tasks.len());
            sleep_until(start + window.mul_f64(at)).await;
            session.end(Close::GoingAway);
        }
        // Those whose handshake was under way when the others were listed.
        self.registry.all().iter().for_each(|session| session.end(Close::GoingAway));
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future a function makes, without making one.
    fn size_of_future<F>(_: impl Fn(Arc<Sessions>, Arc<Session>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_a_session_holds_while_it_is_idle_stays_small() {
        let task = size_of_future(|sessions, session| async move { sessions.run(session, Bytes::new()).await });
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
        assert!(task <= 700, "{task}");
    }
}
