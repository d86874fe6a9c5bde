//! Somebody who has people's events erased while things break: a request goes out again and again until it is answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::cursor::Cursor;
use shared::testing::http;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::event::{PEOPLE, address};
use crate::record::Erasure;
use crate::senders::Book;

/// Those whose events are erased now and then; the others' are all there to the end.
const ERASED: std::ops::Range<u32> = PEOPLE - 4..PEOPLE;
/// Between two erasures.
const PAUSE_MS: std::ops::Range<u64> = 4_000..10_000;
/// Before one that was not done is asked for again.
const RETRY: Duration = Duration::from_millis(500);
/// For an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What was erased.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) erasures: Vec<Erasure>,
    pub(crate) odd: Vec<String>,
}

impl Desk {
    /// Notes an answer; says whether it was done.
    fn note(&mut self, answer: Result<Option<Erasure>, String>) -> bool {
        match answer {
            Ok(erasure) => {
                let is_done = erasure.is_some();
                self.erasures.extend(erasure);
                is_done
            }
            Err(odd) => {
                self.odd.push(odd);
                false
            }
        }
    }
}

/// The desk as it is shared.
pub(crate) type Erasures = Arc<Mutex<Desk>>;

/// Erases until it is told to stop, and then until its last request is answered.
pub(crate) async fn erase(
    notifiers: Vec<SocketAddr>,
    seed: u64,
    (archive, book): (Arc<tokio::sync::Mutex<Archive>>, Book),
    erasures: Erasures,
    stop: CancellationToken,
) {
    let (mut random, mut known) = (StdRng::seed_from_u64(seed), 0);
    loop {
        tokio::select! {
            () = sleep(Duration::from_millis(random.random_range(PAUSE_MS))) => {}
            () = stop.cancelled() => return,
        }
        let person = random.random_range(ERASED);
        // What is about to go is read before, as far as that can be.
        let acknowledged = book.open().acknowledged.len();
        if archive.lock().await.read().await.is_ok() {
            known = acknowledged;
        }
        loop {
            let replica = random.random_range(0..notifiers.len());
            let answer = ask(notifiers[replica], person).await;
            let answer = answer.map(|done| done.map(|erasure| Erasure { replica, acknowledged: known, ..erasure }));
            if erasures.lock().unwrap_or_else(PoisonError::into_inner).note(answer) {
                break;
            }
            sleep(RETRY).await;
        }
    }
}

/// Asks once; nothing where it has to be asked for again.
async fn ask(notifier: SocketAddr, person: u32) -> Result<Option<Erasure>, String> {
    let body = format!(r#"{{"email":"{}"}}"#, address(person));
    let request = http::request("POST", "/api/erasures", &[("Content-Type", "application/json")], body.as_bytes());
    let Ok(Ok(answer)) = timeout(ANSWER_TIMEOUT, http::try_exchange(notifier, &request)).await else {
        return Ok(None);
    };
    match answer.status {
        200 => {
            let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let at = document["at"].as_str().and_then(|at| at.parse::<Cursor>().ok());
            // Cut off on the way.
            let Some(at) = at else { return Ok(None) };
            Ok(Some(Erasure { person, replica: 0, sequence: at.sequence, answered: Instant::now(), acknowledged: 0 }))
        }
        429 | 503 => Ok(None),
        other => Err(format!("an erasure was answered {other}: {}", String::from_utf8_lossy(&answer.body))),
    }
}
