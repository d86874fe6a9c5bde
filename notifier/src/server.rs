//! The notifier as one thing: its parts, and the requests they answer.
//!
//! **Owns** the wiring of feed, log, workers and sessions, the order in which they start and stop, and the
//! way of a request from its host to its answer.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, Response};
use prometheus_client::registry::Registry as MetricsRegistry;
use shared::admin::Readiness;
use shared::broker::{Broker, BrokerError};
use shared::http::Body;
use shared::origin::Origins;
use shared::serve::Handler;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caretaker;
use crate::config::{Config, NotifierSettings};
use crate::cors;
use crate::engine::{Engine, Limits};
use crate::error::Refusal;
use crate::feed::{self, Feed};
use crate::handshake::{Upgrade, offers_control, reads_close_codes_only};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::opening;
use crate::page;
use crate::params::{Params, Start};
use crate::peer::Proxies;
use crate::registry::Registry;
use crate::routes::{self, Route};
use crate::sessions::Sessions;
use crate::sse;
use crate::status::Status;
use crate::store::Store;
use crate::worker::{Handle, Worker};

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
    proxies: Proxies,
    engine: Arc<Engine>,
    sessions: Arc<Sessions>,
    status: Arc<Status>,
    /// Feed, workers, caretaker: what goes on as long as there are sessions.
    services: TaskTracker,
    services_stop: CancellationToken,
}

impl Notifier {
    /// Starts reading the stream. A broker that is away, or a stream that nobody made yet, is no failure:
    /// the notifier answers requests, is not ready, and gets ready when they come.
    ///
    /// # Errors
    /// Where the configuration can never work.
    pub async fn start(
        config: &Config,
        registry: &mut MetricsRegistry,
        readiness: Readiness,
    ) -> Result<Notifier, StartError> {
        let broker = Broker::connect(CLIENT_NAME, &config.broker).await?;
        let settings = &config.notifier;
        let (log, metrics, stream) = (Arc::new(Log::new()), Metrics::new(registry), &settings.stream_name);
        let context = feed::context(broker.client(), feed::OPEN_TIMEOUT);
        let readers = settings.catchup_readers;
        let status = Arc::new(Status::new(context.clone(), stream.clone()));
        let reports = broker.clone();
        let store = Store::new(broker.client(), context, stream.clone(), readers, metrics.store);
        let ring_bytes = settings.ring_bytes.in_memory();
        let feed = Feed::new(broker, stream.clone(), Arc::clone(&log), ring_bytes, metrics.feed);
        let health = feed::health::watch(Arc::clone(&log), readiness, settings.feed_stall_unready.duration());
        let engine = Arc::new(Engine {
            log,
            store,
            workers: workers().map(|_| Handle::default()).collect(),
            metrics: metrics.sessions,
            limits: limits(settings),
        });
        let sessions_by_slot = Arc::new(Registry::default());
        let most = (settings.max_sessions, settings.max_sessions_per_ip);
        let sessions = Sessions::new(Arc::clone(&engine), Arc::clone(&sessions_by_slot), most.0, most.1);

        let (services, stop) = (TaskTracker::new(), CancellationToken::new());
        services.spawn(feed.run(stop.clone()));
        services.spawn(stop.clone().run_until_cancelled_owned(health));
        for number in workers() {
            services.spawn(Worker::new(Arc::clone(&engine), number).run(stop.clone()));
        }
        services.spawn(caretaker::run(Arc::clone(&engine), sessions_by_slot, stop.clone()));
        let listening = Arc::clone(&status);
        services.spawn(stop.clone().run_until_cancelled_owned(async move { listening.listen(&reports).await }));
        Ok(Notifier(Arc::new(Parts {
            origins: config.origins.clone(),
            proxies: config.proxies.clone(),
            engine,
            sessions: Arc::new(sessions),
            status,
            services,
            services_stop: stop,
        })))
    }

    /// Ends all sessions by `deadline`, then stops reading.
    pub async fn drain(&self, deadline: Instant) {
        self.0.sessions.drain(deadline).await;
        self.0.services_stop.cancel();
        self.0.services.close();
        self.0.services.wait().await;
    }

    async fn answer(&self, request: &mut Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Refusal> {
        if !self.0.origins.knows_host(request.headers(), request.uri().host()) {
            return Err(Refusal::Misdirected);
        }
        match routes::find(request.method(), request.uri().path())? {
            Route::Live => self.live(request, peer),
            Route::Stream => self.stream(request, peer).await,
            Route::Status => {
                self.check_page(request)?;
                Ok(self.0.status.answer(&self.0.engine).await)
            }
            Route::Page => {
                let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
                page::answer(request.method(), request.uri().path(), known).ok_or(Refusal::NotFound)
            }
        }
    }

    fn live(&self, request: &mut Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Refusal> {
        let sessions = &self.0.sessions;
        let control = offers_control(request.headers());
        match self.judge(request, peer) {
            Ok((params, admission)) => {
                let (response, upgrade) = Upgrade::accept(request)?;
                sessions.start(upgrade, params, control, admission);
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

    async fn stream(&self, request: &Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Refusal> {
        let (mut params, admission) = self.judge(request, peer)?;
        // A client that reconnects by itself knows better than the URL it was given once.
        if let Some(id) = request.headers().get("last-event-id") {
            let cursor = id.to_str().ok().and_then(|text| text.parse().ok());
            params.start = Start::Since(cursor.ok_or(Refusal::Query("Last-Event-ID is not a cursor".into()))?);
        }
        let engine = Arc::clone(&self.0.engine);
        let opened = Box::pin(opening::open(&engine, &params, true)).await.map_err(|close| Refusal::NoRoom {
            detail: "the stream cannot be read now",
            retry_seconds: close.retry_after().map_or(1, |wait| u16::try_from(wait.as_secs()).unwrap_or(u16::MAX)),
        })?;
        let draining = self.0.sessions.draining();
        Ok(sse::answer(engine, opened, opening::shared_filter(params), draining, admission))
    }

    fn check_page(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        if self.0.origins.allows_page(request.headers()) { Ok(()) } else { Err(Refusal::ForeignPage) }
    }

    /// Whether a request may become a session, and which.
    fn judge(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<(Params, crate::sessions::Admission), Refusal> {
        self.check_page(request)?;
        let params = Params::read(request.uri().query()).map_err(|error| Refusal::Query(error.to_string().into()))?;
        let address = self.0.proxies.client(peer.ip(), request.headers());
        Ok((params, self.0.sessions.admit(address)?))
    }
}

/// One worker a core: more would only share them.
fn workers() -> std::ops::Range<usize> {
    0..std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn limits(settings: &NotifierSettings) -> Limits {
    Limits {
        ping_interval: settings.ping_interval.duration(),
        lag_timeout: settings.lag_timeout.duration(),
        min_rate_bytes: settings.min_rate_bytes.bytes(),
        session_max_age: settings.session_max_age.duration(),
    }
}

impl Handler for Notifier {
    async fn handle(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let origins = &self.0.origins;
        let is_api = routes::is_api(request.uri().path());
        let preflight = if is_api { cors::preflight(&request, origins) } else { None };
        let mut response = match preflight {
            Some(response) => response,
            None => self.answer(&mut request, peer).await.unwrap_or_else(Refusal::into_response),
        };
        if is_api {
            cors::allow(response.headers_mut(), request.headers(), origins);
        }
        if request.method() == Method::HEAD {
            *response.body_mut() = shared::http::empty().into_body();
        }
        routes::secure(&mut response);
        response
    }
}
