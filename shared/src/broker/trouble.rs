//! Why there is no connection, and what to do about it.
//!
//! **Owns** the words. The client tries on by itself whatever the reason: a password or a certificate may be
//! put right on the other side. Pure but for the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Server;

/// A reason that lasts is logged again after this long, not at each of four attempts a second.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// The reason why there is no connection now, if there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Said>>>);

#[derive(Debug)]
struct Said {
    what: String,
    at: Instant,
}

impl Trouble {
    /// Looks at how the last attempts ended.
    pub(super) fn note(&self, servers: &[Server]) {
        let Some(what) = of(servers) else { return };
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = said.as_ref().is_some_and(|said| said.what == what && said.at.elapsed() < SAID_AGAIN);
        if !known {
            tracing::error!("{what}");
            *said = Some(Said { what, at: Instant::now() });
        }
    }

    /// The connection stands.
    pub(super) fn is_over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|said| said.what.clone())
    }
}

fn of(servers: &[Server]) -> Option<String> {
    let failed = servers.iter().filter_map(|server| Some((server, server.last_error.as_deref()?)));
    let mut words: Vec<String> = failed
        .map(|(server, error)| {
            let (host, port) = (server.addr.host(), server.addr.port());
            format!("no connection to the broker at {host}:{port}: {}", in_words(error))
        })
        .collect();
    // The pool is shuffled: one order, so that the same trouble reads the same.
    words.sort_unstable();
    (!words.is_empty()).then(|| words.join("; "))
}

const UNKNOWN_AUTHORITY: &str =
    "its certificate is signed by an authority we do not know: set NATS_TLS_CA to a PEM file with that authority";
/// What the client or the broker says of each fault, and what helps. The first that fits counts.
const REMEDIES: [(&str, &str); 14] = [
    (
        "authorization violation",
        "it does not accept who we say we are: check NATS_USER and NATS_PASSWORD, NATS_NKEY, NATS_CREDS or \
         NATS_TLS_CERT (only one way, and known to this broker)",
    ),
    ("authentication expired", "its credentials have expired: renew NATS_CREDS"),
    ("authentication revoked", "its credentials were revoked: renew NATS_CREDS"),
    ("unknownissuer", UNKNOWN_AUTHORITY),
    // The authority was made anew under its old name.
    ("badsignature", UNKNOWN_AUTHORITY),
    (
        "not valid for name",
        "its certificate is for another name: use a name in NATS_URL that the certificate holds, or renew it",
    ),
    ("expired", "its certificate has expired, or a clock is wrong: renew the certificate"),
    ("not valid yet", "its certificate is not valid yet, or a clock is wrong"),
    (
        "certificaterequired",
        "it asks for a client certificate: set NATS_TLS_CERT and NATS_TLS_KEY to one that it trusts",
    ),
    (
        "received fatal alert",
        "it does not accept our certificate: NATS_TLS_CERT must be valid and signed by an authority that it trusts",
    ),
    ("invalidcontenttype", "it does not speak TLS, which NATS_TLS_CA, NATS_TLS_CERT or tls:// ask for"),
    ("connection refused", "nothing listens there: start it, or set NATS_URL to where it is"),
    ("dns error", "nobody knows this name: set NATS_URL to where it is"),
    ("platform certs", "this system has no certificates of authorities: set NATS_TLS_CA"),
];

fn in_words(error: &str) -> String {
    // The client's wrapper around what our own side said, about a secret's file.
    let error = error.replace("failed signing nonce: AuthError(", "cannot sign in (");
    let lower = error.to_ascii_lowercase();
    match REMEDIES.iter().find(|(sign, _)| lower.contains(sign)) {
        Some((_, remedy)) => format!("{remedy} ({error})"),
        None => error,
    }
}
