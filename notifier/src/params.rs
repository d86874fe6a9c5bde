//! What a live request asks for in its query.
//!
//! **Owns** the names and bounds of its parameters. Pure.

use shared::cursor::Cursor;
use shared::form::Form;

use crate::filter::{Filter, FilterBuilder, InvalidFilter};

/// The most `last` may ask for.
pub(crate) const LAST_MAX: usize = 1000;
/// Parameters of one request.
const PARAMETERS_MAX: usize = 300;

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

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Params {
    pub(crate) start: Start,
    pub(crate) filter: Option<Filter>,
}

/// Why a query cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidParams {
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    #[error("since: {0}")]
    Since(#[from] shared::cursor::InvalidCursor),
    #[error("last must be a whole number up to {LAST_MAX}")]
    Last,
    #[error("since and last: one of them, once")]
    Start,
    #[error("the query is not UTF-8")]
    NotText,
    #[error("more than {PARAMETERS_MAX} parameters")]
    TooMany,
}

impl Params {
    /// Reads a query.
    pub(crate) fn read(query: Option<&str>) -> Result<Params, InvalidParams> {
        let mut bytes = query.unwrap_or_default().as_bytes().to_vec();
        let form = Form::decode_in_place(&mut bytes, PARAMETERS_MAX).map_err(|_| InvalidParams::TooMany)?;
        let (mut start, mut filter) = (None, FilterBuilder::default());
        for (name, value) in form.fields(&bytes) {
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| InvalidParams::NotText);
            let (name, value) = (text(name)?, text(value)?);
            let asked = match name {
                "since" => Start::Since(value.parse()?),
                "last" => Start::Last(last(value)?),
                _ => {
                    filter.parameter(name, value)?;
                    continue;
                }
            };
            if start.replace(asked).is_some() {
                return Err(InvalidParams::Start);
            }
        }
        Ok(Params { start: start.unwrap_or_default(), filter: filter.build() })
    }
}

fn last(text: &str) -> Result<usize, InvalidParams> {
    text.parse().ok().filter(|count| *count <= LAST_MAX).ok_or(InvalidParams::Last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::cursor::Epoch;

    #[test]
    fn a_query_is_read_whole_or_refused() {
        let cursor = Cursor { epoch: Epoch::random(), sequence: 1, stored_ms: 2 };
        assert_eq!(Params::read(None), Ok(Params::default()));
        let read = Params::read(Some(&format!("since={cursor}&event=open%2Cclick&email=a%2Bb@example.com")));
        let read = read.expect("a query");
        assert_eq!(read.start, Start::Since(cursor));
        assert!(read.filter.is_some());
        assert_eq!(Params::read(Some("last=20")).map(|read| read.start), Ok(Start::Last(20)));
        let check = |query: &str, expected: InvalidParams| assert_eq!(Params::read(Some(query)), Err(expected));
        check("last=1001", InvalidParams::Last);
        check("last=-1", InvalidParams::Last);
        check("last=1&last=2", InvalidParams::Start);
        check("since=x", InvalidParams::Since(shared::cursor::InvalidCursor));
        check("evnet=open", InvalidFilter::Name("evnet".into()).into());
        check("event=", InvalidFilter::Empty("event".into()).into());
        check("event=%ff", InvalidParams::NotText);
    }
}
