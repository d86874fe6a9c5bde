//! Where a request may hold its token.
//!
//! **Owns** the ways in: `Authorization: Bearer`, and for browsers, which cannot set that on a WebSocket, a
//! subprotocol `bearer.<token>` beside the one that is spoken. A URL is none: URLs are logged. Pure.

use hyper::header::{self, HeaderMap};

use crate::control::SUBPROTOCOL;
use crate::error::Refusal;
use crate::handshake::offers;

/// What comes before a token among the subprotocols.
const BEARER: &str = "bearer.";

/// The token of a request, where it has one.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (line, another) = (lines.next(), lines.next());
    if another.is_some() {
        return Err(Refusal::TokenForm("Authorization was sent twice"));
    }
    // Other schemes are another's, a proxy's perhaps.
    let authorization = line.and_then(|line| bearer(line.to_str().ok()?));
    let mut offered = offers(headers).filter_map(|name| name.strip_prefix(BEARER));
    let (subprotocol, another) = (offered.next(), offered.next());
    if another.is_some() || (authorization.is_some() && subprotocol.is_some()) {
        return Err(Refusal::TokenForm("more than one token was sent: send one"));
    }
    if subprotocol.is_some() && !offers(headers).any(|name| name == SUBPROTOCOL) {
        return Err(Refusal::Handshake("offer the subprotocol mandrill-live.v1 beside bearer.<token>".into()));
    }
    Ok(authorization.or(subprotocol))
}

fn bearer(line: &str) -> Option<&str> {
    let (scheme, token) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Option<String>, Refusal> {
        let mut headers = HeaderMap::new();
        pairs.iter().for_each(|(name, value)| {
            headers.append(*name, value.parse().expect("a header"));
        });
        token(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn a_token_comes_by_one_way_and_once() {
        let found = |pairs: &[(&'static str, &str)], expected: Option<&str>| {
            assert_eq!(read(pairs), Ok(expected.map(str::to_owned)), "{pairs:?}");
        };
        found(&[], None);
        found(&[("authorization", "Bearer a.b.c")], Some("a.b.c"));
        found(&[("authorization", "bearer  a.b.c ")], Some("a.b.c"));
        found(&[("authorization", "Bearer")], Some(""));
        found(&[("authorization", "Basic YTpi")], None);
        found(&[("sec-websocket-protocol", "mandrill-live.v1, bearer.a.b.c")], Some("a.b.c"));
        found(&[("sec-websocket-protocol", "bearer.a"), ("sec-websocket-protocol", "mandrill-live.v1")], Some("a"));
        found(&[("authorization", "Basic YTpi"), ("sec-websocket-protocol", "bearer.a, mandrill-live.v1")], Some("a"));
        for pairs in [
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")][..],
            &[("sec-websocket-protocol", "mandrill-live.v1, bearer.a, bearer.b")],
            &[("authorization", "Bearer a"), ("sec-websocket-protocol", "mandrill-live.v1, bearer.b")],
        ] {
            assert!(matches!(read(pairs), Err(Refusal::TokenForm(_))), "{pairs:?}");
        }
        assert!(matches!(read(&[("sec-websocket-protocol", "bearer.a")]), Err(Refusal::Handshake(_))));
    }
}
