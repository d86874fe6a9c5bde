//! What can go wrong between the broker and this replica.
//!
//! **Owns** the faults and what an operator is told of each. Every one is answered the same way: the
//! consumer is made anew after the last event.

use async_nats::jetstream::stream::ConsumerError;
use shared::stream::StreamError;

/// Why the feed has to begin again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection changed or the server reported an error.
    #[error("the connection to the broker was lost or reported an error")]
    Connection,
    /// No heartbeat: the consumer is gone, or the broker is frozen.
    #[error("the consumer went silent")]
    Silent,
    /// The client gave up.
    #[error("the broker's client is closed")]
    Closed,
    /// Messages were dropped on the way.
    #[error("messages were dropped on the way")]
    Missed,
    /// What was to be read next is gone, and was there a moment ago.
    #[error("the stream dropped events that were to be read next")]
    Dropped,
    /// Flow control is not answered, or the answers do not arrive.
    #[error("the consumer waits for flow-control answers that do not arrive: may this user publish to $JS.FC.>?")]
    Stalled,
    /// The last event that was read is now another one.
    #[error("the stream was restored to an earlier state")]
    Rewritten,
    /// The consumer is on a server that has not caught up.
    #[error("a server of the cluster is behind its leader")]
    Behind,
    /// The broker does not answer in time.
    #[error("the broker does not answer")]
    NoAnswer,
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The consumer cannot be made.
    #[error("the consumer could not be made: {0}")]
    Consumer(#[from] ConsumerError),
}

impl Fault {
    /// All names, as `name` gives them.
    pub(crate) const NAMES: [&str; 11] = [
        "connection",
        "silent",
        "closed",
        "missed",
        "dropped",
        "stalled",
        "rewritten",
        "behind",
        "no_answer",
        "stream",
        "consumer",
    ];

    /// Its name in the metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Fault::Connection => "connection",
            Fault::Silent => "silent",
            Fault::Closed => "closed",
            Fault::Missed => "missed",
            Fault::Dropped => "dropped",
            Fault::Stalled => "stalled",
            Fault::Rewritten => "rewritten",
            Fault::Behind => "behind",
            Fault::NoAnswer => "no_answer",
            Fault::Stream(_) => "stream",
            Fault::Consumer(_) => "consumer",
        }
    }
}
