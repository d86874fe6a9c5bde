//! Both services and the command line beside brokers that ask who connects, and that speak TLS.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]
#![allow(unreachable_pub)] // one test binary: nothing in it is reachable

mod operator;

use std::process::{Command, Output};

use nkeys::KeyPair;
use operator::Operator;
use shared::broker::{Broker as Connection, BrokerSettings, Role};
use shared::settings::{Environment, Mistakes, Settings};
use shared::testing::authority::{Authority, Pair};
use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::process::Process;
use shared::testing::websocket::Client;
use shared::testing::{soon, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mandrill-live");
const PASSWORD: &str = "Pass-word_not-secret01";
const WRONG: &str = "Another-password_02";

fn user(password: &str) -> String {
    format!("authorization {{ user: live, password: \"{password}\" }}")
}

/// Of a broker whose certificate is `server`, and that wants to see one of its clients'.
fn tls(server: &Pair, clients: &Authority, verify: &str) -> String {
    format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", {verify} }}",
        server.certificate,
        server.key,
        clients.path()
    )
}

async fn up(broker: &Broker, variables: &[(&str, &str)]) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("up");
    let url = broker.url();
    let base = [
        ("NATS_URL", url.as_str()),
        ("ALLOW_ANONYMOUS", "true"),
        ("DRAIN_SECONDS", "2"),
        ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url),
        ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key),
    ];
    Process::launch(command, &[&base, variables].concat()).await
}

async fn ready(up: &Process) {
    until("both services are ready", async || http::get(up.admin, "/readyz").await.status == 200).await;
}

/// Posts one event until it is taken, and sees it arrive.
async fn expect_event(up: &Process, session: &mut Client, id: &str) {
    let host = up.address.to_string();
    let (body, signature) = WEBHOOK.sign(&format!(r#"[{{"event":"open","_id":"{id}"}}]"#));
    let headers = [
        ("Host", host.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Mandrill-Signature", signature.as_str()),
    ];
    until("the event is taken", async || {
        let answer = http::send(up.address, "POST", "/api/hook/", &headers, body.as_bytes()).await;
        assert!(matches!(answer.status, 200 | 503), "{}", answer.head);
        answer.status == 200
    })
    .await;
    assert!(session.text().await.contains(id), "the event arrives");
}

async fn socket(up: &Process) -> Client {
    let host = up.address.to_string();
    Client::connect(up.address, "/ws/email/", &[("Host", host.as_str())]).await
}

async fn rejected_list(url: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.env_clear().args(["rejected", "list"]).env("NATS_URL", url).envs(variables.iter().copied());
    soon("it ends", command.kill_on_drop(true).output()).await.expect("it starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn settings(environment: &Environment) -> Result<BrokerSettings, Mistakes> {
    let mut mistakes = Mistakes::default();
    let settings = BrokerSettings::read(environment, &mut mistakes);
    settings.iter().for_each(|settings| settings.check(&mut mistakes));
    mistakes.or(settings)
}

/// A connection with these variables only; it may never stand.
async fn connect(url: &str, variables: &[(&str, &str)]) -> Connection {
    let environment = Environment::from([("NATS_URL", url)]);
    let environment = variables.iter().fold(environment, |all, (name, text)| all.or(name, text));
    let settings = settings(&environment).expect("settings");
    Connection::connect(Role::Ingest, &settings).await.expect("it tries")
}

async fn is_let_in(url: &str, variables: &[(&str, &str)]) {
    let mut connection = connect(url, variables).await;
    soon("it connects", connection.connected()).await;
    connection.client().flush().await.expect("it may speak");
}

/// Waits until the trouble is told in these words, and sees that nothing else is.
async fn is_told(url: &str, variables: &[(&str, &str)], words: &str) {
    let connection = connect(url, variables).await;
    until(words, async || connection.trouble().is_some_and(|said| said.contains(words))).await;
    assert!(!connection.is_connected());
    let said = connection.trouble().expect("trouble");
    for (name, value) in variables.iter().filter(|(name, _)| !name.contains("TLS") && *name != "NATS_USER") {
        assert!(!said.contains(value), "{name} is in {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_passwords_and_certificates_on_both_sides_events_flow() {
    let ours = Authority::new();
    let configuration =
        format!("{}\n{}", tls(&ours.certificate(&["127.0.0.1"]), &ours, "verify: true"), user(PASSWORD));
    let (client, authority) = (ours.certificate(&["live"]), ours.path());
    let variables = [
        ("NATS_USER", "live"),
        ("NATS_PASSWORD", PASSWORD),
        ("NATS_TLS_CA", authority.as_str()),
        ("NATS_TLS_CERT", client.certificate.as_str()),
        ("NATS_TLS_KEY", client.key.as_str()),
    ];
    let broker = Broker::secured(&configuration, &variables).await;
    let up = up(&broker, &variables).await;
    ready(&up).await;
    let mut session = socket(&up).await;
    expect_event(&up, &mut session, "over-tls").await;

    let list = rejected_list(&broker.url(), &variables).await;
    assert!(list.status.success(), "{}", stderr(&list));
    let refused = rejected_list(&broker.url(), &variables[2..]).await;
    assert!(!refused.status.success() && stderr(&refused).contains("check NATS_USER"), "{}", stderr(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_by_both_services_and_put_right_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
    let path = file.to_str().expect("a path");
    let variables = [("NATS_USER", "live"), ("NATS_PASSWORD_FILE", path)];
    let broker = Broker::secured(&user(PASSWORD), &variables).await;
    let up = up(&broker, &variables).await;
    ready(&up).await;
    let mut session = socket(&up).await;
    expect_event(&up, &mut session, "before").await;

    // The broker's is renewed first: who is connected with the old one is sent away.
    broker.reload(&user(WRONG));
    until("the services say what is wrong", async || {
        let unready = String::from_utf8_lossy(&http::get(up.admin, "/readyz").await.body).into_owned();
        assert!(!unready.contains(PASSWORD), "{unready}");
        unready.contains("check NATS_USER and NATS_PASSWORD")
    })
    .await;
    std::fs::write(&file, WRONG).expect("renewed");
    ready(&up).await;
    expect_event(&up, &mut session, "after").await;
}

#[tokio::test]
async fn a_service_that_starts_with_a_wrong_password_says_so_and_waits() {
    let broker = Broker::secured(&user(PASSWORD), &[("NATS_USER", "live"), ("NATS_PASSWORD", PASSWORD)]).await;
    let up = up(&broker, &[("NATS_USER", "live"), ("NATS_PASSWORD", WRONG)]).await;
    until("both say what is wrong", async || {
        let unready = String::from_utf8_lossy(&http::get(up.admin, "/readyz").await.body).into_owned();
        unready.matches("check NATS_USER and NATS_PASSWORD").count() == 2
    })
    .await;
}

#[tokio::test]
async fn every_way_to_sign_in_is_let_in_and_a_wrong_one_told_what_to_do() {
    const WORDS: &str = "it does not accept who we say we are: check NATS_USER";
    let broker = Broker::secured(&user(PASSWORD), &[("NATS_USER", "live"), ("NATS_PASSWORD", PASSWORD)]).await;
    is_let_in(&broker.url(), &[("NATS_USER", "live"), ("NATS_PASSWORD", PASSWORD)]).await;
    is_told(&broker.url(), &[("NATS_USER", "live"), ("NATS_PASSWORD", WRONG)], WORDS).await;
    is_told(&broker.url(), &[], WORDS).await;

    let key = KeyPair::new_user();
    let (seed, other) = (key.seed().expect("a seed"), KeyPair::new_user().seed().expect("a seed"));
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public_key());
    let broker = Broker::secured(&users, &[("NATS_NKEY", &seed)]).await;
    is_let_in(&broker.url(), &[("NATS_NKEY", &seed)]).await;
    is_told(&broker.url(), &[("NATS_NKEY", &other)], WORDS).await;

    let operator = Operator::new();
    let broker = Broker::secured(&operator.configuration, &[("NATS_CREDS", &operator.credentials)]).await;
    is_let_in(&broker.url(), &[("NATS_CREDS", &operator.credentials)]).await;
    is_told(&broker.url(), &[("NATS_CREDS", &Operator::new().credentials)], WORDS).await;

    // The certificate alone says who this is.
    let ours = Authority::new();
    let (known, other) = (ours.certificate(&["live.example.com"]), ours.certificate(&["other.example.com"]));
    let mapped = tls(&ours.certificate(&["127.0.0.1"]), &ours, "verify_and_map: true");
    let configuration = format!("{mapped}\nauthorization {{ users: [ {{ user: live.example.com }} ] }}");
    let ca = ours.path();
    let [known, other] = [&known, &other]
        .map(|pair| [("NATS_TLS_CA", &*ca), ("NATS_TLS_CERT", &*pair.certificate), ("NATS_TLS_KEY", &*pair.key)]);
    let broker = Broker::secured(&configuration, &known).await;
    is_let_in(&broker.url(), &known).await;
    is_told(&broker.url(), &other, WORDS).await;
}

#[tokio::test]
async fn a_broker_that_is_not_ours_or_does_not_know_us_is_told_apart() {
    let (ours, theirs) = (Authority::new(), Authority::named("somebody else"));
    let (ca, other_ca, same_name) = (ours.path(), theirs.path(), Authority::new());
    let client = ours.certificate(&["client"]);
    let right = [
        ("NATS_TLS_CA", ca.as_str()),
        ("NATS_TLS_CERT", client.certificate.as_str()),
        ("NATS_TLS_KEY", client.key.as_str()),
    ];
    let broker = Broker::secured(&tls(&ours.certificate(&["127.0.0.1"]), &ours, "verify: true"), &right).await;
    is_let_in(&broker.url(), &right).await;
    for unknown in [other_ca, same_name.path()] {
        let variables = [("NATS_TLS_CA", unknown.as_str()), right[1], right[2]];
        is_told(&broker.url(), &variables, "an authority we do not know: set NATS_TLS_CA").await;
    }
    is_told(&broker.url(), &right[..1], "it asks for a client certificate: set NATS_TLS_CERT").await;
    let foreign = theirs.certificate(&["client"]);
    let foreign = [right[0], ("NATS_TLS_CERT", &*foreign.certificate), ("NATS_TLS_KEY", &*foreign.key)];
    is_told(&broker.url(), &foreign, "it does not accept our certificate").await;
    let by_name = broker.url().replace("127.0.0.1", "localhost");
    is_told(&by_name, &right, "its certificate is for another name").await;

    let plain = Broker::start().await;
    is_told(&plain.url(), &right[..1], "it does not speak TLS").await;
}

#[tokio::test]
async fn of_several_urls_one_that_answers_is_enough() {
    let (away, broker) = (Broker::absent(""), Broker::start().await);
    is_let_in(&format!("{},{}", away.url(), broker.url()), &[]).await;
}

#[test]
fn what_cannot_work_is_refused_at_the_start_and_no_secret_is_shown() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = (ours.certificate(&["a"]).certificate, theirs.certificate(&["a"]).key);
    let environment = Environment::from([
        ("NATS_URL", "nats://me:hush-url@a:4222"),
        ("NATS_USER", "me"),
        ("NATS_PASSWORD", "hush-password"),
        ("NATS_TLS_CERT", certificate.as_str()),
        ("NATS_TLS_KEY", key.as_str()),
        ("NATS_NKEY", "hush-seed"),
        ("NATS_CREDS", "hush-credentials"),
    ]);
    let mistakes = settings(&environment).expect_err("refused").to_string();
    for part in ["NATS_NKEY: is not NKEY seed", "NATS_CREDS: is not content of a credentials file"] {
        assert!(mistakes.contains(part), "{part} in {mistakes}");
    }
    let seed = KeyPair::new_user().seed().expect("a seed");
    let environment = Environment::from([
        ("NATS_URL", "nats://me:hush-url@a:4222"),
        ("NATS_USER", "me"),
        ("NATS_PASSWORD", "hush-password"),
        ("NATS_TLS_CERT", certificate.as_str()),
        ("NATS_TLS_KEY", key.as_str()),
        ("NATS_NKEY", seed.as_str()),
    ]);
    let more = settings(&environment).expect_err("refused").to_string();
    for part in [
        "NATS_URL: holds a user or a password",
        "NATS_NKEY: is another way to sign in than NATS_USER",
        "NATS_TLS_KEY: does not go with NATS_TLS_CERT",
    ] {
        assert!(more.contains(part), "{part} in {more}");
    }
    assert!(!mistakes.contains("hush") && !more.contains("hush") && !more.contains(&seed), "{mistakes}{more}");
}
