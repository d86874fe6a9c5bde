//! A request's target: its path and its query.

use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::Method;
use shared::cursor::Cursor;
use shared::invariants::fields_plainly;

use super::wanted::{Wanted, is_meant, is_usable};
use crate::params::{Asked, Format, InvalidParams, LAST_MAX, PAGE_MAX, Params, Start};
use crate::routes::{self, Route};

/// What requests for stored events take, all of it.
const NAMES: [&str; 8] = ["from", "to", "limit", "before", "since", "format", "window", "step"];
const PARAMETERS_MAX: usize = 300;
const VALUE_LENGTH_MAX: usize = 1024;
/// Stands for a comma that separates nothing.
const COMMA: &str = "\u{10FFFD}";

/// A path means the same with and without its last slash, and its last part is what was written there; a query is
/// what a plain reading makes of it, or refused with what may be done about it.
pub fn query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    is_routed(path);
    if !query.contains(COMMA) {
        is_read(query);
    }
}

fn is_routed(path: &str) {
    // Every path that reaches a service begins so.
    let Some(parts) = path.strip_prefix('/') else { return };
    let plain = path.strip_suffix('/').unwrap_or(path);
    if plain.is_empty() || plain.ends_with('/') {
        return;
    }
    let route = |path: &str| routes::find(&Method::GET, path);
    assert_eq!(format!("{:?}", route(plain)), format!("{:?}", route(&format!("{plain}/"))), "{path}");
    if let Ok(Route::Message(part) | Route::Recipient(part) | Route::Large(part)) = route(path) {
        let written = plain.rsplit('/').next().unwrap_or_default();
        assert_eq!(parts.trim_end_matches('/').matches('/').count(), 2, "{path}");
        // A plus is a space in a query only.
        let pair = fields_plainly(format!("={}", written.replace('+', "%2B").replace('&', "%26")).as_bytes());
        assert_eq!(part.as_bytes(), pair[0].1, "{path}");
    }
}

fn is_read(query: &str) {
    let pairs: Vec<_> = fields_plainly(query.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let pairs: Option<Wanted> = match pairs.len() {
        0..=PARAMETERS_MAX => pairs.iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect(),
        _ => None,
    };

    // Which minutes may have a sixty-first second is the library's to know.
    if pairs.iter().flatten().any(|(_, value)| value.contains(":60")) {
        return;
    }

    let live = Params::read(Some(query));
    match (live, pairs.as_ref().and_then(live_plainly)) {
        (Ok(live), Some((start, wanted))) => {
            assert_eq!(live.start, start, "{query}");
            is_meant(live.filter.as_deref(), &wanted);
        }
        (Err(fault), None) => is_helpful(&fault),
        (live, plainly) => panic!("{live:?}, and plainly {plainly:?}: {query}"),
    }

    let stored = Asked::read(Some(query), &NAMES, None);
    match (stored, pairs.as_ref().and_then(stored_plainly)) {
        (Ok(mut stored), Some((plainly, wanted))) => {
            is_meant(stored.filter.take().as_deref(), &wanted);
            assert_eq!(stored, plainly, "{query}");
        }
        (Err(fault), None) => is_helpful(&fault),
        (stored, plainly) => panic!("{stored:?}, and plainly {plainly:?}: {query}"),
    }
}

/// A refusal names what is wrong and what would be right.
fn is_helpful(fault: &InvalidParams) {
    assert!(!fault.detail.is_empty() && !fault.allowed.is_empty(), "{fault:?}");
}

fn live_plainly(pairs: &Wanted) -> Option<(Start, Wanted)> {
    let (mut starts, mut wanted) = (Vec::new(), Wanted::new());
    for (name, value) in pairs {
        match name.as_str() {
            "since" => starts.push(Start::Since(value.parse().ok()?)),
            "last" => starts.push(Start::Last(number(value, 0..=LAST_MAX)?)),
            _ => wanted.extend(alternatives(name, value)?),
        }
    }
    let start = match starts[..] {
        [] => Start::Head,
        [start] => start,
        _ => return None,
    };
    is_usable(&wanted).then_some((start, wanted))
}

fn stored_plainly(pairs: &Wanted) -> Option<(Asked, Wanted)> {
    let mut wanted = Wanted::new();
    for (name, value) in pairs {
        match NAMES.contains(&name.as_str()) {
            true if pairs.iter().filter(|pair| pair.0 == *name).count() > 1 => return None,
            true => {}
            false => wanted.extend(alternatives(name, value)?),
        }
    }
    let asked = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str());
    let cursor = |name: &str| asked(name).map(|text| text.parse::<Cursor>().ok());
    let plainly = Asked {
        filter: None,
        from: all_or_nothing(asked("from").map(time))?,
        to: all_or_nothing(asked("to").map(time))?,
        limit: all_or_nothing(asked("limit").map(|text| number(text, 1..=PAGE_MAX)))?,
        before: all_or_nothing(cursor("before"))?,
        since: all_or_nothing(cursor("since"))?,
        format: all_or_nothing(asked("format").map(|text| match text {
            "csv" => Some(Format::Csv),
            "ndjson" => Some(Format::NdJson),
            _ => None,
        }))?,
        window: all_or_nothing(asked("window").map(span))?,
        step: all_or_nothing(asked("step").map(span))?,
    };
    let in_order = plainly.from.zip(plainly.to).is_none_or(|(from, to)| from < to);
    (in_order && is_usable(&wanted)).then_some((plainly, wanted))
}

/// What is asked for and cannot be read makes all of it nothing.
#[allow(clippy::option_option, reason = "not asked for, asked for in vain, asked for")]
fn all_or_nothing<T>(asked: Option<Option<T>>) -> Option<Option<T>> {
    match asked {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// Values with commas between them; a backslash makes a comma a part of one.
fn alternatives(name: &str, value: &str) -> Option<Wanted> {
    let values = value.replace("\\,", COMMA);
    let short = value.chars().count() <= VALUE_LENGTH_MAX;
    short.then(|| values.split(',').map(|value| (name.to_owned(), value.replace(COMMA, ","))).collect())
}

fn number(text: &str, bounds: RangeInclusive<usize>) -> Option<usize> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(10)).collect();
    // What is beyond every bound may as well stay there.
    let number = digits?.into_iter().fold(0, |number, digit| (number * 10 + digit as usize).min(*bounds.end() + 1));
    (!text.is_empty() && bounds.contains(&number)).then_some(number)
}

fn time(text: &str) -> Option<u64> {
    match text.len() {
        1..=11 if text.chars().all(|digit| digit.is_ascii_digit()) => Some(text.parse::<u64>().ok()? * 1000),
        _ => rfc3339(text.as_bytes()),
    }
}

/// By the days of each month, as a calendar on paper has them.
fn rfc3339(text: &[u8]) -> Option<u64> {
    let (front, rest) = (text.get(..19)?, &text[19..]);
    // Between date and time may be anything, if it is one byte.
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| front[*at] != *mark) {
        return None;
    }
    let [year, month, day] = [digits(&front[..4])?, digits(&front[5..7])?, digits(&front[8..10])?];
    let [hour, minute, second] = [digits(&front[11..13])?, digits(&front[14..16])?, digits(&front[17..])?];
    let zone = rest.iter().position(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-'))?;
    let millis = match rest[..zone] {
        [] => 0,
        [b'.', first, ref more @ ..] if more.iter().all(u8::is_ascii_digit) => {
            let digit = |at: usize| more.get(at).copied().unwrap_or(b'0');
            digits(&[first, digit(0), digit(1)])?
        }
        _ => return None,
    };
    let offset = match rest[zone..] {
        [b'Z' | b'z'] => 0,
        [sign, a, b, b':', c, d] => {
            let (hours, minutes) = (digits(&[a, b])?, digits(&[c, d])?);
            let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = |month: i64| match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !((1..=12).contains(&month) && (1..=days_of(month)).contains(&day) && hour < 24 && minute < 60 && second < 60) {
        return None;
    }
    let days = |years: std::ops::Range<i64>| years.map(|year| 365 + i64::from(is_leap(year))).sum::<i64>();
    let days = days(1970..year) - days(year..1970) + (1..month).map(days_of).sum::<i64>() + day - 1;
    let millis = (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000 + millis;
    // Nothing arrived before 1970.
    Some(u64::try_from(millis).unwrap_or(0))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn span(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let seconds = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)].iter().find(|(known, _)| *known == unit)?.1;
    let digits = &text[..at];
    let plain = digits.chars().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    let count: u64 = digits.parse().ok().filter(|_| plain && digits.len() <= 7)?;
    Some(Duration::from_secs(count * seconds))
}
