//! What a replica does when it has met a tombstone.
//!
//! **Owns** that nothing in this process shows any more what the tombstone covers. The ring let go of it when the
//! feed met it; here it is waited for those who had taken it out of the ring before, in the order in which it
//! leaves their hands: workers pass it on to sessions, sessions to their sockets.

use std::sync::Arc;

use crate::engine::Engine;
use crate::log::Met;
use crate::registry::Registry;

/// Sessions looked at before other tasks of the thread get their turn.
const SESSIONS_A_TURN: usize = 256;

/// Follows the tombstones that are met.
pub(crate) async fn run(engine: Arc<Engine>, sessions: Arc<Registry>) {
    let mut erased = engine.log.erased();
    loop {
        let newest = *erased.borrow_and_update();
        if let Some(met) = newest {
            apply(&engine, &sessions, met).await;
            engine.log.applied(met);
        }
        if erased.changed().await.is_err() {
            return;
        }
    }
}

async fn apply(engine: &Engine, sessions: &Registry, met: Met) {
    for worker in &engine.workers {
        worker.passed(met.next).await;
    }
    for (count, session) in sessions.all().into_iter().enumerate() {
        session.forget();
        if count % SESSIONS_A_TURN == SESSIONS_A_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    engine.store.forget();
}
