//! What every store must do: the same checks for each of them, and each against a naive model.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use shared::settings::{Mistakes, Settings};
use shared::stream::{self, StreamSettings};
use shared::testing::broker::Broker;
use shared::{event, subject};

use super::jetstream::JetStream;
use super::memory::Memory;
use super::*;
use crate::filter::tests::filter;
use crate::filter::{Filter, wants};
use crate::labels::Labels;

const EVENTS: usize = 300;
const QUESTIONS: usize = 300;
/// The sequences of events that are deleted after they were stored.
const HOLES: [u64; 6] = [1, 2, 57, 120, 121, 300];

/// Few people, messages and kinds, so that questions have answers of every size.
fn event_text(number: usize) -> String {
    let kind = ["send", "open", "click", "Odd Kind"][number * 7 % 11 % 4];
    let person = number * 5 % 13 % 9;
    let message = number * 3 % 17;
    format!(
        r#"{{"event":"{kind}","_id":"m{message}","msg":{{"email":"p{person}@example.com"}},"n":{number},"x":"{}"}}"#,
        "y".repeat(number % 90)
    )
}

/// What is stored, as everybody can see: sequence, text, time.
type Model = Vec<(u64, String, u64)>;

fn asked() -> impl Strategy<Value = Option<Filter>> {
    let names = (
        proptest::collection::vec(0..5_usize, 0..3),
        proptest::collection::vec(0..10_usize, 0..3),
        proptest::collection::vec(0..18_usize, 0..3),
    );
    names.prop_map(|(kinds, people, messages)| {
        let mut pairs = Vec::new();
        pairs.extend(kinds.iter().map(|n| ("event", ["send", "open", "click", "Odd Kind", "spam"][*n].to_owned())));
        pairs.extend(people.iter().map(|n| ("email", format!("p{n}@example.com"))));
        pairs.extend(messages.iter().map(|n| ("message", format!("m{n}"))));
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        (!pairs.is_empty()).then(|| filter(&pairs))
    })
}

fn question() -> impl Strategy<Value = (Option<Filter>, u64, u64, usize, usize)> {
    let ends = (0..=EVENTS as u64, 0..=EVENTS as u64).prop_map(|(one, other)| (one.min(other), one.max(other)));
    (asked(), ends, 1..60_usize, 200..9000_usize)
        .prop_map(|(filter, (after, through), events, bytes)| (filter, after, through, events, bytes))
}

async fn keeps_its_promises(store: &dyn Storage, model: &Model) {
    let span = store.span().await.expect("a span");
    assert_eq!((span.first, span.last), (model[0].0, EVENTS as u64));
    let everything = Subjects::default();
    let mut runner = TestRunner::deterministic();
    for _ in 0..QUESTIONS {
        let (filter, after, through, events, bytes) = question().new_tree(&mut runner).expect("one").current();
        let subjects = filter.as_ref().map_or(&everything, Filter::subjects);
        let most = Most { events, bytes };
        let holds = |text: &str| wants(filter.as_ref(), &Labels::of(&event::fields(text)));
        let expected: Model = model.iter().filter(|(_, text, _)| holds(text)).cloned().collect();

        let part = store.range(subjects, after, through, most).await.expect("a part");
        assert!(part.through <= through && (part.through > after || after == through), "{part:?}");
        assert!(part.events.len() <= events);
        let size: usize = part.events.iter().map(|stored| stored.event.len()).sum();
        assert!(size <= bytes || part.events.len() == 1, "{size} of {bytes}");
        check(&part.events, &expected, after, part.through, &holds);

        if let Some(few) = store.few(subjects, through, most).await.expect("an answer") {
            assert!(few.len() <= events);
            check(&few, &expected, 0, through, &holds);
        } else {
            let stored = model.iter().filter(|(_, text, _)| subjects.patterns().iter().any(|p| is_stored(text, p)));
            let bytes_there: usize = stored.clone().map(|(_, text, _)| text.len()).sum();
            assert!(!subjects.is_narrow() || stored.count() > events || bytes_there > bytes, "{subjects:?}");
        }
    }
    for (_, _, ms) in model.iter().step_by(17) {
        let first = model.iter().find(|(_, _, at)| at >= ms).map(|(sequence, _, _)| *sequence);
        assert_eq!(store.first_since(*ms).await.expect("an answer"), first);
    }
    assert_eq!(store.first_since(0).await.expect("an answer"), Some(model[0].0));
    assert_eq!(store.first_since(u64::MAX).await.expect("an answer"), None);
    let newest = model.last().expect("one").2;
    assert_eq!(store.first_since(newest + 1000).await.expect("an answer"), None);
}

fn is_stored(text: &str, pattern: &str) -> bool {
    let subject = subject::of_event(&event::fields(text));
    let (tokens, wanted): (Vec<&str>, Vec<&str>) = (subject.split('.').collect(), pattern.split('.').collect());
    wanted.iter().zip(&tokens).all(|(wanted, token)| ["*", ">"].contains(wanted) || wanted == token)
}

/// A store may give more than the filter wants, but everything it wants, once, in order, as it was stored.
fn check(found: &[Stored], expected: &Model, after: u64, through: u64, holds: &dyn Fn(&str) -> bool) {
    let found = found.iter().map(|stored| {
        let text = String::from_utf8(stored.event.to_vec()).expect("text");
        (stored.place.sequence, text, stored.place.stored_ms)
    });
    let found: Model = found.collect();
    let sequences: Vec<u64> = found.iter().map(|(sequence, _, _)| *sequence).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    assert!(sequences.iter().all(|sequence| (after + 1..=through).contains(sequence)), "{sequences:?}");
    let wanted: Model = found.into_iter().filter(|(_, text, _)| holds(text)).collect();
    let inside = expected.iter().filter(|(sequence, _, _)| (after + 1..=through).contains(sequence));
    assert_eq!(wanted, inside.cloned().collect::<Model>());
}

#[tokio::test]
async fn the_store_in_memory_keeps_its_promises() {
    let (store, mut model) = (Memory::new(), Model::new());
    for number in 0..EVENTS {
        let (text, ms) = (event_text(number), 1_760_000_000_000 + number as u64 / 3);
        let sequence = store.store(&text, ms);
        model.push((sequence, text, ms));
    }
    HOLES.iter().for_each(|hole| store.delete(*hole));
    model.retain(|(sequence, _, _)| !HOLES.contains(sequence));
    keeps_its_promises(&store, &model).await;
}

async fn jetstream() -> (Broker, async_nats::jetstream::Context, JetStream) {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let context = async_nats::jetstream::new(client.clone());
    let settings = StreamSettings::read(&[].into(), &mut Mistakes::default()).expect("settings");
    stream::ensure(&context, &settings).await.expect("a stream");
    let store = JetStream::new(&client, context.clone(), &settings.stream_name);
    (broker, context, store)
}

#[tokio::test]
async fn the_store_of_production_keeps_its_promises() {
    let (_broker, context, store) = jetstream().await;
    let empty = store.span().await.expect("a span");
    assert_eq!((empty.first, empty.last), (1, 0));
    let mut acks = Vec::new();
    for number in 0..EVENTS {
        let text = event_text(number);
        let subject = subject::of_event(&event::fields(&text));
        acks.push(context.publish(subject, text.into()).await.expect("published"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
    let stream = context.get_stream("MANDRILL").await.expect("the stream");
    for hole in HOLES {
        stream.delete_message(hole).await.expect("deleted");
    }
    // The times are the broker's: what the feed would see.
    let mut model = Model::new();
    for number in 0..EVENTS {
        let sequence = number as u64 + 1;
        if HOLES.contains(&sequence) {
            continue;
        }
        let raw = stream.get_raw_message(sequence).await.expect("a message");
        let ms = u64::try_from(raw.time.unix_timestamp_nanos() / 1_000_000).expect("a time");
        model.push((sequence, event_text(number), ms));
    }
    keeps_its_promises(&store, &model).await;
}

#[tokio::test]
async fn subjects_that_hold_several_events_are_found_whole() {
    let (_broker, context, store) = jetstream().await;
    let mut expected = BTreeSet::new();
    for round in 0..40 {
        for person in 0..5 {
            let text = format!(r#"{{"event":"open","_id":"m","msg":{{"email":"p{person}@example.com"}},"n":{round}}}"#);
            let subject = subject::of_event(&event::fields(&text));
            let ack = context.publish(subject, text.into()).await.expect("published").await.expect("stored");
            if person == 3 {
                expected.insert(ack.sequence);
            }
        }
    }
    let filter = filter(&[("email", "p3@example.com")]);
    let few = async |events: usize| {
        let found = store.few(filter.subjects(), 200, Most { events, bytes: 1 << 20 }).await.expect("an answer")?;
        Some(found.iter().map(|stored| stored.place.sequence).collect::<BTreeSet<u64>>())
    };
    assert_eq!(few(40).await, Some(expected));
    assert_eq!(few(39).await, None);
}

#[tokio::test]
async fn an_object_comes_back_whole_or_is_said_to_be_damaged() {
    let (_broker, context, store) = jetstream().await;
    let bucket = context.get_object_store(stream::large_name("MANDRILL")).await.expect("a bucket");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let metadata = async_nats::jetstream::object_store::ObjectMetadata {
        name: "whole".to_owned(),
        metadata: [(stream::LARGE_SUBJECT_KEY.to_owned(), "mandrill.events.inbound.none.none".to_owned())].into(),
        ..Default::default()
    };
    let put = bucket.put(metadata, &mut &*content).await.expect("put");
    let object = store.object("whole").await.expect("an answer").expect("an object");
    assert_eq!(object.bytes, content.len() as u64);
    assert_eq!(object.subject.as_deref(), Some("mandrill.events.inbound.none.none"));
    let read: Vec<Bytes> = object.content.try_collect().await.expect("whole");
    assert!(read.concat() == content);

    assert!(store.object("other").await.expect("an answer").is_none());
    let chunks = context.get_stream("OBJ_MANDRILL_LARGE").await.expect("the object store's stream");
    let piece = format!("$O.MANDRILL_LARGE.C.{}", put.nuid);
    let first = chunks.get_first_raw_message_by_subject(piece, 1).await.expect("a piece");
    chunks.delete_message(first.sequence).await.expect("deleted");
    let object = store.object("whole").await.expect("an answer").expect("an object");
    let read: Result<Vec<Bytes>, StorageError> = object.content.try_collect().await;
    assert!(matches!(read, Err(StorageError::Damaged)));
    bucket.delete("whole").await.expect("deleted");
    assert!(store.object("whole").await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_broker_that_is_away_is_an_error_and_no_wait() {
    let (broker, _context, store) = jetstream().await;
    broker.freeze();
    let most = Most { events: 10, bytes: 1000 };
    let everything = Subjects::default();
    // It may answer for a moment yet.
    let error = shared::testing::soon("an error", async {
        loop {
            if let Err(error) = store.range(&everything, 0, 10, most).await {
                return error;
            }
        }
    });
    assert!(matches!(error.await, StorageError::Away));
    broker.thaw();
}

#[tokio::test]
async fn what_is_no_event_is_passed_over_and_counts_as_seen() {
    let (_broker, context, store) = jetstream().await;
    for subject in
        ["mandrill.events.open.none.a", "mandrill.erasures.x", "mandrill.events.open.none.b", "mandrill.erasures.y"]
    {
        context.publish(subject, r#"{"event":"open"}"#.into()).await.expect("published").await.expect("stored");
    }
    let everything = Subjects::default();
    for events in 1..5 {
        let (mut after, mut found) = (0, Vec::new());
        while after < 4 {
            let part = store.range(&everything, after, 4, Most { events, bytes: 1 << 20 }).await.expect("a part");
            assert!(part.through > after);
            found.extend(part.events.iter().map(|stored| stored.place.sequence));
            after = part.through;
        }
        assert_eq!(found, [1, 3]);
    }
}
