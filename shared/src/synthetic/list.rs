//! Sync events: changes of Mandrill's deny list (`blacklist`) and allow list (`whitelist`).

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

use super::words::{self, pick};
use super::{utc_text, wire_json};

#[derive(Serialize)]
struct Change {
    r#type: &'static str,
    action: &'static str,
    #[serde(flatten)]
    subject: Subject,
    ts: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Subject {
    Reject {
        reason: &'static str,
        detail: Option<&'static str>,
        last_event_at: String,
        email: String,
        created_at: String,
        expires_at: Option<String>,
        expired: bool,
        subaccount: Option<&'static str>,
        sender: Option<&'static str>,
    },
    Entry {
        email: String,
        detail: &'static str,
        created_at: String,
    },
}

const DAY_SECONDS: u64 = 86_400;

/// One change at `ts`.
pub(super) fn change(ts: u64, random: &mut StdRng) -> String {
    let email = words::address(random);
    // To the second: two changes of one address do not look alike.
    let created_at = utc_text(ts.saturating_sub(random.random_range(0..90 * DAY_SECONDS)));
    let change = if random.random_ratio(2, 3) {
        let bounced = random.random_bool(0.7);
        let subject = Subject::Reject {
            reason: if bounced { "hard-bounce" } else { "custom" },
            detail: bounced.then_some("550 5.1.1 mailbox does not exist"),
            last_event_at: utc_text(ts),
            email,
            created_at,
            expires_at: bounced.then(|| utc_text(ts + 90 * DAY_SECONDS)),
            expired: false,
            subaccount: pick(&words::SUBACCOUNTS, random),
            sender: bounced.then(|| pick(&words::SENDERS, random)),
        };
        Change { r#type: "blacklist", action: pick(&["add", "change", "remove"], random), subject, ts }
    } else {
        let subject = Subject::Entry { email, detail: "added by support", created_at };
        Change { r#type: "whitelist", action: pick(&["add", "remove"], random), subject, ts }
    };
    wire_json(&change)
}
