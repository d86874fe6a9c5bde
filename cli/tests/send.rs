//! `mandrill-live send` against a webhook that only remembers what it was sent.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use shared::form::Form;
use shared::signature::sign;
use tokio::net::TcpListener;

/// One request as it came.
struct Received {
    headers: HeaderMap,
    body: Vec<u8>,
    at: Instant,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The value of its only field.
    fn batch(&self) -> String {
        let mut body = self.body.clone();
        let form = Form::decode_in_place(&mut body, 1).expect("one field");
        let value = form.value_of(b"mandrill_events", &body).expect("of that name");
        String::from_utf8(body[value].to_vec()).expect("UTF-8")
    }

    fn events(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.batch()).expect("a JSON array")
    }
}

/// A webhook that gives every request the same answer.
struct Webhook {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Webhook {
    async fn start(status: u16, answer: &'static str) -> Webhook {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let requests = received.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let requests = requests.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let requests = requests.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
                        let received = Received { headers: head.headers, body, at: Instant::now() };
                        requests.lock().expect("no panic").push(received);
                        let response = Response::builder().status(status).body(Full::new(Bytes::from(answer)));
                        Ok::<_, Infallible>(response.expect("a valid response"))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Webhook { address, received }
    }

    fn url(&self) -> String {
        format!("http://{}/api/hook/", self.address)
    }

    fn received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().expect("no panic"))
    }
}

/// Runs the program with no variable of this process that it reads.
async fn send(url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mandrill-live"));
    command.env_remove("MANDRILL_WEBHOOK_KEYS").env_remove("MANDRILL_WEBHOOK_URLS");
    command.args(["send", "--url", url]).args(arguments).envs(environment.iter().copied());
    let running = tokio::task::spawn_blocking(move || command.output());
    running.await.expect("no panic").expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const TAKEN: &str = r#"{"accepted":9,"duplicates":1,"rejected":0}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_made_as_mandrill_makes_it() {
    let webhook = Webhook::start(200, TAKEN).await;
    let registered = "https://hooks.example.com/mandrill/in?a=b";
    let arguments = ["--events", "25", "--batch", "10", "--key", "a-key", "--signed-url", registered];
    let output = send(&webhook.url(), &arguments, &[]).await;
    assert!(output.status.success(), "{output:?}");

    let received = webhook.received();
    assert_eq!(received.iter().map(|request| request.events().len()).collect::<Vec<_>>(), [10, 10, 5]);
    for request in &received {
        assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(request.header("user-agent"), "Mandrill-Webhook/1.0");
        let batch = request.batch();
        let expected = sign("a-key", registered, &[(b"mandrill_events", batch.as_bytes())]);
        assert_eq!(request.header("x-mandrill-signature"), expected);
        assert!(batch.contains("https:\\/\\/"), "PHP's slashes");
    }
    let summary = text(&output.stdout);
    for line in ["sent        25 events in 3 requests", "accepted    27", "duplicates  3", "refused     0 requests"] {
        assert!(summary.contains(line), "{summary}");
    }
    assert_eq!(text(&output.stderr), "", "no progress bar without a terminal");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_urls_of_the_service_are_found_in_its_variables() {
    let webhook = Webhook::start(200, TAKEN).await;
    let keys = ("MANDRILL_WEBHOOK_KEYS", "new-key, old-key");
    let registered = ("MANDRILL_WEBHOOK_URLS", "https://hooks.example.com/a,https://hooks.example.com/b");
    let check = async |environment: &[(&str, &str)], expected: &dyn Fn(&str) -> String| {
        let output = send(&webhook.url(), &["--events", "1"], environment).await;
        assert!(output.status.success(), "{output:?}");
        let request = webhook.received().pop().expect("one request");
        assert_eq!(request.header("x-mandrill-signature"), expected(&request.batch()));
    };
    let signed = |url: &str, batch: &str| sign("new-key", url, &[(b"mandrill_events", batch.as_bytes())]);
    check(&[keys, registered], &|batch| signed("https://hooks.example.com/a", batch)).await;
    check(&[keys], &|batch| signed(&webhook.url(), batch)).await;
    check(&[registered], &|_| String::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_kinds_asked_for_are_sent_from_several_senders() {
    let webhook = Webhook::start(200, TAKEN).await;
    let arguments =
        ["--events", "60", "--batch", "7", "--kind", "open,sync", "--kind", "inbound", "--senders", "4", "--seed", "7"];
    let output = send(&webhook.url(), &arguments, &[]).await;
    assert!(output.status.success(), "{output:?}");
    let events: Vec<_> = webhook.received().iter().flat_map(Received::events).collect();
    assert_eq!(events.len(), 60);
    for event in events {
        assert!(["open", "inbound"].contains(&event["event"].as_str().unwrap_or("open")), "{event}");
    }
    assert!(text(&output.stdout).contains("(seed 7)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_leave_no_faster_than_the_rate() {
    let webhook = Webhook::start(200, TAKEN).await;
    let output = send(&webhook.url(), &["--events", "30", "--batch", "10", "--rate", "50"], &[]).await;
    assert!(output.status.success(), "{output:?}");
    let times: Vec<_> = webhook.received().iter().map(|request| request.at).collect();
    // Due at 0, 0.2 and 0.4 seconds; a late one is never followed by an early one.
    assert!(times[2] - times[0] >= Duration::from_millis(300), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_once_and_ends_in_failure() {
    let problem = r#"{"title":"Not signed by Mandrill","status":401,"detail":"No key fits."}"#;
    let webhook = Webhook::start(401, problem).await;
    let output = send(&webhook.url(), &["--events", "30", "--batch", "10"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("3 requests refused, 401 Not signed by Mandrill: No key fits."), "{told}");
    assert!(told.contains("--key and --signed-url"), "{told}");
    assert!(text(&output.stdout).contains("refused     3 requests"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_end_in_failure() {
    let webhook = Webhook::start(200, r#"{"accepted":0,"duplicates":0,"rejected":1}"#).await;
    let output = send(&webhook.url(), &["--events", "1"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 event rejected"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_it_stops_at_once_and_says_so() {
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let url = format!("http://{unused}/api/hook/");
    let output = send(&url, &["--events", "1000000", "--batch", "1", "--rate", "1"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("1 request refused, no connection: Connection refused"), "{told}");
    assert!(told.contains("make run"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_something_else_is_a_refusal() {
    let webhook = Webhook::start(200, "<html>").await;
    let output = send(&webhook.url(), &["--events", "1"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Check --url"), "{output:?}");
}
