//! Everything that runs, and the hands that break it: the cluster, the services, and the wires between them and to
//! their clients. What is broken can always be healed; what goes wrong on its own is written down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shared::testing::broker::Broker;
use shared::testing::http::{self, WEBHOOK};
use shared::testing::proxy::{Proxy, Weather};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::archive::Archive;
use crate::event::{Content, Events, LARGE_EVENT_BYTES};
use crate::processes::{Holds, Replica, panics};
use crate::report::Journal;
use crate::schedule::{
    Blow, Fault, INGESTS, Kind, NODES, NOTIFIERS, Node, Process, Round, Service, Storm, Upset, Wire,
};
use crate::senders::Book;

/// How long a service may take to stop, as it is configured here.
const DRAIN: Duration = Duration::from_secs(4);
/// Beyond that, for a process that has to be scheduled and a broker that has to answer.
const DRAIN_SLACK: Duration = Duration::from_secs(4);
/// For one answer while it is waited for everything to be ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at whether everything is ready.
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// To whom the probes' events are addressed: nobody else gets any.
const PROBED: &str = "probe@example.com";

/// All of it.
pub(crate) struct Stage {
    nodes: [Mutex<Broker>; NODES],
    ingests: Vec<Member>,
    notifiers: Vec<Member>,
    pub(crate) archive: Arc<Mutex<Archive>>,
    journal: Journal,
    book: Book,
    probes: Mutex<Events>,
    slack: f64,
}

/// One replica and its wires.
struct Member {
    service: Service,
    replica: Mutex<Replica>,
    http: SocketAddr,
    admin: SocketAddr,
    /// From its clients.
    clients: Proxy,
    /// To each server of the cluster.
    brokers: Vec<Proxy>,
}

impl Member {
    fn wires(&self, wire: Wire) -> Vec<&Proxy> {
        match wire {
            Wire::Clients(_) => vec![&self.clients],
            Wire::Broker(_) => self.brokers.iter().collect(),
        }
    }
}

impl Stage {
    /// Starts everything. `binaries` holds the services, `folder` is for logs.
    pub(crate) async fn start(
        binaries: &Path,
        folder: &Path,
        (journal, book): (Journal, Book),
        seed: u64,
        slack: f64,
    ) -> Stage {
        let cluster = Broker::cluster().await;
        let urls: Vec<String> = cluster.iter().map(Broker::url).collect();
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(1))
            .connect(urls)
            .await
            .expect("a client");
        let archive = Archive::new(client, Duration::from_secs(30).mul_f64(slack));
        let (mut ingests, mut notifiers) = (Vec::new(), Vec::new());
        for number in 0..INGESTS {
            ingests.push(Member::start(Service::Ingest(number), binaries, folder, &cluster).await);
        }
        for number in 0..NOTIFIERS {
            notifiers.push(Member::start(Service::Notifier(number), binaries, folder, &cluster).await);
        }
        // Of its own kind, so that no sender has its names.
        let probes = Mutex::new(Events::new(seed, u32::MAX));
        let nodes = cluster.map(Mutex::new);
        Stage { nodes, ingests, notifiers, archive: Arc::new(Mutex::new(archive)), journal, book, probes, slack }
    }

    /// A time that is behaviour, with room for a machine that is slow.
    pub(crate) fn at_most(&self, time: Duration) -> Duration {
        time.mul_f64(self.slack)
    }

    /// Where senders post.
    pub(crate) fn hooks(&self) -> Vec<SocketAddr> {
        self.ingests.iter().map(|member| member.clients.address()).collect()
    }

    /// Where sessions are opened.
    pub(crate) fn notifiers(&self) -> Vec<SocketAddr> {
        self.notifiers.iter().map(|member| member.clients.address()).collect()
    }

    /// The notifiers by their names, without a wire between.
    pub(crate) fn named_notifiers(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        self.notifiers.iter().map(|member| (member.service.to_string(), member.http))
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.ingests.iter().chain(&self.notifiers)
    }

    fn member(&self, service: Service) -> &Member {
        match service {
            Service::Ingest(number) => &self.ingests[number],
            Service::Notifier(number) => &self.notifiers[number],
        }
    }

    /// Breaks what a round has, and heals each when its time has come.
    pub(crate) async fn go_through(&self, round: &Round) {
        join_all(round.faults.iter().map(|fault| self.inject(fault))).await;
    }

    async fn inject(&self, fault: &Fault) {
        sleep(fault.begins).await;
        self.journal.fault(fault);
        match fault.kind {
            Kind::Process(blow, Process::Service(service)) => {
                self.strike(blow, self.member(service), fault.lasts).await
            }
            Kind::Process(blow, Process::Node(node)) => self.strike_node(blow, node, fault.lasts).await,
            Kind::Wire(storm, wire) => self.storm(storm, wire, fault.lasts).await,
            Kind::Broker(upset) => self.upset(upset, fault.lasts).await,
        }
    }

    async fn strike(&self, blow: Blow, member: &Member, lasts: Duration) {
        let mut replica = member.replica.lock().await;
        let struck = match blow {
            Blow::Kill => replica.kill(),
            Blow::Pause => replica.pause(),
            Blow::Stop => match replica.tell_to_stop() {
                Ok(()) => replica.stopped(self.at_most(DRAIN + DRAIN_SLACK)).await,
                Err(error) => Err(error),
            },
        };
        self.journal.check(struck);
        sleep(lasts).await;
        replica.go_on();
        if !replica.runs() {
            replica.start();
        }
    }

    async fn strike_node(&self, blow: Blow, node: Node, lasts: Duration) {
        let number = match node {
            Node::Numbered(number) => number,
            Node::Leader => {
                let leader = self.archive.lock().await.leader().await.unwrap_or_default();
                self.journal.say(&format!("broker-{leader} leads"));
                leader
            }
        };
        let mut broker = self.nodes[number].lock().await;
        match blow {
            Blow::Kill => broker.kill(),
            Blow::Pause => broker.freeze(),
            Blow::Stop => broker.stop().await,
        }
        sleep(lasts).await;
        match blow {
            Blow::Pause => broker.thaw(),
            Blow::Kill | Blow::Stop => broker.start_process(),
        }
    }

    async fn storm(&self, storm: Storm, wire: Wire, lasts: Duration) {
        let service = match wire {
            Wire::Clients(service) | Wire::Broker(service) => service,
        };
        let wires = self.member(service).wires(wire);
        let set = |weather| wires.iter().for_each(|proxy| proxy.set(weather));
        match storm {
            Storm::Slow { ms } => set(Weather::Slow(Duration::from_millis(ms))),
            Storm::Narrow { bytes_a_second } => set(Weather::Narrow(bytes_a_second)),
            Storm::Silent => set(Weather::Silent),
            Storm::Cut => set(Weather::Cut),
            Storm::Drop => wires.iter().for_each(|proxy| proxy.drop_connections()),
        }
        sleep(lasts).await;
        set(Weather::Clear);
    }

    async fn upset(&self, upset: Upset, lasts: Duration) {
        let mut archive = self.archive.lock().await;
        match upset {
            Upset::StepDown => self.journal.check(archive.step_down().await),
            Upset::NoConsumers => self.journal.check(archive.delete_consumers().await),
            Upset::DropOldest => match archive.drop_oldest().await {
                Ok(dropped) => self.journal.say(&dropped),
                Err(error) => self.journal.finding(error),
            },
            Upset::Full => {
                self.journal.check(archive.fill().await);
                drop(archive);
                sleep(lasts).await;
                let archive = self.archive.lock().await;
                self.journal.check(archive.make_room().await);
            }
            Upset::NoQuorum => {
                let leader = archive.leader().await.unwrap_or_default();
                drop(archive);
                let two = [leader, (leader + 1) % NODES];
                for number in two {
                    self.nodes[number].lock().await.kill();
                }
                sleep(lasts).await;
                for number in two {
                    self.nodes[number].lock().await.start_process();
                }
            }
        }
    }

    /// Waits until everything is ready: every process says so, every ingest stores, and every notifier shows what
    /// was stored. Says how long that took; nothing where it took longer than `at_most`.
    pub(crate) async fn ready(&self, at_most: Duration) -> Option<Duration> {
        let healed = Instant::now();
        let all = async {
            join_all(self.members().map(|member| answers(member.admin, "/readyz"))).await;
            let stored = join_all(self.ingests.iter().map(|member| self.probe(member))).await;
            join_all(self.notifiers.iter().map(|member| shows(member, &stored))).await;
        };
        timeout(at_most, all).await.ok().map(|()| healed.elapsed())
    }

    /// Has one ingest store an event; it tries again until it does.
    async fn probe(&self, ingest: &Member) -> Content {
        let batch = self.probes.lock().await.last_words(&["open"], [PROBED.to_owned()]);
        self.book.enter(&batch);
        while timeout(PROBE_TIMEOUT, self.book.post(ingest.http, &batch)).await != Ok(true) {
            sleep(PROBE_PAUSE).await;
        }
        self.book.acknowledge(&batch);
        batch[0].content
    }

    /// A batch after which nobody who listens has to wait for more.
    pub(crate) async fn last_words(&self, people: impl IntoIterator<Item = String>) {
        let batch = self.probes.lock().await.last_words(&["open", "click", "send"], people);
        self.book.enter(&batch);
        while !self.book.post(self.ingests[0].http, &batch).await {
            sleep(PROBE_PAUSE).await;
        }
        self.book.acknowledge(&batch);
    }

    /// Who is not ready, for the one who has to find out why.
    pub(crate) async fn unready(&self) -> String {
        let (mut text, request) = (Vec::new(), http::request("GET", "/readyz", &[], b""));
        for member in self.members() {
            let answer = http::try_exchange(member.admin, &request);
            match timeout(PROBE_TIMEOUT, answer).await {
                Ok(Ok(answer)) if answer.status == 200 => {}
                Ok(Ok(answer)) => {
                    text.push(format!("{}: {}", member.service, String::from_utf8_lossy(&answer.body).trim()));
                }
                Ok(Err(error)) => text.push(format!("{}: {error}", member.service)),
                Err(_) => text.push(format!("{}: no answer", member.service)),
            }
        }
        text.join("; ")
    }

    /// Says so where a process has ended without having been asked to.
    pub(crate) async fn check_lives(&self) {
        for member in self.members() {
            self.journal.check(member.replica.lock().await.lives());
        }
    }

    /// What each service holds.
    pub(crate) async fn holds(&self) -> Vec<(Service, Option<Holds>)> {
        join_all(self.members().map(async |member| (member.service, member.replica.lock().await.holds()))).await
    }

    /// Stops all services, which end in order.
    pub(crate) async fn stop(&self) {
        join_all(self.members().map(|member| self.strike_last(member))).await;
    }

    async fn strike_last(&self, member: &Member) {
        let mut replica = member.replica.lock().await;
        self.journal.check(replica.tell_to_stop());
        self.journal.check(replica.stopped(self.at_most(DRAIN + DRAIN_SLACK)).await);
    }

    /// Panics in any log, and the brokers' logs put beside the services' own.
    pub(crate) async fn panics(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for member in self.members() {
            found.extend(member.replica.lock().await.panics());
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let log = node.lock().await.log();
            found.extend(panics(&format!("broker-{number}"), &log));
            let path: PathBuf = folder.join(format!("broker-{number}.log"));
            std::fs::write(path, log).expect("a log");
        }
        found
    }
}

impl Member {
    async fn start(service: Service, binaries: &Path, folder: &Path, cluster: &[Broker; NODES]) -> Member {
        let mut brokers = Vec::new();
        for broker in cluster {
            brokers.push(Proxy::before(broker.address()).await);
        }
        let program = binaries.join(if matches!(service, Service::Ingest(_)) { "ingest" } else { "notifier" });
        let mut replica = Replica::new(service.to_string(), program, folder);
        let urls: Vec<String> = brokers.iter().map(|proxy| format!("nats://{}", proxy.address())).collect();
        replica.configure(variables(service, &urls.join(",")));
        let (http, admin) = (replica.http, replica.admin);
        let clients = Proxy::before(http).await;
        replica.start();
        Member { service, replica: Mutex::new(replica), http, admin, clients, brokers }
    }
}

/// As small as they may be where that makes faults matter: little memory, short lives, a large event soon.
fn variables(service: Service, urls: &str) -> Vec<(String, String)> {
    let drain = DRAIN.as_secs().to_string();
    let large = LARGE_EVENT_BYTES.to_string();
    let both = [("NATS_URL", urls), ("DRAIN_SECONDS", &drain), ("RUST_BACKTRACE", "1")];
    let ingest = [
        ("STREAM_REPLICAS", "3"),
        ("MANDRILL_WEBHOOK_URLS", WEBHOOK.url),
        ("MANDRILL_WEBHOOK_KEYS", WEBHOOK.key),
        ("LARGE_EVENT_BYTES", &large),
    ];
    let notifier = [
        ("ALLOW_ANONYMOUS", "true"),
        ("RING_BYTES", "1MiB"),
        ("LAG_TIMEOUT", "5s"),
        ("PING_INTERVAL", "3s"),
        ("SESSION_MAX_AGE", "40s"),
    ];
    let own: &[(&str, &str)] = if matches!(service, Service::Ingest(_)) { &ingest } else { &notifier };
    both.iter().chain(own).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Waits until an address answers 200.
async fn answers(address: SocketAddr, path: &str) {
    let request = http::request("GET", path, &[], b"");
    loop {
        let answer = timeout(PROBE_TIMEOUT, http::try_exchange(address, &request)).await;
        if matches!(answer, Ok(Ok(answer)) if answer.status == 200) {
            return;
        }
        sleep(PROBE_PAUSE).await;
    }
}

/// Waits until a notifier shows these events.
async fn shows(notifier: &Member, events: &[Content]) {
    let request = http::request("GET", &format!("/api/events/?limit=10&email={PROBED}"), &[], b"");
    loop {
        if let Ok(Ok(answer)) = timeout(PROBE_TIMEOUT, http::try_exchange(notifier.http, &request)).await {
            let text = String::from_utf8_lossy(&answer.body);
            if events.iter().all(|content| text.contains(&format!("\"{}\"", content.name))) {
                return;
            }
        }
        sleep(PROBE_PAUSE).await;
    }
}
