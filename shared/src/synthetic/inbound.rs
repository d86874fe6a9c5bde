//! Inbound events: mail that Mandrill took in for a domain of ours.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

use super::words::{self, pick};
use super::{utc_text, wire_json};

#[derive(Serialize)]
struct Event {
    event: &'static str,
    ts: u64,
    msg: Inbound,
}

#[derive(Serialize)]
struct Inbound {
    raw_msg: String,
    headers: BTreeMap<&'static str, String>,
    text: String,
    text_flowed: bool,
    from_email: String,
    from_name: Option<&'static str>,
    to: [(&'static str, Option<&'static str>); 1],
    subject: String,
    spam_report: SpamReport,
    dkim: Dkim,
    spf: Spf,
    email: &'static str,
    tags: [(); 0],
    sender: Option<()>,
    template: Option<()>,
}

#[derive(Serialize)]
struct SpamReport {
    score: f64,
    matched_rules: [Rule; 1],
}

#[derive(Serialize)]
struct Rule {
    name: &'static str,
    score: f64,
    description: &'static str,
}

#[derive(Serialize)]
struct Dkim {
    signed: bool,
    valid: bool,
}

#[derive(Serialize)]
struct Spf {
    result: &'static str,
    detail: &'static str,
}

const MAILBOXES: [&str; 2] = ["support@inbound.example.com", "sales@inbound.example.com"];

/// A short letter that came in at `ts`.
pub(super) fn event(ts: u64, random: &mut StdRng) -> String {
    let from_email = words::address(random);
    let mailbox = pick(&MAILBOXES, random);
    let subject = words::subject(random.random_range(1_000..1_000_000), random);
    let message_id = format!("<{}@mail.example.com>", words::hex_id(random));
    let text = format!("Hello,\n\nthis is about \"{subject}\". Could you have a look, please?\n\nThank you\n");
    let headers = BTreeMap::from([
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Date", utc_text(ts)),
        ("From", from_email.clone()),
        ("Message-Id", message_id),
        ("Mime-Version", "1.0".to_owned()),
        ("Subject", subject.clone()),
        ("To", mailbox.to_owned()),
    ]);
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    wire_json(&Event {
        event: "inbound",
        ts,
        msg: Inbound {
            raw_msg: format!("{head}\n{text}"),
            headers,
            text,
            text_flowed: false,
            from_email,
            from_name: None,
            to: [(mailbox, None)],
            subject,
            spam_report: SpamReport {
                score: 0.3,
                matched_rules: [Rule { name: "RDNS_NONE", score: 0.3, description: "No reverse DNS of the sender" }],
            },
            dkim: Dkim { signed: true, valid: true },
            spf: Spf { result: "pass", detail: "sender SPF authorized" },
            email: mailbox,
            tags: [],
            sender: None,
            template: None,
        },
    })
}
