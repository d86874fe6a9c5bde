//! The notifier: Mandrill's events from the stream to people and programs, as they happen.
//!
//! # Layout
//! From the broker inwards: `feed` reads the stream, heals, and makes a `chunk` of ready-made
//! [WebSocket frames](https://www.rfc-editor.org/rfc/rfc6455) of what arrives; `ring` keeps the newest
//! chunks, `log` shares it. From the client inwards: `routes` and `server` know a request, `handshake`
//! makes a socket of it, `sessions` admits it, `session` serves it at its own place in the log.
//!
//! `erasures` takes a person out of all of it.
//!
//! `chunk`, `frame`, `ring`, `erased`, `routes`, `feed::message`, `feed::plan` and `session::outbox` are pure.

mod accept;
pub mod access;
mod api;
mod caretaker;
mod chunk;
pub mod config;
mod control;
mod cors;
mod curfew;
mod doc;
mod engine;
mod erased;
pub mod erasures;
mod error;
mod feed;
mod files;
mod filter;
mod frame;
mod handshake;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
mod labels;
mod log;
mod metrics;
mod opening;
mod pack;
mod page;
mod params;
pub mod peer;
mod query;
mod registry;
mod ring;
mod routes;
mod server;
mod session;
mod sessions;
mod sse;
mod storage;
mod store;
mod tally;
mod walk;
mod worker;

use std::time::Duration;

use shared::admin::{Admin, Readiness};
use shared::serve::{self, ADMIN_LIMITS, ConnectionLimits};
use shared::{drain, telemetry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use routes::paths;
pub use server::{Notifier, StartError};

/// The part of readiness that says whether this process is about to stop.
const READINESS: &str = "process";

/// What the kernel may hold for a client that does not read.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Limits of the public listener: for requests, handshakes under way, and streams. Sessions on the socket
/// have limits of their own.
#[must_use]
pub fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: 10_000,
        head_timeout: Duration::from_secs(10),
        head_bytes_max: 16 << 10,
        read_bytes_max: 16 << 10,
        least: config.notifier.least(),
        send_buffer_bytes: Some(SEND_BUFFER_BYTES),
    }
}

/// Runs a notifier on its listeners until `stop`, then ends in order: not ready, no new connections,
/// sessions ended, requests finished, the feed stopped.
///
/// # Errors
/// Where the configuration can never work.
pub async fn run(
    config: Config,
    http: TcpListener,
    admin: TcpListener,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let (readiness, mut registry) = (Readiness::default(), telemetry::registry());
    let notifier = Notifier::start(&config, &mut registry, readiness.clone()).await?;
    // Probes are answered to the very end.
    let probes_stop = CancellationToken::new();
    let probes = Admin::new(readiness.clone(), registry);
    let probes = tokio::spawn(serve::run(admin, probes, ADMIN_LIMITS, probes_stop.clone(), Duration::ZERO));

    let span = config.drain.drain_seconds.duration();
    let requests = serve::run(http, notifier.clone(), connection_limits(&config), stop.clone(), span);
    let sessions = async {
        stop.cancelled().await;
        readiness.not_ready(READINESS, "about to stop");
        notifier.drain(drain::deadline(&config.drain)).await;
    };
    tokio::join!(requests, sessions);

    probes_stop.cancel();
    // It has no request that takes time; a panic in it is no reason to fail here.
    let _ = probes.await;
    tracing::info!("stopped in order");
    Ok(())
}
