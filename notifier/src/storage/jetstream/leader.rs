//! Questions to the server that leads a stream.
//!
//! **Owns** what only the leader can say for certain: how far the stream goes, and what comes next in it. It is asked
//! for one thing at a time; what there is much of comes from [`direct`](super::direct).

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, RawMessage};
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::stream::{self, StreamError};
use tokio::time::{Duration, sleep, timeout};

use crate::chunk::Place;
use crate::storage::{READ_TIMEOUT, StorageError, Stored};

/// Before a stream is asked for again whose leader may have been replaced.
const DEPOSED_PAUSE: Duration = Duration::from_millis(100);

/// The stream's description. A leader that was replaced learns of it within moments.
pub(super) async fn info(context: &Context, stream: &str) -> Result<Info, StorageError> {
    let described = async {
        loop {
            match stream::info(context, stream).await {
                Err(StreamError::Deposed(_)) => sleep(DEPOSED_PAUSE).await,
                answer => return answer,
            }
        }
    };
    Ok(timeout(READ_TIMEOUT, described).await.map_err(|_| StorageError::Away)??)
}

/// The sequence of the first message under a pattern, from a sequence on; nothing where there is none.
pub(crate) async fn first_from(
    context: &Context,
    stream: &str,
    pattern: &str,
    from: u64,
) -> Result<Option<u64>, StorageError> {
    let found = message(context, stream, &json!({ "seq": from, "next_by_subj": pattern })).await?;
    Ok(found.map(|message| message.sequence))
}

/// One message; nothing where there is none.
pub(super) async fn message(
    context: &Context,
    stream: &str,
    question: &Value,
) -> Result<Option<RawMessage>, StorageError> {
    #[derive(Deserialize)]
    struct Answer {
        message: RawMessage,
    }
    let request = context.request(format!("STREAM.MSG.GET.{stream}"), question);
    match timeout(READ_TIMEOUT, request).await {
        Ok(Ok(Response::Ok::<Answer>(answer))) => Ok(Some(answer.message)),
        Ok(Ok(Response::Err { error })) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Ok(Ok(Response::Err { .. }) | Err(_)) | Err(_) => Err(StorageError::Away),
    }
}

/// A message as the leader gives it, and where it is stored.
pub(super) fn stored(message: &RawMessage) -> Result<Stored, StorageError> {
    let stored_ms =
        u64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).map_err(|_| StorageError::Damaged)?;
    let event = STANDARD.decode(&message.payload).map_err(|_| StorageError::Damaged)?;
    Ok(Stored { place: Place { sequence: message.sequence, stored_ms }, event: event.into() })
}
