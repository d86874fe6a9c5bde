//! The journal on NATS JetStream.
//!
//! **Owns** how messages are published and what every answer of the broker leads to. An event counts as
//! stored by an acknowledgement of its own or of its batch, and by nothing else: time-outs, lost
//! connections and missing leaders mean "unknown", and the event is sent again under the same id, which
//! the stream recognises.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{HeaderMap, HeaderValue, Request, header};
use futures_util::future::join_all;
use shared::broker::Broker;
use tokio::sync::Notify;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use super::attempt::{self, ATTEMPT_TIMEOUT, Attempts, Undone};
use super::reply::Reply;
use super::{Journal, Message, Stored};
use crate::error::NotStored;

/// Messages of one atomic batch: the server's limit.
const BATCH_MESSAGES_MAX: usize = 1000;
/// Bytes of one atomic batch: the server stages it whole.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// From here on one atomic batch is quicker than as many publishes, each with an fsync of its own
/// (`make bench`, "crossing").
const BATCH_MESSAGES_MIN: usize = 16;
/// An id that no event has: a publish that expects it to be the last is never stored.
const NO_ID: &str = "none";

/// The stream, as ingest writes it.
#[derive(Debug, Clone)]
pub struct JetStream {
    attempts: Attempts,
    stream: String,
    batches: Arc<AtomicBool>,
}

/// What one attempt brought to light.
enum Progress {
    /// Every open message has its fate.
    Settled,
    /// The batch holds something the stream has: nothing of it was stored.
    Duplicates,
}

type Fates = [Option<Result<Stored, NotStored>>];

impl JetStream {
    /// The stream of this name. `missing` is told when nobody answers for it.
    #[must_use]
    pub fn new(broker: Broker, stream: &str, missing: Arc<Notify>) -> JetStream {
        JetStream {
            attempts: Attempts::new(broker, missing),
            stream: stream.to_owned(),
            batches: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Stores one piece, trying again until every message has a fate or the time is over.
    async fn settle(&self, messages: &[Message], fates: &mut Fates, deadline: Instant) {
        let mut all_new = false;
        loop {
            let open: Vec<usize> = (0..messages.len()).filter(|at| fates[*at].is_none()).collect();
            if open.is_empty() {
                return;
            }
            let attempt = self.attempt(messages, &open, fates, all_new);
            let undone = match self.attempts.once(deadline, attempt).await {
                Ok(Progress::Settled) => continue,
                Ok(Progress::Duplicates) => {
                    // Each id is asked for; what is new is sent again as one batch. Where the stream has
                    // none of them after all, single publishes settle it.
                    all_new = !self.find_duplicates(messages, &open, fates).await;
                    continue;
                }
                Err(undone) => undone,
            };
            if let Err(error) = attempt::pause(undone, deadline).await {
                fates.iter_mut().filter(|fate| fate.is_none()).for_each(|fate| *fate = Some(Err(error.clone())));
                return;
            }
        }
    }

    async fn attempt(
        &self,
        messages: &[Message],
        open: &[usize],
        fates: &mut Fates,
        singly: bool,
    ) -> Result<Progress, Undone> {
        if open.len() < BATCH_MESSAGES_MIN || singly || !self.batches.load(Ordering::Relaxed) {
            self.publish_each(messages, open, fates).await
        } else {
            self.publish_batch(messages, open, fates).await
        }
    }

    async fn publish_batch(&self, messages: &[Message], open: &[usize], fates: &mut Fates) -> Result<Progress, Undone> {
        let batch = HeaderValue::from(nuid::next().as_str());
        let Some((last, first)) = open.split_last() else { return Ok(Progress::Settled) };
        for (at, index) in first.iter().enumerate() {
            let message = &messages[*index];
            let headers = batch_headers(message, &batch, at + 1);
            let (subject, payload) = (message.event.subject.clone(), message.event.payload.clone());
            if let Err(error) = self.attempts.broker.client().publish_with_headers(subject, headers, payload).await {
                return Err(Undone::Refused(NotStored::Refused(error.to_string())));
            }
        }
        let mut headers = batch_headers(&messages[*last], &batch, open.len());
        headers.insert(header::NATS_BATCH_COMMIT, header::NATS_BATCH_COMMIT_FINAL);
        match self.request(&messages[*last], headers, Some(open.len())).await {
            Reply::Stored { .. } => {
                open.iter().for_each(|index| fates[*index] = Some(Ok(Stored::New)));
                Ok(Progress::Settled)
            }
            Reply::DuplicateInBatch => Ok(Progress::Duplicates),
            Reply::Unknown(what) => Err(self.attempts.unknown(what)),
            Reply::NoBatches => {
                tracing::warn!("the stream takes no atomic batches of this size: publishing singly, which is slower");
                self.batches.store(false, Ordering::Relaxed);
                Err(Undone::Unknown(NotStored::Slow))
            }
            Reply::WrongLast => Err(Undone::Unknown(NotStored::Slow)),
            Reply::Refused(what) => Err(Undone::Refused(NotStored::Refused(what))),
        }
    }

    async fn publish_each(&self, messages: &[Message], open: &[usize], fates: &mut Fates) -> Result<Progress, Undone> {
        let replies = in_order(open.iter().map(|index| self.publish_one(&messages[*index]))).await;
        let mut worst = Ok(Progress::Settled);
        for (index, reply) in open.iter().zip(replies) {
            match reply {
                Reply::Stored { duplicate } => {
                    fates[*index] = Some(Ok(if duplicate { Stored::Duplicate } else { Stored::New }));
                }
                Reply::Refused(what) => fates[*index] = Some(Err(NotStored::Refused(what))),
                Reply::Unknown(what) => worst = Err(self.attempts.unknown(what)),
                Reply::DuplicateInBatch | Reply::WrongLast | Reply::NoBatches => {
                    worst = Err(Undone::Unknown(NotStored::Slow));
                }
            }
        }
        worst
    }

    /// Gives every open message the stream has its fate; says whether there was any.
    ///
    /// Asking costs no fsync: a publish that expects an impossible last id is never stored, but the server
    /// looks for its own id first. A replicated stream gives such a publish no answer at all; there,
    /// single publishes are as quick as batches, so nothing is asked (docs/NATS.md).
    async fn find_duplicates(&self, messages: &[Message], open: &[usize], fates: &mut Fates) -> bool {
        if !self.is_single_copy().await {
            return false;
        }
        let probes = in_order(open.iter().map(|index| self.probe(&messages[*index])));
        let Ok(replies) = timeout(ATTEMPT_TIMEOUT, probes).await else { return false };
        let mut found = false;
        for (index, reply) in open.iter().zip(replies) {
            if reply == (Reply::Stored { duplicate: true }) {
                fates[*index] = Some(Ok(Stored::Duplicate));
                found = true;
            }
        }
        found
    }

    async fn is_single_copy(&self) -> bool {
        let context = async_nats::jetstream::new(self.attempts.broker.client().clone());
        let info = timeout(ATTEMPT_TIMEOUT, context.get_stream(&self.stream)).await;
        info.is_ok_and(|found| found.is_ok_and(|stream| stream.cached_info().config.num_replicas == 1))
    }

    async fn publish_one(&self, message: &Message) -> Reply {
        self.request(message, headers(message), None).await
    }

    async fn probe(&self, message: &Message) -> Reply {
        let mut headers = headers(message);
        headers.insert(header::NATS_EXPECTED_LAST_MESSAGE_ID, NO_ID);
        let request = Request::new().headers(headers);
        self.attempts.send(&message.event.subject, request, None).await
    }

    async fn request(&self, message: &Message, headers: HeaderMap, count: Option<usize>) -> Reply {
        let request = Request::new().headers(headers).payload(message.event.payload.clone());
        self.attempts.send(&message.event.subject, request, count).await
    }
}

impl Journal for JetStream {
    async fn append(&self, messages: &[Message], deadline: Instant) -> Vec<Result<Stored, NotStored>> {
        let mut fates = vec![None; messages.len()];
        for piece in pieces(messages.iter().map(|message| message.event.payload.len())) {
            self.settle(&messages[piece.clone()], &mut fates[piece], deadline).await;
        }
        fates.into_iter().map(|fate| fate.unwrap_or(Err(NotStored::Slow))).collect()
    }
}

/// Sends requests in this order and waits for all replies. `join_all` polls in order; a task that has
/// used its turn would be told to yield in the middle, and go on in another.
async fn in_order<T>(requests: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    unconstrained(join_all(requests)).await
}

fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, message.event.id.to_string());
    if let Some(traceparent) = &message.traceparent {
        headers.insert("traceparent", &**traceparent);
    }
    headers
}

fn batch_headers(message: &Message, batch: &HeaderValue, sequence: usize) -> HeaderMap {
    let mut headers = headers(message);
    headers.insert(header::NATS_BATCH_ID, batch.clone());
    headers.insert(header::NATS_BATCH_SEQUENCE, HeaderValue::from(sequence));
    headers
}

/// Cuts a run of messages of these sizes into batches the server takes.
fn pieces(sizes: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, size) in sizes.enumerate() {
        match pieces.last_mut() {
            Some(piece) if piece.len() < BATCH_MESSAGES_MAX && bytes + size <= BATCH_BYTES_MAX => {
                piece.end += 1;
                bytes += size;
            }
            _ => {
                pieces.push(at..at + 1);
                bytes = size;
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_cover_everything_in_order_within_the_limits(sizes in proptest::collection::vec(0..4_000_000_usize, 0..3000)) {
            let pieces = pieces(sizes.iter().copied());
            let mut next = 0;
            for piece in pieces {
                prop_assert_eq!(piece.start, next);
                next = piece.end;
                prop_assert!((1..=BATCH_MESSAGES_MAX).contains(&piece.len()));
                prop_assert!(piece.len() == 1 || sizes[piece].iter().sum::<usize>() <= BATCH_BYTES_MAX);
            }
            prop_assert_eq!(next, sizes.len());
        }
    }
}
