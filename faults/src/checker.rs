//! What must be true of a run. Pure: records in, findings out, each with the event, session and place it is about.
//!
//! The stream as the broker tells it is the truth that everything else is held against: it must have what was
//! acknowledged, and clients must have seen it, in its order, but for losses they were told of.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::event::{Content, Name, Wish, address};
use crate::record::{Entry, Erasure, Ledger, Listing, Page, Seen, Sent, Session, Stored, Truth, Way};

/// Findings of one client that are told; the rest follow from them most of the time.
const FINDINGS_MAX: usize = 5;

/// Everything acknowledged is stored once, as it was sent, and nothing else is.
pub(crate) fn stored(truth: &Truth, ledger: &Ledger, erasures: &[Erasure]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut found: HashMap<Name, Vec<&Stored>> = HashMap::new();
    for stored in &truth.stored {
        let Content { name, digest } = stored.content;
        found.entry(name).or_default().push(stored);
        match ledger.sent.get(&name) {
            None => findings.push(format!("event {name} at {} is stored, and nobody sent it", stored.sequence)),
            Some(sent) if sent.is_large != stored.is_short => {
                findings.push(format!("event {name} at {} is in the wrong form", stored.sequence));
            }
            // A large event's short form is another text; its original is compared apart.
            Some(sent) if !sent.is_large && sent.digest != digest => {
                findings.push(format!("event {name} at {} is stored with other bytes than were sent", stored.sequence));
            }
            Some(_) => {}
        }
    }
    for (number, name) in ledger.acknowledged.iter().enumerate() {
        match found.get(name).map(Vec::as_slice) {
            None if is_gone(number, ledger.sent.get(name), erasures) => {}
            None => findings.push(format!("event {name} was acknowledged and is not stored")),
            // A copy that was dropped or erased may not be known any more when its event comes again.
            Some(copies) if copies.iter().zip(copies.iter().skip(1)).any(|(one, next)| !truth.was_gone(one, next)) => {
                let at: Vec<u64> = copies.iter().map(|stored| stored.sequence).collect();
                findings.push(format!("event {name} is stored more than once: at {at:?}"));
            }
            Some(_) => {}
        }
    }
    shortened(findings)
}

/// Whether its person's events were erased after it was sent, and before anybody could read it: the stream was not read
/// between its acknowledgement, which had this number, and the erasure.
fn is_gone(number: usize, sent: Option<&Sent>, erasures: &[Erasure]) -> bool {
    let is_of = |sent: &Sent, erasure: &Erasure| {
        sent.person == address(erasure.person) && sent.at < erasure.answered && number >= erasure.acknowledged
    };
    sent.is_some_and(|sent| erasures.iter().any(|erasure| is_of(sent, erasure)))
}

/// A session has met every event of its wish, once, in order, with no loss it was not told of.
pub(crate) fn session(truth: &Truth, session: &Session, erasures: &[Erasure]) -> Vec<String> {
    let wanted: Vec<&Stored> = truth.wanted(&session.wish).collect();
    let first = wanted.partition_point(|stored| stored.sequence <= session.start);
    let mut walk = Walk {
        truth,
        session,
        erasures,
        wanted,
        next: first,
        may_skip: Skip::Nothing,
        connected: None,
        to_forget: BTreeSet::new(),
        findings: Vec::new(),
    };
    let met = session.entries.iter().enumerate();
    met.for_each(|(number, entry)| walk.meet(number, *entry));
    walk.end();
    let odd = session.odd.iter().cloned();
    let findings = shortened(odd.chain(walk.findings).collect());
    findings.into_iter().map(|finding| format!("{session}: {finding}")).collect()
}

/// What may be missing before the next event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// What the limit has dropped.
    Dropped,
    /// Whatever came before a client began anew.
    Anything,
}

struct Walk<'a> {
    truth: &'a Truth,
    session: &'a Session,
    erasures: &'a [Erasure],
    wanted: Vec<&'a Stored>,
    /// The first wanted event that it has not met.
    next: usize,
    may_skip: Skip,
    /// To whom its connection was opened, and when.
    connected: Option<(usize, Instant)>,
    /// Whom it has seen events of that are erased, and has not been told to forget.
    to_forget: BTreeSet<(u32, u64)>,
    findings: Vec<String>,
}

impl Walk<'_> {
    fn meet(&mut self, number: usize, entry: Entry) {
        match entry {
            Entry::Event { sequence, content } => {
                self.pass(sequence - 1, &format!("event {} at {sequence} (entry {number})", content.name));
                self.may_skip = Skip::Nothing;
                self.event(number, sequence, content);
            }
            Entry::Position { at } => self.pass(at, &format!("it was told that there is nothing up to {at}")),
            Entry::Gap { after, before, at } => {
                self.pass(after, &format!("it was told of a gap after {after}"));
                let kept = self.truth.dropped_by(at);
                if before > kept {
                    self.findings.push(format!(
                        "it was told that {after} to {before} are lost, and nothing after {kept} had been dropped by then"
                    ));
                }
                self.next += self.wanted[self.next..].partition_point(|stored| stored.sequence <= before);
                // A tombstone that was dropped as well is as lost, and as announced.
                self.to_forget.retain(|(_, tombstone)| *tombstone > before);
            }
            Entry::Connects { replica, at } => self.connected = Some((replica, at)),
            Entry::Forget { person } => {
                self.to_forget.retain(|(other, _)| *other != person);
            }
            Entry::NotRecovered { at } => self.gone(Skip::Dropped, at),
            Entry::CursorGone { at } if self.session.way == Way::Plain => self.gone(Skip::Anything, at),
            Entry::CursorGone { .. } => {
                self.findings.push(format!("it was sent away (entry {number}), and takes control frames"));
            }
        }
    }

    /// A cursor may be refused only where something after it had been dropped. More may be until it reads on.
    fn gone(&mut self, may_skip: Skip, at: Instant) {
        self.may_skip = may_skip;
        self.to_forget.retain(|(_, tombstone)| *tombstone > self.truth.dropped());
        let missed = self.wanted.get(self.next).filter(|stored| stored.sequence <= self.truth.dropped_by(at));
        if missed.is_none() && self.session.wish == Wish::Everything {
            self.findings.push("its cursor was refused, and nothing after it had been dropped by then".to_owned());
        }
    }

    /// Every wanted event up to a sequence must have been met, or be excused.
    fn pass(&mut self, through: u64, then: &str) {
        while let Some(missed) = self.wanted.get(self.next).filter(|stored| stored.sequence <= through) {
            let excused = match self.may_skip {
                Skip::Nothing => false,
                Skip::Dropped => missed.sequence <= self.truth.dropped(),
                Skip::Anything => true,
            };
            if !excused && !self.truth.is_erased(missed) {
                let Stored { sequence, content, .. } = missed;
                self.findings.push(format!("event {} at {sequence} never came; then {then}", content.name));
            }
            self.next += 1;
        }
    }

    fn event(&mut self, number: usize, sequence: u64, content: Content) {
        let name = content.name;
        if let Some(expected) = self.wanted.get(self.next).filter(|stored| stored.sequence == sequence) {
            if expected.content != content {
                let stored = expected.content.name;
                self.findings
                    .push(format!("event {name} came at {sequence} (entry {number}), where {stored} is stored"));
            }
            self.next += 1;
            self.forgotten(number, expected);
            return;
        }
        // It was quicker than whoever read the stream: the event is erased by now.
        if self.truth.at(sequence).is_none() && self.erasures.iter().any(|erasure| sequence < erasure.sequence) {
            return;
        }
        let is_stored = self.truth.at(sequence).map(|stored| self.session.wish.wants(&stored.labels));
        self.findings.push(match is_stored {
            Some(true) => format!("event {name} at {sequence} came again or out of order (entry {number})"),
            Some(false) => format!("event {name} at {sequence} came (entry {number}), and its filter is not for it"),
            None => format!("event {name} came at {sequence} (entry {number}), where nothing is stored"),
        });
    }

    /// What is erased comes on no connection that was opened after that, and has to be forgotten.
    fn forgotten(&mut self, number: usize, stored: &Stored) {
        for erasure in self.erasures.iter().filter(|erasure| erasure.covers(stored)) {
            let Stored { sequence, content, .. } = stored;
            if self.connected.is_some_and(|(replica, at)| replica == erasure.replica && at > erasure.answered) {
                self.findings.push(format!(
                    "event {} at {sequence} came (entry {number}) on a connection that was opened after its person had \
                     been erased up to {}",
                    content.name, erasure.sequence
                ));
            }
            self.to_forget.insert((erasure.person, erasure.sequence));
        }
    }

    fn end(&mut self) {
        self.pass(u64::MAX, "the run was over");
        if self.session.way != Way::Plain {
            let persons: BTreeSet<u32> = self.to_forget.iter().map(|(person, _)| *person).collect();
            let never = persons.iter().map(|person| format!("it was never told to forget {}", address(*person)));
            self.findings.extend(never);
        }
    }
}

/// A page of the newest events has what was acknowledged before it was asked for, and leaves nothing out down to where
/// it says that the next one begins: where it says nothing, down to what was dropped before the run was over. A finding
/// says when it was asked for, since the run began: what was broken then is in the journal.
pub(crate) fn pages(
    truth: &Truth,
    ledger: &Ledger,
    pages: &[Page],
    erasures: &[Erasure],
    began: Instant,
) -> Vec<String> {
    // The highest sequence among the first n that were acknowledged.
    let mut sequences: HashMap<Name, u64> = HashMap::new();
    for stored in &truth.stored {
        sequences.entry(stored.content.name).or_insert(stored.sequence);
    }
    let mut highest = vec![0];
    for name in &ledger.acknowledged {
        let last = highest.last().copied().unwrap_or_default();
        highest.push(last.max(sequences.get(name).copied().unwrap_or_default()));
    }
    let check = |page: &Page| {
        let must_have = highest.get(page.acknowledged).copied().unwrap_or_default();
        let newest = page.events.first().map_or(0, |(sequence, _)| *sequence).max(must_have);
        let oldest = page.events.last().map_or(u64::MAX, |(sequence, _)| *sequence);
        let oldest = oldest.min(page.next.unwrap_or_default().max(truth.dropped() + 1));
        let wanted = truth.wanted(&page.wish).filter(|stored| (oldest..=newest).contains(&stored.sequence));
        let kept = wanted.filter(|stored| !truth.is_erased(stored));
        let expected: Vec<Seen> = kept.map(|stored| (stored.sequence, stored.content)).collect();
        // What is erased may be there where it was asked for before that was done.
        let done = |erasure: &Erasure| erasure.answered < page.asked;
        let may_be_there = |seen: &Seen| match truth.at(seen.0) {
            Some(stored) => truth.is_erased(stored) && !erasures.iter().any(|one| one.covers(stored) && done(one)),
            None => erasures.iter().any(|one| seen.0 < one.sequence),
        };
        let got = page.events.iter().rev().copied().filter(|seen| !may_be_there(seen));
        let difference = difference(got.collect(), &expected)?;
        let (replica, asked, query) = (page.replica, page.asked - began, page.wish.query());
        Some(format!(
            "a page of notifier-{replica} asked for at {:.1} s with {query:?}: {difference}",
            asked.as_secs_f64()
        ))
    };
    shortened(pages.iter().filter_map(check).collect())
}

/// A listing has everything that is kept, oldest first. Before that it may have what the limit has dropped, as long as
/// that is in a notifier's memory: nothing is left out in between either.
pub(crate) fn listing(truth: &Truth, listing: &Listing) -> Vec<String> {
    let first = listing.events.first().map_or(u64::MAX, |(sequence, _)| *sequence).min(truth.dropped() + 1);
    let kept = truth.wanted(&listing.wish).filter(|stored| stored.sequence >= first && !truth.is_erased(stored));
    let expected: Vec<Seen> = kept.map(|stored| (stored.sequence, stored.content)).collect();
    let difference = difference(listing.events.clone(), &expected);
    difference.map(|difference| format!("{}: {difference}", listing.what)).into_iter().collect()
}

/// Where two lists first differ, in words.
fn difference(got: Vec<Seen>, expected: &[Seen]) -> Option<String> {
    let at = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let at = at.or_else(|| (got.len() != expected.len()).then(|| got.len().min(expected.len())))?;
    let say = |event: Option<&Seen>| match event {
        Some((sequence, content)) => format!("event {} at {sequence}", content.name),
        None => "the end".to_owned(),
    };
    Some(format!(
        "{} instead of {} ({} events of {})",
        say(got.get(at)),
        say(expected.get(at)),
        got.len(),
        expected.len()
    ))
}

fn shortened(mut findings: Vec<String>) -> Vec<String> {
    let more = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    if more > 0 {
        findings.push(format!("and {more} more findings like these"));
    }
    findings
}

#[cfg(test)]
mod tests;
