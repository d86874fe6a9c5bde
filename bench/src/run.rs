//! The cases, in order, and the report.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use shared::settings::{Mistakes, Settings};
use shared::stream::StreamSettings;
use shared::testing::broker::Broker;
use tokio::time::sleep;

use crate::clients::{Protocol, Report};
use crate::event::{event, subject};
use crate::process::{Usage, resident};
use crate::sides::{Clients, Floor, Movers, Notifier, broker};

/// One way of sending the same events.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    sessions: usize,
    /// Events that are published at once.
    batch: usize,
    rounds: usize,
    /// Between two rounds.
    pause: Duration,
}

const CASES: [Case; 4] = [
    Case { name: "batch-100", sessions: 100, batch: 1000, rounds: 10, pause: Duration::ZERO },
    Case { name: "batch-1000", sessions: 1000, batch: 1000, rounds: 5, pause: Duration::ZERO },
    Case { name: "single-1000", sessions: 1000, batch: 1, rounds: 200, pause: Duration::from_millis(20) },
    Case { name: "single-10000", sessions: 10_000, batch: 1, rounds: 30, pause: Duration::from_millis(100) },
];

/// What a side did in a case.
#[derive(Debug, Default, Clone)]
struct Outcome {
    used: Usage,
    elapsed: Duration,
    ages: Report,
}

impl Outcome {
    fn cpu_us(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 1e6 / self.deliveries()
    }

    fn deliveries(&self) -> f64 {
        self.ages.events.max(1) as f64
    }

    fn print(&self, case: &str, side: &str) {
        println!(
            "{case:14} {side:9} {:9.0}/s  {:7.3} us cpu  p50 {:8.2} ms  p99 {:8.2} ms  max {:8.2} ms",
            self.ages.events as f64 / self.elapsed.as_secs_f64(),
            self.cpu_us(),
            self.ages.p50_us as f64 / 1e3,
            self.ages.p99_us as f64 / 1e3,
            self.ages.max_us as f64 / 1e3,
        );
        let kernel = self.cpu_us() * self.used.kernel_share();
        println!(
            "{:14} {:9} a delivery: {kernel:.3} us in the kernel, {:.3} us in the program; {:.3} writes, {:.4} waits",
            "",
            "",
            self.cpu_us() - kernel,
            self.used.writes as f64 / self.deliveries(),
            self.used.waits as f64 / self.deliveries(),
        );
    }
}

pub(crate) async fn run(notifier: &Path, only: &str) {
    let case = |name: &str| name.contains(only);
    for each in CASES.into_iter().filter(|each| case(each.name)) {
        let floor = floor(each).await;
        floor.print(each.name, "floor");
        let nats = nats(each).await;
        nats.print(each.name, "nats-ws");
        let ours = ours(each, notifier).await;
        ours.print(each.name, "notifier");
        println!(
            "{:14} ratios: cpu {:.2} x floor, {:.2} x nats-ws; p99 {:.2} x nats-ws\n",
            each.name,
            ours.cpu_us() / floor.cpu_us(),
            ours.cpu_us() / nats.cpu_us(),
            ours.ages.p99_us as f64 / nats.ages.p99_us.max(1) as f64,
        );
    }
    if case("filtered") {
        filtered(notifier).await;
    }
    if case("resume") {
        resume(notifier).await;
    }
    if case("idle") {
        idle(notifier).await;
    }
}

async fn floor(case: Case) -> Outcome {
    let mut floor = Floor::start().await;
    floor.accept(case.sessions).await;
    let mut clients = Clients::connect(floor.address, Protocol::Events, case.sessions, "/").await;
    floor.done().await;
    let (before, started) = (Usage::of(floor.pid()), Instant::now());
    for _ in 0..case.rounds {
        clients.expect(case.batch * case.sessions).await;
        floor.send(case.batch).await;
        clients.reached().await;
        floor.done().await;
        sleep(case.pause).await;
    }
    let elapsed = started.elapsed() - case.pause * case.rounds as u32;
    Outcome { used: Usage::of(floor.pid()) - before, elapsed, ages: clients.report().await }
}

async fn nats(case: Case) -> Outcome {
    let (broker, websocket) = broker().await;
    let mut clients = Clients::connect(websocket, Protocol::Nats, case.sessions, "/").await;
    publish(case, &broker, &mut clients, broker.pid()).await
}

async fn ours(case: Case, notifier: &Path) -> Outcome {
    let (broker, _) = broker().await;
    make_stream(&broker).await;
    let notifier = Notifier::start(notifier, &broker).await;
    let mut clients = Clients::connect(notifier.address, Protocol::Events, case.sessions, "/ws/email/").await;
    publish(case, &broker, &mut clients, notifier.pid()).await
}

async fn publish(case: Case, broker: &Broker, clients: &mut Clients, measured: u32) -> Outcome {
    let client = broker.client().await;
    let mut number = 0;
    let (before, started) = (Usage::of(measured), Instant::now());
    for _ in 0..case.rounds {
        clients.expect(case.batch * case.sessions).await;
        for _ in 0..case.batch {
            client.publish(subject(number), event(number).into()).await.expect("published");
            number += 1;
        }
        client.flush().await.expect("sent");
        clients.reached().await;
        sleep(case.pause).await;
    }
    let elapsed = started.elapsed() - case.pause * case.rounds as u32;
    Outcome { used: Usage::of(measured) - before, elapsed, ages: clients.report().await }
}

/// The stream, in memory: what is measured here is delivery, not the broker's disk.
async fn make_stream(broker: &Broker) {
    let context = jetstream::new(broker.client().await);
    let mut mistakes = Mistakes::default();
    let settings = StreamSettings::read(&[("STREAM_NAME", "ELSEWHERE")].into(), &mut mistakes).expect("settings");
    shared::stream::ensure(&context, &settings).await.expect("a stream to copy");
    let mut config = context.get_stream("ELSEWHERE").await.expect("it").cached_info().config.clone();
    context.delete_stream("ELSEWHERE").await.expect("deleted");
    config.name = "MANDRILL".to_owned();
    config.storage = jetstream::stream::StorageType::Memory;
    context.create_stream(config).await.expect("a stream");
}

/// What a thousand sessions that follow other people each cost an event nobody of them wants.
async fn filtered(notifier: &Path) {
    const EVENTS: usize = 20_000;
    let mut costs = Vec::new();
    for sessions in [1, 1000] {
        let (broker, _) = broker().await;
        make_stream(&broker).await;
        let notifier = Notifier::start(notifier, &broker).await;
        let path = "/ws/email/?email=nobody{}@example.com";
        let _others = Clients::connect(notifier.address, Protocol::Events, sessions, path).await;
        // One that wants everything, to know when all is done.
        let mut clients = Clients::connect(notifier.address, Protocol::Events, 1, "/ws/email/").await;
        let case = Case { name: "", sessions: 1, batch: EVENTS, rounds: 1, pause: Duration::ZERO };
        let outcome = publish(case, &broker, &mut clients, notifier.pid()).await;
        costs.push(outcome.used.cpu.as_secs_f64() * 1e6 / EVENTS as f64);
        println!(
            "filtered-{sessions:<5} notifier  {:7.3} us cpu an event that none of them wants",
            costs[costs.len() - 1]
        );
    }
    println!("filtered       grows by {:.5} us an event and session\n", (costs[1] - costs[0]) / 999.0);
}

/// What becomes of five thousand sessions when their notifier is killed.
async fn resume(notifier: &Path) {
    const SESSIONS: usize = 5000;
    const EVENTS: u64 = 300;
    /// Ten a second, so fifty thousand deliveries a second go on while the sessions come back.
    const PAUSE: Duration = Duration::from_millis(100);
    let (broker, _) = broker().await;
    make_stream(&broker).await;
    let (first, second) = (Notifier::start(notifier, &broker).await, Notifier::start(notifier, &broker).await);
    let mut movers = Movers::connect(first.address, second.address, SESSIONS).await;
    let client = broker.client().await;
    let mut first = Some(first);
    for number in 0..EVENTS {
        client.publish(subject(number), event(number).into()).await.expect("published");
        client.flush().await.expect("sent");
        if number == EVENTS / 2
            && let Some(first) = first.take()
        {
            first.kill().await;
        }
        sleep(PAUSE).await;
    }
    println!("resume-5000    {}\n", movers.report(EVENTS).await);
}

/// What ten thousand sessions cost while nothing happens.
async fn idle(notifier: &Path) {
    const SESSIONS: usize = 10_000;
    const WATCHED: Duration = Duration::from_secs(30);
    let (broker, _) = broker().await;
    make_stream(&broker).await;
    let notifier = Notifier::start(notifier, &broker).await;
    sleep(Duration::from_secs(1)).await;
    let empty = resident(notifier.pid());
    let _clients = Clients::connect(notifier.address, Protocol::Events, SESSIONS, "/ws/email/").await;
    sleep(Duration::from_secs(3)).await;
    let (full, before) = (resident(notifier.pid()), Usage::of(notifier.pid()));
    sleep(WATCHED).await;
    let spent = (Usage::of(notifier.pid()) - before).cpu.as_secs_f64() * 1e6 / WATCHED.as_secs_f64() / SESSIONS as f64;
    println!(
        "idle-10000     notifier  {:.2} kB a session, {spent:.3} us cpu a second and session, pings included",
        (full - empty) as f64 / 1024.0 / SESSIONS as f64
    );
}
