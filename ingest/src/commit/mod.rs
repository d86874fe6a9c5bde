//! Making events durable.
//!
//! **Owns** what an acknowledgement is: a request is answered 200 only when each of its events has been
//! acknowledged by the broker, by itself or with its batch. [`group`] joins requests that arrive
//! together; [`jetstream`] is the one journal in production. `attempt` is how either it or
//! [`aside`](crate::aside) goes about the broker.

pub(crate) mod attempt;
pub mod group;
pub mod jetstream;
mod reply;

use std::future::Future;
use std::sync::Arc;

use tokio::time::Instant;

use crate::batch::Event;
use crate::error::NotStored;

/// An event on its way to the journal.
#[derive(Debug, Clone)]
pub struct Message {
    /// The event.
    pub event: Event,
    /// The trace its request belongs to.
    pub traceparent: Option<Arc<str>>,
}

/// How an event came to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// By this commit.
    New,
    /// It was there already.
    Duplicate,
}

/// Where events are made durable.
///
/// Another store is another implementation. It must promise: `Ok` only for what survives the loss of
/// power; one event for each id, however often and from however many writers at once it comes; the
/// order of `messages` within one call. An `Err` may have been stored all the same.
pub trait Journal: Send + Sync + 'static {
    /// Stores messages, whose ids differ; returns the fate of each, in their order, by `deadline`.
    fn append(
        &self,
        messages: &[Message],
        deadline: Instant,
    ) -> impl Future<Output = Vec<Result<Stored, NotStored>>> + Send;
}
