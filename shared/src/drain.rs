//! Stopping in order.
//!
//! **Owns** the stop signal and the one deadline. Each service writes its own sequence in its `run`:
//! readiness off, stop accepting, finish what is in flight, exit.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

crate::settings! {
    /// How a process stops.
    pub struct DrainSettings {
        /// Seconds from the stop signal to the end. `terminationGracePeriodSeconds` must be longer.
        pub drain_seconds: crate::settings::Span = "30", "1s" => "1h";
    }
}

/// The token that is cancelled when the process is told to stop (SIGTERM or SIGINT). A second signal
/// ends the process at once.
///
/// # Errors
/// Where the process may not listen to signals.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("told to stop: finishing what is in flight");
        stopping.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("told to stop a second time: leaving now");
        std::process::exit(1);
    });
    Ok(stop)
}

/// How long a drain may take.
#[must_use]
pub fn span(settings: &DrainSettings) -> Duration {
    settings.drain_seconds.duration()
}

/// The moment by which a drain that begins now must have ended.
#[must_use]
pub fn deadline(settings: &DrainSettings) -> Instant {
    Instant::now() + span(settings)
}

/// What is left until the deadline.
#[must_use]
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
