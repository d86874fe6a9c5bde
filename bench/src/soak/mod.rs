//! Half of what this machine can take, for half an hour, while sessions come and go: does anything grow, and is
//! anything lost?
//!
//! The broker, ingest and the notifier are what production runs, each a process of its own. [`senders`] post signed
//! webhooks at a steady rate, [`sessions`] is a process of clients that keep account of every event ([`account`],
//! [`socket`]). [`sample`] looks at all of them every few seconds, [`trend`] says whether a quantity grows, [`picture`]
//! draws it.

mod account;
mod picture;
mod sample;
mod senders;
pub(crate) mod sessions;
mod socket;
mod trend;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use async_nats::jetstream;
use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::service::Service;
use crate::sides::Soakers;
use picture::Picture;
use sample::{Judged, PROCESSES, Sample, Subjects};
use senders::{Pace, Senders};
use sessions::Report;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Minutes at half of the capacity
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Sessions at once, about a fifth of them away at any time
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// What the stream keeps; where it is little, slow sessions are told that events are lost to them
    #[arg(long, default_value = "256MiB")]
    kept: String,
    /// Where the picture is written
    #[arg(long, default_value = ".local/soak.svg")]
    picture: PathBuf,
}

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long the capacity is measured, once the stream is full.
const CAPACITY_SPAN: Duration = Duration::from_secs(30);
/// For the stream to be full, and for what was stored to be delivered.
const CAPACITY_TIMEOUT: Duration = Duration::from_secs(300);
/// Rates are a few events of this many.
const RATE_STEP: f64 = 20.0;
/// This share of the time is warm-up: until then caches fill, and the stream reaches its size.
const WARM_UP: f64 = 0.25;
/// After all have left, what sockets of theirs may still be open is closed.
const LEFT_TIMEOUT: Duration = Duration::from_secs(60);
/// Descriptors that may be open after all have left that were not open before they came: connections to the broker
/// that were made meanwhile.
const DESCRIPTORS_LEFT: f64 = 5.0;

const STREAM_NAME: &str = "MANDRILL";
/// For how long the broker knows an id again. With the stream's size it decides how much a broker has to forget for each
/// event it learns of: neither its speed nor its memory is the one of later before both are reached.
const DEDUPE_WINDOW: (&str, Duration) = ("1m", Duration::from_secs(60));
/// Small, so that slow sessions are overtaken by it and catch up from the stream.
const RING: (&str, &str) = ("RING_BYTES", "8MiB");

/// What the machine can take.
struct Capacity {
    /// Events a second.
    rate: f64,
    /// Events that were posted to find out.
    posted: u64,
    /// What became of the sessions meanwhile.
    report: Report,
}

/// What came of it.
struct Outcome {
    rate: f64,
    samples: Vec<Sample>,
    /// Events that were acknowledged while the capacity was measured, and all that were.
    before: u64,
    acknowledged: u64,
    report: Report,
    /// Of the capacity's measurement, when the machine had more to do than it can.
    overloaded: Report,
    /// Open descriptors before anybody came, and after all have left.
    descriptors: [[f64; 3]; 2],
}

pub(crate) async fn run(options: Options) -> ExitCode {
    let outcome = LocalSet::new().run_until(Box::pin(soak(&options))).await;
    let failures = outcome.print(&options);
    if let Some(folder) = options.picture.parent() {
        std::fs::create_dir_all(folder).expect("a folder for the picture");
    }
    std::fs::write(&options.picture, outcome.picture(&options).svg()).expect("the picture is written");
    println!("\nthe picture is in {}", options.picture.display());
    if failures.is_empty() {
        println!("verdict: nothing grows, nothing was lost or doubled");
        ExitCode::SUCCESS
    } else {
        println!("verdict: {}", failures.join(", "));
        ExitCode::FAILURE
    }
}

async fn soak(options: &Options) -> Outcome {
    println!("looking for what this machine can take; that takes two minutes");
    let broker = Broker::start().await;
    let url = broker.url();
    let of_ingest =
        [("NATS_URL", url.as_str()), ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url), ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key)];
    let stream = [("STREAM_MAX_BYTES", options.kept.as_str()), ("STREAM_DEDUPE_WINDOW", DEDUPE_WINDOW.0)];
    let ingest = Service::start("ingest", &[&of_ingest[..], &stream].concat()).await;
    let of_notifier =
        [("NATS_URL", url.as_str()), ("ALLOW_ANONYMOUS", "true"), ("MAX_SESSIONS_PER_IP", "100000"), RING];
    let notifier = Service::start("notifier", &of_notifier).await;
    let context = jetstream::new(broker.client().await);
    let subjects = Subjects { ingest: &ingest, notifier: &notifier, broker: &broker, context };

    let before = subjects.descriptors();
    let soakers = async |after| Soakers::connect(notifier.address(), options.sessions, &url, after).await;
    let Capacity { rate: capacity, posted, report: overloaded } = capacity(&subjects, soakers(0).await).await;
    let rate = (capacity / 2.0 / RATE_STEP).round().max(1.0) * RATE_STEP;
    println!(
        "capacity: {capacity:.0} events a second are stored, and delivered to {} sessions that come and go, while the \
         stream is full\n\
         soak:     {rate:.0} events a second for {} minutes; the first {:.0} % are warm-up\n",
        options.sessions,
        options.minutes,
        WARM_UP * 100.0
    );

    let mut soakers = soakers(posted).await;
    let senders = Senders::start(ingest.address(), posted, Pace::Rate(rate));
    let (began, span) = (Instant::now(), Duration::from_secs_f64(options.minutes * 60.0));
    let (mut samples, mut looks) = (Vec::new(), interval(LOOK_INTERVAL));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.tick().await;
    while began.elapsed() < span {
        looks.tick().await;
        let report = soakers.report().await;
        let minute = began.elapsed().as_secs_f64() / 60.0;
        let (acknowledged, waiting) = (senders.acknowledged(), senders.waiting());
        samples.push(subjects.look(minute, &report, acknowledged, waiting).await);
    }
    let acknowledged = posted + senders.stop().await;
    let report = soakers.end(acknowledged).await;
    drop(soakers);
    let after = left(&subjects, before).await;
    Outcome { rate, samples, before: posted, acknowledged, report, overloaded, descriptors: [before, after] }
}

impl Outcome {
    /// Prints all of it; what is not as it has to be.
    fn print(&self, options: &Options) -> Vec<&'static str> {
        let step = (options.minutes / 30.0).max(0.25);
        sample::table(&self.samples, step).iter().for_each(|line| println!("{line}"));
        println!("\n{}", sample::judged_head());
        let judged = sample::judge(&self.samples, options.minutes * WARM_UP);
        judged.iter().for_each(|judged| println!("{}", judged.line));

        let Report { delivered, visits, resumes, pauses, seen, .. } = self.report;
        let (acknowledged, seen) = (self.acknowledged - self.before, seen - self.before);
        println!("\n{acknowledged} events were acknowledged, and the witness saw {seen}");
        println!(
            "{delivered} deliveries; {visits} visits, {resumes} of them from a cursor, {pauses} pauses of slow sessions"
        );
        for (when, report) in [("at half of the capacity", &self.report), ("beyond it", &self.overloaded)] {
            let Report { compared, lost, announced, doubled, cut, .. } = report;
            println!(
                "{compared} visits compared {when}: {lost} events lost in silence, {announced} announced as lost, \
                 {doubled} doubled; {cut} sessions cut"
            );
        }
        let [before, after] = self.descriptors;
        for ((process, before), after) in PROCESSES.iter().zip(before).zip(after) {
            println!("{process}: {before} descriptors before anybody came, {after} after all have left");
        }
        self.failures(&judged)
    }

    /// What is not as it has to be.
    fn failures(&self, judged: &[Judged]) -> Vec<&'static str> {
        let Outcome { report, overloaded, .. } = self;
        let [before, after] = self.descriptors;
        let are_closed = before.iter().zip(after).all(|(before, after)| after <= *before + DESCRIPTORS_LEFT);
        let demands = [
            (report.seen == self.acknowledged, "the witness has not seen what was acknowledged"),
            (report.lost + overloaded.lost == 0, "events were lost in silence"),
            (report.doubled + overloaded.doubled == 0, "events were doubled"),
            (report.announced == 0, "events were lost to sessions that fell behind what is kept"),
            (report.cut == 0, "sessions were cut"),
            (judged.iter().all(|judged| judged.is_flat), "something grows"),
            (are_closed, "descriptors are left open"),
        ];
        demands.into_iter().filter_map(|(holds, otherwise)| (!holds).then_some(otherwise)).collect()
    }

    fn picture(&self, options: &Options) -> Picture {
        let Report { delivered, resumes, lost, announced, doubled, .. } = self.report;
        let (minutes, rate, acknowledged) = (options.minutes, self.rate, self.acknowledged - self.before);
        Picture {
            title: format!("{minutes} minutes at half of capacity: {} events a second", thousands(rate as u64)),
            subtitle: format!(
                "{} sessions that come and go: {} resumes, {} events, {} deliveries; {} lost, {} doubled",
                options.sessions,
                thousands(resumes),
                thousands(acknowledged),
                thousands(delivered),
                thousands(lost + announced),
                thousands(doubled),
            ),
            warm_up: minutes * WARM_UP,
            // The last look is a moment late.
            minutes: self.samples.last().map_or(minutes, |sample| sample.minute.max(minutes)),
            panels: sample::panels(&self.samples),
        }
    }
}

/// With a comma before each three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let place = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", place(at))).collect()
}

/// How many events a second are stored and delivered when as many are posted as are taken, once the broker has to forget
/// one for each that it learns of. What is stored faster than it is delivered is no capacity.
async fn capacity(subjects: &Subjects<'_>, mut soakers: Soakers) -> Capacity {
    let senders = Senders::start(subjects.ingest.address(), 0, Pace::Flat);
    sleep(DEDUPE_WINDOW.1).await;
    until("the stream is full", async || first_kept(&subjects.context).await > 1).await;
    let (before, began) = (soakers.report().await.seen, Instant::now());
    sleep(CAPACITY_SPAN).await;
    let posted = senders.stop().await;
    until("all is delivered", async || soakers.report().await.seen >= posted).await;
    let rate = (posted - before) as f64 / began.elapsed().as_secs_f64();
    Capacity { rate, posted, report: soakers.end(posted).await }
}

/// The first place that the stream still keeps.
async fn first_kept(context: &jetstream::Context) -> u64 {
    let stream = context.get_stream(STREAM_NAME).await.expect("the stream");
    stream.cached_info().state.first_sequence
}

/// Looks again and again whether something has come about.
async fn until(what: &str, mut has_come: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + CAPACITY_TIMEOUT;
    while !has_come().await {
        assert!(Instant::now() < deadline, "{what} within {CAPACITY_TIMEOUT:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the sockets of those who left are closed; what is open then.
async fn left(subjects: &Subjects<'_>, before: [f64; 3]) -> [f64; 3] {
    let deadline = Instant::now() + LEFT_TIMEOUT;
    loop {
        let now = subjects.descriptors();
        let is_as_before = now.iter().zip(before).all(|(now, before)| *now <= before + DESCRIPTORS_LEFT);
        if is_as_before || Instant::now() >= deadline {
            return now;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let report = Report { seen: 7, ..Report::default() };
        let (overloaded, samples) = (Report { announced: 9, cut: 9, ..Report::default() }, Vec::new());
        Outcome {
            rate: 1.0,
            samples,
            before: 3,
            acknowledged: 7,
            report,
            overloaded,
            descriptors: [[9.0; 3], [9.0; 3]],
        }
    }

    #[test]
    fn whatever_is_wrong_is_in_the_verdict_and_an_overloaded_machine_may_lose_what_it_announces() {
        let judged = |is_flat| [Judged { line: String::new(), is_flat: true }, Judged { line: String::new(), is_flat }];
        assert_eq!(outcome().failures(&judged(true)), [""; 0]);
        assert_eq!(outcome().failures(&judged(false)), ["something grows"]);
        type Change = fn(&mut Outcome);
        let wrong: [(Change, &str); 8] = [
            (|it| it.acknowledged = 8, "the witness has not seen what was acknowledged"),
            (|it| it.report.lost = 1, "events were lost in silence"),
            (|it| it.overloaded.lost = 1, "events were lost in silence"),
            (|it| it.report.doubled = 1, "events were doubled"),
            (|it| it.overloaded.doubled = 1, "events were doubled"),
            (|it| it.report.announced = 1, "events were lost to sessions that fell behind what is kept"),
            (|it| it.report.cut = 1, "sessions were cut"),
            (|it| it.descriptors[1][2] += DESCRIPTORS_LEFT + 1.0, "descriptors are left open"),
        ];
        for (change, expected) in wrong {
            let mut outcome = outcome();
            change(&mut outcome);
            assert_eq!(outcome.failures(&judged(true)), [expected]);
        }
    }

    #[test]
    fn numbers_are_read_by_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
