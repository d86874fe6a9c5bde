//! What is known when a run is over: what was sent, what was stored, and what each client saw. Plain data; the
//! checker judges it.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use crate::event::{Content, Labels, Name, Wish, address};

/// One message of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) content: Content,
    pub(crate) labels: Labels,
    /// It stands for a large original, kept elsewhere.
    pub(crate) is_short: bool,
    /// What was dropped before it was read, and so before it was stored or soon after.
    pub(crate) dropped_before: u64,
}

/// The stream as the broker itself tells it.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Everything that was ever stored, by sequence.
    pub(crate) stored: Vec<Stored>,
    /// What the stream's limit dropped, which is printed, in the order in which that began.
    pub(crate) drops: Vec<Dropped>,
    /// Tombstones: what was stored before one about its person is erased.
    pub(crate) tombstones: Vec<(u64, String)>,
}

/// Messages up to a place were dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropped {
    /// Nothing after what had been dropped before was away earlier.
    pub(crate) begun: Instant,
    pub(crate) up_to: u64,
}

impl Truth {
    /// Messages up to here were dropped before the run was over.
    pub(crate) fn dropped(&self) -> u64 {
        self.drops.last().map_or(0, |dropped| dropped.up_to)
    }

    /// Messages up to here may have been away at a moment.
    pub(crate) fn dropped_by(&self, at: Instant) -> u64 {
        self.drops.iter().filter(|dropped| dropped.begun <= at).map(|dropped| dropped.up_to).max().unwrap_or_default()
    }

    /// Whether its person's events were erased after it.
    pub(crate) fn is_erased(&self, stored: &Stored) -> bool {
        let person = &stored.labels.person;
        self.tombstones.iter().any(|(sequence, erased)| stored.sequence < *sequence && erased == person)
    }

    /// Whether one message may have been dropped or erased before another was stored.
    pub(crate) fn was_gone(&self, earlier: &Stored, later: &Stored) -> bool {
        let between = earlier.sequence..later.sequence;
        let erases = |(at, person): &(u64, String)| between.contains(at) && *person == earlier.labels.person;
        earlier.sequence <= later.dropped_before || self.tombstones.iter().any(erases)
    }

    /// Events that a wish is for, by sequence.
    pub(crate) fn wanted<'a>(&'a self, wish: &'a Wish) -> impl Iterator<Item = &'a Stored> {
        self.stored.iter().filter(|stored| wish.wants(&stored.labels))
    }

    /// What is stored at a sequence.
    pub(crate) fn at(&self, sequence: u64) -> Option<&Stored> {
        let at = self.stored.binary_search_by_key(&sequence, |stored| stored.sequence).ok()?;
        self.stored.get(at)
    }
}

/// What the senders did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sent: HashMap<Name, Sent>,
    /// Names in the order in which their 200 came.
    pub(crate) acknowledged: Vec<Name>,
    /// Requests that were answered 200, and those that were not.
    pub(crate) taken: u64,
    pub(crate) refused: u64,
    /// Batches that were sent again after their 200, or to both replicas at once.
    pub(crate) repeated: u64,
    /// Answers that no sender should get.
    pub(crate) odd: Vec<String>,
}

/// One event that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) digest: u64,
    pub(crate) is_large: bool,
    pub(crate) person: String,
    /// When it first went out.
    pub(crate) at: Instant,
}

/// A person whose events up to a place were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) person: u32,
    /// Who answered: it had applied it by then. Another one does so before it delivers anything stored later.
    pub(crate) replica: usize,
    /// Of its tombstone, or later.
    pub(crate) sequence: u64,
    /// When that was done, as far as whoever asked for it knows.
    pub(crate) answered: Instant,
    /// So many events had been acknowledged when the stream was last read before: those are known, erased or not.
    pub(crate) acknowledged: usize,
}

impl Erasure {
    /// Whether it covers an event.
    pub(crate) fn covers(&self, stored: &Stored) -> bool {
        stored.sequence < self.sequence && stored.labels.person == address(self.person)
    }
}

/// How a session hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A WebSocket without control frames.
    Plain,
    /// A WebSocket with them.
    V1,
    /// Server-Sent Events.
    Events,
}

/// How a session reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As events come; it is back soon.
    Steady,
    /// With long rests.
    Slow,
    /// It stays away until what it missed has left a notifier's memory.
    Wanders,
}

/// What one session saw, over all its connections.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: usize,
    pub(crate) way: Way,
    pub(crate) pace: Pace,
    pub(crate) wish: Wish,
    /// The sequence after which it began.
    pub(crate) start: u64,
    pub(crate) entries: Vec<Entry>,
    /// What no client should meet, in words.
    pub(crate) odd: Vec<String>,
    /// Connections with a cursor that were taken.
    pub(crate) resumes: u64,
}

/// One thing a session saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It connects to a replica.
    Connects { replica: usize, at: Instant },
    /// It is told to forget somebody.
    Forget { person: u32 },
    /// An event.
    Event { sequence: u64, content: Content },
    /// Nothing for it up to here.
    Position { at: u64 },
    /// Events between the two are lost to it.
    Gap { after: u64, before: u64, at: Instant },
    /// It was told, on coming back, that what followed its cursor is gone; it goes on at the oldest there is.
    NotRecovered { at: Instant },
    /// The same, for a client that cannot be told: it begins anew wherever the stream is.
    CursorGone { at: Instant },
}

impl Session {
    /// The highest sequence it knows of.
    pub(crate) fn reached(&self) -> u64 {
        let sequence = |entry: &Entry| match entry {
            Entry::Event { sequence: at, .. } | Entry::Position { at } | Entry::Gap { before: at, .. } => Some(*at),
            Entry::NotRecovered { .. } | Entry::CursorGone { .. } | Entry::Connects { .. } | Entry::Forget { .. } => {
                None
            }
        };
        self.entries.iter().rev().find_map(sequence).unwrap_or(self.start)
    }

    /// Events that reached it.
    pub(crate) fn events(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry, Entry::Event { .. })).count()
    }

    /// Losses it was told of.
    pub(crate) fn gaps(&self) -> usize {
        let is_gap =
            |entry: &&Entry| matches!(entry, Entry::Gap { .. } | Entry::NotRecovered { .. } | Entry::CursorGone { .. });
        self.entries.iter().filter(is_gap).count()
    }
}

impl fmt::Display for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Plain => "plain",
            Way::V1 => "v1",
            Way::Events => "SSE",
        };
        let pace = match self.pace {
            Pace::Steady => "",
            Pace::Slow => "slow ",
            Pace::Wanders => "wandering ",
        };
        let query = self.wish.query();
        write!(formatter, "session {} ({pace}{way}, {})", self.number, if query.is_empty() { "all" } else { &query })
    }
}

/// An event as it was seen: its sequence and what it was.
pub(crate) type Seen = (u64, Content);

/// An answer to a query for the newest stored events.
#[derive(Debug)]
pub(crate) struct Page {
    /// Who answered.
    pub(crate) replica: usize,
    pub(crate) wish: Wish,
    /// Events that had been acknowledged when it was asked.
    pub(crate) acknowledged: usize,
    /// When it was asked.
    pub(crate) asked: Instant,
    /// What came, newest first.
    pub(crate) events: Vec<Seen>,
    /// From which sequence on it has everything, as it says itself; nothing where nothing older is kept.
    pub(crate) next: Option<u64>,
}

/// An answer that holds everything that is kept, oldest first.
#[derive(Debug)]
pub(crate) struct Listing {
    /// What was asked of whom.
    pub(crate) what: String,
    pub(crate) wish: Wish,
    pub(crate) events: Vec<Seen>,
}
