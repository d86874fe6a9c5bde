//! One stretch, read from what keeps the events.
//!
//! **Owns** how large a stretch may be, and how stored events become one. What is read, how often and for whom
//! is not decided here.

use std::sync::Arc;

use shared::cursor::Epoch;

use crate::chunk::ChunkBuilder;
use crate::filter::subjects::Subjects;
use crate::storage::{Most, Part, Span, Storage, StorageError};
use crate::walk::{Request, Stretch};

/// About what a socket takes at once: a reader whose socket is full lets go of the rest and may have to ask
/// for it again.
const MOST: Most = Most { events: 512, bytes: 1 << 20 };

/// Why a stretch was not read. Trying again later may help.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRead {
    #[error(transparent)]
    Store(#[from] StorageError),
    /// Where the stream was made anew, the feed notices within seconds.
    #[error(
        "the stream has an epoch that this replica has not heard of; if `ingest new-epoch` gave it one, restart the \
         notifier"
    )]
    Unheard,
}

/// Reads what follows a place, up to what the feed has heard: in which epoch, up to which sequence.
pub(super) async fn read(
    storage: &dyn Storage,
    request: Request,
    heard: Option<(Epoch, u64)>,
) -> Result<Stretch, NotRead> {
    let span = storage.span().await?;
    let last = match heard {
        // From another stream than the ring's, readers would be sent back by the ring, and forth again.
        Some((epoch, _)) if epoch != span.epoch => return Err(NotRead::Unheard),
        Some((_, sequence)) => span.last.min(sequence),
        None => span.last,
    };
    let after = request.after.max(span.first.saturating_sub(1));
    let stretch =
        |chunks, through, first_kept| Stretch { after: request.after, chunks, through, first_kept, epoch: span.epoch };
    if span.epoch != request.epoch || after >= last {
        return Ok(stretch(Vec::new(), after, span.first));
    }
    let part = storage.range(&Subjects::default(), after, last, MOST).await?;
    // Whatever was dropped between the two looks is missing from what was read, and has to be said.
    let has_holes = holes(&part, after).next().is_some();
    let first_kept = if has_holes { first_kept(&part, after, span, storage.span().await?) } else { span.first };
    let (mut chunks, mut batch) = (Vec::new(), ChunkBuilder::new(span.epoch));
    for stored in part.events.into_iter().filter(|stored| stored.place.sequence >= first_kept) {
        let place = stored.place;
        if let Err(reason) = batch.push(place, &stored.event) {
            tracing::error!(sequence = place.sequence, %reason, "a stored message is not an event and is left out");
        }
        if batch.is_full() {
            chunks.extend(batch.take().map(Arc::new));
        }
    }
    chunks.extend(batch.take().map(Arc::new));
    Ok(stretch(chunks, part.through, first_kept))
}

/// The first sequence from which on nothing was dropped while a part was read.
fn first_kept(part: &Part, after: u64, before: Span, now: Span) -> u64 {
    let is_dropped = |hole: &u64| now.epoch == before.epoch && *hole < now.first;
    holes(part, after).take_while(is_dropped).last().map_or(before.first, |hole| hole + 1)
}

/// The sequences after a place that were not read, in order. Most are of messages that are no events, or erased.
fn holes(part: &Part, after: u64) -> impl Iterator<Item = u64> {
    let read = part.events.iter().map(|stored| stored.place.sequence).chain([part.through + 1]);
    let mut next = after + 1;
    read.flat_map(move |sequence| {
        let hole = next..sequence;
        next = sequence + 1;
        hole
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    #[tokio::test]
    async fn it_goes_no_further_than_the_feed_has_heard() {
        let store = Memory::new();
        (1..=9).for_each(|at| assert_eq!(store.store(r#"{"event":"open"}"#, at), at));
        let epoch = store.span().await.expect("a span").epoch;
        let request = Request { epoch, after: 2, from_oldest: false };
        let through = async |heard| read(&store, request, heard).await.expect("a stretch").through;
        assert_eq!(through(Some((epoch, 6))).await, 6);
        assert_eq!(through(Some((epoch, 1))).await, 2);
        assert_eq!(through(Some((epoch, 60))).await, 9);
        assert_eq!(through(None).await, 9);
        // Nor into a stream of which the feed has not noticed yet that it is another one.
        let unheard = read(&store, request, Some((Epoch::random(), 6))).await;
        assert!(matches!(unheard, Err(NotRead::Unheard)), "{unheard:?}");
    }

    #[tokio::test]
    async fn what_is_dropped_while_it_is_read_is_no_silent_hole() {
        let store = Memory::new();
        (1..=9).for_each(|at| assert_eq!(store.store(r#"{"event":"open"}"#, at), at));
        let before = store.span().await.expect("a span");
        [2, 3, 6].into_iter().for_each(|at| store.delete(at));
        let part = store.range(&Subjects::default(), 1, 8, MOST).await.expect("a part");
        assert_eq!(holes(&part, 1).collect::<Vec<_>>(), [2, 3, 6]);
        let kept = |first| first_kept(&part, 1, before, Span { first, ..before });
        assert_eq!(kept(1), 1, "holes of what is no event are no loss");
        assert_eq!((kept(3), kept(5), kept(7)), (3, 4, 7));
        let other = Span { epoch: Epoch::random(), first: 9, ..before };
        assert_eq!(first_kept(&part, 1, before, other), 1);
    }
}
