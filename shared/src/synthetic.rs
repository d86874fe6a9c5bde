//! Events and requests like Mandrill's own, made up from a seed.
//!
//! **Owns** what a message's life looks like from outside, for `mandrill-live send`, benches and tests.
//! Pure: the same seed, kinds and time give the same text. Nothing here is a real person's: every
//! address lies in example.com, example.net or example.org, every IP in a range kept for documentation.

mod inbound;
mod list;
mod message;
mod request;
mod visit;
mod words;

use std::fmt;
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use message::Message;
pub use request::{Request, Signing};

/// What can be asked for: Mandrill's `event`, or `sync` for changes of its deny and allow lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Mandrill's")]
pub enum Kind {
    Send,
    Deferral,
    Delivered,
    SoftBounce,
    HardBounce,
    Open,
    Click,
    Spam,
    Unsub,
    Reject,
    Sync,
    Inbound,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 12] = [
        Kind::Send,
        Kind::Deferral,
        Kind::Delivered,
        Kind::SoftBounce,
        Kind::HardBounce,
        Kind::Open,
        Kind::Click,
        Kind::Spam,
        Kind::Unsub,
        Kind::Reject,
        Kind::Sync,
        Kind::Inbound,
    ];

    /// The kinds of a sent message's life, which is what most webhooks are registered for.
    pub const MESSAGE: &[Kind] = Kind::ALL.split_at(10).0;

    /// Its name on the command line and, but for `sync`, in an event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Send => "send",
            Kind::Deferral => "deferral",
            Kind::Delivered => "delivered",
            Kind::SoftBounce => "soft_bounce",
            Kind::HardBounce => "hard_bounce",
            Kind::Open => "open",
            Kind::Click => "click",
            Kind::Spam => "spam",
            Kind::Unsub => "unsub",
            Kind::Reject => "reject",
            Kind::Sync => "sync",
            Kind::Inbound => "inbound",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No kind of this name can be made up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no kind {0:?}: choose among {names}", names = Kind::ALL.map(Kind::name).join(", "))]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Kind, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// One course of events, and how often it is met among others.
struct Life {
    weight: u32,
    steps: &'static [Kind],
}

impl Life {
    const fn new(weight: u32, steps: &'static [Kind]) -> Life {
        Life { weight, steps }
    }
}

/// A commercial sender's day, roughly: most mail arrives unread, a quarter is opened, little goes wrong.
const LIVES: [Life; 14] = [
    Life::new(400, &[Kind::Send, Kind::Delivered]),
    Life::new(180, &[Kind::Send, Kind::Delivered, Kind::Open]),
    Life::new(60, &[Kind::Send, Kind::Delivered, Kind::Open, Kind::Open, Kind::Open]),
    Life::new(120, &[Kind::Send, Kind::Delivered, Kind::Open, Kind::Click]),
    Life::new(50, &[Kind::Send, Kind::Delivered, Kind::Open, Kind::Click, Kind::Open, Kind::Click, Kind::Click]),
    Life::new(30, &[Kind::Send, Kind::Delivered, Kind::Click]), // images are off: no open is seen
    Life::new(40, &[Kind::Send, Kind::Deferral, Kind::Deferral, Kind::Delivered, Kind::Open]),
    Life::new(25, &[Kind::Send, Kind::Deferral, Kind::SoftBounce]),
    Life::new(35, &[Kind::Send, Kind::HardBounce]),
    Life::new(10, &[Kind::Send, Kind::Delivered, Kind::Open, Kind::Spam]),
    Life::new(15, &[Kind::Send, Kind::Delivered, Kind::Open, Kind::Click, Kind::Unsub]),
    Life::new(35, &[Kind::Reject]),
    Life::new(40, &[Kind::Sync]),
    Life::new(40, &[Kind::Inbound]),
];

/// How many messages are on their way at once. A message's next event comes about this many events
/// later, so that a person who watches sees it happen.
const UNDER_WAY_MAX: usize = 40;

/// Events a second of their own clock: Mandrill's times have a grain of one second, and many share it.
const EVENTS_A_SECOND: u64 = 100;

/// An endless supply of events, in the order in which a webhook would report them.
#[derive(Debug)]
pub struct SyntheticEvents {
    random: StdRng,
    wanted: Vec<Kind>,
    lives: Vec<&'static Life>,
    under_way: Vec<(Message, &'static [Kind])>,
    start_unix: u64,
    written: u64,
}

impl fmt::Debug for Life {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(formatter)
    }
}

impl SyntheticEvents {
    /// Events of these kinds ([`Kind::MESSAGE`] where none is given), the first of them at `now_unix`.
    ///
    /// No two are the same bytes. For one version of this program the seed decides everything.
    #[must_use]
    pub fn new(seed: u64, kinds: &[Kind], now_unix: u64) -> SyntheticEvents {
        let wanted = if kinds.is_empty() { Kind::MESSAGE } else { kinds }.to_vec();
        SyntheticEvents {
            random: StdRng::seed_from_u64(seed),
            lives: LIVES.iter().filter(|life| life.steps.iter().any(|step| wanted.contains(step))).collect(),
            wanted,
            under_way: Vec::with_capacity(UNDER_WAY_MAX),
            start_unix: now_unix,
            written: 0,
        }
    }

    /// One step of one life, whether it is wanted or not.
    fn step(&mut self, ts: u64) -> Option<String> {
        // Below the number under way this picks one of them, above it starts another: the fewer there
        // are, the likelier a new one.
        let mut at = self.random.random_range(0..UNDER_WAY_MAX);
        if at >= self.under_way.len() {
            let life = self.lives.choose_weighted(&mut self.random, |life| life.weight).ok()?;
            at = self.under_way.len();
            self.under_way.push((Message::new(ts, &mut self.random), life.steps));
        }
        let (message, steps) = self.under_way.get_mut(at)?;
        let (&kind, rest) = steps.split_first()?;
        *steps = rest;
        let text = match kind {
            Kind::Sync => list::change(ts, &mut self.random),
            Kind::Inbound => inbound::event(ts, &mut self.random),
            _ => message.event(kind, ts, &mut self.random),
        };
        if rest.is_empty() {
            self.under_way.swap_remove(at);
        }
        self.wanted.contains(&kind).then_some(text)
    }
}

impl Iterator for SyntheticEvents {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let ts = self.start_unix + self.written / EVENTS_A_SECOND;
        self.written += 1;
        // Every life that is started holds a wanted kind, so one comes within a few steps a life.
        loop {
            if let Some(event) = self.step(ts) {
                return Some(event);
            }
        }
    }
}

/// JSON as PHP writes it: compact, with `/` as `\/`.
fn wire_json(value: &impl Serialize) -> String {
    // A slash stands only inside strings, and plain data cannot fail to serialise.
    serde_json::to_string(value).unwrap_or_default().replace('/', "\\/")
}

/// `2026-03-01 09:30:00`, as Mandrill's lists have it.
fn utc_text(unix: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix);
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests;
