//! Programs that ask for stored events: all the time while things break, and at the end for everything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use serde_json::value::RawValue;
use shared::cursor::Cursor;
use shared::testing::http::{self, Answer};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::event::{self, Content, Wish};
use crate::record::{Listing, Page, Seen};
use crate::senders::Book;

/// Events asked for at once while things break.
const PAGE: usize = 60;
/// For an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two questions.
const PAUSE_MS: std::ops::Range<u64> = 300..1_500;
/// Pages that are kept for the checker.
const PAGES_MAX: usize = 5_000;
/// Attempts at an answer that must come, now that nothing is broken.
const ATTEMPTS: usize = 5;

/// What was asked while things broke.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) pages: Vec<Page>,
    pub(crate) unanswered: u64,
    pub(crate) odd: Vec<String>,
}

impl Asked {
    fn note(&mut self, replica: usize, wish: Wish, (acknowledged, asked): (usize, Instant), answer: Option<Answer>) {
        match answer.map(|answer| (answer.status, page(&answer))) {
            Some((200, Some((events, next)))) if self.pages.len() < PAGES_MAX => {
                let next = next.map(|cursor| cursor.sequence);
                self.pages.push(Page { replica, wish, acknowledged, asked, events, next });
            }
            // Cut off on the way, or told to come again.
            Some((200 | 429 | 503, _)) | None => self.unanswered += 1,
            Some((status, _)) => self.odd.push(format!("notifier-{replica} answered a query with {status}")),
        }
    }
}

/// Shared by all readers.
pub(crate) type Questions = Arc<Mutex<Asked>>;

/// Asks for the newest events until it is told to stop.
pub(crate) async fn ask(
    notifiers: Vec<SocketAddr>,
    seed: u64,
    book: Book,
    questions: Questions,
    stop: CancellationToken,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let wishes = [Wish::Everything, Wish::Everything, Wish::Kinds(&["open", "click"]), Wish::Person(1)];
    let replicas: Vec<usize> = (0..notifiers.len()).collect();
    while !stop.is_cancelled() {
        let replica = replicas.choose(&mut random).copied().unwrap_or_default();
        let wish = wishes.choose(&mut random).cloned().expect("wishes");
        let (acknowledged, asked) = (book.open().acknowledged.len(), Instant::now());
        let answer = get(notifiers[replica], &path("/api/events/", &[&format!("limit={PAGE}"), &wish.query()])).await;
        questions.lock().unwrap_or_else(PoisonError::into_inner).note(replica, wish, (acknowledged, asked), answer);
        tokio::select! {
            () = sleep(Duration::from_millis(random.random_range(PAUSE_MS))) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// A path with those parts of a query that are not empty.
pub(crate) fn path(path: &str, query: &[&str]) -> String {
    let parts: Vec<&str> = query.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
}

async fn get(address: SocketAddr, path: &str) -> Option<Answer> {
    let request = http::request("GET", path, &[], b"");
    timeout(ANSWER_TIMEOUT, http::try_exchange(address, &request)).await.ok()?.ok()
}

/// A page's events and what goes into `before` for the next; nothing where it did not come whole.
fn page(answer: &Answer) -> Option<(Vec<Seen>, Option<Cursor>)> {
    #[derive(serde::Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
        next: Option<String>,
    }
    let document: Document<'_> = serde_json::from_slice(&answer.body).ok()?;
    let event = |text: &&RawValue| event::of_frame(text.get()).map(|(cursor, content)| (cursor.sequence, content));
    let next = document.next.map(|text| text.parse()).transpose().ok()?;
    Some((document.events.iter().map(event).collect::<Option<_>>()?, next))
}

/// Everything that one notifier keeps, page by page.
pub(crate) async fn pages(name: &str, address: SocketAddr, wish: Wish) -> Result<Listing, String> {
    let what = format!("the pages of {name} with {:?}", wish.query());
    let (mut events, mut before) = (Vec::new(), String::new());
    loop {
        let path = path("/api/events/", &["limit=1000", &before, &wish.query()]);
        let (found, next) = insist(address, &path, page).await.map_err(|error| format!("{what}: {error}"))?;
        events.extend(found);
        match next {
            Some(next) => before = format!("before={next}"),
            None => {
                events.reverse();
                return Ok(Listing { what, wish, events });
            }
        }
    }
}

/// Everything that one notifier keeps, as an export.
pub(crate) async fn export(name: &str, address: SocketAddr, wish: Wish) -> Result<Listing, String> {
    let what = format!("the export of {name} with {:?}", wish.query());
    let lines = |answer: &Answer| {
        let text = std::str::from_utf8(&answer.body).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let (last, events) = lines.split_last()?;
        let last: Value = serde_json::from_str(last).ok()?;
        let event = |line: &&str| event::of_frame(line).map(|(cursor, content)| (cursor.sequence, content));
        let events = events.iter().map(event).collect::<Option<Vec<_>>>()?;
        (last["_export"] == "complete" && last["events"] == events.len()).then_some(events)
    };
    let path = path("/api/events/export", &["format=ndjson", &wish.query()]);
    let events = insist(address, &path, lines).await.map_err(|error| format!("{what}: {error}"))?;
    Ok(Listing { what, wish, events })
}

/// The originals of these large events, by the newest page that has them: those that are not what was sent are told.
pub(crate) async fn originals(
    name: &str,
    address: SocketAddr,
    sent: impl Fn(&Content) -> bool,
) -> Result<usize, String> {
    let objects = |answer: &Answer| {
        let document: Value = serde_json::from_slice(&answer.body).ok()?;
        let object = |event: &Value| event["_large"]["object"].as_str().map(str::to_owned);
        Some(document["events"].as_array()?.iter().filter_map(object).collect::<Vec<_>>())
    };
    let found = insist(address, "/api/events/?limit=1000", objects).await?;
    for object in &found {
        let original = |answer: &Answer| Content::of(std::str::from_utf8(&answer.body).ok()?);
        let content = insist(address, &format!("/api/large/{object}"), original).await;
        let content = content.map_err(|error| format!("the original {object} of {name}: {error}"))?;
        if !sent(&content) {
            return Err(format!("the original of event {} that {name} gives is not what was sent", content.name));
        }
    }
    Ok(found.len())
}

/// A whole answer, which must come within a few attempts.
async fn insist<T>(address: SocketAddr, path: &str, read: impl Fn(&Answer) -> Option<T>) -> Result<T, String> {
    let mut last = "no answer".to_owned();
    for _ in 0..ATTEMPTS {
        if let Some(answer) = get(address, path).await {
            match (answer.status, read(&answer)) {
                (200, Some(value)) => return Ok(value),
                (200, None) => last = "an answer that is not whole".to_owned(),
                (status, _) => last = format!("{status} {}", String::from_utf8_lossy(&answer.body)),
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
    Err(last)
}
