//! New tokens, for trying things out and for machines of one's own.
//!
//! **Owns** the claims of a token that this service takes. In production an identity provider makes them.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

use super::{AccessSettings, Scope, crypto, now_ms};
use crate::filter::{FilterBuilder, InvalidFilter};

/// What a new token shall allow.
#[derive(Debug, Clone)]
pub struct Wish {
    /// To whom.
    pub subject: Option<String>,
    /// What.
    pub scopes: Vec<Scope>,
    /// Which events: names with alternative values. Nothing for all events.
    pub filter: Vec<(String, Vec<String>)>,
    /// For how long, from now on.
    pub lasts: Duration,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// There is nothing to sign with.
    #[error("JWT_SECRET is not set: a token is signed with it")]
    NoSecret,
    /// The service would refuse its filter.
    #[error("the filter cannot be used: {0}")]
    Filter(String),
    /// The library would not sign it.
    #[error("the token cannot be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

impl From<InvalidFilter> for MintError {
    fn from(invalid: InvalidFilter) -> MintError {
        MintError::Filter(invalid.to_string())
    }
}

/// A token that a service with these settings takes, signed with the newest secret.
///
/// # Errors
/// Where there is no secret, or the service would refuse the filter.
pub fn token(settings: &AccessSettings, wish: &Wish) -> Result<String, MintError> {
    let secret = settings.jwt_secret.as_ref().and_then(|secrets| secrets.get().newest()).ok_or(MintError::NoSecret)?;
    let now = now_ms() / 1000;
    let mut claims = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    };
    let scopes: Vec<&str> = wish.scopes.iter().map(|scope| scope.name()).collect();
    add("sub", wish.subject.clone().map(Value::from));
    add("iss", settings.jwt_issuer.clone().map(Value::from));
    add("aud", settings.jwt_audience.clone().map(Value::from));
    add("iat", Some(now.into()));
    add("exp", Some((now + wish.lasts.as_secs()).into()));
    add(&settings.jwt_scope_claim, Some(scopes.join(" ").into()));
    add(&settings.jwt_filter_claim, filter(&wish.filter)?.map(Value::Object));
    crypto::install();
    Ok(encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}

fn filter(asked: &[(String, Vec<String>)]) -> Result<Option<Map<String, Value>>, InvalidFilter> {
    let mut filter: Map<String, Value> = Map::new();
    for (name, values) in asked {
        let known = filter.entry(name.as_str()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(known) = known {
            known.extend(values.iter().map(|value| Value::from(value.as_str())));
        }
    }
    FilterBuilder::from_json(&filter)?;
    Ok((!filter.is_empty()).then_some(filter))
}
