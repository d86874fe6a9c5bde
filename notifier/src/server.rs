//! The notifier as one thing: its parts, and the requests they answer.
//!
//! **Owns** the wiring of feed, log and sessions, the order in which they start and stop, and the way of a
//! request from its host to its answer.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use prometheus_client::registry::Registry;
use shared::admin::Readiness;
use shared::broker::{Broker, BrokerError};
use shared::http::Body;
use shared::origin::Origins;
use shared::serve::Handler;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::Refusal;
use crate::feed::{self, Feed};
use crate::handshake::{Upgrade, reads_close_codes_only};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::page;
use crate::routes::{self, Route};
use crate::sessions::Sessions;

/// The name a notifier has in the broker's list of connections.
const CLIENT_NAME: &str = "mandrill-live-notifier";

/// The notifier cannot start, ever, as configured.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker cannot be connected to.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// A notifier that runs. Clones are the same notifier.
#[derive(Debug, Clone)]
pub struct Notifier(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    origins: Origins,
    sessions: Sessions,
    feed: TaskTracker,
    feed_stop: CancellationToken,
}

impl Notifier {
    /// Starts reading the stream. A broker that is away, or a stream that nobody made yet, is no failure:
    /// the notifier answers requests, is not ready, and gets ready when they come.
    ///
    /// # Errors
    /// Where the configuration can never work.
    pub async fn start(config: &Config, registry: &mut Registry, readiness: Readiness) -> Result<Notifier, StartError> {
        let broker = Broker::connect(CLIENT_NAME, &config.broker).await?;
        let log = Arc::new(Log::new());
        let settings = &config.notifier;
        let stream = settings.stream_name.clone();
        let metrics = Metrics::new(registry);
        let ring_bytes = settings.ring_bytes.in_memory();
        let feed = Feed::new(broker, stream, Arc::clone(&log), ring_bytes, metrics.feed);
        let health = feed::health::watch(Arc::clone(&log), readiness, settings.feed_stall_unready.duration());
        let parts = Parts {
            origins: config.origins.clone(),
            sessions: Sessions::new(log, settings.max_sessions),
            feed: TaskTracker::new(),
            feed_stop: CancellationToken::new(),
        };
        parts.feed.spawn(feed.run(parts.feed_stop.clone()));
        parts.feed.spawn(parts.feed_stop.clone().run_until_cancelled_owned(health));
        Ok(Notifier(Arc::new(parts)))
    }

    /// Ends all sessions by `deadline`, then stops reading.
    pub async fn drain(&self, deadline: Instant) {
        self.0.sessions.drain(deadline).await;
        self.0.feed_stop.cancel();
        self.0.feed.close();
        self.0.feed.wait().await;
    }

    fn answer(&self, request: &mut Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let parts = &self.0;
        if !parts.origins.knows_host(request.headers(), request.uri().host()) {
            return Err(Refusal::Misdirected);
        }
        match routes::find(request.method(), request.uri().path())? {
            Route::Live => self.live(request),
            Route::Page => page::answer(request.uri().path()).ok_or(Refusal::NotFound),
        }
    }

    fn live(&self, request: &mut Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let sessions = &self.0.sessions;
        let place =
            if self.0.origins.allows_page(request.headers()) { sessions.admit() } else { Err(Refusal::ForeignPage) };
        match place {
            Ok(place) => {
                let (response, upgrade) = Upgrade::accept(request)?;
                sessions.start(upgrade, place);
                Ok(response)
            }
            Err(refusal) => match refusal.close() {
                Some(close) if reads_close_codes_only(request.headers()) => {
                    let (response, upgrade) = Upgrade::accept(request)?;
                    sessions.refuse(upgrade, close);
                    Ok(response)
                }
                Some(_) | None => Err(refusal),
            },
        }
    }
}

impl Handler for Notifier {
    async fn handle(&self, mut request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let mut response = self.answer(&mut request).unwrap_or_else(Refusal::into_response);
        if request.method() == Method::HEAD {
            *response.body_mut() = shared::http::empty().into_body();
        }
        routes::secure(&mut response);
        response
    }
}
