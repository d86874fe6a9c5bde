//! What is kept beside the stream: large events whole, and authentic content that is no event.
//!
//! **Owns** the object store bucket and the stream of rejected content, as ingest writes them. Both are
//! written, and acknowledged, before the request they belong to is answered.

use std::collections::HashMap;

use async_nats::jetstream;
use async_nats::jetstream::object_store::{ObjectMetadata, ObjectStore};
use async_nats::{HeaderMap, header};
use bytes::Bytes;
use shared::broker::Broker;
use shared::{stream, subject};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::batch::{Event, EventId, Unusable};
use crate::cut;
use crate::error::NotStored;

/// Why something was rejected.
pub const REASON_HEADER: &str = "Mandrill-Live-Reason";
/// The object that holds rejected content too large for a message.
pub const OBJECT_HEADER: &str = "Mandrill-Live-Object";
/// Rejected content up to here is a message of its own; servers take 1 MiB by default.
const REJECTED_INLINE_MAX: usize = 512 << 10;
/// What a message's subject and headers may add to its payload.
const ENVELOPE_BYTES_MAX: usize = 4 << 10;
/// A message of an object, as the client library has it by default.
const CHUNK_BYTES: usize = 128 << 10;
/// Objects written at once, all requests together.
const WRITES_MAX: usize = 4;

/// Writes beside the stream.
#[derive(Debug)]
pub struct Aside {
    broker: Broker,
    context: jetstream::Context,
    bucket: String,
    large_bytes: usize,
    writes: Semaphore,
}

impl Aside {
    /// Beside the stream of this name. Events over `large_bytes` are large.
    #[must_use]
    pub fn new(broker: Broker, stream: &str, large_bytes: usize) -> Aside {
        let context = jetstream::new(broker.client().clone());
        Aside { broker, context, bucket: stream::large_name(stream), large_bytes, writes: Semaphore::new(WRITES_MAX) }
    }

    /// Puts large events into the object store and their short forms in their places.
    ///
    /// # Errors
    /// Where one is not known to be stored by `deadline`.
    pub async fn keep_large(&self, events: &mut [Event], deadline: Instant) -> Result<usize, NotStored> {
        let bytes_max = self.large_bytes.min(self.message_bytes_max());
        if events.iter().all(|event| event.payload.len() <= bytes_max) {
            return Ok(0);
        }
        timeout_at(deadline, async {
            let bucket = self.bucket().await?;
            let mut count = 0;
            for event in events {
                if event.payload.len() <= bytes_max {
                    continue;
                }
                let name = event.id.to_string();
                let metadata = HashMap::from([(stream::LARGE_SUBJECT_KEY.to_owned(), event.subject.to_string())]);
                self.put(&bucket, &name, event.payload.clone(), metadata).await?;
                let text = std::str::from_utf8(&event.payload).unwrap_or("{}");
                event.payload = cut::cut(text, &name, bytes_max).into();
                count += 1;
            }
            Ok(count)
        })
        .await
        .unwrap_or(Err(NotStored::Slow))
    }

    /// Keeps authentic content that is no event.
    ///
    /// # Errors
    /// Where one is not known to be stored by `deadline`.
    pub async fn keep_unusable(&self, unusable: &[Unusable], deadline: Instant) -> Result<(), NotStored> {
        timeout_at(deadline, async {
            for content in unusable {
                self.reject(content).await?;
            }
            Ok(())
        })
        .await
        .unwrap_or(Err(NotStored::Slow))
    }

    async fn reject(&self, unusable: &Unusable) -> Result<(), NotStored> {
        let id = EventId::of(&unusable.content).to_string();
        let mut headers = HeaderMap::new();
        // Sent again, it is kept once.
        headers.insert(header::NATS_MESSAGE_ID, id.as_str());
        headers.insert(REASON_HEADER, unusable.reason.as_str());
        let mut payload = unusable.content.clone();
        if payload.len() > REJECTED_INLINE_MAX.min(self.message_bytes_max()) {
            let name = format!("rejected-{id}");
            self.put(&self.bucket().await?, &name, std::mem::take(&mut payload), HashMap::new()).await?;
            headers.insert(OBJECT_HEADER, name.as_str());
        }
        // What is queued while the broker is away would be sent long after its sender was told otherwise.
        self.connected()?;
        let publish = self.context.publish_with_headers(subject::REJECTED, headers, payload);
        let acknowledged = publish.await.map_err(refused)?;
        acknowledged.await.map(drop).map_err(refused)
    }

    fn connected(&self) -> Result<(), NotStored> {
        if self.broker.is_connected() { Ok(()) } else { Err(NotStored::Away) }
    }

    /// What one message may hold: a server that takes less than it should is no reason to lose an event.
    fn message_bytes_max(&self) -> usize {
        self.broker.client().max_payload().saturating_sub(ENVELOPE_BYTES_MAX)
    }

    async fn bucket(&self) -> Result<ObjectStore, NotStored> {
        self.connected()?;
        self.context.get_object_store(&self.bucket).await.map_err(refused)
    }

    async fn put(
        &self,
        bucket: &ObjectStore,
        name: &str,
        content: Bytes,
        metadata: HashMap<String, String>,
    ) -> Result<(), NotStored> {
        // The semaphore is never closed.
        let _place = self.writes.acquire().await;
        // Names are hashes of what they name: an object that is there is the same.
        if bucket.info(name).await.is_ok_and(|found| found.size == content.len() && !found.deleted) {
            return Ok(());
        }
        let chunk_size = Some(self.message_bytes_max().min(CHUNK_BYTES));
        let metadata = ObjectMetadata { name: name.to_owned(), chunk_size, metadata, ..ObjectMetadata::default() };
        bucket.put(metadata, &mut &*content).await.map(drop).map_err(refused)
    }
}

fn refused(error: impl std::error::Error) -> NotStored {
    NotStored::Refused(error.to_string())
}
