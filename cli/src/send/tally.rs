//! What came of all requests: counts, latencies, refusals. Pure but for its own clock.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::hook::{Counts, Refusal};

const REJECTED_ADVICE: &str = "They are kept whole; `mandrill-live rejected list` says why.";

/// Added to by every sender, read once at the end.
pub(super) struct Tally {
    seed: u64,
    start: Instant,
    events: u64,
    counts: Counts,
    latencies: Vec<Duration>,
    refusals: BTreeMap<Refusal, u64>,
    refused: u64,
}

impl Tally {
    pub(super) fn new(seed: u64) -> Tally {
        Tally {
            seed,
            start: Instant::now(),
            events: 0,
            counts: Counts::default(),
            latencies: Vec::new(),
            refusals: BTreeMap::new(),
            refused: 0,
        }
    }

    /// One request of that many events.
    pub(super) fn add(&mut self, events: u64, latency: Duration, outcome: Result<Counts, Refusal>) {
        self.events += events;
        self.latencies.push(latency);
        match outcome {
            Ok(counts) => {
                self.counts.accepted += counts.accepted;
                self.counts.duplicates += counts.duplicates;
                self.counts.rejected += counts.rejected;
            }
            Err(refusal) => {
                self.refused += 1;
                *self.refusals.entry(refusal).or_default() += 1;
            }
        }
    }

    /// Whether every event is with the service.
    pub(super) fn all_taken(&self) -> bool {
        self.refused == 0 && self.counts.rejected == 0
    }

    /// Whether it makes no sense to go on: no request got as far as a connection.
    pub(super) fn nobody_listens(&self) -> bool {
        self.counts == Counts::default() && !self.refusals.is_empty() && self.refusals.keys().all(|one| one.unreachable)
    }

    /// For the progress bar.
    pub(super) fn warning(&self) -> String {
        if self.refused == 0 { String::new() } else { format!("({} refused)", counted(self.refused, "request")) }
    }

    /// What is printed at the end, for people and for scripts: a name and its value a line.
    pub(super) fn summary(&self) -> String {
        let elapsed = self.start.elapsed();
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let at = |share| in_words(percentile(&latencies, share));
        let Counts { accepted, duplicates, rejected } = self.counts;
        let rate = self.events as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<11} {value}");
        };
        line(
            "sent",
            format!(
                "{} in {} (seed {})",
                counted(self.events, "event"),
                counted(latencies.len() as u64, "request"),
                self.seed
            ),
        );
        line("accepted", accepted.to_string());
        line("duplicates", duplicates.to_string());
        line("rejected", rejected.to_string());
        line("refused", counted(self.refused, "request"));
        line("elapsed", format!("{} ({rate:.0} events/s)", in_words(elapsed)));
        line("a request", format!("p50 {}, p99 {}, max {}", at(0.5), at(0.99), at(1.0)));
        text
    }

    /// Each kind of refusal once, with what to do about it; empty where there was none.
    pub(super) fn refusals(&self) -> String {
        let mut text = String::new();
        for (refusal, count) in &self.refusals {
            let requests = counted(*count, "request");
            let detail = if refusal.detail.is_empty() { String::new() } else { format!(": {}", refusal.detail) };
            let _ = writeln!(text, "\n{requests} refused, {}{detail}\n  {}", refusal.what, refusal.advice);
        }
        if self.counts.rejected > 0 {
            let events = counted(self.counts.rejected, "event");
            let _ = writeln!(text, "\n{events} rejected: authentic, but no events\n  {REJECTED_ADVICE}");
        }
        text
    }
}

/// The smallest latency that is no less than this share of all of them; `latencies` is sorted.
fn percentile(latencies: &[Duration], share: f64) -> Duration {
    let rank = (latencies.len() as f64 * share).ceil() as usize;
    latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(what: &str, unreachable: bool) -> Refusal {
        Refusal { what: what.to_owned(), detail: "why".to_owned(), advice: "Do that.", unreachable }
    }

    #[test]
    fn percentiles_are_latencies_that_happened() {
        let latencies: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let check = |latencies, share, ms| assert_eq!(percentile(latencies, share), Duration::from_millis(ms));
        check(&latencies, 0.5, 50);
        check(&latencies, 0.99, 99);
        check(&latencies, 1.0, 100);
        check(&latencies[..1], 0.5, 1);
        check(&latencies[..0], 0.99, 0);
    }

    #[test]
    fn equal_refusals_are_told_once_with_their_number() {
        let mut tally = Tally::new(1);
        for _ in 0..3 {
            tally.add(10, Duration::ZERO, Err(refusal("401 Not signed", false)));
        }
        tally.add(10, Duration::ZERO, Err(refusal("503 Draining", false)));
        assert_eq!(
            tally.refusals(),
            "\n3 requests refused, 401 Not signed: why\n  Do that.\n\n1 request refused, 503 Draining: why\n  Do that.\n"
        );
        assert!(!tally.all_taken() && !tally.nobody_listens());
    }

    #[test]
    fn it_goes_on_where_somebody_answered_once() {
        let mut tally = Tally::new(1);
        tally.add(1, Duration::ZERO, Err(refusal("no connection", true)));
        assert!(tally.nobody_listens());
        tally.add(1, Duration::ZERO, Ok(Counts { accepted: 1, ..Counts::default() }));
        assert!(!tally.nobody_listens());
    }
}
