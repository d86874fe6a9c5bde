//! The notifier as one thing: its parts, and the requests they answer.
//!
//! **Owns** the wiring of feed, log, workers and sessions, the order in which they start and stop, and the
//! way of a request from its host to its answer.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::header;
use hyper::{Method, Request, Response};
use prometheus_client::registry::Registry as MetricsRegistry;
use shared::admin::Readiness;
use shared::broker::{Broker, BrokerError, Role};
use shared::client::Unusable;
use shared::http::Body;
use shared::origin::Origins;
use shared::serve::Handler;
use shared::spans::Traces;
use shared::vital::vital;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::access::{Access, Gate, Needs};
use crate::api::me::Me;
use crate::api::status::Status;
use crate::api::{self, Api};
use crate::caretaker;
use crate::config::{Config, NotifierSettings};
use crate::cors;
use crate::curfew::Curfew;
use crate::engine::{Engine, Limits};
use crate::erasures::{self, Eraser};
use crate::error::Refusal;
use crate::feed::{self, Feed};
use crate::handshake::{Upgrade, offers_control, reads_close_codes_only};
use crate::log::Log;
use crate::metrics::{Metrics, RequestMetrics};
use crate::opening;
use crate::pack::pack;
use crate::params::{CURSOR_ALLOWED, InvalidParams, Params, Start};
use crate::peer::Proxies;
use crate::query::Archive;
use crate::registry::Registry;
use crate::routes::{self, Route};
use crate::sessions::{Admission, Most, Sessions, Wish};
use crate::sse;
use crate::storage::Storage;
use crate::storage::jetstream::JetStream;
use crate::store::Store;
use crate::worker::{Handle, Worker};

/// The notifier cannot start, ever, as configured.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker cannot be connected to.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The keys of tokens can never be read.
    #[error("JWT_JWKS: {0}")]
    Keys(#[from] Unusable),
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
    me: Me,
    api: Api,
    metrics: RequestMetrics,
    /// Feed, workers, caretaker: what goes on as long as there are sessions.
    services: TaskTracker,
    services_stop: CancellationToken,
    traces: Traces,
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
        let broker = Broker::connect(Role::Notifier, &config.broker).await?;
        let settings = &config.notifier;
        let (log, metrics, stream) = (Arc::new(Log::new()), Metrics::new(registry), &settings.stream_name);
        let context = feed::context(broker.client(), feed::OPEN_TIMEOUT);
        let readers = settings.catchup_readers;
        let status = Arc::new(Status::new(context.clone(), stream.clone()));
        let (reports, connection) = (broker.clone(), broker.clone());
        let storage: Arc<dyn Storage> = Arc::new(JetStream::new(broker.client(), context, stream));
        let archive = Archive::new(Arc::clone(&log), Arc::clone(&storage), settings.max_queries);
        let users = (&config.erase, &config.broker);
        let eraser = Eraser::new(users, &broker, stream, Arc::clone(&storage), Arc::clone(&log)).await?;
        let store = Store::new(storage, Arc::clone(&log), readers, metrics.store);
        let ring_bytes = settings.ring_bytes.in_memory();
        let traces = Traces::start(&config.telemetry, "mandrill-live-notifier");
        let feed = Feed::new(broker, stream.clone(), Arc::clone(&log), ring_bytes, metrics.feed, traces.clone());
        let stalled_long = settings.feed_stall_unready.duration();
        let health = feed::health::watch(Arc::clone(&log), connection, readiness.clone(), stalled_long);
        let is_local = config.listen.http_addr.ip().to_canonical().is_loopback();
        let (gate, keeper) = Gate::new(&config.access, is_local, metrics.access, readiness)?;
        let engine = Arc::new(Engine {
            gate,
            curfew: Curfew::default(),
            log,
            store,
            workers: (0..workers()).map(|_| Handle::default()).collect(),
            metrics: metrics.sessions,
            limits: limits(settings),
        });
        let sessions_by_slot = Arc::new(Registry::default());
        let most = Most {
            sessions: settings.max_sessions,
            a_user: settings.max_sessions_per_user,
            an_address: settings.max_sessions_per_ip,
        };
        let sessions = Sessions::new(Arc::clone(&engine), Arc::clone(&sessions_by_slot), &most);

        let (services, stop) = (TaskTracker::new(), CancellationToken::new());
        services.spawn(vital("the feed", feed.run(stop.clone())));
        services.spawn(vital("the feed's health", stop.clone().run_until_cancelled_owned(health)));
        services.spawn(vital("keeping the keys", stop.clone().run_until_cancelled_owned(keeper.run())));
        for number in 0..engine.workers.len() {
            services.spawn(vital("delivering", Worker::new(Arc::clone(&engine), number).run(stop.clone())));
        }
        let (curfew, listed, ended) = (Arc::clone(&engine), Arc::clone(&sessions_by_slot), stop.clone());
        let curfew = async move { curfew.curfew.run(&curfew.gate, &listed, ended).await };
        services.spawn(vital("the curfew", curfew));
        let applying = erasures::applied::run(Arc::clone(&engine), Arc::clone(&sessions_by_slot));
        services.spawn(vital("applying erasures", stop.clone().run_until_cancelled_owned(applying)));
        let unfinished = erasures::unfinished::run(eraser.clone());
        services.spawn(vital("finishing erasures", stop.clone().run_until_cancelled_owned(unfinished)));
        services.spawn(vital("the caretaker", caretaker::run(Arc::clone(&engine), sessions_by_slot, stop.clone())));
        let listening = Arc::clone(&status);
        let listening = async move { listening.listen(&reports).await };
        services.spawn(vital("listening to ingest", stop.clone().run_until_cancelled_owned(listening)));
        let api = Api::new(archive, eraser, Arc::clone(&engine), sessions.draining().signal);
        Ok(Notifier(Arc::new(Parts {
            origins: config.origins.clone(),
            proxies: config.proxies.clone(),
            engine,
            sessions: Arc::new(sessions),
            status,
            me: Me::new(&config.access, settings),
            api,
            metrics: metrics.requests,
            services,
            services_stop: stop,
            traces,
        })))
    }

    /// Ends all sessions by `deadline`, then stops reading.
    pub async fn drain(&self, deadline: Instant) {
        self.0.sessions.drain(deadline).await;
        self.0.services_stop.cancel();
        self.0.services.close();
        self.0.services.wait().await;
        self.0.traces.end().await;
    }

    async fn answer(&self, request: &mut Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Refusal> {
        let route = routes::find(request.method(), request.uri().path())?;
        let is_live = matches!(route, Route::Live);
        let answered = match self.enter(request, route.needs()).await {
            Ok(access) => self.serve(request, peer, route, access).await,
            Err(refusal) => Err(refusal),
        };
        match answered {
            Err(refusal) if is_live => self.refuse_socket(request, refusal),
            answered => answered,
        }
    }

    /// Who sends this request: every route asks here, and nowhere else.
    async fn enter(&self, request: &Request<Incoming>, needs: Needs) -> Result<Access, Refusal> {
        if needs != Needs::Nothing {
            self.check_page(request)?;
        }
        self.0.engine.gate.enter(request.headers(), needs).await
    }

    fn check_page(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        if self.0.origins.allows_page(request.headers()) { Ok(()) } else { Err(Refusal::ForeignPage) }
    }

    async fn serve(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        route: Route,
        access: Access,
    ) -> Result<Response<Body>, Refusal> {
        match route {
            Route::Live => self.live(request, peer, access),
            Route::Stream => self.stream(request, peer, access).await,
            Route::Status => {
                api::takes_nothing(request)?;
                Ok(self.0.status.answer(&self.0.engine, &access).await)
            }
            Route::Me => {
                api::takes_nothing(request)?;
                Ok(self.0.me.answer(&access))
            }
            Route::Events => self.0.api.events(request, &access).await,
            Route::Message(id) => self.0.api.message(request, &access, &id).await,
            Route::Export => self.0.api.export(request, access).await,
            Route::Large(id) => self.0.api.large(request, access, &id).await,
            Route::Stats => self.0.api.stats(request, &access).await,
            Route::Recipient(person) => self.0.api.recipient(request, &access, &person).await,
            Route::Erasures => self.0.api.erase(request, &access).await,
            Route::Options { allow } => {
                self.check_page(request)?;
                Ok(shared::http::options(allow))
            }
            Route::Document(document) => document.answer(request.headers()),
            Route::File(file) => Ok(file.answer(request.headers())),
        }
    }

    fn live(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        access: Access,
    ) -> Result<Response<Body>, Refusal> {
        let control = offers_control(request.headers());
        let (wish, admission) = self.admit(request, peer, access)?;
        let (response, upgrade) = Upgrade::accept(request)?;
        self.0.sessions.start(upgrade, wish, control, admission);
        Ok(response)
    }

    /// Refuses a handshake, after it where the client could not read an answer of HTTP.
    fn refuse_socket(&self, request: &mut Request<Incoming>, refusal: Refusal) -> Result<Response<Body>, Refusal> {
        match refusal.close() {
            Some(close) if reads_close_codes_only(request.headers()) => {
                let (response, upgrade) = Upgrade::accept(request)?;
                self.0.sessions.refuse(upgrade, close);
                Ok(response)
            }
            Some(_) | None => Err(refusal),
        }
    }

    async fn stream(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        access: Access,
    ) -> Result<Response<Body>, Refusal> {
        let offer = sse::MEDIA_TYPE;
        accept::media(request.headers(), &[offer]).ok_or(Refusal::NotAcceptable { offers: offer })?;
        let (mut wish, admission) = self.admit(request, peer, access)?;
        // A client that reconnects by itself knows better than the URL it was given once.
        if let Some(id) = request.headers().get("last-event-id") {
            let cursor = id.to_str().ok().and_then(|text| text.parse().ok());
            wish.params.start = Start::Since(cursor.ok_or_else(not_a_cursor)?);
        }
        let (engine, filter) = (Arc::clone(&self.0.engine), wish.filter());
        let opening = opening::open(&engine, wish.params.start, filter.as_deref(), true);
        let opened = Box::pin(opening).await.map_err(|close| Refusal::NoRoom {
            detail: "the stream cannot be read now",
            retry_seconds: close.retry_after().map_or(1, |wait| u16::try_from(wait.as_secs()).unwrap_or(u16::MAX)),
        })?;
        Ok(sse::answer(engine, opened, filter, self.0.sessions.draining(), (wish.access, admission)))
    }

    /// Whether a request may become a session, and which.
    fn admit(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        access: Access,
    ) -> Result<(Wish, Admission), Refusal> {
        let params = Params::read(request.uri().query()).map_err(Refusal::Query)?;
        let address = self.0.proxies.client(peer.ip(), request.headers());
        let admission = self.0.sessions.admit(address, &access)?;
        Ok((Wish { params, access }, admission))
    }
}

fn not_a_cursor() -> Refusal {
    Refusal::Query(InvalidParams::new("Last-Event-ID", "it is not a cursor", CURSOR_ALLOWED))
}

/// Leaves of an answer what HEAD gets: its length too, where it is known.
fn drop_body(response: &mut Response<Body>) {
    let body = std::mem::replace(response.body_mut(), shared::http::empty().into_body());
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
}

/// One worker a core: more would only share them.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn limits(settings: &NotifierSettings) -> Limits {
    Limits {
        ping_interval: settings.ping_interval.duration(),
        lag_timeout: settings.lag_timeout.duration(),
        least: settings.least(),
        session_max_age: settings.session_max_age.duration(),
    }
}

impl Handler for Notifier {
    async fn handle(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let (origins, came) = (&self.0.origins, Instant::now());
        let path = request.uri().path();
        let (is_api, methods, template) = (routes::is_api(path), routes::methods(path), routes::template(path));
        let mut response = if !origins.knows_host(request.headers(), request.uri()) {
            Refusal::Misdirected.into_response()
        } else if let Some(response) =
            methods.filter(|_| is_api).and_then(|methods| cors::preflight(&request, methods, origins))
        {
            response
        } else {
            self.answer(&mut request, peer).await.unwrap_or_else(Refusal::into_response)
        };
        if is_api {
            cors::allow(response.headers_mut(), request.headers(), origins);
        }
        if is_api {
            response = pack(response, request.headers());
        }
        if request.method() == Method::HEAD {
            drop_body(&mut response);
        }
        shared::http::secure(&mut response);
        self.0.metrics.answered(template, response.status(), came.elapsed());
        response
    }

    fn turned_away(&self) {
        self.0.metrics.turned_away();
    }
}
