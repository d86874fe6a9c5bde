//! Stretches that were read lately.
//!
//! **Owns** what is kept for the next reader on the same way, and its bound in bytes. Pure. Readers hold a
//! stretch only while they write from it, never while they wait for a socket: so what is kept here is all
//! there is of them, whatever the number of readers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::walk::{Request, Stretch};

/// The stretches, those asked for last at the end.
#[derive(Debug)]
pub(super) struct Kept {
    stretches: VecDeque<Arc<Stretch>>,
    bytes: usize,
    bytes_max: usize,
}

/// A stretch costs more than its bytes: so many are looked through, at most.
const STRETCHES_MAX: usize = 64;

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Kept {
        Kept { stretches: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// One that holds what follows a reader's place.
    pub(super) fn find(&mut self, request: &Request) -> Option<Arc<Stretch>> {
        let at = self.stretches.iter().position(|stretch| stretch.serves(request))?;
        let found = self.stretches.remove(at)?;
        self.stretches.push_back(Arc::clone(&found));
        Some(found)
    }

    /// Keeps one; those that nobody has asked for longest go.
    pub(super) fn keep(&mut self, stretch: Arc<Stretch>) {
        self.bytes += stretch.bytes();
        self.stretches.push_back(stretch);
        while self.bytes > self.bytes_max || self.stretches.len() > STRETCHES_MAX {
            let Some(oldest) = self.stretches.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkBuilder, Place};
    use shared::cursor::Epoch;

    fn stretch(epoch: Epoch, after: u64, through: u64) -> Arc<Stretch> {
        let mut builder = ChunkBuilder::new(epoch);
        for sequence in after + 1..=through {
            builder.push(Place { sequence, stored_ms: 1 }, b"{}").expect("an event");
        }
        let chunks = builder.take().map(Arc::new).into_iter().collect();
        Arc::new(Stretch { after, chunks, through, first_kept: 1, epoch })
    }

    fn request(epoch: Epoch, after: u64) -> Request {
        Request { epoch, after, from_oldest: false }
    }

    #[test]
    fn a_reader_anywhere_within_a_stretch_is_served_by_it() {
        let epoch = Epoch::random();
        let mut kept = Kept::new(1 << 20);
        kept.keep(stretch(epoch, 10, 20));
        for (after, through) in [(9, None), (10, Some(20)), (19, Some(20)), (20, None)] {
            assert_eq!(kept.find(&request(epoch, after)).map(|found| found.through), through, "{after}");
        }
        assert!(kept.find(&request(Epoch::random(), 15)).is_none());
    }

    #[test]
    fn that_there_was_nothing_yet_serves_nobody_later() {
        let epoch = Epoch::random();
        let mut kept = Kept::new(1 << 20);
        kept.keep(stretch(epoch, 20, 20));
        assert!(kept.find(&request(epoch, 20)).is_none());
    }

    #[test]
    fn it_keeps_no_more_than_its_bound_and_those_longest_that_were_asked_for_last() {
        let epoch = Epoch::random();
        let size = stretch(epoch, 0, 10).bytes();
        let mut kept = Kept::new(size * 2);
        kept.keep(stretch(epoch, 0, 10));
        kept.keep(stretch(epoch, 10, 20));
        assert!(kept.find(&request(epoch, 0)).is_some());
        kept.keep(stretch(epoch, 20, 30));
        assert!(kept.bytes <= size * 2 + 100);
        assert!(kept.find(&request(epoch, 0)).is_some());
        assert!(kept.find(&request(epoch, 10)).is_none());
        let mut small = Kept::new(size / 2);
        small.keep(stretch(epoch, 0, 10));
        assert!(small.find(&request(epoch, 0)).is_none());
        assert_eq!((small.bytes, small.stretches.len()), (0, 0));
    }
}
