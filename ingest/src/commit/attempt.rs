//! Attempts at the broker: when one is begun, how long it may take, and whether another may help.
//!
//! **Owns** how a failure is told from a refusal, for the stream and for what is beside it alike. Time-outs, lost
//! connections and streams that nobody answers for mean "unknown"; what is sent again has to be recognised.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Request;
use async_nats::client::RequestErrorKind;
use shared::broker::Broker;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::reply::{self, Reply};
use crate::error::NotStored;

/// One attempt. A leader that stepped down may never answer; the next attempt finds the new one.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);
/// For a connection that has just been lost to come back before senders are told to come again.
const RECONNECT_GRACE: Duration = Duration::from_millis(500);

/// Why an attempt has not done it.
#[derive(Debug)]
pub(crate) enum Undone {
    /// Not decided: another attempt may.
    Unknown(NotStored),
    /// The broker will not, or is away.
    Refused(NotStored),
}

/// How attempts are made.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    pub(crate) broker: Broker,
    missing: Arc<Notify>,
}

impl Attempts {
    /// At this broker. `missing` is told when nobody answers for a stream.
    pub(crate) fn new(broker: Broker, missing: Arc<Notify>) -> Attempts {
        Attempts { broker, missing }
    }

    /// Makes one attempt, which ends in time and with the connection.
    pub(crate) async fn once<T>(
        &self,
        deadline: Instant,
        attempt: impl Future<Output = Result<T, Undone>>,
    ) -> Result<T, Undone> {
        let until = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        self.connected(until).await.map_err(Undone::Refused)?;
        tokio::select! {
            done = timeout_at(until, attempt) => done.unwrap_or(Err(Undone::Unknown(NotStored::Slow))),
            // The client would wait for the acknowledgement until the time is over.
            () = self.disconnected() => Err(Undone::Unknown(NotStored::Away)),
        }
    }

    /// Refuses while the broker is away: what is queued then would be sent much later.
    pub(crate) async fn connected(&self, until: Instant) -> Result<(), NotStored> {
        if self.broker.is_connected() {
            return Ok(());
        }
        let mut broker = self.broker.clone();
        let grace = until.min(Instant::now() + RECONNECT_GRACE);
        timeout_at(grace, broker.connected()).await.map_err(|_| NotStored::Away)
    }

    async fn disconnected(&self) {
        let mut broker = self.broker.clone();
        while broker.is_connected() {
            broker.changed().await;
        }
    }

    /// Publishes and reads the reply; `count` is that of the batch whose last message this is.
    pub(super) async fn send(&self, subject: &str, request: Request, count: Option<usize>) -> Reply {
        match self.broker.client().send_request(subject.to_owned(), request.timeout(None)).await {
            Ok(message) => reply::read(&message.payload, count),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Reply::Unknown("nobody answers for the stream".to_owned()),
                RequestErrorKind::TimedOut | RequestErrorKind::Other => Reply::Unknown(error.to_string()),
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                    Reply::Refused(error.to_string())
                }
            },
        }
    }

    /// Stores one message by one attempt.
    pub(crate) async fn publish(&self, subject: &str, request: Request, deadline: Instant) -> Result<(), Undone> {
        self.once(deadline, async {
            match self.send(subject, request, None).await {
                Reply::Stored { .. } => Ok(()),
                Reply::Unknown(what) => Err(self.unknown(what)),
                Reply::Refused(what) => Err(Undone::Refused(NotStored::Refused(what))),
                Reply::DuplicateInBatch | Reply::WrongLast | Reply::NoBatches => Err(Undone::Unknown(NotStored::Slow)),
            }
        })
        .await
    }

    /// For an attempt that the broker has not decided: the stream may be missing.
    pub(crate) fn unknown(&self, what: String) -> Undone {
        tracing::debug!(what, "the broker has not decided");
        self.missing.notify_one();
        Undone::Unknown(NotStored::NoStream)
    }
}

/// Waits before the next attempt, where one may help and there is time for it.
pub(crate) async fn pause(undone: Undone, deadline: Instant) -> Result<(), NotStored> {
    match undone {
        Undone::Unknown(error) if Instant::now() + ATTEMPT_PAUSE < deadline => {
            tracing::debug!(%error, "the broker has not decided: trying again");
            sleep(ATTEMPT_PAUSE).await;
            Ok(())
        }
        Undone::Unknown(error) | Undone::Refused(error) => Err(error),
    }
}
