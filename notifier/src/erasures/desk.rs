//! What erasing asks of the broker.
//!
//! **Owns** the requests that change something: they are made as a user of their own. It reads nothing; what
//! there is to be erased is found elsewhere.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::DeleteErrorKind;
use async_nats::jetstream::response::Response;
use serde::Deserialize;
use serde_json::json;
use shared::broker::{Broker, BrokerError, BrokerSettings, Role};
use shared::stream;
use shared::subject::{self, RecipientHash};
use tokio::time::{Instant, sleep, timeout};

use super::{EraseSettings, FIND_PAUSE, FIND_TIMEOUT, NotErased};
use crate::feed;

/// For the broker to store a tombstone, or to count.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// For the broker to take events away: it looks for them, two hundred thousand take seconds.
const PURGE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that may erase.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    broker: Broker,
    context: jetstream::Context,
    purging: jetstream::Context,
    stream: String,
    bucket: String,
}

/// What there is of a person, by the leader's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) events: usize,
    /// The stream's last sequence.
    pub(super) last: u64,
}

impl Desk {
    /// By the connection of whoever may; nothing where nobody is named and the broker asks. Where it does not,
    /// everybody may, `reader` too.
    pub(super) async fn open(
        erase: &EraseSettings,
        settings: &BrokerSettings,
        reader: &Broker,
        stream: &str,
    ) -> Result<Option<Desk>, BrokerError> {
        let broker = match erase.of(settings) {
            Some(own) => Broker::connect(Role::Erase, &own).await?,
            None if settings.signs_in() => return Ok(None),
            None => reader.clone(),
        };
        let context = |timeout| feed::context(broker.client(), timeout);
        Ok(Some(Desk {
            context: context(ASK_TIMEOUT),
            purging: context(PURGE_TIMEOUT),
            stream: stream.to_owned(),
            bucket: stream::large_name(stream),
            broker,
        }))
    }

    /// Waits until the connection stands, for as long as may be.
    pub(super) async fn connected(&self, wait: Duration) -> Result<(), NotErased> {
        let mut broker = self.broker.clone();
        timeout(wait, broker.connected()).await.map_err(|_| self.away())
    }

    fn away(&self) -> NotErased {
        NotErased::Broker(self.broker.trouble().unwrap_or_else(|| "the broker is away".to_owned()))
    }

    /// Writes a person's tombstone; returns its sequence.
    pub(super) async fn bury(&self, recipient: RecipientHash, payload: Vec<u8>) -> Result<u64, NotErased> {
        // What waits for a connection would be written after its sender was told otherwise.
        if !self.broker.is_connected() {
            return Err(self.away());
        }
        let message = PublishMessage::build().payload(payload.into()).expected_stream(&self.stream);
        let sent = self.context.send_publish(subject::of_erasure(recipient), message).await.map_err(failed)?;
        Ok(sent.await.map_err(failed)?.sequence)
    }

    /// How many events of a person there are.
    pub(super) async fn left(&self, recipient: RecipientHash) -> Result<Left, NotErased> {
        let counts = stream::counts(&self.context, &self.stream, &subject::events_of(recipient)).await;
        let counts = counts.map_err(failed)?;
        Ok(Left { events: counts.subjects.values().sum(), last: counts.last_sequence })
    }

    /// Takes a person's events away, up to a sequence; returns how many there were.
    pub(super) async fn purge(&self, recipient: RecipientHash, through: u64) -> Result<u64, NotErased> {
        #[derive(Deserialize)]
        struct Purged {
            purged: u64,
        }
        // The broker leaves what has this sequence and what follows.
        let question = json!({ "filter": subject::events_of(recipient), "seq": through + 1 });
        let subject = format!("STREAM.PURGE.{}", self.stream);
        match self.purging.request(subject, &question).await.map_err(failed)? {
            Response::Ok(Purged { purged }) => Ok(purged),
            Response::Err { error } => Err(failed(error)),
        }
    }

    /// Takes the original of a large event away, if there is one. Whatever answers may be a moment behind the leader:
    /// it is asked until it shows the object, or until the leader has none.
    pub(super) async fn delete_object(&self, id: &str) -> Result<(), NotErased> {
        let bucket = self.purging.get_object_store(&self.bucket).await.map_err(failed)?;
        let deadline = Instant::now() + FIND_TIMEOUT;
        loop {
            match bucket.delete(id).await {
                Err(error) if error.kind() != DeleteErrorKind::NotFound => return Err(failed(error)),
                Err(_) if self.has_object(id).await? => {}
                Ok(()) | Err(_) => return Ok(()),
            }
            if Instant::now() >= deadline {
                return Err(NotErased::behind());
            }
            sleep(FIND_PAUSE).await;
        }
    }

    /// Whether the leader has an object.
    async fn has_object(&self, id: &str) -> Result<bool, NotErased> {
        let (stream, subject) = (stream::large_stream(&self.bucket), stream::large_subject(&self.bucket, id));
        let counts = stream::counts(&self.context, &stream, &subject).await.map_err(failed)?;
        Ok(!counts.subjects.is_empty())
    }
}

fn failed(error: impl std::fmt::Display) -> NotErased {
    NotErased::Broker(format!(
        "the broker did not do it: {error}; a time-out may be a missing permission (docs/OPERATIONS.md)"
    ))
}
