//! What a request asks for in its query.
//!
//! **Owns** the names and bounds of the parameters, of live requests and of those for stored events. Pure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use shared::cursor::Cursor;
use shared::form::Form;
use shared::subject::RecipientHash;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::filter::{Filter, FilterBuilder, InvalidFilter, VALUES_MAX};

/// The most `last` may ask for.
pub(crate) const LAST_MAX: usize = 1000;
/// The most events of one page.
pub(crate) const PAGE_MAX: usize = 1000;
/// Parameters of one request.
const PARAMETERS_MAX: usize = 300;
/// Characters of a person or a message in a path.
pub(crate) const IN_PATH_LENGTH_MAX: usize = 512;
/// Characters of one parameter of a filter.
const VALUE_LENGTH_MAX: usize = 1024;

/// From where a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Start {
    /// With what comes.
    #[default]
    Head,
    /// After a cursor.
    Since(Cursor),
    /// With the newest events that match.
    Last(usize),
}

/// What a live request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Params {
    pub(crate) start: Start,
    pub(crate) filter: Option<Arc<Filter>>,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object a line.
    NdJson,
    /// A table.
    Csv,
}

/// What a request for stored events asks for. What is not given is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    pub(crate) filter: Option<Arc<Filter>>,
    /// Milliseconds since 1970, inclusive.
    pub(crate) from: Option<u64>,
    /// Milliseconds since 1970, exclusive.
    pub(crate) to: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) before: Option<Cursor>,
    pub(crate) since: Option<Cursor>,
    pub(crate) format: Option<Format>,
    pub(crate) window: Option<Duration>,
    pub(crate) step: Option<Duration>,
}

/// Why a query cannot be used: which parameter is at fault, why, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidParams {
    pub(crate) parameter: Cow<'static, str>,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) allowed: Cow<'static, str>,
}

impl InvalidParams {
    pub(crate) fn new(
        parameter: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
        allowed: impl Into<Cow<'static, str>>,
    ) -> InvalidParams {
        InvalidParams { parameter: parameter.into(), detail: detail.into(), allowed: allowed.into() }
    }
}

/// What may stand in a cursor's place.
pub(crate) const CURSOR_ALLOWED: &str = "a cursor, as `_cursor`, `at` or `next` gave it";
const TIME_ALLOWED: &str = "a time of RFC 3339 (2025-10-09T08:53:20Z), or whole seconds since 1970";
const SPAN_ALLOWED: &str = "a whole number and a unit: 30s, 5m, 1h, 7d";

impl Params {
    /// Reads a live request's query.
    pub(crate) fn read(query: Option<&str>) -> Result<Params, InvalidParams> {
        const NAMES: [&str; 2] = ["since", "last"];
        let (mut start, mut filter) = (None, FilterBuilder::default());
        each(query, |name, value| {
            let asked = match name {
                "since" => Start::Since(cursor(name, value)?),
                "last" => Start::Last(number(name, value, 0, LAST_MAX)?),
                _ => return filter_value(&mut filter, name, value, &NAMES),
            };
            match start.replace(asked) {
                None => Ok(()),
                Some(_) => {
                    let allowed = "one of `since` and `last`, once";
                    Err(InvalidParams::new(name.to_owned(), "there are two places to begin at", allowed))
                }
            }
        })?;
        Ok(Params { start: start.unwrap_or_default(), filter: filter.build().map(Arc::new) })
    }
}

impl Asked {
    /// Refuses a query where there is nothing to ask for.
    pub(crate) fn nothing(query: Option<&str>) -> Result<(), InvalidParams> {
        each(query, |name, _| {
            Err(InvalidParams::new(name.to_owned(), "there is no such parameter", "no parameters here"))
        })
    }

    /// Reads the query of a request that takes, beside filters, the parameters of these names. What the path
    /// says already is a filter's name and value, and not taken from the query.
    pub(crate) fn read(
        query: Option<&str>,
        names: &[&'static str],
        in_path: Option<(&'static str, &str)>,
    ) -> Result<Asked, InvalidParams> {
        let (mut asked, mut filter) = (Asked::default(), FilterBuilder::default());
        if let Some((name, value)) = in_path {
            filter.value(name, value).map_err(|error| InvalidParams::new(name, error.to_string(), "a value"))?;
        }
        each(query, |name, value| {
            if in_path.is_some_and(|(known, _)| known == name) {
                return Err(InvalidParams::new(name.to_owned(), "the path says it already", names.join(", ")));
            }
            if !names.contains(&name) {
                return filter_value(&mut filter, name, value, names);
            }
            let is_second = match name {
                "from" => asked.from.replace(time(name, value)?).is_some(),
                "to" => asked.to.replace(time(name, value)?).is_some(),
                "limit" => asked.limit.replace(number(name, value, 1, PAGE_MAX)?).is_some(),
                "before" => asked.before.replace(cursor(name, value)?).is_some(),
                "since" => asked.since.replace(cursor(name, value)?).is_some(),
                "format" => asked.format.replace(format(value)?).is_some(),
                "window" => asked.window.replace(span(name, value)?).is_some(),
                "step" => asked.step.replace(span(name, value)?).is_some(),
                _ => false,
            };
            if is_second {
                return Err(InvalidParams::new(name.to_owned(), "it stands twice", "once"));
            }
            Ok(())
        })?;
        if let (Some(from), Some(to)) = (asked.from, asked.to)
            && from >= to
        {
            return Err(InvalidParams::new("to", "it is not after `from`", "a time after `from`"));
        }
        asked.filter = filter.build().map(Arc::new);
        Ok(asked)
    }
}

/// The person that a path or a body names: by an address, or by what stands for it in subjects.
pub(crate) fn person(text: &str) -> Option<RecipientHash> {
    let is_address = || text.contains('@') && text.chars().count() <= IN_PATH_LENGTH_MAX;
    RecipientHash::parse(text).or_else(|| is_address().then(|| RecipientHash::of(text)))
}

fn each(
    query: Option<&str>,
    mut take: impl FnMut(&str, &str) -> Result<(), InvalidParams>,
) -> Result<(), InvalidParams> {
    let mut bytes = query.unwrap_or_default().as_bytes().to_vec();
    let form = Form::decode_in_place(&mut bytes, PARAMETERS_MAX).map_err(|_| {
        let allowed = format!("at most {PARAMETERS_MAX} parameters");
        InvalidParams::new("query", "there are too many parameters", allowed)
    })?;
    for (name, value) in form.fields(&bytes) {
        let name = std::str::from_utf8(name).map_err(|_| not_text("query"))?;
        let value = std::str::from_utf8(value).map_err(|_| not_text(name))?;
        take(name, value)?;
    }
    Ok(())
}

fn not_text(name: &str) -> InvalidParams {
    InvalidParams::new(name.to_owned(), "it is not UTF-8", "percent-encoded UTF-8")
}

fn filter_value(filter: &mut FilterBuilder, name: &str, value: &str, names: &[&str]) -> Result<(), InvalidParams> {
    let fault = |detail: String, allowed: String| Err(InvalidParams::new(name.to_owned(), detail, allowed));
    if value.chars().count() > VALUE_LENGTH_MAX {
        return fault("it is too long".into(), format!("at most {VALUE_LENGTH_MAX} characters"));
    }
    match filter.parameter(name, value) {
        Ok(()) => Ok(()),
        Err(error @ InvalidFilter::Name(_)) if is_token(name) => {
            fault(error.to_string(), "no token in an address: send it as `Authorization: Bearer …`".into())
        }
        Err(InvalidFilter::Name(_)) => {
            let mut allowed = names.join(", ");
            allowed.push_str(if allowed.is_empty() { "" } else { ", " });
            allowed.push_str(crate::filter::NAMES);
            fault("there is no such parameter".into(), allowed)
        }
        Err(error) => {
            fault(error.to_string(), format!("values that are not empty, {VALUES_MAX} of all names together"))
        }
    }
}

/// Whether this is how people send tokens where everybody logs them.
fn is_token(name: &str) -> bool {
    ["token", "access_token", "jwt", "bearer", "authorization"].contains(&name)
}

fn cursor(name: &str, value: &str) -> Result<Cursor, InvalidParams> {
    value.parse().map_err(|_| InvalidParams::new(name.to_owned(), "it is not a cursor", CURSOR_ALLOWED))
}

fn number(name: &str, value: &str, least: usize, most: usize) -> Result<usize, InvalidParams> {
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| value.parse().ok()).flatten();
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let allowed = format!("a whole number from {least} to {most}");
        InvalidParams::new(name.to_owned(), "it is not a number that may stand here", allowed)
    })
}

fn time(name: &str, value: &str) -> Result<u64, InvalidParams> {
    let fault = || InvalidParams::new(name.to_owned(), "it is not a time", TIME_ALLOWED);
    if !value.is_empty() && value.len() <= 11 && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse::<u64>().map(|seconds| seconds * 1000).map_err(|_| fault());
    }
    // Not moved to UTC, which has no place for the last hours of the calendar in other zones.
    let time = OffsetDateTime::parse(value, &Rfc3339).map_err(|_| fault())?;
    // Nothing arrived before 1970.
    Ok(u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
}

fn format(value: &str) -> Result<Format, InvalidParams> {
    match value {
        "ndjson" => Ok(Format::NdJson),
        "csv" => Ok(Format::Csv),
        _ => Err(InvalidParams::new("format", "there is no such format", "ndjson or csv")),
    }
}

fn span(name: &str, value: &str) -> Result<Duration, InvalidParams> {
    let fault = || InvalidParams::new(name.to_owned(), "it is not a length of time", SPAN_ALLOWED);
    let (digits, unit) = value.split_at(value.len() - value.chars().next_back().map_or(0, char::len_utf8));
    let plain = (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = if plain { digits.parse().map_err(|_| fault())? } else { 0 };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    if digits.starts_with('0') || count * seconds == 0 {
        Err(fault())
    } else {
        Ok(Duration::from_secs(count * seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::cursor::Epoch;

    fn some_cursor() -> Cursor {
        Cursor { epoch: Epoch::random(), sequence: 1, stored_ms: 2 }
    }

    #[test]
    fn a_query_is_read_whole_or_refused() {
        let cursor = some_cursor();
        assert_eq!(Params::read(None), Ok(Params::default()));
        let read = Params::read(Some(&format!("since={cursor}&event=open%2Cclick&email=a%2Bb@example.com")));
        let read = read.expect("a query");
        assert_eq!(read.start, Start::Since(cursor));
        assert!(read.filter.is_some());
        assert_eq!(Params::read(Some("last=20")).map(|read| read.start), Ok(Start::Last(20)));
        for (query, parameter) in [
            ("last=1001", "last"),
            ("last=-1", "last"),
            ("last=1&last=2", "last"),
            ("since=x", "since"),
            ("evnet=open", "evnet"),
            ("event=", "event"),
            ("event=%ff", "event"),
            ("%ff=open", "query"),
            ("limit=5", "limit"),
            ("access_token=x", "access_token"),
        ] {
            let fault = Params::read(Some(query)).expect_err(query);
            assert_eq!(fault.parameter, parameter);
            assert!(!fault.allowed.is_empty() && !fault.detail.is_empty(), "{query}");
        }
        let long = format!("tag={}", "x".repeat(VALUE_LENGTH_MAX + 1));
        assert_eq!(Params::read(Some(&long)).expect_err("too long").parameter, "tag");
    }

    #[test]
    fn stored_events_are_asked_for_by_what_the_request_takes() {
        let cursor = some_cursor();
        let names = ["from", "to", "limit", "before"];
        let query = format!("from=1760000000&to=2025-10-09T10:53:21%2B02:00&limit=7&before={cursor}&tag=x");
        let asked = Asked::read(Some(&query), &names, None).expect("a query");
        assert_eq!((asked.from, asked.to), (Some(1_760_000_000_000), Some(1_760_000_001_000)));
        assert_eq!((asked.limit, asked.before), (Some(7), Some(cursor)));
        assert!(asked.filter.is_some());
        for (query, parameter) in [
            ("since=x", "since"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=1&limit=1", "limit"),
            ("from=yesterday", "from"),
            ("from=2&to=2", "to"),
            ("before=", "before"),
        ] {
            assert_eq!(Asked::read(Some(query), &names, None).expect_err(query).parameter, parameter);
        }
        let early = Asked::read(Some("from=1969-01-01T00:00:00Z"), &names, None).expect("a query");
        assert_eq!(early.from, Some(0));
        let late = Asked::read(Some("to=9999-12-31T23:59:59-01:00"), &names, None).expect("a query");
        assert_eq!(late.to, Some(253_402_304_399_000));
        let message = Asked::read(Some("event=open"), &names, Some(("message", "a,b"))).expect("a query");
        assert_eq!(message.filter.expect("a filter").subjects().patterns().len(), 1);
        let twice = Asked::read(Some("message=a"), &names, Some(("message", "a"))).expect_err("in the path");
        assert_eq!(twice.parameter, "message");
        let spans = ["window", "step"];
        let asked = Asked::read(Some("window=2h&step=30s"), &spans, None).expect("a query");
        assert_eq!((asked.window, asked.step), (Some(Duration::from_secs(7200)), Some(Duration::from_secs(30))));
        for bad in ["window=", "window=h", "window=0s", "window=1", "window=1w", "window=-1h", "window=12345678s"] {
            assert_eq!(Asked::read(Some(bad), &spans, None).expect_err(bad).parameter, "window");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,80}") {
            let names = ["from", "to", "limit", "before", "since", "format", "window", "step"];
            let _ = Asked::read(Some(&query), &names, None);
            let _ = Params::read(Some(&query));
            for name in names {
                let _ = Asked::read(Some(&format!("{name}={query}")), &names, None);
            }
        }
    }
}
