//! The broker's users, as compose.yaml and the Kubernetes manifests have them: each does its work with the
//! rights it has there, and has no others.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::process::Output;

use async_nats::jetstream;
use futures_util::StreamExt;
use ingest::setup::{self, SetupConfig};
use shared::broker::{Broker as Connection, BrokerSettings, Role};
use shared::settings::{Environment, Mistakes, Settings};
use shared::testing::broker::{Broker, password};
use shared::testing::http::{self, WEBHOOK};
use shared::testing::websocket::Client;
use shared::testing::{soon, until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const USERS: [&str; 7] = ["ingest", "notifier", "setup", "erase", "rejected", "backup", "restore"];

/// What may be published, and by whom. Everything that JetStream can be asked is a publish.
const PUBLISH: [(&str, &[&str]); 43] = [
    // Writing.
    ("mandrill.events.open.0123456789abcdef.a", &["ingest", "rejected"]),
    ("mandrill.rejected", &["ingest"]),
    ("mandrill.status.ingest", &["ingest"]),
    ("mandrill.erasures.0123456789abcdef", &["erase"]),
    ("$O.MANDRILL_LARGE.C.x", &["ingest", "rejected"]),
    ("$O.MANDRILL_LARGE.M.x", &["ingest", "erase", "rejected"]),
    ("$O.OTHER.C.x", &[]),
    ("other", &[]),
    // Reading.
    ("$JS.API.DIRECT.GET.MANDRILL", &["notifier"]),
    ("$JS.API.DIRECT.GET.MANDRILL.mandrill.events.open.a.b", &["notifier"]),
    ("$JS.API.STREAM.MSG.GET.MANDRILL", &["notifier"]),
    ("$JS.API.STREAM.MSG.GET.OBJ_MANDRILL_LARGE", &["notifier"]),
    ("$JS.API.STREAM.MSG.GET.MANDRILL_REJECTED", &["rejected"]),
    ("$JS.API.DIRECT.GET.MANDRILL_REJECTED", &[]),
    ("$JS.API.DIRECT.GET.OBJ_MANDRILL_LARGE.$O.MANDRILL_LARGE.C.x", &["notifier", "rejected"]),
    ("$JS.API.CONSUMER.CREATE.MANDRILL.x", &["notifier"]),
    ("$JS.API.CONSUMER.CREATE.MANDRILL_REJECTED", &["rejected"]),
    ("$JS.API.CONSUMER.CREATE.MANDRILL_REJECTED.x", &[]),
    ("$JS.API.CONSUMER.DURABLE.CREATE.MANDRILL.x", &[]),
    ("$JS.API.CONSUMER.CREATE.OBJ_MANDRILL_LARGE.x", &[]),
    ("$JS.API.CONSUMER.MSG.NEXT.MANDRILL.x", &[]),
    ("$JS.FC.MANDRILL.x.y", &["notifier"]),
    ("$JS.ACK.MANDRILL.x.1.1.1.1.0", &[]),
    // Others' consumers.
    ("$JS.API.CONSUMER.DELETE.MANDRILL.x", &[]),
    ("$JS.API.CONSUMER.PAUSE.MANDRILL.x", &[]),
    ("$JS.API.CONSUMER.NAMES.MANDRILL", &[]),
    ("$JS.API.CONSUMER.DELETE.MANDRILL_REJECTED.x", &["rejected"]),
    // Taking away.
    ("$JS.API.STREAM.PURGE.MANDRILL", &["erase"]),
    ("$JS.API.STREAM.PURGE.MANDRILL_REJECTED", &[]),
    ("$JS.API.STREAM.PURGE.OBJ_MANDRILL_LARGE", &["erase"]),
    ("$JS.API.STREAM.MSG.DELETE.MANDRILL", &[]),
    ("$JS.API.STREAM.MSG.DELETE.MANDRILL_REJECTED", &["rejected"]),
    ("$JS.API.STREAM.DELETE.MANDRILL", &["restore"]),
    ("$JS.API.STREAM.DELETE.OBJ_MANDRILL_LARGE", &["restore"]),
    ("$JS.API.STREAM.DELETE.MANDRILL_REJECTED", &[]),
    // The streams themselves.
    ("$JS.API.STREAM.CREATE.MANDRILL", &["setup"]),
    ("$JS.API.STREAM.UPDATE.MANDRILL", &["setup"]),
    ("$JS.API.STREAM.CREATE.OTHER", &[]),
    ("$JS.API.STREAM.SNAPSHOT.MANDRILL", &["backup"]),
    ("$JS.API.STREAM.RESTORE.MANDRILL", &["restore"]),
    ("$JS.API.STREAM.RESTORE.OTHER", &[]),
    ("$JS.API.STREAM.NAMES", &["backup"]),
    ("$JS.API.META.LEADER.STEPDOWN", &[]),
];

/// What may be listened to, and by whom. Listening beside the stream would be reading it without being asked.
const SUBSCRIBE: [(&str, &[&str]); 11] = [
    (">", &[]),
    ("mandrill.>", &[]),
    ("mandrill.events.>", &[]),
    ("mandrill.rejected", &[]),
    ("mandrill.status.ingest", &["notifier"]),
    ("$JS.API.>", &[]),
    ("_INBOX.>", &[]),
    ("_INBOX.ingest.a.*", &["ingest"]),
    ("_INBOX.notifier.a", &["notifier"]),
    ("_INBOX.setup.a", &["setup"]),
    ("_INBOX.erase.a", &["erase"]),
];

/// A connection as a user, in the broker's own protocol.
struct Wire(BufReader<TcpStream>);

impl Wire {
    async fn open(broker: &Broker, user: &str) -> Wire {
        let stream = TcpStream::connect(broker.address()).await.expect("a connection");
        let mut wire = Wire(BufReader::new(stream));
        let options = serde_json::json!({"user": user, "pass": password(user), "verbose": false, "headers": true});
        let refused = wire.ask(&format!("CONNECT {options}\r\n")).await;
        assert!(refused.is_none(), "{user}: {refused:?}");
        wire
    }

    /// Sends a command; the error that the broker answers with, if it does.
    async fn ask(&mut self, command: &str) -> Option<String> {
        self.0.write_all(format!("{command}PING\r\n").as_bytes()).await.expect("sent");
        let mut error = None;
        loop {
            let mut line = String::new();
            let read = soon("an answer", self.0.read_line(&mut line)).await.expect("a line");
            assert!(read > 0, "the broker closed: {error:?}");
            match line.split_whitespace().next() {
                Some("PONG") => return error,
                Some("-ERR") => error = Some(line),
                _ => {}
            }
        }
    }
}

/// Every user that is allowed and should not be, or the other way round.
async fn compare(broker: &Broker, rights: &[(&str, &[&str])], command: impl Fn(&str) -> String) -> Vec<String> {
    let mut wrong = Vec::new();
    for user in USERS {
        let mut wire = Wire::open(broker, user).await;
        for (subject, allowed) in rights {
            let answer = wire.ask(&command(subject)).await;
            if let Some(error) = &answer {
                assert!(error.contains("Permissions Violation"), "{user}, {subject}: {error}");
            }
            if answer.is_none() != allowed.contains(&user) {
                wrong.push(format!("{user} {} {subject}", if answer.is_none() { "may" } else { "may not" }));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn each_user_may_publish_what_its_work_needs_and_nothing_else() {
    let broker = Broker::with_accounts().await;
    let wrong = compare(&broker, &PUBLISH, |subject| format!("PUB {subject} 0\r\n\r\n")).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn each_user_may_listen_to_its_own_answers_and_nothing_else() {
    let broker = Broker::with_accounts().await;
    let wrong = compare(&broker, &SUBSCRIBE, |subject| format!("SUB {subject} 1\r\nUNSUB 1\r\n")).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn without_a_password_nobody_gets_in() {
    let broker = Broker::with_accounts().await;
    for (user, pass) in [("ingest", "wrong"), ("nobody", "1e5-ingest"), ("", "")] {
        let refused = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), pass.to_owned())
            .connect(broker.url())
            .await;
        assert!(refused.is_err(), "{user:?}");
    }
}

/// The services beside a secured broker, each as its own user.
struct Secured {
    broker: Broker,
    stop: CancellationToken,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Secured {
    /// With streams made by the user that may.
    async fn start() -> Secured {
        let secured = Secured { broker: Broker::with_accounts().await, stop: CancellationToken::new() };
        setup::setup(&secured.setup_config()).await.expect("the streams");
        secured
    }

    fn setup_config(&self) -> SetupConfig {
        SetupConfig::read(&self.broker.environment_of("setup")).expect("settings")
    }

    /// Where ingest listens.
    async fn ingest(&self) -> SocketAddr {
        let environment = self.broker.environment_of("ingest").or("MANAGE_STREAM", "false");
        let environment = environment.or("MANDRILL_WEBHOOK_URLS", WEBHOOK.url).or("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key);
        let config = ingest::Config::read(&environment).expect("settings");
        let [public, private] = [listener().await, listener().await];
        let addresses = [&public, &private].map(|listener| listener.local_addr().expect("bound"));
        tokio::spawn(ingest::run(config, public, private, self.stop.clone()));
        ready(addresses[1]).await;
        addresses[0]
    }

    /// Where a notifier listens, for people and for probes.
    async fn notifier(&self, variables: &[(&str, &str)]) -> [SocketAddr; 2] {
        let environment = self.broker.environment_of("notifier").or("ALLOW_ANONYMOUS", "true");
        let environment = variables.iter().fold(environment, |all, (name, value)| all.or(name, value));
        let config = notifier::Config::read(&environment).expect("settings");
        let [public, private] = [listener().await, listener().await];
        let addresses = [&public, &private].map(|listener| listener.local_addr().expect("bound"));
        tokio::spawn(notifier::run(config, public, private, self.stop.clone()));
        ready(addresses[1]).await;
        addresses
    }

    async fn rejected(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mandrill-live"));
        command.env_clear().arg("rejected").args(arguments).kill_on_drop(true);
        command.env("NATS_URL", self.broker.url());
        command.env("NATS_USER", "rejected").env("NATS_PASSWORD", password("rejected"));
        soon("it ends", command.output()).await.expect("it starts")
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

async fn ready(admin: SocketAddr) {
    until("the service is ready", async || http::get(admin, "/readyz").await.status == 200).await;
}

fn batch(name: &str, events: usize) -> String {
    let events: Vec<String> = (0..events).map(|at| format!(r#"{{"event":"open","_id":"{name}{at}"}}"#)).collect();
    format!("[{}]", events.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_rights_ingest_stores_all_there_is_to_store() {
    let secured = Secured::start().await;
    let hook = secured.ingest().await;
    let post = async |value: &str| {
        let answer = WEBHOOK.post(hook, value).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let count = |name: &str| answer.json()[name].as_u64().expect("a count");
        (count("accepted"), count("duplicates"), count("rejected"))
    };
    assert_eq!(post(&batch("single", 3)).await, (3, 0, 0));
    assert_eq!(post(&batch("atomic", 500)).await, (500, 0, 0));
    assert_eq!(post(&batch("atomic", 500)).await, (0, 500, 0));
    let large = format!(r#"[{{"event":"inbound","text":"{}"}}]"#, "x".repeat(2 << 20));
    assert_eq!(post(&large).await, (1, 0, 0));
    assert_eq!(post(&large).await, (0, 1, 0));
    assert_eq!(post(&format!("\"{}\"", "x".repeat(1 << 20))).await, (0, 0, 1));
    assert_eq!(post("[1]").await, (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_rights_a_notifier_delivers_what_is_new_and_what_its_memory_has_left_behind() {
    const EVENTS: usize = 4000; // More than a push consumer gets without flow control, and more than the ring holds.
    let secured = Secured::start().await;
    let hook = secured.ingest().await;
    let [live, admin] = secured.notifier(&[("RING_BYTES", "1MiB")]).await;
    let mut session = Client::connect(live, "/ws/email/", &[]).await;
    let mut first = None;
    let filler = "y".repeat(500);
    for part in 0..4 {
        let events: Vec<String> =
            (0..EVENTS / 4).map(|at| format!(r#"{{"event":"open","_id":"p{part}n{at}","text":"{filler}"}}"#)).collect();
        assert_eq!(WEBHOOK.post(hook, &format!("[{}]", events.join(","))).await.status, 200);
        for _ in 0..events.len() {
            let event = session.json().await;
            first.get_or_insert(event["_cursor"].as_str().expect("a cursor").to_owned());
        }
    }
    let path = format!("/ws/email/?since={}", first.expect("an event"));
    let mut late = Client::connect(live, &path, &[]).await;
    for at in 1..EVENTS {
        let event = late.json().await;
        assert_eq!(event["_id"], format!("p{}n{}", at / 1000, at % 1000));
    }
    let metrics = String::from_utf8(http::get(admin, "/metrics").await.body).expect("text");
    let mut faults = metrics.lines().filter(|line| line.contains("feed_faults_total{"));
    assert!(faults.all(|line| line.ends_with(" 0")), "the feed never had to begin again:\n{metrics}");
    for (path, name) in [("/api/events/?limit=5", "p3n999"), ("/api/messages/p0n0", "p0n0")] {
        let answer = http::get(live, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["events"][0]["_id"], name, "{path}");
    }
    let original = format!(r#"{{"event":"inbound","text":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(WEBHOOK.post(hook, &format!("[{original}]")).await.status, 200);
    let short = session.json().await;
    let object = short["_large"]["object"].as_str().expect("an object");
    let whole = http::get(live, &format!("/api/large/{object}")).await;
    assert_eq!(whole.status, 200, "{}", whole.head);
    assert!(whole.body.len() >= original.len(), "{} bytes", whole.body.len());
    let export = http::get(live, "/api/events/export").await;
    assert!(String::from_utf8_lossy(&export.body).contains(r#""_export":"complete","events":4001"#));
    until("ingest's report has come", async || {
        let status = http::get(live, "/api/status").await.json();
        status["ingest"].as_array().is_some_and(|reports| !reports.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_rights_rejected_content_is_listed_shown_and_taken_in_after_all() {
    let secured = Secured::start().await;
    let hook = secured.ingest().await;
    for value in [r#"{"event":"open","_id":"late"}"#, &format!("\"{}\"", "x".repeat(1 << 20))] {
        assert_eq!(WEBHOOK.post(hook, value).await.status, 200);
    }
    for arguments in [&["list"][..], &["show", "1"], &["show", "2"], &["redrive", "1"]] {
        let output = secured.rejected(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let list = secured.rejected(&["list"]).await;
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_rights_setup_applies_limits_and_gives_another_epoch() {
    let secured = Secured::start().await;
    let config = secured.setup_config();
    let epoch = setup::setup(&config).await.expect("nothing to change");
    let larger = secured.broker.environment_of("setup").or("STREAM_MAX_BYTES", "3GiB");
    let larger = SetupConfig::read(&larger).expect("settings");
    assert_eq!(setup::setup(&larger).await.expect("a changed limit"), epoch);
    let renewed = setup::new_epoch(&larger).await.expect("another epoch");
    assert_ne!(renewed, epoch);
    let context = context(&secured.broker.environment_of("setup")).await;
    let info = shared::stream::info(&context, "MANDRILL").await.expect("the stream");
    assert_eq!(info.config.max_bytes, 3 << 30);
    assert_eq!(shared::stream::epoch_of(&info).expect("an epoch"), renewed);
}

/// A connection as `setup` makes it.
async fn context(environment: &Environment) -> jetstream::Context {
    let settings = BrokerSettings::read(environment, &mut Mistakes::default()).expect("settings");
    let mut connection = Connection::connect(Role::Setup, &settings).await.expect("a connection");
    soon("it connects", connection.connected()).await;
    jetstream::new(connection.client().clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_rights_a_backup_is_taken_and_put_back_and_cursors_of_before_are_void_from_then_on() {
    let secured = Secured::start().await;
    let hook = secured.ingest().await;
    assert_eq!(WEBHOOK.post(hook, &batch("kept", 300)).await.status, 200);
    let [live, _] = secured.notifier(&[]).await;
    let last = Client::connect(live, "/ws/email/?last=1", &[]).await.json().await;
    let cursor = last["_cursor"].as_str().expect("a cursor").to_owned();
    let backup = take(&client_of(&secured.broker, "backup").await, "MANDRILL").await;
    drop(secured);

    // Another machine: everything is lost but the backup, and empty streams have been made there.
    let restored = Secured::start().await;
    let restoring = client_of(&restored.broker, "restore").await;
    let wish = serde_json::json!({"config": backup.0["config"], "state": backup.0["state"]}).to_string();
    let refused = restoring.request("$JS.API.STREAM.RESTORE.MANDRILL", wish.into()).await.expect("an answer");
    let refused: serde_json::Value = serde_json::from_slice(&refused.payload).expect("JSON");
    assert_eq!(refused["error"]["err_code"], 10130, "{refused}");
    ask(&restoring, "$JS.API.STREAM.DELETE.MANDRILL", &serde_json::json!({})).await;
    put_back(&restoring, "MANDRILL", backup).await;
    setup::new_epoch(&restored.setup_config()).await.expect("another epoch");
    let [live, _] = restored.notifier(&[]).await;
    let mut refused = Client::connect(live, &format!("/ws/email/?since={cursor}"), &[]).await;
    assert_eq!(refused.closed().await.0, 4410);
    let mut session = Client::connect(live, "/ws/email/?last=300", &[]).await;
    for at in 0..300 {
        assert_eq!(session.json().await["_id"], format!("kept{at}"));
    }
}

/// What mandrill-live prints on standard output; it has to succeed. It acts as a notifier, and as whoever erases.
async fn erasures(broker: &Broker, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mandrill-live"));
    command.env_clear().arg("erasures").args(arguments).kill_on_drop(true);
    command.env("NATS_URL", broker.url()).env("NATS_USER", "notifier").env("NATS_PASSWORD", password("notifier"));
    command.env("NATS_ERASE_USER", "erase").env("NATS_ERASE_PASSWORD", password("erase"));
    let output = soon("it ends", command.output()).await.expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn event_of(person: &str, id: &str) -> String {
    format!(r#"{{"event":"open","_id":"{id}","msg":{{"email":"{person}@example.com"}}}}"#)
}

/// The ids of a notifier's events, oldest first.
async fn ids(live: SocketAddr) -> Vec<String> {
    let export = http::get(live, "/api/events/export").await;
    let text = String::from_utf8(export.body).expect("text");
    let values = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    values.filter_map(|value| Some(value["_id"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_rights_a_person_is_erased_and_again_after_a_restore_which_brought_them_back() {
    const ERASE: [(&str, &str); 3] =
        [("HTTP_ADDR", "127.0.0.1:0"), ("NATS_ERASE_USER", "erase"), ("NATS_ERASE_PASSWORD", "1e5-erase")];
    let secured = Secured::start().await;
    let hook = secured.ingest().await;
    let original = format!(
        r#"{{"event":"inbound","_id":"large","msg":{{"email":"ann@example.com","text":"{}"}}}}"#,
        "x".repeat(1 << 20)
    );
    let events = [event_of("ann", "a1"), event_of("bob", "b1"), original, event_of("ann", "a2"), event_of("bob", "b2")];
    assert_eq!(WEBHOOK.post(hook, &format!("[{}]", events.join(","))).await.status, 200);
    let [live, _] = secured.notifier(&ERASE).await;
    let short = http::get(live, "/api/messages/large").await.json();
    let object = short["events"][0]["_large"]["object"].as_str().expect("an object").to_owned();
    let large = async |live: SocketAddr| http::get(live, &format!("/api/large/{object}")).await.status;
    assert_eq!(large(live).await, 200);
    let backing_up = client_of(&secured.broker, "backup").await;
    let streams = ["MANDRILL", "OBJ_MANDRILL_LARGE"];
    let backups = [take(&backing_up, streams[0]).await, take(&backing_up, streams[1]).await];

    // Without the user that may, nobody does.
    let [off, _] = secured.notifier(&ERASE[..1]).await;
    let ask = async |live: SocketAddr| {
        let headers = [("Content-Type", "application/json")];
        http::send(live, "POST", "/api/erasures", &headers, br#"{"email":"ann@example.com"}"#).await
    };
    let refused = ask(off).await;
    assert_eq!((refused.status, &refused.json()["type"]), (403, &"urn:mandrill-live:problem:erasing-off".into()));
    let done = ask(live).await;
    assert_eq!((done.status, &done.json()["erased"]), (200, &3.into()), "{:?}", done.json());
    for replica in [live, off] {
        assert_eq!((ids(replica).await, large(replica).await), (vec!["b1".to_owned(), "b2".to_owned()], 404));
    }
    let list = erasures(&secured.broker, &["list"]).await;
    assert!(list.starts_with(r#"{"recipient":""#) && list.lines().count() == 1 && !list.contains('@'), "{list}");
    drop(secured);

    // Another machine: everything is lost but the backup, and what was kept of the erasures since.
    let restored = Secured { broker: Broker::with_accounts().await, stop: CancellationToken::new() };
    let restoring = client_of(&restored.broker, "restore").await;
    for (stream, backup) in streams.into_iter().zip(backups) {
        put_back(&restoring, stream, backup).await;
    }
    setup::setup(&restored.setup_config()).await.expect("the stream beside them");
    setup::new_epoch(&restored.setup_config()).await.expect("another epoch");
    let hook = restored.ingest().await;
    assert_eq!(WEBHOOK.post(hook, &format!("[{}]", event_of("ann", "later"))).await.status, 200);
    // A replica that runs already meets it as the others did.
    let [running, _] = restored.notifier(&ERASE).await;
    assert_eq!(ids(running).await, ["a1", "b1", "large", "a2", "b2", "later"]);
    assert_eq!(large(running).await, 200, "they are back");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("erasures.ndjson");
    std::fs::write(&file, &list).expect("kept apart");
    let file = file.to_str().expect("a path");
    let said = erasures(&restored.broker, &["apply", file]).await;
    assert!(said.contains("applied again, 3 events taken away"), "{said}");
    let [started, _] = restored.notifier(&ERASE).await;
    for replica in [running, started] {
        assert_eq!((ids(replica).await, large(replica).await), (vec!["b1".into(), "b2".into(), "later".into()], 404));
    }
    assert_eq!(erasures(&restored.broker, &["list"]).await, list, "as it was kept");
    let said = erasures(&restored.broker, &["apply", file]).await;
    assert!(said.contains("was known, 0 events taken away"), "{said}");
}

/// A stream's configuration and state, and the pieces of its copy.
type Backup = (serde_json::Value, Vec<bytes::Bytes>);

/// A plain client of a user, with its inbox.
async fn client_of(broker: &Broker, user: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password(user))
        .custom_inbox_prefix(format!("_INBOX.{user}"))
        .connect(broker.url())
        .await
        .expect("a client")
}

/// One request to JetStream.
async fn ask(client: &async_nats::Client, subject: &str, payload: &serde_json::Value) -> serde_json::Value {
    let message = client.request(subject.to_owned(), payload.to_string().into()).await.expect("an answer");
    let answer: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert!(answer.get("error").is_none(), "{subject}: {answer}");
    answer
}

/// What `nats stream backup` does.
async fn take(client: &async_nats::Client, stream: &str) -> Backup {
    let inbox = client.new_inbox();
    let mut pieces = client.subscribe(inbox.clone()).await.expect("an inbox");
    let wish = serde_json::json!({"deliver_subject": inbox, "chunk_size": 64 << 10});
    let answer = ask(client, &format!("$JS.API.STREAM.SNAPSHOT.{stream}"), &wish).await;
    let mut backup = Vec::new();
    loop {
        let piece = soon("a piece", pieces.next()).await.expect("a piece");
        if piece.payload.is_empty() {
            return (answer, backup);
        }
        backup.push(piece.payload);
        if let Some(reply) = piece.reply {
            client.publish(reply, "".into()).await.expect("acknowledged");
        }
    }
}

/// What `nats stream restore` does.
async fn put_back(client: &async_nats::Client, stream: &str, (description, pieces): Backup) {
    let wish = serde_json::json!({"config": description["config"], "state": description["state"]});
    let info = async || client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await;
    until("JetStream is there", async || info().await.is_ok()).await;
    let answer = ask(client, &format!("$JS.API.STREAM.RESTORE.{stream}"), &wish).await;
    let target = answer["deliver_subject"].as_str().expect("where to send it").to_owned();
    for piece in pieces {
        client.request(target.clone(), piece).await.expect("taken");
    }
    ask_end(client, stream, &target).await;
}

/// Nothing more: the answer is the stream's description.
async fn ask_end(client: &async_nats::Client, stream: &str, target: &str) {
    let message = client.request(target.to_owned(), "".into()).await.expect("an answer");
    let answer: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!(answer["config"]["name"], stream, "{answer}");
}

#[tokio::test]
async fn a_user_that_may_not_manage_streams_is_told_so_and_nothing_is_made() {
    let broker = Broker::with_accounts().await;
    let config = ingest::Config::read(&broker.environment_of("ingest").or("MANAGE_STREAM", "false")).expect("settings");
    let [public, private] = [listener().await, listener().await];
    let admin = private.local_addr().expect("bound");
    let stop = CancellationToken::new();
    tokio::spawn(ingest::run(config, public, private, stop.clone()));
    until("it says what is missing", async || {
        let answer = http::get(admin, "/readyz").await;
        answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("`ingest setup`")
    })
    .await;
    stop.cancel();
}
