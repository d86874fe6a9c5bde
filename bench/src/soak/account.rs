//! What a session has to get, and what it got. Pure.

use memchr::memmem;
use shared::cursor::{CURSOR_LENGTH, Cursor};

use crate::event::{DIGITS, MARK, SERIES};

/// What follows an event's moment: the number it was made with, in hex.
const ID: &[u8] = b",\"_id\":\"";
const ID_DIGITS: usize = 32;

/// What every event says in its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) cursor: Cursor,
    pub(super) made_us: u64,
    pub(super) number: u64,
}

/// Reads an event's frame; nothing where it is a control frame.
pub(super) fn heard(text: &[u8]) -> Option<Heard> {
    let cursor = cursor(text.strip_prefix(b"{\"_cursor\":\"")?)?;
    let rest = &text[memmem::find(text, MARK)? + MARK.len()..];
    let made_us = std::str::from_utf8(rest.get(..DIGITS)?).ok()?.parse().ok()?;
    let id = rest[DIGITS..].strip_prefix(ID)?.get(..ID_DIGITS)?;
    let number = u64::try_from(u128::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()?).ok()?;
    Some(Heard { cursor, made_us, number })
}

/// What a control frame tells of a session's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It has everything up to here, or begins here.
    At(Cursor),
    /// Its cursor is gone: what followed it and is no longer kept is lost to it.
    Anew(Cursor),
    /// What lies after the one, up to the other, is lost to it.
    Gap(Cursor, Cursor),
}

/// Reads a control frame; nothing where it tells of no place.
pub(super) fn told(text: &[u8]) -> Option<Told> {
    let field = |name: &[u8]| cursor(&text[memmem::find(text, name)? + name.len()..]);
    if text.starts_with(b"{\"_control\":\"gap\"") {
        return Some(Told::Gap(field(b"\"after\":\"")?, field(b"\"before\":\"")?));
    }
    let at = field(b"\"at\":\"")?;
    let is_anew = memmem::find(text, b"\"recovered\":false").is_some();
    Some(if is_anew { Told::Anew(at) } else { Told::At(at) })
}

fn cursor(text: &[u8]) -> Option<Cursor> {
    std::str::from_utf8(text.get(..CURSOR_LENGTH)?).ok()?.parse().ok()
}

/// In the place of an event that the witness did not see.
const UNSEEN: u64 = u64::MAX;

/// All events there were, by their places: what the witness saw.
#[derive(Debug)]
pub(super) struct Witness {
    /// The numbers of the first event, the second, and so on.
    numbers: Vec<u64>,
    known: Vec<bool>,
    pub(super) lost: u64,
    pub(super) doubled: u64,
}

impl Witness {
    /// Of what follows a place.
    pub(super) fn after(place: u64) -> Witness {
        Witness { numbers: vec![UNSEEN; place as usize], known: Vec::new(), lost: 0, doubled: 0 }
    }

    /// The next event.
    pub(super) fn see(&mut self, heard: Heard) {
        let (place, expected) = (heard.cursor.sequence, self.numbers.len() as u64 + 1);
        if place < expected {
            self.doubled += 1;
            return;
        }
        self.lost += place - expected;
        self.numbers.resize(place as usize - 1, UNSEEN);
        self.numbers.push(heard.number);
        let number = heard.number as usize;
        if self.known.len() <= number {
            self.known.resize(number + 1, false);
        }
        self.doubled += u64::from(std::mem::replace(&mut self.known[number], true));
    }

    /// The number of the event at a place; nothing where nobody saw one.
    fn number(&self, place: u64) -> Option<u64> {
        self.numbers.get(place as usize - 1).copied().filter(|number| *number != UNSEEN)
    }

    /// The last place it has seen.
    pub(super) fn seen(&self) -> u64 {
        self.numbers.len() as u64
    }
}

/// Which events a session asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    All,
    /// Those of these tags.
    Series(Vec<u64>),
    /// Those of one user in a thousand.
    User(u64),
}

impl Wish {
    /// Some wish or other.
    pub(super) fn random() -> Wish {
        match rand::random_range(0..4) {
            0 => Wish::All,
            1 => Wish::Series(vec![rand::random_range(0..SERIES)]),
            2 => Wish::Series(vec![0, rand::random_range(1..SERIES)]),
            _ => Wish::User(rand::random_range(0..1000)),
        }
    }

    /// As parameters of a query.
    pub(super) fn query(&self) -> String {
        match self {
            Wish::All => String::new(),
            Wish::Series(series) => series.iter().map(|series| format!("tag=series-{series}&")).collect(),
            Wish::User(user) => format!("metadata.user=u{user}&"),
        }
    }

    fn wants(&self, number: u64) -> bool {
        match self {
            Wish::All => true,
            Wish::Series(series) => series.contains(&(number % SERIES)),
            Wish::User(user) => number % 1000 == *user,
        }
    }
}

/// What came to one session since a place in the stream.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) wish: Wish,
    /// After which place it begins; known from its first frame where it was not asked for.
    since: Option<u64>,
    /// As far as it has been told that it has everything.
    pub(super) reached: Option<Cursor>,
    /// As far as it has to have everything, whatever it was told.
    owed: u64,
    /// Where events came from: stretches without a hole, first and last.
    came: Vec<(u64, u64)>,
    /// Where it was told that events are lost to it: first and last.
    gaps: Vec<(u64, u64)>,
    /// It was told that its cursor is gone, and it is not known yet from where on events were kept.
    is_anew: bool,
}

/// What does not add up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    /// What it did not get, and was not told of.
    pub(super) lost: u64,
    /// What it did not get, and was told so.
    pub(super) announced: u64,
    pub(super) doubled: u64,
}

impl Account {
    pub(super) fn new(wish: Wish, since: Option<Cursor>) -> Account {
        Account {
            wish,
            since: since.map(|cursor| cursor.sequence),
            reached: since,
            owed: 0,
            came: Vec::new(),
            gaps: Vec::new(),
            is_anew: false,
        }
    }

    /// An event came.
    pub(super) fn event(&mut self, cursor: Cursor) {
        let place = cursor.sequence;
        self.since.get_or_insert(place - 1);
        match self.came.last_mut() {
            Some((_, last)) if *last + 1 == place => *last = place,
            _ => self.came.push((place, place)),
        }
        self.reached = Some(cursor);
    }

    /// A control frame came.
    pub(super) fn told(&mut self, told: Told) {
        let at = match told {
            Told::At(at) => at,
            Told::Anew(at) => {
                self.is_anew = true;
                at
            }
            Told::Gap(after, before) => {
                // What it was told to have cannot be taken back.
                self.gaps.push((after.sequence.max(self.reached()) + 1, before.sequence));
                before
            }
        };
        self.since.get_or_insert(at.sequence);
        self.reached = Some(at);
    }

    /// Whether it has begun after its cursor was gone: now [`Account::kept_from`] has to be known.
    pub(super) fn has_begun_anew(&self) -> bool {
        self.is_anew && Some(self.reached()) > self.since
    }

    /// The first place that is kept, asked for after it had begun anew. What was kept longer is not excused.
    pub(super) fn kept_from(&mut self, first_kept: u64) {
        let begun = self.came.first().map_or(self.reached() + 1, |(first, _)| *first);
        let since = self.since.unwrap_or_default();
        self.gaps.insert(0, (since + 1, begun.min(first_kept) - 1));
        self.is_anew = false;
    }

    /// From here on it has to have everything up to a place, whatever it is told.
    pub(super) fn owe(&mut self, place: u64) {
        self.owed = place;
    }

    /// The last place it was told of.
    pub(super) fn reached(&self) -> u64 {
        self.reached.map_or(0, |cursor| cursor.sequence)
    }

    /// The last place it covers.
    pub(super) fn end(&self) -> u64 {
        self.reached().max(self.owed)
    }

    /// Compares what came with what the witness saw, which has to have seen all that this covers.
    pub(super) fn compare(&self, witness: &Witness) -> Difference {
        let end = self.end();
        let mut came = self.came.iter().flat_map(|(first, last)| *first..=*last).peekable();
        let mut gaps = self.gaps.iter().peekable();
        let mut difference = Difference::default();
        for place in self.since.unwrap_or(end) + 1..=end {
            // What came before its turn, or again.
            while came.next_if(|came| *came < place).is_some() {
                difference.doubled += 1;
            }
            while gaps.next_if(|(_, last)| *last < place).is_some() {}
            let has_come = came.next_if_eq(&place).is_some();
            // What the witness missed is its own loss.
            let Some(number) = witness.number(place) else { continue };
            match (self.wish.wants(number), has_come) {
                (true, false) if gaps.peek().is_some_and(|(first, _)| *first <= place) => difference.announced += 1,
                (true, false) => difference.lost += 1,
                (false, true) => difference.doubled += 1,
                (true, true) | (false, false) => {}
            }
        }
        difference.doubled += came.filter(|came| *came <= end).count() as u64;
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::event_of;
    use shared::cursor::Epoch;

    fn cursor(sequence: u64) -> Cursor {
        Cursor { epoch: Epoch::random(), sequence, stored_ms: 1 }
    }

    fn witness() -> Witness {
        let mut witness = Witness::after(0);
        (0..20).for_each(|n| witness.see(Heard { cursor: cursor(n + 1), made_us: 0, number: n }));
        witness
    }

    #[test]
    fn an_events_frame_is_read_and_a_control_frames_place() {
        let at = cursor(7);
        let text = event_of(258, 1_760_000_000_000_001);
        let text = format!("{{\"_cursor\":\"{at}\",\"_received\":1,{}", &text[1..]);
        let expected = Heard { cursor: at, made_us: 1_760_000_000_000_001, number: 258 };
        assert_eq!(heard(text.as_bytes()), Some(expected));
        let before = cursor(9);
        for (control, expected) in [
            (format!(r#"{{"_control":"position","at":"{at}"}}"#), Some(Told::At(at))),
            (format!(r#"{{"_control":"hello","at":"{at}","recovered":true}}"#), Some(Told::At(at))),
            (format!(r#"{{"_control":"hello","at":"{at}","recovered":false}}"#), Some(Told::Anew(at))),
            (format!(r#"{{"_control":"gap","after":"{at}","before":"{before}"}}"#), Some(Told::Gap(at, before))),
            (r#"{"_control":"status","feed":"live"}"#.to_owned(), None),
        ] {
            assert_eq!((heard(control.as_bytes()), told(control.as_bytes())), (None, expected), "{control}");
        }
    }

    #[test]
    fn the_witness_notices_what_is_missing_and_what_comes_twice() {
        let mut witness = witness();
        assert_eq!((witness.seen(), witness.lost, witness.doubled), (20, 0, 0));
        witness.see(Heard { cursor: cursor(23), made_us: 0, number: 22 });
        witness.see(Heard { cursor: cursor(23), made_us: 0, number: 22 });
        witness.see(Heard { cursor: cursor(24), made_us: 0, number: 3 });
        assert_eq!((witness.seen(), witness.lost, witness.doubled), (24, 2, 2));
    }

    #[test]
    fn what_came_is_what_was_wanted_and_every_difference_is_seen() {
        let check = |places: &[u64], lost: u64, doubled: u64| {
            let mut account = Account::new(Wish::Series(vec![1]), Some(cursor(2)));
            places.iter().for_each(|place| account.event(cursor(*place)));
            account.told(Told::At(cursor(17)));
            let expected = Difference { lost, doubled, announced: 0 };
            assert_eq!(account.compare(&witness()), expected, "{places:?}");
        };
        // The numbers 8 and 15 are at the places 9 and 16; number 1 came before.
        check(&[9, 16], 0, 0);
        check(&[9], 1, 0);
        check(&[], 2, 0);
        check(&[9, 9, 16], 0, 1);
        check(&[9, 10, 16], 0, 1);
        check(&[2, 9, 16], 0, 1);
        check(&[16, 9], 1, 1);
    }

    #[test]
    fn what_a_session_was_told_to_be_lost_is_told_apart() {
        let mut account = Account::new(Wish::All, Some(cursor(2)));
        account.event(cursor(3));
        account.told(Told::Gap(cursor(3), cursor(7)));
        [8, 9, 11].into_iter().for_each(|place| account.event(cursor(place)));
        assert_eq!(account.compare(&witness()), Difference { lost: 1, announced: 4, doubled: 0 });
    }

    #[test]
    fn a_gap_excuses_nothing_that_was_passed_before() {
        let mut account = Account::new(Wish::All, Some(cursor(2)));
        [3, 6].into_iter().for_each(|place| account.event(cursor(place)));
        account.told(Told::Gap(cursor(3), cursor(8)));
        assert_eq!(account.compare(&witness()), Difference { lost: 2, announced: 2, doubled: 0 });
    }

    #[test]
    fn beginning_anew_excuses_what_is_not_kept_any_more_and_nothing_else() {
        let check = |first_kept: Option<u64>, lost: u64, announced: u64| {
            let mut account = Account::new(Wish::All, Some(cursor(2)));
            account.told(Told::Anew(cursor(2)));
            assert!(!account.has_begun_anew());
            account.event(cursor(10));
            assert!(account.has_begun_anew());
            first_kept.into_iter().for_each(|first| account.kept_from(first));
            account.event(cursor(12));
            assert_eq!(account.compare(&witness()), Difference { lost, announced, doubled: 0 }, "{first_kept:?}");
        };
        // The places 3 to 9 and 11 are missing.
        check(Some(6), 5, 3);
        check(Some(10), 1, 7);
        check(Some(15), 1, 7);
        check(None, 8, 0);
    }

    #[test]
    fn what_is_owed_is_compared_whatever_was_told() {
        let mut account = Account::new(Wish::All, Some(cursor(2)));
        account.event(cursor(3));
        assert_eq!(account.compare(&witness()), Difference::default());
        account.owe(20);
        assert_eq!(account.compare(&witness()), Difference { lost: 17, announced: 0, doubled: 0 });
    }

    #[test]
    fn a_witness_that_comes_later_misses_nothing_of_what_was_before() {
        let mut witness = Witness::after(100);
        witness.see(Heard { cursor: cursor(102), made_us: 0, number: 101 });
        assert_eq!((witness.seen(), witness.lost, witness.doubled), (102, 1, 0));
    }

    #[test]
    fn what_is_asked_for_is_what_is_compared() {
        for _ in 0..50 {
            let wish = Wish::random();
            let wanted = (0..1000).filter(|number| wish.wants(*number)).count();
            assert!(wanted > 0 && (wish == Wish::All) == wish.query().is_empty(), "{wish:?}");
        }
    }
}
