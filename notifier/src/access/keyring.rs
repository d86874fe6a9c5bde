//! The keys that are good now.
//!
//! **Owns** when keys are read again: secrets when their file changes, a JWKS by the clock, and early where a
//! token names a key that is not known yet. What cannot be read leaves the last good keys in force.

use std::sync::Arc;
use std::time::Duration;

use shared::admin::Readiness;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::jwks::{Fetch, FetchError};
use super::keys::{Keys, Secrets};
use crate::metrics::AccessMetrics;

/// The part of readiness that says whether tokens can be judged.
const READINESS: &str = "tokens";
/// Between two readings that tokens with unknown keys ask for: anybody can make up a key's name.
const EARLY_INTERVAL: Duration = Duration::from_secs(5);
/// After a reading that failed, at most so long.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long a request waits for keys that are being read for its sake.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The keys, and who may ask for newer ones.
#[derive(Debug)]
pub(crate) struct Keyring {
    keys: watch::Receiver<Arc<Keys>>,
    round: watch::Receiver<Round>,
    ask: Arc<Notify>,
    /// Whether there is a JWKS to be read.
    reads: bool,
}

/// One reading of the JWKS after the other.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Readings that have ended, well or not.
    count: u64,
    /// When the last one did.
    ended: Option<Instant>,
    /// Whether keys have been read at all, or need not be.
    complete: bool,
}

/// What keeps a [`Keyring`] up to date.
pub(super) struct Keeper {
    secrets: Option<watch::Receiver<Secrets>>,
    source: Option<(Fetch, Duration)>,
    public: Keys,
    sender: watch::Sender<Arc<Keys>>,
    rounds: watch::Sender<Round>,
    ask: Arc<Notify>,
    metrics: AccessMetrics,
    readiness: Readiness,
}

impl Keyring {
    /// With the secrets there are and, later, the keys of a source.
    pub(super) fn new(
        secrets: Option<watch::Receiver<Secrets>>,
        source: Option<(Fetch, Duration)>,
        metrics: AccessMetrics,
        readiness: Readiness,
    ) -> (Keyring, Keeper) {
        let known = secrets.as_ref().map(|secrets| Keys::of_secrets(&secrets.borrow())).unwrap_or_default();
        let (sender, keys) = watch::channel(Arc::new(known));
        let (rounds, round) = watch::channel(Round { count: 0, ended: None, complete: source.is_none() });
        let ask = Arc::new(Notify::new());
        if source.is_some() {
            readiness.not_ready(READINESS, "the keys of JWT_JWKS have not been read yet");
        }
        let keyring = Keyring { keys, round, ask: Arc::clone(&ask), reads: source.is_some() };
        (keyring, Keeper { secrets, source, public: Keys::default(), sender, rounds, ask, metrics, readiness })
    }

    /// The keys now.
    pub(super) fn now(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.borrow())
    }

    /// Tells of every change.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<Keys>> {
        self.keys.clone()
    }

    /// Whether keys are still missing that a token may be signed with.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.round.borrow().complete
    }

    /// Has the JWKS read once more, where that was not done a moment ago, and waits for it. Says whether
    /// it was.
    pub(super) async fn look_again(&self) -> bool {
        let mut round = self.round.clone();
        let before = *round.borrow_and_update();
        let just_now = before.ended.is_some_and(|ended| ended.elapsed() < EARLY_INTERVAL);
        if just_now || !self.reads {
            return false;
        }
        self.ask.notify_one();
        matches!(timeout(WAIT_MAX, round.wait_for(|round| round.count > before.count)).await, Ok(Ok(_)))
    }
}

impl Keeper {
    /// Reads again, for ever.
    pub(super) async fn run(mut self) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = changed(&mut self.secrets) => self.publish(),
                () = sleep_until(next), if self.source.is_some() => next = self.read().await,
                () = self.ask.notified(), if self.source.is_some() => {
                    let ended = self.rounds.borrow().ended;
                    if ended.is_none_or(|ended| ended.elapsed() >= EARLY_INTERVAL) {
                        next = self.read().await;
                    }
                }
            }
        }
    }

    /// Reads the JWKS; says when to do so again.
    async fn read(&mut self) -> Instant {
        let Some((fetch, refresh)) = &self.source else { return Instant::now() + RETRY_INTERVAL };
        let (read, refresh) = (fetch.read().await, *refresh);
        self.metrics.read(read.is_ok());
        let good = match read {
            Ok(keys) => {
                self.public = keys;
                self.publish();
                self.readiness.ready(READINESS);
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        };
        let now = Instant::now();
        self.rounds.send_modify(|round| {
            *round = Round { count: round.count + 1, ended: Some(now), complete: round.complete || good };
        });
        now + if good { refresh } else { RETRY_INTERVAL.min(refresh) }
    }

    fn failed(&self, error: &FetchError) {
        if self.rounds.borrow().complete {
            tracing::error!(%error, "the keys of JWT_JWKS cannot be read: the last good ones stay in force");
        } else {
            tracing::error!(%error, "the keys of JWT_JWKS cannot be read: no token can be judged until they are");
        }
    }

    /// Puts the keys in force.
    fn publish(&self) {
        let secrets = self.secrets.as_ref().map(|secrets| Keys::of_secrets(&secrets.borrow())).unwrap_or_default();
        let keys = secrets.and(&self.public);
        self.metrics.keys(keys.count());
        self.sender.send_if_modified(|now| {
            let changed = now.ids() != keys.ids();
            *now = Arc::new(keys);
            changed
        });
    }
}

/// The secrets have changed. Those that stand in no file never do.
async fn changed(secrets: &mut Option<watch::Receiver<Secrets>>) {
    if let Some(receiver) = secrets
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
