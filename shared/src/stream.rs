//! The stream that keeps the events, and what stands beside it.
//!
//! **Owns** its name, limits, creation, and the epoch in its metadata. **May not** delete or shrink
//! anything that holds events.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{ClusterInfo, Config, DiscardPolicy, Info, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde::Deserialize;

use crate::cursor::Epoch;
use crate::settings::{ByteSize, Mistakes, Span};
use crate::subject;

crate::settings! {
    /// The stream and its limits.
    pub struct StreamSettings {
        /// The stream's name; the streams beside it are called after it.
        pub stream_name: String = "MANDRILL";
        /// Copies of the stream in a cluster.
        pub stream_replicas: u32 = "1", "1" => "5";
        /// How long an event is kept.
        pub stream_max_age: Span = "30d", "1m" => "3650d";
        /// How much the stream may hold; the oldest events go first. It bounds the broker's memory too.
        pub stream_max_bytes: ByteSize = "2GiB", "1MiB" => "1PiB";
        /// How long the broker recognises an event that comes again.
        pub stream_dedupe_window: Span = "24h", "1s" => "3650d";
        /// Whether ingest creates the stream and applies changed limits.
        pub manage_stream: bool = "true";
    }
}

/// The first server version that has atomic batches.
const SERVER_VERSION_MIN: (i64, i64, i64) = (2, 12, 0);
/// The stream's metadata key of its epoch.
const EPOCH_KEY: &str = "mandrill-live-epoch";
/// The metadata key of a large event's object that holds the subject its short form is stored under.
pub const LARGE_SUBJECT_KEY: &str = "mandrill-live-subject";
/// The shortest time without a word from its leader after which nats-server elects another (it is 4 s), less a second
/// for what is on its way. A leader hears from each server every second.
const ELECTION_MIN: Duration = Duration::from_secs(3);
/// How long a server that is awake takes to describe a stream, with much slack. One that took longer is asked again.
const PROMPT: Duration = Duration::from_millis(100);
/// What authentic but unusable content may take: somebody should have looked long before.
const REJECTED_BYTES_MAX: i64 = 256 << 20;

impl StreamSettings {
    /// Reports combinations the server would refuse, by name.
    pub fn check(&self, mistakes: &mut Mistakes) {
        if self.stream_dedupe_window > self.stream_max_age {
            mistakes.add("stream_dedupe_window", "must not be longer than STREAM_MAX_AGE: the broker refuses that");
        }
        check_name(&self.stream_name, mistakes);
    }
}

/// Why the stream cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server lacks what commits are built on.
    #[error("nats-server {0} is too old: 2.12 or newer is needed (atomic batches)")]
    ServerTooOld(String),
    /// JetStream is off, or the broker does not answer.
    #[error("the broker does not answer for JetStream: {0}; it must run with JetStream enabled")]
    Away(String),
    /// The stream is not there, and this process is told not to make it.
    #[error("stream {0} does not exist: ingest makes it, or `ingest setup` where MANAGE_STREAM is false")]
    Missing(String),
    /// The server refuses the configuration.
    #[error("the broker refuses stream {name} as configured: {reason}")]
    Refused {
        /// The stream.
        name: String,
        /// The server's words.
        reason: String,
    },
    /// The stream was not made by this service.
    #[error("stream {0} has no epoch in its metadata: it was not made by mandrill-live; choose another STREAM_NAME")]
    Foreign(String),
    /// The server that answers may have been replaced as leader without knowing it, and know too little.
    #[error("the server that answers for stream {0} does not hear the rest of its cluster: another may lead by now")]
    Deposed(String),
}

impl StreamError {
    /// Whether trying again may help without anybody changing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            StreamError::Away(_) | StreamError::Missing(_) | StreamError::Deposed(_) => true,
            StreamError::ServerTooOld(_) | StreamError::Refused { .. } | StreamError::Foreign(_) => false,
        }
    }
}

/// Reports a name that no stream can have, or that could not be part of the others' names.
pub fn check_name(name: &str, mistakes: &mut Mistakes) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(plain) {
        mistakes.add("stream_name", "may hold letters, digits, `_` and `-` only");
    }
}

/// The stream of what was authentic but unusable.
#[must_use]
pub fn rejected_name(stream: &str) -> String {
    format!("{stream}_REJECTED")
}

/// The bucket of events too large to be sent to sockets.
#[must_use]
pub fn large_name(stream: &str) -> String {
    format!("{stream}_LARGE")
}

/// The stream a bucket is kept in, as the broker's object stores are.
#[must_use]
pub fn large_stream(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

/// The subject an object's description is kept under in the stream of its bucket.
#[must_use]
pub fn large_subject(bucket: &str, object: &str) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(object))
}

/// The subject a version's pieces are kept under there.
#[must_use]
pub fn large_chunks(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

/// Refuses a server that is too old.
///
/// # Errors
/// Names the server's version.
pub fn check_server(client: &async_nats::Client) -> Result<(), StreamError> {
    let (major, minor, patch) = SERVER_VERSION_MIN;
    if client.is_server_compatible(major, minor, patch) {
        Ok(())
    } else {
        Err(StreamError::ServerTooOld(client.server_info().version))
    }
}

/// The epoch of a stream that exists.
///
/// # Errors
/// Where the stream is missing, not ours, or the broker does not answer.
pub async fn epoch(context: &jetstream::Context, stream: &str) -> Result<Epoch, StreamError> {
    epoch_of(&info(context, stream).await?)
}

/// What the broker says of a stream that exists: everything that was acknowledged before the call is in it.
///
/// # Errors
/// Where the stream is missing, the broker does not answer, or whoever answers may not lead the stream any more.
pub async fn info(context: &jetstream::Context, stream: &str) -> Result<Info, StreamError> {
    let ask = || async {
        let found = context.get_stream(stream).await.map_err(|error| get_error(stream, &error))?;
        Ok(found.cached_info().clone())
    };
    from_leader(stream, ask, |info| info.cluster.as_ref()).await
}

/// How many messages there are under a pattern, by subject.
#[derive(Debug)]
pub struct Counts {
    /// Messages by subject; a subject without any is not named.
    pub subjects: HashMap<String, usize>,
    /// The last sequence the stream had when they were counted.
    pub last_sequence: u64,
}

/// Counts what is stored under a pattern: everything that was acknowledged before the call. To be asked of patterns
/// that hold for few subjects, since the broker names each.
///
/// # Errors
/// As [`info`].
pub async fn counts(context: &jetstream::Context, stream: &str, pattern: &str) -> Result<Counts, StreamError> {
    #[derive(Deserialize)]
    struct Answer {
        state: State,
        cluster: Option<ClusterInfo>,
    }
    #[derive(Deserialize)]
    struct State {
        last_seq: u64,
        subjects: Option<HashMap<String, usize>>,
    }
    let question = serde_json::json!({ "subjects_filter": pattern });
    let ask = || async {
        match context.request(format!("STREAM.INFO.{stream}"), &question).await {
            Ok(Response::Ok::<Answer>(answer)) => Ok(answer),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Err(StreamError::Missing(stream.to_owned()))
            }
            Ok(Response::Err { error }) => Err(StreamError::Away(error.to_string())),
            Err(error) => Err(StreamError::Away(error.to_string())),
        }
    };
    let Answer { state, .. } = from_leader(stream, ask, |answer| answer.cluster.as_ref()).await?;
    Ok(Counts { subjects: state.subjects.unwrap_or_default(), last_sequence: state.last_seq })
}

/// An answer of the server that leads the stream for certain.
async fn from_leader<T, F>(
    stream: &str,
    ask: impl Fn() -> F,
    cluster: fn(&T) -> Option<&ClusterInfo>,
) -> Result<T, StreamError>
where
    F: Future<Output = Result<T, StreamError>>,
{
    let asked = Instant::now();
    let mut answer = ask().await?;
    if asked.elapsed() > PROMPT {
        // The question may have waited for a server that was frozen, and was answered before that one had listened to
        // the others. By now it has.
        answer = ask().await?;
    }
    if leads(cluster(&answer)) { Ok(answer) } else { Err(StreamError::Deposed(stream.to_owned())) }
}

/// Whether whoever answered leads the stream for certain. A server that was frozen or cut off answers as the leader it
/// was, from what it knew then. The others elect another one when they have not heard from it for [`ELECTION_MIN`]: one
/// that has heard from most of them since then still leads. A server that knows of no leader answers as well, from its
/// own copy; and one it has never heard from is told of as heard from this very moment.
fn leads(cluster: Option<&ClusterInfo>) -> bool {
    let Some(cluster) = cluster else { return true };
    let heard = cluster.replicas.iter().filter(|peer| !peer.active.is_zero() && peer.active < ELECTION_MIN).count();
    let is_led = cluster.leader.as_ref().is_some_and(|leader| !leader.is_empty());
    is_led && 2 * (heard + 1) > cluster.replicas.len() + 1
}

/// The epoch in a stream's metadata.
///
/// # Errors
/// Where there is none: the stream is not ours.
pub fn epoch_of(info: &Info) -> Result<Epoch, StreamError> {
    let foreign = || StreamError::Foreign(info.config.name.clone());
    info.config.metadata.get(EPOCH_KEY).and_then(|text| text.parse().ok()).ok_or_else(foreign)
}

/// Makes the stream and those beside it, or applies limits that have changed. Limits that would drop stored events,
/// copies of them or the knowledge of their ids are left as they are, with a warning.
///
/// # Errors
/// See [`StreamError`].
pub async fn ensure(context: &jetstream::Context, settings: &StreamSettings) -> Result<Epoch, StreamError> {
    let name = &settings.stream_name;
    if !settings.manage_stream {
        return epoch(context, name).await;
    }
    ensure_stream(context, rejected(settings)).await?;
    ensure_stream(context, large(settings)).await?;
    let info = ensure_stream(context, events(settings)).await?;
    epoch_of(&info)
}

/// Gives the stream another epoch: every cursor handed out so far is then answered "not recoverable". After
/// a restore, since a restored stream uses sequences again.
///
/// # Errors
/// See [`StreamError`].
pub async fn renew_epoch(context: &jetstream::Context, stream: &str) -> Result<Epoch, StreamError> {
    let found = info(context, stream).await?;
    epoch_of(&found)?;
    let mut config = found.config;
    let epoch = Epoch::random();
    config.metadata.insert(EPOCH_KEY.to_owned(), epoch.to_string());
    context.update_stream(&config).await.map_err(|error| create_error(stream, &error))?;
    Ok(epoch)
}

/// What every event is stored in.
fn events(settings: &StreamSettings) -> Config {
    Config {
        name: settings.stream_name.clone(),
        description: Some("mandrill-live: Mandrill's events, one message each".to_owned()),
        subjects: vec![subject::EVENTS_ALL.to_owned(), subject::ERASURES_ALL.to_owned()],
        max_bytes: i64::try_from(settings.stream_max_bytes.bytes()).unwrap_or(i64::MAX),
        duplicate_window: settings.stream_dedupe_window.duration(),
        allow_direct: true,
        allow_atomic_publish: true,
        metadata: HashMap::from([(EPOCH_KEY.to_owned(), Epoch::random().to_string())]),
        ..common(settings)
    }
}

fn rejected(settings: &StreamSettings) -> Config {
    Config {
        name: rejected_name(&settings.stream_name),
        description: Some("mandrill-live: authentic requests that could not be used".to_owned()),
        subjects: vec![subject::REJECTED.to_owned()],
        max_bytes: REJECTED_BYTES_MAX,
        duplicate_window: settings.stream_dedupe_window.duration(),
        allow_direct: true,
        ..common(settings)
    }
}

fn common(settings: &StreamSettings) -> Config {
    Config {
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        num_replicas: settings.stream_replicas as usize,
        max_age: settings.stream_max_age.duration(),
        ..Config::default()
    }
}

/// The object store's stream, as the client library lays one out: objects are read with it.
fn large(settings: &StreamSettings) -> Config {
    let bucket = large_name(&settings.stream_name);
    Config {
        name: large_stream(&bucket),
        description: Some("mandrill-live: events too large for sockets, whole".to_owned()),
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        // An object is many messages: dropping the oldest of them would leave broken objects behind.
        discard: DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        ..common(settings)
    }
}

async fn ensure_stream(context: &jetstream::Context, wanted: Config) -> Result<Info, StreamError> {
    let name = wanted.name.clone();
    let found = match context.get_stream(&name).await {
        Ok(stream) => stream.cached_info().clone(),
        Err(error) if is_missing(&error) => return create(context, wanted).await,
        Err(error) => return Err(get_error(&name, &error)),
    };
    match changed_limits(&found, &wanted) {
        None => Ok(found),
        Some(config) => {
            let info = context.update_stream(&config).await.map_err(|error| create_error(&name, &error))?;
            let changes = changes(&found.config, &config);
            tracing::info!(stream = name, changes, "applied the stream's changed limits");
            Ok(info)
        }
    }
}

async fn create(context: &jetstream::Context, wanted: Config) -> Result<Info, StreamError> {
    let name = wanted.name.clone();
    match context.create_stream(wanted).await {
        Ok(stream) => {
            tracing::info!(stream = name, "made the stream");
            Ok(stream.cached_info().clone())
        }
        // Another replica was quicker: the epoch it chose is the one that counts.
        Err(error) if is_taken(&error) => {
            let stream = context.get_stream(&name).await.map_err(|error| get_error(&name, &error))?;
            Ok(stream.cached_info().clone())
        }
        Err(error) => Err(create_error(&name, &error)),
    }
}

/// The stream's configuration with the limits that are wanted, where that changes anything.
fn changed_limits(found: &Info, wanted: &Config) -> Option<Config> {
    let now = &found.config;
    let mut next = now.clone();
    next.subjects.clone_from(&wanted.subjects);
    next.num_replicas = wanted.num_replicas;
    if wanted.num_replicas < now.num_replicas {
        tracing::warn!(
            stream = now.name,
            wanted = wanted.num_replicas,
            kept = now.num_replicas,
            "STREAM_REPLICAS would delete copies of stored events and is not applied; to do that, use `nats stream edit`"
        );
        next.num_replicas = now.num_replicas;
    }
    next.allow_direct = wanted.allow_direct;
    next.allow_atomic_publish |= wanted.allow_atomic_publish;
    next.max_age = wanted.max_age;
    next.max_bytes = if wanted.max_bytes == 0 { now.max_bytes } else { wanted.max_bytes };
    let stored = i64::try_from(found.state.bytes).unwrap_or(i64::MAX);
    if wanted.max_bytes > 0 && stored > wanted.max_bytes {
        tracing::warn!(
            stream = now.name,
            stored,
            wanted = wanted.max_bytes,
            kept = now.max_bytes,
            "STREAM_MAX_BYTES would drop stored events and is not applied; to drop them, use `nats stream edit`"
        );
        next.max_bytes = now.max_bytes;
    }
    if found.state.messages > 0 && wanted.max_age < oldest_age(found) {
        tracing::warn!(
            stream = now.name, wanted = ?wanted.max_age, kept = ?now.max_age,
            "STREAM_MAX_AGE would drop stored events and is not applied; to drop them, use `nats stream edit`"
        );
        next.max_age = now.max_age;
    }
    // The broker takes no window that is longer than the age. Where none is wanted it has one of its own.
    let longest = if next.max_age.is_zero() { Duration::MAX } else { next.max_age };
    next.duplicate_window = wanted.duplicate_window.max(now.duplicate_window).min(longest);
    if !wanted.duplicate_window.is_zero() && wanted.duplicate_window < next.duplicate_window {
        tracing::warn!(
            stream = now.name, wanted = ?wanted.duplicate_window, kept = ?next.duplicate_window,
            "STREAM_DEDUPE_WINDOW would let events that come again be stored twice and is not applied; to shorten it, \
             use `nats stream edit`"
        );
    }
    (next != *now).then_some(next)
}

/// What of a configuration is another by the next, in words.
fn changes(now: &Config, next: &Config) -> String {
    let limits = |config: &Config| {
        [
            ("subjects", config.subjects.join(" ")),
            ("replicas", config.num_replicas.to_string()),
            ("max_age", format!("{:?}", config.max_age)),
            ("max_bytes", config.max_bytes.to_string()),
            ("duplicate_window", format!("{:?}", config.duplicate_window)),
            ("allow_direct", config.allow_direct.to_string()),
            ("allow_atomic", config.allow_atomic_publish.to_string()),
        ]
    };
    let pairs = limits(now).into_iter().zip(limits(next)).filter(|(now, next)| now != next);
    let change = |((name, now), (_, next)): ((&str, String), (&str, String))| format!("{name} from {now} to {next}");
    pairs.map(change).collect::<Vec<_>>().join(", ")
}

/// How long ago the oldest event that is kept was stored.
fn oldest_age(info: &Info) -> Duration {
    SystemTime::now().duration_since(info.state.first_timestamp.into()).unwrap_or(Duration::ZERO)
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_taken(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

fn get_error(name: &str, error: &GetStreamError) -> StreamError {
    match error.kind() {
        GetStreamErrorKind::JetStream(_) if is_missing(error) => StreamError::Missing(name.to_owned()),
        GetStreamErrorKind::JetStream(reason) if reason.code() < 500 => refused(name, &reason),
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
            refused(name, &"the name is not valid")
        }
        GetStreamErrorKind::JetStream(_) | GetStreamErrorKind::Request => StreamError::Away(error.to_string()),
    }
}

fn create_error(name: &str, error: &CreateStreamError) -> StreamError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(reason) if reason.code() < 500 => refused(name, &reason),
        CreateStreamErrorKind::EmptyStreamName
        | CreateStreamErrorKind::InvalidStreamName
        | CreateStreamErrorKind::DomainAndExternalSet => refused(name, error),
        CreateStreamErrorKind::JetStream(_)
        | CreateStreamErrorKind::JetStreamUnavailable
        | CreateStreamErrorKind::TimedOut
        | CreateStreamErrorKind::Response
        | CreateStreamErrorKind::NotFound
        | CreateStreamErrorKind::ResponseParse => StreamError::Away(error.to_string()),
    }
}

fn refused(name: &str, reason: &dyn std::fmt::Display) -> StreamError {
    StreamError::Refused { name: name.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_said_with_what_it_was() {
        let now = Config { num_replicas: 1, max_age: Duration::from_secs(60), max_bytes: 5, ..Config::default() };
        let next = Config { num_replicas: 3, max_age: Duration::from_secs(90), ..now.clone() };
        assert_eq!(changes(&now, &next), "replicas from 1 to 3, max_age from 60s to 90s");
    }

    #[test]
    fn a_leader_leads_as_long_as_it_hears_most_of_its_cluster() {
        let check = |leader: Option<&str>, active_ms: &[u64], expected: bool| {
            let peer = |ms: &u64| serde_json::json!({"name": "n", "current": true, "active": ms * 1_000_000});
            let replicas: Vec<_> = active_ms.iter().map(peer).collect();
            let cluster = serde_json::json!({"name": "c", "leader": leader, "replicas": replicas});
            let cluster = serde_json::from_value(cluster).expect("a cluster");
            assert_eq!(leads(Some(&cluster)), expected, "{leader:?} {active_ms:?}");
        };
        assert!(leads(None), "a single server");
        check(Some("l"), &[], true);
        check(Some("l"), &[10, 900], true);
        check(Some("l"), &[10, 90_000], true);
        check(Some("l"), &[5_000, 90_000], false);
        check(Some("l"), &[3_000, 3_000], false);
        check(Some("l"), &[10, 10, 9_000, 9_000], true);
        check(Some("l"), &[10, 9_000, 9_000, 9_000], false);
        // It never heard from one, and that one may have elected another with the third.
        check(Some("l"), &[0, 5_000], false);
        // Nobody leads, and all three are told of as heard.
        check(None, &[0, 0, 0], false);
        check(Some(""), &[10, 10, 10], false);
    }
}
