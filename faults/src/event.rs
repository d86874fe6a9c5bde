//! The events that are sent, each with a name of its own, and what is read of them when they come back. Pure.
//!
//! They are made up like Mandrill's own (`shared::synthetic`), from a few people, so that filters and erasures find
//! some of everybody's. The name stands in a member that Mandrill does not have.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use shared::cursor::Cursor;
use shared::synthetic::SyntheticEvents;

/// The member that holds an event's name.
const MEMBER: &str = "\"faults\":\"";
/// People that mail is sent to.
pub(crate) const PEOPLE: u32 = 12;
/// One event of so many is large: over `LARGE_EVENT_BYTES` as the services are configured here.
const LARGE: u32 = 150;
/// From here on an event is large; the smallest the service may be told.
pub(crate) const LARGE_EVENT_BYTES: usize = 8 << 10;
/// When the made-up events happened: any time will do.
const NOW_UNIX: u64 = 1_760_000_000;

/// An event's name: who sent it, in which batch, at which place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) sender: u32,
    pub(crate) batch: u32,
    pub(crate) place: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.sender, self.batch, self.place)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Name, ()> {
        let mut parts = text.splitn(3, '.').map(|part| part.parse().map_err(|_| ()));
        let mut next = || parts.next().unwrap_or(Err(()));
        Ok(Name { sender: next()?, batch: next()?, place: next()? })
    }
}

/// An event as it was sent or stored: its name and a hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) name: Name,
    pub(crate) digest: u64,
}

impl Content {
    /// Of an event's text; nothing where it holds no name.
    pub(crate) fn of(text: &str) -> Option<Content> {
        let start = text.find(MEMBER)? + MEMBER.len();
        let name = text.get(start..)?.split('"').next()?.parse().ok()?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Some(Content { name, digest: hasher.finish() })
    }
}

/// What stands in a frame, and where.
pub(crate) fn of_frame(frame: &str) -> Option<(Cursor, Content)> {
    let rest = frame.strip_prefix(r#"{"_cursor":""#)?;
    let (cursor, rest) = rest.split_once(r#"","_received":"#)?;
    let members = rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).strip_prefix(',')?;
    Some((cursor.parse().ok()?, Content::of(&format!("{{{members}"))?))
}

/// What filters look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) kind: String,
    pub(crate) person: String,
    pub(crate) tags: Vec<String>,
}

impl Labels {
    /// Of an event's JSON.
    pub(crate) fn of(text: &str) -> Labels {
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tags = event["msg"]["tags"].as_array().map(|tags| tags.iter().map(text).collect());
        Labels { kind: text(&event["event"]), person: text(&event["msg"]["email"]), tags: tags.unwrap_or_default() }
    }
}

/// What a session wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    Everything,
    Kinds(&'static [&'static str]),
    Person(u32),
    PersonAndKind(u32, &'static str),
}

impl Wish {
    /// Whether it is for an event.
    pub(crate) fn wants(&self, labels: &Labels) -> bool {
        match self {
            Wish::Everything => true,
            Wish::Kinds(kinds) => kinds.contains(&labels.kind.as_str()),
            Wish::Person(number) => labels.person == address(*number),
            Wish::PersonAndKind(number, kind) => labels.person == address(*number) && labels.kind == *kind,
        }
    }

    /// As the query has it.
    pub(crate) fn query(&self) -> String {
        match self {
            Wish::Everything => String::new(),
            Wish::Kinds(kinds) => format!("event={}", kinds.join(",")),
            Wish::Person(number) => format!("email={}", address(*number)),
            Wish::PersonAndKind(number, kind) => format!("email={}&event={kind}", address(*number)),
        }
    }
}

/// A person's address.
pub(crate) fn address(number: u32) -> String {
    format!("person{number}@example.com")
}

/// The events of one sender.
pub(crate) struct Events {
    sender: u32,
    batch: u32,
    synthetic: SyntheticEvents,
    random: StdRng,
}

/// One event before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) content: Content,
    pub(crate) text: String,
    pub(crate) is_large: bool,
    /// Whom it is about.
    pub(crate) person: String,
}

impl Events {
    pub(crate) fn new(seed: u64, sender: u32) -> Events {
        let seed = seed.wrapping_mul(1000).wrapping_add(sender.into());
        let synthetic = SyntheticEvents::new(seed, &[], NOW_UNIX);
        Events { sender, batch: 0, synthetic, random: StdRng::seed_from_u64(seed) }
    }

    /// The next batch of so many.
    pub(crate) fn batch(&mut self, size: u32) -> Vec<Made> {
        self.batch += 1;
        (0..size).filter_map(|place| self.event(place)).collect()
    }

    fn event(&mut self, place: u32) -> Option<Made> {
        let person = address(self.random.random_range(0..PEOPLE));
        let is_large = self.random.random_ratio(1, LARGE);
        let name = Name { sender: self.sender, batch: self.batch, place };
        let text = self.synthetic.next()?;
        made(name, &text, &person, is_large)
    }

    /// A batch of one kind for one person, after which a run has nothing more to say to whoever wants them.
    pub(crate) fn last_words(&mut self, kinds: &[&str], people: impl IntoIterator<Item = String>) -> Vec<Made> {
        self.batch += 1;
        let pairs = people.into_iter().flat_map(|person| kinds.iter().map(move |kind| (person.clone(), *kind)));
        let plain = |(person, kind)| (format!(r#"{{"event":"{kind}","msg":{{"email":"{person}"}}}}"#), person);
        let texts = pairs.map(plain).enumerate();
        let name = |place| Name { sender: self.sender, batch: self.batch, place };
        texts.filter_map(|(place, (text, person))| made(name(place as u32), &text, &person, false)).collect()
    }
}

/// An event of this text, with its name put in and its person put in place of whoever was there.
fn made(name: Name, text: &str, person: &str, is_large: bool) -> Option<Made> {
    const EMAIL: &str = "\"email\":\"";
    let fill = if is_large { format!("\"fill\":\"{}\",", "x".repeat(2 * LARGE_EVENT_BYTES)) } else { String::new() };
    let named = format!("{{{MEMBER}{name}\",{fill}{}", text.strip_prefix('{')?);
    let start = named.find(EMAIL)? + EMAIL.len();
    let end = start + named.get(start..)?.find('"')?;
    let text = format!("{}{person}{}", named.get(..start)?, named.get(end..)?);
    Some(Made { content: Content::of(&text)?, text, is_large, person: person.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_event_is_known_by_its_name_and_its_bytes() {
        let mut events = Events::new(1, 3);
        let batches = [events.batch(40), events.batch(400)];
        let names: HashSet<Name> = batches.iter().flatten().map(|made| made.content.name).collect();
        assert_eq!(names.len(), 440);
        for (number, made) in batches[1].iter().enumerate() {
            assert_eq!(made.content.name.to_string(), format!("3.2.{number}"));
            let cursor = "A".repeat(32);
            let frame = format!(r#"{{"_cursor":"{cursor}","_received":17,{}"#, &made.text[1..]);
            let (_, content) = of_frame(&frame).expect("an event");
            assert_eq!(content, made.content);
            assert_ne!(Content::of(&made.text.replace("msg", "Msg")).expect("a name").digest, content.digest);
            assert_eq!(made.is_large, made.text.len() > LARGE_EVENT_BYTES, "{}", made.text);
        }
        assert!(batches[1].iter().any(|made| made.is_large));
    }

    #[test]
    fn everybody_gets_some_of_what_is_wished_for() {
        let labels: Vec<Labels> = Events::new(1, 1).batch(3000).iter().map(|made| Labels::of(&made.text)).collect();
        for wish in [Wish::Kinds(&["open", "click"]), Wish::Person(3), Wish::PersonAndKind(0, "send")] {
            let wanted = labels.iter().filter(|labels| wish.wants(labels)).count();
            assert!(wanted > 20 && wanted < 2900, "{wish:?}: {wanted}");
        }
        assert!(labels.iter().all(|labels| Wish::Everything.wants(labels)));
    }

    #[test]
    fn what_is_no_event_of_ours_has_no_name() {
        for text in ["", "{}", r#"{"faults":"1.2"}"#, r#"{"faults":"a.b.c"}"#, r#"{"_control":"hello"}"#] {
            assert_eq!(Content::of(text), None, "{text}");
            assert_eq!(of_frame(text), None, "{text}");
        }
    }
}
