//! A reader's way through the log.
//!
//! **Owns** where a reader stands, in the ring or, behind it, in the stream, and what it meets next. Every
//! event is met once and in order, and what is lost on the way is met as a gap. Pure: a reader that has to
//! go to the stream is told so, and given what was read there.

use std::sync::Arc;

use shared::cursor::{Cursor, Epoch};

use crate::chunk::{Chunk, Place, Wanted};
use crate::filter::Filter;
use crate::ring::{Gap, GapReason, Item, Reach, Resume, Ring};

/// A reader that comes from outside begins at a multiple of this, and passes over what it has.
const STRETCH_GRID: u64 = 512;

/// A reader's place.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    epoch: Epoch,
    /// Every event up to here was met.
    read: Place,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// The ring, from this index on.
    Ring { next: u64 },
    /// What was read from the stream, from this chunk on; then the stream again.
    Stretch { stretch: Arc<Stretch>, next: usize },
    /// The stream.
    Stream(Request),
}

/// Which part of the stream a reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) epoch: Epoch,
    /// What follows this sequence.
    pub(crate) after: u64,
    /// Whether it is no loss where the stream begins later: the reader asked for whatever there is.
    pub(crate) from_oldest: bool,
}

/// A part of the stream, read for one reader or several.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Every event up to this sequence is in it.
    pub(crate) through: u64,
    /// The first sequence the stream holds.
    pub(crate) first_kept: u64,
    /// The life of the stream it was read in.
    pub(crate) epoch: Epoch,
}

/// What a reader meets next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Frames it wants, possibly none, of a chunk.
    Events(Arc<Chunk>, Wanted),
    /// A loss.
    Gap(Gap),
    /// The end of what there is.
    Head,
    /// The ring has moved on: this has to be read from the stream and given to [`Walk::supply`].
    Behind(Request),
}

impl Walk {
    /// From the head on.
    pub(crate) fn at_head(ring: &Ring) -> Walk {
        Walk { epoch: ring.epoch(), read: ring.head(), source: Source::Ring { next: ring.head_index() } }
    }

    /// From what follows `read` in the ring's item `next` on.
    pub(crate) fn in_ring(epoch: Epoch, next: u64, read: Place) -> Walk {
        Walk { epoch, read, source: Source::Ring { next } }
    }

    /// From the oldest event that is kept on.
    pub(crate) fn from_oldest(epoch: Epoch) -> Walk {
        let request = Request { epoch, after: 0, from_oldest: true };
        Walk { epoch, read: Place::default(), source: Source::Stream(request) }
    }

    /// From the stream after a cursor on.
    pub(crate) fn from_stream(cursor: &Cursor) -> Walk {
        let read = Place { sequence: cursor.sequence, stored_ms: cursor.stored_ms };
        // Many clients that come back at once stand at many places: from a common one they share what is read.
        let after = cursor.sequence - cursor.sequence % STRETCH_GRID;
        let request = Request { epoch: cursor.epoch, after, from_oldest: false };
        Walk { epoch: cursor.epoch, read, source: Source::Stream(request) }
    }

    /// The cursor of what was met.
    pub(crate) fn cursor(&self) -> Cursor {
        self.read.cursor(self.epoch)
    }

    /// The index of the next item, for a reader in the ring.
    pub(crate) fn next_index(&self) -> Option<u64> {
        match self.source {
            Source::Ring { next } => Some(next),
            Source::Stretch { .. } | Source::Stream(_) => None,
        }
    }

    /// Notes that somebody else has met, for this reader, all items before `next`.
    pub(crate) fn passed(&mut self, next: u64, read: Place) {
        if let Source::Ring { next: before } = &mut self.source
            && *before < next
        {
            (*before, self.read) = (next, read);
        }
    }

    /// What comes next, and moves on past it.
    pub(crate) fn step(&mut self, ring: &Ring, filter: Option<&Filter>) -> Step {
        loop {
            match &mut self.source {
                Source::Ring { next } => match ring.at(*next) {
                    Reach::Head => return Step::Head,
                    Reach::Item(item) => {
                        *next += 1;
                        return self.meet(item, filter);
                    }
                    Reach::Gone => match self.rejoin(ring) {
                        Some(gap) => return Step::Gap(gap),
                        None => continue,
                    },
                },
                Source::Stretch { stretch, next } => match stretch.chunks.get(*next).cloned() {
                    Some(chunk) => {
                        *next += 1;
                        return self.meet(Item::Events(chunk), filter);
                    }
                    None => {
                        let through = stretch.through;
                        if self.read.sequence < through {
                            self.read = Place { sequence: through, stored_ms: 0 };
                        }
                        if let Some(gap) = self.rejoin(ring) {
                            return Step::Gap(gap);
                        }
                    }
                },
                Source::Stream(request) => return Step::Behind(*request),
            }
        }
    }

    fn meet(&mut self, item: Item, filter: Option<&Filter>) -> Step {
        match item {
            Item::Events(chunk) => {
                let wanted = chunk.wanted(self.read.sequence, filter);
                let last = chunk.last();
                if last.sequence > self.read.sequence {
                    self.read = last;
                }
                Step::Events(chunk, wanted)
            }
            Item::Gap(gap) => {
                self.epoch = gap.before.epoch;
                self.read = Place { sequence: gap.before.sequence, stored_ms: gap.before.stored_ms };
                Step::Gap(gap)
            }
        }
    }

    /// Goes on where the ring has what follows, or in the stream; a gap where the stream is another one.
    fn rejoin(&mut self, ring: &Ring) -> Option<Gap> {
        let request = Request { epoch: self.epoch, after: self.read.sequence, from_oldest: false };
        match ring.resume(&self.cursor()) {
            Resume::Here(next) => {
                self.source = Source::Ring { next };
                None
            }
            Resume::Behind | Resume::Ahead => {
                self.source = Source::Stream(request);
                None
            }
            Resume::OtherEpoch => Some(self.begin_anew(ring.epoch())),
        }
    }

    fn begin_anew(&mut self, epoch: Epoch) -> Gap {
        let after = self.cursor();
        *self = Walk::from_oldest(epoch);
        Gap { after, before: self.cursor(), reason: GapReason::Epoch }
    }

    /// Takes what was read from the stream; a gap where it begins too late.
    pub(crate) fn supply(&mut self, stretch: Arc<Stretch>) -> Option<Gap> {
        let Source::Stream(request) = self.source else { return None };
        if stretch.epoch != self.epoch {
            return Some(self.begin_anew(stretch.epoch));
        }
        let first_kept = stretch.first_kept;
        self.source = Source::Stretch { stretch, next: 0 };
        if first_kept <= self.read.sequence + 1 {
            return None;
        }
        let after = self.cursor();
        self.read = Place { sequence: first_kept - 1, stored_ms: 0 };
        (!request.from_oldest).then(|| Gap { after, before: self.cursor(), reason: GapReason::Retention })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkBuilder;

    fn chunk(epoch: Epoch, sequences: impl IntoIterator<Item = u64>) -> Chunk {
        let mut builder = ChunkBuilder::new(epoch);
        for sequence in sequences {
            let event = format!(r#"{{"n":{sequence},"fill":"{}"}}"#, "x".repeat(1000));
            builder.push(Place { sequence, stored_ms: sequence }, event.as_bytes()).expect("an event");
        }
        builder.take().expect("a chunk")
    }

    /// The stream: every sequence from `first` to `last`, 7 a stretch.
    fn stretch(request: Request, first: u64, last: u64) -> Arc<Stretch> {
        let from = (request.after + 1).max(first);
        let through = (from + 6).min(last);
        let chunks = if from > last { Vec::new() } else { vec![Arc::new(chunk(request.epoch, from..=through))] };
        Arc::new(Stretch { chunks, through, first_kept: first, epoch: request.epoch })
    }

    fn walk_to_head(walk: &mut Walk, ring: &Ring, first: u64, last: u64) -> (Vec<u64>, Vec<Gap>) {
        let (mut met, mut gaps) = (Vec::new(), Vec::new());
        loop {
            let before = walk.cursor().sequence;
            match walk.step(ring, None) {
                Step::Head => return (met, gaps),
                Step::Gap(gap) => gaps.push(gap),
                Step::Behind(request) => gaps.extend(walk.supply(stretch(request, first, last))),
                Step::Events(chunk, wanted) => {
                    let entries = chunk.entries().iter().map(|entry| entry.place.sequence);
                    let fresh: Vec<u64> = entries.filter(|sequence| *sequence > before).collect();
                    assert_eq!(wanted.events, fresh.len());
                    met.extend(fresh);
                }
            }
        }
    }

    fn ring(epoch: Epoch, after: u64, last: u64) -> Ring {
        let mut ring = Ring::new(epoch, Place { sequence: after, stored_ms: after }, 1 << 20);
        for first in (after + 1..=last).step_by(5) {
            ring.push(chunk(epoch, first..=(first + 4).min(last)));
        }
        ring
    }

    fn cursor(epoch: Epoch, sequence: u64) -> Cursor {
        Cursor { epoch, sequence, stored_ms: sequence }
    }

    #[test]
    fn from_any_place_every_event_is_met_once_whether_in_the_ring_or_behind_it() {
        let epoch = Epoch::random();
        let ring = ring(epoch, 50, 83);
        for after in 0..=83 {
            let mut walk = Walk::from_stream(&cursor(epoch, after));
            let (met, gaps) = walk_to_head(&mut walk, &ring, 1, 83);
            assert_eq!(met, Vec::from_iter(after + 1..=83), "after {after}");
            assert_eq!(gaps, []);
            assert_eq!(walk.cursor().sequence, 83);
        }
    }

    #[test]
    fn what_the_stream_dropped_is_a_gap_unless_whatever_there_is_was_asked_for() {
        let epoch = Epoch::random();
        let ring = ring(epoch, 50, 60);
        let (met, gaps) = walk_to_head(&mut Walk::from_stream(&cursor(epoch, 10)), &ring, 31, 60);
        assert_eq!(met, Vec::from_iter(31..=60));
        let [gap] = gaps[..] else { panic!("one gap, not {gaps:?}") };
        assert_eq!((gap.after.sequence, gap.before.sequence, gap.reason), (10, 30, GapReason::Retention));
        let (met, gaps) = walk_to_head(&mut Walk::from_oldest(epoch), &ring, 31, 60);
        assert_eq!((met, gaps), (Vec::from_iter(31..=60), vec![]));
    }

    #[test]
    fn a_reader_the_ring_has_left_behind_goes_through_the_stream_and_comes_back() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place::default(), 20_000);
        ring.push(chunk(epoch, 1..=5));
        let mut walk = Walk::at_head(&ring);
        for first in (6..100).step_by(5) {
            ring.push(chunk(epoch, first..=first + 4));
        }
        let (met, gaps) = walk_to_head(&mut walk, &ring, 1, 100);
        assert_eq!((met, gaps), (Vec::from_iter(6..=100), vec![]));
    }

    #[test]
    fn a_stream_made_anew_is_one_gap_and_then_all_it_has() {
        let (old, new) = (Epoch::random(), Epoch::random());
        let mut ring = Ring::new(old, Place::default(), 20_000);
        ring.push(chunk(old, 1..=5));
        let (mut slow, mut slower) = (Walk::at_head(&ring), Walk::at_head(&ring));
        ring.gap(GapReason::Epoch, new, Place::default());
        ring.push(chunk(new, 1..=5));
        let (met, gaps) = walk_to_head(&mut slow, &ring, 1, 5);
        assert_eq!((met, gaps.len()), (Vec::from_iter(1..=5), 1));
        for first in (6..100).step_by(5) {
            ring.push(chunk(new, first..=first + 4));
        }
        let (met, gaps) = walk_to_head(&mut slower, &ring, 1, 100);
        assert_eq!((met, gaps.len()), (Vec::from_iter(1..=100), 1));
    }
}
