//! The newest part of the stream in memory: a log every session reads at its own place.
//!
//! **Owns** what the log holds, its bound in bytes, and where a sequence lies in it. Pure: filled by the
//! feed, read by sessions; nothing here waits. An item has an index that is never used again, so a
//! session is one number, and a loss is an item like any other: nobody can read past it unawares.

use std::collections::VecDeque;
use std::sync::Arc;

use shared::cursor::{Cursor, Epoch};

use crate::chunk::{Chunk, Entry, Place};

/// Why events are missing between two items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GapReason {
    /// The stream dropped them (its limits, a purge) before this replica had read them.
    Retention,
    /// The stream was made anew, or restored to an earlier state.
    Epoch,
}

/// A place where events were lost to whoever reads past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) after: Cursor,
    pub(crate) before: Cursor,
    pub(crate) reason: GapReason,
}

/// One item of the log.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Events(Arc<Chunk>),
    Gap(Gap),
}

/// What lies at an index.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// An item; the next index follows it.
    Item(Item),
    /// Nothing yet: the index is the head.
    Head,
    /// The item was dropped to keep the bound.
    Gone,
}

/// Where a cursor's events begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// In the log, at this index or after it.
    Here(u64),
    /// Nowhere yet: the client heard of them from a replica that is ahead.
    Ahead,
    /// Before what the log holds.
    Behind,
    /// Nowhere: the cursor is of another life of the stream.
    OtherEpoch,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Ring {
    epoch: Epoch,
    items: VecDeque<Item>,
    events: u64,
    /// The index of the first item.
    base: u64,
    bytes: usize,
    bytes_max: usize,
    /// All events of this epoch after this sequence, up to the head, are here.
    floor: u64,
    /// Where the last event is, or was when the log was begun.
    head: Place,
    /// Items before this index are of another epoch.
    epoch_base: u64,
}

impl Ring {
    /// An empty log that begins after `start`.
    pub(crate) fn new(epoch: Epoch, start: Place, bytes_max: usize) -> Ring {
        Ring {
            epoch,
            items: VecDeque::new(),
            base: 0,
            events: 0,
            bytes: 0,
            bytes_max,
            floor: start.sequence,
            head: start,
            epoch_base: 0,
        }
    }

    /// The life of the stream its newest items belong to.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last event's place.
    pub(crate) fn head(&self) -> Place {
        self.head
    }

    /// The cursor of the head.
    pub(crate) fn head_cursor(&self) -> Cursor {
        self.head.cursor(self.epoch)
    }

    /// The index the next item will have.
    pub(crate) fn head_index(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    /// Adds a chunk; its events are after all before.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.head = chunk.last();
        self.bytes += chunk.bytes();
        self.events += chunk.entries().len() as u64;
        self.items.push_back(Item::Events(Arc::new(chunk)));
        while self.bytes > self.bytes_max && self.items.len() > 1 {
            self.drop_first();
        }
    }

    /// Notes that events were lost, and goes on after `start` in `epoch`.
    pub(crate) fn gap(&mut self, reason: GapReason, epoch: Epoch, start: Place) {
        let gap = Gap { after: self.head_cursor(), before: start.cursor(epoch), reason };
        self.items.push_back(Item::Gap(gap));
        // What lies before the gap is still sent to those who are behind, but nobody resumes in it.
        self.epoch_base = self.head_index();
        (self.epoch, self.floor, self.head) = (epoch, start.sequence, start);
    }

    fn drop_first(&mut self) {
        if let Some(Item::Events(chunk)) = self.items.pop_front() {
            self.bytes -= chunk.bytes();
            self.events -= chunk.entries().len() as u64;
            if self.base >= self.epoch_base {
                self.floor = chunk.last().sequence;
            }
        }
        self.base += 1;
    }

    /// Where the events after a cursor begin.
    pub(crate) fn resume(&self, cursor: &Cursor) -> Resume {
        let after = cursor.sequence;
        if cursor.epoch != self.epoch {
            return Resume::OtherEpoch;
        }
        if after > self.head.sequence {
            return Resume::Ahead;
        }
        if after < self.floor {
            return Resume::Behind;
        }
        // Items of earlier epochs lie before the oldest of this one; after it sequences only rise.
        let oldest = self.oldest_offset();
        let (mut low, mut high) = (oldest, self.items.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.items.get(middle).is_some_and(|item| last_sequence(item) < after) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let first = self.items.get(low);
        // The event itself may be gone; where it is there, it must be the one the client has.
        let known = match first {
            Some(Item::Events(chunk)) => chunk.place_of(after),
            Some(Item::Gap(_)) | None => (after == self.head.sequence).then_some(self.head),
        };
        match known {
            Some(place) if !place.is_same_time(cursor.stored_ms) => Resume::OtherEpoch,
            Some(_) | None => Resume::Here(self.base + low as u64),
        }
    }

    /// The place after which the newest `count` events lie for which `wanted` holds, or all of the log.
    pub(crate) fn before_last(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> (u64, Place) {
        let mut found = 0;
        for (offset, item) in self.items.iter().enumerate().skip(self.oldest_offset()).rev() {
            let Item::Events(chunk) = item else { continue };
            for entry in chunk.entries().iter().rev() {
                if found == count {
                    return (self.base + offset as u64, entry.place);
                }
                found += usize::from(wanted(entry));
            }
        }
        (self.oldest_index(), Place { sequence: self.floor, stored_ms: 0 })
    }

    /// The index of the oldest item that belongs to this epoch and has no gap after it.
    fn oldest_index(&self) -> u64 {
        self.base.max(self.epoch_base)
    }

    /// How many items lie before it.
    fn oldest_offset(&self) -> usize {
        usize::try_from(self.oldest_index() - self.base).unwrap_or(usize::MAX)
    }

    /// What it holds: events, and the time between the first and the last in milliseconds.
    pub(crate) fn span(&self) -> (u64, u64) {
        let oldest = self.items.iter().find_map(|item| match item {
            Item::Events(chunk) => chunk.entries().first().map(|entry| entry.place.stored_ms),
            Item::Gap(_) => None,
        });
        (self.events, oldest.map_or(0, |oldest| self.head.stored_ms.saturating_sub(oldest)))
    }

    /// What lies at an index.
    pub(crate) fn at(&self, index: u64) -> Reach {
        let Some(offset) = index.checked_sub(self.base) else { return Reach::Gone };
        match usize::try_from(offset).ok().and_then(|offset| self.items.get(offset)) {
            Some(item) => Reach::Item(item.clone()),
            None => Reach::Head,
        }
    }
}

fn last_sequence(item: &Item) -> u64 {
    match item {
        Item::Events(chunk) => chunk.last().sequence,
        Item::Gap(gap) => gap.before.sequence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkBuilder;

    fn chunk(epoch: Epoch, sequences: std::ops::RangeInclusive<u64>) -> Chunk {
        let mut builder = ChunkBuilder::new(epoch);
        for sequence in sequences {
            let event = format!(r#"{{"n":{sequence},"fill":"{}"}}"#, "x".repeat(1000));
            builder.push(Place { sequence, stored_ms: sequence }, event.as_bytes()).expect("an event");
        }
        builder.take().expect("a chunk")
    }

    fn sequences(ring: &Ring, mut index: u64) -> Vec<u64> {
        let mut found = Vec::new();
        while let Reach::Item(item) = ring.at(index) {
            if let Item::Events(chunk) = item {
                found.extend(chunk.entries().iter().map(|entry| entry.place.sequence));
            }
            index += 1;
        }
        found
    }

    #[test]
    fn a_reader_finds_every_event_after_its_place() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place { sequence: 4, stored_ms: 4 }, 1 << 20);
        assert!(matches!(ring.at(ring.head_index()), Reach::Head));
        ring.push(chunk(epoch, 5..=7));
        let reader = ring.head_index();
        ring.push(chunk(epoch, 9..=10));
        assert_eq!(sequences(&ring, reader), [9, 10]);
        assert_eq!(sequences(&ring, 0), [5, 6, 7, 9, 10]);
        assert_eq!(ring.head().sequence, 10);
    }

    #[test]
    fn it_holds_no_more_than_its_bound_and_says_what_is_gone() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place::default(), 30_000);
        for first in (1..100).step_by(10) {
            ring.push(chunk(epoch, first..=first + 9));
        }
        assert!(ring.bytes <= 30_000);
        assert!(matches!(ring.at(0), Reach::Gone));
        assert_eq!(sequences(&ring, ring.base), Vec::from_iter(ring.floor + 1..=100));
    }

    #[test]
    fn a_cursor_is_found_or_said_to_be_elsewhere() {
        let (old, epoch) = (Epoch::random(), Epoch::random());
        let mut ring = Ring::new(old, Place::default(), 1 << 20);
        ring.push(chunk(old, 1..=30));
        ring.gap(GapReason::Epoch, epoch, Place { sequence: 4, stored_ms: 0 });
        ring.push(chunk(epoch, 5..=7));
        ring.push(chunk(epoch, 10..=12));
        let check = |epoch: Epoch, sequence: u64, stored_ms: u64, expected: Resume| {
            assert_eq!(ring.resume(&Cursor { epoch, sequence, stored_ms }), expected, "{sequence}");
        };
        check(old, 6, 6, Resume::OtherEpoch);
        check(epoch, 3, 3, Resume::Behind);
        check(epoch, 4, 4, Resume::Here(2));
        check(epoch, 6, 6, Resume::Here(2));
        check(epoch, 6, 5, Resume::OtherEpoch);
        check(epoch, 7, 7, Resume::Here(2));
        check(epoch, 9, 9, Resume::Here(3));
        check(epoch, 12, 12, Resume::Here(3));
        check(epoch, 12, 11, Resume::OtherEpoch);
        check(epoch, 13, 13, Resume::Ahead);
    }

    #[test]
    fn the_newest_events_are_counted_from_the_end() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place::default(), 1 << 20);
        ring.push(chunk(epoch, 1..=5));
        ring.push(chunk(epoch, 6..=10));
        let even = |entry: &Entry| entry.place.sequence.is_multiple_of(2);
        assert_eq!(ring.before_last(2, |_| true), (1, Place { sequence: 8, stored_ms: 8 }));
        assert_eq!(ring.before_last(4, even), (0, Place { sequence: 3, stored_ms: 3 }));
        assert_eq!(ring.before_last(0, |_| true), (1, Place { sequence: 10, stored_ms: 10 }));
        assert_eq!(ring.before_last(99, |_| true).1.sequence, 0);
    }

    #[test]
    fn a_gap_is_an_item_between_what_was_and_what_comes() {
        let (old, new) = (Epoch::random(), Epoch::random());
        let mut ring = Ring::new(old, Place::default(), 1 << 20);
        ring.push(chunk(old, 1..=3));
        ring.gap(GapReason::Epoch, new, Place::default());
        ring.push(chunk(new, 1..=2));
        let Reach::Item(Item::Gap(gap)) = ring.at(1) else { panic!("a gap") };
        assert_eq!((gap.after.sequence, gap.after.epoch), (3, old));
        assert_eq!((gap.before.sequence, gap.before.epoch), (0, new));
        assert_eq!(sequences(&ring, 0), [1, 2, 3, 1, 2]);
    }
}
