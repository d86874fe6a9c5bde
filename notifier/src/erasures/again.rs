//! Erasures that are listed, and applied again after a restore.
//!
//! **Owns** what `mandrill-live erasures` does on the broker, beside running services or without any. A restored
//! backup holds people again who were erased after it was taken. Each gets a tombstone that covers what had been
//! stored when they were erased at first: what came later is theirs to keep.

use std::collections::HashMap;
use std::time::Duration;

use shared::broker::{Broker, BrokerError, BrokerSettings, Role};
use shared::stream;
use shared::subject::RecipientHash;
use tokio::time::timeout;

use super::desk::Desk;
use super::{EraseSettings, NotErased, Record, take_away};
use crate::feed::tombstones::{self, Read};
use crate::feed::{self, OPEN_TIMEOUT};
use crate::storage::Storage;
use crate::storage::jetstream::JetStream;

/// For the broker to let somebody in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream's erasures, seen from the outside.
#[derive(Debug)]
pub struct Erasures {
    broker: Broker,
    context: async_nats::jetstream::Context,
    storage: JetStream,
    stream: String,
    desk: Option<Desk>,
}

/// What came of one that was to be applied again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The stream knew of it; so many events were left to be taken away.
    Known(u64),
    /// It is applied again; so many events were taken away.
    Applied(u64),
}

impl Erasures {
    /// Connects: with the notifier's rights to read, and with those of whoever may erase, where there is one.
    ///
    /// # Errors
    /// Where the broker cannot be connected to, or does not answer.
    pub async fn open(
        settings: &BrokerSettings,
        erase: &EraseSettings,
        stream_name: &str,
    ) -> Result<Erasures, NotErased> {
        let unusable = |error: BrokerError| NotErased::Broker(error.to_string());
        let mut broker = Broker::connect(Role::Notifier, settings).await.map_err(unusable)?;
        timeout(CONNECT_TIMEOUT, broker.connected()).await.map_err(|_| {
            let nobody =
                || format!("no broker answers at {}: set NATS_URL to where it is", settings.nats_url.join(", "));
            NotErased::Broker(broker.trouble().unwrap_or_else(nobody))
        })?;
        let context = feed::context(broker.client(), OPEN_TIMEOUT);
        // A consumer's error would not say what to do about a stream that is not there.
        let found = stream::info(&context, stream_name).await;
        found.map_err(|error| NotErased::Broker(error.to_string()))?;
        let storage = JetStream::new(broker.client(), context.clone(), stream_name);
        let desk = Desk::open(erase, settings, &broker, stream_name).await.map_err(unusable)?;
        Ok(Erasures { broker, context, storage, stream: stream_name.to_owned(), desk })
    }

    async fn known(&self) -> Result<Vec<Read>, NotErased> {
        let last = self.storage.span().await?.last;
        let read = tombstones::read(self.broker.client(), &self.context, &self.stream, last).await;
        read.map_err(|fault| NotErased::Broker(fault.to_string()))
    }

    /// Everybody who was erased, as long as it is kept, in the order in which they were.
    ///
    /// # Errors
    /// Where the broker does not tell.
    pub async fn list(&self) -> Result<Vec<Record>, NotErased> {
        let known = self.known().await?;
        let record = |read: &Read| Record { recipient: read.tombstone.recipient, erased_ms: read.erased_ms };
        let mut records: Vec<Record> = known.iter().map(record).collect();
        records.sort_by_key(|record| record.erased_ms);
        Ok(records)
    }

    /// Applies erasures again, of each person the last one. Those the stream knows are only finished. To be
    /// repeated as often as need be.
    ///
    /// # Errors
    /// Where the broker does not do it; what was said to be done is.
    pub async fn apply(&self, records: &[Record], mut said: impl FnMut(&Record, Outcome)) -> Result<(), NotErased> {
        let desk = self.desk.as_ref().ok_or(NotErased::Off)?;
        desk.connected(CONNECT_TIMEOUT).await?;
        let known: HashMap<RecipientHash, Read> =
            self.known().await?.into_iter().map(|read| (read.tombstone.recipient, read)).collect();
        for record in last_of_each(records) {
            let outcome = match known.get(&record.recipient).filter(|read| read.erased_ms >= record.erased_ms) {
                Some(read) => Outcome::Known(self.take_away(desk, &record, read.tombstone.through).await?),
                None => {
                    let through = self.stored_until(record.erased_ms).await?;
                    desk.bury(record.recipient, tombstones::again(through, record.erased_ms)).await?;
                    Outcome::Applied(self.take_away(desk, &record, through).await?)
                }
            };
            said(&record, outcome);
        }
        Ok(())
    }

    async fn take_away(&self, desk: &Desk, record: &Record, through: u64) -> Result<u64, NotErased> {
        take_away(desk, &self.storage, record.recipient, through).await
    }

    /// The last sequence that was stored up to a time.
    async fn stored_until(&self, ms: u64) -> Result<u64, NotErased> {
        let last = self.storage.span().await?.last;
        Ok(self.storage.first_since(ms + 1).await?.map_or(last, |first| first.saturating_sub(1)))
    }
}

/// Of each person the last erasure, in the order in which they were erased.
fn last_of_each(records: &[Record]) -> Vec<Record> {
    let mut last = HashMap::<RecipientHash, u64>::new();
    for record in records {
        let known = last.entry(record.recipient).or_default();
        *known = (*known).max(record.erased_ms);
    }
    let mut last: Vec<Record> =
        last.into_iter().map(|(recipient, erased_ms)| Record { recipient, erased_ms }).collect();
    last.sort_by_key(|record| (record.erased_ms, record.recipient));
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_erasures_of_a_person_the_last_counts() {
        let record = |person: &str, erased_ms: u64| Record { recipient: RecipientHash::of(person), erased_ms };
        let (ann, bob) = ("ann@example.com", "bob@example.com");
        let records = [record(ann, 5), record(bob, 7), record(ann, 9), record(ann, 6)];
        assert_eq!(last_of_each(&records), [record(bob, 7), record(ann, 9)]);
    }
}
