//! What ingest says of itself to whoever watches: when the last batch came, and why the last refusal.
//!
//! **Owns** the status message on core NATS (`mandrill.status.ingest`). It holds no key, no signature, no
//! address and no content. It is how the page can show why nothing arrives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use shared::broker::Broker;
use shared::subject;
use shared::vital::vital;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Refusal;

/// Between two messages.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// One replica's state, as it is published. Times are milliseconds since 1970.
#[derive(Debug, Clone, Serialize)]
struct State {
    replica: String,
    started_ms: u64,
    at_ms: u64,
    /// `signed`, `unsigned`, or `no-key` while none is configured.
    authentication: &'static str,
    urls: Vec<String>,
    last_batch_ms: Option<u64>,
    requests: BTreeMap<&'static str, u64>,
    events: u64,
    duplicates: u64,
    rejected: u64,
    last_refusal: Option<LastRefusal>,
}

#[derive(Debug, Clone, Serialize)]
struct LastRefusal {
    at_ms: u64,
    name: &'static str,
    detail: String,
    hint: Option<&'static str>,
}

/// The state, shared by all requests.
#[derive(Debug, Clone)]
pub struct Status(Arc<Mutex<State>>);

impl Status {
    /// Of a replica that has just started.
    #[must_use]
    pub fn new(urls: &[String]) -> Status {
        Status(Arc::new(Mutex::new(State {
            replica: nuid::next().to_string(),
            started_ms: now_ms(),
            at_ms: 0,
            authentication: "signed",
            urls: urls.iter().map(|url| without_credentials(url)).collect(),
            last_batch_ms: None,
            requests: BTreeMap::new(),
            events: 0,
            duplicates: 0,
            rejected: 0,
            last_refusal: None,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // The state holds plain values: a panic elsewhere cannot have left it half changed.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A request was answered 200.
    pub fn accepted(&self, stored: usize, duplicates: usize, rejected: usize) {
        self.change(|state| {
            *state.requests.entry("accepted").or_default() += 1;
            state.last_batch_ms = Some(now_ms());
            state.events += stored as u64;
            state.duplicates += duplicates as u64;
            state.rejected += rejected as u64;
        });
    }

    /// A request was refused.
    pub fn refused(&self, refusal: &Refusal, name: &'static str, hint: Option<&'static str>) {
        self.change(|state| {
            *state.requests.entry(name).or_default() += 1;
            state.last_refusal = Some(LastRefusal { at_ms: now_ms(), name, detail: refusal.to_string(), hint });
        });
    }

    /// Publishes it for as long as anything else of this replica lives.
    pub fn publish(&self, broker: Broker, authentication: impl Fn() -> &'static str + Send + 'static) {
        let state = Arc::downgrade(&self.0);
        tokio::spawn(vital("telling the status", async move {
            let mut ticks = interval(STATUS_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(state) = state.upgrade() else { return };
                let message = {
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    state.at_ms = now_ms();
                    state.authentication = authentication();
                    serde_json::to_vec(&*state).unwrap_or_default()
                };
                // While the broker is away there is nobody to tell; the next one will do.
                if broker.is_connected() {
                    let _ = broker.client().publish(subject::STATUS_INGEST, message.into()).await;
                }
            }
        }));
    }
}

/// A URL as it may be shown: Mandrill's URLs may hold `user:password@`.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..host_end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{}", &rest[host_end..]),
        None => url.to_owned(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_urls_password_is_not_shown() {
        assert_eq!(without_credentials("https://hook:s3cret@a.b/c?d@e"), "https://…@a.b/c?d@e");
        assert_eq!(without_credentials("https://a.b/c?x=d@e"), "https://a.b/c?x=d@e");
    }
}
