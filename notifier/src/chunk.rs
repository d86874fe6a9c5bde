//! A run of events as ready-made WebSocket frames.
//!
//! **Owns** how a stored event becomes the frame every session is sent: Mandrill's object with `_cursor`
//! and `_received` put in front, encoded once whatever the number of sessions. Pure.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use shared::cursor::{CURSOR_LENGTH, Cursor, Epoch};
use shared::subject::RecipientHash;

use crate::filter::Filter;
use crate::frame::{self, Opcode};
use crate::labels::Labels;
use crate::tally::Kind;

/// A chunk is closed once it holds this much: one write of it keeps a session's system calls few, and it
/// stays small beside a socket's send buffer.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Where an event stands: its sequence in the stream, and when the broker stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) stored_ms: u64,
}

impl Place {
    pub(crate) fn cursor(self, epoch: Epoch) -> Cursor {
        Cursor { epoch, sequence: self.sequence, stored_ms: self.stored_ms }
    }

    /// Whether an event stored at this time may be the one at this place; 0 is a time nobody knows.
    pub(crate) fn is_same_time(self, stored_ms: u64) -> bool {
        self.stored_ms == stored_ms || self.stored_ms == 0 || stored_ms == 0
    }
}

/// One event of a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    /// Whose it is.
    pub(crate) recipient: Option<RecipientHash>,
    /// What filters see of it.
    pub(crate) labels: Labels,
    pub(crate) kind: Kind,
    /// Where its frame ends; it begins where the one before ends.
    end: u32,
}

/// Frames of consecutive events in one piece of memory, so that a session which wants them all takes
/// them in one write.
#[derive(Debug)]
pub(crate) struct Chunk {
    epoch: Epoch,
    frames: Bytes,
    entries: Box<[Entry]>,
    /// The places of its first and its last event, those included that were taken out since.
    span: (Place, Place),
}

impl Chunk {
    /// The frames, one after the other.
    pub(crate) fn frames(&self) -> &Bytes {
        &self.frames
    }

    /// The life of the stream its events are of.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The events, in stream order; none only where all were taken out.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The last event's place; it stays where it was when events are taken out.
    pub(crate) fn last(&self) -> Place {
        self.span.1
    }

    /// The first event's place; it stays where it was when events are taken out.
    pub(crate) fn first(&self) -> Place {
        self.span.0
    }

    /// The text of the event at `index`, as sockets get it; a part of the frames, not a copy.
    pub(crate) fn text(&self, index: usize) -> Bytes {
        let range = self.range_of(index);
        let frame = self.frames.slice(range.start as usize..range.end as usize);
        let head = frame.len() - frame::payload(&frame).len();
        frame.slice(head..)
    }

    /// The place of the event with this sequence, where it is here.
    pub(crate) fn place_of(&self, sequence: u64) -> Option<Place> {
        let at = self.entries.binary_search_by_key(&sequence, |entry| entry.place.sequence).ok()?;
        self.entries.get(at).map(|entry| entry.place)
    }

    /// The frames of the events after `sequence` that a reader wants.
    pub(crate) fn wanted(&self, after: u64, filter: Option<&Filter>) -> Wanted {
        let Some(filter) = filter else {
            let mut wanted = Wanted::default();
            let events = self.entries.len() - self.entries.partition_point(|entry| entry.place.sequence <= after);
            wanted.add(self.range_after(after), events);
            return wanted;
        };
        self.choose(after, |entry| filter.holds(&entry.labels))
    }

    /// The frames of the events after `sequence` that are chosen.
    pub(crate) fn choose(&self, after: u64, is_chosen: impl Fn(&Entry) -> bool) -> Wanted {
        let mut wanted = Wanted::default();
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.place.sequence > after && is_chosen(entry) {
                wanted.add(self.range_of(index), 1);
            }
        }
        wanted
    }

    /// The same chunk without some of its events, and those; nothing where it has none of them.
    pub(crate) fn without(&self, is_gone: impl Fn(&Entry) -> bool) -> Option<(Chunk, Vec<&Entry>)> {
        let gone: Vec<&Entry> = self.entries.iter().filter(|entry| is_gone(entry)).collect();
        if gone.is_empty() {
            return None;
        }
        let (mut frames, mut entries) = (Vec::new(), Vec::with_capacity(self.entries.len() - gone.len()));
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| !is_gone(entry)) {
            let range = self.range_of(index);
            frames.extend_from_slice(self.frames.get(range.start as usize..range.end as usize).unwrap_or_default());
            // Not more than there was.
            entries.push(Entry { end: frames.len() as u32, ..entry.clone() });
        }
        let (frames, entries) = (frames.into_boxed_slice().into(), entries.into_boxed_slice());
        Some((Chunk { epoch: self.epoch, frames, entries, span: self.span }, gone))
    }

    /// What is left of a run where some events are left out. A frame that `run` begins in the middle of stays.
    pub(crate) fn rest_of(&self, run: &Range<u32>, is_gone: impl Fn(&Entry) -> bool) -> Wanted {
        let mut rest = Wanted::default();
        let boundary = self.frame_end(run.start);
        if boundary > run.start {
            rest.add(run.start..boundary.min(run.end), 1);
        }
        let first = self.entries.partition_point(|entry| entry.end <= boundary);
        for (index, entry) in self.entries.iter().enumerate().skip(first) {
            let frame = self.range_of(index);
            if frame.start >= run.end {
                break;
            }
            if !is_gone(entry) {
                rest.add(frame, 1);
            }
        }
        rest
    }

    /// The events of some runs, each with its text.
    pub(crate) fn events<'a>(&'a self, wanted: &'a Wanted) -> impl Iterator<Item = (Place, &'a [u8])> {
        let mut runs = wanted.runs.iter().peekable();
        self.entries.iter().enumerate().filter_map(move |(index, entry)| {
            let range = self.range_of(index);
            while runs.peek().is_some_and(|run| run.end <= range.start) {
                runs.next();
            }
            let inside = runs.peek().is_some_and(|run| run.start <= range.start);
            let frame = self.frames.get(range.start as usize..range.end as usize)?;
            inside.then(|| (entry.place, frame::payload(frame)))
        })
    }

    /// What it costs to keep.
    pub(crate) fn bytes(&self) -> usize {
        let labels: usize = self.entries.iter().map(|entry| entry.labels.bytes()).sum();
        self.frames.len() + labels + self.entries.len() * size_of::<Entry>() + size_of::<Chunk>()
    }

    /// Where the frame of entry `index` lies.
    pub(crate) fn range_of(&self, index: usize) -> Range<u32> {
        let start = index.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |entry| entry.end);
        start..self.entries.get(index).map_or(start, |entry| entry.end)
    }

    /// Where the frames of the events after `sequence` lie.
    pub(crate) fn range_after(&self, sequence: u64) -> Range<u32> {
        let first = self.entries.partition_point(|entry| entry.place.sequence <= sequence);
        self.range_of(first).start..self.end()
    }

    /// The end of the frame that the byte at `offset` belongs to, or `offset` itself between two frames.
    pub(crate) fn frame_end(&self, offset: u32) -> u32 {
        let ended = self.entries.partition_point(|entry| entry.end <= offset);
        match self.range_of(ended) {
            frame if frame.start < offset => frame.end,
            _ => offset,
        }
    }

    fn end(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.end)
    }
}

/// Frames of a chunk: runs of them, adjacent ones joined.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) runs: Vec<Range<u32>>,
    pub(crate) events: usize,
}

impl Wanted {
    /// Adds a run that lies after all others.
    pub(crate) fn add(&mut self, run: Range<u32>, events: usize) {
        if events == 0 {
            return;
        }
        self.events += events;
        match self.runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            Some(_) | None => self.runs.push(run),
        }
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().map(|run| (run.end - run.start) as usize).sum()
    }
}

/// A stored message that cannot be sent as an event. Nothing that ingest stores is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is not a JSON object")]
    NotAnObject,
    #[error("it is not UTF-8")]
    NotText,
    #[error("it is larger than a frame of this service may be")]
    TooLarge,
}

/// An event beyond this would not fit a chunk's offsets; ingest cuts events far below.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Collects events into a chunk.
#[derive(Debug)]
pub(crate) struct ChunkBuilder {
    epoch: Epoch,
    frames: BytesMut,
    entries: Vec<Entry>,
}

impl ChunkBuilder {
    pub(crate) fn new(epoch: Epoch) -> ChunkBuilder {
        ChunkBuilder { epoch, frames: BytesMut::new(), entries: Vec::new() }
    }

    /// Whether it is as large as a chunk gets.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= CHUNK_BYTES
    }

    /// Adds an event; its place is after all that were added.
    pub(crate) fn push(&mut self, place: Place, event: &[u8]) -> Result<(), Unusable> {
        let event = std::str::from_utf8(event).map_err(|_| Unusable::NotText)?;
        let members = event.trim_start().strip_prefix('{').ok_or(Unusable::NotAnObject)?;
        if members.len() > EVENT_BYTES_MAX {
            return Err(Unusable::TooLarge);
        }
        let comma = if members.trim_start().starts_with('}') { "" } else { "," };
        let (mut cursor, mut received) = ([0; CURSOR_LENGTH], Digits::default());
        let parts = [
            r#"{"_cursor":""#,
            place.cursor(self.epoch).encode(&mut cursor),
            r#"","_received":"#,
            received.write(place.stored_ms),
            comma,
            members,
        ];
        let payload_bytes = parts.iter().map(|part| part.len()).sum();
        self.frames.reserve(frame::HEAD_BYTES_MAX + payload_bytes);
        frame::put_head(&mut self.frames, Opcode::Text, payload_bytes);
        parts.iter().for_each(|part| self.frames.put_slice(part.as_bytes()));
        // A chunk is closed at 64 KiB and an event is bounded: offsets stay far below 4 GiB.
        let end = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        let fields = shared::event::fields(event);
        let recipient = fields.email.as_deref().map(RecipientHash::of);
        let (labels, kind) = Labels::with_kind(&fields, recipient);
        self.entries.push(Entry { place, recipient, labels, kind, end });
        Ok(())
    }

    /// The chunk, where anything was added; begins another.
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        let span = (self.entries.first()?.place, self.entries.last()?.place);
        let (frames, entries) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.entries));
        // Buffers grow by doubling: what is kept for long is cut to what it holds.
        let frames = if frames.capacity() > frames.len() + frames.len() / 8 {
            Bytes::from(frames.to_vec())
        } else {
            frames.freeze()
        };
        Some(Chunk { epoch: self.epoch, frames, entries: entries.into_boxed_slice(), span })
    }
}

/// A number's decimal digits, without an allocation an event.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    fn write(&mut self, mut number: u64) -> &str {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        std::str::from_utf8(&self.0[at..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(sequence: u64) -> Place {
        Place { sequence, stored_ms: 1_700_000_000_000 + sequence }
    }

    fn chunk(events: &[&str]) -> Chunk {
        let mut builder = ChunkBuilder::new(Epoch::random());
        for (at, event) in events.iter().enumerate() {
            builder.push(place(at as u64 * 2 + 10), event.as_bytes()).expect("an event");
        }
        builder.take().expect("a chunk")
    }

    fn payload(chunk: &Chunk, index: usize) -> &str {
        let range = chunk.range_of(index);
        let frame = &chunk.frames()[range.start as usize..range.end as usize];
        assert_eq!(frame[0], 0x81, "one whole text frame");
        let (head, length) = match frame[1] {
            126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
            127 => (10, u64::from_be_bytes(frame[2..10].try_into().expect("eight bytes")) as usize),
            short => (2, usize::from(short)),
        };
        assert_eq!(frame.len(), head + length);
        std::str::from_utf8(&frame[head..]).expect("text")
    }

    #[test]
    fn an_event_gets_its_cursor_and_time_in_front_and_is_otherwise_untouched() {
        let event = r#"{"event":"open", "_id":"a\/b","x":1.50}"#;
        let chunk = chunk(&[event]);
        let text = payload(&chunk, 0);
        assert!(text.ends_with(&event[1..]), "{text}");
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let cursor: Cursor = value["_cursor"].as_str().expect("a cursor").parse().expect("a cursor");
        assert_eq!((cursor.sequence, cursor.stored_ms), (10, 1_700_000_000_010));
        assert_eq!(value["_received"], 1_700_000_000_010_u64);
    }

    #[test]
    fn an_empty_object_has_no_comma() {
        let chunk = chunk(&["{}", " { } "]);
        for index in 0..2 {
            let value: serde_json::Value = serde_json::from_str(payload(&chunk, index)).expect("JSON");
            assert_eq!(value.as_object().map(serde_json::Map::len), Some(2));
        }
    }

    #[test]
    fn what_is_no_event_is_refused_and_leaves_the_chunk_whole() {
        let mut builder = ChunkBuilder::new(Epoch::random());
        assert_eq!(builder.push(place(1), b"[1]"), Err(Unusable::NotAnObject));
        assert_eq!(builder.push(place(2), b"{\"a\":\"\xff\"}"), Err(Unusable::NotText));
        assert!(builder.take().is_none());
    }

    proptest! {
        #[test]
        fn any_object_stays_json_and_every_offset_knows_its_frame(
            texts in proptest::collection::vec(".{0,300}", 1..20),
        ) {
            let events: Vec<String> =
                texts.iter().map(|text| serde_json::json!({"event": "open", "text": text}).to_string()).collect();
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            let chunk = chunk(&events);
            for (index, event) in events.iter().enumerate() {
                let text = payload(&chunk, index);
                prop_assert!(text.ends_with(&event[1..]));
                prop_assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
                let range = chunk.range_of(index);
                prop_assert_eq!(chunk.frame_end(range.start), range.start);
                for offset in range.start + 1..=range.end {
                    prop_assert_eq!(chunk.frame_end(offset), range.end);
                }
                let wanted = chunk.wanted(index as u64 * 2 + 9, None);
                let (places, texts): (Vec<_>, Vec<_>) = chunk.events(&wanted).unzip();
                prop_assert_eq!(places.len(), events.len() - index);
                prop_assert_eq!(texts[0], payload(&chunk, index).as_bytes());
                let after = chunk.range_after(index as u64 * 2 + 9);
                prop_assert_eq!(after, range.start..chunk.frames().len() as u32);
            }
        }
    }
}
