//! A running ingest beside a broker, and what the stream holds.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use ingest::Config;
use shared::settings::Environment;
use shared::testing::broker::Broker;
use shared::testing::http::{self, Answer, WEBHOOK};
use shared::testing::{soon, until};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One ingest, stopped with its handle.
pub struct Ingest {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub stop: CancellationToken,
    pub running: JoinHandle<()>,
}

/// With the webhook that most tests use.
pub fn signed(broker: &Broker) -> Environment {
    broker.environment().or("MANDRILL_WEBHOOK_URLS", WEBHOOK.url).or("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key)
}

/// Without keys, in development.
pub fn unsigned(broker: &Broker) -> Environment {
    broker.environment().or("ALLOW_UNSIGNED", "true")
}

impl Ingest {
    /// Starts it and waits until it is ready.
    pub async fn start(environment: Environment) -> Ingest {
        let ingest = Ingest::start_unready(environment).await;
        ingest.ready().await;
        ingest
    }

    /// Starts it only.
    pub async fn start_unready(environment: Environment) -> Ingest {
        let config = Config::read(&environment).expect("settings");
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (public, private) = (bind().await, bind().await);
        let (address, admin) = (public.local_addr().expect("bound"), private.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let running = tokio::spawn(async move {
            ingest::run(config, public, private, stopping).await.expect("it runs");
        });
        Ingest { address, admin, stop, running }
    }

    pub async fn ready(&self) {
        until("ingest is ready", async || self.is_ready().await).await;
    }

    pub async fn is_ready(&self) -> bool {
        http::get(self.admin, "/readyz").await.status == 200
    }

    pub async fn metrics(&self) -> String {
        String::from_utf8(http::get(self.admin, "/metrics").await.body).expect("text")
    }

    /// Posts a signed batch until it is taken, as Mandrill does.
    pub async fn post_until_taken(&self, batch: &str) -> Answer {
        soon("the batch is taken", async {
            loop {
                let answer = WEBHOOK.post(self.address, batch).await;
                if answer.status == 200 {
                    return answer;
                }
                assert_eq!(answer.status, 503, "{}", answer.head);
                assert!(answer.header("retry-after").is_some());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is stored, in order: subject, headers, payload.
pub struct Stored {
    pub subject: String,
    pub headers: async_nats::HeaderMap,
    pub payload: String,
}

/// Everything in a stream.
pub async fn stored(broker: &Broker, stream: &str) -> Vec<Stored> {
    let context = jetstream::new(broker.client().await);
    let stream = context.get_stream(stream).await.expect("the stream");
    let mut left = stream.cached_info().state.messages;
    if left == 0 {
        return Vec::new();
    }
    // A cluster that lost a server may have a leader for the stream and none yet for what makes consumers.
    let mut made = None;
    until("a consumer is made", async || {
        made = stream.create_consumer(consumer::pull::OrderedConfig::default()).await.ok();
        made.is_some()
    })
    .await;
    let mut messages = made.expect("a consumer").messages().await.expect("messages");
    let mut all = Vec::new();
    while left > 0 {
        let message = soon("a stored message", messages.next()).await.expect("a message").expect("a message");
        left = message.info().expect("its place").pending;
        all.push(Stored {
            subject: message.subject.to_string(),
            headers: message.headers.clone().unwrap_or_default(),
            payload: String::from_utf8_lossy(&message.payload).into_owned(),
        });
    }
    all
}

/// The events' payloads, in order.
pub async fn events(broker: &Broker) -> Vec<String> {
    stored(broker, "MANDRILL").await.into_iter().map(|message| message.payload).collect()
}

/// A batch of `count` different events of one sort.
pub fn batch(sort: &str, count: usize) -> String {
    let events: Vec<String> = (0..count)
        .map(|n| format!(r#"{{"event":"open","_id":"{sort}{n}","msg":{{"email":"{sort}@example.com"}},"ts":{n}}}"#))
        .collect();
    format!("[{}]", events.join(","))
}

/// The three counts of an accepted answer.
pub fn counts(answer: &Answer) -> (u64, u64, u64) {
    assert_eq!(answer.status, 200, "{} {}", answer.head, String::from_utf8_lossy(&answer.body));
    let json = answer.json();
    let count = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"));
    (count("accepted"), count("duplicates"), count("rejected"))
}
