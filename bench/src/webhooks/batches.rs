//! Webhooks to disk.
//!
//! Two questions: what 1000-event batches cost beside a bare client that commits the same events to the
//! same server, and what group commit brings to one-event webhooks beside one publish a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ingest::batch::{self, Event};
use shared::synthetic::{Request, Signing, SyntheticEvents};
use shared::testing::broker::Broker;
use shared::testing::http::WEBHOOK;

use super::bare;
use super::load::{self, Sender};
use super::report::{median, percentile, row};
use crate::process;
use crate::service::Service;

/// Events of a full batch.
const BATCH: usize = 1000;
/// Requests under way at once in the comparison of full batches, on either side.
const AT_ONCE: usize = 2;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Full batches a round
    #[arg(long, default_value_t = 40)]
    batches: usize,
    /// Rounds: each runs both sides, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run of one-event webhooks
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// One round's events, as requests and as what they become.
struct Round {
    requests: Vec<load::Request>,
    batches: Vec<Vec<Event>>,
    payload_bytes: usize,
}

impl Round {
    fn new(seed: u64, batches: usize, size: usize) -> Round {
        let mut events = SyntheticEvents::new(seed, &[], 1_760_000_000 + seed * 1000);
        let mut round = Round { requests: Vec::new(), batches: Vec::new(), payload_bytes: 0 };
        for _ in 0..batches {
            let events: Vec<String> = events.by_ref().take(size).collect();
            let request = Request::new(&events, Some(Signing { key: WEBHOOK.key, url: WEBHOOK.url }));
            let signature = request.signature.expect("signed");
            round.requests.push(load::request(&request.body, &signature));
            let text = Bytes::from(format!("[{}]", events.join(",")));
            round.payload_bytes += text.len();
            round.batches.push(batch::read(&text).expect("a batch").events);
        }
        round
    }
}

pub(crate) async fn run(options: Options) {
    let broker = Broker::start().await;
    let url = broker.url();
    let variables =
        [("NATS_URL", url.as_str()), ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url), ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key)];
    let service = Service::start("ingest", &variables).await;
    disk(&broker).await;
    full_batches(&options, &broker, &service).await;
    for senders in [64, 1000] {
        let singly = Service::of_this("singly", &variables).await;
        one_event_webhooks(&options, [&service, &singly], senders).await;
    }
}

/// What an acknowledgement costs here. Group commit shares it out: what it brings depends on this more than on
/// anything in ingest.
async fn disk(broker: &Broker) {
    const PUBLISHES: usize = 200;
    let client = broker.client().await;
    let mut took = Vec::new();
    for event in Round::new(99_999, PUBLISHES, 1).batches.iter().flatten() {
        let started = Instant::now();
        bare::publish(&client, event).await;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    println!("One publish, alone, is on this disk after {:.2} ms (median of {PUBLISHES})\n", median(took));
}

async fn full_batches(options: &Options, broker: &Broker, service: &Service) {
    println!("Signed form batches of {BATCH} events, {AT_ONCE} at once, fsync before every acknowledgement");
    let client = broker.client().await;
    let (mut ours, mut bare, mut ratios, mut cpu, mut server) = (vec![], vec![], vec![], vec![], [vec![], vec![]]);
    let mut bytes = 0;
    for number in 0..=options.rounds {
        let [a, b] = [0, 1].map(|side| Round::new((number * 2 + side) as u64, options.batches, BATCH));
        bytes = a.payload_bytes / (a.batches.len() * BATCH);
        let events = (options.batches * BATCH) as f64;
        let (cpu_before, server_before, started) =
            (service.cpu(), process::Usage::of(broker.pid()).cpu, Instant::now());
        post_all(service, a.requests).await;
        let our_rate = events / started.elapsed().as_secs_f64();
        let our_cpu = (service.cpu() - cpu_before).as_secs_f64() * 1e6 / events;
        let (server_middle, started) = (process::Usage::of(broker.pid()).cpu, Instant::now());
        commit_all(&client, b.batches).await;
        let bare_rate = events / started.elapsed().as_secs_f64();
        if number == 0 {
            continue; // the first round warms both up
        }
        ours.push(our_rate);
        bare.push(bare_rate);
        ratios.push(our_rate / bare_rate);
        cpu.push(our_cpu);
        server[0].push((server_middle - server_before).as_secs_f64() * 1e6 / events);
        server[1].push((process::Usage::of(broker.pid()).cpu - server_middle).as_secs_f64() * 1e6 / events);
    }
    let [server_ours, server_bare] = server.map(median);
    let cells =
        |rate: f64, cpu: String, server: f64| [format!("{rate:.0} events/s"), cpu, format!("server {server:.1} µs")];
    row("ingest", &cells(median(ours), format!("{:.2} µs an event", median(cpu)), server_ours));
    row("a bare client", &cells(median(bare), String::new(), server_bare));
    println!(
        "  ratio of the rates, round by round: median {:.2} (goal: 0.9); {bytes} bytes an event\n",
        median(ratios)
    );
}

async fn post_all(service: &Service, requests: Vec<load::Request>) {
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let senders = (0..AT_ONCE).map(|_| {
        let (requests, next, address) = (Arc::clone(&requests), Arc::clone(&next), service.address());
        tokio::spawn(async move {
            let mut sender = Sender::connect(address).await;
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                sender.post(request).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("a sender");
    }
}

async fn commit_all(client: &async_nats::Client, batches: Vec<Vec<Event>>) {
    let (batches, next) = (Arc::new(batches), Arc::new(AtomicUsize::new(0)));
    let committers = (0..AT_ONCE).map(|_| {
        let (batches, next, client) = (Arc::clone(&batches), Arc::clone(&next), client.clone());
        tokio::spawn(async move {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                bare::commit_batch(&client, batch).await;
            }
        })
    });
    for committer in committers.collect::<Vec<_>>() {
        committer.await.expect("a committer");
    }
}

/// One side's run: requests a second, the service's processor time a request in microseconds, and
/// latencies in milliseconds.
struct Run {
    rate: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

async fn one_event_webhooks(options: &Options, [grouped, singly]: [&Service; 2], senders: usize) {
    println!("One-event webhooks from {senders} senders at once, fsync before every acknowledgement");
    let goal = if senders < 1000 { 3 } else { 6 };
    let span = Duration::from_secs(options.seconds);
    let seed = 100_000 + senders as u64;
    let (mut ours, mut single, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..3 {
        // Different events for each run: what is stored already costs nothing.
        let rounds = [0, 1].map(|side| Round::new(seed * 10 + number * 2 + side, 60_000, 1));
        let [our_requests, single_requests] = rounds.map(|round| Arc::new(round.requests));
        let our = run_senders(senders, span, grouped, our_requests).await;
        let bare = run_senders(senders, span, singly, single_requests).await;
        ratios.push(our.rate / bare.rate);
        ours.push(our);
        single.push(bare);
    }
    for (label, runs) in [("ingest: group commit", &ours), ("the same with one publish a request", &single)] {
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
        let latency = format!("  p50 {:.1}, p99 {:.1} ms", of(|run| run.p50), of(|run| run.p99));
        let cpu = format!("{:.1} µs a request", of(|run| run.cpu));
        row(label, &[format!("{:.0} requests/s", of(|run| run.rate)), cpu, latency]);
    }
    println!("  ratio of the rates, round by round: median {:.2} (goal: {goal})\n", median(ratios));
}

async fn run_senders(senders: usize, span: Duration, service: &Service, requests: Arc<Vec<load::Request>>) -> Run {
    let (address, cpu, started) = (service.address(), service.cpu(), Instant::now());
    let turns = Turns { next: Arc::default(), end: started + span };
    let post = || {
        let (requests, turns) = (Arc::clone(&requests), turns.clone());
        async move {
            let mut sender = Sender::connect(address).await;
            let mut latencies = Vec::new();
            while let Some(request) = turns.next().and_then(|at| requests.get(at)) {
                latencies.push(sender.post(request).await);
            }
            latencies
        }
    };
    let tasks: Vec<_> = (0..senders).map(|_| tokio::spawn(post())).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a sender"));
    }
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    let cpu = (service.cpu() - cpu).as_secs_f64() * 1e6 / latencies.len() as f64;
    latencies.sort_by(f64::total_cmp);
    Run { rate, cpu, p50: percentile(&latencies, 0.5) * 1e3, p99: percentile(&latencies, 0.99) * 1e3 }
}

/// Hands out work to many senders, until the time is over.
#[derive(Clone)]
struct Turns {
    next: Arc<AtomicUsize>,
    end: Instant,
}

impl Turns {
    fn next(&self) -> Option<usize> {
        (Instant::now() < self.end).then(|| self.next.fetch_add(1, Ordering::Relaxed))
    }
}
