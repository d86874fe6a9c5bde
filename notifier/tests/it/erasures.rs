//! People whose events are erased: on every replica, in everything that shows events, for good.

use std::collections::HashMap;

use async_nats::jetstream::object_store::ObjectMetadata;
use serde_json::{Value, json};
use shared::subject::RecipientHash;
use shared::testing::broker::Broker;
use shared::testing::http::{Answer, get, send};
use shared::testing::proxy::{Proxy, Weather};
use shared::testing::{soon, until};
use shared::{event, stream, subject};
use tokio_util::sync::CancellationToken;

use crate::support::client::Frame;
use crate::support::tokens::{SECRET, Signer, claims};
use crate::support::{Client, EventStream, Service, V1, Writer, metric};

const ANN: &str = "ann@example.com";
const OBJECT: &str = "abcdefghijklmnopqrstuvwxyzABCD-_";
const JSON: (&str, &str) = ("Content-Type", "application/json");
/// More than two chunks of the ring's in all, and a part of a second in time.
const FILL: usize = 600;

fn person(number: usize) -> &'static str {
    [ANN, "bob@example.com", "cy@example.com", "di@example.com"][number % 4]
}

fn event(number: usize) -> String {
    let kind = ["open", "click", "send"][number % 3];
    let (email, fill) = (person(number), "x".repeat(FILL));
    json!({"event": kind, "_id": format!("m{number}"), "n": number, "msg": {"email": email, "tags": ["t"], "subject": fill}})
        .to_string()
}

fn hash() -> String {
    RecipientHash::of(ANN).to_string()
}

/// A replica that only this machine reaches: there everybody may erase.
async fn local(broker: &Broker, variables: &[(&str, &str)]) -> Service {
    let variables: Vec<(&str, &str)> = variables.iter().copied().chain([("HTTP_ADDR", "127.0.0.1:0")]).collect();
    Service::with(broker, &variables).await
}

async fn erase(service: &Service, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([JSON]).collect();
    let body = json!({"email": " Ann@Example.com "}).to_string();
    send(service.http, "POST", "/api/erasures", &headers, body.as_bytes()).await
}

/// Erases, and says how many events there were.
async fn erased(service: &Service) -> u64 {
    let answer = erase(service, &[]).await;
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    assert_eq!(answer.json()["recipient"], hash());
    answer.json()["erased"].as_u64().expect("a number")
}

fn number(event: &Value) -> usize {
    event["n"].as_u64().unwrap_or_else(|| panic!("an event, not {event}")) as usize
}

fn is_anns(number: usize) -> bool {
    person(number) == ANN
}

fn others(numbers: impl IntoIterator<Item = usize>) -> Vec<usize> {
    numbers.into_iter().filter(|number| !is_anns(*number)).collect()
}

/// The answer to a query. A replica whose connection has only just come back may say 503: come again.
async fn answered(service: &Service, path: &str) -> Answer {
    soon("an answer", async {
        loop {
            let answer = get(service.http, path).await;
            if answer.status != 503 {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await
}

/// All that a replica has stored, by an export.
async fn exported(service: &Service, query: &str) -> Vec<Value> {
    let answer = answered(service, &format!("/api/events/export{query}")).await;
    let text = String::from_utf8(answer.body).expect("text");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.pop().expect("a last line")["_export"], "complete");
    lines
}

fn numbers(events: &[Value]) -> Vec<usize> {
    events.iter().map(number).collect()
}

/// The same newest first, page by page.
async fn paged(service: &Service, query: &str) -> Vec<usize> {
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let page = answered(service, &format!("/api/events/?limit=97{query}{before}")).await.json();
        found.extend(page["events"].as_array().expect("events").iter().map(number));
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return found,
        }
    }
}

/// What a replica counts, by kind.
async fn counted(service: &Service, query: &str) -> HashMap<String, u64> {
    let stats = get(service.http, &format!("/api/stats/?window=1h{query}")).await.json();
    serde_json::from_value(stats["totals"].clone()).expect("counts")
}

/// What was counted of the steps that begin at a time or later.
fn counts_since(stats: &Value, since: u64) -> u64 {
    let (from, step) = (stats["from"].as_u64().expect("a time"), stats["step_ms"].as_u64().expect("a time"));
    let kinds = stats["counts"].as_object().expect("counts").values();
    let steps = kinds.flat_map(|counts| counts.as_array().expect("counts").iter().enumerate());
    let since = steps.filter(|(at, _)| from + *at as u64 * step >= since);
    since.filter_map(|(_, count)| count.as_u64()).sum()
}

/// The same of these events, counted one by one.
fn count(numbers: &[usize]) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for number in numbers {
        *counts.entry(["open", "click", "send"][number % 3].to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Everything that shows events shows these, newest last.
async fn shows(service: &Service, expected: &[usize]) {
    assert_eq!(numbers(&exported(service, "").await), expected);
    let newest_first: Vec<usize> = expected.iter().rev().copied().collect();
    assert_eq!(paged(service, "").await, newest_first);
    let anns = others_not(expected);
    for path in [format!("/api/recipients/{ANN}?limit=1000"), format!("/api/recipients/{}?limit=1000", hash())] {
        let page = get(service.http, &path).await.json();
        assert_eq!(page["events"].as_array().expect("events").len(), anns.len(), "{path}");
    }
    assert_eq!(numbers(&exported(service, &format!("?email={ANN}")).await), anns);
    assert_eq!(counted(service, "&step=7s").await, count(expected), "event by event");
    assert_eq!(counted(service, "&step=1m").await, count(expected), "by the minute");
    assert_eq!(counted(service, &format!("&email={ANN}")).await, count(&anns));
    for number in [0, 4, 8] {
        let message = get(service.http, &format!("/api/messages/m{number}")).await;
        assert_eq!(message.status == 200, expected.contains(&number), "m{number}");
    }
}

fn others_not(numbers: &[usize]) -> Vec<usize> {
    numbers.iter().copied().filter(|number| is_anns(*number)).collect()
}

/// The events of a session up to the one with this number, and after how many of them it was told to forget
/// somebody; what else it is told is passed over.
async fn follow(client: &mut Client, last: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut events, mut told) = (Vec::new(), Vec::new());
    while events.last() != Some(&last) {
        let frame = client.json().await;
        match frame["_control"].as_str() {
            None => events.push(number(&frame)),
            Some("erased") => {
                assert_eq!(frame["recipient"], hash());
                told.push(events.len());
            }
            Some(_) => {}
        }
    }
    (events, told)
}

/// Keeps a large event of hers as ingest does: whole as an object, its short form in the stream.
async fn keep_large(writer: &Writer, number: usize) {
    let whole = json!({"event": "open", "n": number, "msg": {"email": ANN, "text": "x".repeat(400_000)}}).to_string();
    let short = json!({"_large": {"object": OBJECT, "bytes": whole.len()}, "event": "open", "n": number, "msg": {"email": ANN}});
    let bucket = writer.context().get_object_store(stream::large_name("MANDRILL")).await.expect("a bucket");
    let metadata = ObjectMetadata {
        name: OBJECT.to_owned(),
        metadata: [(stream::LARGE_SUBJECT_KEY.to_owned(), subject::of_event(&event::fields(&whole)))].into(),
        ..ObjectMetadata::default()
    };
    bucket.put(metadata, &mut whole.as_bytes()).await.expect("put");
    writer.store(&short.to_string()).await;
}

async fn large(service: &Service) -> u16 {
    get(service.http, &format!("/api/large/{OBJECT}")).await.status
}

/// Messages under a pattern of the broker's.
async fn stored(writer: &Writer, stream: &str, pattern: &str) -> usize {
    let stream = writer.context().get_stream(stream).await.expect("the stream");
    let mut info = stream.info_with_subjects(pattern).await.expect("its state");
    let mut messages = 0;
    while let Some(subject) = futures_util::TryStreamExt::try_next(&mut info).await.expect("a subject") {
        messages += subject.1;
    }
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_erased_is_gone_from_every_replica_and_the_others_keep_their_places() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let (one, other) = (local(&broker, &[]).await, local(&broker, &[]).await);
    let (mut session, _) = Client::control(one.http, "/ws/email/").await;
    let (mut far, _) = Client::control(other.http, "/ws/email/").await;
    let (mut flow, _) = EventStream::open(other.http, "/api/events/stream", &[]).await;
    writer.store_all(&(0..160).map(event).collect::<Vec<_>>()).await;
    keep_large(&writer, 160).await;
    let cursors: Vec<String> = exported(&one, "").await.iter().map(|event| event["_cursor"].to_string()).collect();
    let cursor = |number: usize| cursors[number].trim_matches('"').to_owned();
    assert_eq!(large(&one).await, 200);
    assert_eq!(follow(&mut session, 160).await.0.len(), 161);
    assert_eq!(follow(&mut far, 160).await.0.len(), 161);
    while flow.next().await.expect("a message").json()["n"] != 160 {}

    // Forty of the small ones, and the large one.
    assert_eq!(erased(&one).await, 41);
    assert_eq!(large(&one).await, 404);
    for replica in [&one, &other] {
        shows(replica, &others(0..160)).await;
    }
    assert_eq!(large(&other).await, 404);
    assert_eq!(stored(&writer, "MANDRILL", &format!("mandrill.events.*.{}.>", hash())).await, 0);
    assert_eq!(
        stored(&writer, "OBJ_MANDRILL_LARGE", "$O.MANDRILL_LARGE.C.>").await,
        0,
        "of the original nothing is left"
    );

    // What comes later is theirs to keep, and the sessions know what to forget before it.
    writer.store_all(&(161..=164).map(event).collect::<Vec<_>>()).await;
    for session in [&mut session, &mut far] {
        assert_eq!(follow(session, 164).await, (Vec::from_iter(161..=164), vec![0]));
    }
    let mut streamed = Vec::new();
    while streamed.last() != Some(&json!(164)) {
        let message = flow.next().await.expect("a message").json();
        match message["_control"].as_str() {
            None => streamed.push(message["n"].clone()),
            Some("erased") => streamed.push(message["recipient"].clone()),
            Some(_) => {}
        }
    }
    assert_eq!(streamed, [json!(hash()), json!(161), json!(162), json!(163), json!(164)]);

    let mut expected = others(0..160);
    expected.extend(161..=164);
    for replica in [&one, &other] {
        shows(replica, &expected).await;
        for number in [1, 4, 90, 99, 100] {
            let after: Vec<usize> = expected.iter().copied().filter(|event| *event > number).collect();
            let path = format!("/ws/email/?since={}", cursor(number));
            let mut plain = Client::connect(replica.http, &path, &[]).await;
            assert_eq!(follow(&mut plain, 164).await, (after.clone(), vec![]), "after {number}");
            let (mut v1, hello) = Client::control(replica.http, &path).await;
            assert_eq!(hello["recovered"], true);
            let (events, told) = follow(&mut v1, 164).await;
            let before = after.iter().filter(|event| **event < 160).count();
            assert_eq!((events, told), (after.clone(), vec![before]), "after {number}");
            let exported = exported(replica, &format!("?since={}", cursor(number))).await;
            assert_eq!(numbers(&exported), after);
        }
        // Whoever begins now has nothing to forget.
        let (mut new, _) = Client::control(replica.http, "/ws/email/?last=50").await;
        assert_eq!(follow(&mut new, 164).await.1, Vec::<usize>::new());
    }
    // Once more: what has come since.
    assert_eq!((erased(&other).await, erased(&one).await), (1, 0));
    shows(&one, &others(0..=164).into_iter().filter(|number| *number != 160).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_events_come_and_one_replica_is_cut_off_nothing_of_a_person_is_shown_after_the_answer() {
    const BEFORE: usize = 3000; // More than the rings hold.
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let wire = Proxy::before(broker.address()).await;
    let small = ("RING_BYTES", "1MiB");
    let near = local(&broker, &[small]).await;
    let far = local(&broker, &[small, ("NATS_URL", &format!("nats://{}", wire.address()))]).await;
    writer.store_in_batches(&(0..BEFORE).map(event).collect::<Vec<_>>()).await;
    let first = exported(&near, "").await[0]["_cursor"].as_str().expect("a cursor").to_owned();
    let (mut live_near, _) = Client::control(near.http, "/ws/email/").await;
    let (mut live_far, _) = Client::control(far.http, "/ws/email/").await;

    let (stop, writing) = (CancellationToken::new(), writer.clone());
    let stopped = stop.clone();
    let traffic = tokio::spawn(async move {
        let mut number = BEFORE;
        while !stopped.is_cancelled() {
            writing.store(&event(number)).await;
            number += 1;
        }
        number
    });
    // They are at it when it happens: catching up, paging, exporting.
    let behind = [near.http, far.http].map(|address| {
        let path = format!("/ws/email/?since={first}");
        tokio::spawn(async move {
            let (mut client, _) = Client::control(address, &path).await;
            let (mut events, mut told) = (Vec::new(), false);
            while !told {
                let frame = client.json().await;
                match frame["_control"].as_str() {
                    None => events.push(number(&frame)),
                    Some(control) => told = control == "erased",
                }
            }
            (client, events)
        })
    });
    // Some of what comes live is hers.
    follow(&mut live_near, BEFORE + 8).await;
    wire.set(Weather::Cut);
    until("it notices", async || live_far.json().await["_control"] == "status").await;
    let anns = erased(&near).await;
    assert!(anns >= BEFORE as u64 / 4, "{anns}");

    // From the answer on. What was stored since is hers to keep, and has higher numbers than all that was erased.
    let left = exported(&near, &format!("?email={ANN}")).await;
    let floor = numbers(&left).first().copied().unwrap_or(usize::MAX);
    assert!(floor >= BEFORE + 4, "{floor}");
    let page = paged(&near, "").await;
    assert!(page.iter().all(|number| !is_anns(*number) || *number >= floor));
    wire.set(Weather::Clear);
    until("the other one is back", async || {
        let events = get(far.http, "/api/events/?limit=1").await;
        events.status == 200
    })
    .await;
    let page = paged(&far, "").await;
    assert!(page.iter().all(|number| !is_anns(*number) || *number >= floor), "on the other one too");

    stop.cancel();
    let end = traffic.await.expect("stored") - 1;
    let is_left = |number: &usize| !is_anns(*number) || *number >= floor;
    let expected: Vec<usize> = (0..=end).filter(is_left).collect();
    for replica in [&near, &far] {
        assert_eq!(numbers(&exported(replica, "").await), expected);
        let stats = get(replica.http, "/api/stats/?window=10m&step=1s").await.json();
        let whole_from = stats["complete_from"].as_u64().expect("a time").next_multiple_of(1000);
        for query in ["".to_owned(), format!("email={ANN}"), "event=open".to_owned()] {
            let stored = exported(replica, &format!("?{query}")).await;
            let whole = stored.iter().filter(|event| event["_received"].as_u64() >= Some(whole_from));
            let stats = get(replica.http, &format!("/api/stats/?window=10m&step=1s&{query}")).await.json();
            assert_eq!(counts_since(&stats, whole_from), whole.count() as u64, "as a naive count: {query}");
        }
    }
    // Sessions that keep up: told before anything that was stored later, and nothing lost or doubled.
    for session in [&mut live_near, &mut live_far] {
        let (events, told) = follow(session, end).await;
        assert_eq!(told.len(), 1);
        let later = events.iter().position(|number| is_anns(*number) && *number >= floor);
        assert!(later.is_none_or(|later| told[0] <= later), "it is told first");
        assert_eq!(others(events.clone()), others(events[0]..=end));
    }
    // Those that were behind: from where they were told on, hers are the later ones only.
    for behind in behind {
        let (mut client, mut events) = soon("it is told", behind).await.expect("told");
        let (rest, told) = if events.last() == Some(&end) { (vec![], vec![]) } else { follow(&mut client, end).await };
        assert_eq!(told, Vec::<usize>::new());
        assert!(rest.iter().all(is_left), "nothing of hers after it was told");
        events.extend(rest);
        assert_eq!(others(events), others(1..=end));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_alone_hides_what_it_covers_also_from_a_replica_that_starts_later() {
    const EVENTS: usize = 3000;
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let small = [("RING_BYTES", "1MiB")];
    let running = Service::with(&broker, &small).await;
    writer.store_in_batches(&(0..EVENTS).map(event).collect::<Vec<_>>()).await;
    keep_large(&writer, EVENTS).await;
    let first = exported(&running, "").await[0]["_cursor"].as_str().expect("a cursor").to_owned();
    let path = format!("/ws/email/?since={first}");
    // What it reads now it keeps for the next one on the same way.
    let mut early = Client::connect(running.http, &path, &[]).await;
    assert_eq!(follow(&mut early, EVENTS).await.0.len(), EVENTS);

    // Whoever wrote it was ended before the broker had taken anything away.
    let tombstone = writer.context().publish(format!("mandrill.erasures.{}", hash()), "{}".into());
    tombstone.await.expect("published").await.expect("stored");
    writer.store_all(&[event(EVENTS + 1), event(EVENTS + 4)]).await;
    // More of others than a ring holds: the one that starts begins to read after the tombstone.
    let last = EVENTS + 4 * EVENTS;
    let later: Vec<usize> = (EVENTS + 5..=last).filter(|number| !is_anns(*number) || *number == last).collect();
    writer.store_in_batches(&later.iter().map(|number| event(*number)).collect::<Vec<_>>()).await;
    let started = Service::with(&broker, &small).await;
    let mut expected = others(0..EVENTS);
    expected.extend([EVENTS + 1, EVENTS + 4]);
    expected.extend(later);
    for replica in [&running, &started] {
        assert_eq!(numbers(&exported(replica, "").await), expected);
        assert_eq!(paged(replica, "").await, expected.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(large(replica).await, 404);
        assert_eq!(get(replica.http, "/api/messages/m4").await.status, 404);
        let recipient = get(replica.http, &format!("/api/recipients/{ANN}")).await.json();
        assert_eq!(recipient["events"].as_array().expect("events").len(), 2, "the later ones");
        let (mut client, _) = Client::control(replica.http, &path).await;
        let (events, told) = follow(&mut client, last).await;
        assert_eq!((&events[..], told.len()), (&expected[..], 1));
        assert!(told[0] <= others(0..EVENTS).len(), "before what was stored later");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_do_not_read_have_nothing_of_a_person_left_but_what_is_on_its_way() {
    const EVENTS: usize = 1000;
    const SESSIONS: usize = 6;
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    // All are hers, and more than a socket takes at once.
    let large = |number: usize| event(number * 4).replace("xxxx", "xxxxxxxxxxxxxxxxxxxx");
    writer.store_in_batches(&(0..EVENTS).map(large).collect::<Vec<_>>()).await;
    let service = local(&broker, &[("LAG_TIMEOUT", "5m")]).await;
    let mut slow = Vec::new();
    for number in 0..SESSIONS {
        // Each stops at another place within what is loaded for it at once.
        slow.push(Client::narrow(service.http, &format!("/ws/email/?last={}", EVENTS - number)).await);
    }
    until("they are sessions", async || service.sessions("plain").await == SESSIONS as u64).await;
    let deliveries = async || metric(service.admin, "mandrill_live_notifier_deliveries_total").await;
    let mut seen = 0;
    until("every socket is full", async || {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        std::mem::replace(&mut seen, deliveries().await) == seen
    })
    .await;
    assert_eq!(erased(&service).await, EVENTS as u64);
    let begun = deliveries().await;
    assert!(begun < (SESSIONS * EVENTS) as u64 / 2, "none of them could take all: {begun}");
    writer.store(&event(1)).await;
    let mut received = 0;
    for mut client in slow {
        let (events, _) = follow(&mut client, 1).await;
        received += events.len() as u64 - 1;
    }
    assert!(received < begun, "{received} of {begun} that were loaded were written");
}

#[tokio::test]
async fn an_erasure_is_told_to_those_who_may_know_of_the_person_and_nobody_else() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let signer = Signer::secret(SECRET);
    let open = async |filter: Value| {
        let token = signer.sign(&claims(json!({"filter": filter})));
        let bearer = format!("Bearer {token}");
        let mut client = Client::connect(service.http, "/ws/email/", &[V1, ("Authorization", &bearer)]).await;
        assert_eq!(client.json().await["_control"], "hello");
        client
    };
    let sessions = [
        (open(Value::Null).await, true),
        (open(json!({"email": ANN})).await, true),
        (open(json!({"email": [ANN, "bob@example.com"], "event": "never"})).await, true),
        (open(json!({"tag": "t"})).await, true),
        (open(json!({"tag": "other"})).await, false),
        (open(json!({"email": "bob@example.com"})).await, false),
    ];
    writer.store(&event(0)).await;
    let token = signer.sign(&claims(json!({"scope": "events:read events:erase"})));
    let answer = erase(&service, &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!((answer.status, &answer.json()["erased"]), (200, &json!(1)));
    // One more for all of them, so that nothing has to be waited for that does not come.
    let last = json!({"event": "never", "n": 1, "msg": {"email": "bob@example.com", "tags": ["t", "other"]}});
    writer.store(&last.to_string()).await;
    for (number, (mut client, is_told)) in sessions.into_iter().enumerate() {
        let mut told = false;
        loop {
            if number == 1 && told {
                break; // It may see nothing of the other.
            }
            match client.next().await {
                Frame::Text(text) if text.contains(r#""_control":"erased""#) => told = true,
                Frame::Text(text) if text.contains(r#""n":1"#) => break,
                Frame::Text(text) => assert!(text.contains(r#""n":0"#) || text.contains("_control"), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, is_told, "session {number}");
    }
}

#[tokio::test]
async fn only_a_token_that_says_so_erases_and_one_with_a_filter_only_whom_it_is_on() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    writer.store(&event(0)).await;
    let signer = Signer::secret(SECRET);
    let ask = async |scope: &str, filter: Value| {
        let token = signer.sign(&claims(json!({"scope": scope, "filter": filter})));
        let answer = erase(&service, &[("Authorization", &format!("Bearer {token}"))]).await;
        (answer.status, answer.json()["type"].as_str().unwrap_or_default().replace("urn:mandrill-live:problem:", ""))
    };
    let refused = |name: &str| (403, name.to_owned());
    assert_eq!(erase(&service, &[]).await.status, 401);
    assert_eq!(ask("events:read", Value::Null).await, refused("scope"));
    assert_eq!(ask("events:erase", json!({"email": "bob@example.com"})).await, refused("filter"));
    assert_eq!(ask("events:erase", json!({"email": ANN, "tag": "t"})).await, refused("filter"));
    assert_eq!(ask("events:erase", json!({"tag": "t"})).await, refused("filter"));
    assert_eq!(stored(&writer, "MANDRILL", "mandrill.events.>").await, 1);
    assert_eq!(stored(&writer, "MANDRILL", "mandrill.erasures.>").await, 0, "nothing was begun");
    assert_eq!(ask("events:erase", json!({"email": [ANN, "bob@example.com"]})).await.0, 200);
    assert_eq!(stored(&writer, "MANDRILL", "mandrill.events.>").await, 0);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_what_is_allowed() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = local(&broker, &[]).await;
    let ask = async |path: &str, headers: &[(&str, &str)], body: &str| {
        send(service.http, "POST", path, headers, body.as_bytes()).await
    };
    let path = "/api/erasures/";
    let long = format!(r#"{{"email":"{}@example.com"}}"#, "x".repeat(5000));
    for (answer, status, name) in [
        (ask(path, &[], r#"{"email":"a@example.com"}"#).await, 415, "content-type"),
        (ask(path, &[("Content-Type", "text/plain")], r#"{"email":"a@example.com"}"#).await, 415, "content-type"),
        (ask(path, &[JSON], "").await, 400, "body"),
        (ask(path, &[JSON], "{").await, 400, "body"),
        (ask(path, &[JSON], r#"{"email":"nobody"}"#).await, 400, "body"),
        (ask(path, &[JSON], r#"["a@example.com"]"#).await, 400, "body"),
        (ask(path, &[JSON], r#"{"email":""}"#).await, 400, "body"),
        (ask(path, &[JSON], r#"{"email":["a@example.com"]}"#).await, 400, "body"),
        (ask(path, &[JSON], r#"{"email":"a@example.com","why":"so"}"#).await, 400, "body"),
        (ask(path, &[JSON], &long).await, 413, "too-large"),
        (ask("/api/erasures?x=1", &[JSON], r#"{"email":"a@example.com"}"#).await, 400, "query"),
        (ask(path, &[JSON, ("Accept", "text/csv")], r#"{"email":"a@example.com"}"#).await, 406, "not-acceptable"),
        (get(service.http, path).await, 405, "method"),
    ] {
        let problem = answer.json();
        assert_eq!((answer.status, &problem["type"]), (status, &json!(format!("urn:mandrill-live:problem:{name}"))));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(!problem["detail"].as_str().expect("a detail").is_empty());
    }
    assert_eq!(get(service.http, path).await.header("allow"), Some("POST, OPTIONS"));
    let by_hash = ask(path, &[JSON], &json!({"email": hash()}).to_string()).await;
    assert_eq!((by_hash.status, &by_hash.json()["recipient"]), (200, &json!(hash())));
    // The cursor it gives is one like any other.
    let at = by_hash.json()["at"].as_str().expect("a cursor").to_owned();
    let (_, hello) = Client::control(service.http, &format!("/ws/email/?since={at}")).await;
    assert_eq!((&hello["recovered"], &hello["at"]), (&json!(true), &json!(at)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_broker_nothing_is_promised_and_asked_again_it_is_done() {
    let mut broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = local(&broker, &[]).await;
    writer.store_all(&(0..8).map(event).collect::<Vec<_>>()).await;
    broker.kill();
    let refused = erase(&service, &[]).await;
    assert_eq!((refused.status, &refused.json()["type"]), (503, &json!("urn:mandrill-live:problem:not-erased")));
    assert!(refused.header("retry-after").is_some());
    broker.restart().await;
    until("it is done", async || erase(&service, &[]).await.status == 200).await;
    shows(&service, &others(0..8)).await;
    // It is on disk.
    broker.kill();
    broker.restart().await;
    until("the broker is heard again", async || get(service.http, "/api/events/").await.status == 200).await;
    shows(&service, &others(0..8)).await;
    assert_eq!(stored(&writer, "MANDRILL", "mandrill.events.>").await, 6);
}
