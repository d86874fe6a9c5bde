//! One token: is it good, and what does it say?
//!
//! **Owns** the rules a token must keep, and the meaning of its claims. Pure but for the clock. Whatever is
//! not clearly allowed is refused: a filter that cannot be read never means "everything".

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::keys::{KeyId, Keys};
use super::{AccessSettings, Scope};
use crate::filter::{Filter, FilterBuilder, InvalidFilter};

/// The longest token that is looked at.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 << 10;
/// The longest subject: it is counted by, and shown.
pub(super) const SUBJECT_BYTES_MAX: usize = 256;
/// How far another clock may be ahead of this one: a token may be good from so soon on. Its end is never
/// moved: who may read until then may not read after it.
const CLOCK_LEEWAY_SECONDS: u64 = 30;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token is not a JWT, or of a kind that is not known here")]
    Shape,
    #[error("the token is signed with an algorithm this service has no key for")]
    Algorithm,
    #[error("the token is signed with a key this service does not know")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's claim {0:?} is missing")]
    Missing(String),
    #[error("the token's claim {0:?} is not as it must be")]
    Claim(String),
    #[error("the token's filter cannot be used: {0}")]
    Filter(#[from] InvalidFilter),
}

impl BadToken {
    /// Whether it may be good under a key that is not known here.
    pub(super) fn is_of_another_key(&self) -> bool {
        matches!(self, BadToken::UnknownKey | BadToken::Algorithm)
    }

    /// For the metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            BadToken::TooLong | BadToken::Shape => "shape",
            BadToken::Algorithm => "algorithm",
            BadToken::UnknownKey => "unknown_key",
            BadToken::Signature => "signature",
            BadToken::Expired => "expired",
            BadToken::NotYet => "not_yet",
            BadToken::Issuer => "issuer",
            BadToken::Audience => "audience",
            BadToken::Missing(_) | BadToken::Claim(_) | BadToken::Filter(_) => "claim",
        }
    }
}

/// What a good token says.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(super) key: KeyId,
    pub(super) subject: Option<Arc<str>>,
    pub(super) read: bool,
    pub(super) erase: bool,
    pub(super) filter: Option<Arc<Filter>>,
    /// The filter as the token has it: names with an array of values each.
    pub(super) claim: Option<Map<String, Value>>,
    pub(super) ends_ms: u64,
}

/// What tokens must keep.
#[derive(Debug)]
pub(super) struct Rules {
    validation: Validation,
    scope_claim: String,
    filter_claim: String,
}

impl Rules {
    pub(super) fn new(settings: &AccessSettings) -> Rules {
        let mut required = vec!["exp"];
        // Its algorithm is each key's own.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = CLOCK_LEEWAY_SECONDS;
        validation.validate_nbf = true;
        if let Some(issuer) = &settings.jwt_issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        // Where we have no name, a token for anybody else by name is refused as well.
        if let Some(audience) = &settings.jwt_audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let (scope_claim, filter_claim) = (settings.jwt_scope_claim.clone(), settings.jwt_filter_claim.clone());
        Rules { validation, scope_claim, filter_claim }
    }

    /// What a token says, where one of these keys has signed it and it keeps the rules.
    pub(super) fn read(&self, token: &str, keys: &Keys, now_ms: u64) -> Result<Grant, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let header = decode_header(token).map_err(|_| BadToken::Shape)?;
        // What must be understood and is not known here (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(BadToken::Shape);
        }
        let mut why = if keys.has_for(header.alg) { BadToken::UnknownKey } else { BadToken::Algorithm };
        for key in keys.candidates(&header) {
            let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
            match decode::<Map<String, Value>>(token, &key.decoding, &validation) {
                Ok(data) => return self.grant(key.id, data.claims, now_ms),
                Err(error) => match bad(error.kind()) {
                    BadToken::Signature => why = BadToken::Signature,
                    other => return Err(other),
                },
            }
        }
        Err(why)
    }

    fn grant(&self, key: KeyId, mut claims: Map<String, Value>, now_ms: u64) -> Result<Grant, BadToken> {
        let ends_ms = millis(claims.get("exp")).ok_or_else(|| BadToken::Claim("exp".into()))?;
        if ends_ms <= now_ms {
            return Err(BadToken::Expired);
        }
        if self.validation.aud.is_none() && claims.get("aud").is_some_and(|named| !named.is_null()) {
            return Err(BadToken::Audience);
        }
        let scopes = scopes(claims.get(&self.scope_claim)).ok_or_else(|| BadToken::Claim(self.scope_claim.clone()))?;
        let (filter, claim) = match claims.remove(&self.filter_claim) {
            None => (None, None),
            Some(Value::Object(claim)) if !claim.is_empty() => {
                (FilterBuilder::from_json(&claim)?.build().map(Arc::new), Some(as_arrays(claim)))
            }
            Some(_) => return Err(InvalidFilter::Shape.into()),
        };
        let subject = match claims.remove("sub") {
            None | Some(Value::Null) => None,
            Some(Value::String(subject)) if subject.len() <= SUBJECT_BYTES_MAX => Some(subject.into()),
            Some(_) => return Err(BadToken::Claim("sub".into())),
        };
        let holds = |scope: Scope| scopes.iter().any(|held| held == scope.name());
        Ok(Grant { key, subject, read: holds(Scope::Read), erase: holds(Scope::Erase), filter, claim, ends_ms })
    }
}

/// The same with each value in an array.
fn as_arrays(claim: Map<String, Value>) -> Map<String, Value> {
    let as_array = |value: Value| if value.is_array() { value } else { Value::Array(vec![value]) };
    claim.into_iter().map(|(name, value)| (name, as_array(value))).collect()
}

fn bad(kind: &ErrorKind) -> BadToken {
    match kind {
        ErrorKind::InvalidSignature => BadToken::Signature,
        ErrorKind::ExpiredSignature => BadToken::Expired,
        ErrorKind::ImmatureSignature => BadToken::NotYet,
        ErrorKind::InvalidIssuer => BadToken::Issuer,
        ErrorKind::InvalidAudience => BadToken::Audience,
        ErrorKind::InvalidAlgorithm => BadToken::Algorithm,
        ErrorKind::MissingRequiredClaim(claim) => BadToken::Missing(claim.clone()),
        ErrorKind::InvalidClaimFormat(claim) => BadToken::Claim(claim.clone()),
        // The library's list is open: whatever else it finds, the token is none.
        _ => BadToken::Shape,
    }
}

/// A numeric date, which may have a fraction, in milliseconds.
fn millis(date: Option<&Value>) -> Option<u64> {
    let seconds = date?.as_f64().filter(|seconds| (0.0..1e13).contains(seconds))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in bounds")]
    Some((seconds * 1000.0) as u64)
}

/// The scopes of a claim: words in a string, or strings. None at all where the claim is missing.
fn scopes(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(words)) => Some(words.split_ascii_whitespace().map(str::to_owned).collect()),
        Some(Value::Array(words)) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}
