//! `mandrill-live tail` against a notifier and a real broker.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use async_nats::jetstream;
use notifier::Config;
use shared::settings::{Mistakes, Settings};
use shared::stream::{self, StreamSettings};
use shared::testing::broker::Broker;
use shared::testing::http::{self, get};
use shared::testing::{soon, until};
use shared::{event, serve, subject};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mandrill-live");

/// A notifier and what stores events for it.
struct Service {
    http: SocketAddr,
    context: jetstream::Context,
    stop: CancellationToken,
}

impl Service {
    async fn start(broker: &Broker, address: &str) -> Service {
        let context = jetstream::new(broker.client().await);
        let mut mistakes = Mistakes::default();
        let settings = StreamSettings::read(&[].into(), &mut mistakes).expect("settings");
        stream::ensure(&context, &settings).await.expect("a stream");
        let environment = broker.environment().or("ALLOW_ANONYMOUS", "true").or("DRAIN_SECONDS", "3");
        let config = Config::read(&environment).expect("a configuration");
        let public = serve::bind(address.parse().expect("an address"), "HTTP_ADDR").await.expect("a listener");
        let admin = serve::bind(([127, 0, 0, 1], 0).into(), "ADMIN_ADDR").await.expect("a listener");
        let (http, probes) = (public.local_addr().expect("it"), admin.local_addr().expect("it"));
        let stop = CancellationToken::new();
        tokio::spawn(notifier::run(config, public, admin, stop.clone()));
        until("it is ready", async || get(probes, "/readyz").await.status == 200).await;
        Service { http, context, stop }
    }

    async fn store(&self, text: &str) {
        let ack = self.context.publish(subject::of_event(&event::fields(text)), text.to_owned().into()).await;
        ack.expect("published").await.expect("stored");
    }
}

fn tail(service: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("tail").arg("--url").arg(format!("http://{service}/")).args(arguments);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A tail that runs, and its lines.
fn lines(mut command: Command) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command.stderr(Stdio::inherit()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    (child, lines)
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    soon("a line", lines.next_line()).await.expect("readable").expect("a line")
}

fn open(number: usize) -> String {
    format!(r#"{{"event":"open","_id":"m{number}","msg":{{"email":"a@example.com","state":"sent"}}}}"#)
}

async fn ended(mut command: Command) -> Output {
    soon("it ends", command.output()).await.expect("it ran")
}

#[tokio::test]
async fn events_are_lines_for_people_and_json_for_pipes() {
    let broker = Broker::start().await;
    let service = Service::start(&broker, "127.0.0.1:0").await;
    service.store(&open(1)).await;
    service.store(r#"{"event":"click","_id":"m2"}"#).await;
    let (_child, mut people) = lines(tail(service.http, &["--last", "10", "--event", "open"]));
    let shown = line(&mut people).await;
    assert!(shown.contains("open          sent          a@example.com"), "{shown}");
    let (_child, mut pipe) = lines(tail(service.http, &["--last", "10", "--json"]));
    let events = [line(&mut pipe).await, line(&mut pipe).await];
    for (shown, id) in events.iter().zip(["m1", "m2"]) {
        let value: serde_json::Value = serde_json::from_str(shown).expect("a line of JSON");
        assert_eq!(value["_id"], id);
    }
    let cursor = serde_json::from_str::<serde_json::Value>(&events[0]).expect("JSON")["_cursor"].clone();
    let (_child, mut since) = lines(tail(service.http, &["--json", "--since", cursor.as_str().expect("a cursor")]));
    assert_eq!(line(&mut since).await, events[1]);
}

#[tokio::test]
async fn a_script_waits_for_one_event_or_until_its_patience_ends() {
    let broker = Broker::start().await;
    let service = Service::start(&broker, "127.0.0.1:0").await;
    service.store(&open(1)).await;
    let found = tail(service.http, &["--last", "9", "--until", "event=open", "--until", "email=a@example.com"]);
    assert_eq!(ended(found).await.status.code(), Some(0));
    let never = tail(service.http, &["--last", "9", "--until", "event=delivered", "--timeout", "500ms"]);
    let never = ended(never).await;
    assert_eq!(never.status.code(), Some(1), "{}", String::from_utf8_lossy(&never.stderr));
    assert!(String::from_utf8_lossy(&never.stdout).contains("m1"), "what comes meanwhile is shown");
    let wrong = ended(tail(service.http, &["--since", "yesterday"])).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not a cursor"), "{wrong:?}");
}

#[tokio::test]
async fn it_comes_back_by_itself_and_misses_nothing() {
    let broker = Broker::start().await;
    let first = Service::start(&broker, "127.0.0.1:0").await;
    let (_child, mut shown) = lines(tail(first.http, &["--json", "--last", "9"]));
    first.store(&open(1)).await;
    assert!(line(&mut shown).await.contains("m1"));
    first.stop.cancel();
    until("it has stopped", async || tokio::net::TcpStream::connect(first.http).await.is_err()).await;
    first.store(&open(2)).await;
    let second = Service::start(&broker, &first.http.to_string()).await;
    second.store(&open(3)).await;
    assert!(line(&mut shown).await.contains("m2"));
    assert!(line(&mut shown).await.contains("m3"));
}

#[tokio::test]
async fn events_are_forwarded_as_mandrill_sends_them() {
    let broker = Broker::start().await;
    let service = Service::start(&broker, "127.0.0.1:0").await;
    let receiver = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let url = format!("http://{}/hook", receiver.local_addr().expect("an address"));
    let (_child, _shown) = lines(tail(service.http, &["--last", "9", "--forward", &url, "--key", http::WEBHOOK.key]));
    service.store(&open(1)).await;
    let (mut connection, _) = soon("a request", receiver.accept()).await.expect("a connection");
    let mut request = Vec::new();
    let body = shared::synthetic::Request::new(
        &[open(1)],
        Some(shared::synthetic::Signing { key: http::WEBHOOK.key, url: &url }),
    );
    soon("the whole request", async {
        while !request.ends_with(body.body.as_bytes()) {
            assert!(connection.read_buf(&mut request).await.expect("readable") > 0, "all of it");
        }
    })
    .await;
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let signature = body.signature.expect("signed").to_ascii_lowercase();
    assert!(head.contains(&format!("x-mandrill-signature: {signature}")), "{head}");
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("answered");
}
