//! What the feed's state means for the process's readiness.
//!
//! **Owns** the rule: not ready before the ring is filled, and not after a stall that has lasted. A short
//! stall changes nothing: sessions stay, and an election of the broker's must not take every replica away.

use std::sync::Arc;
use std::time::Duration;

use shared::admin::Readiness;
use shared::broker::Broker;
use tokio::sync::watch;

use crate::log::{FeedState, Log};

/// The part of readiness the feed answers for.
const READINESS: &str = "feed";

/// Turns the feed's state into readiness, as long as there is one. What is wrong with the connection is said
/// with it. Not ready from the call on, so that no probe comes first.
pub(crate) fn watch(
    log: Arc<Log>,
    broker: Broker,
    readiness: Readiness,
    stall_max: Duration,
) -> impl Future<Output = ()> {
    readiness.not_ready(READINESS, "starting");
    follow(log, broker, readiness, stall_max)
}

async fn follow(log: Arc<Log>, mut broker: Broker, readiness: Readiness, stall_max: Duration) {
    let mut feed = log.feed();
    loop {
        let state = *feed.borrow_and_update();
        let change = match state {
            FeedState::Starting => {
                let waiting = "the ring is not filled yet: waiting for the broker and its stream".to_owned();
                readiness.not_ready(READINESS, broker.trouble().unwrap_or(waiting));
                tokio::select! { change = changed(&mut feed) => change, () = broker.changed() => Some(()) }
            }
            FeedState::Live => {
                readiness.ready(READINESS);
                changed(&mut feed).await
            }
            FeedState::Stalled { .. } => match tokio::time::timeout(stall_max, ended(&mut feed)).await {
                Ok(change) => change,
                Err(_) => {
                    let silent = format!("nothing heard from the broker for {stall_max:?}");
                    readiness.not_ready(READINESS, broker.trouble().unwrap_or(silent));
                    ended(&mut feed).await
                }
            },
        };
        if change.is_none() {
            return;
        }
    }
}

async fn changed(feed: &mut watch::Receiver<FeedState>) -> Option<()> {
    feed.changed().await.ok()
}

/// Waits until the feed is no longer stalled: it may stall anew in between, which is one stall.
async fn ended(feed: &mut watch::Receiver<FeedState>) -> Option<()> {
    feed.wait_for(|state| !matches!(state, FeedState::Stalled { .. })).await.ok().map(drop)
}
