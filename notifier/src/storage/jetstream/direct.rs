//! Direct get in batches.
//!
//! **Owns** the question, and the messages of its answer: that none of them was lost on the way, and where each is
//! stored. The nearest server answers from its own copy, which may end before the leader's does: that an answer has
//! come to its end says nothing of the stream's.

use async_nats::{Client, HeaderMap, HeaderName, Message, StatusCode, Subscriber, header};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::chunk::Place;
use crate::storage::{READ_TIMEOUT, StorageError, Stored};

/// The status of the message that ends a batch.
const END_OF_BATCH: u16 = 204;
/// The answer to a question with too many answers.
const TOO_MANY: u16 = 413;
/// How many more would answer the question.
const LEFT: HeaderName = HeaderName::from_static("Nats-Num-Pending");
/// The last message of the copy that answers, where the question was for the last of each subject.
const COPY_LAST: HeaderName = HeaderName::from_static("Nats-UpTo-Sequence");

/// Asks the nearest server.
pub(super) async fn ask(client: &Client, stream: &str, question: &Value) -> Result<Batch, StorageError> {
    let inbox = client.new_inbox();
    let messages = client.subscribe(inbox.clone()).await.map_err(|_| StorageError::Away)?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let sent = client.publish_with_reply(subject, inbox, question.to_string().into()).await;
    sent.map_err(|_| StorageError::Away)?;
    Ok(Batch { messages, last: 0 })
}

/// The answer to one question.
pub(super) struct Batch {
    messages: Subscriber,
    /// The sequence of the message before.
    last: u64,
}

pub(super) enum Next {
    Message(Message),
    End(End),
    TooMany,
}

/// The end of an answer.
#[derive(Debug, Default)]
pub(super) struct End {
    /// How many more would answer the question.
    pub(super) left: u64,
    /// The last sequence of the copy that answered, where it said so.
    pub(super) copy_last: Option<u64>,
}

impl Batch {
    pub(super) async fn next(&mut self) -> Result<Next, StorageError> {
        let waited = timeout(READ_TIMEOUT, self.messages.next()).await;
        let message = waited.ok().flatten().ok_or(StorageError::Away)?;
        // What was on its way while the connection was away is gone, and the rest comes as if nothing were.
        if number(&message, header::NATS_LAST_SEQUENCE).is_some_and(|before| before != self.last) {
            return Err(StorageError::Away);
        }
        match message.status {
            None => {
                self.last = number(&message, header::NATS_SEQUENCE).ok_or(StorageError::Away)?;
                Ok(Next::Message(message))
            }
            Some(StatusCode::NOT_FOUND) => Ok(Next::End(End::default())),
            Some(status) if status.as_u16() == END_OF_BATCH => {
                Ok(Next::End(End { left: number(&message, LEFT).unwrap_or(1), copy_last: number(&message, COPY_LAST) }))
            }
            Some(status) if status.as_u16() == TOO_MANY => Ok(Next::TooMany),
            Some(_) => Err(StorageError::Away),
        }
    }
}

fn number(message: &Message, name: HeaderName) -> Option<u64> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}

/// A message of an answer, and where it is stored.
pub(super) fn stored(message: Message) -> Result<Stored, StorageError> {
    let place = place(message.headers.as_ref()).ok_or(StorageError::Away)?;
    Ok(Stored { place, event: message.payload })
}

pub(super) fn subject_of(message: &Message) -> &str {
    let subject = message.headers.as_ref().and_then(|headers| headers.get(header::NATS_SUBJECT));
    subject.map_or("", |subject| subject.as_str())
}

/// The place of a message got directly: its reply subject says nothing, its headers do.
fn place(headers: Option<&HeaderMap>) -> Option<Place> {
    let header = |name: HeaderName| headers?.get(name).map(|value| value.as_str());
    let sequence = header(header::NATS_SEQUENCE)?.parse().ok()?;
    let stored = humantime::parse_rfc3339(header(header::NATS_TIME_STAMP)?).ok()?;
    let since = stored.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Some(Place { sequence, stored_ms: u64::try_from(since.as_millis()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::testing::broker::Broker;

    #[tokio::test]
    async fn a_batch_of_which_a_message_was_lost_is_no_answer() {
        let broker = Broker::start().await;
        let client = broker.client().await;
        let inbox = client.new_inbox();
        let mut batch = Batch { messages: client.subscribe(inbox.clone()).await.expect("subscribed"), last: 0 };
        for (before, sequence) in [("0", "7"), ("7", "9"), ("11", "12")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_LAST_SEQUENCE, before);
            headers.insert(header::NATS_SEQUENCE, sequence);
            client.publish_with_headers(inbox.clone(), headers, "{}".into()).await.expect("published");
        }
        assert!(matches!(batch.next().await, Ok(Next::Message(_))));
        assert!(matches!(batch.next().await, Ok(Next::Message(_))));
        assert!(matches!(batch.next().await, Err(StorageError::Away)), "11 was on its way");
    }
}
