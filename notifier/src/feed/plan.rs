//! Where the feed begins reading, and what was lost.
//!
//! **Owns** the comparison of what this replica has read with what the stream says of itself. Pure.

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::State;
use shared::cursor::Epoch;

use crate::chunk::Place;
use crate::ring::GapReason;

/// How far the feed has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Epoch,
    pub(crate) place: Place,
}

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plan {
    /// Nothing was read yet: begin at this sequence and fill the ring.
    Fill { from: u64 },
    /// Go on after the last event. Reading begins *at* it, so that a stream whose sequences were used
    /// again is noticed by the time that event was stored.
    Continue { after: Place },
    /// The stream dropped events that were not read: go on with the oldest it has.
    Lost { from: u64 },
    /// The stream is another one, or an earlier state of this one: its sequences mean something else. Go
    /// on with what was stored after the last event, by the clock.
    Anew { after: Place },
}

impl Plan {
    pub(crate) fn new(read: Option<Position>, epoch: Epoch, state: &State, ring_bytes: usize) -> Plan {
        match read {
            None => Plan::Fill { from: fill_from(state, ring_bytes) },
            Some(read) if read.epoch != epoch || state.last_sequence < read.place.sequence => {
                Plan::Anew { after: read.place }
            }
            Some(read) if state.first_sequence > read.place.sequence + 1 => Plan::Lost { from: state.first_sequence },
            Some(read) => Plan::Continue { after: read.place },
        }
    }

    /// Which gap everybody who reads on has to be told of.
    pub(crate) fn gap(&self) -> Option<GapReason> {
        match self {
            Plan::Fill { .. } | Plan::Continue { .. } => None,
            Plan::Lost { .. } => Some(GapReason::Retention),
            Plan::Anew { .. } => Some(GapReason::Epoch),
        }
    }

    /// Up to where the consumer may begin to read; `last` is the stream's last sequence at the time of the plan. One
    /// that begins later passes over what nobody has read: the stream dropped it since, or was emptied.
    pub(crate) fn passes_over(&self, last: u64) -> u64 {
        match self {
            Plan::Continue { after } => after.sequence,
            Plan::Fill { .. } | Plan::Lost { .. } | Plan::Anew { .. } => last,
        }
    }

    /// The consumer's start.
    pub(crate) fn deliver_policy(&self) -> DeliverPolicy {
        match *self {
            Plan::Fill { from } | Plan::Lost { from } => by_sequence(from),
            Plan::Continue { after } => by_sequence(after.sequence),
            Plan::Anew { after } => match start_time(after.stored_ms) {
                Some(start_time) => DeliverPolicy::ByStartTime { start_time },
                None => DeliverPolicy::All,
            },
        }
    }
}

fn by_sequence(start_sequence: u64) -> DeliverPolicy {
    match start_sequence {
        0 => DeliverPolicy::All,
        start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
    }
}

fn start_time(stored_ms: u64) -> Option<async_nats::datetime::DateTime> {
    let next = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(stored_ms.checked_add(1)?))?;
    (stored_ms > 0).then(|| next.into())
}

/// From where the ring is filled, by the mean size of what is stored. Too far back costs a little time,
/// too near a little history; the ring keeps its bound in either case.
fn fill_from(state: &State, ring_bytes: usize) -> u64 {
    let Some(mean) = state.bytes.checked_div(state.messages) else { return state.last_sequence + 1 };
    let wanted = ring_bytes as u64 / mean.max(1);
    (state.last_sequence + 1).saturating_sub(wanted).max(state.first_sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(first: u64, last: u64, messages: u64) -> State {
        let text = serde_json::json!({
            "messages": messages, "bytes": messages * 1000, "consumer_count": 0,
            "first_seq": first, "first_ts": "2026-01-01T00:00:00Z",
            "last_seq": last, "last_ts": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(text).expect("a state")
    }

    #[test]
    fn what_follows_from_what_was_read_and_what_there_is() {
        let (epoch, other) = (Epoch::random(), Epoch::random());
        let place = Place { sequence: 50, stored_ms: 7 };
        let read = Some(Position { epoch, place });
        let check = |read: Option<Position>, now: Epoch, state: State, expected: Plan| {
            assert_eq!(Plan::new(read, now, &state, 10_000), expected, "{state:?}");
        };
        check(None, epoch, state(1, 0, 0), Plan::Fill { from: 1 });
        check(None, epoch, state(101, 100, 0), Plan::Fill { from: 101 });
        check(None, epoch, state(1, 100, 100), Plan::Fill { from: 91 });
        check(None, epoch, state(97, 100, 4), Plan::Fill { from: 97 });
        check(read, epoch, state(1, 50, 50), Plan::Continue { after: place });
        check(read, epoch, state(1, 80, 80), Plan::Continue { after: place });
        check(read, epoch, state(51, 50, 0), Plan::Continue { after: place });
        check(read, epoch, state(52, 80, 29), Plan::Lost { from: 52 });
        check(read, epoch, state(1, 49, 49), Plan::Anew { after: place });
        check(read, other, state(1, 80, 80), Plan::Anew { after: place });
    }

    #[test]
    fn a_consumer_that_begins_later_than_planned_passes_over_what_nobody_has_read() {
        let after = Place { sequence: 50, stored_ms: 7 };
        assert_eq!(Plan::Continue { after }.passes_over(80), 50);
        assert_eq!(Plan::Lost { from: 70 }.passes_over(80), 80);
        assert_eq!(Plan::Anew { after }.passes_over(80), 80);
    }
}
