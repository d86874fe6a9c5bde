//! The keys tokens are verified with.
//!
//! **Owns** the reading of secrets and of a JWKS (RFC 7517). Pure. Each key has one algorithm, given by what
//! it is: what a token's header says only chooses among keys.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header};
use serde::Deserialize;
use shared::settings::Value;

use super::crypto;

/// The shortest secret: HS256 is as strong as its secret, up to this.
const SECRET_BYTES_MIN: usize = 32;
/// Keys of one set: each may have to be tried.
const KEYS_MAX: usize = 100;
/// The shortest RSA key ring verifies with.
const RSA_BYTES_MIN: usize = 2048 / 8;

/// The secrets of HS256, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The one new tokens are signed with.
    pub(crate) fn newest(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
}

impl Value for Secrets {
    const KIND: &'static str = "secrets of 32 bytes or more, comma-separated";
    fn parse(text: &str) -> Result<Secrets, String> {
        let secrets: Vec<String> =
            text.split([',', '\n']).map(str::trim).filter(|secret| !secret.is_empty()).map(str::to_owned).collect();
        let usable =
            (1..=KEYS_MAX).contains(&secrets.len()) && secrets.iter().all(|secret| secret.len() >= SECRET_BYTES_MIN);
        // Nothing of a secret may be said.
        if usable { Ok(Secrets(secrets)) } else { Err(format!("is not {}", Secrets::KIND)) }
    }
}

/// Which key it is, as long as this process lives: another one under the same name is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(u64);

/// A key and what it is good for.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) id: KeyId,
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl Key {
    fn new(kid: Option<String>, algorithm: Algorithm, decoding: DecodingKey) -> Key {
        static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let material = match decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (&bytes[..], &[][..]),
            DecodingKeyKind::RsaModulusExponent { n, e } => (&n[..], &e[..]),
        };
        let id = KeyId(HASH.hash_one((&kid, format!("{algorithm:?}"), material)));
        Key { id, kid, algorithm, decoding }
    }
}

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKeys {
    #[error("it is not a JWKS: a JSON object whose `keys` is an array")]
    Shape,
    #[error("it has no key that tokens could be verified with: RS256 (2048 bits or more), ES256 or EdDSA (Ed25519)")]
    None,
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

/// A set of keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    /// Of secrets, for HS256.
    pub(super) fn of_secrets(secrets: &Secrets) -> Keys {
        crypto::install();
        let key = |secret: &String| Key::new(None, Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes()));
        Keys(secrets.0.iter().map(key).collect())
    }

    /// Of a JWKS. Keys for anything else than verifying tokens are left out.
    pub(crate) fn of_jwks(text: &[u8]) -> Result<Keys, BadKeys> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        crypto::install();
        let document: Document = serde_json::from_slice(text).map_err(|_| BadKeys::Shape)?;
        if document.keys.len() > KEYS_MAX {
            return Err(BadKeys::TooMany);
        }
        let keys: Vec<Key> = document.keys.into_iter().filter_map(public_key).collect();
        if keys.is_empty() { Err(BadKeys::None) } else { Ok(Keys(keys)) }
    }

    /// These and those.
    pub(super) fn and(mut self, others: &Keys) -> Keys {
        self.0.extend_from_slice(&others.0);
        self
    }

    /// Those a token with this header may have been signed with. A key without a name may be any; a token
    /// without one may be of any.
    pub(super) fn candidates(&self, header: &Header) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(|key| {
            let names = key.kid.as_ref().zip(header.kid.as_ref());
            key.algorithm == header.alg && names.is_none_or(|(key, token)| key == token)
        })
    }

    /// Whether any key is for this algorithm.
    pub(super) fn has_for(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|key| key.algorithm == algorithm)
    }

    /// Whether this key is one of them.
    pub(super) fn knows(&self, id: KeyId) -> bool {
        self.0.iter().any(|key| key.id == id)
    }

    /// The keys there are.
    pub(super) fn ids(&self) -> HashSet<KeyId> {
        self.0.iter().map(|key| key.id).collect()
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// A key of a JWKS, where it is one for verifying with an algorithm that is known here.
fn public_key(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let for_verifying =
        common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        // A secret has no place in a public document.
        _ => return None,
    };
    let as_named = common.key_algorithm.is_none_or(|named| named == name);
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let long_enough = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.len() >= RSA_BYTES_MIN,
        DecodingKeyKind::SecretOrDer(_) => true,
    };
    (for_signatures && for_verifying && as_named && long_enough)
        .then(|| Key::new(jwk.common.key_id, algorithm, decoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_or_none_are_taken() {
        let (one, other) = ("a".repeat(32), "b".repeat(40));
        let both = Secrets::parse(&format!("{one}, {other}\n")).expect("two");
        assert_eq!(both.newest(), Some(one.as_str()));
        assert_eq!(Keys::of_secrets(&both).count(), 2);
        for bad in ["", " , ", "short", &format!("{one},short")] {
            let what = Secrets::parse(bad).expect_err("refused");
            assert!(!what.contains("short,") && !what.contains(&one), "{what}");
        }
    }

    #[test]
    fn a_jwks_is_read_for_what_it_verifies_and_nothing_else() {
        const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let read = |keys: serde_json::Value| Keys::of_jwks(serde_json::json!({ "keys": keys }).to_string().as_bytes());
        let ed = |extra: serde_json::Value| {
            let mut key = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": X});
            key.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
            key
        };
        let count = |keys| read(keys).map(|keys| keys.count());
        assert_eq!(count(serde_json::json!([ed(serde_json::json!({})), ed(serde_json::json!({"kid": "a"}))])), Ok(2));
        for unusable in [
            ed(serde_json::json!({"use": "enc"})),
            ed(serde_json::json!({"key_ops": ["sign"]})),
            ed(serde_json::json!({"alg": "ES256"})),
            serde_json::json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}),
            serde_json::json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            serde_json::json!({"kty": "EC", "crv": "P-384", "x": X, "y": X}),
            serde_json::json!("a"),
        ] {
            assert_eq!(count(serde_json::json!([unusable])), Err(BadKeys::None), "{unusable}");
            assert_eq!(count(serde_json::json!([unusable, ed(serde_json::json!({}))])), Ok(1), "{unusable}");
        }
        assert_eq!(Keys::of_jwks(b"<html>").map(|keys| keys.count()), Err(BadKeys::Shape));
        assert_eq!(count(serde_json::json!(vec![ed(serde_json::json!({})); KEYS_MAX + 1])), Err(BadKeys::TooMany));
    }

    #[test]
    fn another_key_under_the_same_name_is_another() {
        let ids = |kid: &str, x: &str| {
            let text = serde_json::json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}]});
            Keys::of_jwks(text.to_string().as_bytes()).expect("a key").ids()
        };
        let (one, other) =
            ("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "21qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(ids("a", one), ids("a", one));
        assert_ne!(ids("a", one), ids("a", other));
        assert_ne!(ids("a", one), ids("b", one));
    }
}
