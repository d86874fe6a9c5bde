//! Logs and metrics.
//!
//! **Owns** how log lines are written and the registry's prefix. What is counted belongs to each module.
//! Neither may hold an address, a token, a key or an event's content.

use std::io::IsTerminal;

use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Mistakes};
use crate::spans::{self, Protocol, Ratio, Sampling};

crate::settings! {
    /// What a process says.
    pub struct TelemetrySettings {
        /// How log lines are written.
        pub log_format: LogFormat = "text";
        /// Which log lines are written, in tracing's filter notation.
        pub rust_log: String = "info";
        /// The OpenTelemetry collector that traces go to (`http://collector:4318`); without one none are made.
        pub otel_exporter_otlp_endpoint: Option<String> = "";
        /// How it is spoken to.
        pub otel_exporter_otlp_protocol: Protocol = "http/protobuf";
        /// Which traces are made.
        pub otel_traces_sampler: Sampling = "parentbased_always_on";
        /// The part of them that `traceidratio` makes.
        pub otel_traces_sampler_arg: Ratio = "1";
        /// The name they go under; else `mandrill-live-ingest` or `mandrill-live-notifier`.
        pub otel_service_name: Option<String> = "";
    }
}

impl TelemetrySettings {
    /// Reports a filter that cannot be read, and a collector that cannot be.
    pub fn check(&self, mistakes: &mut Mistakes) {
        spans::check(self, mistakes);
        if let Err(error) = EnvFilter::try_new(&self.rust_log) {
            mistakes.add(
                "rust_log",
                format!("{error}; write a level (`info`), or targets with levels (`ingest=debug,info`)"),
            );
        }
    }
}

/// The broker's client repeats what `shared::broker` says once, without what to do about it. Whoever names it in
/// `RUST_LOG` sees it nevertheless.
const CLIENT: &str = "async_nats";
const CLIENT_FILTERS: [&str; 2] = ["async_nats=warn", "async_nats::connector=off"];

fn filter(text: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"));
    if text.contains(CLIENT) {
        return filter;
    }
    CLIENT_FILTERS.iter().filter_map(|directive| directive.parse().ok()).fold(filter, EnvFilter::add_directive)
}

/// Starts writing log lines to standard error. A second call in one process changes nothing.
pub fn init(settings: &TelemetrySettings) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.rust_log))
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
