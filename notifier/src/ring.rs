//! The newest part of the stream in memory: a log every session reads at its own place.
//!
//! **Owns** what the log holds, its bound in bytes, and where a sequence lies in it. Pure: filled by the
//! feed, read by sessions; nothing here waits. An item has an index that is never used again, so a
//! session is one number, and a loss is an item like any other: nobody can read past it unawares.

use std::collections::VecDeque;
use std::sync::Arc;

use shared::cursor::{Cursor, Epoch};

use crate::chunk::{Chunk, Place};

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

/// The log.
#[derive(Debug)]
pub(crate) struct Ring {
    epoch: Epoch,
    items: VecDeque<Item>,
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
            bytes: 0,
            bytes_max,
            floor: start.sequence,
            head: start,
            epoch_base: 0,
        }
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
            if self.base >= self.epoch_base {
                self.floor = chunk.last().sequence;
            }
        }
        self.base += 1;
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
        builder.finish().expect("a chunk")
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
