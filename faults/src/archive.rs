//! The stream as the broker itself tells it, read without our services: the truth that a run is held against.
//!
//! It also changes the stream as an operator may: fills it, drops what is old, has its leader step down. What is dropped
//! was read before.

use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, Stream};
use async_nats::jetstream::{self, Context};
use futures_util::{StreamExt, TryStreamExt};
use shared::subject::{self, RecipientHash};
use tokio::time::{sleep, timeout};

use crate::event::{Content, Labels, PEOPLE, address};
use crate::record::{Dropped, Stored, Truth};

const STREAM: &str = "MANDRILL";
/// Messages that remain when the oldest are dropped.
const KEPT: u64 = 150;
/// For one answer of a cluster that may be without a leader.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The reader.
pub(crate) struct Archive {
    context: Context,
    client: Client,
    pub(crate) truth: Truth,
    /// The last sequence that was read.
    read: u64,
    /// How long the cluster may take to answer at all.
    patience: Duration,
}

impl Archive {
    /// `client` reaches every server of the cluster by itself.
    pub(crate) fn new(client: Client, patience: Duration) -> Archive {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ATTEMPT_TIMEOUT);
        Archive { context, client, truth: Truth::default(), read: 0, patience }
    }

    /// Reads everything that has been stored since it last did.
    pub(crate) async fn read(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + self.patience;
        loop {
            match timeout(self.patience, self.try_read()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if Instant::now() > deadline => {
                    return Err(format!("the stream cannot be read: {error}"));
                }
                Err(_) => return Err("the stream cannot be read: no answer".to_owned()),
                Ok(Err(_)) => sleep(PAUSE).await,
            }
        }
    }

    async fn try_read(&mut self) -> Result<(), Failed> {
        let stream = self.stream().await?;
        // Of the leader: everything that was acknowledged before is read.
        let state = shared::stream::info(&self.context, STREAM).await?.state;
        if state.last_sequence <= self.read {
            return Ok(());
        }
        if state.messages > 0 && state.first_sequence > self.read + 1 {
            return Err(format!(
                "{} is the first message, and {} the last that was read",
                state.first_sequence, self.read
            )
            .into());
        }
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: self.read + 1 };
        let consumer = stream.create_consumer(OrderedConfig { deliver_policy, ..OrderedConfig::default() }).await?;
        let mut messages = consumer.messages().await?;
        while self.read < state.last_sequence {
            let message = timeout(ATTEMPT_TIMEOUT, messages.next()).await?.ok_or("the consumer ended")??;
            let sequence = message.info()?.stream_sequence;
            if sequence <= self.read {
                continue;
            }
            if let Some(hash) = message.subject.strip_prefix(subject::ERASURE_SUBJECTS) {
                let person = (0..PEOPLE).map(address).find(|person| RecipientHash::of(person).to_string() == hash);
                let person = person.ok_or_else(|| format!("nobody knows who was erased at {sequence}"))?;
                self.truth.tombstones.push((sequence, person));
                self.read = sequence;
                continue;
            }
            let text = std::str::from_utf8(&message.payload)?;
            let content = Content::of(text).ok_or_else(|| format!("the message at {sequence} has no name: {text}"))?;
            let (labels, is_short) = (Labels::of(text), text.contains("\"_large\":"));
            let dropped_before = self.truth.dropped();
            self.truth.stored.push(Stored { sequence, content, labels, is_short, dropped_before });
            self.read = sequence;
        }
        Ok(())
    }

    async fn stream(&self) -> Result<Stream, Failed> {
        Ok(timeout(ATTEMPT_TIMEOUT, self.context.get_stream(STREAM)).await??)
    }

    /// The number of the server that leads the stream, as its name has it.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let leader = self.stream().await.ok()?.cached_info().cluster.clone()?.leader?;
        leader.strip_prefix("node")?.parse().ok()
    }

    /// Does `step` again until it succeeds, as long as there is patience.
    async fn insist<T>(
        &self,
        what: &str,
        mut step: impl AsyncFnMut(&Archive) -> Result<T, Failed>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + self.patience;
        loop {
            match step(self).await {
                Ok(value) => return Ok(value),
                Err(error) if Instant::now() > deadline => return Err(format!("{what}: {error}")),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn change(&self, change: impl Fn(&mut Config, &Info)) -> Result<Info, Failed> {
        let stream = self.stream().await?;
        let info = stream.cached_info();
        let mut config = info.config.clone();
        change(&mut config, info);
        Ok(timeout(ATTEMPT_TIMEOUT, self.context.update_stream(&config)).await??)
    }

    /// The stream takes no more than it has.
    pub(crate) async fn fill(&self) -> Result<(), String> {
        let full = |config: &mut Config, info: &Info| {
            config.discard = DiscardPolicy::New;
            config.max_messages = i64::try_from(info.state.messages).unwrap_or(i64::MAX).max(1);
        };
        self.insist("the stream cannot be filled", async |archive| archive.change(full).await.map(drop)).await
    }

    /// The stream takes everything again.
    pub(crate) async fn make_room(&self) -> Result<(), String> {
        let room = |config: &mut Config, _: &Info| {
            config.discard = DiscardPolicy::Old;
            config.max_messages = -1;
        };
        self.insist("the stream cannot be put right", async |archive| archive.change(room).await.map(drop)).await
    }

    /// The oldest messages are dropped, as a limit does, once they have been read here. By a purge: that is one entry of
    /// the cluster's log, while a limit that is set for a moment passes a server by that is away then.
    pub(crate) async fn drop_oldest(&mut self) -> Result<String, String> {
        self.read().await?;
        let (first_kept, begun) = (self.read.saturating_sub(KEPT) + 1, Instant::now());
        self.insist("the oldest messages cannot be dropped", async |archive| {
            let stream = archive.stream().await?;
            timeout(ATTEMPT_TIMEOUT, stream.purge().sequence(first_kept).into_future()).await??;
            Ok(())
        })
        .await?;
        self.look_for_dropped(begun).await?;
        Ok(format!("everything up to {} was dropped", self.truth.dropped()))
    }

    /// Notes what was dropped, and when that can have begun.
    pub(crate) async fn look_for_dropped(&mut self, begun: Instant) -> Result<(), String> {
        let first = async |archive: &Archive| Ok(archive.stream().await?.cached_info().state.first_sequence);
        let first = self.insist("the stream's span is not told", first).await?;
        let up_to = first.saturating_sub(1);
        if up_to > self.truth.dropped() {
            self.truth.drops.push(Dropped { begun, up_to });
        }
        if up_to > self.read {
            return Err(format!("{} messages were dropped before they could be read", up_to - self.read));
        }
        Ok(())
    }

    /// The stream's leader steps down.
    pub(crate) async fn step_down(&self) -> Result<(), String> {
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}");
        self.insist("the leader does not step down", async |archive| {
            let asked = archive.client.request(subject.clone(), "".into());
            timeout(ATTEMPT_TIMEOUT, asked).await??;
            Ok(())
        })
        .await
    }

    /// Every consumer is deleted: each notifier's feed loses its own.
    pub(crate) async fn delete_consumers(&self) -> Result<(), String> {
        self.insist("the consumers cannot be deleted", async |archive| {
            let stream = archive.stream().await?;
            let names: Vec<String> = timeout(ATTEMPT_TIMEOUT, stream.consumer_names().try_collect()).await??;
            for name in names {
                timeout(ATTEMPT_TIMEOUT, stream.delete_consumer(&name)).await??;
            }
            Ok(())
        })
        .await
    }
}
