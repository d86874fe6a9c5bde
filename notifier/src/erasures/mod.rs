//! Erasing a person.
//!
//! **Owns** the protocol: a tombstone in the stream, which every replica meets in order, then the events and the
//! originals of the large ones taken away. The order makes it safe to begin again at any point: once the
//! tombstone is stored nothing of what it covers is shown, and the originals are taken away while the events that
//! name them can still be found. **May not** know of HTTP. What a replica does when it meets a tombstone is
//! [`applied`]'s, what was left half done [`unfinished`]'s, erasing again after a restore [`again`]'s.

pub(crate) mod again;
pub(crate) mod applied;
mod config;
mod desk;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod unfinished;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shared::broker::{Broker, BrokerError, BrokerSettings};
use shared::cursor::{Cursor, Epoch};
use shared::event;
use shared::subject::RecipientHash;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use again::{Erasures, Outcome};
pub use config::EraseSettings;
pub use record::Record;

use crate::access::now_ms;
use crate::erased::Tombstone;
use crate::feed::tombstones;
use crate::filter::subjects::Subjects;
use crate::log::Log;
use crate::storage::{Most, Storage, StorageError};
use desk::Desk;

/// Erasures under way at once.
const ERASURES_MAX: usize = 4;
/// From a request to its answer. What was begun goes on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(50);
/// For this replica to meet the tombstone and let go of what it covers.
const APPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// For the broker's replicas to show all that its leader has.
const FIND_TIMEOUT: Duration = Duration::from_secs(30);
/// Before they are asked again.
const FIND_PAUSE: Duration = Duration::from_millis(100);
/// What is read at once to find the originals.
const PIECE: Most = Most { events: 512, bytes: 2 << 20 };

/// Why a person's events are not, or not yet, erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotErased {
    /// The broker asks who connects, and nobody is named who may erase.
    #[error(
        "the broker asks who connects, and nobody is named who may erase: set NATS_ERASE_USER and \
         NATS_ERASE_PASSWORD, or NATS_ERASE_CREDS"
    )]
    Off,
    /// As many are under way as may.
    #[error("as many erasures are under way as may")]
    Busy,
    /// The broker did not do it.
    #[error("{0}")]
    Broker(String),
    /// This replica has not met the tombstone yet.
    #[error("this replica does not hear the broker: it has not let go of the events yet")]
    NotMet,
    /// It takes longer than a request may.
    #[error("it takes longer than a request may, and goes on")]
    Slow,
}

impl NotErased {
    /// What a server of the broker shows is less than its leader has, for longer than is waited.
    fn behind() -> NotErased {
        NotErased::Broker("the broker's replicas lag behind its leader".to_owned())
    }
}

impl From<StorageError> for NotErased {
    fn from(error: StorageError) -> NotErased {
        NotErased::Broker(error.to_string())
    }
}

/// It is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Events that were taken away.
    pub(crate) events: u64,
    /// The tombstone's place.
    pub(crate) at: Cursor,
}

/// Erases people. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Eraser {
    /// Nothing where erasing is off.
    work: Option<Work>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
struct Work {
    desk: Desk,
    storage: Arc<dyn Storage>,
    log: Arc<Log>,
}

impl Eraser {
    /// By the user that may, where there is one; `reader` is the connection of this replica.
    pub(crate) async fn new(
        (erase, settings): (&EraseSettings, &BrokerSettings),
        reader: &Broker,
        stream: &str,
        storage: Arc<dyn Storage>,
        log: Arc<Log>,
    ) -> Result<Eraser, BrokerError> {
        let desk = Desk::open(erase, settings, reader, stream).await?;
        let work = desk.map(|desk| Work { desk, storage, log });
        Ok(Eraser { work, places: Arc::new(Semaphore::new(ERASURES_MAX)) })
    }

    /// Erases what there is of a person. A client that goes away stops nothing.
    pub(crate) async fn erase(&self, recipient: RecipientHash) -> Result<Done, NotErased> {
        let work = self.work.clone().ok_or(NotErased::Off)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NotErased::Busy)?;
        let done = tokio::spawn(async move {
            let done = work.erase(recipient).await;
            drop(place);
            done
        });
        match timeout(ANSWER_TIMEOUT, done).await {
            Ok(Ok(done)) => done,
            Ok(Err(broken)) => Err(NotErased::Broker(broken.to_string())),
            Err(_) => Err(NotErased::Slow),
        }
    }
}

impl Work {
    async fn erase(&self, recipient: RecipientHash) -> Result<Done, NotErased> {
        let epoch = self.storage.span().await?.epoch;
        let sequence = self.desk.bury(recipient, tombstones::of_now()).await?;
        let through = sequence.saturating_sub(1);
        let (taken, met) =
            tokio::join!(take_away(&self.desk, &*self.storage, recipient, through), self.met(epoch, sequence));
        let erased_ms = met.as_ref().map_or_else(|_| now_ms(), |tombstone| tombstone.place.stored_ms);
        let record = Record { recipient, erased_ms };
        match (taken, met) {
            (Ok(events), Ok(_)) => {
                record.log(sequence, events);
                Ok(Done { events, at: Cursor { epoch, sequence, stored_ms: erased_ms } })
            }
            (Err(why), _) | (_, Err(why)) => {
                record.log_unfinished(sequence, &why);
                Err(why)
            }
        }
    }

    /// Waits until nothing of this replica shows any more what the tombstone covers.
    async fn met(&self, epoch: Epoch, sequence: u64) -> Result<Tombstone, NotErased> {
        let mut applied = self.log.fully_applied();
        let reached = applied
            .wait_for(|met| met.is_some_and(|met| met.epoch == epoch && met.tombstone.place.sequence >= sequence));
        let met = timeout(APPLY_TIMEOUT, reached).await.map_err(|_| NotErased::NotMet)?;
        let newest = met.map_err(|_| NotErased::NotMet)?.map(|met| met.tombstone);
        let own = self.log.read(|ring| ring.erased().next(sequence - 1, sequence).copied()).flatten();
        own.or(newest).ok_or(NotErased::NotMet)
    }
}

/// Takes away what there is of a person up to a sequence, the originals of large events first; returns how many
/// events there were. To be repeated as often as need be.
async fn take_away(
    desk: &Desk,
    storage: &dyn Storage,
    recipient: RecipientHash,
    through: u64,
) -> Result<u64, NotErased> {
    if desk.left(recipient).await?.events == 0 {
        return Ok(0);
    }
    for object in originals(desk, storage, recipient, through).await? {
        desk.delete_object(&object).await?;
    }
    desk.purge(recipient, through).await
}

/// The originals of a person's events up to a sequence that no later event names. Whatever answers may be a
/// moment behind the leader: it is asked until it shows as many events as the leader has.
async fn originals(
    desk: &Desk,
    storage: &dyn Storage,
    recipient: RecipientHash,
    through: u64,
) -> Result<BTreeSet<String>, NotErased> {
    let (subjects, deadline) = (Subjects::of_person(recipient), Instant::now() + FIND_TIMEOUT);
    loop {
        let left = desk.left(recipient).await?;
        let (mut gone, mut kept, mut after, mut seen) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
        while after < left.last {
            let read = storage.range(&subjects, after, left.last, PIECE);
            let part = timeout_at(deadline, read).await.map_err(|_| NotErased::Slow)??;
            seen += part.events.len();
            after = part.through;
            for stored in part.events {
                let originals = if stored.place.sequence <= through { &mut gone } else { &mut kept };
                originals.extend(event::large_object(&stored.event));
            }
        }
        if seen >= left.events {
            return Ok(gone.difference(&kept).cloned().collect());
        }
        if Instant::now() >= deadline {
            return Err(NotErased::behind());
        }
        sleep(FIND_PAUSE).await;
    }
}
