//! `mandrill-live rejected` with what a real ingest has kept on a real broker.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::io::Write;
use std::net::SocketAddr;
use std::process::Output;

use async_nats::jetstream;
use ingest::Config;
use shared::settings::Environment;
use shared::signature::sign;
use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::{soon, until};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const GARBAGE: &str = "GARBAGE \r\n \u{1b}[31m";
const NOT_JSON: &str = "the value is not JSON (from byte 0 on)";

/// A broker, and an ingest that has something to reject.
struct Service {
    broker: Broker,
    hook: SocketAddr,
    context: jetstream::Context,
    stop: CancellationToken,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Service {
    async fn start() -> Service {
        let broker = Broker::start().await;
        let environment =
            broker.environment().or("MANDRILL_WEBHOOK_URLS", WEBHOOK.url).or("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key);
        let config = Config::read(&environment).expect("settings");
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (public, private) = (bind().await, bind().await);
        let (hook, admin) = (public.local_addr().expect("bound"), private.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        tokio::spawn(ingest::run(config, public, private, stop.clone()));
        until("ingest is ready", async || http::get(admin, "/readyz").await.status == 200).await;
        let context = jetstream::new(broker.client().await);
        Service { broker, hook, context, stop }
    }

    /// Posts a value that is authentic and (in part) of no use.
    async fn reject(&self, value: &str) {
        let answer = WEBHOOK.post(self.hook, value).await;
        assert_eq!((answer.status, &answer.json()["rejected"]), (200, &1.into()), "{value:.80}");
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        rejected(&self.broker.environment(), arguments).await
    }

    async fn messages(&self, stream: &str) -> u64 {
        self.context.get_stream(stream).await.expect("the stream").cached_info().state.messages
    }

    /// How many events are stored, and how many messages are still rejected.
    async fn state(&self) -> (u64, u64) {
        (self.messages("MANDRILL").await, self.messages("MANDRILL_REJECTED").await)
    }

    async fn last_event(&self) -> (String, String) {
        let stream = self.context.get_stream("MANDRILL").await.expect("the stream");
        let sequence = stream.cached_info().state.last_sequence;
        let message = stream.get_raw_message(sequence).await.expect("an event");
        (message.subject.to_string(), text(&message.payload))
    }
}

/// Runs the program with no variable of this process.
async fn rejected(environment: &Environment, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mandrill-live"));
    command.env_clear().arg("rejected").args(arguments).kill_on_drop(true);
    command.env("NATS_URL", environment.get("NATS_URL").expect("a broker"));
    soon("it ends", command.output()).await.expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_ended(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{} {}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test]
async fn the_list_says_when_how_much_and_why_but_never_what() {
    let service = Service::start().await;
    let nothing = service.run(&["list"]).await;
    assert_ended(&nothing, 0);
    assert_eq!(
        (text(&nothing.stdout), text(&nothing.stderr)),
        (String::new(), "nothing has been rejected\n".to_owned())
    );

    service.reject(GARBAGE).await;
    service.reject(&format!(r#"[{{"event":"open"}},"{}"]"#, "secret".repeat(200))).await;
    let list = service.run(&["list"]).await;
    assert_ended(&list, 0);
    let lines: Vec<String> = text(&list.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("1  2") && lines[0].ends_with(&format!("Z    16  {NOT_JSON}")), "{lines:?}");
    assert!(lines[1].ends_with("Z  1202  element 1 of the array is not an object"), "{lines:?}");
    assert!(!text(&list.stdout).contains("GARBAGE") && !text(&list.stdout).contains("secret"));

    let json = service.run(&["list", "--json"]).await;
    let lines = text(&json.stdout);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["sequence"], &first["bytes"], &first["reason"]), (&1.into(), &16.into(), &NOT_JSON.into()));
}

#[tokio::test]
async fn content_is_shown_byte_for_byte_wherever_it_is_kept() {
    let service = Service::start().await;
    let large = "x".repeat(1 << 20);
    service.reject(GARBAGE).await;
    service.reject(&large).await;
    for (sequence, content) in [("1", GARBAGE), ("2", &large)] {
        let shown = service.run(&["show", sequence]).await;
        assert_ended(&shown, 0);
        assert!(shown.stdout == content.as_bytes(), "message {sequence}");
        let known = text(&shown.stderr);
        assert!(known.contains(&format!("bytes     {}\nreason    {NOT_JSON}\n", content.len())), "{known}");
    }
    let list = text(&service.run(&["list"]).await.stdout);
    assert!(list.lines().last().expect("two lines").contains("Z  1048576  "), "{list}");

    let none = service.run(&["show", "3"]).await;
    assert_ended(&none, 1);
    assert_eq!(text(&none.stderr), "mandrill-live rejected: there is no rejected message 3\n");
}

#[tokio::test]
async fn what_is_a_batch_now_is_stored_and_what_is_not_stays_and_says_why() {
    let service = Service::start().await;
    service.reject(GARBAGE).await;
    // An event without its array, and an array in an array.
    service.reject(r#"{"event":"click","_id":"c1"}"#).await;
    service.reject(r#"[[{"event":"open","_id":"o1"},{"event":"open","_id":"o2"}]]"#).await;
    assert_eq!(service.state().await, (0, 3));

    let all = service.run(&["redrive", "--all"]).await;
    assert_ended(&all, 1);
    assert_eq!(text(&all.stdout), "2: 1 event stored\n3: 2 events stored\n");
    assert_eq!(text(&all.stderr), "1: left where it is: neither JSON nor a form with the field mandrill_events\n");
    assert_eq!(service.state().await, (3, 1));
    assert_eq!(
        service.last_event().await,
        ("mandrill.events.open.none.o2".to_owned(), r#"{"event":"open","_id":"o2"}"#.to_owned())
    );
}

#[tokio::test]
async fn a_form_whose_field_had_another_name_is_put_right_in_a_file() {
    let service = Service::start().await;
    let (body, wrong) = ("mandrill_event=%5B%7B%7D%5D", [(&b"mandrill_event"[..], &b"[{}]"[..])]);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Mandrill-Signature", &sign(WEBHOOK.key, WEBHOOK.url, &wrong)),
    ];
    let answer = http::send(service.hook, "POST", "/api/hook/", &headers, body.as_bytes()).await;
    assert_eq!(answer.json()["rejected"], 1);
    assert_eq!(text(&service.run(&["show", "1"]).await.stdout), body);
    assert_ended(&service.run(&["redrive", "1"]).await, 1);

    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(body.replace("mandrill_event=", "mandrill_events=").as_bytes()).expect("written");
    let path = file.path().to_str().expect("a path");
    for arguments in [&["redrive", "1", "2", "--file", path][..], &["redrive", "1", "--file", "/nowhere"]] {
        assert_ended(&service.run(arguments).await, 1);
    }
    assert_eq!(service.state().await, (0, 1));
    let fixed = service.run(&["redrive", "1", "--file", path]).await;
    assert_ended(&fixed, 0);
    assert_eq!(text(&fixed.stdout), "1: 1 event stored\n");
    assert_eq!(service.state().await, (1, 0));
}

#[tokio::test]
async fn a_large_event_goes_to_the_object_store_as_ingest_would_put_it() {
    let service = Service::start().await;
    let event = format!(r#"{{"event":"inbound","msg":{{"raw_msg":"{}"}}}}"#, "x".repeat(1 << 20));
    service.reject(&event).await;
    assert_ended(&service.run(&["redrive", "1"]).await, 0);
    let (subject, short) = service.last_event().await;
    assert_eq!(subject, "mandrill.events.inbound.none.none");
    let short: serde_json::Value = serde_json::from_str(&short).expect("JSON");
    assert_eq!(short["_large"]["bytes"], event.len());
    assert_eq!(service.state().await, (1, 0));
}

#[tokio::test]
async fn events_that_the_stream_has_are_known_and_not_stored_twice() {
    let service = Service::start().await;
    service.reject(r#"[[{"event":"open","_id":"o1"},{"event":"open","_id":"o2"}]]"#).await;
    WEBHOOK.post(service.hook, r#"[{"event":"open","_id":"o1"}]"#).await;
    let output = service.run(&["redrive", "1"]).await;
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "1: 1 event stored, 1 event known already\n");
    assert_eq!(service.state().await, (2, 0));
}

#[tokio::test]
async fn nothing_is_deleted_before_every_event_is_stored() {
    let service = Service::start().await;
    service.reject(&format!(r#"[[{{"a":1}},{{"b":"{}"}}]]"#, "x".repeat(500))).await;
    let stream = service.context.get_stream("MANDRILL").await.expect("the stream");
    let mut config = stream.cached_info().config.clone();
    config.max_message_size = 400;
    service.context.update_stream(&config).await.expect("a stream that takes less");
    let output = service.run(&["redrive", "1"]).await;
    assert_ended(&output, 1);
    assert!(text(&output.stderr).starts_with("1: left where it is: not all of it could be stored: "), "{output:?}");
    assert_eq!(service.state().await, (1, 1));

    config.max_message_size = -1;
    service.context.update_stream(&config).await.expect("a stream as it was");
    let output = service.run(&["redrive", "1"]).await;
    assert_eq!(text(&output.stdout), "1: 1 event stored, 1 event known already\n");
    assert_eq!(service.state().await, (2, 0));
}

#[tokio::test]
async fn where_there_is_no_broker_or_no_stream_it_says_what_to_set() {
    let away = rejected(&[("NATS_URL", "nats://127.0.0.1:1")].into(), &["list"]).await;
    assert_ended(&away, 1);
    let told = text(&away.stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("127.0.0.1:1") && told.contains("set NATS_URL"), "{told}");
    let mistaken = rejected(&[("NATS_URL", "nats://me:hush@127.0.0.1:1")].into(), &["list"]).await;
    assert_ended(&mistaken, 64);
    assert!(!text(&mistaken.stderr).contains("hush"), "{mistaken:?}");

    let broker = Broker::start().await;
    let empty = rejected(&broker.environment(), &["list"]).await;
    assert_ended(&empty, 1);
    assert!(text(&empty.stderr).contains("no stream MANDRILL_REJECTED"), "{empty:?}");
    assert_ended(&rejected(&broker.environment(), &["redrive"]).await, 2);
}
