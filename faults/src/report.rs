//! What a run says: its schedule as it happens, and at the end a verdict with its numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::processes::Holds;
use crate::schedule::Fault;

/// Findings that are printed: one bug makes many.
const FINDINGS_MAX: usize = 30;

/// What is said while it runs, by whoever has something to say.
#[derive(Debug, Clone)]
pub(crate) struct Journal(Arc<Notes>);

#[derive(Debug)]
struct Notes {
    began: Instant,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    findings: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
}

/// The numbers of a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Numbers {
    pub(crate) acknowledged: usize,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) repeated: u64,
    pub(crate) stored: usize,
    pub(crate) dropped: u64,
    pub(crate) sessions: usize,
    pub(crate) delivered: usize,
    pub(crate) resumes: u64,
    pub(crate) gaps: usize,
    pub(crate) pages: usize,
    pub(crate) unanswered: u64,
    pub(crate) erased: usize,
    pub(crate) listings: usize,
    pub(crate) originals: usize,
    /// The most that a service held at the end, without clients.
    pub(crate) held: Holds,
    /// The worst time from healed to ready, with the cluster untouched and touched.
    pub(crate) worst: [Duration; 2],
}

impl Journal {
    pub(crate) fn new() -> Journal {
        Journal(Arc::new(Notes { began: Instant::now(), kept: Mutex::default() }))
    }

    /// When the run began.
    pub(crate) fn began(&self) -> Instant {
        self.0.began
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something, with the time.
    pub(crate) fn say(&self, text: &str) {
        println!("{:7.1} s  {text}", self.0.began.elapsed().as_secs_f64());
    }

    /// Says that a fault begins, and counts it.
    pub(crate) fn fault(&self, fault: &Fault) {
        *self.kept().faults.entry(fault.kind.sort()).or_default() += 1;
        let lasts = fault.lasts.as_secs_f64();
        self.say(&if lasts < 0.01 { fault.kind.to_string() } else { format!("{} for {lasts:.1} s", fault.kind) });
    }

    /// Keeps what must not be, and says it at once.
    pub(crate) fn finding(&self, finding: String) {
        self.say(&format!("FINDING: {finding}"));
        self.kept().findings.push(finding);
    }

    pub(crate) fn check(&self, outcome: Result<(), String>) {
        if let Err(finding) = outcome {
            self.finding(finding);
        }
    }

    /// Whether anything was found.
    pub(crate) fn is_clean(&self) -> bool {
        self.kept().findings.is_empty()
    }

    /// The verdict. `again` is how to have the same run.
    pub(crate) fn verdict(&self, numbers: &Numbers, again: &str, logs: Option<&Path>) -> String {
        let kept = self.kept();
        let mut text = String::from("\n");
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<15} {value}");
        };
        let each: Vec<String> = kept.faults.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let Numbers { acknowledged, requests, refused, repeated, stored, dropped, .. } = numbers;
        line(
            "acknowledged",
            format!(
                "{acknowledged} events in {requests} batches; {refused} requests refused or lost, {repeated} sent twice"
            ),
        );
        line("stored", format!("{stored} events; those up to {dropped} were dropped on purpose"));
        line("delivered", format!("{} events to {} sessions", numbers.delivered, numbers.sessions));
        line("resumes", numbers.resumes.to_string());
        line("gaps announced", numbers.gaps.to_string());
        line("erasures", numbers.erased.to_string());
        line(
            "queries",
            format!(
                "{} pages while things broke ({} unanswered); {} listings and {} large originals at the end",
                numbers.pages, numbers.unanswered, numbers.listings, numbers.originals
            ),
        );
        line("faults", format!("{}: {}", kept.faults.values().sum::<u64>(), each.join(", ")));
        line(
            "worst recovery",
            format!("{}; {} where the cluster was touched", seconds(numbers.worst[0]), seconds(numbers.worst[1])),
        );
        line("held at the end", format!("at most {} a service", numbers.held));
        line("seed", again.to_owned());
        if kept.findings.is_empty() {
            line("verdict", "PASS: nothing was lost, doubled, out of order or silent".to_owned());
            return text;
        }
        line("verdict", format!("FAIL: {} findings", kept.findings.len()));
        for finding in kept.findings.iter().take(FINDINGS_MAX) {
            let _ = writeln!(text, "  - {finding}");
        }
        if let Some(more) = kept.findings.len().checked_sub(FINDINGS_MAX).filter(|more| *more > 0) {
            let _ = writeln!(text, "  - and {more} more");
        }
        if let Some(logs) = logs {
            let _ = writeln!(text, "\nThe logs of all processes are in {}", logs.display());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_its_seed_and_every_finding_or_their_number() {
        let journal = Journal::new();
        let verdict = journal.verdict(&Numbers::default(), "SEED=7 MINUTES=1", None);
        assert!(verdict.contains("SEED=7 MINUTES=1") && verdict.contains("PASS"), "{verdict}");
        (0..FINDINGS_MAX + 2).for_each(|number| journal.finding(format!("finding {number}")));
        let verdict = journal.verdict(&Numbers::default(), "", Some(Path::new("/logs")));
        for part in ["FAIL: 32 findings", "  - finding 29\n", "  - and 2 more", "are in /logs"] {
            assert!(verdict.contains(part), "{part}\nin {verdict}");
        }
    }
}
