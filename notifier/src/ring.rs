//! The newest part of the stream in memory: a log every session reads at its own place.
//!
//! **Owns** what the log holds, its bound in bytes, and where a sequence lies in it. Pure: filled by the
//! feed, read by sessions; nothing here waits. An item has an index that is never used again, so a
//! session is one number, and a loss is an item like any other: nobody can read past it unawares. So is a
//! tombstone; it takes the person's events out of the items before it, whose indexes stay.

use std::collections::VecDeque;
use std::sync::Arc;

use shared::cursor::{Cursor, Epoch};

use crate::chunk::{Chunk, Entry, Place};
use crate::erased::{Erased, Erasure, Tombstone};
use crate::tally::Tally;

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
    /// A person's events are erased up to here.
    Erased(Arc<Erasure>),
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
    /// Of this epoch's events, those that were dropped included.
    tally: Tally,
    /// All events of this epoch after this sequence are in the tally.
    tally_floor: Place,
    /// Whose events are erased in this epoch.
    erased: Arc<Erased>,
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
            tally: Tally::default(),
            tally_floor: start,
            erased: Arc::new(Erased::nobody(epoch)),
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
        chunk.entries().iter().for_each(|entry| self.tally.add(entry.kind, entry.place.stored_ms));
        if self.tally_floor.stored_ms == 0 && self.tally_floor.sequence > 0 {
            // Nobody knows when the event before the first one was stored: not later.
            self.tally_floor.stored_ms = chunk.first().stored_ms;
        }
        self.events += chunk.entries().len() as u64;
        self.add(Item::Events(Arc::new(chunk)));
    }

    fn add(&mut self, item: Item) {
        self.bytes += bytes(&item);
        self.items.push_back(item);
        while self.bytes > self.bytes_max && self.items.len() > 1 {
            self.drop_first();
        }
    }

    /// Takes a person's events out of everything that is here, and notes their tombstone, which is after all
    /// before.
    pub(crate) fn erase(&mut self, tombstone: Tombstone) {
        let mut gone = Vec::new();
        for item in &mut self.items {
            let Item::Events(chunk) = item else { continue };
            let Some((rest, erased)) = chunk.without(|entry| tombstone.covers(entry.recipient, entry.place)) else {
                continue;
            };
            self.events -= erased.len() as u64;
            erased.iter().for_each(|entry| self.tally.remove(entry.kind, entry.place.stored_ms));
            gone.extend(erased.into_iter().map(|entry| entry.labels.clone()));
            self.bytes = self.bytes + rest.bytes() - chunk.bytes();
            *item = Item::Events(Arc::new(rest));
        }
        Arc::make_mut(&mut self.erased).add(tombstone);
        self.heard(tombstone.place);
        self.add(Item::Erased(Arc::new(Erasure::new(tombstone, gone))));
    }

    /// Whose events are erased in this epoch.
    pub(crate) fn erased(&self) -> &Arc<Erased> {
        &self.erased
    }

    /// Learns of those who were erased before this log was begun.
    pub(crate) fn remember(&mut self, erased: Erased) {
        self.erased = Arc::new(erased);
    }

    /// Notes that everything up to `place` has been heard, also where nothing of it is an event.
    pub(crate) fn heard(&mut self, place: Place) {
        if place.sequence > self.head.sequence {
            self.head = place;
        }
    }

    /// All events of this epoch after this sequence, up to the head, are here.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The newest chunks with events before a sequence, at most `most`, newest first.
    pub(crate) fn chunks_before(&self, sequence: u64, most: usize) -> Vec<Arc<Chunk>> {
        let end = self.first_offset(sequence).saturating_add(1).min(self.items.len());
        let items = self.items.range(..end).rev().filter_map(|item| match item {
            Item::Events(chunk) if chunk.first().sequence < sequence => Some(Arc::clone(chunk)),
            Item::Events(_) | Item::Gap(_) | Item::Erased(_) => None,
        });
        items.take(most).collect()
    }

    /// The oldest chunks with events after a sequence, at most `most`, oldest first.
    pub(crate) fn chunks_after(&self, sequence: u64, most: usize) -> Vec<Arc<Chunk>> {
        let items = self.items.range(self.first_offset(sequence.saturating_add(1))..).filter_map(|item| match item {
            Item::Events(chunk) => Some(Arc::clone(chunk)),
            Item::Gap(_) | Item::Erased(_) => None,
        });
        items.take(most).collect()
    }

    /// The offset of the first item that ends at this sequence or later. Nobody resumes at a gap: it is told to
    /// those who come from before it.
    fn first_offset(&self, sequence: u64) -> usize {
        let first = self.items.partition_point(|item| last(item).sequence < sequence);
        first + usize::from(matches!(self.items.get(first), Some(Item::Gap(_))))
    }

    /// Notes that events were lost, and goes on after `start` in `epoch`. What lies before is let go of: among
    /// what was lost may have been a tombstone. Whoever was still behind goes on in the stream.
    pub(crate) fn gap(&mut self, reason: GapReason, epoch: Epoch, start: Place) {
        let gap = Gap { after: self.head_cursor(), before: start.cursor(epoch), reason };
        self.base = self.head_index();
        self.items.clear();
        (self.bytes, self.events) = (0, 0);
        if epoch != self.epoch {
            self.erased = Arc::new(Erased::nobody(epoch));
        }
        (self.epoch, self.floor, self.head) = (epoch, start.sequence, start);
        self.tally.clear();
        self.tally_floor = start;
        self.add(Item::Gap(gap));
    }

    fn drop_first(&mut self) {
        let Some(item) = self.items.pop_front() else { return };
        self.base += 1;
        self.bytes -= bytes(&item);
        self.floor = last(&item).sequence;
        if let Item::Events(chunk) = item {
            self.events -= chunk.entries().len() as u64;
        }
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
        let low = self.first_offset(after);
        let first = self.items.get(low);
        // The event itself may be gone; where it is there, it must be the one the client has.
        let known = match first {
            Some(Item::Events(chunk)) => chunk.place_of(after),
            Some(Item::Erased(erasure)) => Some(erasure.tombstone.place).filter(|place| place.sequence == after),
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
        for (offset, item) in self.items.iter().enumerate().rev() {
            let Item::Events(chunk) = item else { continue };
            for entry in chunk.entries().iter().rev() {
                if found == count {
                    return (self.base + offset as u64, entry.place);
                }
                found += usize::from(wanted(entry));
            }
        }
        let is_gap = matches!(self.items.front(), Some(Item::Gap(_)));
        (self.base + u64::from(is_gap), Place { sequence: self.floor, stored_ms: 0 })
    }

    /// The counts of this epoch, and from when on they are whole: nothing where nothing is known of that.
    pub(crate) fn tally(&self) -> (&Tally, Option<u64>) {
        (&self.tally, whole_from(self.tally_floor))
    }

    /// From when on the events in it are all there were.
    pub(crate) fn whole_from(&self) -> Option<u64> {
        let first = self.items.iter().find_map(|item| match item {
            Item::Events(chunk) => Some(chunk.first().stored_ms),
            Item::Gap(_) | Item::Erased(_) => None,
        });
        whole_from(Place { sequence: self.floor, stored_ms: first.unwrap_or(0) })
    }

    /// What it holds: events, and the time between the first and the last in milliseconds.
    pub(crate) fn span(&self) -> (u64, u64) {
        let oldest = self.items.iter().find_map(|item| match item {
            Item::Events(chunk) => chunk.entries().first().map(|entry| entry.place.stored_ms),
            Item::Gap(_) | Item::Erased(_) => None,
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

/// From when on nothing is missing where all events after this place are there.
fn whole_from(floor: Place) -> Option<u64> {
    match floor {
        Place { sequence: 0, .. } => Some(0),
        Place { stored_ms: 0, .. } => None,
        Place { stored_ms, .. } => Some(stored_ms + 1),
    }
}

/// Everything up to here has been heard where the item ends.
fn last(item: &Item) -> Place {
    match item {
        Item::Events(chunk) => chunk.last(),
        Item::Gap(gap) => Place { sequence: gap.before.sequence, stored_ms: gap.before.stored_ms },
        Item::Erased(erasure) => erasure.tombstone.place,
    }
}

/// What an item costs to keep.
fn bytes(item: &Item) -> usize {
    match item {
        Item::Events(chunk) => chunk.bytes(),
        Item::Gap(_) => 0,
        Item::Erased(erasure) => erasure.bytes(),
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

    /// A stream that was made anew, and both of its epochs.
    fn made_anew() -> (Epoch, Epoch, Ring) {
        let (old, epoch) = (Epoch::random(), Epoch::random());
        let mut ring = Ring::new(old, Place::default(), 1 << 20);
        ring.push(chunk(old, 1..=30));
        ring.gap(GapReason::Epoch, epoch, Place { sequence: 4, stored_ms: 0 });
        ring.push(chunk(epoch, 5..=7));
        ring.push(chunk(epoch, 10..=12));
        (old, epoch, ring)
    }

    #[test]
    fn a_cursor_is_found_or_said_to_be_elsewhere() {
        let (old, epoch, ring) = made_anew();
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
    fn chunks_are_found_from_a_sequence_on_in_both_directions() {
        let (_, epoch, mut ring) = made_anew();
        ring.push(chunk(epoch, 13..=13));
        let firsts =
            |chunks: Vec<Arc<Chunk>>| -> Vec<u64> { chunks.iter().map(|chunk| chunk.first().sequence).collect() };
        let before = |sequence: u64, most: usize| firsts(ring.chunks_before(sequence, most));
        assert_eq!(before(u64::MAX, 9), [13, 10, 5]);
        assert_eq!(before(13, 1), [10]);
        assert_eq!(before(11, 9), [10, 5]);
        assert_eq!(before(10, 9), [5]);
        assert!(before(5, 9).is_empty());
        let after = |sequence: u64, most: usize| firsts(ring.chunks_after(sequence, most));
        assert_eq!(after(0, 9), [5, 10, 13]);
        assert_eq!(after(6, 2), [5, 10]);
        assert_eq!(after(7, 9), [10, 13]);
        assert!(after(13, 9).is_empty());
        ring.heard(Place { sequence: 20, stored_ms: 20 });
        ring.heard(Place { sequence: 19, stored_ms: 19 });
        assert_eq!(ring.head().sequence, 20);
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
        assert_eq!(sequences(&ring, 1), [1, 2]);
        assert!(matches!(ring.at(0), Reach::Gone), "nothing of before a loss is shown");
        assert_eq!(ring.span().0, 2);
    }

    /// Events of a few people, all of one size.
    fn of_people(epoch: Epoch, people: &[(u64, &str)]) -> Chunk {
        let mut builder = ChunkBuilder::new(epoch);
        for (sequence, person) in people {
            let event = format!(r#"{{"event":"open","msg":{{"email":"{person}@example.com"}}}}"#);
            builder.push(Place { sequence: *sequence, stored_ms: *sequence }, event.as_bytes()).expect("an event");
        }
        builder.take().expect("a chunk")
    }

    fn tombstone(person: &str, sequence: u64, through: u64) -> Tombstone {
        let recipient = shared::subject::RecipientHash::of(&format!("{person}@example.com"));
        Tombstone { recipient, place: Place { sequence, stored_ms: sequence }, through }
    }

    /// Events that are counted.
    fn counted(ring: &Ring) -> u64 {
        let mut counted = 0;
        ring.tally().0.each(0, u64::MAX, |_, _, many| counted += many);
        counted
    }

    #[test]
    fn a_tombstone_takes_a_persons_events_out_and_leaves_the_others_where_they_are() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place::default(), 1 << 20);
        ring.push(of_people(epoch, &[(1, "ann"), (2, "bob"), (3, "ann")]));
        ring.push(of_people(epoch, &[(4, "ann")]));
        ring.push(of_people(epoch, &[(5, "bob")]));
        let before = ring.bytes;
        ring.erase(tombstone("ann", 6, 5));
        ring.push(of_people(epoch, &[(7, "ann")]));
        assert_eq!(sequences(&ring, 0), [2, 5, 7]);
        assert_eq!((ring.span().0, counted(&ring)), (3, 3));
        assert_eq!(ring.bytes, ring.items.iter().map(bytes).sum::<usize>());
        assert!(ring.bytes < before + 200);
        let Reach::Item(Item::Erased(erasure)) = ring.at(3) else { panic!("a tombstone at its place") };
        assert_eq!(erasure.tombstone, tombstone("ann", 6, 5));
        let recipient = Some(erasure.tombstone.recipient);
        assert!(ring.erased().covers(epoch, recipient, Place { sequence: 5, stored_ms: 5 }));
        assert!(!ring.erased().covers(epoch, recipient, Place { sequence: 7, stored_ms: 7 }));
        // Cursors of all events lead where they did, those of erased ones too.
        for (after, index) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 2), (6, 3), (7, 4)] {
            let cursor = Cursor { epoch, sequence: after, stored_ms: after };
            assert_eq!(ring.resume(&cursor), Resume::Here(index), "{after}");
        }
        let firsts: Vec<u64> = ring.chunks_before(u64::MAX, 9).iter().map(|chunk| chunk.first().sequence).collect();
        assert_eq!(firsts, [7, 5, 4, 1]);
        assert_eq!(ring.before_last(2, |_| true), (0, Place { sequence: 2, stored_ms: 2 }));
    }

    #[test]
    fn a_tombstone_that_was_applied_again_covers_what_it_covered_then() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place::default(), 1 << 20);
        ring.push(of_people(epoch, &[(1, "ann"), (2, "ann"), (3, "ann")]));
        ring.erase(tombstone("ann", 4, 2));
        assert_eq!(sequences(&ring, 0), [3]);
    }

    #[test]
    fn tombstones_keep_its_bound_as_events_do() {
        let epoch = Epoch::random();
        let mut ring = Ring::new(epoch, Place::default(), 10_000);
        for sequence in (1..2000).step_by(2) {
            ring.push(of_people(epoch, &[(sequence, "ann")]));
            ring.erase(tombstone("ann", sequence + 1, sequence));
        }
        assert!(ring.bytes <= 10_000 && ring.items.len() < 200);
        assert_eq!(ring.span().0, 0);
        assert!(ring.floor() > 1000);
    }
}
