//! Group commit: requests that arrive while a commit is under way share the next one.
//!
//! One commit is under way at a time. The broker stores a stream's batches one after the other, each at a
//! price that hardly depends on its size: two at once are two small ones (`make bench`, "crossing").
//!
//! **Owns** how requests become groups and how each gets its own answer back. **May not touch** the
//! broker. With fsync before every acknowledgement, a commit costs the same for one event as for a
//! hundred: this is what makes many small webhooks fast.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use shared::spans::{SpanKind, Traces};
use shared::vital::vital;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Journal, Message, Stored};
use crate::batch::EventId;
use crate::body::Held;
use crate::error::NotStored;

/// Events of one group, but for a single larger request.
const GROUP_EVENTS_MAX: usize = 1000;
/// How long a group waits for as many requests as the last one had: this part of what the last commit
/// took, and no longer than the most. A request that is alone does not wait.
const GATHER_SHARE: u32 = 4;
const GATHER_MAX: Duration = Duration::from_millis(2);
/// Past a group's deadline, for its answers to come back.
const ANSWER_SLACK: Duration = Duration::from_secs(1);

/// How many of a request's events were stored, and how many were there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stored by this request.
    pub stored: usize,
    /// Known already, from an earlier request or from one that came at the same time.
    pub duplicates: usize,
}

/// Hands requests' events to the journal, in groups. Cheap to clone; ends with its last clone.
#[derive(Debug, Clone)]
pub struct Committer {
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    messages: Vec<Message>,
    held: Held,
    deadline: Instant,
    answer: oneshot::Sender<Result<Tally, NotStored>>,
}

impl Committer {
    /// Starts committing. `requests_max` may wait at once.
    pub fn start(journal: impl Journal, requests_max: usize, traces: Traces) -> Committer {
        let (jobs, waiting) = mpsc::channel(requests_max);
        tokio::spawn(vital("committing", run(journal, waiting, traces)));
        Committer { jobs }
    }

    /// Stores one request's events, whose ids differ. Their memory is `held` for as long as they are here, which
    /// may be longer than anybody waits for the answer.
    ///
    /// # Errors
    /// Where not all of them are known to be stored by `deadline`; some may be.
    pub async fn commit(&self, messages: Vec<Message>, held: Held, deadline: Instant) -> Result<Tally, NotStored> {
        if messages.is_empty() {
            return Ok(Tally::default());
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { messages, held, deadline, answer };
        let fate = async {
            self.jobs.send(job).await.map_err(|_| NotStored::Away)?;
            answered.await.map_err(|_| NotStored::Away)?
        };
        tokio::time::timeout_at(deadline + ANSWER_SLACK, fate).await.unwrap_or(Err(NotStored::Slow))
    }
}

/// What the last group teaches about the next: senders that wait for their answers come again together.
#[derive(Debug, Default)]
struct Pace {
    requests: usize,
    took: Duration,
}

async fn run(journal: impl Journal, mut waiting: mpsc::Receiver<Job>, traces: Traces) {
    let mut left_over = None;
    let mut pace = Pace::default();
    loop {
        let first = match left_over.take() {
            Some(job) => job,
            None => match waiting.recv().await {
                Some(job) => job,
                None => return,
            },
        };
        let mut jobs = vec![first];
        left_over = gather(&mut jobs, &mut waiting, &pace).await;
        let requests = jobs.len();
        let started = Instant::now();
        commit(&journal, jobs, &traces).await;
        pace = Pace { requests, took: started.elapsed() };
    }
}

/// Adds what waits, and what is about to come: under load the senders just answered are on their way
/// again, and a commit without them would make them wait for two. Gives back a job that would be too much.
async fn gather(jobs: &mut Vec<Job>, waiting: &mut mpsc::Receiver<Job>, pace: &Pace) -> Option<Job> {
    let mut events = jobs[0].messages.len();
    let patience = Instant::now() + (pace.took / GATHER_SHARE).min(GATHER_MAX);
    while events < GROUP_EVENTS_MAX {
        let job = match waiting.try_recv() {
            Ok(job) => job,
            Err(_) if jobs.len() >= pace.requests => return None,
            Err(_) => tokio::time::timeout_at(patience, waiting.recv()).await.ok().flatten()?,
        };
        events += job.messages.len();
        if events > GROUP_EVENTS_MAX {
            return Some(job);
        }
        jobs.push(job);
    }
    None
}

async fn commit(journal: &impl Journal, jobs: Vec<Job>, traces: &Traces) {
    let now = Instant::now();
    // Whoever has stopped waiting has been told to come again.
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| job.deadline > now && !job.answer.is_closed()).collect();
    let Some(deadline) = jobs.iter().map(|job| job.deadline).max() else { return };
    let (messages, members) = merge(jobs);
    let requests = messages.iter().filter_map(|message| message.traceparent.as_deref());
    let mut span = traces.join("commit", SpanKind::Producer, requests, SystemTime::now());
    let mut fates = journal.append(&messages, deadline).await;
    span.set("messaging.system", "nats");
    span.set("messaging.batch.message_count", i64::try_from(messages.len()).unwrap_or(i64::MAX));
    if fates.iter().any(Result::is_err) {
        span.failed("not all of it is known to be stored");
    }
    drop(span);
    drop(messages);
    for Member { slots, held, answer } in members {
        let tally = settle(&mut fates, &slots);
        drop(held);
        // The sender may have left meanwhile; its events are stored all the same.
        let _ = answer.send(tally);
    }
}

/// What is left of a job once its messages are among the group's.
struct Member {
    slots: Vec<usize>,
    held: Held,
    answer: oneshot::Sender<Result<Tally, NotStored>>,
}

/// One list of messages with different ids, and where each job's own are in it.
fn merge(jobs: Vec<Job>) -> (Vec<Message>, Vec<Member>) {
    let events = jobs.iter().map(|job| job.messages.len()).sum();
    let mut places: HashMap<EventId, usize> = HashMap::new();
    let alone = jobs.len() == 1;
    if !alone {
        places.reserve(events);
    }
    let mut messages = Vec::with_capacity(events);
    let mut members = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut slots = Vec::with_capacity(job.messages.len());
        for message in job.messages {
            let next = messages.len();
            let slot = if alone { next } else { *places.entry(message.event.id).or_insert(next) };
            if slot == next {
                messages.push(message);
            }
            slots.push(slot);
        }
        members.push(Member { slots, held: job.held, answer: job.answer });
    }
    (messages, members)
}

/// One job's answer. The first to claim a newly stored event has stored it; to the rest it is a duplicate.
fn settle(fates: &mut [Result<Stored, NotStored>], slots: &[usize]) -> Result<Tally, NotStored> {
    if let Some(error) = slots.iter().find_map(|slot| fates[*slot].as_ref().err()) {
        return Err(error.clone());
    }
    let mut tally = Tally::default();
    for slot in slots {
        match std::mem::replace(&mut fates[*slot], Ok(Stored::Duplicate)) {
            Ok(Stored::New) => tally.stored += 1,
            Ok(Stored::Duplicate) | Err(_) => tally.duplicates += 1,
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch;
    use bytes::Bytes;
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};
    use tokio::sync::{Notify, Semaphore};

    /// A journal in memory that commits when it is let.
    #[derive(Default)]
    struct Memory {
        appends: Mutex<Vec<usize>>,
        stored: Mutex<HashSet<EventId>>,
        refused: Mutex<HashSet<EventId>>,
        begun: Notify,
        go: Allowed,
    }

    struct Allowed(Semaphore);

    impl Default for Allowed {
        fn default() -> Self {
            Allowed(Semaphore::new(0))
        }
    }

    impl Journal for Arc<Memory> {
        async fn append(&self, messages: &[Message], _deadline: Instant) -> Vec<Result<Stored, NotStored>> {
            self.appends.lock().unwrap().push(messages.len());
            self.begun.notify_one();
            self.go.0.acquire().await.unwrap().forget();
            let mut stored = self.stored.lock().unwrap();
            let refused = self.refused.lock().unwrap();
            let fate = |message: &Message| match message.event.id {
                id if refused.contains(&id) => Err(NotStored::Refused("full".to_owned())),
                id if stored.insert(id) => Ok(Stored::New),
                _ => Ok(Stored::Duplicate),
            };
            messages.iter().map(fate).collect()
        }
    }

    fn messages(batch: &str) -> Vec<Message> {
        let batch = batch::read(&Bytes::copy_from_slice(batch.as_bytes())).unwrap();
        batch.events.into_iter().map(|event| Message { event, traceparent: None }).collect()
    }

    async fn commit(committer: &Committer, batch: &str) -> Result<Tally, NotStored> {
        committer.commit(messages(batch), Held::default(), Instant::now() + Duration::from_secs(5)).await
    }

    fn start() -> (Arc<Memory>, Committer) {
        let journal = Arc::new(Memory::default());
        (Arc::clone(&journal), Committer::start(Arc::clone(&journal), 100, Traces::default()))
    }

    #[tokio::test]
    async fn requests_that_arrive_during_a_commit_share_the_next() {
        let (journal, committer) = start();
        let post = |batch: &'static str| {
            let committer = committer.clone();
            tokio::spawn(async move { commit(&committer, batch).await })
        };
        let mut posts = vec![post(r#"[{"first":1}]"#)];
        journal.begun.notified().await;
        posts.extend([r#"[{"a":1}]"#, r#"[{"a":2},{"a":3}]"#, r#"[{"a":4}]"#].map(post));
        tokio::task::yield_now().await;
        journal.go.0.add_permits(2);
        for post in posts {
            post.await.unwrap().unwrap();
        }
        assert_eq!(*journal.appends.lock().unwrap(), [1, 4]);
    }

    #[tokio::test]
    async fn equal_events_of_two_requests_are_sent_once_and_each_request_is_told_so() {
        let (journal, _) = start();
        journal.go.0.add_permits(1);
        let (answer_a, answered_a) = oneshot::channel();
        let (answer_b, answered_b) = oneshot::channel();
        let deadline = Instant::now() + Duration::from_secs(5);
        let job = |batch, answer| Job { messages: messages(batch), held: Held::default(), deadline, answer };
        let jobs = vec![job(r#"[{"a":1},{"a":2}]"#, answer_a), job(r#"[{"a":2},{"a":3}]"#, answer_b)];
        super::commit(&journal, jobs, &Traces::default()).await;
        assert_eq!(*journal.appends.lock().unwrap(), [3]);
        assert_eq!(answered_a.await.unwrap(), Ok(Tally { stored: 2, duplicates: 0 }));
        assert_eq!(answered_b.await.unwrap(), Ok(Tally { stored: 1, duplicates: 1 }));
    }

    #[tokio::test]
    async fn each_request_has_its_own_events_fate() {
        let (journal, _) = start();
        journal.go.0.add_permits(1);
        let bad = messages(r#"[{"bad":1}]"#);
        journal.refused.lock().unwrap().insert(bad[0].event.id);
        let (answer_a, answered_a) = oneshot::channel();
        let (answer_b, answered_b) = oneshot::channel();
        let deadline = Instant::now() + Duration::from_secs(5);
        let job = |messages, answer| Job { messages, held: Held::default(), deadline, answer };
        let jobs = vec![job(bad, answer_a), job(messages(r#"[{"good":1}]"#), answer_b)];
        super::commit(&journal, jobs, &Traces::default()).await;
        assert_eq!(answered_a.await.unwrap(), Err(NotStored::Refused("full".to_owned())));
        assert_eq!(answered_b.await.unwrap(), Ok(Tally { stored: 1, duplicates: 0 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_answered_by_its_deadline_whatever_the_journal_does() {
        let (_journal, committer) = start();
        assert_eq!(commit(&committer, r#"[{"a":1}]"#).await, Err(NotStored::Slow));
    }
}
