//! Events sent on to another receiver, as Mandrill would send them.
//!
//! **Owns** the shape of such a request: one event a batch, its bytes as Mandrill sent them. What the
//! receiver does not take is said and not sent again.

use hyper::Uri;
use shared::synthetic::{Request, Signing};

use crate::send::hook::Hook;
use shared::client::Unusable;

/// Where events go.
pub(super) struct Forward {
    hook: Hook,
    url: String,
    key: Option<String>,
}

impl Forward {
    pub(super) fn new(url: Uri, key: Option<String>) -> Result<Forward, Unusable> {
        Ok(Forward { url: url.to_string(), hook: Hook::new(url)?, key })
    }

    /// Posts one event.
    pub(super) async fn post(&self, event: &str) {
        let signing = self.key.as_deref().map(|key| Signing { key, url: &self.url });
        if let Err(refusal) = self.hook.post(Request::new(&[as_sent(event)], signing)).await
            && !refusal.what.starts_with("200 ")
        {
            eprintln!("-- not taken by {}: {} {}", self.url, refusal.what, refusal.detail);
        }
    }
}

/// Mandrill's own text: without the two fields in front.
fn as_sent(event: &str) -> String {
    let own = || {
        let rest = event.strip_prefix(r#"{"_cursor":""#)?;
        let (_, rest) = rest.split_once(r#"","_received":"#)?;
        let members = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        Some(format!("{{{}", members.strip_prefix(',').unwrap_or(members)))
    };
    own().unwrap_or_else(|| event.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_in_front_are_taken_off_and_nothing_else() {
        let check = |event: &str, expected: &str| assert_eq!(as_sent(event), expected);
        check(r#"{"_cursor":"abc","_received":123,"event":"open", "x":1}"#, r#"{"event":"open", "x":1}"#);
        check(r#"{"_cursor":"abc","_received":123}"#, "{}");
        check(r#"{"event":"open"}"#, r#"{"event":"open"}"#);
    }
}
