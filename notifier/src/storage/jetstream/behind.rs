//! How long a copy that is behind the leader's is waited for.

use tokio::time::{Duration, Instant, sleep};

use crate::storage::StorageError;

/// A server that direct reads go to may be behind for this long before a read fails.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// Before it is asked again.
const BEHIND_PAUSE: Duration = Duration::from_millis(50);

/// Counts from the first time it was behind.
#[derive(Debug)]
pub(super) struct Patience {
    ends: Option<Instant>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { ends: None }
    }

    /// Lets it catch up for a moment; an error where it has had its time.
    pub(super) async fn wait(&mut self) -> Result<(), StorageError> {
        let now = Instant::now();
        if now >= *self.ends.get_or_insert(now + BEHIND_MAX) {
            return Err(StorageError::Away);
        }
        sleep(BEHIND_PAUSE).await;
        Ok(())
    }
}
