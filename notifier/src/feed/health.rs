//! What the feed's state means for the process's readiness.
//!
//! **Owns** the rule: not ready before the ring is filled, and not after a stall that has lasted. A short
//! stall changes nothing: sessions stay, and an election of the broker's must not take every replica away.

use std::sync::Arc;
use std::time::Duration;

use shared::admin::Readiness;
use tokio::sync::watch;

use crate::log::{FeedState, Log};

/// The part of readiness the feed answers for.
const READINESS: &str = "feed";

/// Turns the feed's state into readiness, as long as there is one.
pub(crate) async fn watch(log: Arc<Log>, readiness: Readiness, stall_max: Duration) {
    let mut feed = log.feed();
    loop {
        let state = *feed.borrow_and_update();
        let change = match state {
            FeedState::Starting => {
                readiness.not_ready(READINESS, "the ring is not filled yet: waiting for the broker and its stream");
                changed(&mut feed).await
            }
            FeedState::Live => {
                readiness.ready(READINESS);
                changed(&mut feed).await
            }
            FeedState::Stalled { .. } => match tokio::time::timeout(stall_max, ended(&mut feed)).await {
                Ok(change) => change,
                Err(_) => {
                    readiness.not_ready(READINESS, format!("nothing heard from the broker for {stall_max:?}"));
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
