//! Events counted by kind and minute, for longer than the events themselves are in memory.
//!
//! **Owns** the names of kinds as small numbers, and the counts. Pure. Counts name nobody: they stay when the
//! ring drops an event. One that is erased while the ring has it is taken off; of older ones nobody knows here.

use std::collections::VecDeque;
use std::sync::{LazyLock, PoisonError, RwLock};

/// A minute, in milliseconds.
pub(crate) const MINUTE_MS: u64 = 60_000;
/// Minutes that are kept: thirty days.
const MINUTES_MAX: usize = 30 * 24 * 60;
/// Kinds that are told apart, so that nobody fills the memory with kinds of their own; the rest is `other`.
const KINDS_MAX: usize = 64;

/// A kind's number, the same for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kind(u8);

static NAMES: LazyLock<RwLock<Vec<String>>> = LazyLock::new(|| RwLock::new(vec!["other".to_owned()]));

impl Kind {
    /// The number of a kind.
    pub(crate) fn of(name: &str) -> Kind {
        let find = |names: &[String]| names.iter().position(|known| known == name);
        // The list holds whole names at any moment a panic could strike.
        let found = find(&NAMES.read().unwrap_or_else(PoisonError::into_inner));
        let number = found.unwrap_or_else(|| {
            let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
            match find(&names) {
                Some(number) => number,
                None if names.len() < KINDS_MAX => {
                    names.push(name.to_owned());
                    names.len() - 1
                }
                None => 0,
            }
        });
        Kind(u8::try_from(number).unwrap_or(0))
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        names.get(usize::from(self.0)).cloned().unwrap_or_default()
    }
}

/// One minute's counts.
#[derive(Debug)]
struct Minute {
    number: u64,
    /// By the kind's number.
    counts: Vec<u32>,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    minutes: VecDeque<Minute>,
}

impl Tally {
    /// Counts an event.
    pub(crate) fn add(&mut self, kind: Kind, stored_ms: u64) {
        let at = self.minute(stored_ms / MINUTE_MS);
        let kind = usize::from(kind.0);
        if let Some(minute) = self.minutes.get_mut(at) {
            if minute.counts.len() <= kind {
                minute.counts.resize(kind + 1, 0);
            }
            minute.counts[kind] = minute.counts[kind].saturating_add(1);
        }
        while self.minutes.len() > MINUTES_MAX {
            self.minutes.pop_front();
        }
    }

    /// Takes an event off that was counted.
    pub(crate) fn remove(&mut self, kind: Kind, stored_ms: u64) {
        let number = stored_ms / MINUTE_MS;
        // Minutes are in order.
        let at = self.minutes.partition_point(|minute| minute.number < number);
        let minute = self.minutes.get_mut(at).filter(|minute| minute.number == number);
        if let Some(count) = minute.and_then(|minute| minute.counts.get_mut(usize::from(kind.0))) {
            *count = count.saturating_sub(1);
        }
    }

    /// Where a minute is kept; made where it is not.
    fn minute(&mut self, number: u64) -> usize {
        // Nearly always the last, or a new one after it.
        let behind = self.minutes.iter().rev().take_while(|minute| minute.number > number).count();
        let at = self.minutes.len() - behind;
        match at.checked_sub(1).filter(|before| self.minutes.get(*before).is_some_and(|minute| minute.number == number))
        {
            Some(known) => known,
            None => {
                self.minutes.insert(at, Minute { number, counts: Vec::new() });
                at
            }
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.minutes.clear();
    }

    /// Calls `count` with each minute in `from..to` (milliseconds since 1970), kind, and how many there were.
    pub(crate) fn each(&self, from: u64, to: u64, mut count: impl FnMut(u64, Kind, u64)) {
        let inside = |minute: &&Minute| (from..to).contains(&(minute.number * MINUTE_MS));
        for minute in self.minutes.iter().filter(inside) {
            for (kind, many) in minute.counts.iter().enumerate().filter(|(_, many)| **many > 0) {
                count(minute.number * MINUTE_MS, Kind(u8::try_from(kind).unwrap_or(0)), u64::from(*many));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_kind_keeps_its_number_and_too_many_are_other() {
        let open = Kind::of("open");
        assert_eq!((Kind::of("open"), open.name()), (open, "open".to_owned()));
        let all: Vec<Kind> = (0..2 * KINDS_MAX).map(|n| Kind::of(&format!("kind_{n}"))).collect();
        assert_eq!(all[2 * KINDS_MAX - 1].name(), "other");
        assert_eq!(Kind::of("open"), open);
    }

    proptest! {
        #[test]
        fn counts_as_a_naive_count_does(
            events in proptest::collection::vec((0..5_u8, 0..20 * MINUTE_MS, any::<bool>()), 0..200),
            bounds in (0..20_u64, 0..20_u64),
        ) {
            let (mut tally, mut naive) = (Tally::default(), BTreeMap::new());
            let (from, to) = (bounds.0.min(bounds.1) * MINUTE_MS, bounds.0.max(bounds.1) * MINUTE_MS);
            for (kind, ms, stays) in events {
                tally.add(Kind(kind), ms);
                if !stays {
                    tally.remove(Kind(kind), ms);
                } else if (from..to).contains(&ms) {
                    *naive.entry((ms / MINUTE_MS * MINUTE_MS, kind)).or_insert(0) += 1;
                }
            }
            let mut counted = BTreeMap::new();
            tally.each(from, to, |minute, kind, many| { counted.insert((minute, kind.0), many); });
            prop_assert_eq!(counted, naive);
        }
    }
}
