//! `ingest setup` and `ingest new-epoch`: what is done to the streams once, by a user of its own.
//!
//! **Owns** waiting for a broker that is about to come. What the streams are is in [`shared::stream`]. Services
//! with `MANAGE_STREAM=false` need no right to make or change a stream: whoever may change one may shrink it.

use std::time::Duration;

use async_nats::jetstream;
use shared::broker::{Broker, BrokerError, BrokerSettings, Role};
use shared::cursor::Epoch;
use shared::settings::{Environment, Mistakes, Settings};
use shared::stream::{self, StreamError, StreamSettings};
use shared::telemetry::TelemetrySettings;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// For a cluster that is starting to agree on a leader. A job that fails is started again by its supervisor.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What these commands read: none of the webhook's secrets.
#[derive(Debug, Clone)]
pub struct SetupConfig {
    /// Where the broker is, and as whom.
    pub broker: BrokerSettings,
    /// What the streams shall be.
    pub stream: StreamSettings,
    /// What it says.
    pub telemetry: TelemetrySettings,
}

impl SetupConfig {
    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(environment: &Environment) -> Result<SetupConfig, Mistakes> {
        let mut mistakes = Mistakes::default();
        let broker = BrokerSettings::read(environment, &mut mistakes);
        let stream = StreamSettings::read(environment, &mut mistakes);
        let telemetry = TelemetrySettings::read(environment, &mut mistakes);
        broker.iter().for_each(|settings| settings.check(&mut mistakes));
        stream.iter().for_each(|settings| settings.check(&mut mistakes));
        telemetry.iter().for_each(|settings| settings.check(&mut mistakes));
        let config = match (broker, stream, telemetry) {
            // Whatever the services are told: to manage the streams is what this is for.
            (Some(broker), Some(stream), Some(telemetry)) => {
                Some(SetupConfig { broker, stream: StreamSettings { manage_stream: true, ..stream }, telemetry })
            }
            _ => None,
        };
        mistakes.or(config)
    }
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The connection can never work.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The broker did not come.
    #[error("not done within {TIMEOUT:?}: {0}")]
    Away(String),
    /// The streams cannot be made, or not by this user.
    #[error("{0}; where the log shows a permissions violation, this user may not manage streams")]
    Stream(#[from] StreamError),
}

/// Makes the streams, or applies limits that have changed.
///
/// # Errors
/// Where that was not done within a minute.
pub async fn setup(config: &SetupConfig) -> Result<Epoch, SetupError> {
    let deadline = Instant::now() + TIMEOUT;
    let context = connect(config, deadline).await?;
    loop {
        let attempt = timeout_at(deadline, stream::ensure(&context, &config.stream)).await;
        match attempt.map_err(|_| SetupError::Away("JetStream does not answer".to_owned()))? {
            Err(error) if error.is_passing() && Instant::now() + RETRY_PAUSE < deadline => {
                tracing::warn!(%error, "the streams could not be made yet: trying again");
                sleep(RETRY_PAUSE).await;
            }
            done => return Ok(done?),
        }
    }
}

/// Gives the stream another epoch, after its restore from a backup.
///
/// # Errors
/// Where that was not done.
pub async fn new_epoch(config: &SetupConfig) -> Result<Epoch, SetupError> {
    let context = connect(config, Instant::now() + TIMEOUT).await?;
    Ok(stream::renew_epoch(&context, &config.stream.stream_name).await?)
}

async fn connect(config: &SetupConfig, deadline: Instant) -> Result<jetstream::Context, SetupError> {
    let mut broker = Broker::connect(Role::Setup, &config.broker).await?;
    tokio::select! {
        () = broker.connected() => {}
        () = sleep_until(deadline) => {
            let trouble = broker.trouble().unwrap_or_else(|| "no broker answers at NATS_URL".to_owned());
            return Err(SetupError::Away(trouble));
        }
    }
    stream::check_server(broker.client())?;
    Ok(jetstream::new(broker.client().clone()))
}
