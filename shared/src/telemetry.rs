//! Logs and metrics.
//!
//! **Owns** how log lines are written and the registry's prefix. What is counted belongs to each module.
//! Neither may hold an address, a token, a key or an event's content.

use std::io::IsTerminal;

use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Mistakes};

crate::settings! {
    /// What a process says.
    pub struct TelemetrySettings {
        /// How log lines are written.
        pub log_format: LogFormat = "text";
        /// Which log lines are written, in tracing's filter notation.
        pub rust_log: String = "info";
    }
}

impl TelemetrySettings {
    /// Reports a filter that cannot be read.
    pub fn check(&self, mistakes: &mut Mistakes) {
        if let Err(error) = EnvFilter::try_new(&self.rust_log) {
            mistakes.add(
                "rust_log",
                format!("{error}; write a level (`info`), or targets with levels (`ingest=debug,info`)"),
            );
        }
    }
}

/// Starts writing log lines to standard error. A second call in one process changes nothing.
pub fn init(settings: &TelemetrySettings) {
    let filter = EnvFilter::try_new(&settings.rust_log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error means that a subscriber is set already, as in tests: that one goes on.
    let _ = match settings.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// An empty registry; every metric's name begins with `mandrill_live_`.
#[must_use]
pub fn registry() -> Registry {
    Registry::with_prefix("mandrill_live")
}
