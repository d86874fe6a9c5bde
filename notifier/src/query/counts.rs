//! Events counted by kind and time.
//!
//! **Owns** the counting over what this replica has in memory: the store is not read for it.

use std::collections::BTreeMap;

use super::{CHUNKS_AT_ONCE, QueryError, View, Wanted};
use crate::ring::Ring;
use crate::tally::{Kind, MINUTE_MS};

/// Counts by kind, one a step, oldest first; kinds without events are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) by_kind: BTreeMap<String, Vec<u64>>,
    /// From when on nothing is missing, in milliseconds since 1970; nothing where that is not known.
    pub(crate) complete_from: Option<u64>,
    /// When the last event that was looked at was stored.
    pub(crate) counted_to: u64,
}

/// Collects counts of the steps from `from` up to `to`.
struct Counting {
    from: u64,
    to: u64,
    step: u64,
    counts: BTreeMap<Kind, Vec<u64>>,
}

impl Counting {
    fn add(&mut self, kind: Kind, ms: u64, many: u64) {
        let (from, steps) = (self.from, ((self.to - self.from) / self.step) as usize);
        if !(from..self.to).contains(&ms) {
            return;
        }
        let counts = self.counts.entry(kind).or_insert_with(|| vec![0; steps]);
        if let Some(count) = counts.get_mut(((ms - from) / self.step) as usize) {
            *count += many;
        }
    }

    fn done(self, complete_from: Option<u64>, counted_to: u64) -> Counts {
        let by_kind = self.counts.into_iter().map(|(kind, counts)| (kind.name(), counts)).collect();
        Counts { by_kind, complete_from, counted_to }
    }
}

impl View {
    /// When the last event was stored, in milliseconds since 1970.
    pub(crate) fn last_ms(&self) -> u64 {
        self.ring(|ring| ring.head().stored_ms).unwrap_or(0)
    }

    fn stalled<T>(&self, read: impl FnOnce(&Ring) -> T) -> Result<T, QueryError> {
        self.ring(read).ok_or_else(|| QueryError::Store("this replica has not heard of all events".into()))
    }

    /// The counts kept by the minute; bounds and step are whole minutes.
    pub(crate) fn counts_by_minute(&self, from: u64, to: u64, step: u64) -> Result<Counts, QueryError> {
        let mut counting = Counting { from, to, step, counts: BTreeMap::new() };
        let (whole_from, counted_to) = self.stalled(|ring| {
            let (tally, whole_from) = ring.tally();
            tally.each(from, to, |minute, kind, many| counting.add(kind, minute, many));
            (whole_from, ring.head().stored_ms)
        })?;
        // A minute that is not whole is missing something.
        Ok(counting.done(whole_from.map(|ms| ms.next_multiple_of(MINUTE_MS)), counted_to))
    }

    /// The ring's events that are wanted.
    pub(crate) async fn counts(&self, wanted: &Wanted, from: u64, to: u64, step: u64) -> Result<Counts, QueryError> {
        let mut counting = Counting { from, to, step, counts: BTreeMap::new() };
        let (mut after, mut whole_from) = self.stalled(|ring| (ring.floor(), ring.whole_from()))?;
        loop {
            let (chunks, floor, whole_now, head) = self.stalled(|ring| {
                (ring.chunks_after(after, CHUNKS_AT_ONCE), ring.floor(), ring.whole_from(), ring.head())
            })?;
            if floor > after {
                // The ring has dropped what comes next: what is whole begins later.
                (after, whole_from) = (floor, whole_now);
            }
            let Some(last) = chunks.last().map(|chunk| chunk.last().sequence) else {
                return Ok(counting.done(whole_from, head.stored_ms));
            };
            for entry in chunks.iter().flat_map(|chunk| chunk.entries()) {
                if entry.place.sequence > after && wanted.holds(entry) {
                    counting.add(entry.kind, entry.place.stored_ms, 1);
                }
            }
            after = last;
            tokio::task::yield_now().await;
        }
    }
}
