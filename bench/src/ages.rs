//! How old events were on arrival: counted, not kept.

/// Ages are counted by tens of microseconds, up to twenty seconds.
const STEP_US: u64 = 10;
const STEPS: usize = 2_000_000;

/// Ages so far.
pub(crate) struct Ages {
    steps: Vec<u32>,
    count: u64,
}

impl Ages {
    pub(crate) fn new() -> Ages {
        Ages { steps: vec![0; STEPS], count: 0 }
    }

    /// One more, in microseconds.
    pub(crate) fn add(&mut self, age_us: u64) {
        let step = usize::try_from(age_us / STEP_US).unwrap_or(STEPS).min(STEPS - 1);
        self.steps[step] += 1;
        self.count += 1;
    }

    /// The age that this share of them, from 0 to 1, does not exceed, in microseconds.
    pub(crate) fn at(&self, share: f64) -> u64 {
        let mut left = (self.count as f64 * share).ceil() as u64;
        let found = self.steps.iter().position(|count| {
            left = left.saturating_sub(u64::from(*count));
            left == 0
        });
        found.unwrap_or_default() as u64 * STEP_US
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.steps.fill(0);
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_is_no_older() {
        let mut ages = Ages::new();
        (1..=100).for_each(|age| ages.add(age * 1000));
        ages.add(u64::MAX / 2);
        assert_eq!((ages.at(0.5), ages.at(0.99)), (51_000, 100_000));
        ages.clear();
        assert_eq!(ages.at(0.99), 0);
    }
}
