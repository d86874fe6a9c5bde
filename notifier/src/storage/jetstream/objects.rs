//! Large events in the object store.
//!
//! **Owns** finding one by its name, and its content piece by piece, held to its length and its digest.

use async_nats::jetstream::object_store::ObjectInfo;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::stream;

use super::JetStream;
use super::behind::Patience;
use super::direct::{self, Next};
use super::leader;
use crate::storage::{Object, StorageError};

/// Pieces of an object that are asked for at once; the client library makes pieces of 128 KiB.
const PIECES: usize = 8;

pub(super) async fn find(storage: &JetStream, id: &str) -> Result<Option<Object>, StorageError> {
    let bucket = stream::large_name(&storage.stream);
    let stream = stream::large_stream(&bucket);
    let question = json!({ "last_by_subj": stream::large_subject(&bucket, id) });
    let Some(found) = leader::message(&storage.context, &stream, &question).await? else { return Ok(None) };
    let meta = leader::stored(&found)?;
    let info: ObjectInfo = serde_json::from_slice(&meta.event).map_err(|_| StorageError::Damaged)?;
    if info.deleted {
        return Ok(None);
    }
    let pieces = Pieces {
        storage: storage.clone(),
        subject: stream::large_chunks(&bucket, &info.nuid),
        stream,
        after: 0,
        left: info.size,
        seen: Sha256::new(),
        digest: info.digest,
    };
    let content = futures_util::stream::try_unfold(pieces, async |mut pieces| {
        let next = pieces.next().await?;
        Ok::<_, StorageError>(next.map(|next| (futures_util::stream::iter(next).map(Ok), pieces)))
    });
    Ok(Some(Object {
        bytes: info.size as u64,
        stored_ms: meta.place.stored_ms,
        subject: info.metadata.get(stream::LARGE_SUBJECT_KEY).cloned(),
        content: content.try_flatten().boxed(),
    }))
}

/// An object's content on its way.
struct Pieces {
    storage: JetStream,
    stream: String,
    subject: String,
    after: u64,
    left: usize,
    seen: Sha256,
    digest: Option<String>,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, StorageError> {
        if self.left == 0 {
            let digest = format!("SHA-256={}", URL_SAFE.encode(self.seen.clone().finalize()));
            let is_whole = self.digest.as_ref().is_none_or(|known| *known == digest);
            return if is_whole { Ok(None) } else { Err(StorageError::Damaged) };
        }
        let mut patience = Patience::new();
        loop {
            let pieces = self.read().await?;
            if !pieces.is_empty() {
                return Ok(Some(pieces));
            }
            let context = &self.storage.context;
            if leader::first_from(context, &self.stream, &self.subject, self.after + 1).await?.is_none() {
                return Err(StorageError::Damaged);
            }
            patience.wait().await?;
        }
    }

    async fn read(&mut self) -> Result<Vec<Bytes>, StorageError> {
        let question = json!({ "seq": self.after + 1, "batch": PIECES, "next_by_subj": self.subject });
        let (mut batch, mut pieces) = (direct::ask(&self.storage.client, &self.stream, &question).await?, Vec::new());
        while let Next::Message(message) = batch.next().await? {
            let stored = direct::stored(message)?;
            self.after = stored.place.sequence;
            self.left = self.left.checked_sub(stored.event.len()).ok_or(StorageError::Damaged)?;
            self.seen.update(&stored.event);
            pieces.push(stored.event);
        }
        Ok(pieces)
    }
}
