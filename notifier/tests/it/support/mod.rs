//! A notifier as production runs it, on free ports, and what stores events for it.

pub(crate) mod tokens;

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream;
use notifier::{Config, StartError};
use shared::cursor::Cursor;
use shared::settings::{Environment, Mistakes, Settings};
use shared::stream::{self, StreamSettings};
use shared::synthetic::{Kind, SyntheticEvents};
use shared::testing::broker::Broker;
use shared::testing::{self, http};
use shared::{event, serve, subject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use client::{Client, V1};
pub(crate) use shared::testing::sse::{EventStream, Message};
pub(crate) use shared::testing::websocket as client;

/// A notifier that runs until it is stopped or dropped.
pub(crate) struct Service {
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
}

impl Service {
    /// One that is ready.
    pub(crate) async fn start(broker: &Broker) -> Service {
        Service::with(broker, &[]).await
    }

    /// One that is ready, with more variables.
    pub(crate) async fn with(broker: &Broker, variables: &[(&str, &str)]) -> Service {
        let service = Service::launch(broker, variables).await;
        service.ready().await;
        service
    }

    /// One that may not be ready yet.
    pub(crate) async fn launch(broker: &Broker, variables: &[(&str, &str)]) -> Service {
        let given = variables.iter().fold(Environment::default(), |all, (name, value)| all.or(name, value));
        let open = if variables.iter().any(|(name, _)| name.starts_with("JWT_")) { "false" } else { "true" };
        let environment = given.or("NATS_URL", &broker.url()).or("ALLOW_ANONYMOUS", open).or("DRAIN_SECONDS", "5");
        let config = Config::read(&environment).expect("a configuration");
        let listener = async || serve::bind(([127, 0, 0, 1], 0).into(), "HTTP_ADDR").await.expect("a listener");
        let (http, admin) = (listener().await, listener().await);
        let addresses = (http.local_addr().expect("an address"), admin.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let task = tokio::spawn(notifier::run(config, http, admin, stop.clone()));
        Service { http: addresses.0, admin: addresses.1, stop, task }
    }

    pub(crate) async fn is_ready(&self) -> bool {
        http::get(self.admin, "/readyz").await.status == 200
    }

    pub(crate) async fn ready(&self) {
        testing::until("the notifier is ready", async || self.is_ready().await).await;
    }

    /// Open sessions of a kind, as the metrics have them.
    pub(crate) async fn sessions(&self, kind: &str) -> u64 {
        metric(self.admin, &format!("mandrill_live_notifier_sessions{{kind=\"{kind}\"}}")).await
    }

    /// A plain session.
    pub(crate) async fn session(&self) -> Client {
        Client::connect(self.http, "/ws/email/", &[]).await
    }

    /// A client that asks for a long answer and takes little of it.
    pub(crate) async fn ask_slowly(&self, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
        let mut stream = socket.connect(self.http).await.expect("connected");
        stream.write_all(&http::request("GET", path, headers, b"")).await.expect("sent");
        let mut first = [0; 15];
        testing::soon("an answer", stream.read_exact(&mut first)).await.expect("its first bytes");
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        stream
    }

    /// Tells it to stop.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    /// Tells it to stop and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        testing::soon("the notifier stops", self.task).await.expect("no panic").expect("an orderly end");
    }
}

/// One value of the metrics, by its name and labels; 0 where nothing has been counted yet.
pub(crate) async fn metric(admin: SocketAddr, name: &str) -> u64 {
    let text = String::from_utf8(http::get(admin, "/metrics").await.body).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a whole number"))
}

/// Stores events as ingest does.
#[derive(Clone)]
pub(crate) struct Writer {
    context: jetstream::Context,
}

impl Writer {
    /// Makes the stream, as ingest does.
    pub(crate) async fn new(broker: &Broker) -> Writer {
        let writer = Writer { context: jetstream::new(broker.client().await) };
        writer.make_stream().await;
        writer
    }

    pub(crate) async fn make_stream(&self) {
        let mut mistakes = Mistakes::default();
        let settings = StreamSettings::read(&[].into(), &mut mistakes).expect("settings");
        stream::ensure(&self.context, &settings).await.expect("a stream");
    }

    pub(crate) fn context(&self) -> &jetstream::Context {
        &self.context
    }

    /// Stores one event; returns its sequence.
    pub(crate) async fn store(&self, text: &str) -> u64 {
        let subject = subject::of_event(&event::fields(text));
        let ack = self.context.publish(subject, text.to_owned().into()).await.expect("published");
        ack.await.expect("stored").sequence
    }

    /// Stores very many, in order, in atomic batches: the broker syncs to disk once each.
    pub(crate) async fn store_in_batches(&self, events: &[String]) {
        for (number, group) in events.chunks(1000).enumerate() {
            for (at, text) in group.iter().enumerate() {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Nats-Batch-Id", format!("batch-{number}"));
                headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
                let (subject, payload) = (subject::of_event(&event::fields(text)), text.clone().into());
                let client = self.context.client();
                if at + 1 < group.len() {
                    client.publish_with_headers(subject, headers, payload).await.expect("published");
                } else {
                    headers.insert("Nats-Batch-Commit", "1");
                    let ack = client.request_with_headers(subject, headers, payload).await.expect("an answer");
                    let ack: serde_json::Value = serde_json::from_slice(&ack.payload).expect("JSON");
                    assert_eq!(ack["count"], group.len(), "{ack}");
                }
            }
        }
    }

    /// Stores many, in order.
    pub(crate) async fn store_all(&self, events: &[String]) {
        // Few at once: the broker syncs to disk before each answer, and answers in order.
        for group in events.chunks(100) {
            let mut acks = Vec::new();
            for text in group {
                let subject = subject::of_event(&event::fields(text));
                acks.push(self.context.publish(subject, text.clone().into()).await.expect("published"));
            }
            for ack in acks {
                ack.await.expect("stored");
            }
        }
    }
}

/// Made-up events, no two alike.
pub(crate) fn events(count: usize) -> Vec<String> {
    SyntheticEvents::new(count as u64, &Kind::ALL, 1_760_000_000).take(count).collect()
}

/// What a frame says: its cursor, when it was received, and Mandrill's own text, byte for byte.
pub(crate) fn parts(frame: &str) -> (Cursor, u64, String) {
    let rest = frame.strip_prefix(r#"{"_cursor":""#).unwrap_or_else(|| panic!("an event, not {frame}"));
    let (cursor, rest) = rest.split_once(r#"","_received":"#).expect("a time");
    let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("more");
    let (received, members) = rest.split_at(digits);
    let members = members.strip_prefix(',').unwrap_or(members);
    (cursor.parse().expect("a cursor"), received.parse().expect("milliseconds"), format!("{{{members}"))
}

/// Reads as many events as are expected and checks that they are these, in this order.
pub(crate) async fn expect(client: &mut Client, expected: &[String]) {
    let mut last = 0;
    for (at, wanted) in expected.iter().enumerate() {
        let (cursor, received, text) = parts(&client.text().await);
        assert_eq!(&text, wanted, "event {at}");
        assert!(cursor.sequence > last, "sequences rise: {last}, {}", cursor.sequence);
        assert_eq!(cursor.stored_ms, received);
        last = cursor.sequence;
    }
}

/// Checks that nothing more comes for a moment.
pub(crate) async fn expect_silence(client: &mut Client) {
    if let Ok(frame) = tokio::time::timeout(Duration::from_millis(300), client.next()).await {
        panic!("unexpected: {frame:?}");
    }
}
