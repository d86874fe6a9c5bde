//! Erasures that were begun and not finished: the replica was ended half-way, or the broker was.
//!
//! **Owns** that what a tombstone covers is taken away in the end, whoever wrote it. Nothing of it is shown
//! meanwhile.

use std::time::Duration;

use shared::cursor::Epoch;
use tokio::time::sleep;

use super::{Eraser, Work, take_away};
use crate::access::now_ms;
use crate::erased::Tombstone;
use crate::log::FeedState;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(30);
/// How old a tombstone is before anybody but its writer looks after it.
const AGE_MS: u64 = 120_000;

/// Looks after the tombstones there are, once each, as long as this process lives.
pub(crate) async fn run(eraser: Eraser) {
    let Some(work) = eraser.work else { return };
    // Up to here all were looked after.
    let mut looked: Option<(Epoch, u64)> = None;
    loop {
        let mut feed = work.log.feed();
        if feed.wait_for(|feed| *feed == FeedState::Live).await.is_err() {
            return;
        }
        while let Some((epoch, tombstone)) = next(&work, looked) {
            if let Err(why) = finish(&work, &tombstone).await {
                tracing::warn!(%why, "an erasure that was not finished cannot be finished now: trying again");
                break;
            }
            looked = Some((epoch, tombstone.place.sequence));
        }
        sleep(PAUSE).await;
    }
}

pub(super) fn next(work: &Work, looked: Option<(Epoch, u64)>) -> Option<(Epoch, Tombstone)> {
    let old = now_ms().saturating_sub(AGE_MS);
    work.log.read(|ring| {
        let erased = ring.erased();
        let after = looked.filter(|(epoch, _)| *epoch == erased.epoch()).map_or(0, |(_, sequence)| sequence);
        let tombstone = erased.next(after, u64::MAX).filter(|tombstone| tombstone.place.stored_ms <= old)?;
        Some((erased.epoch(), *tombstone))
    })?
}

async fn finish(work: &Work, tombstone: &Tombstone) -> Result<(), super::NotErased> {
    let Tombstone { recipient, through, .. } = *tombstone;
    let events = take_away(&work.desk, &*work.storage, recipient, through).await?;
    if events > 0 {
        tracing::info!(%recipient, events, "finished an erasure that was left half done");
    }
    Ok(())
}
