//! Why a WebSocket session ends: the one table of close codes.
//!
//! **Owns** each code, its reason and what a client does next. The documents repeat this table, and
//! clients follow it by number, so a code never changes its meaning. Pure.

use std::fmt;
use std::time::Duration;

/// What a client does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Connect again, after a random moment, from the last cursor.
    Reconnect,
    /// Connect again, each time after a longer wait.
    Backoff,
    /// Connect again after the seconds the reason names.
    Wait,
    /// Connect again only with a new token.
    NewToken,
    /// Connect again only without `since`.
    WithoutSince,
    /// Do not connect again: the same would happen.
    Stop,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client said goodbye.
    Normal,
    /// This replica stops, or the session is old enough to move to another.
    GoingAway,
    /// The client does not speak WebSocket as RFC 6455 has it.
    Protocol,
    /// Binary messages mean nothing here.
    Unsupported,
    /// A text that is not UTF-8.
    InvalidText,
    /// Too many frames, or frames that ask for too much.
    Abuse,
    /// A message larger than a control message can be.
    TooLarge,
    /// Something failed here.
    Internal,
    /// No room: too many sessions, or too many that catch up.
    NoRoom {
        /// After how many seconds to try again.
        retry_seconds: u16,
    },
    /// The query or the filter cannot be used.
    BadRequest,
    /// A token is missing, bad or expired.
    Unauthorized,
    /// Not allowed, whoever asks: a page of another site, a filter beyond the token's.
    Forbidden,
    /// Events would be skipped: the client took too little for too long, or the stream lost them.
    TooSlow,
    /// The events after the client's cursor are gone.
    CursorGone,
}

/// One line of the table.
struct Line {
    code: u16,
    reason: &'static str,
    next: Next,
}

impl Close {
    /// Every reason, for documents and tests.
    pub const ALL: [Close; 14] = [
        Close::Normal,
        Close::GoingAway,
        Close::Protocol,
        Close::Unsupported,
        Close::InvalidText,
        Close::Abuse,
        Close::TooLarge,
        Close::Internal,
        Close::NoRoom { retry_seconds: 5 },
        Close::BadRequest,
        Close::Unauthorized,
        Close::Forbidden,
        Close::TooSlow,
        Close::CursorGone,
    ];

    const fn line(self) -> Line {
        let (code, reason, next) = match self {
            Close::Normal => (1000, "", Next::Stop),
            Close::GoingAway => (1001, "going away: connect again", Next::Reconnect),
            Close::Protocol => (1002, "not WebSocket as RFC 6455 has it", Next::Stop),
            Close::Unsupported => (1003, "only text messages mean anything here", Next::Stop),
            Close::InvalidText => (1007, "a text message that is not UTF-8", Next::Stop),
            Close::Abuse => (1008, "too many frames, or one that asks for too much", Next::Stop),
            Close::TooLarge => (1009, "a message of more than 4096 bytes", Next::Stop),
            Close::Internal => (1011, "something failed here: connect again", Next::Backoff),
            Close::NoRoom { .. } => (1013, "no room: connect again after some seconds", Next::Wait),
            Close::BadRequest => (4400, "the query or the filter cannot be used", Next::Stop),
            Close::Unauthorized => (4401, "a token is missing, bad or expired", Next::NewToken),
            Close::Forbidden => (4403, "not allowed", Next::Stop),
            Close::TooSlow => (4408, "events would be skipped: connect again from the last cursor", Next::Backoff),
            Close::CursorGone => {
                (4410, "the events after this cursor are gone: connect without `since`", Next::WithoutSince)
            }
        };
        Line { code, reason, next }
    }

    /// The code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.line().code
    }

    /// What a client does next.
    #[must_use]
    pub const fn next(self) -> Next {
        self.line().next
    }

    /// The reason, as the close frame holds it.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Close::NoRoom { retry_seconds } => format!("no room: connect again after {retry_seconds} s"),
            other => other.line().reason.to_owned(),
        }
    }

    /// When a program that is refused before the upgrade may come again.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Close::NoRoom { retry_seconds } => Some(Duration::from_secs(retry_seconds.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code(), self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_fits_a_close_frame_and_has_a_code_of_its_own() {
        let codes: BTreeSet<u16> = Close::ALL.iter().map(|close| close.code()).collect();
        assert_eq!(codes.len(), Close::ALL.len());
        for close in Close::ALL {
            assert!(close.reason().len() <= 123, "{close}");
            assert!(matches!(close.code(), 1000..=1003 | 1007..=1013 | 4400..=4499), "{close}");
        }
    }
}
