//! One rejected message's way into the stream.
//!
//! **Owns** the order: read again, stored, acknowledged, and only then deleted. Whatever happens in between,
//! the message is still there, and redriving it again stores nothing twice: events keep their ids.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::aside::Aside;
use ingest::batch::Event;
use ingest::commit::jetstream::JetStream;
use ingest::commit::{Journal, Message, Stored};
use ingest::error::NotStored;
use ingest::redrive::{self, StillUnusable};
use shared::broker::Broker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Settings;
use super::shelf::{Shelf, ShelfError};

/// For all of a message's events to be stored. Nobody waits for an answer here but the person who asked.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Stores events as ingest does.
pub(super) struct Redrive {
    aside: Aside,
    journal: JetStream,
}

/// What became of a message's events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    stored: usize,
    known: usize,
}

/// Why a message is still there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Left {
    #[error(transparent)]
    Unusable(#[from] StillUnusable),
    #[error("not all of it could be stored: {0}")]
    NotStored(#[from] NotStored),
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

impl Redrive {
    pub(super) fn new(broker: &Broker, settings: &Settings) -> Redrive {
        let stream = &settings.stream.stream_name;
        // Ingest makes what is missing; here a person is told.
        let missing = Arc::new(Notify::new());
        Redrive {
            aside: Aside::new(
                broker.clone(),
                stream,
                settings.hook.large_event_bytes.in_memory(),
                Arc::clone(&missing),
            ),
            journal: JetStream::new(broker.clone(), stream, missing),
        }
    }

    /// Stores a message's events, of `fixed` where that stands for what was sent, and deletes it.
    pub(super) async fn one(&self, shelf: &Shelf, sequence: u64, fixed: Option<Bytes>) -> Result<Done, Left> {
        let (_, sent) = shelf.take(sequence).await?;
        let done = self.store(redrive::events(&fixed.unwrap_or(sent))?).await?;
        shelf.delete(sequence).await?;
        Ok(done)
    }

    async fn store(&self, mut events: Vec<Event>) -> Result<Done, NotStored> {
        let deadline = Instant::now() + COMMIT_TIMEOUT;
        self.aside.keep_large(&mut events, deadline).await?;
        let messages: Vec<_> = events.into_iter().map(|event| Message { event, traceparent: None }).collect();
        let mut done = Done::default();
        for fate in self.journal.append(&messages, deadline).await {
            match fate? {
                Stored::New => done.stored += 1,
                Stored::Duplicate => done.known += 1,
            }
        }
        Ok(done)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = |count: usize| format!("{count} event{}", if count == 1 { "" } else { "s" });
        write!(formatter, "{} stored", events(self.stored))?;
        if self.known > 0 { write!(formatter, ", {} known already", events(self.known)) } else { Ok(()) }
    }
}
