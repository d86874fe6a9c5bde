//! Tombstones as they stand in the stream.
//!
//! **Owns** their form, and the reading of all there are before anything else is read. A tombstone's subject says
//! whose events are erased: those stored before it, or, where it was applied again after a restore, those that it
//! covered at first; its payload says so.

use async_nats::{Client, jetstream};
use serde::{Deserialize, Serialize};
use shared::subject::{self, RecipientHash};
use tokio::time::timeout;

use super::consumer::{Consumer, Next};
use super::{Fault, OPEN_TIMEOUT};
use crate::chunk::Place;
use crate::erased::Tombstone;
use crate::storage::jetstream::first_from;

/// One as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) tombstone: Tombstone,
    /// When the person was erased at first, in milliseconds since 1970.
    pub(crate) erased_ms: u64,
}

/// What a tombstone says beside its subject.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Payload {
    /// The last sequence it covers, where that is not the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<u64>,
    /// When the person was erased at first, where that is not when it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    erased_ms: Option<u64>,
}

/// The payload of a tombstone of now.
pub(crate) fn of_now() -> Vec<u8> {
    payload(&Payload::default())
}

/// The payload of one that is applied again.
pub(crate) fn again(through: u64, erased_ms: u64) -> Vec<u8> {
    payload(&Payload { through: Some(through), erased_ms: Some(erased_ms) })
}

fn payload(payload: &Payload) -> Vec<u8> {
    // Plain data cannot fail to serialise.
    serde_json::to_vec(payload).unwrap_or_default()
}

/// Reads one; nothing where it is none. A payload that cannot be read takes nothing away from what it covers.
pub(crate) fn of(subject: &str, payload: &[u8], place: Place) -> Option<Read> {
    let recipient = subject::erased_under(subject)?;
    Some(read_payload(recipient, payload, place))
}

fn read_payload(recipient: RecipientHash, payload: &[u8], place: Place) -> Read {
    let Payload { through, erased_ms } = serde_json::from_slice(payload).unwrap_or_default();
    let before = place.sequence.saturating_sub(1);
    let through = through.map_or(before, |through| through.min(before));
    Read { tombstone: Tombstone { recipient, place, through }, erased_ms: erased_ms.unwrap_or(place.stored_ms) }
}

/// The newest of each person, in no order: all of those up to a sequence, and perhaps later ones.
///
/// # Errors
/// Where the broker does not tell of all of them.
pub(crate) async fn read(
    client: &Client,
    context: &jetstream::Context,
    stream: &str,
    through: u64,
) -> Result<Vec<Read>, Fault> {
    let consumer = Consumer::of_newest(client, context, stream, subject::ERASURES_ALL);
    let mut consumer = timeout(OPEN_TIMEOUT, consumer).await.map_err(|_| Fault::NoAnswer)??;
    let (mut left, mut all) = (consumer.pending(), Vec::new());
    while left > 0 {
        match consumer.next().await? {
            Next::Stored(stored) => {
                left = stored.delivery.pending;
                all.extend(of(&stored.message.subject, &stored.message.payload, stored.delivery.place));
            }
            // Those that were left have expired meanwhile.
            Next::Idle => left = 0,
            Next::Quiet => {}
        }
    }
    // The consumer reads the copy of the server it is on, which may be behind the leader's.
    let newest = all.iter().map(|read| read.tombstone.place.sequence).max().unwrap_or_default();
    let next = first_from(context, stream, subject::ERASURES_ALL, newest + 1).await.map_err(|_| Fault::NoAnswer)?;
    if next.is_some_and(|sequence| sequence <= through) { Err(Fault::Behind) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_covers_what_was_stored_before_it_or_what_it_covered_at_first() {
        let recipient = RecipientHash::of("ann@example.com");
        let place = Place { sequence: 50, stored_ms: 7000 };
        let read = |payload: &[u8]| {
            let read = of(&subject::of_erasure(recipient), payload, place).expect("a tombstone");
            assert_eq!((read.tombstone.recipient, read.tombstone.place), (recipient, place));
            (read.tombstone.through, read.erased_ms)
        };
        assert_eq!(read(&of_now()), (49, 7000));
        assert_eq!(read(&again(20, 5000)), (20, 5000));
        assert_eq!(read(&again(90, 5000)), (49, 5000));
        for odd in [&b""[..], b"[]", b"\xff", br#"{"through":"x"}"#] {
            assert_eq!(read(odd), (49, 7000));
        }
        for other in ["mandrill.erasures.x", "mandrill.events.open.a.b", "mandrill.erasures.0123456789abcdef.x"] {
            assert_eq!(of(other, b"{}", place), None, "{other}");
        }
    }
}
