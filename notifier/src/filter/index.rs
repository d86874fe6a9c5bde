//! Which of many filtered sessions want an event.
//!
//! **Owns** the index by each filter's most selective values: an event is looked up by its own labels, so a
//! thousand sessions that follow a recipient each cost it a few hash look-ups, not a thousand comparisons.
//! Pure. Members are small numbers given by the caller.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Filter;
use crate::labels::{Label, Labels};

/// Labels are hashes already: hashing them again would only cost.
#[derive(Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The filtered members.
#[derive(Debug, Default)]
pub(crate) struct Index {
    members: HashMap<Label, Vec<usize>, BuildHasherDefault<Ready>>,
}

impl Index {
    /// Adds a member.
    pub(crate) fn insert(&mut self, member: usize, filter: &Filter) {
        for label in filter.keys() {
            self.members.entry(*label).or_default().push(member);
        }
    }

    /// Removes a member that was added with this filter.
    pub(crate) fn remove(&mut self, member: usize, filter: &Filter) {
        for label in filter.keys() {
            if let Some(members) = self.members.get_mut(label) {
                members.retain(|other| *other != member);
                if members.is_empty() {
                    self.members.remove(label);
                }
            }
        }
    }

    /// Whether nobody is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Calls `found` with each member one of whose keys the event has; twice where it has two of them.
    pub(crate) fn candidates(&self, labels: &Labels, mut found: impl FnMut(usize)) {
        for members in labels.iter().filter_map(|label| self.members.get(&label)) {
            members.iter().for_each(|member| found(*member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tests::{asked, built, event, labels, model};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn finds_exactly_the_members_a_naive_model_finds(
            filters in proptest::collection::vec(asked(), 1..12),
            removed in proptest::collection::vec(any::<bool>(), 12),
            events in proptest::collection::vec(event(), 1..12),
        ) {
            let built: Vec<Filter> = filters.iter().map(|asked| built(asked)).collect();
            let mut index = Index::default();
            built.iter().enumerate().for_each(|(member, filter)| index.insert(member, filter));
            built.iter().enumerate().filter(|(member, _)| removed[*member]).for_each(|(member, filter)| {
                index.remove(member, filter);
            });
            for event in &events {
                let (labels, mut found) = (labels(event), BTreeSet::new());
                index.candidates(&labels, |member| {
                    if built[member].holds(&labels) {
                        found.insert(member);
                    }
                });
                let expected: BTreeSet<usize> =
                    (0..filters.len()).filter(|&member| !removed[member] && model(&filters[member], event)).collect();
                prop_assert_eq!(found, expected);
            }
            built.iter().enumerate().for_each(|(member, filter)| index.remove(member, filter));
            prop_assert!(index.is_empty());
        }
    }
}
