//! Oldest first.
//!
//! **Owns** the way forward: through the store, then through the ring, a piece at a time, whatever the length
//! of the way. It is said where events on it were dropped before they were read.

use shared::cursor::{Cursor, Epoch};

use super::{Budget, CHUNKS_AT_ONCE, FEW, Hit, PAGE_BYTES, PIECE, Page, QueryError, View, Wanted};
use crate::chunk::Place;
use crate::filter::subjects::Subjects;
use crate::ring::GapReason;

/// A reader on its way.
#[derive(Debug)]
pub(crate) struct Forward {
    view: View,
    wanted: Wanted,
    subjects: Subjects,
    /// Everything up to here was met.
    after: u64,
    /// Where the way ends.
    through: u64,
    /// Whether its beginning is settled: with a cursor, or by what was met.
    has_begun: bool,
    /// Events that were met, wanted or not.
    looked_at: usize,
}

impl Forward {
    /// Begins after a cursor, or with the oldest event that is wanted.
    pub(crate) async fn begin(view: View, wanted: Wanted, since: Option<&Cursor>) -> Result<Forward, QueryError> {
        if let Some(cursor) = since {
            view.check(cursor).await?;
            if view.first > cursor.sequence + 1 {
                return Err(QueryError::Gone(GapReason::Retention));
            }
        }
        let (lower, through) = view.bounds(&wanted).await?;
        let after = since.map_or(lower, |cursor| cursor.sequence.max(lower));
        let (subjects, has_begun) = (wanted.subjects(), since.is_some());
        Ok(Forward { view, wanted, subjects, after, through, has_begun, looked_at: 0 })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.view.epoch
    }

    /// The cursor of what was met.
    pub(crate) fn at(&self) -> Cursor {
        Place { sequence: self.after.min(self.through), stored_ms: 0 }.cursor(self.view.epoch)
    }

    /// The next events that are wanted, none perhaps; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Hit>>, QueryError> {
        if self.after >= self.through {
            return Ok(None);
        }
        let mut floor = self.through;
        if self.view.ring_counts {
            let after = self.after;
            let (chunks, ring_floor) = self.view.still(|ring| {
                let is_in_ring = after >= ring.floor();
                (is_in_ring.then(|| ring.chunks_after(after, CHUNKS_AT_ONCE)), ring.floor())
            })?;
            if let Some(chunks) = chunks {
                let Some(last) = chunks.last().map(|chunk| chunk.last().sequence) else {
                    self.met(self.through);
                    return Ok(Some(Vec::new()));
                };
                let range = self.after + 1..=self.through;
                let inside = chunks.iter().flat_map(|chunk| self.view.hits(chunk, &self.wanted));
                let found = inside.filter(|hit| range.contains(&hit.place.sequence)).collect();
                self.met(last);
                self.looked_at += chunks.iter().map(|chunk| chunk.entries().len()).sum::<usize>();
                return Ok(Some(found));
            }
            floor = ring_floor.min(self.through);
        }
        let mut part = self.view.storage.range(&self.subjects, self.after, floor, PIECE).await?;
        let kept = self.first_kept().await?;
        part.events.retain(|stored| stored.place.sequence >= kept);
        self.met(part.through.max(kept - 1));
        self.looked_at += part.events.len();
        let chunks = self.view.chunks(part.events);
        Ok(Some(chunks.iter().flat_map(|chunk| self.view.hits(chunk, &self.wanted)).collect()))
    }

    /// The first sequence from which on the store kept everything while it was read. A way that has not begun yet
    /// begins there; one that has ends where something it should have met was dropped.
    async fn first_kept(&self) -> Result<u64, QueryError> {
        let span = self.view.storage.span().await?;
        if span.epoch != self.view.epoch {
            return Err(QueryError::Gone(GapReason::Epoch));
        }
        let first = span.first.max(self.after + 1);
        if first > self.after + 1 && self.has_begun {
            return Err(QueryError::Gone(GapReason::Retention));
        }
        Ok(first)
    }

    /// Everything up to a sequence was met.
    fn met(&mut self, sequence: u64) {
        (self.after, self.has_begun) = (sequence.min(self.through), true);
    }

    /// The first event that is the one, as far as one query may look.
    pub(crate) async fn first(&mut self, is_it: impl Fn(&Hit) -> bool) -> Result<Option<Hit>, QueryError> {
        let mut budget = Budget::new();
        while !budget.is_spent()
            && let Some(hits) = self.next().await?
        {
            if let Some(found) = hits.into_iter().find(&is_it) {
                return Ok(Some(found));
            }
            budget.spend(std::mem::take(&mut self.looked_at));
        }
        Ok(None)
    }

    /// Whether an event that was met is erased by now.
    pub(crate) fn is_erased(&self, hit: &Hit) -> bool {
        self.view.is_erased(hit)
    }

    /// A page of at most `limit` events.
    pub(crate) async fn page(mut self, limit: usize) -> Result<Page, QueryError> {
        let page = self.collect(limit).await?;
        Ok(self.view.given(page))
    }

    async fn collect(&mut self, limit: usize) -> Result<Page, QueryError> {
        let (mut page, mut bytes, mut budget) = (Page::default(), 0, Budget::new());
        // Where an index finds what lies behind the ring, nothing between is read.
        let floor = self.view.ring(crate::ring::Ring::floor).unwrap_or(self.through).min(self.through);
        let mut found = None;
        if self.after < floor
            && let Some(mut few) = budget.within(self.view.storage.few(&self.subjects, floor, FEW)).await?
        {
            few.retain(|stored| stored.place.sequence > self.after);
            let chunks = self.view.chunks(few);
            found = Some(chunks.iter().flat_map(|chunk| self.view.hits(chunk, &self.wanted)).collect());
            self.met(floor);
        }
        loop {
            let hits: Vec<Hit> = match found.take() {
                Some(hits) => hits,
                None if budget.is_spent() => {
                    page.next = Some(Place { sequence: self.after, stored_ms: 0 });
                    return Ok(page);
                }
                None => match self.next().await? {
                    Some(hits) => hits,
                    None => return Ok(page),
                },
            };
            budget.spend(std::mem::take(&mut self.looked_at));
            for hit in hits {
                if page.hits.len() == limit || bytes >= PAGE_BYTES {
                    page.next = page.hits.last().map(|last| last.place);
                    return Ok(page);
                }
                bytes += hit.text.len();
                page.hits.push(hit);
            }
        }
    }
}
