//! Keeping the stream there.
//!
//! **Owns** the broker's part of readiness: the connection, the server's version, the stream. It makes
//! the stream when the broker comes, also when that is long after the start, and again when it is gone.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use shared::admin::Readiness;
use shared::broker::Broker;
use shared::stream::{self, StreamError, StreamSettings};
use shared::vital::vital;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// The name of this part of readiness.
const PART: &str = "broker";
/// For the broker to be there at the start, so that what will never work is said at once.
const START_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts to make the stream.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Makes the stream and keeps readiness true from then on. `missing` is how commits tell that nobody
/// answers for the stream.
///
/// # Errors
/// Where the broker is there and what is configured can never work with it.
pub(crate) async fn start(
    mut broker: Broker,
    settings: StreamSettings,
    readiness: Readiness,
    missing: Arc<Notify>,
) -> Result<(), StreamError> {
    readiness.not_ready(PART, "not connected yet");
    match timeout(START_TIMEOUT, first(&mut broker, &settings)).await {
        Ok(Ok(())) => readiness.ready(PART),
        Ok(Err(error)) if error.is_passing() => readiness.not_ready(PART, error.to_string()),
        Ok(Err(error)) => return Err(error),
        Err(_) => tracing::warn!("the broker is not there yet: webhooks are told to come again until it is"),
    }
    tokio::spawn(vital("keeping the streams", keep(broker, settings, readiness, missing)));
    Ok(())
}

async fn first(broker: &mut Broker, settings: &StreamSettings) -> Result<(), StreamError> {
    broker.connected().await;
    ensure(broker, settings).await
}

async fn ensure(broker: &Broker, settings: &StreamSettings) -> Result<(), StreamError> {
    stream::check_server(broker.client())?;
    let context = jetstream::new(broker.client().clone());
    stream::ensure(&context, settings).await.map(drop)
}

async fn keep(mut broker: Broker, settings: StreamSettings, readiness: Readiness, missing: Arc<Notify>) {
    loop {
        while !broker.is_connected() {
            readiness.not_ready(PART, broker.trouble().unwrap_or_else(|| "not connected".to_owned()));
            broker.changed().await;
        }
        match ensure(&broker, &settings).await {
            Ok(()) => {
                readiness.ready(PART);
                tokio::select! { () = broker.changed() => {}, () = missing.notified() => {} }
            }
            Err(error) => {
                tracing::error!(%error, "the stream cannot be used: webhooks are told to come again");
                readiness.not_ready(PART, error.to_string());
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}
