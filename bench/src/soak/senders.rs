//! Webhooks as they come: as fast as they are taken, or at a rate of their own, whoever keeps up.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use shared::synthetic::{Request, Signing};
use shared::testing::http::WEBHOOK;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::event::{event_of, now_us};
use crate::webhooks::load::{self, Sender};

/// Events of one webhook.
pub(super) const BATCH: u64 = 20;
/// Webhooks under way at once: as many connections.
const AT_ONCE: usize = 16;

/// When webhooks are posted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// One after the other on each connection.
    Flat,
    /// So many events a second, due at their times whether earlier ones were taken or not.
    Rate(f64),
}

/// Senders at work. Local to the thread.
pub(super) struct Senders {
    work: Rc<Work>,
    tasks: Vec<JoinHandle<()>>,
}

struct Work {
    address: SocketAddr,
    pace: Pace,
    /// The first event's number.
    first: u64,
    began: (Instant, u64),
    /// Batches that were begun, and those that were acknowledged.
    begun: Cell<u64>,
    acknowledged: Cell<u64>,
    stop: CancellationToken,
}

impl Senders {
    /// Begins to post events, numbered from `first`.
    pub(super) fn start(address: SocketAddr, first: u64, pace: Pace) -> Senders {
        let work = Rc::new(Work {
            address,
            pace,
            first,
            began: (Instant::now(), now_us()),
            begun: Cell::new(0),
            acknowledged: Cell::new(0),
            stop: CancellationToken::new(),
        });
        let tasks = (0..AT_ONCE).map(|_| spawn_local(post(Rc::clone(&work)))).collect();
        Senders { work, tasks }
    }

    /// Events that were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.work.acknowledged.get() * BATCH
    }

    /// Events that are due and not acknowledged.
    pub(super) fn waiting(&self) -> u64 {
        let due = match self.work.pace {
            Pace::Flat => self.work.begun.get(),
            Pace::Rate(rate) => (self.work.began.0.elapsed().as_secs_f64() * rate / BATCH as f64).ceil() as u64,
        };
        due.saturating_sub(self.work.acknowledged.get()) * BATCH
    }

    /// Lets what was begun be acknowledged, and says how many events that were in all.
    pub(super) async fn stop(self) -> u64 {
        self.work.stop.cancel();
        for task in self.tasks {
            task.await.expect("a sender");
        }
        assert_eq!(self.work.begun, self.work.acknowledged, "every webhook was acknowledged");
        self.work.acknowledged.get() * BATCH
    }
}

async fn post(work: Rc<Work>) {
    let mut sender = Sender::connect(work.address).await;
    while !work.stop.is_cancelled() {
        let batch = work.begun.get();
        let due = match work.pace {
            Pace::Flat => None,
            Pace::Rate(rate) => Some(Duration::from_secs_f64(batch as f64 * BATCH as f64 / rate)),
        };
        work.begun.set(batch + 1);
        if let Some(due) = due {
            sleep_until(work.began.0 + due).await;
        }
        // An event is as old as it is overdue.
        let moment = due.map_or_else(now_us, |due| work.began.1 + due.as_micros() as u64);
        let first = work.first + batch * BATCH;
        let events: Vec<String> = (first..first + BATCH).map(|number| event_of(number, moment)).collect();
        let request = Request::new(&events, Some(Signing { key: WEBHOOK.key, url: WEBHOOK.url }));
        let signature = request.signature.expect("signed");
        // It asserts a 200: nothing here is broken on purpose.
        sender.post(&load::request(&request.body, &signature)).await;
        work.acknowledged.set(work.acknowledged.get() + 1);
    }
}
