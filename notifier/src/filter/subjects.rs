//! Where the events of a filter are stored.
//!
//! **Owns** what a filter means in terms of the stream's subjects: every event a filter holds for is stored
//! under one of its patterns, others perhaps too, so that a store can find them without reading all of it.
//! Pure.

use std::borrow::Cow;

use shared::subject::{self, RecipientHash};

use crate::labels::Name;

/// Patterns of one filter: each is a question to the store. What would be more is asked for more broadly.
const PATTERNS_MAX: usize = 16;

/// The parts of the subjects of a filter's events. A part without values may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subjects {
    kinds: Vec<String>,
    recipients: Vec<String>,
    messages: Vec<String>,
}

impl Subjects {
    /// Exactly one subject; nothing where it is no event's.
    pub(crate) fn exactly(subject: &str) -> Option<Subjects> {
        let mut tokens = subject.strip_prefix(subject::EVENT_SUBJECTS)?.split('.').map(str::to_owned);
        let (kind, recipient, message) = (tokens.next()?, tokens.next()?, tokens.next()?);
        let is_plain = |token: &String| !token.is_empty() && !token.contains(['*', '>', ' ']);
        let all_plain = [&kind, &recipient, &message].into_iter().all(is_plain) && tokens.next().is_none();
        all_plain.then(|| Subjects { kinds: vec![kind], recipients: vec![recipient], messages: vec![message] })
    }

    /// All of a person's.
    pub(crate) fn of_person(recipient: RecipientHash) -> Subjects {
        Subjects { recipients: vec![recipient.to_string()], ..Subjects::default() }
    }

    /// Takes a filter's value into account.
    pub(super) fn add(&mut self, name: &Name, value: &str) {
        let (part, token) = match name {
            Name::Event => (&mut self.kinds, Cow::Borrowed(subject::kind_token(value))),
            Name::Email => {
                let recipient = RecipientHash::parse(value).unwrap_or_else(|| RecipientHash::of(value));
                (&mut self.recipients, Cow::Owned(recipient.to_string()))
            }
            Name::Message => (&mut self.messages, subject::message_token(value)),
            Name::Sender | Name::Tag | Name::Subaccount | Name::Template | Name::Metadata(_) => return,
        };
        if !part.iter().any(|known| *known == token) {
            part.push(token.into_owned());
        }
    }

    /// Where the events are for which both filters hold.
    pub(super) fn and(&self, other: &Subjects) -> Subjects {
        Subjects {
            kinds: both(&self.kinds, &other.kinds),
            recipients: both(&self.recipients, &other.recipients),
            messages: both(&self.messages, &other.messages),
        }
    }

    /// Whether the events may be stored under any subject.
    #[cfg(test)]
    pub(crate) fn is_all(&self) -> bool {
        self.patterns() == [subject::EVENTS_ALL]
    }

    /// Whether it names people or messages: few events of all there are.
    pub(crate) fn is_narrow(&self) -> bool {
        let people_and_messages = self.recipients.len().max(1) * self.messages.len().max(1);
        (!self.recipients.is_empty() || !self.messages.is_empty()) && people_and_messages <= PATTERNS_MAX
    }

    /// As patterns of subjects, none of which shares an event with another.
    pub(crate) fn patterns(&self) -> Vec<String> {
        let counts = [&self.kinds, &self.recipients, &self.messages].map(|part| part.len().max(1));
        let any = ["*".to_owned()];
        let or_any = |part: &'_ [String]| if part.is_empty() { any.to_vec() } else { part.to_vec() };
        let kinds = match counts.iter().product::<usize>() {
            0..=PATTERNS_MAX => or_any(&self.kinds),
            _ if self.is_narrow() => any.to_vec(),
            _ => return vec![subject::EVENTS_ALL.to_owned()],
        };
        let (recipients, messages) = (or_any(&self.recipients), or_any(&self.messages));
        let mut patterns = Vec::with_capacity(kinds.len() * recipients.len() * messages.len());
        for kind in &kinds {
            for recipient in &recipients {
                patterns.extend(messages.iter().map(|message| subject::pattern(kind, recipient, message)));
            }
        }
        patterns
    }
}

/// What may stand for a part where two filters must hold. Where they exclude each other no event has both,
/// and either will do.
fn both(one: &[String], other: &[String]) -> Vec<String> {
    let common: Vec<String> = one.iter().filter(|token| other.contains(token)).cloned().collect();
    if !common.is_empty() {
        return common;
    }
    if one.is_empty() { other } else { one }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(pairs: &[(&str, &str)]) -> Subjects {
        let mut subjects = Subjects::default();
        pairs.iter().for_each(|(name, value)| subjects.add(&Name::parse(name).expect("a name"), value));
        subjects
    }

    #[test]
    fn a_filter_is_a_few_patterns() {
        let check = |pairs: &[(&str, &str)], expected: &[&str]| assert_eq!(subjects(pairs).patterns(), expected);
        check(&[], &["mandrill.events.>"]);
        check(&[("tag", "x")], &["mandrill.events.>"]);
        check(
            &[("event", "open"), ("event", "click"), ("event", "open")],
            &["mandrill.events.open.>", "mandrill.events.click.>"],
        );
        check(&[("event", "Hard Bounce")], &["mandrill.events.other.>"]);
        check(&[("email", " User@example.com")], &["mandrill.events.*.b4c9a289323b21a0.>"]);
        check(&[("message", "5f0c3a")], &["mandrill.events.*.*.5f0c3a"]);
        check(
            &[("message", "8606637.5f"), ("email", "b4c9a289323b21a0"), ("event", "open")],
            &["mandrill.events.open.b4c9a289323b21a0.x990fde776996aeba"],
        );
    }

    #[test]
    fn a_subject_is_exactly_itself_or_no_events() {
        let subject = "mandrill.events.inbound.b4c9a289323b21a0.none";
        assert_eq!(Subjects::exactly(subject).map(|subjects| subjects.patterns()), Some(vec![subject.to_owned()]));
        for other in ["mandrill.events.>", "mandrill.events.a.b", "mandrill.events.a.b.c.d", "mandrill.rejected", ""] {
            assert_eq!(Subjects::exactly(other), None, "{other}");
        }
    }

    #[test]
    fn what_would_be_too_many_patterns_is_asked_for_more_broadly() {
        let kinds: Vec<String> = (0..5).map(|n| format!("k{n}")).collect();
        let people: Vec<String> = (0..10).map(|n| format!("p{n}@example.com")).collect();
        let mut pairs: Vec<(&str, &str)> = kinds.iter().map(|kind| ("event", kind.as_str())).collect();
        pairs.extend(people.iter().map(|person| ("email", person.as_str())));
        let narrow = subjects(&pairs);
        assert!(narrow.is_narrow());
        assert_eq!(narrow.patterns().len(), people.len());
        let messages: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
        pairs.extend(messages.iter().map(|message| ("message", message.as_str())));
        assert!(subjects(&pairs).is_all() && !subjects(&pairs).is_narrow());
    }

    #[test]
    fn two_filters_hold_where_their_subjects_meet() {
        let check = |one: &[(&str, &str)], other: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(subjects(one).and(&subjects(other)).patterns(), expected);
        };
        check(&[("event", "open")], &[], &["mandrill.events.open.>"]);
        check(&[("event", "open"), ("event", "send")], &[("event", "send")], &["mandrill.events.send.>"]);
        check(&[("event", "open")], &[("message", "m")], &["mandrill.events.open.*.m"]);
        check(&[("event", "open")], &[("event", "send")], &["mandrill.events.open.>"]);
    }
}
