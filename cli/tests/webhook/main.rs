//! `mandrill-live webhook` against a Mandrill made from its reference, and a real ingest beside a real broker.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]
#![allow(unreachable_pub)] // one test binary: nothing in it is reachable

mod mandrill;
mod tls;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use async_nats::jetstream;
use mandrill::{API_KEY, Habit, Mandrill, Proxy, serve};
use shared::signature::sign;
use shared::testing::authority::Authority;
use shared::testing::broker::Broker;
use shared::testing::process::Process;
use shared::testing::{http, port, soon, until};
use tokio::net::TcpListener;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mandrill-live");
const KEY: &str = "ExampleKey_not-secret01";

/// An ingest (in `up`) with these variables beside those of a test.
async fn up(broker: &Broker, variables: &[(&str, &str)]) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("up");
    let url = broker.url();
    let base = [("NATS_URL", url.as_str()), ("ALLOW_ANONYMOUS", "true"), ("DRAIN_SECONDS", "1")];
    Process::start(command, &[&base, variables].concat()).await
}

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.env_clear().arg("webhook").args(arguments).envs(variables.iter().copied()).kill_on_drop(true);
    soon("it ends", command.output()).await.expect("it starts")
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What it printed, having ended as it should.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let (out, err) = text(output);
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    assert!(!out.contains(API_KEY) && !err.contains(API_KEY), "the API key is shown: {out}\n{err}");
    assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}'), "a terminal would obey: {out:?}\n{err:?}");
    out + &err
}

struct Account {
    mandrill: Mandrill,
    api: String,
}

impl Account {
    async fn open() -> Account {
        let mandrill = Mandrill::default();
        let api = format!("http://{}/api/1.0/", serve(mandrill.clone()).await);
        Account { mandrill, api }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &[("MANDRILL_API_KEY", API_KEY), ("MANDRILL_API_URL", &self.api)]).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_made_its_key_reaches_ingest_and_batches_flow() {
    let (broker, account, folder) =
        (Broker::start().await, Account::open().await, tempfile::tempdir().expect("a folder"));
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "").expect("a file");
    let path = keys.to_str().expect("a path");
    // The address is known only once there is a port.
    let port = SocketAddr::from(([127, 0, 0, 1], port::free()));
    let url = format!("http://{port}/api/hook/");
    let listen = port.to_string();
    let variables =
        [("HTTP_ADDR", listen.as_str()), ("MANDRILL_WEBHOOK_URLS", url.as_str()), ("MANDRILL_WEBHOOK_KEYS_FILE", path)];
    let _up = up_at(&broker, &variables, port).await;

    let said = ended(&account.run(&["add", "--url", &url, "--write-key", path]).await, 0);
    assert!(said.contains("webhook 1 is registered") && said.contains("MANDRILL_WEBHOOK_KEYS_FILE="), "{said}");
    let key = account.mandrill.keys().remove(0);
    assert!(!said.contains(&key), "a key that is written to a file is not printed: {said}");
    assert_eq!(std::fs::read_to_string(&keys).expect("the file"), format!("{key}\n"));

    let batch = r#"[{"event":"open"}]"#;
    let signature = sign(&key, &url, &[(b"mandrill_events", batch.as_bytes())]);
    let headers = [
        ("Host", listen.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Mandrill-Signature", signature.as_str()),
    ];
    until("the key is in force", async || {
        let body = b"mandrill_events=%5B%7B%22event%22%3A%22open%22%7D%5D";
        http::send(port, "POST", "/api/hook/", &headers, body).await.status == 200
    })
    .await;

    // The same address again would bring every event twice.
    let again = ended(&account.run(&["add", "--url", &url]).await, 1);
    assert!(again.contains("registered already, as webhook 1"), "{again}");
    let checked = ended(&account.run(&["check", &url]).await, 0);
    assert!(checked.contains("ok    Mandrill   1  ") && checked.contains("ok    signature"), "{checked}");
}

async fn up_at(broker: &Broker, variables: &[(&str, &str)], address: SocketAddr) -> Process {
    let mut process = up(broker, variables).await;
    process.address = address;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_listed_looked_at_changed_and_deleted() {
    let (broker, account, folder) =
        (Broker::start().await, Account::open().await, tempfile::tempdir().expect("a folder"));
    let up = up(&broker, &[]).await;
    let url = format!("http://{}/api/hook/", up.address);
    assert!(ended(&account.run(&["list"]).await, 0).contains("no webhook is registered"));
    let added =
        ended(&account.run(&["add", "--url", &url, "--description", "a test", "--events", "open,click"]).await, 0);
    let key = account.mandrill.keys().remove(0);
    assert!(added.contains(&format!("MANDRILL_WEBHOOK_KEYS must hold  {key}")), "{added}");

    account.mandrill.fails(1, "POST to \u{1b}[31m failed with 500");
    let listed = ended(&account.run(&["list"]).await, 0);
    assert!(listed.contains("2 kinds") && listed.contains("failing: POST to") && !listed.contains(&key), "{listed}");
    let json = ended(&account.run(&["list", "--json"]).await, 0);
    let json: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    assert_eq!((&json["id"], &json["url"], &json["auth_key"]), (&1.into(), &url.as_str().into(), &().into()));
    let info = ended(&account.run(&["info", "1"]).await, 0);
    assert!(info.contains("open, click") && info.contains("a test") && !info.contains(&key), "{info}");
    assert!(ended(&account.run(&["info", "1", "--show-key"]).await, 0).contains(&key));

    let other = format!("http://{}/api/mandrill/hook", up.address);
    let changed = ended(&account.run(&["update", "1", "--url", &other]).await, 0);
    assert!(changed.contains(&format!("must hold {other}")), "{changed}");
    let info = ended(&account.run(&["info", "1"]).await, 0);
    assert!(info.contains(&other) && info.contains("events       open, click\n") && info.contains("a test"), "{info}");
    ended(&account.run(&["update", "1", "--url", &url, "--events", "send"]).await, 0);
    let info = ended(&account.run(&["info", "1"]).await, 0);
    assert!(info.contains(&url) && info.contains("events       send\n") && info.contains("a test"), "{info}");
    ended(&account.run(&["update", "1", "--url", &url, "--description", "another"]).await, 0);
    let info = ended(&account.run(&["info", "1"]).await, 0);
    assert!(info.contains("events       send\n") && info.contains("another"), "{info}");

    assert!(ended(&account.run(&["delete", "1"]).await, 64).contains("say --yes"));
    assert!(ended(&account.run(&["delete", "1", "--yes"]).await, 0).contains("is deleted"));
    assert!(ended(&account.run(&["info", "1"]).await, 1).contains("Mandrill knows no webhook 1"));

    // A key joins those there are, once, and only its owner reads a new file.
    let keys = folder.path().join("keys");
    let path = keys.to_str().expect("a path");
    ended(&account.run(&["add", "--url", &url, "--write-key", path]).await, 0);
    ended(&account.run(&["add", "--url", &url, "--again", "--write-key", path]).await, 0);
    assert_eq!(std::fs::read_to_string(&keys).expect("the file"), account.mandrill.keys().join("\n") + "\n");
    assert_eq!(std::fs::metadata(&keys).expect("the file").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_mandrill_refuses_is_said_with_what_to_do() {
    let account = Account::open().await;
    let wrong = [("MANDRILL_API_KEY", "another"), ("MANDRILL_API_URL", account.api.as_str())];
    let refused = ended(&run(&["list"], &wrong).await, 1);
    assert!(refused.contains("refuses the API key: set MANDRILL_API_KEY") && !refused.contains("another"), "{refused}");
    let url = "http://127.0.0.1:1/api/hook/";
    let unreachable = ended(&account.run(&["add", "--url", url]).await, 1);
    assert!(
        unreachable.contains("GeneralError") && unreachable.contains(&format!("webhook check {url}")),
        "{unreachable}"
    );

    for (variables, code, part) in [
        (&[][..], 64, "MANDRILL_API_KEY: is not set"),
        (
            &[("MANDRILL_API_KEY", API_KEY), ("MANDRILL_API_URL", "http://example.com/api")],
            64,
            "must begin with https://",
        ),
        (&[("MANDRILL_API_KEY", API_KEY), ("MANDRILL_API_URL", "http://127.0.0.1:1")], 1, "cannot be reached"),
    ] {
        let said = ended(&run(&["list"], variables).await, code);
        assert!(said.contains(part), "{part} in {said}");
    }
    let page =
        format!("http://{}", serve(Proxy { habit: Habit::Answers(502), ingest: ([127, 0, 0, 1], 1).into() }).await);
    let foreign = run(&["list"], &[("MANDRILL_API_KEY", API_KEY), ("MANDRILL_API_URL", page.as_str())]).await;
    assert!(ended(&foreign, 1).contains("answered 502 with something that is no answer of its own"));
    for arguments in [&["add", "--url", "hooks.example.com"][..], &["add", "--url", "http://a b"], &["check"]] {
        ended(&account.run(arguments).await, 64);
    }
    assert_eq!(account.run(&["add", "--url", url, "--events", "inbound"]).await.status.code(), Some(2));
}

/// Runs `check` and returns its lines.
async fn check(url: &str, variables: &[(&str, &str)], code: i32) -> String {
    ended(&run(&["check", url], variables).await, code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_is_free_is_said_to_be_and_nothing_is_stored() {
    let broker = Broker::start().await;
    let port = SocketAddr::from(([127, 0, 0, 1], port::free()));
    let (url, listen) = (format!("http://{port}/api/hook/"), port.to_string());
    let keys = [("MANDRILL_WEBHOOK_URLS", url.as_str()), ("MANDRILL_WEBHOOK_KEYS", KEY)];
    let _up = up_at(&broker, &[&keys[..], &[("HTTP_ADDR", listen.as_str())]].concat(), port).await;
    let said = ended(&run(&["check"], &keys).await, 0);
    for step in ["ok    DNS", "ok    TCP", "ok    HEAD", "ok    check", "ok    signature", "ok    large"] {
        assert!(said.contains(step), "{step} in {said}");
    }
    let context = jetstream::new(broker.client().await);
    for stream in ["MANDRILL", "MANDRILL_REJECTED"] {
        let stream = context.get_stream(stream).await.expect("the stream");
        assert_eq!(stream.cached_info().state.messages, 0);
    }
    // Another key, or an address that differs by a letter, is not ingest's.
    let said = check(&url, &[("MANDRILL_WEBHOOK_KEYS", "another"), keys[0]], 1).await;
    assert!(said.contains("FAIL  signature  ingest answers 401") && said.contains("ok    large"), "{said}");
    let said = check(url.trim_end_matches('/'), &keys[1..], 1).await;
    assert!(said.contains("FAIL  check") && said.contains("MANDRILL_WEBHOOK_URLS must hold this address"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_that_stops_a_batch_is_named() {
    let broker = Broker::start().await;
    let named = up(&broker, &[("PUBLIC_URLS", "http://127.0.0.1")]).await;
    let small = up(&broker, &[("MAX_BODY_BYTES", "1MiB")]).await;
    let to = |address: SocketAddr| format!("http://{address}/api/hook/");
    let behind = async |habit: Habit, ingest: SocketAddr| to(serve(Proxy { habit, ingest }).await);
    // Without keys it takes Mandrill's check under any address.
    let free = up(&broker, &[]).await;
    let tls = format!("https://{}/", named.address);
    for (url, part) in [
        ("http://nobody.invalid/api/hook/".to_owned(), "FAIL  DNS        nobody knows nobody.invalid"),
        ("http://127.0.0.1:1/api/hook/".to_owned(), "FAIL  TCP        nothing takes a connection at 127.0.0.1:1"),
        (tls, "FAIL  HEAD       it does not speak TLS on this port"),
        (to(named.address), "FAIL  HEAD       421: the host is not in ingest's PUBLIC_URLS"),
        (behind(Habit::Answers(502), named.address).await, "(Server: nginx/1.29) answers 502: it cannot reach ingest"),
        (behind(Habit::Answers(404), named.address).await, "answers 404: route this path to ingest"),
        (behind(Habit::Answers(401), named.address).await, "answers 401: it must let this path through"),
        (behind(Habit::Answers(200), named.address).await, "answers 200 to everything and passes nothing on"),
        (behind(Habit::LeadsAway, named.address).await, "redirects to https://elsewhere.example.com/"),
        (
            behind(Habit::LimitsBodies(1 << 20), free.address).await,
            "FAIL  large      something in front of ingest (Server: nginx/1.29) refuses bodies of this size",
        ),
    ] {
        let said = check(&url, &[], 1).await;
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = check(&behind(Habit::LimitsBodies(64 << 20), free.address).await, &[], 0).await;
    assert!(said.contains("ok    large"), "{said}");
    let said = check(&to(small.address), &[], 1).await;
    assert!(said.contains("FAIL  large      ingest answers 413") && said.contains("raise MAX_BODY_BYTES"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_tls_the_way_is_tried_as_well_and_a_bad_certificate_is_named() {
    let (broker, known, unknown) = (Broker::start().await, Authority::new(), Authority::named("a stranger"));
    for (pair, end) in [
        (known.certificate(&["localhost"]), None),
        (unknown.certificate(&["localhost"]), Some("of an authority that this machine does not know")),
        (known.certificate(&["hooks.example.com"]), Some("its certificate is for another name")),
        (known.expired_certificate(&["localhost"]), Some("its certificate has expired")),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
        let url = format!("{origin}/api/hook/");
        let keys = [("MANDRILL_WEBHOOK_URLS", url.as_str()), ("MANDRILL_WEBHOOK_KEYS", KEY)];
        let up = up(&broker, &[&keys[..], &[("PUBLIC_URLS", origin.as_str())]].concat()).await;
        tls::serve(listener, &pair, up.address).await;

        let trust = known.path();
        let variables = [&keys[..], &[("SSL_CERT_FILE", trust.as_str())]].concat();
        let said = check(&url, &variables, i32::from(end.is_some())).await;
        assert!(said.contains(end.unwrap_or("ok    signature")), "{end:?} in {said}");
        assert_eq!(said.contains("FAIL  HEAD"), end.is_some(), "{said}");
        assert_eq!(said.contains("ok    large"), end.is_none(), "{said}");
    }
}
