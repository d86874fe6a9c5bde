//! How much a peer has to take while it is waited for.
//!
//! **Owns** the account of one peer: for how long bytes have waited for it, and how many it took meanwhile.
//! Time in which there was nothing to send, or in which the sender itself was slow, is not the peer's. Pure:
//! it is told the time.

use std::time::{Duration, Instant};

/// What a peer has to take, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Least {
    /// Bytes a second, on average over `over`.
    pub bytes_a_second: u64,
    /// The time of waiting after which a peer is judged.
    pub over: Duration,
}

impl Least {
    fn bytes(&self) -> f64 {
        self.bytes_a_second as f64 * self.over.as_secs_f64()
    }
}

/// One peer's account.
#[derive(Debug, Default)]
pub struct Pace {
    waited: Duration,
    waiting_since: Option<Instant>,
    taken: u64,
}

impl Pace {
    /// The peer took some bytes: it is not waited for any more.
    pub fn took(&mut self, bytes: usize, now: Instant) {
        self.taken += bytes as u64;
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// The peer takes nothing now and is waited for. Returns when to judge it, unless it takes some before.
    pub fn blocked(&mut self, now: Instant, least: &Least) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        since + least.over.saturating_sub(self.waited)
    }

    /// Whether it has been waited for long enough and took too little. Begins another account where it has
    /// been waited for long enough.
    pub fn is_too_slow(&mut self, now: Instant, least: &Least) -> bool {
        let waiting = self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if self.waited + waiting < least.over {
            return false;
        }
        let taken = self.taken;
        *self = Pace { waiting_since: self.waiting_since.map(|_| now), ..Pace::default() };
        (taken as f64) < least.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Least = Least { bytes_a_second: 100, over: Duration::from_secs(10) };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn one_that_takes_little_is_too_slow_however_it_spreads_it() {
        for parts in [1, 5, 10] {
            let (mut pace, start) = (Pace::default(), Instant::now());
            for part in 0..parts {
                let begin = start + seconds(10) * part / parts;
                pace.blocked(begin, &LEAST);
                assert!(!pace.is_too_slow(begin, &LEAST), "not before its time");
                pace.took(999 / parts as usize, start + seconds(10) * (part + 1) / parts);
            }
            assert!(pace.is_too_slow(start + seconds(10), &LEAST), "{parts} parts");
        }
    }

    #[test]
    fn one_that_takes_enough_is_judged_again_after_as_long() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.blocked(start, &LEAST), start + seconds(10));
        pace.took(1000, start + seconds(9));
        assert_eq!(pace.blocked(start + seconds(20), &LEAST), start + seconds(21));
        assert!(!pace.is_too_slow(start + seconds(21), &LEAST));
        assert_eq!(pace.blocked(start + seconds(21), &LEAST), start + seconds(31));
        assert!(pace.is_too_slow(start + seconds(31), &LEAST));
    }

    #[test]
    fn time_in_which_there_was_nothing_to_send_is_not_counted() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for minute in 0..9 {
            pace.blocked(start + seconds(minute * 60), &LEAST);
            pace.took(1, start + seconds(minute * 60 + 1));
        }
        assert!(!pace.is_too_slow(start + seconds(1000), &LEAST));
    }
}
