//! ingest: takes Mandrill's webhooks, and answers 200 only for what the broker has on disk.
//!
//! Stateless: any number of replicas may run. It never reads the stream.
//!
//! # Layout
//! A request comes in at [`server`], its body through [`body`]; [`judge`] (pure) finds out whether it is
//! authentic ([`trust`]) and takes it apart ([`batch`]); [`aside`] keeps what does not belong into the
//! stream ([`cut`] makes the short form of a large event); [`commit`] stores the rest. [`keeper`] keeps
//! the stream there; [`setup`] makes it for services that may not. [`redrive`] (pure) reads again what was kept
//! aside, for whoever asks. [`error`] is every way to fail; [`metrics`], [`status`], [`hint`] and [`trace`] tell
//! people what happens.

pub mod aside;
pub mod batch;
pub mod body;
pub mod commit;
pub mod config;
pub mod cut;
pub mod error;
pub mod hint;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
pub mod judge;
mod keeper;
pub mod metrics;
pub mod redrive;
mod server;
pub mod setup;
pub mod status;
pub mod trace;
pub mod trust;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use shared::admin::{Admin, Readiness};
use shared::broker::{Broker, BrokerError, Role};
use shared::serve::{self, ConnectionLimits};
use shared::spans::Traces;
use shared::stream::StreamError;
use shared::{drain, telemetry};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use server::{Ingest, is_hook, paths};

/// The end of a request's head, from the connection's start or its last answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
const HEAD_BYTES_MAX: usize = 16 << 10;
const READ_BYTES_MAX: usize = 128 << 10;
/// The name of this part of readiness.
const PART: &str = "ingest";

/// Why ingest cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The connection can never work.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The stream can never work.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// The limits of the public listener.
#[must_use]
pub fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: config.hook.max_connections as usize,
        head_timeout: HEAD_TIMEOUT,
        head_bytes_max: HEAD_BYTES_MAX,
        read_bytes_max: READ_BYTES_MAX,
        least: serve::LEAST,
        send_buffer_bytes: None,
    }
}

impl Ingest {
    /// Connects and gets ready to answer. A broker that is away is no error: until it comes, webhooks are
    /// told to come again. From `stop` on, new requests are.
    ///
    /// # Errors
    /// Where what is configured can never work.
    pub async fn start(
        config: &Config,
        registry: &mut Registry,
        readiness: &Readiness,
        stop: CancellationToken,
    ) -> Result<Ingest, StartError> {
        let broker = Broker::connect(Role::Ingest, &config.broker).await?;
        let missing = Arc::new(Notify::new());
        keeper::start(broker.clone(), config.stream.clone(), readiness.clone(), Arc::clone(&missing)).await?;
        let traces = Traces::start(&config.telemetry, "mandrill-live-ingest");
        let hook = &config.hook;
        let trust = trust::Trust::new(hook);
        warn_about(config, &trust);
        let in_flight = body::InFlight::new(hook.max_inflight_bytes.in_memory());
        let journal = commit::jetstream::JetStream::new(broker.clone(), &config.stream.stream_name, missing.clone());
        let status = status::Status::new(trust.urls());
        let believed = trust.clone();
        status.publish(broker.clone(), move || match () {
            () if believed.takes_unsigned() => "unsigned",
            () if believed.has_no_key() => "no-key",
            () => "signed",
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Ingest(Arc::new(server::Parts {
            trust,
            origins: config.origins.clone(),
            metrics: metrics::Metrics::new(registry, in_flight.clone()),
            in_flight,
            body_bytes_max: hook.max_body_bytes.bytes(),
            commit_timeout: hook.commit_timeout.duration(),
            committer: commit::group::Committer::start(journal, hook.max_connections as usize, traces.clone()),
            aside: aside::Aside::new(broker, &config.stream.stream_name, hook.large_event_bytes.in_memory(), missing),
            judges: Arc::new(Semaphore::new(cores)),
            status,
            stop,
            traces,
        })))
    }
}

impl Ingest {
    /// Sends the last traces; for when no request is under way any more.
    pub async fn end(&self) {
        self.0.traces.end().await;
    }
}

fn warn_about(config: &Config, trust: &trust::Trust) {
    if trust.takes_unsigned() {
        tracing::warn!(
            "ALLOW_UNSIGNED=true: anybody who reaches {} can post events; for development only",
            config.listen.http_addr
        );
    } else if trust.has_no_key() {
        tracing::warn!(
            "MANDRILL_WEBHOOK_KEYS is not set: Mandrill's check of the URL is answered, batches are told to come again until it is"
        );
    }
    if config.origins.takes_any_host() {
        tracing::warn!("PUBLIC_URLS is not set: requests are taken under any host name");
    }
}

/// Runs ingest until `stop`, then drains: not ready, no new connections, requests under way finish.
///
/// # Errors
/// Where it cannot start.
pub async fn run(
    config: Config,
    public: TcpListener,
    admin: TcpListener,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let (mut registry, readiness) = (telemetry::registry(), Readiness::default());
    let ingest = Ingest::start(&config, &mut registry, &readiness, stop.clone()).await?;
    let ended = CancellationToken::new();
    let admin = tokio::spawn(serve::run(
        admin,
        Admin::new(readiness.clone(), registry),
        serve::ADMIN_LIMITS,
        ended.clone(),
        Duration::from_secs(1),
    ));
    readiness.ready(PART);
    let draining = readiness.clone();
    let told = stop.clone();
    tokio::spawn(async move {
        told.cancelled().await;
        draining.not_ready(PART, "about to stop");
    });
    serve::run(public, ingest.clone(), connection_limits(&config), stop, drain::span(&config.drain)).await;
    ingest.end().await;
    ended.cancel();
    let _ = admin.await;
    Ok(())
}
