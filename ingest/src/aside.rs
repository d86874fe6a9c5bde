//! What is kept beside the stream: large events whole, and authentic content that is no event.
//!
//! **Owns** the object store bucket and the stream of rejected content, as ingest writes them. Both are
//! written, and acknowledged, before the request they belong to is answered, with the journal's patience: what is
//! not decided is tried again, under the same name or id.

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::jetstream;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use async_nats::{HeaderMap, Request, datetime, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::broker::Broker;
use shared::{stream, subject};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::batch::{Event, EventId, Unusable};
use crate::commit::attempt::{self, Attempts, Undone};
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

/// What is put into the bucket.
struct Object<'a> {
    name: &'a str,
    content: &'a Bytes,
    metadata: HashMap<String, String>,
}

/// Writes beside the stream.
#[derive(Debug)]
pub struct Aside {
    attempts: Attempts,
    context: jetstream::Context,
    bucket: String,
    large_bytes: usize,
    writes: Semaphore,
}

impl Aside {
    /// Beside the stream of this name. Events over `large_bytes` are large. `missing` is told when nobody answers
    /// for what is written to.
    #[must_use]
    pub fn new(broker: Broker, stream: &str, large_bytes: usize, missing: Arc<Notify>) -> Aside {
        let context = jetstream::new(broker.client().clone());
        let (attempts, bucket) = (Attempts::new(broker, missing), stream::large_name(stream));
        Aside { attempts, context, bucket, large_bytes, writes: Semaphore::new(WRITES_MAX) }
    }

    /// Puts large events into the object store and their short forms in their places.
    ///
    /// # Errors
    /// Where one is not known to be stored by `deadline`.
    pub async fn keep_large(&self, events: &mut [Event], deadline: Instant) -> Result<usize, NotStored> {
        if events.is_empty() {
            return Ok(0);
        }
        let bytes_max = self.large_bytes.min(self.message_bytes_max(deadline).await?);
        let mut count = 0;
        for event in events {
            if event.payload.len() <= bytes_max {
                continue;
            }
            let name = event.id.to_string();
            let metadata = HashMap::from([(stream::LARGE_SUBJECT_KEY.to_owned(), event.subject.to_string())]);
            self.put(&Object { name: &name, content: &event.payload, metadata }, deadline).await?;
            let text = std::str::from_utf8(&event.payload).unwrap_or("{}");
            event.payload = cut::cut(text, &name, bytes_max).into();
            count += 1;
        }
        Ok(count)
    }

    /// Keeps authentic content that is no event.
    ///
    /// # Errors
    /// Where one is not known to be stored by `deadline`.
    pub async fn keep_unusable(&self, unusable: &[Unusable], deadline: Instant) -> Result<(), NotStored> {
        for content in unusable {
            self.reject(content, deadline).await?;
        }
        Ok(())
    }

    async fn reject(&self, unusable: &Unusable, deadline: Instant) -> Result<(), NotStored> {
        let id = EventId::of(&unusable.content).to_string();
        let mut headers = HeaderMap::new();
        // Sent again, it is kept once.
        headers.insert(header::NATS_MESSAGE_ID, id.as_str());
        headers.insert(REASON_HEADER, unusable.reason.as_str());
        let mut payload = unusable.content.clone();
        if payload.len() > REJECTED_INLINE_MAX.min(self.message_bytes_max(deadline).await?) {
            let name = format!("rejected-{id}");
            self.put(&Object { name: &name, content: &payload, metadata: HashMap::new() }, deadline).await?;
            payload = Bytes::new();
            headers.insert(OBJECT_HEADER, name.as_str());
        }
        let publish = || {
            let request = Request::new().headers(headers.clone()).payload(payload.clone());
            self.attempts.publish(subject::REJECTED, request, deadline)
        };
        while let Err(undone) = publish().await {
            attempt::pause(undone, deadline).await?;
        }
        Ok(())
    }

    /// What one message may hold, which the broker has told who was ever connected: one that takes less than it should
    /// is no reason to lose an event.
    async fn message_bytes_max(&self, deadline: Instant) -> Result<usize, NotStored> {
        self.attempts.connected(deadline).await?;
        Ok(self.attempts.broker.client().max_payload().saturating_sub(ENVELOPE_BYTES_MAX).max(1))
    }

    /// Puts an object into the bucket. Names are hashes of what they name: an object that is there is the same.
    async fn put(&self, object: &Object<'_>, deadline: Instant) -> Result<(), NotStored> {
        // The semaphore is never closed.
        let _place = timeout_at(deadline, self.writes.acquire()).await.map_err(|_| NotStored::Slow)?;
        while let Err(undone) = self.put_once(object, deadline).await {
            attempt::pause(undone, deadline).await?;
        }
        Ok(())
    }

    async fn put_once(&self, object: &Object<'_>, deadline: Instant) -> Result<(), Undone> {
        if self.attempts.once(deadline, self.has(object)).await? {
            return Ok(());
        }
        self.write(object, deadline).await
    }

    async fn has(&self, object: &Object<'_>) -> Result<bool, Undone> {
        let found = self.context.get_object_store(&self.bucket).await;
        let bucket = found.map_err(|error| self.attempts.unknown(error.to_string()))?;
        let found = bucket.info(object.name).await;
        Ok(found.is_ok_and(|found| found.size == object.content.len() && !found.deleted))
    }

    /// Writes an object as the client library does, which does not tell why it could not. What an attempt that fails
    /// has left in the bucket is part of no object, and goes with its age.
    async fn write(&self, object: &Object<'_>, deadline: Instant) -> Result<(), Undone> {
        let Object { name, content, ref metadata } = *object;
        let chunk_bytes = self.message_bytes_max(deadline).await.map_err(Undone::Refused)?.min(CHUNK_BYTES);
        let nuid = nuid::next().to_string();
        let subject = stream::large_chunks(&self.bucket, &nuid);
        let mut digest = Sha256::new();
        for at in (0..content.len()).step_by(chunk_bytes) {
            let chunk = content.slice(at..content.len().min(at + chunk_bytes));
            digest.update(&chunk);
            self.attempts.publish(&subject, Request::new().payload(chunk), deadline).await?;
        }
        let info = ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: metadata.clone(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(chunk_bytes) }),
            bucket: self.bucket.clone(),
            nuid,
            size: content.len(),
            chunks: content.len().div_ceil(chunk_bytes),
            modified: Some(datetime::now()),
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(digest.finalize()))),
            deleted: false,
        };
        let mut headers = HeaderMap::new();
        // It takes the place of what was there under this name.
        headers.insert(header::NATS_ROLLUP, "sub");
        let refused = |error: serde_json::Error| Undone::Refused(NotStored::Refused(error.to_string()));
        let description = serde_json::to_vec(&info).map_err(refused)?;
        let request = Request::new().headers(headers).payload(description.into());
        self.attempts.publish(&stream::large_subject(&self.bucket, name), request, deadline).await
    }
}
