//! Live events as Server-Sent Events, for programs and for `fetch()`.
//!
//! **Owns** the form of the stream and its life: the same log, filters, resume and control frames as the
//! socket has. It is a body that is asked for its next piece when the connection has room, so a slow reader
//! costs no memory; the connection's own limit ends one that takes nothing at all.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use shared::cursor::Cursor;
use shared::drain;
use shared::http::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Changes, now_ms};
use crate::chunk::CHUNK_BYTES;
use crate::control::{Control, Recovered};
use crate::engine::Engine;
use crate::filter::Filter;
use crate::log::FeedState;
use crate::metrics::SessionMetrics;
use crate::sessions::Admission;
use crate::store::Busy;
use crate::walk::{Request, Step, Stretch, Walk};

/// What a stream is.
pub(crate) const MEDIA_TYPE: &str = "text/event-stream";
/// A silent stream says so much: proxies cut connections that are silent for longer.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// One that has passed events it does not want tells sooner up to where.
const POSITION_INTERVAL: Duration = Duration::from_secs(10);
/// Where too many catch up, before a reader asks again.
const CATCHUP_PAUSE: Duration = Duration::from_millis(500);
/// The kind, for the metrics.
const KIND: &str = "sse";

/// How a stream learns that this replica stops: the signal, and the end of the drain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draining {
    pub(crate) signal: CancellationToken,
    pub(crate) deadline: Arc<OnceLock<Instant>>,
}

/// One stream.
struct Events {
    engine: Arc<Engine>,
    walk: Walk,
    filter: Option<Arc<Filter>>,
    out: BytesMut,
    head: watch::Receiver<u64>,
    feed: watch::Receiver<FeedState>,
    draining: Draining,
    expires: Instant,
    /// When it ends, once the client was told to go.
    ends: Option<Instant>,
    told: u64,
    /// When the last piece went out.
    said: Instant,
    access: Access,
    keys: Changes,
    /// The last piece was sent.
    over: bool,
    _open: Open,
    _admission: Admission,
}

/// Counted as long as it lives.
struct Open(SessionMetrics);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed(KIND, None);
    }
}

/// The answer that goes on as long as the client and this replica do.
pub(crate) fn answer(
    engine: Arc<Engine>,
    (walk, recovered): (Walk, Recovered),
    filter: Option<Arc<Filter>>,
    draining: Draining,
    (access, admission): (Access, Admission),
) -> Response<Body> {
    engine.metrics.opened(KIND);
    let age = engine.limits.session_max_age.mul_f64(rand::random_range(0.8..1.2));
    let mut events = Events {
        told: walk.cursor().sequence,
        said: Instant::now(),
        walk,
        filter,
        out: BytesMut::new(),
        head: engine.log.head(),
        feed: engine.log.feed(),
        draining,
        expires: Instant::now() + age,
        ends: None,
        access,
        keys: engine.gate.changes(),
        over: false,
        _open: Open(engine.metrics.clone()),
        _admission: admission,
        engine,
    };
    let at = events.walk.cursor();
    let ping_seconds = COMMENT_INTERVAL.as_secs();
    events.control(Some(&at), &Control::hello(at, recovered, rand::random(), ping_seconds));
    let feed = *events.feed.borrow_and_update();
    if feed != FeedState::Live {
        events.control(None, &Control::status(feed));
    }
    let pieces = stream::unfold(events, |mut events| async move {
        let piece = events.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), events))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of nginx's kind hold answers back otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Events {
    /// The next piece; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if !self.engine.gate.allows(&self.access) {
                self.over = true;
                self.control(None, &Control::Goaway { reason: "token", within_ms: 0 });
                return Some(self.out.split().freeze());
            }
            // Also where there is always more to send: a client that is asked to move goes on elsewhere.
            match self.ends {
                Some(ends) if ends <= Instant::now() => return None,
                Some(_) => {}
                None if self.draining.signal.is_cancelled() => self.go_with_the_replica(),
                None if self.expires <= Instant::now() => self.go_with_age(),
                None => {}
            }
            self.head.mark_unchanged();
            let behind = self.fill();
            // Nobody knows when the next piece will be asked for.
            self.walk.let_go();
            if self.out.is_empty() && self.due() <= Instant::now() {
                self.keep_alive();
            }
            if self.out.is_empty() {
                self.wait(behind).await;
            }
            if !self.out.is_empty() {
                self.said = Instant::now();
                return Some(self.out.split().freeze());
            }
        }
    }

    /// Writes what the log has, up to a chunk's size; says what has to be read from the stream.
    fn fill(&mut self) -> Option<Request> {
        while self.out.len() < CHUNK_BYTES {
            let step = self.engine.log.read(|ring| self.walk.step(ring, self.filter.as_deref()));
            match step.unwrap_or(Step::Head) {
                Step::Head => return None,
                Step::Behind(request) if self.out.is_empty() => return Some(request),
                Step::Behind(_) => return None,
                Step::Gap(gap) => self.control(Some(&gap.before), &Control::gap(&gap)),
                Step::Erased(erasure) => {
                    if erasure.may_be_told(self.access.filter().map(|filter| &**filter)) {
                        self.control(None, &Control::Erased { recipient: erasure.tombstone.recipient });
                    }
                }
                Step::Events(chunk, wanted) => {
                    let epoch = self.walk.cursor().epoch;
                    for (place, text) in chunk.events(&wanted) {
                        self.told = place.sequence;
                        self.put(Some(&place.cursor(epoch)), None, text);
                    }
                    self.engine.metrics.delivered(wanted.events as u64, wanted.bytes() as u64);
                }
            }
        }
        None
    }

    /// Waits for something to say, or for what has to be read from the stream before there is.
    async fn wait(&mut self, behind: Option<Request>) {
        let told_to_go = self.ends.is_some();
        let due = self.due();
        let allowed = self.access.ends_ms().map(|ends_ms| Duration::from_millis(ends_ms.saturating_sub(now_ms())));
        let engine = Arc::clone(&self.engine);
        tokio::select! {
            stretch = catch_up(&engine, behind) => {
                if let Some(gap) = self.walk.supply(stretch) {
                    self.control(Some(&gap.before), &Control::gap(&gap));
                }
            }
            () = self.keys.next() => {}
            () = sleep(allowed.unwrap_or(COMMENT_INTERVAL)), if allowed.is_some() => {}
            // Whoever is behind gains nothing from newer events, and would begin to read again at each.
            _ = self.head.changed(), if behind.is_none() => {}
            _ = self.feed.changed() => {
                let state = *self.feed.borrow_and_update();
                self.control(None, &Control::status(state));
            }
            () = self.draining.signal.cancelled(), if !told_to_go => self.go_with_the_replica(),
            () = sleep_until(self.expires), if !told_to_go => self.go_with_age(),
            () = sleep_until(self.ends.unwrap_or(due)), if told_to_go => {}
            () = sleep_until(due) => {}
        }
    }

    /// When it has to say something, whether or not anything it wants has come.
    fn due(&self) -> Instant {
        let has_moved = self.walk.cursor().sequence > self.told;
        self.said + if has_moved { POSITION_INTERVAL } else { COMMENT_INTERVAL }
    }

    fn keep_alive(&mut self) {
        let at = self.walk.cursor();
        if at.sequence > self.told {
            self.told = at.sequence;
            self.control(Some(&at), &Control::Position { at });
        } else {
            self.out.put_slice(b":\n\n");
        }
    }

    fn go_with_the_replica(&mut self) {
        let left = self.draining.deadline.get().map_or(Duration::ZERO, |deadline| drain::left(*deadline));
        // Streams end at moments of their own, so that their clients do not come all at once.
        self.go("drain", left.mul_f64(rand::random_range(0.0..0.8)));
    }

    fn go_with_age(&mut self) {
        self.go("max_age", self.engine.limits.ping_interval);
    }

    fn go(&mut self, reason: &'static str, within: Duration) {
        self.ends = Some(Instant::now() + within);
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.control(None, &Control::Goaway { reason, within_ms });
    }

    fn control(&mut self, id: Option<&Cursor>, control: &Control) {
        self.put(id, Some("control"), &control.json());
    }

    /// One event of the stream. Its text is one line: ingest stores events so.
    fn put(&mut self, id: Option<&Cursor>, kind: Option<&str>, text: &[u8]) {
        if let Some(id) = id {
            self.out.put_slice(b"id: ");
            self.out.put_slice(id.encode(&mut [0; shared::cursor::CURSOR_LENGTH]).as_bytes());
            self.out.put_u8(b'\n');
        }
        if let Some(kind) = kind {
            self.out.put_slice(b"event: ");
            self.out.put_slice(kind.as_bytes());
            self.out.put_u8(b'\n');
        }
        self.out.put_slice(b"data: ");
        // A line break from another publisher must not end the event early: it is white space in JSON.
        self.out.extend(text.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        self.out.put_slice(b"\n\n");
    }
}

/// What a reader that is behind needs; a reader that is not waits for ever.
async fn catch_up(engine: &Engine, behind: Option<Request>) -> Arc<Stretch> {
    let Some(request) = behind else { return pending().await };
    let _counted = engine.metrics.catching_up();
    loop {
        match engine.store.stretch(request).await {
            Ok(stretch) => return stretch,
            Err(Busy) => sleep(CATCHUP_PAUSE).await,
        }
    }
}
