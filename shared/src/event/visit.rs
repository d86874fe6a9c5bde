//! How serde meets an event: whatever type a value has, reading goes on.
//!
//! **Owns** the keys that are looked for and the leniency of each; [`super`] owns what they mean. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Element, Fields};

/// A string where one was sent, nothing where anything else was.
struct Text<'a>(Option<Cow<'a, str>>);

/// What `msg`, `reject` and `entry` hold of interest; empty where they are not objects.
#[derive(Default)]
struct Body<'a>(Fields<'a>);

#[derive(Clone, Copy)]
enum Key {
    Event,
    Type,
    Action,
    Id,
    Msg,
    RejectOrEntry,
    Email,
    Sender,
    Subaccount,
    Template,
    Tags,
    Metadata,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "event" => Key::Event,
                    "type" => Key::Type,
                    "action" => Key::Action,
                    "_id" => Key::Id,
                    "msg" => Key::Msg,
                    "reject" | "entry" => Key::RejectOrEntry,
                    "email" => Key::Email,
                    "sender" => Key::Sender,
                    "subaccount" => Key::Subaccount,
                    "template" => Key::Template,
                    "tags" => Key::Tags,
                    "metadata" => Key::Metadata,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

/// The answers of a visitor for each kind of JSON value it has no use for.
macro_rules! nothing_of {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Self::Value, E> { Ok(Self::Value::nothing()) })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Self::Value::nothing()) }
        fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
            while values.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::nothing())
        }
    };
}

fn skip_entries<'de, A: MapAccess<'de>>(mut entries: A) -> Result<(), A::Error> {
    while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

impl Text<'_> {
    fn nothing() -> Self {
        Text(None)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
                skip_entries(entries).map(|()| Text(None))
            }
            nothing_of!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl Body<'_> {
    fn nothing() -> Self {
        Body::default()
    }
}

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BodyVisitor;
        impl<'de> Visitor<'de> for BodyVisitor {
            type Value = Body<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut body = Fields::default();
                while let Some(key) = entries.next_key::<Key>()? {
                    match key {
                        Key::Id => body.message = entries.next_value::<Text<'de>>()?.0,
                        Key::Email => body.email = entries.next_value::<Text<'de>>()?.0,
                        Key::Sender => body.sender = entries.next_value::<Text<'de>>()?.0,
                        Key::Subaccount => body.subaccount = entries.next_value::<Text<'de>>()?.0,
                        Key::Template => body.template = entries.next_value::<Text<'de>>()?.0,
                        Key::Tags => body.tags = Some(entries.next_value::<&RawValue>()?.get().into()),
                        Key::Metadata => body.metadata = Some(entries.next_value::<&RawValue>()?.get().into()),
                        Key::Event | Key::Type | Key::Action | Key::Msg | Key::RejectOrEntry | Key::Other => {
                            entries.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Body(body))
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Body::nothing())
            }
            nothing_of!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(BodyVisitor)
    }
}

impl Element<'_> {
    fn nothing() -> Self {
        Element::NotAnObject
    }
}

impl<'de> Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;
        impl<'de> Visitor<'de> for EventVisitor {
            type Value = Element<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any value")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let (mut fields, mut msg, mut list_entry) = (Fields::default(), Body::nothing(), None);
                while let Some(key) = entries.next_key::<Key>()? {
                    match key {
                        Key::Event => fields.event = entries.next_value::<Text<'de>>()?.0,
                        Key::Type => fields.sync_type = entries.next_value::<Text<'de>>()?.0,
                        Key::Action => fields.sync_action = entries.next_value::<Text<'de>>()?.0,
                        Key::Id => fields.message = entries.next_value::<Text<'de>>()?.0,
                        Key::Msg => msg = entries.next_value()?,
                        Key::RejectOrEntry => list_entry = entries.next_value::<Body<'de>>()?.0.email.or(list_entry),
                        Key::Email
                        | Key::Sender
                        | Key::Subaccount
                        | Key::Template
                        | Key::Tags
                        | Key::Metadata
                        | Key::Other => {
                            entries.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let Body(mut msg) = msg;
                Ok(Element::Event(Fields {
                    message: fields.message.or(msg.message.take()),
                    email: msg.email.take().or(list_entry),
                    event: fields.event,
                    sync_type: fields.sync_type,
                    sync_action: fields.sync_action,
                    ..msg
                }))
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Element::NotAnObject)
            }
            nothing_of!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(EventVisitor)
    }
}
