//! Exports: whole, cut, resumed, left alone.

use serde_json::{Value, json};
use shared::testing::broker::Broker;
use shared::testing::http::{Answer, get, send};
use shared::testing::{soon, until};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::tokens::{SECRET, Signer, claims};
use crate::support::{Service, Writer};

async fn service(variables: &[(&str, &str)]) -> (Broker, Writer, Service) {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, variables).await;
    (broker, writer, service)
}

fn event(number: usize, fill: usize) -> String {
    let kind = if number.is_multiple_of(10) { "click" } else { "open" };
    format!(
        r#"{{"event":"{kind}","_id":"m{number}","n":{number},"msg":{{"email":"p{}@example.com","subject":"{}"}}}}"#,
        number % 7,
        "x".repeat(fill)
    )
}

/// An export's events and its last line.
fn lines(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let text = std::str::from_utf8(&answer.body).expect("text");
    assert!(text.ends_with('\n'), "whole lines");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.pop().expect("a last line");
    (lines, last)
}

fn numbers(events: &[Value]) -> Vec<usize> {
    events.iter().map(|event| event["n"].as_u64().expect("a number") as usize).collect()
}

#[tokio::test]
async fn an_export_has_every_event_once_oldest_first_and_goes_on_where_one_ended() {
    const EVENTS: usize = 6000;
    let (_broker, writer, service) = service(&[("RING_BYTES", "1MiB")]).await;
    let all: Vec<String> = (0..EVENTS).map(|number| event(number, 500)).collect();
    writer.store_in_batches(&all).await;
    let whole = get(service.http, "/api/events/export").await;
    assert_eq!(whole.header("content-disposition"), Some("attachment; filename=\"mandrill-events.ndjson\""));
    assert_eq!(whole.header("cache-control"), Some("no-store"));
    let (events, last) = lines(&whole);
    assert_eq!(numbers(&events), Vec::from_iter(0..EVENTS));
    assert_eq!((&last["_export"], &last["events"]), (&json!("complete"), &json!(EVENTS)));
    let text = String::from_utf8(whole.body.clone()).expect("text");
    assert!(text.lines().zip(&all).all(|(line, event)| line.ends_with(&event[1..])), "byte for byte");

    // From any event of it, and from its end, once more has come.
    let middle = events[2345]["_cursor"].as_str().expect("a cursor");
    let (rest, _) = lines(&get(service.http, &format!("/api/events/export/?since={middle}")).await);
    assert_eq!(numbers(&rest), Vec::from_iter(2346..EVENTS));
    writer.store(&event(EVENTS, 1)).await;
    let end = last["at"].as_str().expect("a cursor");
    let (new, last) = lines(&get(service.http, &format!("/api/events/export?since={end}")).await);
    assert_eq!((numbers(&new), &last["events"]), (vec![EVENTS], &json!(1)));

    let (clicks, _) = lines(&get(service.http, "/api/events/export?event=click&email=p3@example.com").await);
    let expected: Vec<usize> = (0..=EVENTS).filter(|number| number.is_multiple_of(10) && number % 7 == 3).collect();
    assert_eq!(numbers(&clicks), expected);
}

#[tokio::test]
async fn a_table_has_a_row_for_each_event_and_says_that_it_is_complete() {
    let (_broker, writer, service) = service(&[]).await;
    for number in 0..25 {
        writer.store(&event(number, 3)).await;
    }
    let by_name = get(service.http, "/api/events/export?format=csv").await;
    let by_accept = send(service.http, "GET", "/api/events/export", &[("Accept", "text/csv")], b"").await;
    assert_eq!(by_name.body, by_accept.body);
    assert!(by_name.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")));
    let text = String::from_utf8(by_name.body.clone()).expect("text");
    let rows: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(rows.len(), 27);
    assert!(rows[0].starts_with("Date,Email Address,Sender,Subject,Status,Tags,Subaccount,"));
    assert!(rows[26].starts_with("#complete,,,,,,,,,,25,"), "{}", rows[26]);
    let refused = send(service.http, "GET", "/api/events/export", &[("Accept", "text/html")], b"").await;
    assert_eq!(refused.status, 406);
    assert_eq!(get(service.http, "/api/events/export?format=xml").await.json()["parameter"], "format");
    assert_eq!(send(service.http, "HEAD", "/api/events/export", &[], b"").await.status, 200);
}

async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    soon("the rest", stream.read_to_end(&mut bytes)).await.expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// More than all buffers between hold.
const MANY: usize = 6000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_ends_with_its_client_and_one_that_has_to_end_early_says_so() {
    let variables = [("MAX_QUERIES", "2"), ("RING_BYTES", "1MiB"), ("JWT_SECRET", SECRET)];
    let (_broker, writer, service) = service(&variables).await;
    writer.store_in_batches(&(0..MANY).map(|number| event(number, 4000)).collect::<Vec<_>>()).await;
    let token = Signer::secret(SECRET).sign(&claims(json!({})));
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];

    let first = service.ask_slowly("/api/events/export", &headers).await;
    let second = send(service.http, "GET", "/api/events/export", &headers, b"").await;
    assert_eq!((second.status, &second.json()["type"]), (503, &json!("urn:mandrill-live:problem:busy")));
    assert_eq!(send(service.http, "GET", "/api/events/", &headers, b"").await.status, 200, "queries have places left");
    drop(first);
    until("the place of a client that has gone is free", async || {
        send(service.http, "GET", "/api/events/export?event=none", &headers, b"").await.status == 200
    })
    .await;

    let cut = service.ask_slowly("/api/events/export", &headers).await;
    service.tell_to_stop();
    until("not ready any more", async || !service.is_ready().await).await;
    let text = rest(cut).await;
    let last = text.lines().rev().find(|line| line.starts_with('{')).expect("a last line");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!((&last["_export"], &last["reason"]), (&json!("incomplete"), &json!("drain")));
    let events = last["events"].as_u64().expect("a number") as usize;
    assert!(events > 0 && events < MANY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_ends_when_its_token_does_and_has_only_what_the_token_allows() {
    let (_broker, writer, service) = service(&[("RING_BYTES", "1MiB"), ("JWT_SECRET", SECRET)]).await;
    writer.store_in_batches(&(0..MANY).map(|number| event(number, 4000)).collect::<Vec<_>>()).await;
    let signer = Signer::secret(SECRET);
    let restricted = signer.sign(&claims(json!({"filter": {"email": "p3@example.com"}})));
    let bearer = format!("Bearer {restricted}");
    let answer = send(service.http, "GET", "/api/events/export", &[("Authorization", &bearer)], b"").await;
    let (events, last) = lines(&answer);
    let expected: Vec<usize> = (0..MANY).filter(|number| number % 7 == 3).collect();
    assert_eq!((numbers(&events), &last["events"]), (expected.clone(), &json!(expected.len())));

    let short = signer.sign(&claims(json!({"exp": crate::support::tokens::now() + 3})));
    let bearer = format!("Bearer {short}");
    let slow = service.ask_slowly("/api/events/export", &[("Authorization", &bearer)]).await;
    until("the token has ended", async || {
        send(service.http, "GET", "/api/events/?limit=1", &[("Authorization", &bearer)], b"").await.status == 401
    })
    .await;
    let text = rest(slow).await;
    let last = text.lines().rev().find(|line| line.starts_with('{')).expect("a last line");
    assert!(last.contains(r#""_export":"incomplete""#) && last.contains(r#""reason":"token""#), "{last}");
}
