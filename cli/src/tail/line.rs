//! An event as a line for people.
//!
//! **Owns** its columns and colours. Pure. What an event holds is anybody's text: nothing of it reaches the
//! terminal as anything but letters.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use shared::{event, subject};

use crate::terminal::plain;

/// How lines look.
pub(super) struct Style {
    pub(super) colour: bool,
}

const EVENT_WIDTH: usize = 12;
const STATE_WIDTH: usize = 12;
const EMAIL_WIDTH: usize = 32;

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What is said about the connection.
    pub(super) fn notice(&self, text: &str) -> String {
        self.paint("2", &format!("-- {}", plain(text)))
    }
}

/// The line of an event.
pub(super) fn of(text: &str, style: &Style) -> String {
    let fields = event::fields(text);
    let whole: Value = serde_json::from_str(text).unwrap_or_default();
    let kind = subject::kind(&fields);
    let state = whole.pointer("/msg/state").and_then(Value::as_str).unwrap_or("-");
    let subject_line = whole.pointer("/msg/subject").and_then(Value::as_str).unwrap_or_default();
    let line = [
        style.paint("2", &time(whole.get("_received").and_then(Value::as_u64))),
        style.paint(colour(&kind), &column(&kind, EVENT_WIDTH)),
        column(state, STATE_WIDTH),
        column(fields.email.as_deref().unwrap_or("-"), EMAIL_WIDTH),
        plain(fields.message.as_deref().unwrap_or("-")),
        style.paint("2", &plain(subject_line)),
    ];
    line.join("  ").trim_end().to_owned()
}

fn colour(kind: &str) -> &'static str {
    match kind {
        "delivered" | "open" | "click" => "32",
        "send" => "36",
        "deferral" | "soft_bounce" | "unsub" => "33",
        "hard_bounce" | "spam" | "reject" => "31",
        _ => "35",
    }
}

/// The time of day, in UTC.
fn time(received_ms: Option<u64>) -> String {
    let Some(received_ms) = received_ms else { return " ".repeat(12) };
    let text = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(received_ms)).to_string();
    text.get(11..23).unwrap_or_default().to_owned()
}

/// Filled or cut to a width, in characters.
fn column(text: &str, width: usize) -> String {
    let text = plain(text);
    match text.chars().count() {
        long if long > width => text.chars().take(width - 1).chain(['…']).collect(),
        short => text + &" ".repeat(width - short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_of_aligned_columns() {
        let check = |event: &str, expected: &str| assert_eq!(of(event, &Style { colour: false }), expected);
        check(
            r#"{"_received":1760000000123,"event":"open","_id":"m1","msg":{"email":"a@example.com","state":"sent","subject":"Hi"}}"#,
            "08:53:20.123  open          sent          a@example.com                     m1  Hi",
        );
        check(
            r#"{"type":"blacklist","action":"add","reject":{"email":"an-address-that-is-too-long@example.com"}}"#,
            "              sync_blackl…  -             an-address-that-is-too-long@exa…  -",
        );
    }

    #[test]
    fn nothing_in_an_event_reaches_the_terminal_as_a_command() {
        let event = r#"{"event":"open","_id":"\u001b[2J","msg":{"email":"a\u009b31m\r\n","subject":"\u0007"}}"#;
        assert!(!of(event, &Style { colour: false }).chars().any(char::is_control));
    }
}
