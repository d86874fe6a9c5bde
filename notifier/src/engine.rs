//! What all sessions of this replica share.
//!
//! **Owns** nothing but the sharing: the log, the stream behind it, the workers, the limits.

use std::sync::Arc;
use std::time::Duration;

use crate::log::Log;
use crate::metrics::SessionMetrics;
use crate::store::Store;
use crate::worker::Handle;

/// The limits every session lives under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Between two pings.
    pub(crate) ping_interval: Duration,
    /// How long a session may stay behind while it takes too little, and a cursor ahead is waited for.
    pub(crate) lag_timeout: Duration,
    /// How much a session that is behind takes a second, at least.
    pub(crate) min_rate_bytes: u64,
    /// How long a session lasts that knows how to move; a fifth more or less.
    pub(crate) session_max_age: Duration,
}

/// Shared by all sessions.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) log: Arc<Log>,
    pub(crate) store: Store,
    pub(crate) workers: Box<[Handle]>,
    pub(crate) metrics: SessionMetrics,
    pub(crate) limits: Limits,
}
