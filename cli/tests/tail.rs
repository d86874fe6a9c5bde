//! `mandrill-live tail` against a notifier and a real broker.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use notifier::Config;
use shared::settings::{Mistakes, Settings};
use shared::stream::{self, StreamSettings};
use shared::testing::broker::Broker;
use shared::testing::http::{self, get};
use shared::testing::{port, soon, until};
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
        Service::with(broker, address, &[("ALLOW_ANONYMOUS", "true")]).await
    }

    async fn with(broker: &Broker, address: &str, variables: &[(&str, &str)]) -> Service {
        let context = jetstream::new(broker.client().await);
        let mut mistakes = Mistakes::default();
        let settings = StreamSettings::read(&[].into(), &mut mistakes).expect("settings");
        stream::ensure(&context, &settings).await.expect("a stream");
        let environment = broker.environment().or("DRAIN_SECONDS", "3");
        let environment = variables.iter().fold(environment, |all, (name, value)| all.or(name, value));
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
    let first = Service::start(&broker, &format!("127.0.0.1:{}", port::free())).await;
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

const SECRET: &str = "a secret of the tests of thirty-two bytes and more";

/// What `mandrill-live token` prints.
async fn token(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("token").args(arguments).env_clear().envs(variables.iter().copied());
    soon("a token", command.output()).await.expect("it ran")
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).expect("text").trim().to_owned()
}

#[tokio::test]
async fn a_token_from_the_command_line_shows_what_it_allows() {
    let broker = Broker::start().await;
    let variables = [("JWT_SECRET", SECRET), ("JWT_ISSUER", "me"), ("JWT_AUDIENCE", "you")];
    let service = Service::with(&broker, "127.0.0.1:0", &variables).await;
    service.store(r#"{"event":"open","n":1,"msg":{"subaccount":"shop"}}"#).await;
    service.store(r#"{"event":"open","n":2,"msg":{"subaccount":"club"}}"#).await;
    service.store(r#"{"event":"click","n":3,"msg":{"subaccount":"club"}}"#).await;

    let arguments = ["--filter", "subaccount=club", "--filter", "event=open,send", "--ttl", "5m", "--sub", "ann"];
    let made = token(&variables, &arguments).await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made = text(&made.stdout);
    let arguments = ["--last", "10", "--json", "--until", "event=open"];
    let mut command = tail(service.http, &arguments);
    command.env("MANDRILL_LIVE_TOKEN", &made);
    let output = soon("the event", command.output()).await.expect("it ran");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(r#""n":2"#) && text(&output.stdout).lines().count() == 1);

    // The same from a file, as a mounted secret has it.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{made}\n")).expect("written");
    let mut command = tail(service.http, &arguments);
    command.env("MANDRILL_LIVE_TOKEN_FILE", file.path());
    assert_eq!(soon("the event", command.output()).await.expect("it ran").status.code(), Some(0));

    // Without one it says why, and does not try again.
    let output = soon("a refusal", tail(service.http, &arguments).output()).await.expect("it ran");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("401 Unauthorized: send a token"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_tail_goes_on_with_the_newer_token_in_its_file_and_ends_without_one() {
    let broker = Broker::start().await;
    let variables = [("JWT_SECRET", SECRET)];
    let service = Service::with(&broker, "127.0.0.1:0", &variables).await;
    let make = async |ttl: &str| text(&token(&variables, &["--ttl", ttl]).await.stdout);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), make("4s").await).expect("written");
    let first_ends = Instant::now() + Duration::from_secs(4);
    let mut command = tail(service.http, &["--json", "--last", "0"]);
    command.env("MANDRILL_LIVE_TOKEN_FILE", file.path());
    let mut child = command.spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let until_it_shows = async |lines: &mut Lines<BufReader<ChildStdout>>, number: u32| {
        // The tail may still be on its way: what is stored now comes at the latest with what comes next.
        loop {
            service.store(&format!(r#"{{"event":"open","n":{number}}}"#)).await;
            let line = tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await;
            if let Ok(line) = line {
                let line = line.expect("readable").expect("a line");
                if line.contains(&format!(r#""n":{number}}}"#)) {
                    return;
                }
            }
        }
    };
    soon("the first token's events", until_it_shows(&mut lines, 1)).await;
    // Good for the next connection, which is due when the first one's token ends, and for two seconds then.
    std::fs::write(file.path(), make("8s").await).expect("written");
    let (mut number, mut after_first) = (1, None);
    let status = soon("both tokens have ended", async {
        loop {
            number += 1;
            if Instant::now() > first_ends {
                after_first.get_or_insert(number);
            }
            service.store(&format!(r#"{{"event":"open","n":{number}}}"#)).await;
            if let Some(status) = child.try_wait().expect("its state") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!(status.code(), Some(2));
    let mut stderr = String::new();
    child.stderr.take().expect("its errors").read_to_string(&mut stderr).await.expect("text");
    assert!(stderr.contains("the token has expired"), "{stderr}");
    let (mut last, after_first) = (0, after_first.expect("the first token ended before the second"));
    while let Ok(Some(line)) = lines.next_line().await {
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        last = event["n"].as_u64().expect("a number");
    }
    assert!(last >= after_first, "{last} was the last, and the first token ended before {after_first}");
}

#[tokio::test]
async fn a_token_that_the_service_would_refuse_is_not_made() {
    let refused = async |variables: &[(&str, &str)], arguments: &[&str], why: &str| {
        let output = token(variables, arguments).await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("hush"), "{}", text(&output.stderr));
    };
    let with = [("JWT_SECRET", SECRET)];
    refused(&[], &[], "JWT_SECRET is not set").await;
    refused(&[("JWT_SECRET", "hush")], &[], "JWT_SECRET").await;
    refused(&with, &["--filter", "colour=red"], "colour").await;
    refused(&with, &["--filter", "event="], "event").await;
    refused(&with, &["--filter", "event"], "subaccount=shop").await;
    refused(&with, &["--scope", "events:write"], "events:read").await;
    refused(&with, &["--ttl", "0s"], "a second").await;
}
