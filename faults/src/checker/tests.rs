//! The checker is held against records that are right, and against ones that are wrong in each way it must see.

use std::time::Duration;

use super::*;
use crate::event::Labels;
use crate::record::{Dropped, Pace, Sent};

const PERSON: u32 = 1;
const MOMENT: Duration = Duration::from_millis(1);

fn content(number: u64) -> Content {
    Content { name: Name { sender: 1, batch: number as u32, place: 0 }, digest: number }
}

/// A stream of twenty events, every second an `open`; the first `dropped` are not kept.
fn truth(dropped: u64) -> Truth {
    let stored = |sequence| Stored {
        sequence,
        content: content(sequence),
        labels: Labels {
            kind: if sequence % 2 == 0 { "open" } else { "send" }.to_owned(),
            person: address(PERSON),
            tags: Vec::new(),
        },
        is_short: false,
        dropped_before: 0,
    };
    let drops = if dropped > 0 { vec![Dropped { begun: Instant::now(), up_to: dropped }] } else { Vec::new() };
    Truth { stored: (1..=20).map(stored).collect(), drops, tombstones: Vec::new() }
}

fn ledger() -> Ledger {
    let names: Vec<Name> = (1..=20).map(|number| content(number).name).collect();
    let at = Instant::now();
    let sent = |number| (content(number).name, Sent { digest: number, is_large: false, person: address(PERSON), at });
    Ledger { sent: (1..=20).map(sent).collect(), acknowledged: names, ..Ledger::default() }
}

fn event(sequence: u64) -> Entry {
    Entry::Event { sequence, content: content(sequence) }
}

fn seen(way: Way, wish: Wish, entries: impl IntoIterator<Item = Entry>) -> Session {
    let entries = entries.into_iter().collect();
    Session { number: 0, way, pace: Pace::Steady, wish, start: 0, entries, odd: Vec::new(), resumes: 0 }
}

fn all(sequences: impl IntoIterator<Item = u64>) -> Session {
    seen(Way::V1, Wish::Everything, sequences.into_iter().map(event))
}

fn check_stored(truth: &Truth, ledger: &Ledger) -> Vec<String> {
    stored(truth, ledger, &[])
}

fn check_session(truth: &Truth, session: &Session) -> Vec<String> {
    super::session(truth, session, &[])
}

/// A stream of which everything up to ten was erased, and when that was answered.
fn erased() -> (Truth, Erasure) {
    let mut truth = truth(0);
    truth.stored.remove(10);
    truth.tombstones.push((11, address(PERSON)));
    (truth, Erasure { person: PERSON, replica: 1, sequence: 11, answered: Instant::now(), acknowledged: 0 })
}

/// What is found, as one text.
fn found(findings: &[String]) -> String {
    findings.join("\n")
}

#[test]
fn what_was_acknowledged_and_is_stored_once_is_right() {
    assert_eq!(check_stored(&truth(0), &ledger()), Vec::<String>::new());
    assert_eq!(check_stored(&truth(7), &ledger()), Vec::<String>::new());
}

#[test]
fn an_acknowledged_event_that_is_not_stored_is_found() {
    let mut truth = truth(0);
    truth.stored.remove(4);
    assert_eq!(found(&check_stored(&truth, &ledger())), "event 1.5.0 was acknowledged and is not stored");
}

#[test]
fn an_event_that_is_stored_twice_is_found_unless_its_first_copy_was_gone_by_then() {
    let again = |at, dropped_before, (dropped, tombstones): (u64, &[u64])| {
        let mut twice = truth(dropped);
        twice.stored.retain(|stored| !tombstones.contains(&stored.sequence));
        twice.tombstones = tombstones.iter().map(|at| (*at, address(PERSON))).collect();
        twice.stored.push(Stored { sequence: at, dropped_before, ..twice.stored[4].clone() });
        let mut ledger = ledger();
        ledger.acknowledged.retain(|name| !tombstones.contains(&u64::from(name.batch)));
        found(&check_stored(&twice, &ledger))
    };
    let finding = "event 1.5.0 is stored more than once: at [5, 21]";
    assert_eq!(again(21, 0, (0, &[])), finding);
    assert_eq!(again(21, 5, (5, &[])), "", "it was dropped before");
    assert_eq!(again(21, 4, (5, &[])), finding, "it was dropped only later");
    assert_eq!(again(21, 0, (0, &[20])), "", "it was erased before");
    assert_eq!(again(21, 0, (0, &[22])), finding, "it was erased only later");
    assert_eq!(
        again(21, 0, (0, &[4])),
        finding.replace("1.5.0", "1.6.0").replace("[5", "[6"),
        "nor is it by an older one"
    );
}

#[test]
fn what_nobody_sent_and_what_was_changed_are_found() {
    let (mut truth, mut ledger) = (truth(0), ledger());
    truth.stored[2].content.digest = 99;
    ledger.sent.remove(&content(9).name);
    let findings = found(&check_stored(&truth, &ledger));
    assert!(findings.contains("event 1.3.0 at 3 is stored with other bytes than were sent"), "{findings}");
    assert!(findings.contains("event 1.9.0 at 9 is stored, and nobody sent it"), "{findings}");
}

#[test]
fn a_session_that_met_everything_in_order_is_right() {
    for way in [Way::Plain, Way::V1, Way::Events] {
        let session = Session { way, ..all(1..=20) };
        assert_eq!(check_session(&truth(0), &session), Vec::<String>::new());
        assert_eq!(check_session(&truth(9), &session), Vec::<String>::new(), "it was quicker than the limit");
    }
    let opens = (1..=10).map(|half| event(2 * half));
    let session = seen(Way::V1, Wish::Kinds(&["open"]), opens.chain([Entry::Position { at: 20 }]));
    assert_eq!(check_session(&truth(0), &session), Vec::<String>::new());
}

#[test]
fn a_lost_event_is_found_wherever_it_is() {
    let truth = truth(0);
    let check = |session: &Session, finding: &str| {
        let findings = found(&check_session(&truth, session));
        assert!(findings.contains(finding), "{finding:?} in {findings:?}");
    };
    check(&all(2..=20), "event 1.1.0 at 1 never came; then event 1.2.0 at 2 (entry 0)");
    check(&all((1..=20).filter(|at| *at != 7)), "event 1.7.0 at 7 never came; then event 1.8.0 at 8 (entry 6)");
    check(&all(1..=19), "event 1.20.0 at 20 never came; then the run was over");
    check(
        &seen(Way::V1, Wish::Everything, [event(1), Entry::Position { at: 2 }].into_iter().chain((3..=20).map(event))),
        "event 1.2.0 at 2 never came; then it was told that there is nothing up to 2",
    );
}

#[test]
fn an_event_that_comes_twice_or_out_of_order_is_found() {
    let findings = check_session(&truth(0), &all([1, 2, 3, 3].into_iter().chain(4..=20)));
    assert_eq!(found(&findings), "session 0 (v1, all): event 1.3.0 at 3 came again or out of order (entry 3)");
    let findings = found(&check_session(&truth(0), &all([1, 3, 2].into_iter().chain(4..=20))));
    assert!(findings.contains("event 1.2.0 at 2 never came"), "{findings}");
    assert!(findings.contains("event 1.2.0 at 2 came again or out of order (entry 2)"), "{findings}");
}

#[test]
fn what_a_filter_is_not_for_is_found() {
    let opens = (1..=10).map(|half| event(2 * half));
    let session = seen(Way::Events, Wish::Kinds(&["open"]), [event(1)].into_iter().chain(opens));
    let findings = found(&check_session(&truth(0), &session));
    assert!(findings.contains("event 1.1.0 at 1 came (entry 0), and its filter is not for it"), "{findings}");
}

#[test]
fn what_is_not_stored_there_is_found() {
    let other = Entry::Event { sequence: 20, content: content(19) };
    let strange = Entry::Event { sequence: 21, content: content(21) };
    let findings =
        check_session(&truth(0), &seen(Way::V1, Wish::Everything, (1..=19).map(event).chain([other, strange])));
    let findings = found(&findings);
    assert!(findings.contains("event 1.19.0 came at 20 (entry 19), where 1.20.0 is stored"), "{findings}");
    assert!(findings.contains("event 1.21.0 came at 21 (entry 20), where nothing is stored"), "{findings}");
}

#[test]
fn a_gap_is_right_where_its_events_were_dropped_and_wrong_elsewhere() {
    let with = |gap: Entry| seen(Way::V1, Wish::Everything, [event(1), gap].into_iter().chain((9..=20).map(event)));
    let (seven, eight, at) = (truth(7), truth(8), Instant::now());
    let told = with(Entry::Gap { after: 1, before: 8, at });
    assert_eq!(check_session(&eight, &told), Vec::<String>::new());
    let findings = found(&check_session(&seven, &told));
    let finding = "it was told that 1 to 8 are lost, and nothing after 7 had been dropped by then";
    assert!(findings.contains(finding), "{findings}");
    let mut later = seven;
    later.drops.push(Dropped { begun: at + MOMENT, up_to: 8 });
    let findings = found(&check_session(&later, &told));
    assert!(findings.contains(finding), "dropped only later: {findings}");
    let findings = found(&check_session(&eight, &with(Entry::Gap { after: 3, before: 8, at })));
    assert!(findings.contains("event 1.2.0 at 2 never came; then it was told of a gap after 3"), "{findings}");
}

#[test]
fn a_silent_gap_is_found_also_where_the_events_were_dropped() {
    let silent = all([1].into_iter().chain(9..=20));
    assert!(found(&check_session(&truth(8), &silent)).contains("event 1.2.0 at 2 never came"));
}

#[test]
fn a_refused_cursor_is_right_where_something_after_it_was_dropped() {
    let after = |entry, way, from: u64| {
        seen(way, Wish::Everything, [event(1), entry].into_iter().chain((from..=20).map(event)))
    };
    let (one, eight, at) = (truth(1), truth(8), Instant::now());
    let (not_recovered, gone) = (Entry::NotRecovered { at }, Entry::CursorGone { at });
    assert_eq!(check_session(&eight, &after(not_recovered, Way::V1, 9)), Vec::<String>::new());
    let findings = found(&check_session(&eight, &after(not_recovered, Way::V1, 12)));
    assert!(findings.contains("event 1.9.0 at 9 never came"), "{findings}");
    let findings = found(&check_session(&one, &after(not_recovered, Way::V1, 2)));
    assert!(findings.contains("its cursor was refused"), "{findings}");
    assert_eq!(check_session(&eight, &after(gone, Way::Plain, 15)), Vec::<String>::new());
    let findings = found(&check_session(&eight, &after(gone, Way::V1, 9)));
    assert!(findings.contains("it was sent away"), "{findings}");
    let mut later = one;
    later.drops.push(Dropped { begun: at + MOMENT, up_to: 8 });
    for early in [after(not_recovered, Way::V1, 9), after(gone, Way::Plain, 15)] {
        let findings = found(&check_session(&later, &early));
        assert!(findings.contains("nothing after it had been dropped by then"), "dropped only later: {findings}");
    }
}

#[test]
fn a_page_that_lacks_what_was_acknowledged_or_leaves_something_out_is_found() {
    let page = |acknowledged, sequences: &[u64], next| {
        let events = sequences.iter().map(|at| (*at, content(*at))).collect();
        [Page { replica: 2, wish: Wish::Everything, acknowledged, asked: Instant::now(), events, next }]
    };
    let began = Instant::now();
    let check = |dropped, acknowledged, sequences: &[u64], next| {
        found(&pages(&truth(dropped), &ledger(), &page(acknowledged, sequences, next), &[], began))
    };
    assert_eq!(check(0, 10, &[10, 9, 8], Some(8)), "");
    assert_eq!(check(0, 10, &[12, 11, 10, 9], Some(9)), "");
    assert_eq!(check(0, 0, &[], None), "");
    assert_eq!(check(7, 10, &[10, 9, 8], None), "");
    assert_eq!(check(8, 10, &[10, 9, 8], None), "", "dropped later, or still in memory");
    assert_eq!(check(10, 10, &[], None), "", "all of it was dropped");
    assert_eq!(check(0, 10, &[], Some(11)), "", "it has looked no further yet");
    assert!(check(0, 10, &[9, 8], Some(8)).contains("the end instead of event 1.10.0 at 10"));
    assert!(check(0, 10, &[10, 8], Some(8)).contains("event 1.10.0 at 10 instead of event 1.9.0 at 9"));
    assert!(check(0, 10, &[10, 10, 9], Some(9)).contains("event 1.10.0 at 10 instead of the end"));
    assert!(check(0, 10, &[], None).contains("the end instead of event 1.1.0 at 1 (0 events of 10)"));
    assert!(check(6, 10, &[10, 9, 8], None).contains("event 1.8.0 at 8 instead of event 1.7.0 at 7"));
    assert!(check(0, 10, &[10, 9, 8], Some(7)).contains("event 1.8.0 at 8 instead of event 1.7.0 at 7"));
}

#[test]
fn a_listing_has_all_that_is_kept() {
    let list = |from: u64, to: u64| Listing {
        what: "an export".to_owned(),
        wish: Wish::Everything,
        events: (from..=to).map(|at| (at, content(at))).collect(),
    };
    assert_eq!(listing(&truth(4), &list(5, 20)), Vec::<String>::new());
    assert!(found(&listing(&truth(4), &list(5, 19))).contains("the end instead of event 1.20.0 at 20"));
    assert_eq!(listing(&truth(4), &list(3, 20)), Vec::<String>::new(), "dropped, and still in memory");
    let mut holed = list(3, 20);
    holed.events.remove(1);
    assert!(found(&listing(&truth(4), &holed)).contains("event 1.5.0 at 5 instead of event 1.4.0 at 4"));
}

#[test]
fn findings_that_follow_from_one_are_counted_and_not_told() {
    let findings = check_session(&truth(0), &all([]));
    assert_eq!(findings.len(), FINDINGS_MAX + 1);
    assert!(findings[FINDINGS_MAX].ends_with("and 15 more findings like these"));
}

#[test]
fn what_is_erased_may_be_missing_and_may_have_been_seen() {
    let (truth, erasure) = erased();
    let (mut ledger, one) = (ledger(), std::slice::from_ref(&erasure));
    ledger.acknowledged.remove(10);
    assert_eq!(stored(&truth, &ledger, one), Vec::<String>::new());
    let later = || (12..=20).map(event);
    let forget = Entry::Forget { person: PERSON };
    let saw = [Entry::Connects { replica: 1, at: erasure.answered }, event(1), event(2), event(7), forget];
    for way in [Way::V1, Way::Events] {
        let session = seen(way, Wish::Everything, saw.into_iter().chain(later()));
        assert_eq!(super::session(&truth, &session, one), Vec::<String>::new());
        let session = seen(way, Wish::Everything, later());
        assert_eq!(super::session(&truth, &session, one), Vec::<String>::new());
    }
}

#[test]
fn an_event_that_was_erased_before_it_could_be_read_is_excused_and_one_that_was_sent_later_is_not() {
    let mut ledger = ledger();
    let (mut truth, erasure) = erased();
    truth.stored.retain(|stored| !matches!(stored.sequence, 5 | 15));
    ledger.acknowledged.remove(10);
    if let Some(sent) = ledger.sent.get_mut(&content(15).name) {
        sent.at = Instant::now();
    }
    let check = |acknowledged| found(&stored(&truth, &ledger, &[Erasure { acknowledged, ..erasure.clone() }]));
    assert_eq!(check(4), "event 1.15.0 was acknowledged and is not stored");
    let findings = check(5);
    assert!(findings.contains("event 1.5.0 was acknowledged and is not stored"), "it was to be read: {findings}");
}

#[test]
fn an_erased_event_on_a_later_connection_is_found_and_so_is_one_that_was_never_to_be_forgotten() {
    let (truth, erasure) = erased();
    let one = std::slice::from_ref(&erasure);
    let later = || (12..=20).map(event);
    let after = Entry::Connects { replica: 1, at: erasure.answered + MOMENT };
    let entries = [after, event(3), Entry::Forget { person: PERSON }];
    let findings =
        found(&super::session(&truth, &seen(Way::Plain, Wish::Everything, entries.into_iter().chain(later())), one));
    assert!(findings.contains("event 1.3.0 at 3 came (entry 1) on a connection that was opened after"), "{findings}");
    let elsewhere = Entry::Connects { replica: 2, at: Instant::now() };
    let session = seen(Way::Plain, Wish::Everything, [elsewhere, event(3)].into_iter().chain(later()));
    assert_eq!(super::session(&truth, &session, one), Vec::<String>::new(), "another replica may not know yet");
    let session = seen(Way::V1, Wish::Everything, [event(3)].into_iter().chain(later()));
    let findings = found(&super::session(&truth, &session, one));
    assert!(findings.contains("it was never told to forget person1@example.com"), "{findings}");
}

#[test]
fn an_erased_event_in_a_later_page_or_in_a_listing_is_found() {
    let (truth, erasure) = erased();
    let events: Vec<Seen> = [13, 12, 10].map(|at| (at, content(at))).to_vec();
    let page = |asked| {
        [Page { replica: 0, wish: Wish::Everything, acknowledged: 0, asked, events: events.clone(), next: Some(10) }]
    };
    let check =
        |asked| found(&pages(&truth, &ledger(), &page(asked), std::slice::from_ref(&erasure), erasure.answered));
    assert_eq!(check(erasure.answered), "", "it was asked before");
    let later = check(erasure.answered + MOMENT);
    assert!(later.contains("event 1.10.0 at 10 instead of event 1.12.0 at 12"), "{later}");
    let list = |from: u64| Listing {
        what: "an export".to_owned(),
        wish: Wish::Everything,
        events: (from..=20).filter(|at| *at != 11).map(|at| (at, content(at))).collect(),
    };
    assert_eq!(listing(&truth, &list(12)), Vec::<String>::new());
    assert!(found(&listing(&truth, &list(10))).contains("event 1.10.0 at 10 instead of event 1.12.0 at 12"));
}
