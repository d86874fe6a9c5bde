//! Newest first.
//!
//! **Owns** the way back: through the ring, then through the store, which reads forward only. There it goes by
//! windows, each read from its older end and given from its newer one; their width follows how much is found,
//! so that rare events are not looked for in a thousand steps and common ones are not read to be thrown away.

use std::collections::VecDeque;

use shared::cursor::Cursor;

use super::{Budget, CHUNKS_AT_ONCE, FEW, Hit, PAGE_BYTES, PIECE, Page, QueryError, View, Wanted};
use crate::chunk::Place;
use crate::filter::subjects::Subjects;

/// The first window's width, in sequences.
const WIDTH_FIRST: u64 = 1024;
/// A window in which the store has less than this is followed by a wider one.
const WINDOW_FEW: usize = 256;
/// One in which it has more is given up for a narrower one.
const WINDOW_MANY: usize = 2048;
/// How much wider or narrower.
const WIDTH_FACTOR: u64 = 4;

/// A page that is filled, newest first.
struct Filling {
    page: Page,
    bytes: usize,
    limit: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.page.hits.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn push(&mut self, hit: Hit) {
        self.bytes += hit.text.len();
        self.page.hits.push(hit);
    }

    /// Takes events, newest first, while there is room; says whether all of them had it.
    fn take(&mut self, hits: impl Iterator<Item = Hit>) -> bool {
        for hit in hits {
            if self.is_full() {
                return false;
            }
            self.push(hit);
        }
        true
    }

    /// Ends where the page is full: what follows is before the last event in it.
    fn full(mut self) -> Page {
        self.page.next = self.page.hits.last().map(|hit| hit.place);
        self.page
    }

    /// Ends where everything from this sequence on has been looked at.
    fn until(mut self, sequence: u64, lower: u64) -> Page {
        self.page.next = (sequence > lower + 1).then_some(Place { sequence, stored_ms: 0 });
        self.page
    }
}

impl View {
    /// The newest events that are wanted before a cursor, at most `limit`.
    pub(crate) async fn newest(
        &self,
        wanted: &Wanted,
        before: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        Ok(self.given(self.find(wanted, before, limit).await?))
    }

    /// The same as it is found: somebody in it may be erased meanwhile.
    pub(super) async fn find(
        &self,
        wanted: &Wanted,
        before: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        if let Some(cursor) = before {
            self.check(cursor).await?;
        }
        let (lower, upper) = self.bounds(wanted).await?;
        let mut at = before.map_or(u64::MAX, |cursor| cursor.sequence).min(upper + 1);
        let mut filling = Filling { page: Page::default(), bytes: 0, limit };
        if self.ring_counts && !self.through_ring(wanted, lower, &mut at, &mut filling).await? {
            return Ok(filling.full());
        }
        if at <= lower + 1 {
            return Ok(filling.page);
        }
        if filling.is_full() {
            return Ok(filling.full());
        }
        let (subjects, mut budget) = (wanted.subjects(), Budget::new());
        if let Some(few) = budget.within(self.storage.few(&subjects, at - 1, FEW)).await? {
            let few = few.into_iter().filter(|stored| stored.place.sequence > lower);
            let chunks = self.chunks(few.collect());
            let took_all = filling.take(chunks.iter().rev().flat_map(|chunk| self.hits(chunk, wanted).rev()));
            return Ok(if took_all { filling.page } else { filling.full() });
        }
        self.through_store(wanted, &subjects, (lower, at), filling, &mut budget).await
    }

    /// Looks through the ring down to its floor, or to `lower`; says whether it came so far.
    async fn through_ring(
        &self,
        wanted: &Wanted,
        lower: u64,
        at: &mut u64,
        filling: &mut Filling,
    ) -> Result<bool, QueryError> {
        loop {
            let (chunks, floor) = self.still(|ring| (ring.chunks_before(*at, CHUNKS_AT_ONCE), ring.floor()))?;
            if chunks.is_empty() {
                *at = (*at).min(floor.max(lower) + 1);
                return Ok(true);
            }
            for chunk in chunks {
                let range = lower + 1..*at;
                let inside = self.hits(&chunk, wanted).filter(|hit| range.contains(&hit.place.sequence));
                if !filling.take(inside.rev()) {
                    return Ok(false);
                }
                *at = (*at).min(chunk.first().sequence);
                if *at <= lower + 1 {
                    return Ok(true);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn through_store(
        &self,
        wanted: &Wanted,
        subjects: &Subjects,
        (lower, mut at): (u64, u64),
        mut filling: Filling,
        budget: &mut Budget,
    ) -> Result<Page, QueryError> {
        let mut width = WIDTH_FIRST;
        while at > lower + 1 {
            if budget.is_spent() {
                return Ok(filling.until(at, lower));
            }
            let after = (at - 1).saturating_sub(width).max(lower);
            let room = (filling.limit - filling.page.hits.len(), PAGE_BYTES - filling.bytes);
            let window = self.window(wanted, subjects, (after, at - 1), room, budget).await?;
            if window.looked_at > WINDOW_MANY && width > WIDTH_FIRST {
                width = (width / WIDTH_FACTOR).max(WIDTH_FIRST);
                continue;
            }
            if !window.is_whole {
                return Ok(filling.until(at, lower));
            }
            let took_all = filling.take(window.newest.into_iter().rev());
            if !took_all || window.left_out {
                return Ok(filling.full());
            }
            at = after + 1;
            if filling.is_full() {
                return Ok(if at > lower + 1 { filling.full() } else { filling.page });
            }
            if window.looked_at < WINDOW_FEW {
                width = width.saturating_mul(WIDTH_FACTOR);
            }
        }
        Ok(filling.page)
    }

    /// Reads one window, and keeps the newest of it that have room.
    async fn window(
        &self,
        wanted: &Wanted,
        subjects: &Subjects,
        (mut after, through): (u64, u64),
        room: (usize, usize),
        budget: &mut Budget,
    ) -> Result<Window, QueryError> {
        let is_first_width = through - after <= WIDTH_FIRST;
        let mut window = Window::default();
        let mut bytes = 0;
        while after < through {
            let part = budget.within(self.storage.range(subjects, after, through, PIECE)).await?;
            window.looked_at += part.events.len();
            budget.spend(part.events.len());
            after = part.through;
            for chunk in self.chunks(part.events) {
                for hit in self.hits(&chunk, wanted) {
                    bytes += hit.text.len();
                    window.newest.push_back(hit);
                    while window.newest.len() > room.0 || (bytes > room.1 && window.newest.len() > 1) {
                        bytes -= window.newest.pop_front().map_or(0, |hit| hit.text.len());
                        window.left_out = true;
                    }
                }
            }
            // The narrowest is always read whole: each query gets somewhere.
            if !is_first_width && (window.looked_at > WINDOW_MANY || budget.is_spent()) {
                return Ok(window);
            }
        }
        window.is_whole = true;
        Ok(window)
    }
}

/// What was found in a window.
#[derive(Default)]
struct Window {
    /// Oldest first.
    newest: VecDeque<Hit>,
    /// Whether older ones had no room.
    left_out: bool,
    looked_at: usize,
    /// Whether it was read to its end.
    is_whole: bool,
}
