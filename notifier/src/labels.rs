//! What filters see of an event: a number for each value they may ask for.
//!
//! **Owns** which values an event has under which name, and their comparison. Pure. A value is kept as a
//! 64-bit hash keyed anew in each process: short to keep beside every event in memory, quick to look up
//! for a thousand sessions at once, and nobody outside can make up two values that collide.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use serde_json::value::RawValue;
use shared::event::Fields;
use shared::subject::{self, RecipientHash, normal_address};

use crate::tally::Kind;

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a filter may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    Event,
    Email,
    Sender,
    Tag,
    Subaccount,
    Template,
    Message,
    /// `metadata.KEY`.
    Metadata(String),
}

impl Name {
    /// Reads a parameter's name.
    pub(crate) fn parse(text: &str) -> Option<Name> {
        Some(match text {
            "event" => Name::Event,
            "email" => Name::Email,
            "sender" => Name::Sender,
            "tag" => Name::Tag,
            "subaccount" => Name::Subaccount,
            "template" => Name::Template,
            "message" => Name::Message,
            _ => Name::Metadata(text.strip_prefix("metadata.").filter(|key| !key.is_empty())?.to_owned()),
        })
    }
}

/// One value under one name. Names share a space of numbers, so that a value alone says what it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Label(u64);

impl Label {
    /// The label a filter's value asks for.
    pub(crate) fn wanted(name: &Name, value: &str) -> Label {
        match name {
            Name::Email => Label::recipient(RecipientHash::parse(value).unwrap_or_else(|| RecipientHash::of(value))),
            Name::Sender => Label::of(name, &normal_address(value)),
            Name::Event | Name::Tag | Name::Subaccount | Name::Template | Name::Message | Name::Metadata(_) => {
                Label::of(name, value)
            }
        }
    }

    /// The label of a person's events.
    pub(crate) fn recipient(recipient: RecipientHash) -> Label {
        Label(KEY.hash_one((Name::Email, recipient)))
    }

    fn of(name: &Name, value: &str) -> Label {
        Label(KEY.hash_one((name, value)))
    }
}

/// An event's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels(Box<[Label]>);

impl Labels {
    /// Reads the labels off an event's fields.
    #[cfg(test)]
    pub(crate) fn of(fields: &Fields<'_>) -> Labels {
        Labels::with_kind(fields, fields.email.as_deref().map(RecipientHash::of)).0
    }

    /// Reads the labels off the fields of a person's event, and its kind.
    pub(crate) fn with_kind(fields: &Fields<'_>, recipient: Option<RecipientHash>) -> (Labels, Kind) {
        let mut labels = Vec::with_capacity(8);
        let mut add = |name: Name, value: &str| labels.push(Label::of(&name, value));
        let kind = subject::kind(fields);
        add(Name::Event, &kind);
        // A kind that fits no rule of the subjects is still what Mandrill says it is.
        if let Some(event) = fields.event.as_deref().filter(|event| *event != kind) {
            add(Name::Event, event);
        }
        let plain = [
            (Name::Subaccount, &fields.subaccount),
            (Name::Template, &fields.template),
            (Name::Message, &fields.message),
        ];
        for (name, value) in plain {
            value.iter().for_each(|value| add(name.clone(), value));
        }
        if let Some(sender) = &fields.sender {
            add(Name::Sender, &normal_address(sender));
        }
        for tag in read::<Vec<Value<'_>>>(fields.tags.as_deref()) {
            add(Name::Tag, &tag.text());
        }
        for (key, value) in read::<BTreeMap<String, Value<'_>>>(fields.metadata.as_deref()) {
            add(Name::Metadata(key), &value.text());
        }
        labels.extend(recipient.map(Label::recipient));
        (Labels(labels.into_boxed_slice()), Kind::of(&kind))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Label> {
        self.0.iter().copied()
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, label: Label) -> bool {
        self.0.contains(&label)
    }

    /// What they cost to keep.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// A JSON value as a filter compares it: a string by its content, anything else by its text.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Value<'a>(#[serde(borrow)] &'a RawValue);

impl Value<'_> {
    fn text(&self) -> Cow<'_, str> {
        let text = self.0.get();
        match serde_json::from_str::<String>(text) {
            Ok(string) => Cow::Owned(string),
            Err(_) => Cow::Borrowed(text),
        }
    }
}

/// Reads what a field should be; PHP writes an empty map as `[]`, and what is of another type has nothing.
fn read<'a, T: serde::Deserialize<'a> + Default>(json: Option<&'a str>) -> T {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::event::fields;

    fn has(event: &str, name: &str, value: &str) -> bool {
        let name = Name::parse(name).expect("a name");
        Labels::of(&fields(event)).contains(Label::wanted(&name, value))
    }

    #[test]
    fn an_event_has_the_values_people_ask_for() {
        let event = r#"{"event":"open","_id":"m1","msg":{"email":"Ann@Example.com","sender":"Shop@Example.com",
            "tags":["welcome","a\"b"],"subaccount":"s","template":"t","metadata":{"order":17,"user":"x","vip":true}}}"#;
        for (name, value) in [
            ("event", "open"),
            ("message", "m1"),
            ("email", " ann@example.COM"),
            ("email", &RecipientHash::of("ann@example.com").to_string()),
            ("sender", "shop@example.com"),
            ("tag", "welcome"),
            ("tag", "a\"b"),
            ("subaccount", "s"),
            ("template", "t"),
            ("metadata.order", "17"),
            ("metadata.user", "x"),
            ("metadata.vip", "true"),
        ] {
            assert!(has(event, name, value), "{name}={value}");
        }
        for (name, value) in [("event", "click"), ("template", "s"), ("metadata.order", "x"), ("tag", "Welcome")] {
            assert!(!has(event, name, value), "{name}={value}");
        }
    }

    #[test]
    fn sync_events_have_a_kind_and_an_address() {
        let event = r#"{"type":"blacklist","action":"add","reject":{"email":"r@example.com"}}"#;
        assert!(has(event, "event", "sync_blacklist_add"));
        assert!(has(event, "email", "r@example.com"));
    }

    #[test]
    fn fields_of_another_type_have_no_values() {
        for odd in ["[]", "{}", "1", "null", "\"x\""] {
            let event = format!(r#"{{"event":"open","msg":{{"tags":{odd},"metadata":{odd}}}}}"#);
            assert_eq!(Labels::of(&fields(&event)).iter().count(), 1, "{event}");
        }
    }
}
