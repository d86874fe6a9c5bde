//! What a push consumer's messages say.
//!
//! **Owns** the reading of JetStream's reply subjects and of its flow-control and heartbeat messages.
//! Pure: what follows from them is decided in the feed.

use async_nats::{HeaderMap, Message, StatusCode, Subject};

use crate::chunk::Place;

/// The header of a heartbeat that is sent while the consumer waits for a flow-control answer.
const CONSUMER_STALLED: &str = "Nats-Consumer-Stalled";

/// One message, as far as the feed cares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A stored message.
    Stored(Delivery),
    /// The consumer wants to be told that messages up to here have arrived.
    FlowControl { answer_to: Subject },
    /// Nothing to send; the consumer is alive.
    Heartbeat { last_delivery: Option<u64>, stalled: Option<Subject> },
    /// Nothing this service knows.
    Unknown,
}

/// Which message of the stream this is, and which of the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) place: Place,
    /// Counts up from 1 by one: a hole is a lost message.
    pub(crate) delivery: u64,
    /// Messages of the stream that are still to come.
    pub(crate) pending: u64,
}

/// Reads a message.
pub(crate) fn read(message: &Message) -> Received {
    match message.status {
        None => message.reply.as_deref().and_then(delivery).map_or(Received::Unknown, Received::Stored),
        Some(StatusCode::IDLE_HEARTBEAT) => match &message.reply {
            Some(reply) => Received::FlowControl { answer_to: reply.clone() },
            None => Received::Heartbeat {
                last_delivery: header(message.headers.as_ref(), async_nats::header::NATS_LAST_CONSUMER.as_ref())
                    .and_then(|text| text.parse().ok()),
                stalled: header(message.headers.as_ref(), CONSUMER_STALLED).map(Subject::from),
            },
        },
        Some(_) => Received::Unknown,
    }
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(|value| value.as_str())
}

/// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the
/// longer form that has domain and account in front and a token at the end.
fn delivery(reply: &str) -> Option<Delivery> {
    let tokens = reply.strip_prefix("$JS.ACK.")?;
    let front = match tokens.split('.').count() {
        7 => 0,
        9.. => 2,
        _ => return None,
    };
    let mut numbers = tokens.split('.').skip(front + 3).map(|token| token.parse::<u64>().ok());
    let mut number = || numbers.next().flatten();
    let (sequence, delivery, stored_ns, pending) = (number()?, number()?, number()?, number()?);
    Some(Delivery { place: Place { sequence, stored_ms: stored_ns / 1_000_000 }, delivery, pending })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let expected =
            Delivery { place: Place { sequence: 42, stored_ms: 1_700_000_000_123 }, delivery: 7, pending: 3 };
        let check = |reply: &str| assert_eq!(delivery(reply), Some(expected), "{reply}");
        check("$JS.ACK.MANDRILL.feed.1.42.7.1700000000123456789.3");
        check("$JS.ACK.hub.ACCOUNT.MANDRILL.feed.1.42.7.1700000000123456789.3");
        check("$JS.ACK.hub.ACCOUNT.MANDRILL.feed.1.42.7.1700000000123456789.3.random");
    }

    #[test]
    fn another_reply_subject_is_no_delivery() {
        for reply in ["", "_INBOX.x", "$JS.ACK.a.b", "$JS.ACK.M.c.1.x.7.1.3", "$JS.FC.M.c.1"] {
            assert_eq!(delivery(reply), None, "{reply}");
        }
    }
}
