//! Sessions end when what allowed them does.
//!
//! **Owns** the one queue of all sessions' ends, so that no session has a timer of its own, and the look over
//! all of them when a key is withdrawn. **May not** judge a token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::close::Close;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Gate, now_ms};
use crate::registry::Registry;
use crate::session::Session;

/// The queue is looked at this often at least: the clock that tokens go by may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The sessions in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct Curfew {
    /// By the end, in milliseconds since 1970, and the session's number.
    due: Mutex<BTreeMap<(u64, u64), Arc<Session>>>,
    wake: Notify,
}

impl Curfew {
    fn due(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Arc<Session>>> {
        // A map is whole between its methods: a panic elsewhere cannot have left it half changed.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a session in time, from here on by `access`.
    pub(crate) fn add(&self, session: &Arc<Session>, access: &Access) {
        let Some(ends_ms) = access.ends_ms() else { return };
        let mut due = self.due();
        due.insert((ends_ms, session.id()), Arc::clone(session));
        let is_next = due.first_key_value().is_some_and(|(key, _)| *key == (ends_ms, session.id()));
        drop(due);
        if is_next {
            self.wake.notify_one();
        }
    }

    /// Forgets a session that has this access no more.
    pub(crate) fn remove(&self, session: &Session, access: &Access) {
        if let Some(ends_ms) = access.ends_ms() {
            self.due().remove(&(ends_ms, session.id()));
        }
    }

    /// Ends sessions until `stop`.
    pub(crate) async fn run(&self, gate: &Gate, registry: &Registry, stop: CancellationToken) {
        let mut keys = gate.changes();
        loop {
            tokio::select! {
                () = sleep(self.end_what_is_due()) => {}
                () = self.wake.notified() => {}
                () = keys.next() => registry.all().iter().for_each(|session| session.end_unless_allowed()),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Ends those whose time has come; says how long to wait for the next.
    fn end_what_is_due(&self) -> Duration {
        let now = now_ms();
        let (due, wait) = {
            let mut queue = self.due();
            let later = queue.split_off(&(now + 1, 0));
            let due = std::mem::replace(&mut *queue, later);
            let wait = queue.first_key_value().map(|((ends_ms, _), _)| Duration::from_millis(ends_ms - now));
            (due, wait)
        };
        due.into_values().for_each(|session| session.end(Close::Unauthorized));
        wait.map_or(LOOK_INTERVAL, |wait| wait.min(LOOK_INTERVAL))
    }
}
