//! The people whose events were erased.
//!
//! **Owns** which events a tombstone covers, and what is remembered of the stream's tombstones: whatever is read
//! from a store passes here before anybody sees it. Pure. The broker purges those events too; until it has, and
//! where one of its replicas answers from a moment ago, they are left out by this.

use std::collections::{BTreeMap, HashMap};
use std::mem::size_of_val;

use shared::cursor::Epoch;
use shared::subject::RecipientHash;

use crate::chunk::Place;
use crate::filter::Filter;
use crate::labels::{Label, Labels};

/// People that are remembered. Of more, those erased first are forgotten: their events were purged long ago.
pub(crate) const PEOPLE_MAX: usize = 100_000;
/// Of how many of a person's last events in memory it is kept what filters saw of them.
pub(crate) const SHOWN_MAX: usize = 1000;

/// A person's events up to a place are erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) recipient: RecipientHash,
    /// Where it stands in the stream.
    pub(crate) place: Place,
    /// The last sequence it covers.
    pub(crate) through: u64,
}

impl Tombstone {
    /// Whether it covers this person's event at this place.
    pub(crate) fn covers(&self, recipient: Option<RecipientHash>, place: Place) -> bool {
        recipient == Some(self.recipient) && place.sequence <= self.through
    }
}

/// A tombstone on its way to sessions.
#[derive(Debug)]
pub(crate) struct Erasure {
    pub(crate) tombstone: Tombstone,
    /// What filters saw of the events that left this replica's memory by it.
    shown: Box<[Labels]>,
}

impl Erasure {
    /// Of the events that left by it, oldest first, the last are remembered.
    pub(crate) fn new(tombstone: Tombstone, mut gone: Vec<Labels>) -> Erasure {
        gone.drain(..gone.len().saturating_sub(SHOWN_MAX));
        Erasure { tombstone, shown: gone.into_boxed_slice() }
    }

    /// Whether somebody who may see what passes this filter, or everything, may know of it. A filter that names
    /// the person says so; another one has shown the person only where one of their events passed it.
    pub(crate) fn may_be_told(&self, allowed: Option<&Filter>) -> bool {
        let label = Label::recipient(self.tombstone.recipient);
        allowed.is_none_or(|filter| filter.names(label) || self.shown.iter().any(|labels| filter.holds(labels)))
    }

    /// What it costs to keep.
    pub(crate) fn bytes(&self) -> usize {
        let labels: usize = self.shown.iter().map(Labels::bytes).sum();
        labels + size_of_val(&*self.shown) + size_of::<Erasure>()
    }
}

/// Everybody whose events were erased in one life of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Erased {
    epoch: Epoch,
    /// Up to where each one's events are, and where the newest tombstone stands.
    people: HashMap<RecipientHash, (u64, u64)>,
    /// The newest tombstone of each, by its sequence.
    tombstones: BTreeMap<u64, Tombstone>,
    people_max: usize,
}

impl Erased {
    /// Nobody yet.
    pub(crate) fn nobody(epoch: Epoch) -> Erased {
        Erased::at_most(epoch, PEOPLE_MAX)
    }

    fn at_most(epoch: Epoch, people_max: usize) -> Erased {
        Erased { epoch, people: HashMap::new(), tombstones: BTreeMap::new(), people_max }
    }

    /// Whether there is nobody.
    pub(crate) fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// The life of the stream it belongs to.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes a tombstone in. A person's events stay erased up to the furthest of theirs.
    pub(crate) fn add(&mut self, tombstone: Tombstone) {
        let (mut through, at) = (tombstone.through, tombstone.place.sequence);
        if let Some(&(known, before)) = self.people.get(&tombstone.recipient) {
            if before > at {
                return;
            }
            through = through.max(known);
            self.tombstones.remove(&before);
        }
        self.people.insert(tombstone.recipient, (through, at));
        self.tombstones.insert(at, Tombstone { through, ..tombstone });
        while self.people.len() > self.people_max
            && let Some((_, oldest)) = self.tombstones.pop_first()
        {
            self.people.remove(&oldest.recipient);
        }
    }

    /// Whether a person's event at this place is erased; of an event of another life of the stream nothing is
    /// known.
    pub(crate) fn covers(&self, epoch: Epoch, recipient: Option<RecipientHash>, place: Place) -> bool {
        let through = || self.people.get(&recipient?).map(|(through, _)| *through);
        !self.is_empty() && epoch == self.epoch && through().is_some_and(|through| place.sequence <= through)
    }

    /// The same for an event that waits to be written: one of another life of the stream is of an earlier one.
    pub(crate) fn covers_waiting(&self, epoch: Epoch, recipient: Option<RecipientHash>, place: Place) -> bool {
        let is_known = || recipient.is_some_and(|recipient| self.people.contains_key(&recipient));
        self.covers(epoch, recipient, place) || (epoch != self.epoch && is_known())
    }

    /// The newest tombstone.
    pub(crate) fn newest(&self) -> Option<&Tombstone> {
        self.tombstones.last_key_value().map(|(_, tombstone)| tombstone)
    }

    /// The first tombstone after a sequence, and up to another.
    pub(crate) fn next(&self, after: u64, through: u64) -> Option<&Tombstone> {
        if after >= through {
            return None;
        }
        self.tombstones.range(after + 1..=through).next().map(|(_, tombstone)| tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tests::filter;
    use shared::event::fields;

    fn place(sequence: u64) -> Place {
        Place { sequence, stored_ms: sequence }
    }

    fn tombstone(person: &str, sequence: u64, through: u64) -> Tombstone {
        Tombstone { recipient: RecipientHash::of(person), place: place(sequence), through }
    }

    #[test]
    fn a_tombstone_covers_what_this_person_had_before_it_and_nothing_else() {
        let epoch = Epoch::random();
        let mut erased = Erased::nobody(epoch);
        erased.add(tombstone("ann@example.com", 10, 9));
        let ann = Some(RecipientHash::of(" Ann@Example.com"));
        assert!(erased.covers(epoch, ann, place(9)) && !erased.covers(epoch, ann, place(11)));
        assert!(!erased.covers(epoch, Some(RecipientHash::of("bob@example.com")), place(5)));
        assert!(!erased.covers(epoch, None, place(5)));
        let other = Epoch::random();
        assert!(!erased.covers(other, ann, place(5)) && erased.covers_waiting(other, ann, place(50)));
        assert!(!erased.covers_waiting(other, None, place(5)));
    }

    #[test]
    fn of_a_persons_tombstones_the_furthest_counts_and_the_newest_is_told() {
        let epoch = Epoch::random();
        let mut erased = Erased::nobody(epoch);
        erased.add(tombstone("ann@example.com", 30, 29));
        // Applied again after a restore, as it was then.
        erased.add(tombstone("ann@example.com", 50, 10));
        let ann = Some(RecipientHash::of("ann@example.com"));
        assert!(erased.covers(epoch, ann, place(29)) && !erased.covers(epoch, ann, place(30)));
        assert_eq!(erased.next(0, 49), None);
        assert_eq!(erased.next(49, 60).map(|tombstone| tombstone.through), Some(29));
        assert_eq!(erased.next(50, 60), None);
    }

    #[test]
    fn so_many_people_are_remembered_those_erased_last() {
        let epoch = Epoch::random();
        let mut erased = Erased::at_most(epoch, 3);
        for number in 1..=5_u64 {
            erased.add(tombstone(&format!("p{number}@example.com"), number, number));
        }
        let covered = |number: u64| {
            let person = RecipientHash::of(&format!("p{number}@example.com"));
            erased.covers(epoch, Some(person), place(1))
        };
        assert_eq!((1..=5).filter(|number| covered(*number)).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(erased.tombstones.len(), 3);
    }

    #[test]
    fn it_is_told_to_those_who_may_know_of_the_person() {
        let event = r#"{"event":"open","msg":{"email":"ann@example.com","tags":["welcome"]}}"#;
        let labels = Labels::of(&fields(event));
        let erasure = Erasure::new(tombstone("ann@example.com", 10, 9), vec![labels]);
        let told = |pairs: &[(&str, &str)]| erasure.may_be_told(Some(&filter(pairs)));
        assert!(erasure.may_be_told(None));
        assert!(told(&[("email", "ann@example.com,bob@example.com")]));
        assert!(told(&[("email", "ann@example.com"), ("tag", "other")]));
        assert!(told(&[("tag", "welcome")]));
        assert!(!told(&[("tag", "other")]));
        assert!(!told(&[("email", "bob@example.com")]));
        assert!(!told(&[("email", "bob@example.com"), ("tag", "welcome")]));
    }
}
