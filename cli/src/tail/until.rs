//! The event that is waited for.
//!
//! **Owns** the comparison of one event with conditions of the form `name=value`, as the service's filters
//! compare. Pure.

use std::str::FromStr;

use serde_json::Value;
use shared::event;
use shared::subject::{self, RecipientHash, normal_address};

/// `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Condition {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Condition, &'static str> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Condition { name: name.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err("write NAME=VALUE"),
        }
    }
}

/// Whether all conditions hold for an event.
pub(super) fn all_hold(conditions: &[Condition], event: &str) -> bool {
    conditions.iter().all(|condition| holds(condition, event))
}

fn holds(Condition { name, value }: &Condition, text: &str) -> bool {
    let fields = event::fields(text);
    let is = |field: &Option<std::borrow::Cow<'_, str>>| field.as_deref() == Some(value);
    match name.as_str() {
        "event" => subject::kind(&fields) == *value || is(&fields.event),
        "email" => {
            let wanted = RecipientHash::parse(value).unwrap_or_else(|| RecipientHash::of(value));
            fields.email.as_deref().map(RecipientHash::of) == Some(wanted)
        }
        "sender" => fields.sender.as_deref().map(normal_address) == Some(normal_address(value)),
        "subaccount" => is(&fields.subaccount),
        "template" => is(&fields.template),
        "message" => is(&fields.message),
        "tag" => {
            let tags: Vec<Value> = parse(fields.tags.as_deref());
            tags.iter().any(|tag| tag.as_str() == Some(value))
        }
        _ => match name.strip_prefix("metadata.") {
            Some(key) => {
                let metadata: Value = parse(fields.metadata.as_deref());
                metadata.get(key).is_some_and(|found| match found.as_str() {
                    Some(text) => text == value,
                    // What is no string is compared by its JSON text.
                    None => serde_json::to_string(found).is_ok_and(|text| text == *value),
                })
            }
            None => false,
        },
    }
}

fn parse<T: serde::de::DeserializeOwned + Default>(json: Option<&str>) -> T {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_as_the_services_filters_do() {
        let event = r#"{"event":"delivered","_id":"m1","msg":{"email":"Ann@Example.com","sender":"Shop@example.com",
            "tags":["a"],"subaccount":"s","template":"t","metadata":{"order":17,"user":"u"}}}"#;
        let check = |condition: &str, expected: bool| {
            assert_eq!(all_hold(&[condition.parse().expect("a condition")], event), expected, "{condition}");
        };
        for held in [
            "event=delivered",
            "message=m1",
            "email=ann@example.com",
            "sender=shop@example.com",
            "tag=a",
            "subaccount=s",
            "template=t",
            "metadata.order=17",
            "metadata.user=u",
        ] {
            check(held, true);
        }
        for not in ["event=open", "email=bob@example.com", "tag=b", "metadata.order=1", "colour=red"] {
            check(not, false);
        }
        assert!(!all_hold(&["event=delivered", "tag=b"].map(|text| text.parse().expect("a condition")), event));
        assert!("event".parse::<Condition>().is_err() && "=x".parse::<Condition>().is_err());
    }
}
