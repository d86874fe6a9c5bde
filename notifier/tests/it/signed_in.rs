//! Sessions and their tokens over time: ends, newer tokens, keys that come and go.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shared::testing::broker::Broker;
use shared::testing::http::{self, Answer};
use shared::testing::log::Log;
use shared::testing::process::Process;
use shared::testing::until;

use crate::support::client::{Frame, TEXT};
use crate::support::tokens::{IdentityProvider, OTHER_SECRET, SECRET, Signer, claims, now};
use crate::support::{Client, EventStream, Service, V1, Writer, expect, metric};

const LIVE: &str = "/ws/email/";
const STREAM: &str = "/api/events/stream";

/// A session with this token, as a browser opens it.
async fn session(service: &Service, token: &str) -> Client {
    session_at(service.http, token).await
}

async fn session_at(address: SocketAddr, token: &str) -> Client {
    let offers = format!("mandrill-live.v1, bearer.{token}");
    let mut client = Client::connect(address, LIVE, &[("Sec-WebSocket-Protocol", &offers)]).await;
    let hello = client.json().await;
    assert_eq!(hello["_control"], "hello", "{hello}");
    client
}

async fn stream(service: &Service, token: &str) -> EventStream {
    EventStream::open(service.http, STREAM, &[("Authorization", &format!("Bearer {token}"))]).await.0
}

async fn ask(service: &Service, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    http::send(service.http, "GET", "/api/status", &[("Authorization", &bearer)], b"").await
}

/// Sends a newer token and reads the answer.
async fn renew(client: &mut Client, token: &str) -> Value {
    client.send(TEXT, json!({"_control": "token", "token": token}).to_string().as_bytes()).await;
    client.json().await
}

/// The stream says goodbye and ends.
async fn has_ended(stream: &mut EventStream) {
    let last = stream.next().await.expect("a goodbye");
    assert_eq!(last.event.as_deref(), Some("control"));
    assert_eq!(last.json(), json!({"_control": "goaway", "reason": "token", "within_ms": 0}));
    assert_eq!(stream.next().await, None);
}

fn seconds_since(moment: u64) -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() - moment as f64
}

/// In time: never before, and at most a second after, with slack for a machine that is busy.
fn in_time(after: f64) {
    assert!((-0.01..3.0).contains(&after), "{after} s after its end");
}

fn event(number: u32, subaccount: &str) -> String {
    json!({"event": "open", "n": number, "msg": {"subaccount": subaccount}}).to_string()
}

#[tokio::test]
async fn sessions_and_streams_end_when_their_token_does() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let end = now() + 3;
    let token = Signer::secret(SECRET).sign(&claims(json!({"exp": end})));
    let lasting = Signer::secret(SECRET).sign(&claims(json!({})));
    let mut other = session(&service, &lasting).await;
    let mut v1 = session(&service, &token).await;
    let mut plain = Client::connect(service.http, LIVE, &[("Authorization", &format!("Bearer {token}"))]).await;
    let mut stream = stream(&service, &token).await;
    assert_eq!(v1.closed().await.0, 4401);
    in_time(seconds_since(end));
    assert_eq!(plain.closed().await.0, 4401);
    has_ended(&mut stream).await;
    in_time(seconds_since(end));
    assert_eq!(ask(&service, &token).await.status, 401);
    // Nobody else's.
    other.send(TEXT, br#"{"_control":"filter","event":"open"}"#).await;
    assert_eq!(other.json().await["_control"], "filter");
}

#[tokio::test]
async fn a_session_with_a_newer_token_goes_on_to_that_ones_end() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let sign = |end: u64| Signer::secret(SECRET).sign(&claims(json!({"exp": end})));
    let (first, third) = (now() + 2, now() + 6);
    let mut witness = session(&service, &sign(first)).await;
    let mut client = session(&service, &sign(first)).await;
    // A later end, an earlier one, and a later one again: the last holds.
    for end in [now() + 3600, first, third] {
        let answer = renew(&mut client, &sign(end)).await;
        assert_eq!(answer, json!({"_control": "token", "expires_at": end * 1000}));
    }
    assert_eq!(witness.closed().await.0, 4401);
    writer.store(&event(1, "shop")).await;
    expect(&mut client, &[event(1, "shop")]).await;
    assert_eq!(client.closed().await.0, 4401);
    in_time(seconds_since(third));
}

#[tokio::test]
async fn a_newer_token_narrows_and_widens_what_is_seen_from_there_on() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let sign = |filter: Value| {
        let filter = if filter.is_null() { json!({}) } else { json!({"filter": filter}) };
        Signer::secret(SECRET).sign(&claims(filter))
    };
    let (shop, club) = (sign(json!({"subaccount": "shop"})), sign(json!({"subaccount": ["club"]})));
    let mut client = session(&service, &shop).await;
    writer.store_all(&[event(1, "club"), event(2, "shop")]).await;
    expect(&mut client, &[event(2, "shop")]).await;

    assert_eq!(renew(&mut client, &club).await["_control"], "token");
    writer.store_all(&[event(3, "shop"), event(4, "club")]).await;
    expect(&mut client, &[event(4, "club")]).await;

    // What the client asks for never adds to what its token allows.
    client.send(TEXT, br#"{"_control":"filter","subaccount":["shop","club"]}"#).await;
    assert_eq!(client.json().await["_control"], "filter");
    writer.store_all(&[event(5, "shop"), event(6, "club")]).await;
    expect(&mut client, &[event(6, "club")]).await;

    // Its own wish holds on under a wider token.
    client.send(TEXT, br#"{"_control":"filter","subaccount":["shop"]}"#).await;
    assert_eq!(client.json().await["_control"], "filter");
    assert_eq!(renew(&mut client, &sign(Value::Null)).await["_control"], "token");
    writer.store_all(&[event(7, "club"), event(8, "shop")]).await;
    expect(&mut client, &[event(8, "shop")]).await;

    client.send(TEXT, br#"{"_control":"filter"}"#).await;
    assert_eq!(client.json().await["_control"], "filter");
    writer.store_all(&[event(9, "club"), event(10, "shop")]).await;
    expect(&mut client, &[event(9, "club"), event(10, "shop")]).await;
}

#[tokio::test]
async fn a_session_stays_its_users_and_able_to_read() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let sign = |with: Value| Signer::secret(SECRET).sign(&claims(with));
    let mut client = session(&service, &sign(json!({}))).await;
    for refused in [json!({"sub": "bob"}), json!({"sub": null}), json!({"scope": "events:erase"})] {
        let answer = renew(&mut client, &sign(refused.clone())).await;
        assert_eq!(answer["_control"], "error", "{refused}");
    }
    writer.store(&event(1, "shop")).await;
    expect(&mut client, &[event(1, "shop")]).await;
}

#[tokio::test]
async fn a_key_that_is_withdrawn_takes_its_sessions_with_it() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let (old, new) = (Signer::rs256("old"), Signer::es256("new"));
    let provider = IdentityProvider::start(&[&old, &new]).await;
    let variables = [("JWT_JWKS", &*provider.url()), ("JWT_JWKS_REFRESH", "1s")];
    let service = Service::with(&broker, &variables).await;
    let (old_token, new_token) = (old.sign(&claims(json!({}))), new.sign(&claims(json!({}))));
    let (mut of_old, mut of_new) = (session(&service, &old_token).await, session(&service, &new_token).await);
    let mut moved = session(&service, &old_token).await;
    let mut old_stream = stream(&service, &old_token).await;
    // Whoever has a token of the newer key already stays.
    assert_eq!(renew(&mut moved, &new_token).await["_control"], "token");

    provider.publish(&[&new]);
    assert_eq!(of_old.closed().await.0, 4401);
    has_ended(&mut old_stream).await;
    assert_eq!(ask(&service, &old_token).await.status, 401);
    writer.store(&event(1, "shop")).await;
    for stays in [&mut of_new, &mut moved] {
        expect(stays, &[event(1, "shop")]).await;
    }
    // The same name for another key is another key.
    provider.publish(&[&Signer::es256("new")]);
    assert_eq!(of_new.closed().await.0, 4401);
}

#[tokio::test]
async fn a_key_that_is_new_is_good_at_once_and_made_up_ones_cost_nothing() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let (old, new) = (Signer::eddsa("old"), Signer::eddsa("new"));
    let provider = IdentityProvider::start(&[&old]).await;
    let service = Service::with(&broker, &[("JWT_JWKS", &provider.url()), ("JWT_JWKS_REFRESH", "1d")]).await;
    let mut client = session(&service, &old.sign(&claims(json!({})))).await;
    provider.publish(&[&old, &new]);
    let token = new.sign(&claims(json!({})));
    // The keys were read a moment ago: within seconds they may be read again.
    until("the new key is known", async || ask(&service, &token).await.status == 200).await;
    assert_eq!(renew(&mut client, &token).await["_control"], "token");
    let reads = provider.reads();
    for number in 0..50 {
        let made_up = new.sign_as(&json!({"alg": "EdDSA", "kid": format!("made-up-{number}")}), &claims(json!({})));
        assert_eq!(ask(&service, &made_up).await.status, 401);
    }
    assert!(provider.reads() <= reads + 2, "{} reads", provider.reads() - reads);
}

#[tokio::test]
async fn keys_that_cannot_be_read_leave_the_last_good_ones_in_force() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let signer = Signer::es256("one");
    let provider = IdentityProvider::start(&[&signer]).await;
    let variables = [("JWT_JWKS", &*provider.url()), ("JWT_JWKS_REFRESH", "1s")];
    let service = Service::with(&broker, &variables).await;
    let token = signer.sign(&claims(json!({})));
    let mut client = session(&service, &token).await;
    let failed = async || metric(service.admin, "mandrill_live_notifier_jwks_reads_total{outcome=\"failed\"}").await;
    let too_long = format!("{{\"keys\":[], \"padding\":\"{}\"}}", "x".repeat(300 << 10));
    for (status, body) in [(500, ""), (302, ""), (200, "<html>"), (200, "{\"keys\":[]}"), (200, &*too_long)] {
        let before = failed().await;
        provider.say(status, body);
        until("it was read in vain", async || failed().await >= before + 2).await;
        assert_eq!(ask(&service, &token).await.status, 200, "{status} {}", body.len());
    }
    client.send(TEXT, br#"{"_control":"filter"}"#).await;
    assert_eq!(client.json().await["_control"], "filter");
    assert!(service.is_ready().await);
}

#[tokio::test]
async fn before_keys_were_ever_read_nobody_enters_and_clients_are_told_to_come_again() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let signer = Signer::es256("one");
    let provider = IdentityProvider::start(&[]).await;
    provider.say(503, "");
    let variables = [("JWT_JWKS", &*provider.url()), ("JWT_JWKS_REFRESH", "1s")];
    let service = Service::launch(&broker, &variables).await;
    let token = signer.sign(&claims(json!({})));
    until("it answers", async || ask(&service, &token).await.status == 503).await;
    let answer = ask(&service, &token).await;
    assert_eq!(answer.json()["type"], "urn:mandrill-live:problem:no-keys");
    assert!(answer.header("Retry-After").is_some(), "{}", answer.head);
    let offers = format!("mandrill-live.v1, bearer.{token}");
    let mut client = Client::connect(service.http, LIVE, &[("Sec-WebSocket-Protocol", &offers)]).await;
    assert_eq!(client.closed().await.0, 1013);
    assert_eq!(http::get(service.http, "/api/me").await.status, 200);
    let ready = http::get(service.admin, "/readyz").await;
    assert!(ready.status == 503 && String::from_utf8_lossy(&ready.body).contains("tokens"), "{ready:?}");

    provider.publish(&[&signer]);
    service.ready().await;
    session(&service, &token).await;
}

#[tokio::test]
async fn secrets_in_a_file_come_and_go_without_a_restart() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let path = file("secrets", &format!("{OTHER_SECRET}\n{SECRET}\n"));
    let url = broker.url();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notifier"));
    let log = Log::of(&mut command);
    let variables = [("NATS_URL", url.as_str()), ("JWT_SECRET_FILE", path.to_str().expect("a path"))];
    let process = Process::start(command, &variables).await;
    let (new, old) = (Signer::secret(OTHER_SECRET), Signer::secret(SECRET));
    let mut of_new = session_at(process.address, &new.sign(&claims(json!({})))).await;
    let mut of_old = session_at(process.address, &old.sign(&claims(json!({})))).await;
    // What is no list of secrets takes no good one away.
    std::fs::write(&path, "short").expect("written");
    until("it was read in vain", async || log.text().contains("the last good value stays in force")).await;
    writer.store(&event(1, "shop")).await;
    for stays in [&mut of_new, &mut of_old] {
        expect(stays, &[event(1, "shop")]).await;
    }
    session_at(process.address, &old.sign(&claims(json!({})))).await;
    std::fs::write(&path, format!("{OTHER_SECRET}\n")).expect("written");
    assert_eq!(of_old.closed().await.0, 4401);
    writer.store(&event(2, "shop")).await;
    expect(&mut of_new, &[event(2, "shop")]).await;
    std::fs::remove_file(path).expect("removed");
}

#[tokio::test]
async fn a_jwks_in_a_file_is_read_again_as_well() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let (old, new) = (Signer::rs256("old"), Signer::eddsa("new"));
    let keys = |signer: &Signer| json!({"keys": [signer.jwk()]}).to_string();
    let path = file("jwks", &keys(&old));
    let variables = [("JWT_JWKS", path.to_str().expect("a path")), ("JWT_JWKS_REFRESH", "1s")];
    let service = Service::with(&broker, &variables).await;
    let mut of_old = session(&service, &old.sign(&claims(json!({})))).await;
    std::fs::write(&path, keys(&new)).expect("written");
    assert_eq!(of_old.closed().await.0, 4401);
    session(&service, &new.sign(&claims(json!({})))).await;
    std::fs::remove_file(path).expect("removed");
}

#[tokio::test]
async fn no_log_line_holds_a_token_or_a_secret() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let url = broker.url();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notifier"));
    let log = Log::of(&mut command);
    let variables = [("NATS_URL", url.as_str()), ("JWT_SECRET", SECRET), ("RUST_LOG", "trace")];
    let process = Process::start(command, &variables).await;
    let sign = |with: Value| Signer::secret(SECRET).sign(&claims(with));
    let (good, bad) = (sign(json!({})), sign(json!({"exp": 1})));
    for token in [&good, &bad] {
        let bearer = format!("Bearer {token}");
        http::send(process.address, "GET", "/api/status", &[("Authorization", &bearer)], b"").await;
        let path = format!("/api/events/stream?token={token}");
        http::send(process.address, "GET", &path, &[("Authorization", &bearer)], b"").await;
        Client::connect(process.address, LIVE, &[V1, ("Authorization", &bearer)]).await;
        let offers = format!("mandrill-live.v1, bearer.{token}");
        Client::connect(process.address, LIVE, &[("Sec-WebSocket-Protocol", &offers)]).await.next().await;
    }
    let mut client = Client::connect(process.address, LIVE, &[V1, ("Authorization", &format!("Bearer {good}"))]).await;
    for token in [&bad, &good] {
        client.next().await;
        client.send(TEXT, json!({"_control": "token", "token": token}).to_string().as_bytes()).await;
    }
    assert!(matches!(client.next().await, Frame::Text(_)));
    drop(process);
    let text = log.text();
    assert!(text.contains("a token was refused"), "{text}");
    for secret in [SECRET, &good, &bad] {
        // Neither whole nor the part that makes it good.
        for part in [secret, secret.rsplit('.').next().unwrap_or_default()] {
            assert!(!text.contains(part), "{part}\nin {text}");
        }
    }
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mandrill-live-{name}-{}", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    path
}

#[tokio::test]
async fn no_client_writes_a_line_of_the_log() {
    /// What would end a line and begin another, or move a terminal's cursor.
    const FORGED: &str = "\n2026-01-01T00:00:00.000000Z ERROR notifier: forged\u{1b}[2J\u{9b}2J";
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let url = broker.url();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notifier"));
    let log = Log::of(&mut command);
    let levels = "info,notifier=trace,shared=trace";
    let variables = [("NATS_URL", url.as_str()), ("JWT_SECRET", SECRET), ("RUST_LOG", levels)];
    let process = Process::start(command, &variables).await;
    let sign = |with: Value| Signer::secret(SECRET).sign(&claims(with));
    let good = sign(json!({"sub": FORGED}));
    let odd = [
        sign(json!({"filter": {FORGED: "x"}})),
        sign(json!({"filter": {(format!("metadata.{FORGED}")): []}})),
        sign(json!({"exp": FORGED})),
        FORGED.replace(['\n', '\u{1b}'], "."),
    ];
    let in_headers = FORGED.replace(['\n', '\u{1b}'], "%");
    for token in odd.iter().chain([&good]) {
        let bearer = format!("Bearer {token}");
        let headers =
            [("Authorization", bearer.as_str()), ("X-Forwarded-For", &in_headers), ("Last-Event-ID", &in_headers)];
        for path in
            ["/api/me", "/api/events/?%0A2026%1B=%0A", "/api/messages/%0A2026%1B", "/api/events/stream", "/%0A2026%1B"]
        {
            http::send(process.address, "GET", path, &headers, b"").await;
        }
        http::send(process.address, "GET", "/api/me", &[("Host", in_headers.as_str()), ("Origin", &in_headers)], b"")
            .await;
    }
    let mut client = Client::connect(process.address, LIVE, &[V1, ("Authorization", &format!("Bearer {good}"))]).await;
    client.send(TEXT, json!({"_control": "filter", (format!("metadata.{FORGED}")): []}).to_string().as_bytes()).await;
    client.send(TEXT, json!({"_control": FORGED}).to_string().as_bytes()).await;
    while client.json().await["_control"] != "error" {}
    drop(process);
    assert!(log.text().contains("a token was refused"), "{}", log.text());
    log.is_the_services_own();
}
