//! Pages of stored events: newest first, of a message, of a person.

use std::collections::HashSet;

use serde_json::Value;
use shared::cursor::{Cursor, Epoch};
use shared::subject::RecipientHash;
use shared::testing::broker::Broker;
use shared::testing::http::{Answer, get, send};
use shared::testing::soon;
use tokio_util::sync::CancellationToken;

use crate::support::{Service, Writer, events};

async fn service(variables: &[(&str, &str)]) -> (Broker, Writer, Service) {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, variables).await;
    (broker, writer, service)
}

/// The numbers of the events of a page, and where it goes on.
fn page(answer: &Answer) -> (Vec<u64>, Option<String>) {
    assert_eq!(answer.status, 200, "{}", answer.head);
    let document = answer.json();
    let events = document["events"].as_array().expect("events");
    let numbers = events.iter().map(|event| event["n"].as_u64().expect("a number")).collect();
    (numbers, document["next"].as_str().map(str::to_owned))
}

/// All pages, one after the other.
async fn pages(service: &Service, path: &str, parameter: &str) -> Vec<u64> {
    let (mut numbers, mut next) = (Vec::new(), None);
    loop {
        let at = next.map_or(String::new(), |next: String| format!("&{parameter}={next}"));
        let (found, then) = page(&get(service.http, &format!("{path}{at}")).await);
        numbers.extend(found);
        next = match then {
            Some(then) => Some(then),
            None => return numbers,
        };
    }
}

fn numbered(number: u64) -> String {
    let kind = if number.is_multiple_of(1000) { "spam" } else { "open" };
    format!(
        r#"{{"event":"{kind}","_id":"m{}","n":{number},"msg":{{"email":"p{}@example.com","tags":["t{}"]}}}}"#,
        number / 3,
        number % 5000,
        number % 7
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paging_through_a_hundred_thousand_events_while_new_ones_arrive_meets_each_once() {
    const EVENTS: u64 = 100_000;
    let (_broker, writer, service) = service(&[("RING_BYTES", "4MiB")]).await;
    let all: Vec<String> = (0..EVENTS).map(numbered).collect();
    writer.store_in_batches(&all).await;
    let first = page(&get(service.http, "/api/events/?limit=1000").await);
    assert_eq!(first.0, Vec::from_iter((EVENTS - 1000..EVENTS).rev()), "everything acknowledged is seen at once");

    let stop = CancellationToken::new();
    let arriving = {
        let (stop, writer) = (stop.clone(), writer.clone());
        tokio::spawn(async move {
            let mut number = EVENTS;
            while !stop.is_cancelled() {
                writer.store(&numbered(number)).await;
                number += 1;
            }
            number
        })
    };
    let (mut met, mut next) = (first.0, first.1);
    while let Some(before) = next {
        let (found, then) = page(&get(service.http, &format!("/api/events/?limit=1000&before={before}")).await);
        met.extend(found);
        next = then;
    }
    assert!(met == Vec::from_iter((0..EVENTS).rev()), "each once, newest first: {} events", met.len());
    let rare = pages(&service, "/api/events?event=spam&limit=30", "before").await;
    stop.cancel();
    let stored = arriving.await.expect("the writer");
    let expected: Vec<u64> = (0..stored).rev().filter(|number| number.is_multiple_of(1000)).collect();
    assert_eq!(HashSet::<u64>::from_iter(rare.iter().copied()).len(), rare.len());
    assert!(expected.ends_with(&rare[rare.len() - 100..]), "{rare:?}");

    let person = pages(&service, "/api/recipients/P7@example.com?limit=3", "before").await;
    let expected: Vec<u64> = (0..stored).rev().filter(|number| number % 5000 == 7).collect();
    assert_eq!(person, expected);
    let tagged = pages(&service, "/api/events?tag=t3&email=p7@example.com", "before").await;
    assert_eq!(tagged, expected.iter().copied().filter(|number| number % 7 == 3).collect::<Vec<_>>());
    for path in ["/api/messages/m7", "/api/messages/m7?email=p22@example.com"] {
        let expected = if path.contains('?') { vec![22] } else { vec![21, 22, 23] };
        assert_eq!(
            pages(&service, &format!("{path}{}", if path.contains('?') { "" } else { "?" }), "since").await,
            expected
        );
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_answer() {
    let (_broker, writer, service) = service(&[]).await;
    for number in 0..50 {
        writer.store(&numbered(number)).await;
        let (found, _) = page(&get(service.http, "/api/events/?limit=1").await);
        assert_eq!(found, [number]);
    }
}

#[tokio::test]
async fn an_event_is_given_as_sockets_get_it() {
    let (_broker, writer, service) = service(&[]).await;
    let all = events(30);
    writer.store_all(&all).await;
    let answer = get(service.http, "/api/events").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = String::from_utf8(answer.body.clone()).expect("text");
    for event in &all {
        assert!(text.contains(&event[1..]), "byte for byte: {event}");
    }
    let document = answer.json();
    let events = document["events"].as_array().expect("events");
    assert_eq!((events.len(), &document["next"]), (30, &Value::Null));
    let mut session = service.session().await;
    writer.store(&all[0]).await;
    let live: Value = session.json().await;
    assert_eq!(get(service.http, "/api/events/?limit=1").await.json()["events"][0], live);
}

#[tokio::test]
async fn times_bound_what_is_given() {
    let (_broker, writer, service) = service(&[]).await;
    for number in 0..5 {
        writer.store(&numbered(number)).await;
    }
    let first = get(service.http, "/api/events/").await.json()["events"][4]["_received"].as_u64().expect("a time");
    let (before, after) = (first / 1000, first / 1000 + 60);
    let numbers = async |query: String| page(&get(service.http, &format!("/api/events/?{query}")).await).0;
    assert_eq!(numbers(format!("from={before}&to={after}")).await, [4, 3, 2, 1, 0]);
    assert!(numbers(format!("from={after}")).await.is_empty());
    assert!(numbers(format!("to={before}")).await.is_empty());
    assert_eq!(numbers("from=2020-01-01T00:00:00%2B01:00".to_owned()).await.len(), 5);
}

#[tokio::test]
async fn a_person_is_found_by_address_or_hash_and_one_nobody_wrote_to_has_no_events() {
    let (_broker, writer, service) = service(&[]).await;
    for number in 0..20 {
        writer.store(&numbered(number)).await;
    }
    let hash = RecipientHash::of("p3@example.com").to_string();
    for person in ["p3@example.com", "P3%40Example.com", &hash] {
        let answer = get(service.http, &format!("/api/recipients/{person}/")).await;
        assert_eq!(page(&answer).0, [3]);
        assert_eq!(answer.json()["recipient"], hash);
    }
    let nobody = get(service.http, "/api/recipients/nobody@example.com").await;
    assert_eq!(page(&nobody), (vec![], None));
    let missing = get(service.http, "/api/messages/m0?event=click").await;
    assert_eq!((missing.status, &missing.json()["type"]), (404, &"urn:mandrill-live:problem:no-events".into()));
}

#[tokio::test]
async fn what_cannot_be_answered_says_which_parameter_and_what_is_allowed() {
    let (_broker, _writer, service) = service(&[]).await;
    let other = Cursor { epoch: Epoch::random(), sequence: 1, stored_ms: 0 };
    let old = Cursor { epoch: Epoch::random(), sequence: 0, stored_ms: 0 };
    for (path, status, parameter) in [
        ("/api/events/?limit=1001".to_owned(), 400, "limit"),
        ("/api/events/?since=x".to_owned(), 400, "since"),
        ("/api/events/?access_token=secret".to_owned(), 400, "access_token"),
        ("/api/events/?from=5&to=4".to_owned(), 400, "to"),
        (format!("/api/events/?before={other}"), 410, "before"),
        (format!("/api/messages/m?since={old}"), 410, "since"),
        ("/api/messages/m?message=m".to_owned(), 400, "message"),
        ("/api/recipients/nobody".to_owned(), 400, "recipient"),
        (format!("/api/messages/{}", "x".repeat(513)), 400, "id"),
    ] {
        let answer = get(service.http, &path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["parameter"], parameter, "{problem}");
        assert!(problem["allowed"].as_str().is_some_and(|allowed| !allowed.is_empty()), "{problem}");
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let accept = send(service.http, "GET", "/api/events", &[("Accept", "text/html")], b"").await;
    assert_eq!(accept.status, 406);
    let post = send(service.http, "POST", "/api/events/", &[], b"").await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let head = send(service.http, "HEAD", "/api/events/", &[], b"").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("25"), 0));
}

#[tokio::test]
async fn beyond_max_queries_and_while_the_broker_is_away_one_is_told_when_to_ask_again() {
    let (broker, writer, service) = service(&[("MAX_QUERIES", "1")]).await;
    writer.store(&numbered(1)).await;
    broker.freeze();
    let http = service.http;
    let ask = async || get(http, "/api/events/").await;
    let answers: [Answer; 3] = tokio::join!(ask(), ask(), ask()).into();
    let named = |name: &str| {
        let wanted = format!("urn:mandrill-live:problem:{name}");
        answers.iter().filter(|answer| answer.json()["type"] == wanted).count()
    };
    assert_eq!((named("broker"), named("busy")), (1, 2));
    for answer in &answers {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    }
    broker.thaw();
    soon("stored events again", async { while get(http, "/api/events/").await.status != 200 {} }).await;
}
