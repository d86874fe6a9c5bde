//! `mandrill-live send`: batches of synthetic events, posted as Mandrill posts them.
//!
//! **Owns** the pace and the exit code. One request is [`hook`]'s, what came of all of them [`tally`]'s;
//! the events are made by `shared::synthetic`. Nothing is sent again: what a webhook does with a batch
//! the first time is what this shows. Tested in `tests/send.rs`.

pub(crate) mod hook;
mod tally;

use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::Uri;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use shared::settings::Environment;
use shared::synthetic::{Kind, Request, Signing, SyntheticEvents};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use hook::Hook;
use tally::Tally;

/// A shell's exit code for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The arguments of `send`.
#[derive(clap::Args)]
pub(crate) struct Send {
    /// The webhook's address
    #[arg(long, default_value = "http://127.0.0.1:8000/api/hook/")]
    url: Uri,
    /// The webhook's key [default: the first of MANDRILL_WEBHOOK_KEYS; without any, requests are not signed]
    #[arg(long)]
    key: Option<String>,
    /// The URL registered in Mandrill, which goes into the signature [default: the first of
    /// MANDRILL_WEBHOOK_URLS, else --url]
    #[arg(long)]
    signed_url: Option<String>,
    /// How many events
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Events a request; Mandrill sends at most 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// Events a second; 0 is as fast as they are taken
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    rate: f64,
    /// Which events, repeated or comma-separated [default: all of a message's life, in a realistic mix]
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<Kind>,
    /// Decides what is made up; the same seed gives the same messages, at the present time
    #[arg(long)]
    seed: Option<u64>,
    /// Requests under way at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    senders: u16,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    rate.ok_or_else(|| "a number of events a second, 0 for no limit".to_owned())
}

/// Sends it all and prints what came of it.
pub(crate) async fn run(arguments: Send) -> ExitCode {
    let hook = match Hook::new(arguments.url.clone()) {
        Ok(hook) => Arc::new(hook),
        Err(error) => {
            eprintln!("mandrill-live send: {error}");
            return ExitCode::FAILURE;
        }
    };
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(u64::from(since_1970.subsec_nanos()));
    let bar = progress(arguments.events);
    let shared = Arc::new(Shared {
        batches: Mutex::new(Batches::new(&arguments, seed, since_1970.as_secs())),
        tally: Mutex::new(Tally::new(seed)),
        bar: bar.clone(),
    });

    let mut senders = JoinSet::new();
    for _ in 0..arguments.senders {
        senders.spawn(post_batches(hook.clone(), shared.clone()));
    }
    let interrupted = tokio::select! {
        () = async { while senders.join_next().await.is_some() {} } => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    bar.finish_and_clear();

    let tally = lock(&shared.tally);
    print!("{}", tally.summary());
    eprint!("{}", tally.refusals());
    match (interrupted, tally.all_taken()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

/// What the senders have in common.
struct Shared {
    batches: Mutex<Batches>,
    tally: Mutex<Tally>,
    bar: ProgressBar,
}

async fn post_batches(hook: Arc<Hook>, shared: Arc<Shared>) {
    loop {
        // Made while the lock is held: with one generator, the seed decides the batches whatever the
        // number of senders.
        let Some(batch) = lock(&shared.batches).next() else { return };
        sleep_until(batch.due).await;
        let start = Instant::now();
        let outcome = hook.post(batch.request).await;
        let mut tally = lock(&shared.tally);
        tally.add(batch.events, start.elapsed(), outcome);
        shared.bar.inc(batch.events);
        shared.bar.set_message(tally.warning());
        if tally.nobody_listens() {
            lock(&shared.batches).left = 0;
        }
    }
}

/// A sender that panicked leaves counts that are right as far as they go.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(events: u64) -> ProgressBar {
    // Drawn on a terminal only.
    let bar = ProgressBar::new(events);
    let style = ProgressStyle::with_template("{bar:32} {human_pos}/{human_len} events, {rate}, {eta} left {msg}");
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // What cannot be drawn is not missed.
        let _ = write!(text, "{:.0}/s", state.per_sec());
    };
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate))
}

/// One request and when to make it.
struct Batch {
    request: Request,
    events: u64,
    due: Instant,
}

/// The batches still to send.
struct Batches {
    events: SyntheticEvents,
    left: u64,
    made: u64,
    batch: u64,
    rate: f64,
    start: Instant,
    signing: Option<(String, String)>,
}

impl Batches {
    fn new(arguments: &Send, seed: u64, now_unix: u64) -> Batches {
        let environment = Environment::of_process();
        let first = |name| environment.get(name).and_then(first_of_list).map(str::to_owned);
        let url = || arguments.signed_url.clone().or_else(|| first("MANDRILL_WEBHOOK_URLS"));
        let key = arguments.key.clone().or_else(|| first("MANDRILL_WEBHOOK_KEYS"));
        Batches {
            events: SyntheticEvents::new(seed, &arguments.kind, now_unix),
            left: arguments.events,
            made: 0,
            batch: u64::from(arguments.batch),
            rate: arguments.rate,
            start: Instant::now(),
            signing: key.map(|key| (key, url().unwrap_or_else(|| arguments.url.to_string()))),
        }
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let count = self.left.min(self.batch);
        if count == 0 {
            return None;
        }
        let wait = if self.rate > 0.0 { self.made as f64 / self.rate } else { 0.0 };
        self.left -= count;
        self.made += count;
        let events: Vec<String> = self.events.by_ref().take(count as usize).collect();
        let signing = self.signing.as_ref().map(|(key, url)| Signing { key, url });
        // A rate so low that the wait is no time span is as good as never.
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        Some(Batch { request: Request::new(&events, signing), events: count, due: self.start + wait })
    }
}

/// The first entry of a comma-separated variable.
fn first_of_list(list: &str) -> Option<&str> {
    list.split(',').map(str::trim).find(|entry| !entry.is_empty())
}
