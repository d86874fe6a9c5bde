use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::*;

const NOW: u64 = 1_790_000_000;

fn events(seed: u64, kinds: &[Kind], count: usize) -> Vec<String> {
    SyntheticEvents::new(seed, kinds, NOW).take(count).collect()
}

fn parsed(events: &[String]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_str(event).expect("an event is JSON")).collect()
}

fn kind_of(event: &Value) -> &str {
    event["event"].as_str().unwrap_or("sync")
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(events(1, &[], 500), events(1, &[], 500));
    assert_ne!(events(1, &[], 500), events(2, &[], 500));
}

#[test]
fn no_two_events_are_the_same_bytes() {
    let all = events(3, &Kind::ALL, 30_000);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn an_event_is_one_line_in_mandrills_spelling() {
    for event in events(4, &Kind::ALL, 2_000) {
        assert!(!event.contains(['\n', '\r']) && event.starts_with('{'), "{event}");
        assert_eq!(event.matches('/').count(), event.matches("\\/").count(), "{event}");
    }
}

#[test]
fn the_usual_mix_is_of_realistic_size_and_holds_every_kind_of_message() {
    let all = events(5, &[], 20_000);
    let mean = all.iter().map(String::len).sum::<usize>() / all.len();
    assert!((1_200..=1_400).contains(&mean), "{mean} bytes an event");

    let mut counts = HashMap::new();
    parsed(&all).iter().for_each(|event| *counts.entry(kind_of(event).to_owned()).or_insert(0) += 1);
    for &kind in Kind::MESSAGE {
        assert!(counts.remove(kind.name()).unwrap_or(0) > 0, "no {kind}");
    }
    assert!(counts.is_empty(), "not asked for: {counts:?}");
}

#[test]
fn only_the_kinds_asked_for_come() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        for event in parsed(&events(6, &[kind], 50)) {
            assert_eq!(kind_of(&event), kind.name());
        }
    }
    assert!("bounce".parse::<Kind>().expect_err("no such kind").to_string().contains("hard_bounce"));
}

#[test]
fn a_message_is_sent_before_anything_else_happens_to_it() {
    let mut seen = HashSet::new();
    for event in parsed(&events(7, &[], 5_000)) {
        let first = matches!(kind_of(&event), "send" | "reject");
        assert_eq!(seen.insert(event["_id"].to_string()), first, "{event}");
        assert_eq!(event["_id"], event["msg"]["_id"]);
        assert!(event["ts"].as_u64() >= event["msg"]["ts"].as_u64(), "{event}");
    }
}

#[test]
fn an_event_has_the_keys_of_a_captured_one() {
    let check = |kind: Kind, fixture: &str| {
        let fixture: Value = serde_json::from_str(fixture).expect("a fixture is JSON");
        let expected = keys(&fixture);
        // Which list a sync event is about, and what is known of a message, differs from one to the next.
        let found = parsed(&events(8, &[kind], 50)).iter().any(|event| expected.is_subset(&keys(event)));
        assert!(found, "no {kind} has {expected:?}");
    };
    check(Kind::Send, include_str!("../../fixtures/message-send.json"));
    check(Kind::Deferral, include_str!("../../fixtures/message-deferral.json"));
    check(Kind::Delivered, include_str!("../../fixtures/message-delivered.json"));
    check(Kind::HardBounce, include_str!("../../fixtures/message-hard-bounce.json"));
    check(Kind::SoftBounce, include_str!("../../fixtures/message-soft-bounce.json"));
    check(Kind::Open, include_str!("../../fixtures/message-open.json"));
    check(Kind::Click, include_str!("../../fixtures/message-click.json"));
    check(Kind::Spam, include_str!("../../fixtures/message-spam.json"));
    check(Kind::Unsub, include_str!("../../fixtures/message-unsub.json"));
    check(Kind::Reject, include_str!("../../fixtures/message-reject.json"));
    check(Kind::Sync, include_str!("../../fixtures/sync-blacklist-change.json"));
    check(Kind::Sync, include_str!("../../fixtures/sync-whitelist-add.json"));
}

/// The keys of an event and of the objects in it, two levels deep.
fn keys(event: &Value) -> HashSet<String> {
    let Value::Object(outer) = event else { return HashSet::new() };
    let inner = outer.iter().filter_map(|(name, value)| Some((name, value.as_object()?)));
    let inner = inner.flat_map(|(name, object)| object.keys().map(move |key| format!("{name}.{key}")));
    outer.keys().cloned().chain(inner).collect()
}
