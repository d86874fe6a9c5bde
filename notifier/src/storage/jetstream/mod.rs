//! The store of production: the stream of JetStream, and the object store beside it.
//!
//! **Owns** how its promises are kept with what the broker offers. Events are read by [`direct`] get in batches,
//! which leaves nothing behind on the broker and asks for no consumer. In a cluster that is answered from the nearest
//! copy, which may end before the stream does: it is a beginning of the stream, so that a message from behind a place
//! shows that all before it was there, but "nothing more" is the [`leader`]'s to say. `docs/NATS.md` has what each
//! question costs.

mod behind;
mod direct;
mod leader;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use async_nats::jetstream;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use shared::{stream, subject};

use super::{Most, Object, Part, Span, Storage, StorageError, Stored};
use crate::filter::subjects::Subjects;
use behind::Patience;
use direct::{End, Next};
pub(crate) use leader::first_from;

/// The pattern of all subjects.
const EVERYTHING: &str = ">";
/// Subjects of which the broker gives the last messages in one answer.
const LAST_SUBJECTS_MAX: usize = 1024;
/// The end of the year 9999, where RFC 3339 ends.
const TIME_MS_MAX: u64 = 253_402_300_799_000;

/// Reads a stream.
#[derive(Debug, Clone)]
pub(crate) struct JetStream {
    client: async_nats::Client,
    context: jetstream::Context,
    stream: String,
}

impl JetStream {
    pub(crate) fn new(client: &async_nats::Client, context: jetstream::Context, stream: &str) -> JetStream {
        JetStream { client: client.clone(), context, stream: stream.to_owned() }
    }

    /// The events of one pattern. `first_batch` is how many are asked for at first.
    async fn run(
        &self,
        pattern: &str,
        (after, through): (u64, u64),
        most: Most,
        first_batch: usize,
    ) -> Result<Part, StorageError> {
        let (mut part, mut bytes) = (Part { events: Vec::new(), through: after }, 0);
        // With each batch the broker says how many are left: of a pattern it counts them by a walk over the
        // subjects, of everything it knows.
        let filter = if pattern == subject::EVENTS_ALL { EVERYTHING } else { pattern };
        let (mut count, mut patience) = (first_batch, Patience::new());
        while part.through < through {
            let wanted = count.min(most.events - part.events.len()).min(width(part.through, through));
            let question = json!({
                "seq": part.through + 1, "batch": wanted, "max_bytes": most.bytes - bytes, "next_by_subj": filter,
            });
            let (mut batch, before) = (direct::ask(&self.client, &self.stream, &question).await?, part.through);
            let left = loop {
                let message = match batch.next().await? {
                    Next::Message(message) => message,
                    Next::End(End { left, .. }) => break left,
                    Next::TooMany => return Err(StorageError::Away),
                };
                let is_event = direct::subject_of(&message).starts_with(subject::EVENT_SUBJECTS);
                let stored = direct::stored(message)?;
                if stored.place.sequence > through {
                    part.through = through;
                    return Ok(part);
                }
                part.through = stored.place.sequence;
                if !is_event {
                    continue;
                }
                bytes += stored.event.len();
                part.events.push(stored);
            };
            if left == 0 && part.through < through {
                self.pass(filter, &mut part.through, through, &mut patience).await?;
            } else if part.through == before {
                // Neither a message nor the word that there is none.
                return Err(StorageError::Away);
            }
            if part.events.len() >= most.events || bytes >= most.bytes {
                break;
            }
            count *= 2;
        }
        Ok(part)
    }

    /// Goes on to `through` where the leader, too, has nothing of a pattern on the way; else to where it has, once
    /// the copy that is read has got so far.
    async fn pass(
        &self,
        filter: &str,
        after: &mut u64,
        through: u64,
        patience: &mut Patience,
    ) -> Result<(), StorageError> {
        let found = leader::first_from(&self.context, &self.stream, filter, *after + 1).await?;
        let Some(missed) = found.filter(|sequence| *sequence <= through) else {
            *after = through;
            return Ok(());
        };
        let question = json!({ "seq": missed, "batch": 1, "next_by_subj": EVERYTHING });
        let found = direct::ask(&self.client, &self.stream, &question).await?.next().await?;
        let Next::Message(found) = found else { return patience.wait().await };
        if direct::stored(found)?.place.sequence > missed {
            // The copy goes on behind it, and does not keep it: it was dropped there already.
            *after = missed;
            return Ok(());
        }
        patience.wait().await
    }

    /// The last of each subject, where the copy that is read goes as far as `through`; nothing where it does not, or
    /// where they are more than `most`.
    async fn last_of_each(
        &self,
        patterns: &[String],
        through: u64,
        most: usize,
    ) -> Result<Option<Vec<(String, Stored)>>, StorageError> {
        let question = json!({ "multi_last": patterns, "batch": most });
        let (mut batch, mut lasts) = (direct::ask(&self.client, &self.stream, &question).await?, Vec::new());
        loop {
            match batch.next().await? {
                Next::Message(message) => {
                    lasts.push((direct::subject_of(&message).to_owned(), direct::stored(message)?));
                }
                Next::End(End { left: 0, copy_last: Some(last) }) if last >= through => return Ok(Some(lasts)),
                // Where it has found nothing it does not say how far it goes.
                Next::End(End { left: 0, copy_last: None }) if lasts.is_empty() => break,
                Next::End(_) | Next::TooMany => return Ok(None),
            }
        }
        for pattern in patterns {
            let first = leader::first_from(&self.context, &self.stream, pattern, 1).await?;
            if first.is_some_and(|first| first <= through) {
                return Ok(None);
            }
        }
        Ok(Some(lasts))
    }

    async fn all_of_few(
        &self,
        subjects: &Subjects,
        through: u64,
        most: Most,
    ) -> Result<Option<Vec<Stored>>, StorageError> {
        let (patterns, most_subjects) = (subjects.patterns(), most.events.min(LAST_SUBJECTS_MAX));
        let Some(lasts) = self.last_of_each(&patterns, through, most_subjects).await? else { return Ok(None) };
        if lasts.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut counts = HashMap::new();
        for pattern in &patterns {
            counts.extend(stream::counts(&self.context, &self.stream, pattern).await?.subjects);
        }
        if counts.values().sum::<usize>() > most.events {
            return Ok(None);
        }
        let (mut events, mut bytes) = (Vec::new(), 0);
        for (subject, last) in lasts {
            let count = counts.get(&subject).copied().unwrap_or(1);
            let end = last.place.sequence.min(through);
            let part = if count > 1 {
                self.run(&subject, (0, end), most, count).await?
            } else {
                Part { events: vec![last], through: end }
            };
            if part.through < end {
                return Ok(None);
            }
            let found = part.events.into_iter().filter(|stored| stored.place.sequence <= through);
            events.extend(found.inspect(|stored| bytes += stored.event.len()));
        }
        if bytes > most.bytes {
            return Ok(None);
        }
        events.sort_unstable_by_key(|stored| stored.place.sequence);
        Ok(Some(events))
    }
}

/// How many sequences lie behind `after` up to `through`.
fn width(after: u64, through: u64) -> usize {
    usize::try_from(through - after).unwrap_or(usize::MAX)
}

impl Storage for JetStream {
    fn span(&self) -> BoxFuture<'_, Result<Span, StorageError>> {
        async {
            let info = leader::info(&self.context, &self.stream).await?;
            let (first, last) = (info.state.first_sequence, info.state.last_sequence);
            let first = if info.state.messages == 0 { last + 1 } else { first };
            Ok(Span { epoch: stream::epoch_of(&info)?, first, last })
        }
        .boxed()
    }

    fn range<'a>(
        &'a self,
        subjects: &'a Subjects,
        after: u64,
        through: u64,
        most: Most,
    ) -> BoxFuture<'a, Result<Part, StorageError>> {
        async move {
            let mut all = Part { events: Vec::new(), through };
            for pattern in subjects.patterns() {
                // Where few messages match, the broker searches on behind `through` for each that is asked for and
                // not found before: it is asked for more only as more are found.
                let first_batch = if pattern == subject::EVENTS_ALL { most.events } else { 1 };
                let part = self.run(&pattern, (after, all.through), most, first_batch).await?;
                all.through = part.through;
                all.events.extend(part.events);
            }
            all.events.retain(|stored| stored.place.sequence <= all.through);
            all.events.sort_unstable_by_key(|stored| stored.place.sequence);
            cut(&mut all, most);
            Ok(all)
        }
        .boxed()
    }

    fn few<'a>(
        &'a self,
        subjects: &'a Subjects,
        through: u64,
        most: Most,
    ) -> BoxFuture<'a, Result<Option<Vec<Stored>>, StorageError>> {
        if subjects.is_narrow() {
            self.all_of_few(subjects, through, most).boxed()
        } else {
            std::future::ready(Ok(None)).boxed()
        }
    }

    fn first_since(&self, ms: u64) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        async move {
            let since = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms));
            let Some(since) = since.filter(|_| ms < TIME_MS_MAX) else { return Ok(None) };
            let since = humantime::format_rfc3339_millis(since).to_string();
            let question = json!({ "start_time": since, "next_by_subj": subject::EVENTS_ALL });
            let first = leader::message(&self.context, &self.stream, &question).await?;
            Ok(first.map(|message| message.sequence))
        }
        .boxed()
    }

    fn object<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Object>, StorageError>> {
        objects::find(self, id).boxed()
    }
}

/// Leaves of several patterns' events together no more than was asked for.
fn cut(part: &mut Part, most: Most) {
    let mut bytes = 0;
    let fits = |(at, stored): (usize, &Stored)| {
        bytes += stored.event.len();
        at < most.events && (at == 0 || bytes <= most.bytes)
    };
    let kept = part.events.iter().enumerate().map(fits).take_while(|fits| *fits).count();
    if kept < part.events.len() {
        part.events.truncate(kept);
        part.through = part.events.last().map_or(part.through, |stored| stored.place.sequence);
    }
}
