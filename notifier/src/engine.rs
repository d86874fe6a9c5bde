//! What all sessions of this replica share.
//!
//! **Owns** nothing but the sharing: the gate, the log, the stream behind it, the workers, the
//! limits.

use std::sync::Arc;
use std::time::Duration;

use shared::pace::Least;

use crate::access::Gate;
use crate::curfew::Curfew;
use crate::log::Log;
use crate::metrics::SessionMetrics;
use crate::store::Store;
use crate::worker::Handle;

/// The limits every session lives under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Between two pings.
    pub(crate) ping_interval: Duration,
    /// How long a cursor that is ahead, or a broker that is away, is waited for before a session begins.
    pub(crate) lag_timeout: Duration,
    /// What a session that is behind has to take.
    pub(crate) least: Least,
    /// How long a session lasts that knows how to move; a fifth more or less.
    pub(crate) session_max_age: Duration,
}

/// Shared by all sessions.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) gate: Gate,
    pub(crate) curfew: Curfew,
    pub(crate) log: Arc<Log>,
    pub(crate) store: Store,
    pub(crate) workers: Box<[Handle]>,
    pub(crate) metrics: SessionMetrics,
    pub(crate) limits: Limits,
}
