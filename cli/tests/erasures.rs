//! `mandrill-live erasures`: what outlives the broker of an erasure, and that it is enough.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use notifier::erasures::Record;
use shared::settings::{Environment, Mistakes, Settings as _};
use shared::stream::{self, StreamSettings};
use shared::subject::RecipientHash;
use shared::testing::broker::Broker;
use shared::testing::http::{Answer, send};
use shared::testing::process::Process;
use shared::testing::{soon, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mandrill-live");
const ANN: &str = "ann.of.all@example.com";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Both services beside a broker, with their log in a file.
async fn up(broker: &Broker, log: &std::path::Path, format: &str) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("up").stdout(Stdio::null()).stderr(File::create(log).expect("a log"));
    let url = broker.url();
    let variables = [
        ("NATS_URL", url.as_str()),
        ("ALLOW_ANONYMOUS", "true"),
        ("ALLOW_UNSIGNED", "true"),
        ("RUST_LOG", "info"),
        ("LOG_FORMAT", format),
        ("DRAIN_SECONDS", "1"),
    ];
    Process::start(command, &variables).await
}

/// A request under the name that the services have here.
async fn ask(services: &Process, method: &str, path: &str, body: &[u8]) -> Answer {
    let host = services.address.to_string();
    send(services.address, method, path, &[("Host", &host), JSON], body).await
}

/// Stores events of hers.
async fn store(services: &Process, ids: &[&str]) {
    let event = |id: &&str| format!(r#"{{"event":"open","_id":"{id}","msg":{{"email":"{ANN}"}}}}"#);
    let events: Vec<String> = ids.iter().map(event).collect();
    let body = format!(r#"{{"mandrill_events":[{}]}}"#, events.join(","));
    let answer = ask(services, "POST", "/api/hook/", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &ids.len().into()));
}

/// The ids of her events.
async fn ids(services: &Process) -> Vec<String> {
    let page = ask(services, "GET", &format!("/api/recipients/{ANN}"), b"").await.json();
    let events = page["events"].as_array().expect("events").iter();
    events.filter_map(|event| Some(event["_id"].as_str()?.to_owned())).collect()
}

async fn erase(services: &Process) -> u64 {
    let body = format!(r#"{{"email":"{ANN}"}}"#);
    let answer = ask(services, "POST", "/api/erasures", body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    answer.json()["erased"].as_u64().expect("a number")
}

async fn run(environment: &Environment, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_clear().arg("erasures").args(arguments);
    for name in ["NATS_URL", "NATS_USER", "NATS_PASSWORD", "STREAM_NAME"] {
        command.envs(environment.get(name).map(|value| (name, value)));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_vec();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("it starts");
        // It may end without having read it.
        let _ = child.stdin.take().expect("its input").write_all(&input);
        child.wait_with_output().expect("it ends")
    });
    soon("it ends", ended).await.expect("no panic")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_notifier_logs_of_an_erasure_is_enough_to_apply_it_again_and_names_nobody() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = ["lost", "restored"].map(|name| folder.path().join(name));
        // What is restored later has her events from before she was erased.
        let restored = Broker::start().await;
        let services = up(&restored, &logs[1], format).await;
        store(&services, &["a1", "a2"]).await;
        let broker = Broker::start().await;
        let lost = up(&broker, &logs[0], format).await;
        store(&lost, &["a1", "a2", "a3"]).await;
        assert_eq!(erase(&lost).await, 3);
        let list = run(&broker.environment(), &["list"], b"").await;
        assert!(list.status.success(), "{}", text(&list.stderr));
        drop((lost, broker));

        // She comes back, and then the erasure is applied again.
        store(&services, &["later"]).await;
        let log = std::fs::read_to_string(&logs[0]).expect("a log");
        assert!(log.contains("a person's events were erased"), "{log}");
        assert!(!log.contains("ann.of.all") && !text(&list.stdout).contains('@'), "{log}");
        let path = logs[0].to_str().expect("a path");
        let applied = run(&restored.environment(), &["apply", path], b"").await;
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        let said = text(&applied.stdout);
        assert!(said.contains("applied again, 2 events taken away") && said.lines().count() == 1, "{format}: {said}");
        assert_eq!(ids(&services).await, ["later"]);

        // The list says the same, and both together too.
        let applied = run(&restored.environment(), &["apply", path, "-"], &list.stdout).await;
        assert_eq!(text(&applied.stdout).trim_end(), said.replace("applied again, 2", "was known, 0").trim_end());
        let listed = run(&restored.environment(), &["list"], b"").await;
        assert_eq!(text(&listed.stdout), text(&list.stdout));
        assert_eq!(ids(&services).await, ["later"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_notifier_writes_down_whom_it_was_told_to_forget_also_where_another_one_was_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start().await;
    let (asked, told) = (folder.path().join("asked"), folder.path().join("told"));
    let services = [up(&broker, &asked, "text").await, up(&broker, &told, "json").await];
    store(&services[0], &["a1"]).await;
    assert_eq!(erase(&services[0]).await, 1);
    for log in [asked, told] {
        let records = || {
            let log = std::fs::read_to_string(&log).expect("a log");
            log.lines().filter_map(Record::read).collect::<Vec<_>>()
        };
        until("it is written down", async || !records().is_empty()).await;
        assert_eq!(records()[0].recipient, RecipientHash::of(ANN));
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_said_and_nothing_is_done() {
    let broker = Broker::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("some.log");
    std::fs::write(&empty, "2026-01-01T00:00:00Z  INFO notifier: the feed is live\n").expect("a file");
    let empty = empty.to_str().expect("a path");
    let record = br#"{"recipient":"b4c9a289323b21a0","erased_at":"2025-10-09T08:53:20.123Z"}"#;
    let here = broker.environment();
    let nowhere = Environment::from([("NATS_URL", "nats://127.0.0.1:1")]);
    // There is a stream, and whoever asks may not erase.
    let other = Broker::start().await;
    let settings = StreamSettings::read(&Environment::default(), &mut Mistakes::default()).expect("settings");
    stream::ensure(&async_nats::jetstream::new(other.client().await), &settings).await.expect("a stream");
    let signed_in = other.environment().or("NATS_USER", "notifier").or("NATS_PASSWORD", "x");
    for (environment, arguments, code, word) in [
        (&here, &["apply", "/no/such/file"][..], 1, "cannot read /no/such/file"),
        (&here, &["apply", empty], 1, "there is no erasure in what was given"),
        (&here, &["apply", "-"], 1, "stream MANDRILL does not exist"),
        (&here, &["list"], 1, "stream MANDRILL does not exist"),
        (&nowhere, &["list"], 1, "127.0.0.1:1: nothing listens there"),
        (&signed_in, &["apply", "-"], 1, "NATS_ERASE_USER"),
        (&here, &["apply"], 2, "FILE"),
        (&Environment::from([("STREAM_NAME", "a b")]), &["list"], 64, "STREAM_NAME"),
    ] {
        let output = run(environment, arguments, record).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
