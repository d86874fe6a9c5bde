//! Senders as Mandrill is one: a batch goes out signed, again and again until it is answered 200, and now and then
//! once more after that, or to both replicas at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use shared::testing::http::{self, WEBHOOK};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::event::{Events, Made};
use crate::record::{Ledger, Sent};

/// Batches' sizes: most are small, as a quiet account's are.
const SIZES: [u32; 10] = [1, 1, 1, 2, 3, 5, 8, 20, 20, 50];
/// Between two batches of one sender.
const PAUSE_MS: std::ops::Range<u64> = 200..900;
/// Before a batch that was not taken goes out again: shorter than Mandrill's, so that a run sees many.
const RETRY_MS: std::ops::Range<u64> = 100..700;
/// For an answer: longer than the service may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// One batch of so many is sent again after its 200, and one to both replicas at once.
const REPEATED: u32 = 15;

/// The ledger as all senders share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Ledger>>);

impl Book {
    pub(crate) fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is about to be sent.
    pub(crate) fn enter(&self, batch: &[Made]) {
        let at = Instant::now();
        let sent = |made: &Made| {
            let Made { content, is_large, person, .. } = made;
            (content.name, Sent { digest: content.digest, is_large: *is_large, person: person.clone(), at })
        };
        self.open().sent.extend(batch.iter().map(sent));
    }

    /// Notes that it was answered 200.
    pub(crate) fn acknowledge(&self, batch: &[Made]) {
        let mut ledger = self.open();
        ledger.taken += 1;
        ledger.acknowledged.extend(batch.iter().map(|made| made.content.name));
    }

    /// Posts a batch once. Says whether it was taken.
    pub(crate) async fn post(&self, address: SocketAddr, batch: &[Made]) -> bool {
        let texts: Vec<&str> = batch.iter().map(|made| made.text.as_str()).collect();
        let request = WEBHOOK.request("/api/hook/", &format!("[{}]", texts.join(",")));
        let answer = timeout(ANSWER_TIMEOUT, http::try_exchange(address, &request)).await;
        if let Ok(Ok(answer)) = answer {
            match answer.status {
                200 => return true,
                // A body that takes too long on its way is cut; all else says that nothing can be stored now.
                408 | 503 => {}
                other => {
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    self.open().odd.push(format!("a batch was answered {other}: {body}"));
                }
            }
        }
        self.open().refused += 1;
        false
    }
}

/// Sends until it is told to stop, and then until its last batch is taken.
pub(crate) async fn send(mut events: Events, seed: u64, hooks: Vec<SocketAddr>, book: Book, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    let pick = move |random: &mut StdRng| hooks.choose(random).copied().expect("a hook");
    while !stop.is_cancelled() {
        let batch = events.batch(*SIZES.choose(&mut random).expect("sizes"));
        book.enter(&batch);
        let twice = random.random_ratio(1, REPEATED);
        loop {
            let taken = if twice {
                let (one, other) = (pick(&mut random), pick(&mut random));
                book.open().repeated += 1;
                let (one, other) = tokio::join!(book.post(one, &batch), book.post(other, &batch));
                one || other
            } else {
                book.post(pick(&mut random), &batch).await
            };
            if taken {
                break;
            }
            sleep(Duration::from_millis(random.random_range(RETRY_MS))).await;
        }
        book.acknowledge(&batch);
        if random.random_ratio(1, REPEATED) {
            // Its 200 was lost on the way, as far as the sender knows.
            book.open().repeated += 1;
            book.post(pick(&mut random), &batch).await;
        }
        tokio::select! {
            () = sleep(Duration::from_millis(random.random_range(PAUSE_MS))) => {}
            () = stop.cancelled() => {}
        }
    }
}
