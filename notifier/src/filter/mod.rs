//! Which events a client wants.
//!
//! **Owns** the reading of a filter and its answer for one event; the same for live, replayed and stored
//! events. Pure. Values under one name are alternatives, different names must all hold.

pub(crate) mod index;
pub(crate) mod subjects;

use std::collections::BTreeMap;

use shared::commas;

use crate::labels::{Label, Labels, Name};
use subjects::Subjects;

/// Values a filter may hold, all names together: each is a place in every worker's index.
pub(crate) const VALUES_MAX: usize = 256;

/// What may be filtered by.
pub(crate) const NAMES: &str = "event, email, sender, tag, subaccount, template, message or metadata.KEY";

/// A filter that holds for some events. No filter at all is no [`Filter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What must all hold; sorted from the most to the least selective.
    groups: Box<[Group]>,
    /// Where all events it holds for are stored.
    subjects: Subjects,
}

/// What may stand under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    commonness: u8,
    labels: Box<[Label]>,
}

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidFilter {
    #[error("{0:?} is no name to filter by: take {NAMES}")]
    Name(String),
    #[error("{0:?} has an empty value")]
    Empty(String),
    #[error("more than {VALUES_MAX} values")]
    TooMany,
    #[error("the filter must be an object of strings or arrays of strings")]
    Shape,
}

/// Collects the values of a filter.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    wanted: BTreeMap<Name, Vec<Label>>,
    subjects: Subjects,
    values: usize,
}

impl FilterBuilder {
    /// Adds the values of one parameter, comma-separated.
    pub(crate) fn parameter(&mut self, name: &str, values: &str) -> Result<(), InvalidFilter> {
        commas::values(values).try_for_each(|value| self.value(name, &value))
    }

    /// Adds one value.
    pub(crate) fn value(&mut self, name: &str, value: &str) -> Result<(), InvalidFilter> {
        let parsed = Name::parse(name).ok_or_else(|| InvalidFilter::Name(name.to_owned()))?;
        if value.trim().is_empty() {
            return Err(InvalidFilter::Empty(name.to_owned()));
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(InvalidFilter::TooMany);
        }
        let label = Label::wanted(&parsed, value);
        self.subjects.add(&parsed, value);
        self.wanted.entry(parsed).or_default().push(label);
        Ok(())
    }

    /// Reads an object whose members are names, each with a value or an array of values.
    pub(crate) fn from_json(
        asked: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<FilterBuilder, InvalidFilter> {
        use serde_json::Value;
        let mut builder = FilterBuilder::default();
        for (name, values) in asked {
            let values = match values {
                Value::String(_) => std::slice::from_ref(values),
                // No alternative at all would be forgotten, and everything would pass.
                Value::Array(values) if values.is_empty() => return Err(InvalidFilter::Empty(name.clone())),
                Value::Array(values) => values,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(InvalidFilter::Shape),
            };
            for value in values {
                builder.value(name, value.as_str().ok_or(InvalidFilter::Shape)?)?;
            }
        }
        Ok(builder)
    }

    /// The filter, where anything was asked for.
    pub(crate) fn build(self) -> Option<Filter> {
        let groups = self.wanted.into_iter().map(|(name, mut labels)| {
            labels.sort_unstable();
            labels.dedup();
            Group { commonness: commonness(&name), labels: labels.into_boxed_slice() }
        });
        let groups: Vec<Group> = groups.collect();
        (!groups.is_empty()).then(|| Filter::of(groups, self.subjects))
    }
}

/// How many events share a value of this name, roughly: from a message's dozen to a kind's third of all.
fn commonness(name: &Name) -> u8 {
    match name {
        Name::Message => 0,
        Name::Email => 1,
        Name::Metadata(_) => 2,
        Name::Tag => 3,
        Name::Subaccount => 4,
        Name::Template => 5,
        Name::Sender => 6,
        Name::Event => 7,
    }
}

impl Filter {
    fn of(mut groups: Vec<Group>, subjects: Subjects) -> Filter {
        groups.sort_by_key(|group| (group.commonness, group.labels.len()));
        Filter { groups: groups.into_boxed_slice(), subjects }
    }

    /// Holds for the events that both hold for, also where both ask for values of one name.
    pub(crate) fn and(&self, other: &Filter) -> Filter {
        let groups = self.groups.iter().chain(&other.groups).cloned().collect();
        Filter::of(groups, self.subjects.and(&other.subjects))
    }

    /// Whether it holds for an event.
    pub(crate) fn holds(&self, labels: &Labels) -> bool {
        self.groups.iter().all(|group| group.labels.iter().any(|label| labels.contains(*label)))
    }

    /// Where all events it holds for are stored, and others perhaps.
    pub(crate) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Whether it holds for every event that has this label.
    pub(crate) fn covers(&self, label: Label) -> bool {
        self.groups.iter().all(|group| group.labels.contains(&label))
    }

    /// Whether this label is one of those it asks for.
    pub(crate) fn names(&self, label: Label) -> bool {
        self.groups.iter().any(|group| group.labels.contains(&label))
    }

    /// The labels one of which every event it holds for has, as few events as may be.
    fn keys(&self) -> &[Label] {
        self.groups.first().map_or(&[], |group| &group.labels)
    }
}

/// Whether a session with this filter, or none, wants an event.
pub(crate) fn wants(filter: Option<&Filter>, labels: &Labels) -> bool {
    filter.is_none_or(|filter| filter.holds(labels))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::event::fields;

    pub(crate) fn filter(pairs: &[(&str, &str)]) -> Filter {
        let mut builder = FilterBuilder::default();
        pairs.iter().for_each(|(name, values)| builder.parameter(name, values).expect("a filter"));
        builder.build().expect("a filter")
    }

    #[test]
    fn values_of_a_name_are_alternatives_and_names_must_all_hold() {
        let labels = Labels::of(&fields(r#"{"event":"open","msg":{"email":"a@example.com","tags":["x","y,z"]}}"#));
        let check = |pairs: &[(&str, &str)], holds: bool| assert_eq!(filter(pairs).holds(&labels), holds, "{pairs:?}");
        check(&[("event", "open")], true);
        check(&[("event", "click,open")], true);
        check(&[("event", "click"), ("event", "open")], true);
        check(&[("event", "open"), ("tag", "z,x")], true);
        check(&[("tag", "y,z")], false);
        check(&[("tag", r"w,y\,z")], true);
        check(&[("event", "open"), ("tag", "z")], false);
        check(&[("email", "A@example.com"), ("tag", "x")], true);
        check(&[("sender", "a@example.com")], false);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let check = |name: &str, value: &str, expected: InvalidFilter| {
            assert_eq!(FilterBuilder::default().parameter(name, value), Err(expected));
        };
        check("colour", "red", InvalidFilter::Name("colour".into()));
        check("metadata.", "x", InvalidFilter::Name("metadata.".into()));
        check("event", "open,,click", InvalidFilter::Empty("event".into()));
        let many = vec!["x"; VALUES_MAX + 1].join(",");
        check("tag", &many, InvalidFilter::TooMany);
        assert!(FilterBuilder::default().build().is_none());
    }

    /// A model that compares plain strings.
    pub(crate) fn model(asked: &[(String, String)], event: &[(String, String)]) -> bool {
        asked.iter().all(|(name, _)| asked.iter().any(|pair| pair.0 == *name && event.contains(pair)))
    }

    /// Events and filters over so few values that they often meet.
    pub(crate) fn event() -> impl Strategy<Value = Vec<(String, String)>> {
        let fields = (0..3_u8, 0..3_u8, proptest::collection::vec(0..3_u8, 0..3), proptest::option::of(0..3_u8));
        fields.prop_map(|(kind, email, tags, order)| {
            let mut pairs =
                vec![("event".into(), format!("k{kind}")), ("email".into(), format!("p{email}@example.com"))];
            pairs.extend(tags.into_iter().map(|tag| ("tag".into(), format!("t{tag}"))));
            pairs.extend(order.map(|order| ("metadata.order".into(), format!("{order}"))));
            pairs
        })
    }

    pub(crate) fn asked() -> impl Strategy<Value = Vec<(String, String)>> {
        let pair = prop_oneof![
            (0..3_u8).prop_map(|n| ("event".to_owned(), format!("k{n}"))),
            (0..3_u8).prop_map(|n| ("email".to_owned(), format!("p{n}@example.com"))),
            (0..3_u8).prop_map(|n| ("tag".to_owned(), format!("t{n}"))),
            (0..3_u8).prop_map(|n| ("metadata.order".to_owned(), format!("{n}"))),
        ];
        proptest::collection::vec(pair, 1..5)
    }

    pub(crate) fn labels(event: &[(String, String)]) -> Labels {
        let value = |name: &str| event.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone());
        let tags: Vec<&String> = event.iter().filter(|pair| pair.0 == "tag").map(|pair| &pair.1).collect();
        let mut metadata = serde_json::Map::new();
        if let Some(order) = value("metadata.order") {
            metadata.insert("order".into(), order.into());
        }
        let text = serde_json::json!({
            "event": value("event"), "msg": {"email": value("email"), "tags": tags, "metadata": metadata},
        });
        Labels::of(&fields(&text.to_string()))
    }

    pub(crate) fn built(asked: &[(String, String)]) -> Filter {
        let mut builder = FilterBuilder::default();
        asked.iter().for_each(|(name, value)| builder.value(name, value).expect("a value"));
        builder.build().expect("a filter")
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(asked in asked(), event in event()) {
            prop_assert_eq!(built(&asked).holds(&labels(&event)), model(&asked, &event));
        }

        #[test]
        fn two_filters_together_hold_where_both_do(one in asked(), other in asked(), event in event()) {
            let both = built(&one).and(&built(&other));
            prop_assert_eq!(both.holds(&labels(&event)), model(&one, &event) && model(&other, &event));
        }

        #[test]
        fn a_filter_that_covers_a_person_holds_for_all_their_events(asked in asked(), event in event()) {
            let email = &event[1].1;
            let covers = built(&asked).covers(Label::wanted(&Name::Email, email));
            prop_assert_eq!(covers, asked.iter().all(|(name, _)| name == "email") && model(&asked, &event));
        }
    }
}
