//! What a token's filter keeps from its holder: checked against a model over random events and filters.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use shared::cursor::Cursor;
use shared::testing::broker::Broker;
use shared::testing::http;
use tokio::task::JoinSet;

use crate::support::tokens::{SECRET, Signer, claims};
use crate::support::{Client, EventStream, Service, Writer, parts};

const LIVE: &str = "/ws/email/";
/// Values of each name: few, so that filters and events often meet.
const KINDS: [&str; 3] = ["open", "click", "send"];
const SUBACCOUNTS: [&str; 3] = ["shop", "club", "press"];
const TAGS: [&str; 3] = ["x", "y", "z"];
const NAMES: [&str; 4] = ["event", "subaccount", "tag", "email"];
/// Events that are stored before anybody connects, and those after. The first are more than the ring holds.
const STORED: usize = 700;
const COMING: usize = 60;
const SESSIONS: usize = 24;

/// What must hold: for each name one of its values.
type Filter = Vec<(&'static str, Vec<String>)>;

/// An event as the model knows it.
#[derive(Debug, Clone)]
struct Event {
    labels: Vec<(&'static str, String)>,
    text: String,
}

fn address(number: usize) -> String {
    format!("person{number}@example.com")
}

fn random_event(random: &mut StdRng, number: usize) -> Event {
    let one = |random: &mut StdRng, of: &[&str]| of[random.random_range(0..of.len())].to_owned();
    let (kind, email) = (one(random, &KINDS), address(random.random_range(0..3)));
    let subaccount = random.random_bool(0.9).then(|| one(random, &SUBACCOUNTS));
    let tags: Vec<String> = TAGS.iter().filter(|_| random.random_bool(0.4)).map(|tag| (*tag).to_owned()).collect();
    let text = json!({
        "event": kind, "n": number,
        "msg": {"email": email, "subaccount": subaccount, "tags": tags, "fill": "x".repeat(2000)},
    });
    let mut labels = vec![("event", kind), ("email", email)];
    labels.extend(subaccount.map(|subaccount| ("subaccount", subaccount)));
    labels.extend(tags.into_iter().map(|tag| ("tag", tag)));
    Event { labels, text: text.to_string() }
}

fn random_filter(random: &mut StdRng) -> Filter {
    let mut filter = Filter::new();
    for name in NAMES {
        if random.random_bool(0.4) {
            let values: Vec<String> = (0..3).filter(|_| random.random_bool(0.5)).map(|at| value(name, at)).collect();
            if !values.is_empty() {
                filter.push((name, values));
            }
        }
    }
    filter
}

fn value(name: &str, at: usize) -> String {
    match name {
        "event" => KINDS[at].to_owned(),
        "subaccount" => SUBACCOUNTS[at].to_owned(),
        "tag" => TAGS[at].to_owned(),
        _ => address(at),
    }
}

/// The model: plain strings compared.
fn holds(filter: &Filter, event: &Event) -> bool {
    filter
        .iter()
        .all(|(name, values)| event.labels.iter().any(|(label, value)| label == name && values.contains(value)))
}

fn expected(events: &[Event], claim: &Filter, asked: &Filter) -> Vec<String> {
    let seen = events.iter().filter(|event| holds(claim, event) && holds(asked, event));
    seen.map(|event| event.text.clone()).collect()
}

fn token(claim: &Filter) -> String {
    let filter: Map<String, Value> = claim.iter().map(|(name, values)| ((*name).to_owned(), json!(values))).collect();
    // An empty one would be refused.
    let with = if filter.is_empty() { json!({}) } else { json!({"filter": filter}) };
    Signer::secret(SECRET).sign(&claims(with))
}

fn query(asked: &Filter) -> String {
    asked.iter().flat_map(|(name, values)| values.iter().map(move |value| format!("&{name}={value}"))).collect()
}

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// After a cursor the ring has left behind: from the stream, the ring, and live.
    CatchUp,
    /// After a cursor in the ring: from there, and live.
    Replay,
    /// With the newest that match, and live.
    Last,
    /// Live only.
    Live,
}

const LAST: usize = 5;

impl Way {
    const ALL: [Way; 4] = [Way::CatchUp, Way::Replay, Way::Last, Way::Live];

    /// The query's beginning, and what comes of the stored events.
    fn begins(self, stored: &[(Cursor, Event)], claim: &Filter, asked: &Filter) -> (String, Vec<String>) {
        let after = |place: usize| {
            let events: Vec<Event> = stored[place + 1..].iter().map(|(_, event)| event.clone()).collect();
            (format!("since={}", stored[place].0), expected(&events, claim, asked))
        };
        match self {
            Way::CatchUp => after(3),
            Way::Replay => after(STORED - 40),
            Way::Last => {
                // As far as the ring surely reaches back, and no more than is found there.
                let newest: Vec<Event> = stored[STORED - 200..].iter().map(|(_, event)| event.clone()).collect();
                let seen = expected(&newest, claim, asked);
                let count = seen.len().min(LAST);
                (format!("last={count}"), seen[seen.len() - count..].to_vec())
            }
            Way::Live => ("last=0".to_owned(), Vec::new()),
        }
    }
}

/// One that reads: everything it must see, in order, and nothing else before the event that ends it all.
enum Reader {
    Socket(Box<Client>),
    Stream(Box<EventStream>),
}

impl Reader {
    async fn next(&mut self) -> String {
        match self {
            Reader::Socket(client) => parts(&client.text().await).2,
            Reader::Stream(stream) => loop {
                let message = stream.next().await.expect("an event");
                if message.event.is_none() {
                    return parts(&message.data).2;
                }
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_what_its_token_and_its_wish_allow_and_nothing_else() {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET), ("RING_BYTES", "1MiB")]).await;

    // Everything, to know each event's cursor.
    let whole = token(&Filter::new());
    let headers = [("Authorization", format!("Bearer {whole}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut all = Client::connect(service.http, LIVE, &headers).await;
    let events: Vec<Event> = (0..STORED + COMING).map(|number| random_event(&mut random, number)).collect();
    let texts: Vec<String> = events.iter().map(|event| event.text.clone()).collect();
    let mut stored = Vec::new();
    for (texts, events) in texts[..STORED].chunks(100).zip(events[..STORED].chunks(100)) {
        writer.store_all(texts).await;
        for event in events {
            let (cursor, _, text) = parts(&all.text().await);
            assert_eq!(text, event.text);
            stored.push((cursor, event.clone()));
        }
    }

    let mut readers = Vec::new();
    for number in 0..SESSIONS {
        let (claim, asked) = (random_filter(&mut random), random_filter(&mut random));
        let way = Way::ALL[number % Way::ALL.len()];
        let (begin, mut wanted) = way.begins(&stored, &claim, &asked);
        wanted.extend(expected(&events[STORED..], &claim, &asked));
        let bearer = format!("Bearer {}", token(&claim));
        let headers = [("Authorization", bearer.as_str())];
        let reader = if number % 3 == 0 {
            let path = format!("/api/events/stream?{begin}{}", query(&asked));
            Reader::Stream(Box::new(EventStream::open(service.http, &path, &headers).await.0))
        } else {
            let path = format!("{LIVE}?{begin}{}", query(&asked));
            Reader::Socket(Box::new(Client::connect(service.http, &path, &headers).await))
        };
        readers.push((number, way, claim, asked, wanted, reader));
    }
    // Plain sessions say nothing of when they have begun: what is stored now is new to all.
    let sessions = readers.iter().filter(|(.., reader)| matches!(reader, Reader::Socket(_))).count() as u64 + 1;
    shared::testing::until("all have begun", async || service.sessions("plain").await == sessions).await;
    writer.store_all(&texts[STORED..]).await;
    // One that everybody may see who sees anything: it ends the test, and what came before it was all.
    let end = json!({
        "event": "open", "end": true,
        "msg": {"email": address(0), "subaccount": "shop", "tags": TAGS},
    });
    writer.store(&end.to_string()).await;

    let mut running = JoinSet::new();
    for (number, way, claim, asked, mut wanted, mut reader) in readers {
        let last = Event {
            labels: vec![
                ("event", "open".to_owned()),
                ("email", address(0)),
                ("subaccount", "shop".to_owned()),
                ("tag", "x".to_owned()),
                ("tag", "y".to_owned()),
                ("tag", "z".to_owned()),
            ],
            text: end.to_string(),
        };
        wanted.extend(expected(&[last], &claim, &asked));
        running.spawn(async move {
            for (at, wanted) in wanted.iter().enumerate() {
                assert_eq!(
                    &reader.next().await,
                    wanted,
                    "seed {seed}, session {number} ({way:?}), event {at}: {claim:?} {asked:?}"
                );
            }
            (number, way, claim, asked, reader)
        });
    }
    let finished = running.join_all().await;
    // Nothing else was on its way: all that was stored has reached those that see everything.
    for text in texts[STORED..].iter().chain([&end.to_string()]) {
        assert_eq!(&parts(&all.text().await).2, text);
    }
    for (number, way, claim, asked, reader) in finished {
        if let Reader::Socket(mut client) = reader {
            let more = tokio::time::timeout(std::time::Duration::from_millis(50), client.next()).await;
            assert!(more.is_err(), "seed {seed}, session {number} ({way:?}) {claim:?} {asked:?}: {more:?}");
        }
    }
}

/// All pages of a path, from the newest on.
async fn pages(service: &Service, path: &str, bearer: &str) -> Vec<String> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("{path}{before}");
        let answer = http::send(service.http, "GET", &path, &[("Authorization", bearer)], b"").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        let page = answer.json();
        for event in page["events"].as_array().expect("an array") {
            let mut event = event.clone();
            let members = event.as_object_mut().expect("an object");
            assert!(members.remove("_cursor").is_some() && members.remove("_received").is_some());
            all.push(event.to_string());
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

/// The export has these and counts these.
async fn exported(service: &Service, bearer: &str, asked: &Filter, expected: &[String]) {
    let path = format!("/api/events/export?format=csv{}", query(asked));
    let answer = http::send(service.http, "GET", &path, &[("Authorization", bearer)], b"").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    // The head, and the last line that says how many there were.
    assert_eq!(text.matches("example.com").count(), expected.len(), "{path}");
    let end = text.rfind("#complete").unwrap_or_else(|| panic!("{path}: an end in {text}"));
    assert!(text[end..].contains(&format!(",{},", expected.len())), "{path}: {}", &text[end..]);
}

/// The statistics count no other kind, and no more of each.
async fn counted(service: &Service, bearer: &str, asked: &Filter, expected: &[String]) {
    let path = format!("/api/stats?window=1h&step=1m{}", query(asked));
    let answer = http::send(service.http, "GET", &path, &[("Authorization", bearer)], b"").await;
    let totals = answer.json()["totals"].as_object().expect("totals").clone();
    for (kind, count) in totals {
        let most = expected.iter().filter(|text| text.contains(&format!("\"event\":\"{kind}\""))).count() as u64;
        assert!(count.as_u64().is_some_and(|count| 0 < count && count <= most), "{path}: {kind} {count} of {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_events_show_what_a_token_and_the_wish_allow_and_nothing_else() {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET), ("RING_BYTES", "1MiB")]).await;
    let events: Vec<Event> = (0..STORED).map(|number| random_event(&mut random, number)).collect();
    let texts: Vec<String> = events.iter().map(|event| event.text.clone()).collect();
    writer.store_all(&texts).await;
    for _ in 0..SESSIONS {
        let (claim, mut asked) = (random_filter(&mut random), random_filter(&mut random));
        let bearer = format!("Bearer {}", token(&claim));
        let newest_first = |asked: &Filter| expected(&events, &claim, asked).into_iter().rev().collect::<Vec<_>>();
        let found = pages(&service, &format!("/api/events/?limit=50{}", query(&asked)), &bearer).await;
        assert_eq!(found, newest_first(&asked), "seed {seed}: {claim:?} {asked:?}");
        exported(&service, &bearer, &asked, &expected(&events, &claim, &asked)).await;
        counted(&service, &bearer, &asked, &expected(&events, &claim, &asked)).await;

        asked.retain(|(name, _)| *name != "email");
        let path = format!("/api/recipients/{}?limit=50{}", address(1), query(&asked));
        asked.push(("email", vec![address(1)]));
        assert_eq!(pages(&service, &path, &bearer).await, newest_first(&asked), "seed {seed}: {claim:?} {asked:?}");
    }
}
