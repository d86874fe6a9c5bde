//! The events of the bench: of the size and shape of Mandrill's, with the moment they were made.

use std::time::{SystemTime, UNIX_EPOCH};

/// What precedes the moment in an event's text; it stands nowhere else.
pub(crate) const MARK: &[u8] = b"\"bench_us\":";
/// The digits of the moment, in microseconds since 1970.
pub(crate) const DIGITS: usize = 16;
/// A usual event's size.
const EVENT_BYTES: usize = 1200;

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_micros()).expect("a clock before the year 500000")
}

/// Tags that events have in turn.
pub(crate) const SERIES: u64 = 7;

/// An event to one of many people, made now.
pub(crate) fn event(number: u64) -> String {
    event_of(number, now_us())
}

/// The same, of another moment.
pub(crate) fn event_of(number: u64, moment_us: u64) -> String {
    let mut text = format!(
        r#"{{"event":"open","bench_us":{:016},"_id":"{number:032x}","msg":{{"ts":1760000000,"subject":"Welcome to the shop","email":"user{}@example.com","sender":"shop@example.com","tags":["welcome","series-{}"],"metadata":{{"order":{number},"user":"u{}"}},"state":"sent","subaccount":"main","template":"welcome","opens":[{{"ts":1760000001,"ip":"192.0.2.1","location":"Anytown, Example","ua":"Mail/1.0"}}],"clicks":[]}},"user_agent":""#,
        moment_us,
        number % 1_000_000,
        number % SERIES,
        number % 1000,
    );
    while text.len() < EVENT_BYTES - 2 {
        text.push_str("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 ");
    }
    text.truncate(EVENT_BYTES - 2);
    text.push_str("\"}");
    text
}

/// The subject it is stored under.
pub(crate) fn subject(number: u64) -> String {
    format!("mandrill.events.open.{:016x}.{number:032x}", number % 1_000_000)
}
