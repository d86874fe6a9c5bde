//! A store in memory: the plainest one that keeps the promises, to check the other and what reads from it.
//! It has no large objects.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared::cursor::Epoch;
use shared::{event, subject};

use super::{Most, Object, Part, Span, Storage, StorageError, Stored};
use crate::chunk::Place;
use crate::filter::subjects::Subjects;

/// Events in a vector.
#[derive(Debug)]
pub(crate) struct Memory {
    epoch: Epoch,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// With the subject each is stored under.
    events: Vec<(String, Stored)>,
    last: u64,
    /// When a read begins after the first, everything up to the second is dropped just before.
    drops: Option<(u64, u64)>,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory { epoch: Epoch::random(), kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an event; returns its sequence.
    pub(crate) fn store(&self, text: &str, stored_ms: u64) -> u64 {
        let mut kept = self.kept();
        kept.last += 1;
        let place = Place { sequence: kept.last, stored_ms };
        let stored = Stored { place, event: Bytes::copy_from_slice(text.as_bytes()) };
        kept.events.push((subject::of_event(&event::fields(text)), stored));
        kept.last
    }

    /// Deletes an event; its sequence becomes a hole.
    pub(crate) fn delete(&self, sequence: u64) {
        self.kept().events.retain(|(_, stored)| stored.place.sequence != sequence);
    }

    /// From now on it drops its oldest events, up to a sequence, once somebody begins to read behind a place.
    pub(crate) fn drop_when_read(&self, after: u64, through: u64) {
        self.kept().drops = Some((after, through));
    }

    fn select(&self, subjects: &Subjects, wanted: impl Fn(&Stored) -> bool) -> Vec<Stored> {
        let patterns = subjects.patterns();
        let matches = |subject: &str| patterns.iter().any(|pattern| is_under(subject, pattern));
        let kept = self.kept();
        let found = kept.events.iter().filter(|(subject, stored)| matches(subject) && wanted(stored));
        found.map(|(_, stored)| stored.clone()).collect()
    }
}

/// Whether a pattern of NATS holds for a subject.
fn is_under(subject: &str, pattern: &str) -> bool {
    let (mut tokens, mut wanted) = (subject.split('.'), pattern.split('.'));
    loop {
        match (tokens.next(), wanted.next()) {
            (Some(_), Some(">")) | (None, None) => return true,
            (Some(_), Some("*")) => {}
            (Some(token), Some(wanted)) if token == wanted => {}
            (_, _) => return false,
        }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StorageError>> {
    std::future::ready(Ok(value)).boxed()
}

impl Storage for Memory {
    fn span(&self) -> BoxFuture<'_, Result<Span, StorageError>> {
        let kept = self.kept();
        let first = kept.events.first().map_or(kept.last + 1, |(_, stored)| stored.place.sequence);
        ready(Span { epoch: self.epoch, first, last: kept.last })
    }

    fn range<'a>(
        &'a self,
        subjects: &'a Subjects,
        after: u64,
        through: u64,
        most: Most,
    ) -> BoxFuture<'a, Result<Part, StorageError>> {
        let drops = self.kept().drops.filter(|(behind, _)| *behind == after);
        if let Some((_, dropped)) = drops {
            (1..=dropped).for_each(|sequence| self.delete(sequence));
        }
        let mut events = self.select(subjects, |stored| (after + 1..=through).contains(&stored.place.sequence));
        let mut bytes = 0;
        let fits = events.iter().take(most.events).take_while(|stored| {
            bytes += stored.event.len();
            bytes <= most.bytes || bytes == stored.event.len()
        });
        let kept = fits.count();
        let through = if kept < events.len() { events[kept - 1].place.sequence } else { through };
        events.truncate(kept);
        ready(Part { events, through })
    }

    fn few<'a>(
        &'a self,
        subjects: &'a Subjects,
        through: u64,
        most: Most,
    ) -> BoxFuture<'a, Result<Option<Vec<Stored>>, StorageError>> {
        let events = self.select(subjects, |stored| stored.place.sequence <= through);
        let bytes: usize = events.iter().map(|stored| stored.event.len()).sum();
        let is_few = subjects.is_narrow() && events.len() <= most.events && bytes <= most.bytes;
        ready(is_few.then_some(events))
    }

    fn first_since(&self, ms: u64) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        let kept = self.kept();
        let found = kept.events.iter().find(|(_, stored)| stored.place.stored_ms >= ms);
        ready(found.map(|(_, stored)| stored.place.sequence))
    }

    fn object<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<Option<Object>, StorageError>> {
        ready(None)
    }
}
