//! What happens to every session now and then: pings, positions, age, news of the feed.
//!
//! **Owns** the wheel that spreads them over time, so that no session has a timer of its own and no two
//! thousand are pinged at once.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::registry::Registry;

/// Ticks from one ping of a session to the next.
const PING_TICKS: usize = 100;
/// Ticks from one look at its position to the next; divides the above.
const POSITION_TICKS: usize = 20;
/// Sessions looked after before other tasks of the thread get their turn.
const SESSIONS_A_TURN: usize = 256;

/// Looks after the sessions until `stop`.
pub(crate) async fn run(engine: Arc<Engine>, registry: Arc<Registry>, stop: CancellationToken) {
    let mut feed = engine.log.feed();
    let mut ticks = interval(engine.limits.ping_interval / PING_TICKS as u32);
    // After a pause of the whole process pings must not come in a burst: clients are answered for late.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tick = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                turn(&engine, &registry, tick).await;
                tick = (tick + 1) % PING_TICKS;
            }
            changed = feed.changed() => {
                if changed.is_err() {
                    return;
                }
                let state = *feed.borrow_and_update();
                for (count, session) in registry.all().into_iter().enumerate() {
                    session.tell_feed(state);
                    breathe(count).await;
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

async fn turn(engine: &Engine, registry: &Registry, tick: usize) {
    for (count, (slot, session)) in registry.one_in(POSITION_TICKS, tick % POSITION_TICKS).into_iter().enumerate() {
        session.tell_position();
        if slot % PING_TICKS == tick {
            session.ping();
            session.grow_old(engine.limits.ping_interval);
        }
        breathe(count).await;
    }
}

async fn breathe(count: usize) {
    if count % SESSIONS_A_TURN == SESSIONS_A_TURN - 1 {
        tokio::task::yield_now().await;
    }
}
