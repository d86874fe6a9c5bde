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

use crate::access::Access;
use crate::engine::Engine;
use crate::error::Refusal;
use crate::filter::Filter;
use crate::handshake::Upgrade;
use crate::log::FeedState;
use crate::opening;
use crate::params::Params;
use crate::peer::{Crowd, Presence, one_of};
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
    addresses: Arc<Crowd<IpAddr>>,
    users: Arc<Crowd<String>>,
    tasks: TaskTracker,
    draining: Draining,
}

/// What a session asks for, and as whom.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) params: Params,
    pub(crate) access: Access,
}

impl Wish {
    /// What it gets to see.
    pub(crate) fn filter(&self) -> Option<Arc<Filter>> {
        self.access.narrow(self.params.filter.as_ref())
    }
}

/// How many sessions there may be at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) sessions: u32,
    pub(crate) a_user: u32,
    pub(crate) an_address: u32,
}

/// A session's right to be, held as long as it is.
#[derive(Debug)]
pub(crate) struct Admission {
    _place: OwnedSemaphorePermit,
    _address: Presence<IpAddr>,
    _user: Option<Presence<String>>,
}

impl Sessions {
    pub(crate) fn new(engine: Arc<Engine>, registry: Arc<Registry>, most: &Most) -> Sessions {
        Sessions {
            engine,
            registry,
            ids: AtomicU64::new(1),
            places: Arc::new(Semaphore::new(most.sessions as usize)),
            addresses: Crowd::new(most.an_address),
            users: Crowd::new(most.a_user),
            tasks: TaskTracker::new(),
            draining: Draining::default(),
        }
    }

    /// A place for one more session of an address and a user.
    pub(crate) fn admit(&self, address: IpAddr, access: &Access) -> Result<Admission, Refusal> {
        if self.draining.signal.is_cancelled() {
            return Err(Refusal::Draining);
        }
        if *self.engine.log.feed().borrow() == FeedState::Starting {
            let detail = "this replica has not read the stream yet";
            return Err(Refusal::NoRoom { detail, retry_seconds: STARTING_RETRY_SECONDS });
        }
        let address = self.addresses.enter(one_of(address)).ok_or(Refusal::Crowd)?;
        let user = match access.user() {
            Some(user) => Some(self.users.enter(user.to_owned()).ok_or(Refusal::UserCrowd)?),
            None => None,
        };
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Admission { _place: place, _address: address, _user: user }),
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
    pub(crate) fn start(self: &Arc<Sessions>, upgrade: Upgrade, wish: Wish, control: bool, admission: Admission) {
        let sessions = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Ok(Some((stream, unread))) = timeout(HANDSHAKE_TIMEOUT, upgrade.socket()).await {
                // The opening is done with before the session's long life begins: its memory with it.
                if let Some(session) = Box::pin(sessions.open(stream, wish, control)).await {
                    sessions.run(session, unread).await;
                }
            }
            drop(admission);
        });
    }

    async fn open(&self, stream: TcpStream, wish: Wish, control: bool) -> Option<Arc<Session>> {
        let filter = wish.filter();
        match opening::open(&self.engine, wish.params.start, filter.as_deref(), control).await {
            Ok((walk, recovered)) => {
                let id = self.ids.fetch_add(1, Ordering::Relaxed);
                let Wish { params, access } = wish;
                let opening = Opening { walk, asked: params.filter, access, control };
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
        self.engine.curfew.add(&session, &session.access());
        // What happened before it was in these lists has passed it by.
        session.end_unless_allowed();
        if self.draining.signal.is_cancelled() {
            session.end(Close::GoingAway);
        }
        let feed = *self.engine.log.feed().borrow();
        session.tell_feed(feed);
        let ended = session::task::run(&session, unread).await;
        self.engine.curfew.remove(&session, &session.access());
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
        assert!(size_of::<Session>() <= 328, "{}", size_of::<Session>());
        assert!(task <= 700, "{task}");
    }
}
