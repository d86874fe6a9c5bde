//! Where rejected messages are kept: their stream, and the objects of those too large for it.
//!
//! **Owns** finding, reading and deleting them. What becomes of one is decided elsewhere.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt;
use ingest::aside::{OBJECT_HEADER, REASON_HEADER};
use shared::broker::{Broker, BrokerError, Role};
use shared::stream;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::Settings;

/// The size of a message of which only the headers are sent.
const SIZE_HEADER: &str = "Nats-Msg-Size";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Entries asked for at once, and how long they may take.
const PAGE_ENTRIES: usize = 500;
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
const OBJECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the broker keeps a consumer that this program has left behind.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30);

/// The rejected messages of one stream.
pub(super) struct Shelf {
    broker: Broker,
    context: jetstream::Context,
    stream: Stream,
    bucket: String,
}

/// One rejected message, without its content.
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) received: SystemTime,
    /// Of the content; nothing where its object is gone.
    pub(super) bytes: Option<usize>,
    pub(super) reason: String,
    pub(super) object: Option<String>,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{0}")]
    Away(String),
    #[error("there is no stream {0}: ingest makes it when it starts; set STREAM_NAME where it is called otherwise")]
    NoStream(String),
    #[error("there is no rejected message {0}")]
    NoMessage(u64),
    #[error("its content is gone: the object {0} is not there any more")]
    NoObject(String),
    #[error("the broker did not answer in time")]
    Slow,
    #[error("the broker did not do it: {0}; a time-out may be a missing permission (docs/OPERATIONS.md)")]
    Refused(String),
}

impl Shelf {
    pub(super) async fn open(settings: &Settings) -> Result<Shelf, ShelfError> {
        let mut broker = Broker::connect(Role::Rejected, &settings.broker).await?;
        let connected = timeout(CONNECT_TIMEOUT, broker.connected()).await;
        connected.map_err(|_| {
            let nobody =
                || format!("no broker answers at {}: set NATS_URL to where it is", settings.broker.nats_url.join(", "));
            ShelfError::Away(broker.trouble().unwrap_or_else(nobody))
        })?;
        let context = jetstream::new(broker.client().clone());
        let name = stream::rejected_name(&settings.stream.stream_name);
        let stream = context.get_stream(&name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                ShelfError::NoStream(name)
            }
            GetStreamErrorKind::JetStream(_)
            | GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::InvalidStreamName
            | GetStreamErrorKind::Request => refused(error),
        })?;
        Ok(Shelf { broker, context, stream, bucket: stream::large_name(&settings.stream.stream_name) })
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// All of them, oldest first. The broker sends headers only: contents may be gigabytes.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>, ShelfError> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: CONSUMER_TIMEOUT,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(refused)?;
        let mut entries = Vec::new();
        // Each page ends where there is no more; an empty one is the end of all.
        while timeout(PAGE_TIMEOUT, self.page(&consumer, &mut entries)).await.map_err(|_| ShelfError::Slow)?? > 0 {}
        // The broker forgets it soon in any case.
        let _ = self.stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(entries)
    }

    async fn page(
        &self,
        consumer: &jetstream::consumer::PullConsumer,
        entries: &mut Vec<Entry>,
    ) -> Result<usize, ShelfError> {
        let mut messages = consumer.fetch().max_messages(PAGE_ENTRIES).messages().await.map_err(refused)?;
        let before = entries.len();
        while let Some(message) = messages.next().await {
            let message = message.map_err(refused)?;
            let place = message.info().map_err(refused)?;
            let (sequence, received) = (place.stream_sequence, place.published.into());
            let headers = message.headers.clone().unwrap_or_default();
            let sent = text(&headers, SIZE_HEADER).and_then(|size| size.parse().ok()).unwrap_or_default();
            entries.push(self.entry(sequence, received, &headers, sent).await?);
        }
        Ok(entries.len() - before)
    }

    async fn entry(
        &self,
        sequence: u64,
        received: SystemTime,
        headers: &HeaderMap,
        sent: usize,
    ) -> Result<Entry, ShelfError> {
        let object = text(headers, OBJECT_HEADER).map(str::to_owned);
        let bytes = match &object {
            Some(name) => self.bucket().await?.info(name).await.ok().map(|found| found.size),
            None => Some(sent),
        };
        let reason = text(headers, REASON_HEADER).unwrap_or("no reason was kept").to_owned();
        Ok(Entry { sequence, received, bytes, reason, object })
    }

    /// One with its content.
    pub(super) async fn take(&self, sequence: u64) -> Result<(Entry, Bytes), ShelfError> {
        let found = self.stream.get_raw_message(sequence).await;
        let message: StreamMessage = found.map_err(|error| match error.kind() {
            RawMessageErrorKind::NoMessageFound => ShelfError::NoMessage(sequence),
            RawMessageErrorKind::JetStream(why) if why.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                ShelfError::NoMessage(sequence)
            }
            RawMessageErrorKind::JetStream(_) | RawMessageErrorKind::InvalidSubject | RawMessageErrorKind::Other => {
                refused(error)
            }
        })?;
        let entry = self.entry(sequence, message.time.into(), &message.headers, message.payload.len()).await?;
        let content = match &entry.object {
            Some(name) => self.object(name).await?,
            None => message.payload,
        };
        Ok((entry, content))
    }

    /// Deletes one for good. Its object, if it has one, is left to expire: contents that are the same share
    /// one, and another message may be about to name it.
    pub(super) async fn delete(&self, sequence: u64) -> Result<(), ShelfError> {
        self.stream.delete_message(sequence).await.map(drop).map_err(refused)
    }

    async fn object(&self, name: &str) -> Result<Bytes, ShelfError> {
        let bucket = self.bucket().await?;
        let read = async {
            let mut object = bucket.get(name).await.map_err(|_| ShelfError::NoObject(name.to_owned()))?;
            let mut content = Vec::new();
            object.read_to_end(&mut content).await.map_err(refused)?;
            Ok(content.into())
        };
        timeout(OBJECT_TIMEOUT, read).await.unwrap_or(Err(ShelfError::Slow))
    }

    async fn bucket(&self) -> Result<ObjectStore, ShelfError> {
        self.context.get_object_store(&self.bucket).await.map_err(refused)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str())
}

fn refused(error: impl std::fmt::Display) -> ShelfError {
    ShelfError::Refused(error.to_string())
}
