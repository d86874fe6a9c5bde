//! Where a new session begins, and what it is told of that.
//!
//! **Owns** the judgement of `since`: served from the ring, from the stream behind it, after a wait for a
//! replica that is behind the client, or not at all, never with wrong events.

use shared::close::Close;
use shared::cursor::Cursor;
use tokio::time::{Instant, timeout, timeout_at};

use crate::chunk::{Entry, Place};
use crate::control::Recovered;
use crate::engine::Engine;
use crate::filter::{Filter, wants};
use crate::metrics::Resumed;
use crate::params::Start;
use crate::ring::{GapReason, Resume};
use crate::walk::{Step, Walk};

/// After how long to come again where it cannot be told now.
const RETRY_SECONDS: u16 = 5;

/// Where a session begins that sees what passes `filter`.
///
/// # Errors
/// The code to end with where it cannot begin.
pub(crate) async fn open(
    engine: &Engine,
    start: Start,
    filter: Option<&Filter>,
    control: bool,
) -> Result<(Walk, Recovered), Close> {
    let not_asked = |walk: Option<Walk>| Ok((walk.ok_or(not_now())?, Recovered::NotAsked));
    let cursor = match start {
        Start::Head => return not_asked(engine.log.read(Walk::at_head)),
        Start::Last(count) => {
            let wanted = |entry: &Entry| wants(filter, &entry.labels);
            return not_asked(engine.log.read(|ring| Walk::at_last(ring, count, wanted)));
        }
        Start::Since(cursor) => cursor,
    };
    let (recovered, walk, outcome) = match since(engine, &cursor).await? {
        Since::Ring(next) => {
            let read = Place { sequence: cursor.sequence, stored_ms: cursor.stored_ms };
            (Recovered::Yes, Some(Walk::in_ring(cursor.epoch, next, read)), Resumed::FromRing)
        }
        Since::Stream => (Recovered::Yes, Some(Walk::from_stream(&cursor)), Resumed::FromStream),
        Since::Gone(reason) => {
            let walk = match reason {
                GapReason::Retention => Some(Walk::from_kept(&cursor)),
                GapReason::Epoch => engine.log.read(|ring| Walk::from_oldest(ring.epoch())),
            };
            (Recovered::No(reason), walk.filter(|_| control), Resumed::Refused)
        }
    };
    engine.metrics.resumed(outcome);
    // A client that cannot be told is not left with a silent gap.
    Ok((walk.ok_or(Close::CursorGone)?, recovered))
}

fn not_now() -> Close {
    Close::NoRoom { retry_seconds: RETRY_SECONDS }
}

enum Since {
    Ring(u64),
    Stream,
    Gone(GapReason),
}

async fn since(engine: &Engine, cursor: &Cursor) -> Result<Since, Close> {
    let deadline = Instant::now() + engine.limits.lag_timeout;
    let mut head = engine.log.head();
    loop {
        head.mark_unchanged();
        let (epoch, resume) = engine.log.read(|ring| (ring.epoch(), ring.resume(cursor))).ok_or(not_now())?;
        match resume {
            Resume::Here(next) => return Ok(Since::Ring(next)),
            Resume::Behind => return behind(engine, cursor).await,
            // Of another history of what this replica follows.
            Resume::OtherEpoch if epoch == cursor.epoch => return Ok(Since::Gone(GapReason::Epoch)),
            // The stream may have been made anew, and this replica has not noticed yet.
            Resume::OtherEpoch => match engine.store.has_reached(cursor).await {
                Some(false) => return Ok(Since::Gone(GapReason::Epoch)),
                Some(true) => {}
                None => return Err(not_now()),
            },
            Resume::Ahead => {}
        }
        // From a replica that has heard more: this one will, or the cursor is of another life after all.
        match timeout_at(deadline, head.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => match engine.store.has_reached(cursor).await {
                Some(false) => return Ok(Since::Gone(GapReason::Epoch)),
                // It is this replica that hears too little: another one may serve the client.
                Some(true) | None => return Err(not_now()),
            },
        }
    }
}

/// Whether the stream still has everything after the cursor, and the event at it is the client's.
async fn behind(engine: &Engine, cursor: &Cursor) -> Result<Since, Close> {
    let walk = Walk::from_stream(cursor);
    let Some(Step::Behind(request)) = engine.log.read(|ring| walk.clone().step(ring, None)) else {
        return Err(not_now());
    };
    let Ok(Ok(stretch)) = timeout(engine.limits.lag_timeout, engine.store.stretch(request)).await else {
        return Err(not_now());
    };
    if stretch.epoch != cursor.epoch {
        return Ok(Since::Gone(GapReason::Epoch));
    }
    if stretch.first_kept > cursor.sequence + 1 {
        return Ok(Since::Gone(GapReason::Retention));
    }
    let known = stretch.chunks.iter().find_map(|chunk| chunk.place_of(cursor.sequence));
    match known {
        Some(place) if !place.is_same_time(cursor.stored_ms) => Ok(Since::Gone(GapReason::Epoch)),
        Some(_) | None => Ok(Since::Stream),
    }
}
