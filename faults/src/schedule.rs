//! What will be broken, when, and for how long. Pure: one seed and one length make one schedule.
//!
//! It goes in rounds. Within a round faults overlap; at its end everything is healed, and the next one waits until
//! everything is ready again. Of each sort faults come from a shuffled deck, so that in a long run every process and
//! every wire has met each of them. At most one server of the cluster is away at a time, unless that is the fault.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Replicas of ingest.
pub(crate) const INGESTS: usize = 2;
/// Replicas of the notifier.
pub(crate) const NOTIFIERS: usize = 3;
/// Servers of the cluster.
pub(crate) const NODES: usize = 3;
/// Faults in one round.
const FAULTS: std::ops::RangeInclusive<usize> = 2..=5;
/// When the last fault of a round begins, at the latest, in milliseconds.
const BEGINS_WITHIN_MS: u64 = 5_000;
/// What a round is reckoned to take beside its faults: what is broken becomes ready, and some quiet.
const CALM: Duration = Duration::from_secs(6);

/// One of our services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Service {
    Ingest(usize),
    Notifier(usize),
}

/// A server of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Numbered(usize),
    /// The one that leads the stream when the fault begins.
    Leader,
}

/// Something that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    Service(Service),
    Node(Node),
}

/// A bundle of wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    /// From clients to a service.
    Clients(Service),
    /// From a service to all servers of the cluster.
    Broker(Service),
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Blow {
    /// SIGKILL; it is started again at the end.
    Kill,
    /// SIGSTOP; it goes on at the end.
    Pause,
    /// SIGTERM; it is started again at the end.
    Stop,
}

/// The weather on a wire; numbers as they are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Storm {
    Slow {
        ms: u64,
    },
    Narrow {
        bytes_a_second: u32,
    },
    Silent,
    Cut,
    /// The connections there are are dropped; others can be made at once.
    Drop,
}

/// What is done to the stream and the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Upset {
    /// It takes no more messages than it has.
    Full,
    /// Its oldest messages are dropped.
    DropOldest,
    /// Its leader steps down.
    StepDown,
    /// All consumers are deleted.
    NoConsumers,
    /// Two of the three servers are killed: nothing can be stored.
    NoQuorum,
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Process(Blow, Process),
    Wire(Storm, Wire),
    Broker(Upset),
}

/// One fault of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// After the beginning of its round.
    pub(crate) begins: Duration,
    pub(crate) lasts: Duration,
}

/// Faults that overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    /// In the order in which they begin.
    pub(crate) faults: Vec<Fault>,
}

impl Round {
    /// When its last fault ends.
    pub(crate) fn lasts(&self) -> Duration {
        self.faults.iter().map(|fault| fault.begins + fault.lasts).max().unwrap_or_default()
    }

    /// Whether the stream may have lost its leader, which the cluster needs time to make up for.
    pub(crate) fn touches_the_cluster(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.touches_the_cluster())
    }
}

impl Kind {
    fn touches_the_cluster(self) -> bool {
        matches!(self, Kind::Process(_, Process::Node(_)) | Kind::Broker(Upset::StepDown | Upset::NoQuorum))
    }

    /// What is counted together in the verdict.
    pub(crate) fn sort(self) -> &'static str {
        match self {
            Kind::Process(Blow::Kill, _) => "kill",
            Kind::Process(Blow::Pause, _) => "pause",
            Kind::Process(Blow::Stop, _) => "stop",
            Kind::Wire(Storm::Slow { .. }, _) => "slow wire",
            Kind::Wire(Storm::Narrow { .. }, _) => "narrow wire",
            Kind::Wire(Storm::Silent, _) => "silent wire",
            Kind::Wire(Storm::Cut, _) => "cut wire",
            Kind::Wire(Storm::Drop, _) => "dropped connections",
            Kind::Broker(Upset::Full) => "full stream",
            Kind::Broker(Upset::DropOldest) => "oldest dropped",
            Kind::Broker(Upset::StepDown) => "step-down",
            Kind::Broker(Upset::NoConsumers) => "consumers deleted",
            Kind::Broker(Upset::NoQuorum) => "no quorum",
        }
    }

    /// What no other fault of the same round may touch.
    fn touches(self) -> Touched {
        match self {
            Kind::Process(_, Process::Service(service)) => Touched::Process(service),
            Kind::Process(_, Process::Node(_)) | Kind::Broker(Upset::NoQuorum | Upset::StepDown) => Touched::Cluster,
            Kind::Wire(_, wire) => Touched::Wire(wire),
            Kind::Broker(Upset::Full | Upset::DropOldest | Upset::NoConsumers) => Touched::Stream,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Touched {
    Process(Service),
    Wire(Wire),
    Cluster,
    Stream,
}

/// Cards that come again only when all have come.
struct Deck {
    cards: Vec<Kind>,
    left: Vec<Kind>,
}

impl Deck {
    fn new(cards: impl IntoIterator<Item = Kind>) -> Deck {
        Deck { cards: cards.into_iter().collect(), left: Vec::new() }
    }

    /// The next card that `fits`; one that does not keeps its place.
    fn draw(&mut self, random: &mut StdRng, fits: impl Fn(Kind) -> bool) -> Option<Kind> {
        if self.left.is_empty() {
            self.left.clone_from(&self.cards);
            self.left.shuffle(random);
        }
        let at = self.left.iter().rposition(|kind| fits(*kind))?;
        Some(self.left.remove(at))
    }
}

/// The whole schedule.
pub(crate) fn schedule(seed: u64, length: Duration) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(seed);
    // Of ten faults about five are of processes, three of wires, two of the broker.
    let mut decks = [(5, Deck::new(processes())), (3, Deck::new(wires())), (2, Deck::new(upsets()))];
    let (mut rounds, mut planned) = (Vec::new(), Duration::ZERO);
    while planned < length {
        let round = round(&mut random, &mut decks);
        planned += round.lasts() + CALM;
        rounds.push(round);
    }
    rounds
}

fn round(random: &mut StdRng, decks: &mut [(u32, Deck); 3]) -> Round {
    let (mut faults, mut touched) = (Vec::new(), HashSet::new());
    for _ in 0..random.random_range(FAULTS) {
        let mut card = random.random_range(0..decks.iter().map(|(weight, _)| weight).sum());
        for (weight, deck) in decks.iter_mut() {
            if card >= *weight {
                card -= *weight;
                continue;
            }
            if let Some(kind) = deck.draw(random, |kind| !touched.contains(&kind.touches())) {
                touched.insert(kind.touches());
                let begins = Duration::from_millis(random.random_range(0..BEGINS_WITHIN_MS));
                let kind = weather(kind, random);
                faults.push(Fault { kind, begins, lasts: lasts(kind, random) });
            }
            break;
        }
    }
    faults.sort_by_key(|fault| fault.begins);
    Round { faults }
}

fn services() -> impl Iterator<Item = Service> {
    (0..INGESTS).map(Service::Ingest).chain((0..NOTIFIERS).map(Service::Notifier))
}

fn processes() -> Vec<Kind> {
    let nodes = (0..NODES).map(Node::Numbered).chain([Node::Leader, Node::Leader]);
    let all: Vec<Process> = services().map(Process::Service).chain(nodes.map(Process::Node)).collect();
    let blows = [Blow::Kill, Blow::Pause, Blow::Stop];
    blows.iter().flat_map(|blow| all.iter().map(|process| Kind::Process(*blow, *process))).collect()
}

fn wires() -> Vec<Kind> {
    let all: Vec<Wire> = services().flat_map(|service| [Wire::Clients(service), Wire::Broker(service)]).collect();
    let storms = [Storm::Slow { ms: 0 }, Storm::Narrow { bytes_a_second: 0 }, Storm::Silent, Storm::Cut, Storm::Drop];
    storms.iter().flat_map(|storm| all.iter().map(|wire| Kind::Wire(*storm, *wire))).collect()
}

fn upsets() -> [Kind; 5] {
    [Upset::Full, Upset::DropOldest, Upset::StepDown, Upset::NoConsumers, Upset::NoQuorum].map(Kind::Broker)
}

/// How strong it is, where that varies.
fn weather(kind: Kind, random: &mut StdRng) -> Kind {
    match kind {
        Kind::Wire(Storm::Slow { .. }, wire) => Kind::Wire(Storm::Slow { ms: random.random_range(20..400) }, wire),
        Kind::Wire(Storm::Narrow { .. }, wire) => {
            Kind::Wire(Storm::Narrow { bytes_a_second: random.random_range(4..64) << 10 }, wire)
        }
        other => other,
    }
}

fn lasts(kind: Kind, random: &mut StdRng) -> Duration {
    let range = match kind {
        Kind::Process(Blow::Kill | Blow::Stop, _) => 300..5_000,
        Kind::Process(Blow::Pause, _) => 1_000..9_000,
        Kind::Wire(Storm::Drop, _) | Kind::Broker(Upset::StepDown | Upset::NoConsumers | Upset::DropOldest) => 0..1,
        Kind::Wire(Storm::Slow { .. } | Storm::Narrow { .. }, _) => 2_000..8_000,
        Kind::Wire(Storm::Silent | Storm::Cut, _) => 1_000..8_000,
        Kind::Broker(Upset::Full | Upset::NoQuorum) => 2_000..5_000,
    };
    Duration::from_millis(random.random_range(range))
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Service::Ingest(number) => write!(formatter, "ingest-{number}"),
            Service::Notifier(number) => write!(formatter, "notifier-{number}"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::Service(service) => service.fmt(formatter),
            Process::Node(Node::Numbered(number)) => write!(formatter, "broker-{number}"),
            Process::Node(Node::Leader) => formatter.write_str("the broker that leads"),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Clients(service) => write!(formatter, "between clients and {service}"),
            Wire::Broker(service) => write!(formatter, "between {service} and the broker"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Process(blow, process) => {
                let verb = match blow {
                    Blow::Kill => "kill",
                    Blow::Pause => "pause",
                    Blow::Stop => "stop",
                };
                write!(formatter, "{verb} {process}")
            }
            Kind::Wire(Storm::Slow { ms }, wire) => write!(formatter, "{ms} ms of delay {wire}"),
            Kind::Wire(Storm::Narrow { bytes_a_second }, wire) => {
                write!(formatter, "{} KiB/s {wire}", bytes_a_second >> 10)
            }
            Kind::Wire(Storm::Silent, wire) => write!(formatter, "silence {wire}"),
            Kind::Wire(Storm::Cut, wire) => write!(formatter, "a cut {wire}"),
            Kind::Wire(Storm::Drop, wire) => write!(formatter, "connections dropped {wire}"),
            Kind::Broker(Upset::Full) => formatter.write_str("the stream is full"),
            Kind::Broker(Upset::DropOldest) => formatter.write_str("the stream drops its oldest events"),
            Kind::Broker(Upset::StepDown) => formatter.write_str("the stream's leader steps down"),
            Kind::Broker(Upset::NoConsumers) => formatter.write_str("all consumers are deleted"),
            Kind::Broker(Upset::NoQuorum) => formatter.write_str("kill two brokers of three"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begins, lasts) = (self.begins.as_secs_f64(), self.lasts.as_secs_f64());
        if self.lasts <= Duration::from_millis(1) {
            return write!(formatter, "{} at {begins:.1} s", self.kind);
        }
        write!(formatter, "{} at {begins:.1} s for {lasts:.1} s", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn one_seed_makes_one_schedule_and_another_another() {
        assert_eq!(schedule(7, HOUR), schedule(7, HOUR));
        assert_ne!(schedule(7, HOUR), schedule(8, HOUR));
    }

    #[test]
    fn it_is_about_as_long_as_it_was_asked_to_be() {
        for minutes in [1, 2, 10] {
            let asked = Duration::from_secs(60 * minutes);
            let planned: Duration = schedule(minutes, asked).iter().map(|round| round.lasts() + CALM).sum();
            assert!(planned >= asked && planned < asked + Duration::from_secs(25), "{planned:?}");
        }
    }

    #[test]
    fn in_a_long_run_every_process_and_every_wire_meets_every_fault() {
        let met: HashSet<(&str, Touched)> = schedule(1, HOUR)
            .iter()
            .flat_map(|round| &round.faults)
            .map(|fault| (fault.kind.sort(), fault.kind.touches()))
            .collect();
        for kind in processes().into_iter().chain(wires()).chain(upsets()) {
            assert!(met.contains(&(kind.sort(), kind.touches())), "{kind}");
        }
    }

    #[test]
    fn no_two_faults_of_a_round_touch_the_same() {
        for round in (0..50).flat_map(|seed| schedule(seed, HOUR / 10)) {
            let touched: HashSet<Touched> = round.faults.iter().map(|fault| fault.kind.touches()).collect();
            assert_eq!(touched.len(), round.faults.len(), "{round:?}");
            assert!(!round.faults.is_empty() && round.faults.is_sorted_by_key(|fault| fault.begins));
        }
    }
}
