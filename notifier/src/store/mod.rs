//! The stream behind the ring, for readers the ring has left behind.
//!
//! **Owns** the reading of stretches of stored events: shared between the sessions that need the same one, and
//! bounded in how many are read at once (`CATCHUP_READERS`), how many readers wait, and how many bytes are
//! kept. It reads no further than the feed has heard, so that no tombstone is passed unawares, and nothing of a stream
//! that the feed has not heard of. **May not** delay the feed or know of a session. `kept` (pure) is what was read
//! lately, `read` makes a stretch of what is stored.

mod kept;
mod read;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use shared::cursor::Cursor;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::sleep;

use crate::log::Log;
use crate::metrics::StoreMetrics;
use crate::storage::Storage;
use crate::walk::{Request, Stretch};
use kept::Kept;

/// Bytes of stretches that are kept for the next reader on the same way.
const KEPT_BYTES: usize = 32 << 20;
/// Readers that may wait for their turn, for each that may read.
const WAITING_A_READER: usize = 64;
/// Where the broker does not answer, before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// As many readers as may wait are waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// Reads stretches.
#[derive(Debug)]
pub(crate) struct Store {
    storage: Arc<dyn Storage>,
    log: Arc<Log>,
    readers: Semaphore,
    places: Semaphore,
    shared: Mutex<Shared>,
    /// Whether it was said that the stream cannot be read.
    said: AtomicBool,
    metrics: StoreMetrics,
}

/// A stretch on its way to everybody who waits for it.
type Flight = OnceCell<()>;

/// What readers share.
#[derive(Debug)]
struct Shared {
    flights: HashMap<Request, Weak<Flight>>,
    kept: Kept,
    /// Counts how often what was read had to be forgotten.
    forgotten: u64,
}

impl Store {
    pub(crate) fn new(storage: Arc<dyn Storage>, log: Arc<Log>, readers_max: u32, metrics: StoreMetrics) -> Store {
        let readers = readers_max as usize;
        Store {
            storage,
            log,
            readers: Semaphore::new(readers),
            places: Semaphore::new(readers * WAITING_A_READER),
            shared: Mutex::new(Shared { flights: HashMap::new(), kept: Kept::new(KEPT_BYTES), forgotten: 0 }),
            said: AtomicBool::new(false),
            metrics,
        }
    }

    /// The stretch a reader needs; one that several need at the same time is read once. Waits for as long as
    /// the broker is away. To be let go of before anything else is waited for.
    ///
    /// # Errors
    /// Where too many wait; one that was read lately needs no place among them.
    pub(crate) async fn stretch(&self, request: Request) -> Result<Arc<Stretch>, Busy> {
        if let Some(kept) = self.shared().kept.find(&request) {
            return Ok(kept);
        }
        let _place = self.places.try_acquire().map_err(|_| Busy)?;
        loop {
            let flight = self.shared().flight(request);
            let mut read = None;
            flight.get_or_init(async || read = Some(self.fetch(request).await)).await;
            // The others find it among those that are kept, unless so much was read that it is gone already.
            if let Some(stretch) = read.or_else(|| self.shared().kept.find(&request)) {
                return Ok(stretch);
            }
        }
    }

    /// Whether the stream has got as far as a cursor in this life of it; nothing where it does not tell, or too many
    /// wait.
    pub(crate) async fn has_reached(&self, cursor: &Cursor) -> Option<bool> {
        let _place = self.places.try_acquire().ok()?;
        let span = self.storage.span().await.ok()?;
        Some(span.epoch == cursor.epoch && span.last >= cursor.sequence)
    }

    /// Lets go of everything that was read before: somebody in it was erased. Readers leave those events out of
    /// what they hold by themselves.
    pub(crate) fn forget(&self) {
        let mut shared = self.shared();
        shared.kept = Kept::new(KEPT_BYTES);
        shared.forgotten += 1;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Both collections hold whole values at any moment a panic could strike.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, request: Request) -> Arc<Stretch> {
        // The semaphore is never closed.
        let _reader = self.readers.acquire().await;
        let (stretch, forgotten) = loop {
            self.metrics.read();
            let forgotten = self.shared().forgotten;
            let heard = self.log.read(|ring| (ring.epoch(), ring.head().sequence));
            match read::read(&*self.storage, request, heard).await {
                Ok(stretch) => break (Arc::new(stretch), forgotten),
                Err(error) => {
                    if !self.said.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "sessions that are behind wait until stored events can be read again");
                    }
                    sleep(PAUSE).await;
                }
            }
        };
        self.said.store(false, Ordering::Relaxed);
        let mut shared = self.shared();
        shared.flights.remove(&request);
        if shared.forgotten == forgotten {
            shared.kept.keep(Arc::clone(&stretch));
        }
        stretch
    }
}

impl Shared {
    fn flight(&mut self, request: Request) -> Arc<Flight> {
        if let Some(flight) = self.flights.get(&request).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(Flight::new());
        self.flights.retain(|_, flight| flight.strong_count() > 0);
        self.flights.insert(request, Arc::downgrade(&flight));
        flight
    }
}
