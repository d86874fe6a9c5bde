//! What a session still has to write.
//!
//! **Owns** the order of bytes on one socket: events' frames out of a chunk that is shared, and control
//! frames of this session only, which go out at the next boundary between two frames. Pure: it names
//! slices and is told how much of them the socket took. Empty, it holds no memory of its own.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

use crate::chunk::{Chunk, Entry};

/// Pieces given to one write: the kernel takes more, but beyond a few dozen nothing is gained.
pub(crate) const PIECES_MAX: usize = 64;
/// Control frames that may wait for a socket. A client that has more coming asks faster than it reads.
pub(crate) const CONTROL_BYTES_WAITING_MAX: usize = 4 << 10;

/// The client asked for more answers than it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The bytes to be written next.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunk: Option<Arc<Chunk>>,
    /// Runs of whole frames in the chunk; the first may have been written in part.
    runs: VecDeque<Range<u32>>,
    control: BytesMut,
    /// Whether the front of `control` is the rest of a frame.
    control_begun: bool,
}

/// One piece, in the order of writing.
enum Piece {
    Control,
    Frames(Range<u32>),
}

impl Outbox {
    /// Whether everything was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.control.is_empty()
    }

    /// Takes the frames of one chunk; there must be none waiting.
    pub(crate) fn load(&mut self, chunk: Arc<Chunk>, runs: impl IntoIterator<Item = Range<u32>>) {
        self.runs.extend(runs.into_iter().filter(|run| !run.is_empty()));
        self.chunk = (!self.runs.is_empty()).then_some(chunk);
    }

    /// The same, but for what the socket took already: `written` bytes of the runs.
    pub(crate) fn load_rest(&mut self, chunk: Arc<Chunk>, runs: &[Range<u32>], mut written: usize) {
        let rest = runs.iter().filter_map(|run| {
            let taken = written.min((run.end - run.start) as usize);
            written -= taken;
            // At most the run's length, which is a `u32`.
            Some(run.start + taken as u32..run.end).filter(|rest| rest.start < rest.end)
        });
        self.load(chunk, rest);
    }

    /// Adds a control frame.
    pub(crate) fn control(&mut self, frame: &[u8]) -> Result<(), Full> {
        if self.control.len() + frame.len() > CONTROL_BYTES_WAITING_MAX {
            return Err(Full);
        }
        self.control.extend_from_slice(frame);
        Ok(())
    }

    /// Drops the events for which `is_gone` holds, but for one that was begun.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&Chunk, &Entry) -> bool) {
        let Some(chunk) = self.chunk.clone() else { return };
        let runs = self.runs.iter().flat_map(|run| chunk.rest_of(run, |entry| is_gone(&chunk, entry)).runs);
        let runs: VecDeque<Range<u32>> = runs.collect();
        if runs == self.runs {
            return;
        }
        self.runs = runs;
        if self.runs.is_empty() {
            self.chunk = None;
        }
    }

    /// Drops all events that were not begun, and waiting control frames, and ends with this frame.
    pub(crate) fn end_with(&mut self, frame: &[u8]) {
        self.runs.truncate(1);
        match (self.front_boundary(), self.runs.front_mut()) {
            (Some(boundary), Some(front)) if boundary > front.start => front.end = boundary,
            _ => self.runs.clear(),
        }
        if !self.control_begun {
            self.control.clear();
        }
        self.control.extend_from_slice(frame);
    }

    /// The pieces to write next; returns how many.
    pub(crate) fn pieces<'a>(&'a self, out: &mut [IoSlice<'a>; PIECES_MAX]) -> usize {
        let frames = self.chunk.as_deref().map_or(&[][..], |chunk| chunk.frames());
        let mut count = 0;
        for (slot, piece) in out.iter_mut().zip(self.order()) {
            *slot = IoSlice::new(match piece {
                Piece::Control => &self.control,
                Piece::Frames(run) => frames.get(run.start as usize..run.end as usize).unwrap_or_default(),
            });
            count += 1;
        }
        count
    }

    /// The socket took this many bytes of them.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let piece = self.order().next();
            match piece {
                None => return,
                Some(Piece::Control) => {
                    let taken = written.min(self.control.len());
                    self.control.advance(taken);
                    written -= taken;
                    self.control_begun = !self.control.is_empty();
                }
                Some(Piece::Frames(run)) => {
                    let taken = written.min((run.end - run.start) as usize);
                    written -= taken;
                    if let Some(front) = self.runs.front_mut() {
                        // At most the run's length, which is a `u32`.
                        front.start += taken as u32;
                        if front.start == front.end {
                            self.runs.pop_front();
                        }
                    }
                }
            }
        }
        if self.runs.is_empty() {
            (self.chunk, self.runs) = (None, VecDeque::new());
        }
        if self.control.is_empty() {
            self.control = BytesMut::new();
        }
    }

    fn front_boundary(&self) -> Option<u32> {
        let (chunk, front) = (self.chunk.as_deref()?, self.runs.front()?);
        Some(chunk.frame_end(front.start))
    }

    /// Control frames go first, but never into a frame that has begun.
    fn order(&self) -> impl Iterator<Item = Piece> {
        let (mut split, mut control_first) = (None, true);
        if let (Some(boundary), Some(front)) = (self.front_boundary(), self.runs.front())
            && boundary > front.start
            && !self.control.is_empty()
            && !self.control_begun
        {
            (split, control_first) = (Some((front.start..boundary, boundary..front.end)), false);
        }
        let control = (!self.control.is_empty()).then_some(Piece::Control);
        let (begun, first) = match split {
            Some((begun, rest)) => (Some(begun), Some(rest)),
            None => (None, self.runs.front().cloned()),
        };
        let (before, after) = if control_first { (control, None) } else { (None, control) };
        let frames = |run: Option<Range<u32>>| run.filter(|run| !run.is_empty()).map(Piece::Frames);
        let rest = self.runs.iter().skip(1).cloned().map(Piece::Frames);
        before.into_iter().chain(frames(begun)).chain(after).chain(frames(first)).chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkBuilder, Place};
    use proptest::prelude::*;
    use shared::cursor::Epoch;

    fn chunk(events: usize) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::new(Epoch::random());
        for sequence in 1..=events as u64 {
            let event = format!(r#"{{"n":{sequence}}}"#);
            builder.push(Place { sequence, stored_ms: 1 }, event.as_bytes()).expect("an event");
        }
        Arc::new(builder.take().expect("a chunk"))
    }

    /// Writes up to `most` bytes, as a socket would take them.
    fn write(outbox: &mut Outbox, most: usize, out: &mut Vec<u8>) {
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let count = outbox.pieces(&mut pieces);
        let bytes: Vec<u8> = pieces[..count].iter().flat_map(|piece| piece.iter().copied()).take(most).collect();
        let written = bytes.len();
        out.extend(bytes);
        outbox.advance(written);
    }

    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let [first, length, rest @ ..] = bytes {
            let length = usize::from(*length);
            assert!(length <= 125, "a short frame");
            frames.push((*first, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        frames
    }

    #[test]
    fn a_control_frame_waits_for_the_frame_that_has_begun_and_overtakes_the_others() {
        let (chunk, mut outbox, mut out) = (chunk(3), Outbox::default(), Vec::new());
        outbox.load(Arc::clone(&chunk), [chunk.range_after(0)]);
        write(&mut outbox, 5, &mut out);
        outbox.control(&[0x8A, 1, b'p']).expect("room");
        while !outbox.is_empty() {
            write(&mut outbox, 7, &mut out);
        }
        let kinds: Vec<u8> = frames(&out).iter().map(|(first, _)| *first).collect();
        assert_eq!(kinds, [0x81, 0x8A, 0x81, 0x81]);
    }

    #[test]
    fn the_last_frame_of_a_session_follows_the_one_that_has_begun() {
        let (chunk, mut outbox, mut out) = (chunk(3), Outbox::default(), Vec::new());
        outbox.load(Arc::clone(&chunk), [chunk.range_after(0)]);
        write(&mut outbox, 5, &mut out);
        outbox.end_with(&[0x88, 0]);
        while !outbox.is_empty() {
            write(&mut outbox, 1000, &mut out);
        }
        let kinds: Vec<u8> = frames(&out).iter().map(|(first, _)| *first).collect();
        assert_eq!(kinds, [0x81, 0x88]);
    }

    #[test]
    fn what_is_erased_is_dropped_but_for_a_frame_that_has_begun() {
        for begun in [0, 5] {
            let (chunk, mut outbox, mut out) = (chunk(6), Outbox::default(), Vec::new());
            outbox.load(Arc::clone(&chunk), [chunk.range_of(0), chunk.range_of(2), chunk.range_of(3)]);
            write(&mut outbox, begun, &mut out);
            outbox.forget(|_, entry| entry.place.sequence % 2 == 1);
            while !outbox.is_empty() {
                write(&mut outbox, 7, &mut out);
            }
            let left: Vec<u8> = frames(&out).iter().map(|(_, text)| text[text.len() - 2]).collect();
            assert_eq!(left, if begun > 0 { vec![b'1', b'4'] } else { vec![b'4'] });
            assert!(outbox.chunk.is_none());
        }
    }

    #[test]
    fn answers_that_are_not_read_are_bounded() {
        let mut outbox = Outbox::default();
        let taken = (0..).take_while(|_| outbox.control(&[0; 100]).is_ok()).count();
        assert_eq!(taken, CONTROL_BYTES_WAITING_MAX / 100);
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_every_frame_arrives_whole_and_in_order(
            events in 1_usize..40,
            keep in proptest::collection::vec(any::<bool>(), 40),
            steps in proptest::collection::vec((1_usize..200, any::<bool>()), 1..200),
        ) {
            let chunk = chunk(events);
            let wanted: Vec<usize> = (0..events).filter(|&index| keep[index]).collect();
            let (mut outbox, mut out, mut pongs) = (Outbox::default(), Vec::new(), 0_u8);
            outbox.load(Arc::clone(&chunk), wanted.iter().map(|&index| chunk.range_of(index)));
            for (most, pong) in steps {
                if pong && outbox.control(&[0x8A, 1, pongs]).is_ok() {
                    pongs = pongs.wrapping_add(1);
                }
                write(&mut outbox, most, &mut out);
            }
            while !outbox.is_empty() {
                write(&mut outbox, 1000, &mut out);
            }
            let (answers, texts): (Vec<_>, Vec<_>) = frames(&out).into_iter().partition(|(first, _)| *first == 0x8A);
            let numbers: Vec<u8> = answers.iter().map(|(_, payload)| payload[0]).collect();
            prop_assert_eq!(numbers, (0..pongs).collect::<Vec<u8>>());
            prop_assert_eq!(texts.len(), wanted.len());
            for ((_, text), index) in texts.iter().zip(wanted) {
                let number = format!("\"n\":{}}}", index + 1);
                prop_assert!(text.ends_with(number.as_bytes()));
            }
            prop_assert!(outbox.chunk.is_none());
        }
    }
}
