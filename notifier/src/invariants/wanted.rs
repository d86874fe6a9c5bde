//! What a filter means, said plainly: text beside text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::event::fields;
use shared::subject::{self, RecipientHash};

use crate::filter::{Filter, VALUES_MAX};
use crate::labels::Labels;

/// Names and values as somebody asks for them.
pub(crate) type Wanted = Vec<(String, String)>;

/// Events that are tried of one filter.
const EVENTS_MAX: usize = 8;

/// What an object asks for, each name's one value or array of values; nothing where it is of another shape.
pub(crate) fn of_json(asked: &Map<String, Value>) -> Option<Wanted> {
    let mut wanted = Wanted::new();
    for (name, values) in asked {
        let values = match values {
            Value::String(_) => std::slice::from_ref(values),
            Value::Array(values) if !values.is_empty() => values,
            _ => return None,
        };
        for value in values {
            wanted.push((name.clone(), value.as_str()?.to_owned()));
        }
    }
    Some(wanted)
}

/// Whether a filter can be made of it.
pub(crate) fn is_usable(wanted: &Wanted) -> bool {
    const NAMES: [&str; 7] = ["event", "email", "sender", "tag", "subaccount", "template", "message"];
    let is_name =
        |name: &str| NAMES.contains(&name) || name.strip_prefix("metadata.").is_some_and(|key| !key.is_empty());
    let fit = wanted.iter().all(|(name, value)| is_name(name) && !value.trim().is_empty());
    fit && wanted.len() <= VALUES_MAX
}

/// A filter holds for the events that have one of the values of each name, for none that lacks one, and looks for
/// them where they are stored.
pub(crate) fn is_meant(filter: Option<&Filter>, wanted: &Wanted) {
    assert_eq!(filter.is_none(), wanted.is_empty(), "{wanted:?}");
    let Some(filter) = filter else { return };
    let mut names = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in wanted {
        names.entry(name).or_default().push(value);
    }
    // Nobody knows an address of which only the hash is known.
    if let Some(addresses) = names.get_mut("email") {
        addresses.retain(|address| RecipientHash::parse(address).is_none());
    }
    if names.values().any(Vec::is_empty) {
        return;
    }
    let most = names.values().map(Vec::len).max().unwrap_or_default().min(EVENTS_MAX);
    for number in 0..most {
        let chosen: BTreeMap<&str, &str> =
            names.iter().map(|(name, values)| (*name, values[number % values.len()])).collect();
        let (labels, subject) = stored(&chosen);
        assert!(filter.holds(&labels), "{chosen:?}");
        let patterns = filter.subjects().patterns();
        assert!(patterns.iter().any(|pattern| matches(pattern, &subject)), "{subject} in none of {patterns:?}");
        for name in names.keys() {
            let mut lacking = chosen.clone();
            lacking.remove(name);
            // An event without a kind of its own is of the kind `other`.
            if *name != "event" || !names["event"].contains(&"other") {
                assert!(!filter.holds(&stored(&lacking).0), "{lacking:?} lacks {name}");
            }
        }
    }
}

/// What is known of an event with these values, and where it is stored.
fn stored(values: &BTreeMap<&str, &str>) -> (Labels, String) {
    let value = |name: &str| values.get(name).map_or(Value::Null, |value| Value::from(*value));
    let tags: Vec<&str> = values.get("tag").copied().into_iter().collect();
    let metadata = values.iter().filter_map(|(name, value)| Some((name.strip_prefix("metadata.")?, value)));
    let metadata: Map<String, Value> = metadata.map(|(key, value)| (key.to_owned(), Value::from(*value))).collect();
    let text = json!({
        "event": value("event"),
        "_id": value("message"),
        "msg": {
            "email": value("email"), "sender": value("sender"), "subaccount": value("subaccount"),
            "template": value("template"), "tags": tags, "metadata": metadata,
        },
    });
    let text = text.to_string();
    let fields = fields(&text);
    (Labels::with_kind(&fields, fields.email.as_deref().map(RecipientHash::of)).0, subject::of_event(&fields))
}

/// Whether a subject fits a pattern, as NATS has it.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(part), Some(token)) if part == token => {}
            (_, _) => return false,
        }
    }
}
