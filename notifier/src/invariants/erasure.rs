//! Whom somebody asks to erase.

use serde_json::{Map, Value};
use shared::subject::RecipientHash;

use crate::api::erasures::asked;
use crate::params::IN_PATH_LENGTH_MAX;

/// A body names the one person whose address or hash stands in it, under the one name there is, or is refused.
pub fn erasure(input: &[u8]) {
    let object: Option<Map<String, Value>> = serde_json::from_slice(input).ok();
    let email = object.as_ref().filter(|object| object.len() == 1).and_then(|object| object.get("email"));
    let plainly = email.and_then(Value::as_str).and_then(|email| match RecipientHash::parse(email) {
        None if email.contains('@') && email.chars().count() <= IN_PATH_LENGTH_MAX => {
            Some(RecipientHash::of(&email.to_lowercase()))
        }
        hash => hash,
    });
    let text = String::from_utf8_lossy(input);
    match asked(input) {
        Ok(recipient) => assert_eq!(Some(recipient), plainly, "{text}"),
        // What stands twice may have been meant either way; names may be written with escapes.
        Err(_) => assert!(plainly.is_none() || text.matches("email").count() > 1 || text.contains("\\u"), "{text}"),
    }
}
