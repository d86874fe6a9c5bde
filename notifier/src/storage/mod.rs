//! What stored events are read from.
//!
//! **Owns** what a store must promise, and nothing of how it keeps it. [`jetstream`] is the store of
//! production; [`memory`] is a second one, and [`tests`] holds both to the same promises. A new store is one
//! more module here. Live delivery does not go through it: that needs a log that is pushed.
//!
//! What a store promises:
//! - Every event has a sequence. Sequences rise in the order in which events were stored and are never used
//!   twice within one epoch; there may be holes. The time an event was stored never falls along the sequences.
//! - An event is seen by every read that begins after a [`Storage::span`] that covers it, or is deleted.
//! - A read changes nothing and may be given up at any time; it leaves nothing behind.
//! - Each read is bounded by what it is asked for, in events and in bytes, and ends within
//!   [`READ_TIMEOUT`] a step: a store that does not answer is an error, not a wait.
//! - Where a read says that it has seen everything up to a sequence, it has: what is not among its events was
//!   not stored, or has been deleted.

pub(crate) mod jetstream;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use shared::cursor::Epoch;
use shared::stream::StreamError;

use crate::chunk::Place;
use crate::filter::subjects::Subjects;

/// For the store's next piece of an answer.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why something was not read. Trying again later may help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The store does not answer.
    #[error("the store does not answer")]
    Away,
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What was read is not what was stored.
    #[error("a stored object is damaged")]
    Damaged,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The life of the store that its sequences belong to.
    pub(crate) epoch: Epoch,
    /// The first sequence that is kept; one more than `last` where nothing is.
    pub(crate) first: u64,
    /// The last sequence that was given to anything.
    pub(crate) last: u64,
}

/// An event as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) place: Place,
    /// Mandrill's object.
    pub(crate) event: Bytes,
}

/// A run of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Oldest first.
    pub(crate) events: Vec<Stored>,
    /// Everything up to this sequence is in it.
    pub(crate) through: u64,
}

/// How much one read may bring. The first event comes whatever its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// The whole of a large event.
pub(crate) struct Object {
    pub(crate) bytes: u64,
    /// When it was stored, in milliseconds since 1970: its event was stored later.
    pub(crate) stored_ms: u64,
    /// The subject of the event it belongs to, where that was noted.
    pub(crate) subject: Option<String>,
    /// Its content, piece by piece; an error is the end.
    pub(crate) content: BoxStream<'static, Result<Bytes, StorageError>>,
}

/// A store of events.
pub(crate) trait Storage: Debug + Send + Sync {
    /// What it holds now, everything included that was acknowledged before the call.
    fn span(&self) -> BoxFuture<'_, Result<Span, StorageError>>;

    /// The events stored under `subjects` after the sequence `after` and up to `through`, oldest first, or
    /// as many of the first of them as may come. `through` is not after the last sequence there is.
    fn range<'a>(
        &'a self,
        subjects: &'a Subjects,
        after: u64,
        through: u64,
        most: Most,
    ) -> BoxFuture<'a, Result<Part, StorageError>>;

    /// All events stored under `subjects` up to `through`, oldest first, where an index finds them without reading
    /// what lies between, and there are not more than `most` of them or behind `through`; nothing otherwise. A store
    /// without an index always says nothing, and is read by ranges. `through` is not after the last sequence there is.
    fn few<'a>(
        &'a self,
        subjects: &'a Subjects,
        through: u64,
        most: Most,
    ) -> BoxFuture<'a, Result<Option<Vec<Stored>>, StorageError>>;

    /// The sequence of the first event stored at `ms` (since 1970) or later; nothing where there is none.
    fn first_since(&self, ms: u64) -> BoxFuture<'_, Result<Option<u64>, StorageError>>;

    /// The whole of a large event; nothing where there is no such object.
    fn object<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Object>, StorageError>>;
}
