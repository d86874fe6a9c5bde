//! A reader's way through the log.
//!
//! **Owns** where a reader stands, in the ring or, behind it, in the stream, and what it meets next. Every
//! event is met once and in order, and what is lost on the way is met as a gap. A tombstone is met before
//! anything that was stored after it, and nothing it covers is met, however long ago it was read. Pure: a reader
//! that has to go to the stream is told so, and given what was read there.

use std::sync::Arc;

use shared::cursor::{Cursor, Epoch};

use crate::chunk::{Chunk, Entry, Place, Wanted};
use crate::erased::{Erased, Erasure};
use crate::filter::{Filter, wants};
use crate::ring::{Gap, GapReason, Item, Reach, Resume, Ring};

/// A reader that comes from outside begins at a multiple of this, and passes over what it has.
const STRETCH_GRID: u64 = 512;

/// A reader's place.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    epoch: Epoch,
    /// Every event up to here was met.
    read: Place,
    /// Tombstones up to this sequence were met, or are older than what this reader asked for.
    told: u64,
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
    /// What it follows.
    pub(crate) after: u64,
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Every event up to this sequence is in it.
    pub(crate) through: u64,
    /// The first sequence the stream holds.
    pub(crate) first_kept: u64,
    /// The life of the stream it was read in.
    pub(crate) epoch: Epoch,
}

impl Stretch {
    /// Whether it holds what follows a reader's place.
    pub(crate) fn serves(&self, request: &Request) -> bool {
        self.epoch == request.epoch && (self.after..self.through).contains(&request.after)
    }

    /// What it costs to keep.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes()).sum::<usize>() + size_of::<Stretch>()
    }
}

/// What a reader meets next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Frames it wants, possibly none, of a chunk.
    Events(Arc<Chunk>, Wanted),
    /// A loss.
    Gap(Gap),
    /// A person's events are erased.
    Erased(Arc<Erasure>),
    /// The end of what there is.
    Head,
    /// The ring has moved on: this has to be read from the stream and given to [`Walk::supply`].
    Behind(Request),
}

impl Walk {
    /// From the head on.
    pub(crate) fn at_head(ring: &Ring) -> Walk {
        let (read, source) = (ring.head(), Source::Ring { next: ring.head_index() });
        Walk { epoch: ring.epoch(), read, told: read.sequence, source }
    }

    /// From what follows `read` in the ring's item `next` on.
    pub(crate) fn in_ring(epoch: Epoch, next: u64, read: Place) -> Walk {
        Walk { epoch, read, told: read.sequence, source: Source::Ring { next } }
    }

    /// From the newest events in the ring for which `wanted` holds on, at most `count` of them. Whoever begins so
    /// has nothing to forget yet.
    pub(crate) fn at_last(ring: &Ring, count: usize, wanted: impl Fn(&Entry) -> bool) -> Walk {
        let (next, read) = ring.before_last(count, wanted);
        Walk { told: ring.head().sequence, ..Walk::in_ring(ring.epoch(), next, read) }
    }

    /// From the oldest event that is kept on.
    pub(crate) fn from_oldest(epoch: Epoch) -> Walk {
        let request = Request { epoch, after: 0, from_oldest: true };
        Walk { epoch, read: Place::default(), told: 0, source: Source::Stream(request) }
    }

    /// From the oldest event after a cursor that is kept on: its client knows already that some are lost.
    pub(crate) fn from_kept(cursor: &Cursor) -> Walk {
        let read = Place { sequence: cursor.sequence, stored_ms: cursor.stored_ms };
        let request = Request { epoch: cursor.epoch, after: cursor.sequence, from_oldest: true };
        Walk { epoch: cursor.epoch, read, told: read.sequence, source: Source::Stream(request) }
    }

    /// From the stream after a cursor on.
    pub(crate) fn from_stream(cursor: &Cursor) -> Walk {
        let read = Place { sequence: cursor.sequence, stored_ms: cursor.stored_ms };
        // Many clients that come back at once stand at many places: from a common one they share what is read.
        let after = cursor.sequence - cursor.sequence % STRETCH_GRID;
        let request = Request { epoch: cursor.epoch, after, from_oldest: false };
        Walk { epoch: cursor.epoch, read, told: read.sequence, source: Source::Stream(request) }
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
                        if let Some(step) = self.meet(item, filter) {
                            return step;
                        }
                    }
                    Reach::Gone => match self.rejoin(ring) {
                        Some(gap) => return Step::Gap(gap),
                        None => continue,
                    },
                },
                Source::Stretch { stretch, next } => {
                    let through = stretch.through;
                    // What was erased in it comes first: then it is in order, whichever event comes next.
                    if let Some(erasure) = untold(ring, self.epoch, self.told.max(self.read.sequence), through) {
                        self.told = erasure.tombstone.place.sequence;
                        return Step::Erased(erasure);
                    }
                    if let Some(chunk) = stretch.chunks.get(*next).cloned() {
                        *next += 1;
                        let wanted = wanted_of(&chunk, self.read.sequence, filter, ring.erased());
                        return self.pass(chunk, wanted);
                    }
                    self.read_to(Place { sequence: through, stored_ms: 0 });
                    if let Some(gap) = self.rejoin(ring) {
                        return Step::Gap(gap);
                    }
                }
                Source::Stream(request) => return Step::Behind(*request),
            }
        }
    }

    /// An item of the ring, where it is news.
    fn meet(&mut self, item: Item, filter: Option<&Filter>) -> Option<Step> {
        match item {
            Item::Events(chunk) => {
                let wanted = chunk.wanted(self.read.sequence, filter);
                Some(self.pass(chunk, wanted))
            }
            Item::Gap(gap) => {
                self.epoch = gap.before.epoch;
                self.read = Place { sequence: gap.before.sequence, stored_ms: gap.before.stored_ms };
                self.told = self.read.sequence;
                Some(Step::Gap(gap))
            }
            Item::Erased(erasure) => {
                let place = erasure.tombstone.place;
                let is_news = place.sequence > self.told.max(self.read.sequence);
                self.read_to(place);
                is_news.then_some(Step::Erased(erasure))
            }
        }
    }

    fn pass(&mut self, chunk: Arc<Chunk>, wanted: Wanted) -> Step {
        self.read_to(chunk.last());
        Step::Events(chunk, wanted)
    }

    fn read_to(&mut self, place: Place) {
        if place.sequence > self.read.sequence {
            self.read = place;
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

    /// Lets go of what was read from the stream. A reader does so before it waits for anything: there may be
    /// thousands, each at another place. It asks for the rest again, which most often is still kept.
    pub(crate) fn let_go(&mut self) {
        if let Source::Stretch { .. } = self.source {
            let after = self.read.sequence;
            self.source = Source::Stream(Request { epoch: self.epoch, after, from_oldest: false });
        }
    }

    /// Takes what was read from the stream; a gap where it begins too late.
    pub(crate) fn supply(&mut self, stretch: Arc<Stretch>) -> Option<Gap> {
        let Source::Stream(request) = self.source else { return None };
        if stretch.epoch != self.epoch {
            return Some(self.begin_anew(stretch.epoch));
        }
        let first_kept = stretch.first_kept;
        // It may hold what was met already.
        let next = stretch.chunks.partition_point(|chunk| chunk.last().sequence <= self.read.sequence);
        self.source = Source::Stretch { stretch, next };
        if first_kept <= self.read.sequence + 1 {
            return None;
        }
        let after = self.cursor();
        self.read = Place { sequence: first_kept - 1, stored_ms: 0 };
        (!request.from_oldest).then(|| Gap { after, before: self.cursor(), reason: GapReason::Retention })
    }
}

/// The next tombstone a reader of this stream has not met.
fn untold(ring: &Ring, epoch: Epoch, after: u64, through: u64) -> Option<Arc<Erasure>> {
    let tombstone = ring.erased().next(after, through).filter(|_| ring.epoch() == epoch)?;
    Some(Arc::new(Erasure::new(*tombstone, Vec::new())))
}

/// What a reader wants of a chunk that was read from the stream: perhaps before somebody in it was erased.
fn wanted_of(chunk: &Chunk, after: u64, filter: Option<&Filter>, erased: &Erased) -> Wanted {
    if erased.is_empty() {
        return chunk.wanted(after, filter);
    }
    let is_erased = |entry: &Entry| erased.covers(chunk.epoch(), entry.recipient, entry.place);
    chunk.choose(after, |entry| wants(filter, &entry.labels) && !is_erased(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkBuilder;
    use crate::erased::Tombstone;
    use shared::subject::RecipientHash;

    fn chunk(epoch: Epoch, sequences: impl IntoIterator<Item = u64>) -> Chunk {
        let mut builder = ChunkBuilder::new(epoch);
        for sequence in sequences {
            let event = format!(r#"{{"n":{sequence},"fill":"{}"}}"#, "x".repeat(1000));
            builder.push(Place { sequence, stored_ms: sequence }, event.as_bytes()).expect("an event");
        }
        builder.take().expect("a chunk")
    }

    /// The stream: every sequence from `first` to `last`, 7 a stretch, 3 a chunk.
    fn stretch(request: Request, first: u64, last: u64) -> Arc<Stretch> {
        let from = (request.after + 1).max(first);
        let through = (from + 6).min(last);
        let chunks = (from..=through).step_by(3).map(|at| Arc::new(chunk(request.epoch, at..=(at + 2).min(through))));
        let (after, chunks) = (request.after, chunks.collect());
        Arc::new(Stretch { after, chunks, through, first_kept: first, epoch: request.epoch })
    }

    fn walk_to_head(walk: &mut Walk, ring: &Ring, first: u64, last: u64) -> (Vec<u64>, Vec<Gap>) {
        walk_on(walk, ring, first, last, |_| ())
    }

    /// Walks to the head; `rest` is done after every chunk.
    fn walk_on(walk: &mut Walk, ring: &Ring, first: u64, last: u64, rest: fn(&mut Walk)) -> (Vec<u64>, Vec<Gap>) {
        let (mut met, mut gaps) = (Vec::new(), Vec::new());
        loop {
            let before = walk.cursor().sequence;
            match walk.step(ring, None) {
                Step::Head => return (met, gaps),
                Step::Gap(gap) => gaps.push(gap),
                Step::Erased(erasure) => panic!("nobody was erased: {erasure:?}"),
                Step::Behind(request) => gaps.extend(walk.supply(stretch(request, first, last))),
                Step::Events(chunk, wanted) => {
                    let entries = chunk.entries().iter().map(|entry| entry.place.sequence);
                    let fresh: Vec<u64> = entries.filter(|sequence| *sequence > before).collect();
                    assert_eq!(wanted.events, fresh.len());
                    met.extend(fresh);
                    rest(walk);
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
    fn a_reader_that_lets_go_of_what_was_read_for_it_goes_on_where_it_was() {
        let epoch = Epoch::random();
        let ring = ring(epoch, 50, 83);
        for after in 0..=83 {
            let mut walk = Walk::from_stream(&cursor(epoch, after));
            let (met, gaps) = walk_on(&mut walk, &ring, 1, 83, Walk::let_go);
            assert_eq!((met, gaps), (Vec::from_iter(after + 1..=83), vec![]), "after {after}");
        }
    }

    #[test]
    fn what_the_stream_lost_while_a_reader_had_let_go_is_a_gap_also_where_it_asked_for_whatever_there_is() {
        let epoch = Epoch::random();
        let ring = ring(epoch, 50, 60);
        let mut walk = Walk::from_oldest(epoch);
        let Step::Behind(request) = walk.step(&ring, None) else { panic!("it is behind the ring") };
        assert!(walk.supply(stretch(request, 1, 60)).is_none());
        let Step::Events(chunk, _) = walk.step(&ring, None) else { panic!("events") };
        assert_eq!(chunk.last().sequence, 3);
        walk.let_go();
        let (met, gaps) = walk_to_head(&mut walk, &ring, 31, 60);
        let [gap] = gaps[..] else { panic!("one gap, not {gaps:?}") };
        assert_eq!((gap.after.sequence, gap.before.sequence, met), (3, 30, Vec::from_iter(31..=60)));
    }

    #[test]
    fn what_the_stream_dropped_is_a_gap_unless_whatever_there_is_was_asked_for() {
        let epoch = Epoch::random();
        let ring = ring(epoch, 50, 60);
        let (met, gaps) = walk_to_head(&mut Walk::from_stream(&cursor(epoch, 10)), &ring, 31, 60);
        assert_eq!(met, Vec::from_iter(31..=60));
        let [gap] = gaps[..] else { panic!("one gap, not {gaps:?}") };
        assert_eq!((gap.after.sequence, gap.before.sequence, gap.reason), (10, 30, GapReason::Retention));
        let (met, gaps) = walk_to_head(&mut Walk::from_kept(&cursor(epoch, 10)), &ring, 31, 60);
        assert_eq!((met, gaps), (Vec::from_iter(31..=60), vec![]));
        // What was met is not met again, whatever another server of a cluster still has.
        let (met, gaps) = walk_to_head(&mut Walk::from_kept(&cursor(epoch, 10)), &ring, 1, 60);
        assert_eq!((met, gaps), (Vec::from_iter(11..=60), vec![]));
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

    /// The last sequence of a stream of three people's events; each multiple of 20 is the tombstone of one.
    const LAST: u64 = 90;

    fn person(sequence: u64) -> RecipientHash {
        RecipientHash::of(["ann@example.com", "bob@example.com", "cy@example.com"][sequence as usize % 3])
    }

    fn tombstone(sequence: u64) -> Option<Tombstone> {
        let place = Place { sequence, stored_ms: sequence };
        sequence.is_multiple_of(20).then(|| Tombstone { recipient: person(sequence), place, through: sequence - 1 })
    }

    /// Events as they were before anybody was erased.
    fn events(epoch: Epoch, sequences: impl IntoIterator<Item = u64>) -> Option<Chunk> {
        let mut builder = ChunkBuilder::new(epoch);
        for sequence in sequences.into_iter().filter(|sequence| tombstone(*sequence).is_none()) {
            let person = ["ann", "bob", "cy"][sequence as usize % 3];
            let event = format!(r#"{{"event":"open","msg":{{"email":"{person}@example.com"}}}}"#);
            builder.push(Place { sequence, stored_ms: sequence }, event.as_bytes()).expect("an event");
        }
        builder.take()
    }

    /// A ring that begins after `floor` and has heard all up to `head`.
    fn ring_with_tombstones(epoch: Epoch, floor: u64, head: u64) -> Ring {
        let mut ring = Ring::new(epoch, Place { sequence: floor, stored_ms: floor }, 1 << 20);
        let mut erased = Erased::nobody(epoch);
        (1..=floor).filter_map(tombstone).for_each(|tombstone| erased.add(tombstone));
        ring.remember(erased);
        (floor + 1..=head).for_each(|sequence| hear(&mut ring, sequence));
        ring
    }

    fn hear(ring: &mut Ring, sequence: u64) {
        match tombstone(sequence) {
            Some(tombstone) => ring.erase(tombstone),
            None => events(ring.epoch(), [sequence]).into_iter().for_each(|chunk| ring.push(chunk)),
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Met {
        Event(u64),
        Tombstone(u64),
    }

    /// What is met on the way to the head. Stretches are as they were before anybody was erased, and hold no more
    /// than the feed has heard.
    fn meet_all(walk: &mut Walk, ring: &Ring) -> Vec<Met> {
        let mut met = Vec::new();
        loop {
            let before = walk.cursor().sequence;
            match walk.step(ring, None) {
                Step::Head => return met,
                Step::Gap(gap) => panic!("nothing is lost: {gap:?}"),
                Step::Erased(erasure) => met.push(Met::Tombstone(erasure.tombstone.place.sequence)),
                Step::Behind(request) => {
                    let through = (request.after + 7).min(ring.head().sequence);
                    let chunks = (request.after + 1..=through).step_by(3);
                    let chunks = chunks.filter_map(|at| events(request.epoch, at..=(at + 2).min(through)));
                    let (after, chunks) = (request.after, chunks.map(Arc::new).collect());
                    let stretch = Stretch { after, chunks, through, first_kept: 1, epoch: request.epoch };
                    assert!(walk.supply(Arc::new(stretch)).is_none());
                }
                Step::Events(chunk, wanted) => {
                    let (places, _): (Vec<Place>, Vec<&[u8]>) = chunk.events(&wanted).unzip();
                    met.extend(places.into_iter().map(|place| Met::Event(place.sequence)));
                    assert!(walk.cursor().sequence >= before);
                }
            }
        }
    }

    fn is_covered(sequence: u64, head: u64) -> bool {
        (sequence + 1..=head).filter_map(tombstone).any(|tombstone| tombstone.recipient == person(sequence))
    }

    fn check(met: &[Met], after: u64, head: u64, what: &str) {
        let events = met.iter().filter_map(|met| if let Met::Event(sequence) = met { Some(*sequence) } else { None });
        let expected = (after + 1..=head).filter(|at| tombstone(*at).is_none() && !is_covered(*at, head));
        assert_eq!(Vec::from_iter(events), Vec::from_iter(expected), "{what}");
        // Of each person the newest tombstone is enough; it comes before anything that was stored later.
        for sequence in (after + 1..=head).filter(|at| tombstone(*at).is_some()) {
            let has_newer =
                (sequence + 1..=head).filter_map(tombstone).any(|newer| newer.recipient == person(sequence));
            let told = met.iter().position(|met| *met == Met::Tombstone(sequence));
            assert!(told.is_some() || has_newer, "{what}: {sequence} was not told");
            let later = met.iter().position(|met| matches!(met, Met::Event(event) if *event > sequence));
            assert!(told.is_none() || later.is_none() || told < later, "{what}: {sequence} was told too late");
        }
        let mut told: Vec<u64> = met
            .iter()
            .filter_map(|met| if let Met::Tombstone(sequence) = met { Some(*sequence) } else { None })
            .collect();
        assert!(told.iter().all(|sequence| *sequence > after), "{what}: {told:?} is no news");
        let count = told.len();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), count, "{what}: a tombstone was told twice");
    }

    #[test]
    fn nothing_that_was_erased_is_met_from_any_place_and_every_tombstone_comes_before_what_is_later() {
        let epoch = Epoch::random();
        for floor in [0, 19, 20, 33, 60, LAST] {
            let ring = ring_with_tombstones(epoch, floor, LAST);
            for after in 0..=LAST {
                let mut walk = Walk::from_stream(&cursor(epoch, after));
                check(&meet_all(&mut walk, &ring), after, LAST, &format!("after {after} with the ring from {floor}"));
                assert_eq!(walk.cursor().sequence, LAST);
            }
            let met = meet_all(&mut Walk::from_oldest(epoch), &ring);
            check(&met, 0, LAST, "from the oldest");
        }
    }

    #[test]
    fn what_was_read_before_somebody_was_erased_is_not_met_after() {
        let epoch = Epoch::random();
        let mut ring = ring_with_tombstones(epoch, 50, 59);
        let mut walk = Walk::from_stream(&cursor(epoch, 41));
        let Step::Behind(request) = walk.step(&ring, None) else { panic!("it is behind the ring") };
        let chunks = vec![Arc::new(events(epoch, 1..=51).expect("events"))];
        let stretch = Stretch { after: request.after, chunks, through: 51, first_kept: 1, epoch };
        assert!(walk.supply(Arc::new(stretch)).is_none());
        // Of the person with the sequences 42, 45, 48, … .
        hear(&mut ring, 60);
        let met = meet_all(&mut walk, &ring);
        let expected = [43, 44, 46, 47, 49, 50, 52, 53, 55, 56, 58, 59].map(Met::Event);
        assert_eq!(Vec::from_iter(met.into_iter().filter(|met| *met != Met::Tombstone(60))), expected);
    }

    #[test]
    fn whoever_begins_with_the_newest_events_is_told_of_nobody_from_before() {
        let ring = ring_with_tombstones(Epoch::random(), 0, LAST);
        let mut walk = Walk::at_last(&ring, 12, |_| true);
        let met = meet_all(&mut walk, &ring);
        assert_eq!(met.len(), 12);
        assert!(met.contains(&Met::Event(79)), "from before the last tombstone");
        assert!(met.iter().all(|met| matches!(met, Met::Event(_))));
    }
}
