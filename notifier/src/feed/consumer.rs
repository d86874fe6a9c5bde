//! The push consumer the feed reads with, made by hand.
//!
//! **Owns** its configuration, its subscription, and the answers that keep it going. The library's own
//! ordered consumer is not used: it notices a fault after ten seconds, resumes at a wrong place after
//! some, and skips events of a stream that was made anew without a word.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::jetstream::{self, context};
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::Fault;
use super::message::{self, Delivery, Received};

/// How often a consumer with nothing to send says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Without a message for this long, the consumer is taken for gone: two heartbeats and some slack.
const HEARTBEAT_PATIENCE: Duration = Duration::from_millis(2500);
/// After this long without a subscriber the server drops the consumer.
const ABANDONED_AFTER: Duration = Duration::from_secs(5);
/// Heartbeats in a row that say "waiting for your answer" although it was given.
const STALLED_HEARTBEATS_MAX: u32 = 3;

/// A consumer and what came of it so far.
pub(super) struct Consumer {
    client: Client,
    messages: Subscriber,
    /// The stream's sequence before the first message.
    starts_after: u64,
    /// Messages there were at the start.
    pending: u64,
    deliveries: u64,
    stalled_heartbeats: u32,
}

impl Consumer {
    /// Makes a consumer of the stream.
    pub(super) async fn create(
        client: &Client,
        context: &jetstream::Context,
        stream: &str,
        from: DeliverPolicy,
    ) -> Result<Consumer, Fault> {
        let config = push::Config { deliver_policy: from, ..push::Config::default() };
        Consumer::make(client, context, stream, config).await
    }

    /// Makes one of the newest message of each subject there is under a pattern.
    pub(super) async fn of_newest(
        client: &Client,
        context: &jetstream::Context,
        stream: &str,
        pattern: &str,
    ) -> Result<Consumer, Fault> {
        let (deliver_policy, filter_subject) = (DeliverPolicy::LastPerSubject, pattern.to_owned());
        let config = push::Config { deliver_policy, filter_subject, ..push::Config::default() };
        Consumer::make(client, context, stream, config).await
    }

    /// `config` says what is read; how is the same for all.
    async fn make(
        client: &Client,
        context: &jetstream::Context,
        stream: &str,
        config: push::Config,
    ) -> Result<Consumer, Fault> {
        // A subject of its own: one that a wildcard subscription covers is delivered nothing.
        let deliver_subject = client.new_inbox();
        let messages = client.subscribe(deliver_subject.clone()).await.map_err(|_| Fault::Closed)?;
        let config = push::Config {
            name: Some(format!("notifier-{}", nuid())),
            description: Some("mandrill-live: one notifier's feed".to_owned()),
            deliver_subject,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: ABANDONED_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..config
        };
        let made = context.create_consumer_on_stream(config, stream).await?;
        let info = made.cached_info();
        Ok(Consumer {
            client: client.clone(),
            messages,
            starts_after: info.delivered.stream_sequence,
            pending: info.num_pending,
            deliveries: 0,
            stalled_heartbeats: 0,
        })
    }

    /// The stream's sequence before the first message.
    pub(super) fn starts_after(&self) -> u64 {
        self.starts_after
    }

    /// Messages there were at the start.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// Waits for the next stored message.
    pub(super) async fn next(&mut self) -> Result<Next, Fault> {
        let waited = tokio::time::timeout(HEARTBEAT_PATIENCE, self.messages.next()).await;
        let message = waited.map_err(|_| Fault::Silent)?.ok_or(Fault::Closed)?;
        self.take(message).await
    }

    /// The next stored message, where it has arrived already.
    pub(super) async fn arrived(&mut self) -> Result<Option<Next>, Fault> {
        match self.messages.next().now_or_never() {
            Some(message) => self.take(message.ok_or(Fault::Closed)?).await.map(Some),
            None => Ok(None),
        }
    }

    async fn take(&mut self, message: Message) -> Result<Next, Fault> {
        match message::read(&message) {
            Received::Stored(delivery) if delivery.delivery == self.deliveries + 1 => {
                (self.deliveries, self.stalled_heartbeats) = (delivery.delivery, 0);
                Ok(Next::Stored(Stored { delivery, message }))
            }
            Received::Stored(_) => Err(Fault::Missed),
            Received::FlowControl { answer_to } => {
                self.answer(answer_to).await?;
                Ok(Next::Quiet)
            }
            Received::Heartbeat { last_delivery, .. } if last_delivery.is_some_and(|last| last > self.deliveries) => {
                Err(Fault::Missed)
            }
            Received::Heartbeat { stalled: Some(answer_to), .. } => {
                self.stalled_heartbeats += 1;
                if self.stalled_heartbeats > STALLED_HEARTBEATS_MAX {
                    return Err(Fault::Stalled);
                }
                self.answer(answer_to).await?;
                Ok(Next::Quiet)
            }
            Received::Heartbeat { stalled: None, .. } => {
                self.stalled_heartbeats = 0;
                Ok(Next::Idle)
            }
            Received::Unknown => Ok(Next::Quiet),
        }
    }

    async fn answer(&self, subject: async_nats::Subject) -> Result<(), Fault> {
        self.client.publish(subject, Bytes::new()).await.map_err(|_| Fault::Closed)
    }
}

/// What a consumer's message was.
pub(super) enum Next {
    Stored(Stored),
    /// The consumer has nothing more to send just now.
    Idle,
    /// It was between the two parties only.
    Quiet,
}

/// A stored message and its place.
pub(super) struct Stored {
    pub(super) delivery: Delivery,
    pub(super) message: Message,
}

/// A name no other consumer has.
fn nuid() -> String {
    nuid::next().to_string()
}

/// A context whose requests end in bounded time.
pub(crate) fn context(client: &Client, timeout: Duration) -> jetstream::Context {
    context::ContextBuilder::new().timeout(timeout).build(client.clone())
}
