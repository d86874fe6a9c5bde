//! Queries over a store in memory and a ring of any size, against a naive model.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shared::cursor::Epoch;

use super::*;
use crate::erased::Tombstone;
use crate::filter::tests::{asked, built, event, model};
use crate::storage::memory::Memory;
use crate::tally::MINUTE_MS;

const START_MS: u64 = 1_760_000_000_000;

type Pairs = Vec<(String, String)>;

/// What is stored: where it is a hole, nothing.
#[derive(Debug, Clone)]
struct World {
    events: Vec<Option<Pairs>>,
    /// Events before this one are known to the store only.
    floor: usize,
    /// Whether this replica hears the broker.
    live: bool,
    /// Between two events that share a time.
    spacing_ms: u64,
}

fn world() -> impl Strategy<Value = World> {
    let events = proptest::collection::vec(proptest::option::weighted(0.9, event()), 1..250);
    (events, any::<proptest::sample::Index>(), proptest::bool::weighted(0.8)).prop_map(|(events, floor, live)| {
        let floor = floor.index(events.len() + 1);
        World { events, floor, live, spacing_ms: 1 }
    })
}

fn text(number: usize, pairs: &Pairs) -> String {
    let value = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone());
    let tags: Vec<&String> = pairs.iter().filter(|pair| pair.0 == "tag").map(|pair| &pair.1).collect();
    let mut metadata = serde_json::Map::new();
    metadata.extend(value("metadata.order").map(|order| ("order".to_owned(), order.into())));
    serde_json::json!({
        "event": value("event"), "n": number,
        "msg": {"email": value("email"), "tags": tags, "metadata": metadata},
    })
    .to_string()
}

fn ms(number: usize) -> u64 {
    START_MS + number as u64 / 2
}

impl World {
    fn ms(&self, number: usize) -> u64 {
        START_MS + number as u64 / 2 * self.spacing_ms
    }
}

async fn build(world: &World) -> Archive {
    let store = Memory::new();
    for (number, pairs) in world.events.iter().enumerate() {
        let sequence = store.store(&text(number, &pairs.clone().unwrap_or_default()), world.ms(number));
        assert_eq!(sequence, number as u64 + 1);
    }
    for (number, _) in world.events.iter().enumerate().filter(|(_, pairs)| pairs.is_none()) {
        store.delete(number as u64 + 1);
    }
    let epoch = store.span().await.expect("a span").epoch;
    let log = Log::new();
    let floor = Place { sequence: world.floor as u64, stored_ms: 0 };
    let mut ring = Ring::new(epoch, floor, usize::MAX);
    for (number, pairs) in world.events.iter().enumerate().skip(world.floor) {
        let Some(pairs) = pairs else { continue };
        let mut batch = ChunkBuilder::new(epoch);
        let place = Place { sequence: number as u64 + 1, stored_ms: world.ms(number) };
        batch.push(place, text(number, pairs).as_bytes()).expect("an event");
        batch.take().into_iter().for_each(|chunk| ring.push(chunk));
    }
    ring.heard(Place { sequence: world.events.len() as u64, stored_ms: 0 });
    log.open(ring);
    if world.live {
        log.live()
    } else {
        log.stalled(0)
    }
    Archive::new(Arc::new(log), Arc::new(store), 4)
}

#[derive(Debug, Clone)]
struct Question {
    asked: Option<Pairs>,
    from: Option<u64>,
    to: Option<u64>,
    limit: usize,
}

fn question() -> impl Strategy<Value = Question> {
    let time = || proptest::option::weighted(0.4, START_MS - 5..START_MS + 130);
    (proptest::option::weighted(0.8, asked()), time(), time(), 1..40_usize)
        .prop_map(|(asked, from, to, limit)| Question { asked, from, to, limit })
}

impl Question {
    fn wanted(&self) -> Wanted {
        let filter = self.asked.as_ref().map(|asked| Arc::new(built(asked)));
        Wanted { filter, from: self.from, to: self.to, subjects: None }
    }

    /// The numbers of the events that answer it, oldest first.
    fn answer(&self, world: &World) -> Vec<usize> {
        let numbered = world.events.iter().enumerate().filter_map(|(number, pairs)| Some((number, pairs.as_ref()?)));
        let holds = numbered.filter(|(number, pairs)| {
            self.asked.as_ref().is_none_or(|asked| model(asked, pairs))
                && self.from.is_none_or(|from| from <= ms(*number))
                && self.to.is_none_or(|to| ms(*number) < to)
        });
        holds.map(|(number, _)| number).collect()
    }
}

fn number(hit: &Hit) -> usize {
    let value: serde_json::Value = serde_json::from_slice(&hit.text).expect("JSON");
    assert_eq!(value["_received"], hit.place.stored_ms);
    let number = value["n"].as_u64().expect("a number") as usize;
    assert_eq!(hit.place.sequence, number as u64 + 1);
    number
}

async fn newest_first(archive: &Archive, question: &Question) -> Vec<usize> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let view = archive.view().await.expect("a view");
        let page = view.newest(&question.wanted(), before.as_ref(), question.limit).await.expect("a page");
        assert!(page.hits.len() <= question.limit);
        found.extend(page.hits.iter().map(number));
        match page.next {
            Some(next) => before = Some(next.cursor(view.epoch())),
            None => return found,
        }
    }
}

async fn oldest_first(archive: &Archive, question: &Question) -> Vec<usize> {
    let (mut found, mut since) = (Vec::new(), None);
    loop {
        let view = archive.view().await.expect("a view");
        let epoch = view.epoch();
        let way = Forward::begin(view, question.wanted(), since.as_ref()).await.expect("a way");
        let page = way.page(question.limit).await.expect("a page");
        assert!(page.hits.len() <= question.limit);
        found.extend(page.hits.iter().map(number));
        match page.next {
            Some(next) => since = Some(next.cursor(epoch)),
            None => return found,
        }
    }
}

async fn all_the_way(archive: &Archive, question: &Question) -> Vec<usize> {
    let view = archive.view().await.expect("a view");
    let mut way = Forward::begin(view, question.wanted(), None).await.expect("a way");
    let mut found = Vec::new();
    while let Some(hits) = way.next().await.expect("a piece") {
        found.extend(hits.iter().map(number));
    }
    found
}

#[test]
fn random_filters_are_answered_as_a_naive_model_answers_them() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let questions = proptest::collection::vec(question(), 1..6);
    let checked = TestRunner::new(Config::with_cases(64)).run(&(world(), questions), |(world, questions)| {
        runtime.block_on(async {
            let archive = build(&world).await;
            for question in &questions {
                let mut expected = question.answer(&world);
                prop_assert_eq!(&oldest_first(&archive, question).await, &expected);
                prop_assert_eq!(&all_the_way(&archive, question).await, &expected);
                expected.reverse();
                prop_assert_eq!(&newest_first(&archive, question).await, &expected);
            }
            Ok(())
        })
    });
    checked.expect("agreement");
}

/// The events of the steps from `from` on by kind, counted one by one: of those numbered `first` or later.
fn count(world: &World, question: &Question, first: usize, from: u64, step: u64) -> BTreeMap<String, Vec<u64>> {
    let mut counts = BTreeMap::new();
    for number in question.answer(world).into_iter().filter(|number| *number >= first) {
        let Some(at) = world.ms(number).checked_sub(from).map(|ms| (ms / step) as usize).filter(|at| *at < STEPS)
        else {
            continue;
        };
        let pairs = world.events[number].as_ref().expect("an event");
        let kind = pairs.iter().find(|pair| pair.0 == "event").expect("a kind").1.clone();
        counts.entry(kind).or_insert_with(|| vec![0; STEPS])[at] += 1;
    }
    counts
}

const STEPS: usize = 7;

#[test]
fn stats_are_what_a_naive_count_says_from_where_they_are_whole() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let steps = (1..90_u64, 0..400_u64);
    let checked = TestRunner::new(Config::with_cases(64)).run(
        &(world(), question(), steps),
        |(world, question, (step, start))| {
            let world = World { live: true, spacing_ms: 2700, ..world };
            let question = Question { from: None, to: None, ..question };
            runtime.block_on(async {
                let archive = build(&world).await;
                let view = archive.view().await.expect("a view");
                let (step, from) = (step * 1000, (START_MS / 1000 - 100 + start) * 1000);
                let to = from + step * STEPS as u64;
                let counted = view.counts(&question.wanted(), from, to, step).await.expect("counts");
                prop_assert_eq!(&counted.by_kind, &count(&world, &question, world.floor, from, step));

                let everything = Question { asked: None, ..question };
                let (step, from) = (step * 60, from / MINUTE_MS * MINUTE_MS);
                let by_minute = view.counts_by_minute(from, from + step * STEPS as u64, step).expect("counts");
                prop_assert_eq!(&by_minute.by_kind, &count(&world, &everything, world.floor, from, step));
                for (whole_from, minutes) in [(counted.complete_from, false), (by_minute.complete_from, true)] {
                    let Some(whole_from) = whole_from else {
                        prop_assert!(world.floor > 0);
                        continue;
                    };
                    // Nothing is missing from there on, and not much was left out of it.
                    let missing =
                        world.events.iter().take(world.floor).enumerate().filter(|(_, pairs)| pairs.is_some());
                    let last = missing.map(|(number, _)| world.ms(number)).max();
                    prop_assert!(last.is_none_or(|last| last < whole_from));
                    prop_assert!(world.floor > 0 || whole_from == 0);
                    prop_assert!(!minutes || whole_from % MINUTE_MS == 0);
                }
                Ok(())
            })
        },
    );
    checked.expect("agreement");
}

fn plain(count: usize, floor: usize) -> World {
    let pairs = |number: usize| {
        let kind = if number % 977 == 5 { "rare" } else { "open" };
        vec![("event".to_owned(), kind.to_owned()), ("email".to_owned(), "p@example.com".to_owned())]
    };
    World { events: (0..count).map(|number| Some(pairs(number))).collect(), floor, live: true, spacing_ms: 1 }
}

#[tokio::test]
async fn what_one_query_may_not_finish_it_says_and_the_next_goes_on() {
    // Far more than one query looks at, and nothing that is wanted.
    let archive = build(&plain(3 * LOOKED_AT_MAX, 3 * LOOKED_AT_MAX)).await;
    let wanted = Question { asked: Some(vec![("tag".into(), "none".into())]), from: None, to: None, limit: 10 };
    let view = archive.view().await.expect("a view");
    let page = view.newest(&wanted.wanted(), None, 10).await.expect("a page");
    let next = page.next.expect("where to go on");
    assert!(page.hits.is_empty() && next.sequence > 1 && next.sequence < 3 * LOOKED_AT_MAX as u64);
    drop(view);
    assert!(newest_first(&archive, &wanted).await.is_empty());
    assert!(oldest_first(&archive, &wanted).await.is_empty());
}

#[tokio::test]
async fn rare_events_are_found_by_their_kind_without_looking_at_the_others() {
    let world = plain(3 * LOOKED_AT_MAX, 3 * LOOKED_AT_MAX);
    let archive = build(&world).await;
    let rare = Question { asked: Some(vec![("event".into(), "rare".into())]), from: None, to: None, limit: 1000 };
    let view = archive.view().await.expect("a view");
    let page = view.newest(&rare.wanted(), None, 1000).await.expect("a page");
    let mut expected = rare.answer(&world);
    expected.reverse();
    assert_eq!(page.hits.iter().map(number).collect::<Vec<_>>(), expected);
    assert!(page.next.is_none());
}

#[tokio::test]
async fn one_query_more_than_may_be_is_refused_and_one_that_ends_makes_room() {
    let archive = build(&plain(3, 0)).await;
    let mut views = Vec::new();
    for _ in 0..4 {
        views.push(archive.view().await.expect("a place"));
    }
    assert!(matches!(archive.view().await, Err(QueryError::Busy)));
    views.pop();
    archive.view().await.expect("a place again");
}

#[tokio::test]
async fn a_cursor_of_another_stream_or_another_history_is_gone() {
    let archive = build(&plain(20, 10)).await;
    let view = archive.view().await.expect("a view");
    let gone = async |cursor: Cursor| {
        let answer = view.newest(&Wanted::default(), Some(&cursor), 5).await;
        matches!(answer, Err(QueryError::Gone(GapReason::Epoch)))
    };
    let cursor = |epoch: Epoch, sequence: u64, stored_ms: u64| Cursor { epoch, sequence, stored_ms };
    assert!(gone(cursor(Epoch::random(), 5, 0)).await);
    assert!(gone(cursor(view.epoch(), 21, 0)).await);
    for sequence in [5, 15] {
        let ms = ms(sequence as usize - 1);
        assert!(gone(cursor(view.epoch(), sequence, ms + 1)).await);
        assert!(!gone(cursor(view.epoch(), sequence, ms)).await);
        assert!(!gone(cursor(view.epoch(), sequence, 0)).await);
    }
}

#[tokio::test]
async fn while_the_feed_is_stalled_the_ring_is_not_asked() {
    // The ring knows ten events, and the store has lost the last five since.
    let mut world = plain(10, 5);
    world.live = false;
    let archive = build(&world).await;
    let question = Question { asked: None, from: None, to: None, limit: 100 };
    assert_eq!(newest_first(&archive, &question).await.len(), 10);
    let log = Arc::clone(&archive.log);
    log.change(|ring| *ring = Ring::new(ring.epoch(), Place { sequence: 10, stored_ms: 0 }, 1));
    assert_eq!(newest_first(&archive, &question).await.len(), 10);
}

#[tokio::test]
async fn a_feed_that_is_behind_is_waited_for() {
    let archive = build(&plain(10, 10)).await;
    let epoch = archive.storage.span().await.expect("a span").epoch;
    archive.log.change(|ring| *ring = Ring::new(epoch, Place { sequence: 5, stored_ms: 0 }, 1 << 20));
    let waiting = {
        let archive = archive.clone();
        tokio::spawn(async move {
            let question = Question { asked: None, from: None, to: None, limit: 100 };
            newest_first(&archive, &question).await
        })
    };
    tokio::task::yield_now().await;
    let world = plain(10, 0);
    for number in 5..10 {
        let mut batch = ChunkBuilder::new(epoch);
        let place = Place { sequence: number as u64 + 1, stored_ms: ms(number) };
        let pairs = world.events[number].as_ref().expect("an event");
        batch.push(place, text(number, pairs).as_bytes()).expect("an event");
        archive.log.change(|ring| batch.take().into_iter().for_each(|chunk| ring.push(chunk)));
    }
    assert_eq!(waiting.await.expect("an answer"), Vec::from_iter((0..10).rev()));
}

#[tokio::test]
async fn whoever_is_erased_while_a_page_is_put_together_is_not_in_it() {
    // Five events are known to the store only, which has not lost them yet.
    let archive = build(&plain(10, 5)).await;
    let everything = Question { asked: None, from: None, to: None, limit: 100 };
    let view = archive.view().await.expect("a view");
    let page = view.find(&Wanted::default(), None, 100).await.expect("a page");
    assert_eq!(page.hits.len(), 10);
    let mut way = Forward::begin(archive.view().await.expect("a view"), Wanted::default(), None).await.expect("a way");
    assert_eq!(way.next().await.expect("a piece").expect("events").len(), 5);

    let recipient = RecipientHash::of("p@example.com");
    archive.log.erase(Tombstone { recipient, place: Place { sequence: 11, stored_ms: ms(10) }, through: 7 }, |_| {});
    assert_eq!(view.given(page).hits.iter().map(number).collect::<Vec<_>>(), [9, 8, 7]);
    let rest = way.next().await.expect("a piece").expect("events");
    assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), [7, 8, 9]);
    drop((view, way));
    assert_eq!(newest_first(&archive, &everything).await, [9, 8, 7]);
    assert_eq!(oldest_first(&archive, &everything).await, [7, 8, 9]);
    assert_eq!(all_the_way(&archive, &everything).await, [7, 8, 9]);
    let hers = Question { asked: Some(vec![("email".into(), "p@example.com".into())]), ..everything };
    assert_eq!(newest_first(&archive, &hers).await, [9, 8, 7]);
}

#[tokio::test]
async fn a_way_begins_with_what_is_kept_and_ends_where_something_on_it_was_dropped_before_it_was_read() {
    let piece = PIECE.events as u64;
    let met = async |(after, through): (u64, u64)| {
        let memory = Memory::new();
        (0..1200).for_each(|number| _ = memory.store(r#"{"event":"open"}"#, ms(number)));
        memory.drop_when_read(after, through);
        let archive = Archive::new(Arc::new(Log::new()), Arc::new(memory), 4);
        let view = archive.view().await.expect("a view");
        let mut way = Forward::begin(view, Wanted::default(), None).await.expect("a way");
        let mut met = Vec::new();
        loop {
            match way.next().await {
                Ok(Some(hits)) => met.extend(hits.iter().map(|hit| hit.place.sequence)),
                Ok(None) => return (met, false),
                Err(QueryError::Gone(GapReason::Retention)) => return (met, true),
                Err(other) => panic!("{other}"),
            }
        }
    };
    assert_eq!(met((0, 0)).await, ((1..=1200).collect(), false));
    assert_eq!(met((0, 300)).await, ((301..=1200).collect(), false));
    assert_eq!(met((0, 800)).await, ((801..=1200).collect(), false));
    assert_eq!(met((piece, piece)).await, ((1..=1200).collect(), false));
    assert_eq!(met((piece, piece + 1)).await, ((1..=piece).collect(), true));
}
