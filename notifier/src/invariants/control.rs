//! What a client of the subprotocol says.

use serde_json::{Map, Value};

use super::wanted::{self, is_meant, is_usable};
use crate::control::{self, Asked};
use crate::filter::FilterBuilder;

/// A message is a token, a filter, or refused in words; a filter is what its names and values say.
pub fn control(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let plainly = serde_json::from_str::<Map<String, Value>>(text).ok();
    let name = plainly.as_ref().and_then(|message| message.get("_control")).and_then(Value::as_str);
    let rest = || {
        let mut rest = plainly.clone().unwrap_or_default();
        rest.remove("_control");
        rest
    };
    match control::read(text) {
        Ok(Asked::Token { token }) => {
            assert_eq!(name, Some("token"), "{text}");
            assert_eq!(rest().get("token").and_then(Value::as_str), Some(token.0.as_str()), "{text}");
        }
        Ok(Asked::Filter(asked)) => {
            assert_eq!(name, Some("filter"), "{text}");
            assert_eq!(asked, rest(), "{text}");
            let plainly = wanted::of_json(&asked).filter(is_usable);
            match (FilterBuilder::from_json(&asked), plainly) {
                (Ok(builder), Some(plainly)) => is_meant(builder.build().as_ref(), &plainly),
                (Err(_), None) => {}
                (read, plainly) => panic!("{read:?}, and plainly {plainly:?}: {text}"),
            }
        }
        Err(why) => {
            assert!(!why.is_empty());
            let is_token = name == Some("token") && rest().get("token").is_some_and(Value::is_string);
            // What stands twice may have been meant either way.
            assert!(!(is_token || name == Some("filter")) || is_twice(text), "{why}: {text}");
        }
    }
}

/// Whether the name of the message, or the token, may stand twice.
fn is_twice(text: &str) -> bool {
    ["_control", "token"].iter().any(|name| text.matches(name).count() > 1) || text.contains("\\u")
}
