//! A message as Mandrill's events describe it, growing with what happens to it.

use std::net::Ipv4Addr;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

use super::visit::Visit;
use super::words::{self, pick};
use super::{Kind, wire_json};

/// `msg`, with its keys in the order in which Mandrill writes them.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    ts: u64,
    subject: String,
    email: String,
    tags: &'static [&'static str],
    // Mandrill leaves the next two and `reject` out of bounces.
    #[serde(skip_serializing_if = "Option::is_none")]
    opens: Option<Vec<Open>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clicks: Option<Vec<Click>>,
    state: &'static str,
    smtp_events: Vec<SmtpEvent>,
    subaccount: Option<&'static str>,
    resends: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    reject: Option<Option<Reject>>,
    _id: String,
    sender: &'static str,
    template: Option<&'static str>,
    metadata: Metadata,
    _version: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    bounce: Option<&'static Bounce>,
}

#[derive(Debug, Serialize)]
struct Open {
    ts: u64,
    ip: Ipv4Addr,
    location: String,
    ua: &'static str,
}

#[derive(Debug, Serialize)]
struct Click {
    ts: u64,
    url: String,
    ip: Ipv4Addr,
    location: String,
    ua: &'static str,
}

#[derive(Debug, Serialize)]
struct SmtpEvent {
    ts: u64,
    r#type: &'static str,
    diag: String,
    source_ip: Ipv4Addr,
    destination_ip: Ipv4Addr,
    size: u32,
}

#[derive(Debug, Serialize)]
struct Reject {
    reason: &'static str,
    last_event_at: String,
}

/// PHP writes an empty map as `[]`, and so does Mandrill.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Metadata {
    None([(); 0]),
    Order {
        user_id: u32,
        order_id: String,
        request_id: String,
        campaign: &'static str,
        locale: &'static str,
        segment: &'static str,
        website: &'static str,
    },
}

#[derive(Debug, Serialize)]
struct Bounce {
    diag: &'static str,
    bgtools_code: u32,
    bounce_description: &'static str,
}

const HARD_BOUNCES: [Bounce; 2] = [
    Bounce {
        diag: "smtp;550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's address for typos or unnecessary spaces.",
        bgtools_code: 10,
        bounce_description: "bad_mailbox",
    },
    Bounce {
        diag: "smtp;550 5.1.2 Host unknown: the domain of the address has no mail server",
        bgtools_code: 21,
        bounce_description: "invalid_domain",
    },
];
const SOFT_BOUNCES: [Bounce; 1] = [Bounce {
    diag: "smtp;552 5.2.2 The email account that you tried to reach is over quota and cannot receive messages.",
    bgtools_code: 22,
    bounce_description: "mailbox_full",
}];

/// The envelope, with its keys in Mandrill's order.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    _id: &'a str,
    msg: &'a Message,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    visit: Option<Visit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    ts: u64,
}

impl Message {
    /// One that was sent at `ts`.
    pub(super) fn new(ts: u64, random: &mut StdRng) -> Message {
        let number = random.random_range(10_000..10_000_000);
        Message {
            ts,
            subject: words::subject(number, random),
            email: words::address(random),
            tags: pick(&words::TAGS, random),
            opens: Some(Vec::new()),
            clicks: Some(Vec::new()),
            state: "sent",
            smtp_events: Vec::new(),
            subaccount: pick(&words::SUBACCOUNTS, random),
            resends: [],
            reject: Some(None),
            _id: words::hex_id(random),
            sender: pick(&words::SENDERS, random),
            template: pick(&words::TEMPLATES, random),
            metadata: Metadata::new(number, random),
            _version: words::version(random),
            bounce: None,
        }
    }

    /// Lets it happen at `ts` and writes the event that reports it.
    pub(super) fn event(&mut self, kind: Kind, ts: u64, random: &mut StdRng) -> String {
        let mut visit = None;
        let mut url = None;
        match kind {
            Kind::Deferral => {
                self.state = "deferred";
                self.smtp("deferred", ts, random);
            }
            Kind::Delivered => {
                self.state = "sent";
                self.smtp("sent", ts, random);
                self.smtp("delivered", ts, random);
            }
            Kind::HardBounce => self.bounced("bounced", &HARD_BOUNCES, ts, random),
            Kind::SoftBounce => self.bounced("soft-bounced", &SOFT_BOUNCES, ts, random),
            Kind::Open => {
                let (came, location, ua) = Visit::new(random);
                self.opens.get_or_insert_default().push(Open { ts, ip: came.ip, location, ua });
                visit = Some(came);
            }
            Kind::Click => {
                let (came, location, ua) = Visit::new(random);
                let link = self.link(random);
                let click = Click { ts, url: link.clone(), ip: came.ip, location, ua };
                self.clicks.get_or_insert_default().push(click);
                (visit, url) = (Some(came), Some(link));
            }
            Kind::Spam => self.state = "spam",
            Kind::Unsub => self.state = "unsub",
            Kind::Reject => {
                self.state = "rejected";
                let last_event_at = super::utc_text(ts.saturating_sub(random.random_range(1..90) * 86_400));
                self.reject = Some(Some(Reject { reason: "hard-bounce", last_event_at }));
            }
            // The last two are not a message's; they have modules of their own.
            Kind::Send | Kind::Sync | Kind::Inbound => {}
        }
        wire_json(&Event { event: kind.name(), _id: &self._id, msg: self, visit, url, ts })
    }

    fn smtp(&mut self, r#type: &'static str, ts: u64, random: &mut StdRng) {
        let diag = match r#type {
            "deferred" => "451 4.7.1 Greylisting in action, please come back in a few minutes".to_owned(),
            _ => format!("250 2.0.0 OK  {ts} {}.{} - mx", &self._version[..14], random.random_range(100..1000)),
        };
        self.smtp_events.push(SmtpEvent {
            ts,
            r#type,
            diag,
            source_ip: Ipv4Addr::new(198, 51, 100, random.random()),
            destination_ip: Ipv4Addr::new(203, 0, 113, random.random()),
            size: random.random_range(4_000..90_000),
        });
    }

    fn bounced(&mut self, state: &'static str, reasons: &'static [Bounce], ts: u64, random: &mut StdRng) {
        self.state = state;
        self.smtp("bounced", ts, random);
        self.bounce = reasons.get(random.random_range(0..reasons.len()));
        (self.opens, self.clicks, self.reject) = (None, None, None);
    }

    fn link(&self, random: &mut StdRng) -> String {
        let page = pick(&words::LINKS, random);
        format!("https://shop.example.com/{page}?id={}&utm_source=mail&utm_medium=email", &self._id[..12])
    }
}

impl Metadata {
    fn new(number: u32, random: &mut StdRng) -> Metadata {
        if random.random_ratio(1, 12) {
            return Metadata::None([]);
        }
        Metadata::Order {
            user_id: random.random_range(1..500_000),
            order_id: format!("A-{number}"),
            request_id: words::uuid(random),
            campaign: pick(&words::CAMPAIGNS, random),
            locale: pick(&words::LOCALES, random),
            segment: pick(&["returning-customer", "first-order", "newsletter-only"], random),
            website: "https://shop.example.com/",
        }
    }
}
