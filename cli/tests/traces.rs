//! Traces of the whole way, as a collector receives them: OTLP over real HTTP from `mandrill-live up`.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use shared::http::{Body, empty};
use shared::serve::{self, Handler};
use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::process::Process;
use shared::testing::{soon, until};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ADDRESS: &str = "somebody@example.com";

/// Keeps what it is sent: spans with the name of their service.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

impl Collector {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (limits, never) = (serve::ADMIN_LIMITS, CancellationToken::new());
        tokio::spawn(serve::run(listener, self.clone(), limits, never, Duration::ZERO));
        address
    }

    fn spans(&self, service: &str, name: &str) -> Vec<Span> {
        let all = self.0.lock().expect("the spans");
        let of = |(from, span): &(String, Span)| (from == service && span.name == name).then(|| span.clone());
        all.iter().filter_map(of).collect()
    }

    /// The first of a name within a trace.
    async fn span(&self, service: &str, name: &str, trace: &[u8]) -> Span {
        soon(name, async {
            loop {
                if let Some(span) = self.spans(service, name).into_iter().find(|span| span.trace_id == trace) {
                    return span;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

impl Handler for Collector {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Body> {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        assert!(!body.windows(ADDRESS.len()).any(|part| part == ADDRESS.as_bytes()), "a trace holds an address");
        for resource in ExportTraceServiceRequest::decode(body).expect("OTLP").resource_spans {
            let attributes = resource.resource.expect("a resource").attributes;
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").expect("its name");
            let service = format!("{:?}", name.value.expect("a value"));
            let service = if service.contains("ingest") { "ingest" } else { "notifier" };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().expect("the spans").extend(spans.map(|span| (service.to_owned(), span)));
        }
        empty()
    }
}

async fn up(broker: &Broker, variables: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mandrill-live"));
    command.arg("up");
    let url = broker.url();
    let base = [
        ("NATS_URL", url.as_str()),
        ("ALLOW_ANONYMOUS", "true"),
        ("DRAIN_SECONDS", "1"),
        ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url),
        ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key),
    ];
    Process::start(command, &[&base, variables].concat()).await
}

async fn post(up: &Process, id: &str, traceparent: Option<&str>) {
    let host = up.address.to_string();
    let batch = format!(r#"[{{"event":"open","_id":"{id}","msg":{{"email":"{ADDRESS}"}}}}]"#);
    let (body, signature) = WEBHOOK.sign(&batch);
    let mut headers = vec![
        ("Host", host.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Mandrill-Signature", signature.as_str()),
    ];
    headers.extend(traceparent.map(|traceparent| ("traceparent", traceparent)));
    let answer = http::send(up.address, "POST", "/api/hook/", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(span: &Span, other: &Span) -> bool {
    span.links.iter().any(|link| link.trace_id == other.trace_id && link.span_id == other.span_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_its_commit_and_its_delivery_are_one_trace() {
    let (broker, collector) = (Broker::start().await, Collector::default());
    let endpoint = format!("http://{}", collector.start().await);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let up = up(&broker, &variables).await;

    // A request without a trace begins one.
    post(&up, "first", None).await;
    until("the request's span", async || !collector.spans("ingest", "POST hook").is_empty()).await;
    let request = collector.spans("ingest", "POST hook").remove(0);
    assert!(request.parent_span_id.is_empty(), "nobody asked for it");
    let commit = collector.span("ingest", "commit", &request.trace_id).await;
    assert!(names(&commit, &request) && commit.parent_span_id == request.span_id);
    let delivery = collector.span("notifier", "deliver", &request.trace_id).await;
    assert!(names(&delivery, &request), "{delivery:?}");

    // One with a trace goes on with it.
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    post(&up, "second", Some(&format!("00-{theirs}-00f067aa0ba902b7-01"))).await;
    let trace: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&theirs[at..at + 2], 16).expect("hex")).collect();
    let request = collector.span("ingest", "POST hook", &trace).await;
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    collector.span("notifier", "deliver", &trace).await;

    // One that its sender does not keep is not kept here, and neither is what follows from it.
    post(&up, "third", Some("00-11111111111111111111111111111111-00f067aa0ba902b7-00")).await;
    post(&up, "fourth", Some("00-22222222222222222222222222222222-00f067aa0ba902b7-01")).await;
    collector.span("notifier", "deliver", &[0x22; 16]).await;
    let all = collector.0.lock().expect("the spans").clone();
    assert!(all.iter().all(|(_, span)| span.trace_id != [0x11; 16]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_requests_share_names_each_of_them() {
    let (broker, collector) = (Broker::start().await, Collector::default());
    let endpoint = format!("http://{}/", collector.start().await);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let up = up(&broker, &variables).await;
    let shared =
        |collector: &Collector| collector.spans("ingest", "commit").into_iter().find(|commit| commit.links.len() > 1);
    let mut round = 0;
    until("requests share a commit", async || {
        round += 1;
        let ids: Vec<String> = (0..16).map(|number| format!("{round}-{number}")).collect();
        futures_util::future::join_all(ids.iter().map(|id| post(&up, id, None))).await;
        shared(&collector).is_some()
    })
    .await;
    let commit = shared(&collector).expect("a shared commit");
    until("its requests' spans", async || {
        let requests = collector.spans("ingest", "POST hook");
        commit.links.iter().all(|link| requests.iter().any(|request| request.span_id == link.span_id))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_sent_when_the_process_ends() {
    let (broker, collector) = (Broker::start().await, Collector::default());
    let endpoint = format!("http://{}", collector.start().await);
    // So long that only the end can be why they come.
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let mut up = up(&broker, &variables).await;
    post(&up, "last", None).await;
    assert!(collector.spans("ingest", "POST hook").is_empty());
    let told = Command::new("kill").arg("-TERM").arg(up.pid().to_string()).status().expect("kill runs");
    assert!(told.success());
    until("the process ends", async || !up.lives()).await;
    assert_eq!(collector.spans("ingest", "POST hook").len(), 1);
    assert_eq!(collector.spans("ingest", "commit").len(), 1);
}
