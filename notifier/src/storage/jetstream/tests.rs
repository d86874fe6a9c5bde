//! What is read in a cluster from a copy that is behind its leader.
//!
//! Which server answers, and how far behind it is, cannot be arranged in a real cluster. So the stream here is a real
//! one without direct get, and [`Copy`] answers in its place, in the broker's own words, from as much of the stream as
//! the test lets it have.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use async_nats::jetstream::stream::RawMessage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;
use shared::settings::{Mistakes, Settings};
use shared::stream::StreamSettings;
use shared::testing::broker::Broker;
use shared::{event, testing};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use super::*;
use crate::filter::tests::filter;

const MOST: Most = Most { events: 100, bytes: 1 << 20 };

/// A copy of a stream that begins and ends where it is told to.
struct Copy {
    kept: Arc<Mutex<RangeInclusive<u64>>>,
}

impl Copy {
    /// Answers direct reads of a stream from now on.
    async fn of(broker: &Broker, context: &jetstream::Context, name: &str) -> Copy {
        let mut config = context.get_stream(name).await.expect("the stream").cached_info().config.clone();
        config.allow_direct = false;
        context.update_stream(&config).await.expect("no direct get");
        let client = broker.client().await;
        let asked = client.subscribe(format!("$JS.API.DIRECT.GET.{name}")).await;
        let mut asked = asked.expect("subscribed");
        // Once this is answered the broker knows of the subscription.
        jetstream::new(client.clone()).query_account().await.expect("an account");
        let mut wire = TcpStream::connect(broker.address()).await.expect("a connection");
        wire.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").await.expect("sent");
        let kept = Arc::new(Mutex::new(0..=0));
        let copy = Copy { kept: Arc::clone(&kept) };
        let (context, name) = (context.clone(), name.to_owned());
        tokio::spawn(async move {
            while let Some(request) = asked.next().await {
                let question: Value = serde_json::from_slice(&request.payload).expect("a question");
                let kept = kept.lock().expect("no panic").clone();
                let answer = answer(&context, &name, &question, kept).await;
                let reply = request.reply.expect("a reply subject");
                for (head, payload) in answer {
                    let (head_len, total) = (head.len(), head.len() + payload.len());
                    let line = format!("HPUB {reply} {head_len} {total}\r\n{head}");
                    wire.write_all(&[line.as_bytes(), &payload, b"\r\n"].concat()).await.expect("sent");
                }
            }
        });
        copy
    }

    fn ends_at(&self, sequence: u64) {
        self.keeps(1..=sequence);
    }

    fn keeps(&self, sequences: RangeInclusive<u64>) {
        *self.kept.lock().expect("no panic") = sequences;
    }
}

/// What a server answers whose copy keeps these sequences: heads and payloads.
async fn answer(
    context: &jetstream::Context,
    name: &str,
    question: &Value,
    kept: RangeInclusive<u64>,
) -> Vec<(String, Vec<u8>)> {
    let (begins, ends) = kept.into_inner();
    let next = async |pattern: &str, from: u64| {
        let question = json!({ "seq": from.max(begins), "next_by_subj": pattern });
        let found = leader::message(context, name, &question).await.expect("an answer");
        found.filter(|message| message.sequence <= ends)
    };
    let (mut found, mut left, mut copy_last) = (Vec::new(), 0, String::new());
    if let Some(patterns) = question["multi_last"].as_array() {
        let mut lasts: BTreeMap<String, RawMessage> = BTreeMap::new();
        for pattern in patterns {
            let mut from = 1;
            while let Some(message) = next(pattern.as_str().expect("a pattern"), from).await {
                from = message.sequence + 1;
                lasts.insert(message.subject.clone(), message);
            }
        }
        found.extend(lasts.into_values());
        copy_last = format!("Nats-UpTo-Sequence: {ends}\r\n");
    } else {
        let (mut from, batch) =
            (question["seq"].as_u64().expect("a place"), question["batch"].as_u64().expect("a size"));
        let pattern = question["next_by_subj"].as_str().expect("a pattern");
        while let Some(message) = next(pattern, from).await {
            if found.len() as u64 == batch {
                left = ends - message.sequence + 1;
                break;
            }
            from = message.sequence + 1;
            found.push(message);
        }
    }
    if found.is_empty() {
        return vec![("NATS/1.0 404 Message Not Found\r\n\r\n".to_owned(), Vec::new())];
    }
    let mut answer = Vec::new();
    for message in found {
        let at = humantime::format_rfc3339_nanos(message.time.into());
        let RawMessage { subject, sequence, payload, .. } = message;
        let head = format!(
            "NATS/1.0\r\nNats-Subject: {subject}\r\nNats-Sequence: {sequence}\r\nNats-Time-Stamp: {at}\r\n\r\n"
        );
        answer.push((head, STANDARD.decode(payload).expect("base64")));
    }
    answer.push((format!("NATS/1.0 204 EOB\r\nNats-Num-Pending: {left}\r\n{copy_last}\r\n"), Vec::new()));
    answer
}

struct Scene {
    broker: Broker,
    context: jetstream::Context,
    copy: Copy,
    store: JetStream,
}

impl Scene {
    /// A stream with 60 events of six people in turn; but the fifth is the only one of somebody else.
    async fn new() -> Scene {
        let broker = Broker::start().await;
        let client = broker.client().await;
        let context = jetstream::new(client.clone());
        let settings = StreamSettings::read(&[].into(), &mut Mistakes::default()).expect("settings");
        stream::ensure(&context, &settings).await.expect("a stream");
        for number in 0..60 {
            let person = if number == 4 { 9 } else { number % 6 };
            let text = format!(r#"{{"event":"open","msg":{{"email":"p{person}@example.com"}},"n":{number}}}"#);
            let subject = subject::of_event(&event::fields(&text));
            context.publish(subject, text.into()).await.expect("published").await.expect("stored");
        }
        let copy = Copy::of(&broker, &context, "MANDRILL").await;
        let store = JetStream::new(&client, context.clone(), "MANDRILL");
        Scene { broker, context, copy, store }
    }

    /// What a read brings while the copy gets from one end to the other; that it waits until then.
    async fn while_it_catches_up<T: std::fmt::Debug>(&self, read: impl Future<Output = T>) -> T {
        let mut read = std::pin::pin!(read);
        if let Ok(early) = timeout(Duration::from_millis(150), &mut read).await {
            panic!("a copy that is behind was believed: {early:?}");
        }
        self.copy.ends_at(60);
        testing::soon("an answer", read).await
    }
}

fn sequences(events: &[Stored]) -> Vec<u64> {
    events.iter().map(|stored| stored.place.sequence).collect()
}

#[tokio::test]
async fn a_copy_that_is_behind_is_waited_for_whatever_is_read() {
    let scene = Scene::new().await;
    let everything = Subjects::default();
    let third = filter(&[("email", "p2@example.com")]);
    for ends in [0, 7, 20, 57, 59] {
        scene.copy.ends_at(ends);
        let all = scene.while_it_catches_up(scene.store.range(&everything, 5, 60, MOST)).await.expect("a part");
        assert_eq!((sequences(&all.events), all.through), ((6..=60).collect(), 60), "{ends}");

        // What it has is not waited for; of the filter's events the last is 57.
        scene.copy.ends_at(ends);
        let through = ends.max(1);
        if ends > 0 {
            let part = testing::soon("a part", scene.store.range(&everything, 0, through, MOST)).await.expect("a part");
            assert_eq!((part.events.len() as u64, part.through), (through, through));
        }
        let expected: Vec<u64> = (3..=57).step_by(6).collect();
        let read = scene.store.range(third.subjects(), 0, 60, MOST);
        let part = if ends < 57 { scene.while_it_catches_up(read).await } else { read.await };
        let part = part.expect("a part");
        assert_eq!((sequences(&part.events), part.through), (expected.clone(), 60), "{ends}");

        // An index that does not go so far says nothing.
        scene.copy.ends_at(ends);
        let few = scene.store.few(third.subjects(), 60, MOST).await.expect("an answer");
        assert_eq!(few, None, "{ends}");
        scene.copy.ends_at(60);
        let few = scene.store.few(third.subjects(), 60, MOST).await.expect("an answer").expect("few");
        assert_eq!(sequences(&few), expected);
        let few = scene.store.few(third.subjects(), 21, MOST).await.expect("an answer").expect("few");
        assert_eq!(sequences(&few), [3, 9, 15, 21]);
        let nobody = filter(&[("email", "nobody@example.com")]);
        let few = scene.store.few(nobody.subjects(), 60, MOST).await.expect("an answer");
        assert_eq!(few, Some(Vec::new()));
        scene.copy.ends_at(0);
        let since = scene.store.first_since(0).await.expect("an answer");
        assert_eq!(since, Some(1));
    }
}

#[tokio::test]
async fn a_copy_that_stays_behind_is_an_error_in_the_end() {
    let scene = Scene::new().await;
    scene.copy.ends_at(59);
    let everything = Subjects::default();
    let read = testing::soon("an answer", scene.store.range(&everything, 0, 60, MOST)).await;
    assert!(matches!(read, Err(StorageError::Away)), "{read:?}");
}

#[tokio::test]
async fn what_the_copy_has_dropped_and_the_leader_has_not_holds_nobody_up() {
    let scene = Scene::new().await;
    scene.copy.keeps(31..=60);
    let only = filter(&[("email", "p9@example.com")]);
    let part = testing::soon("a part", scene.store.range(only.subjects(), 0, 60, MOST)).await.expect("a part");
    assert_eq!((sequences(&part.events), part.through), (Vec::new(), 60));
}

#[tokio::test]
async fn a_hole_at_the_end_of_the_stream_is_no_copy_that_is_behind() {
    let scene = Scene::new().await;
    scene.copy.ends_at(60);
    let stream = scene.context.get_stream("MANDRILL").await.expect("the stream");
    stream.delete_message(60).await.expect("deleted");
    let everything = Subjects::default();
    let part = testing::soon("a part", scene.store.range(&everything, 50, 60, MOST)).await.expect("a part");
    assert_eq!((sequences(&part.events), part.through), ((51..=59).collect(), 60));
}

#[tokio::test]
async fn an_object_whose_pieces_have_not_all_come_is_waited_for() {
    let scene = Scene::new().await;
    let bucket = scene.context.get_object_store("MANDRILL_LARGE").await.expect("a bucket");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    bucket.put("large", &mut &*content).await.expect("put");
    let copy = Copy::of(&scene.broker, &scene.context, "OBJ_MANDRILL_LARGE").await;
    copy.ends_at(11);
    let object = scene.store.object("large").await.expect("an answer").expect("an object");
    let read = tokio::spawn(object.content.try_collect::<Vec<bytes::Bytes>>());
    sleep(Duration::from_millis(300)).await;
    assert!(!read.is_finished(), "a part of it was given as the whole");
    copy.ends_at(u64::MAX - 1);
    let read = testing::soon("the content", read).await.expect("no panic").expect("whole");
    assert!(read.concat() == content);
}
