//! What holds for any token (feature `invariants`).
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise ends the run")]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use ring::hmac;
use serde_json::{Map, Value};
use shared::settings::{Environment, Mistakes, Settings, Value as _};

use super::keys::{Keys, Secrets};
use super::presented;
use super::token::{Grant, Rules, SUBJECT_BYTES_MAX, TOKEN_BYTES_MAX};
use super::{AccessSettings, now_ms};
use crate::error::Refusal;
use crate::invariants::wanted::{self, is_meant, is_usable};

const SECRET: &str = "an example that is no secret at all";
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "mandrill-live";
/// So near to now, whether a time has come depends on when one asks.
const NOW_SECONDS: f64 = 100.0;

/// Rules for tokens of any issuer that name no audience, and for those of ours.
static OPEN: LazyLock<Rules> = LazyLock::new(|| rules([]));
static NAMED: LazyLock<Rules> = LazyLock::new(|| rules([("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", AUDIENCE)]));
static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::of_secrets(&Secrets::parse(SECRET).expect("a secret")));

fn rules<const N: usize>(names: [(&str, &str); N]) -> Rules {
    let environment = Environment::from(names).or("JWT_SECRET", SECRET);
    Rules::new(&AccessSettings::read(&environment, &mut Mistakes::default()).expect("settings"))
}

/// The token that a request presents.
pub(crate) fn token_of(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    presented::token(headers)
}

/// Two lines are a header and claims, which are signed here; what follows says which byte of the token is changed.
///
/// A signed token allows what a plain reading of its claims allows, or is refused; any other is refused.
pub fn token(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        is_refused_unless_signed(text);
    }
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else { return };
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{message}.{}", signature(&message));
    for (rules, named) in [(&*OPEN, false), (&*NAMED, true)] {
        let case = Case { header: object(header), claims: object(claims), named, now: now_ms() as f64 / 1000.0 };
        match rules.read(&token, &KEYS, now_ms()) {
            Ok(grant) => case.allows(&grant),
            Err(why) => {
                let canonical = is_canonical(header) && is_canonical(claims) && token.len() <= TOKEN_BYTES_MAX;
                assert!(!(canonical && case.is_good()), "{why}: {}", String::from_utf8_lossy(input));
            }
        }
    }
    if let Some([high, low, other]) = parts.next() {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % token.len();
        let mut changed = token.clone().into_bytes();
        changed[place] = *other;
        if let Ok(changed) = String::from_utf8(changed)
            && changed != token
        {
            let good = [&*OPEN, &*NAMED].iter().any(|rules| rules.read(&changed, &KEYS, now_ms()).is_ok());
            assert!(!good, "{changed} is not {token}");
        }
    }
}

fn is_refused_unless_signed(token: &str) {
    let is_signed = token.rsplit_once('.').is_some_and(|(message, signed)| signed == signature(message));
    for rules in [&*OPEN, &*NAMED] {
        assert!(is_signed || rules.read(token, &KEYS, now_ms()).is_err(), "{token}");
    }
}

fn signature(message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()))
}

fn object(text: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(text).unwrap_or_default()
}

/// Written in one way only: nothing stands twice.
fn is_canonical(text: &[u8]) -> bool {
    serde_json::to_vec(&object(text)).is_ok_and(|canonical| canonical == text)
}

struct Case {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    named: bool,
    now: f64,
}

impl Case {
    fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    fn number(&self, claim: &str) -> Option<f64> {
        self.claims.get(claim).and_then(Value::as_f64)
    }

    /// Nothing at all, which may be said by `null`.
    fn lacks(&self, claim: &str) -> bool {
        self.claims.get(claim).is_none_or(Value::is_null)
    }

    /// The value itself, or one of several.
    fn names(&self, claim: &str, name: &str) -> bool {
        match self.claims.get(claim) {
            Some(Value::Array(names)) => names.iter().any(|named| named == name),
            Some(named) => named == name,
            None => false,
        }
    }

    fn holds(&self, scope: &str) -> bool {
        self.names("scope", scope) || self.text("scope").is_some_and(|words| words.split(' ').any(|word| word == scope))
    }

    /// What is allowed was signed.
    fn allows(&self, grant: &Grant) {
        let claims = &self.claims;
        assert_eq!(self.header.get("alg"), Some(&Value::from("HS256")));
        assert!(self.header.get("crit").is_none_or(Value::is_null), "{:?}", self.header);
        let ends = self.number("exp").expect("an end");
        assert!(ends > self.now - NOW_SECONDS && grant.ends_ms == (ends * 1000.0) as u64, "{claims:?}");
        assert!(self.number("nbf").is_none_or(|begins| begins < self.now + NOW_SECONDS), "{claims:?}");
        if self.named {
            assert!(self.names("iss", ISSUER) && self.names("aud", AUDIENCE), "{claims:?}");
        } else {
            assert!(self.lacks("aud"), "{claims:?}");
        }
        assert_eq!(grant.subject.as_deref(), self.text("sub"));
        assert!(grant.subject.as_ref().is_none_or(|subject| subject.len() <= SUBJECT_BYTES_MAX));
        // Words may have any white space between them.
        let words = |scope| self.text("scope").is_some_and(|words| words.contains(scope));
        for (scope, held) in [("events:read", grant.read), ("events:erase", grant.erase)] {
            assert!(!held || self.names("scope", scope) || words(scope), "{scope}: {claims:?}");
            assert!(held || !self.holds(scope), "{scope}: {claims:?}");
        }
        match claims.get("filter") {
            None => assert!(grant.filter.is_none() && grant.claim.is_none()),
            Some(Value::Object(filter)) => {
                let plainly = wanted::of_json(filter).filter(is_usable).expect("a filter");
                is_meant(grant.filter.as_deref(), &plainly);
                assert!(grant.filter.is_some(), "a filter never means everything");
                assert_eq!(grant.claim.as_ref().and_then(wanted::of_json), Some(plainly), "as it is told");
            }
            Some(other) => panic!("{other} is no filter"),
        }
    }

    /// Nobody could have anything against it.
    fn is_good(&self) -> bool {
        let claims = &self.claims;
        let plain_header = self.header.iter().all(|(name, value)| match name.as_str() {
            "alg" => value == "HS256",
            "typ" => value == "JWT",
            _ => false,
        });
        let whole = |claim: &str| claims.get(claim).and_then(Value::as_u64).map(|seconds| seconds as f64);
        let is_text = |claim: &str| claims.get(claim).is_none_or(Value::is_string);
        let filter = match claims.get("filter") {
            None => true,
            Some(Value::Object(filter)) => {
                wanted::of_json(filter).is_some_and(|wanted| !wanted.is_empty() && is_usable(&wanted))
            }
            Some(_) => false,
        };
        plain_header
            && self.header.contains_key("alg")
            && whole("exp").is_some_and(|ends| ends > self.now + NOW_SECONDS && ends < 1e13)
            && (!claims.contains_key("nbf") || whole("nbf").is_some_and(|begins| begins < self.now))
            && is_text("iss")
            && is_text("aud")
            && self.text("sub").is_none_or(|subject| subject.len() <= SUBJECT_BYTES_MAX)
            && is_text("sub")
            && (if self.named { self.names("iss", ISSUER) && self.names("aud", AUDIENCE) } else { self.lacks("aud") })
            && is_text("scope")
            && filter
    }
}
