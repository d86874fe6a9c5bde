//! The cryptography of tokens: ring's, which TLS brings already.
//!
//! **Owns** which algorithms there are. Pure. A key is good for one of them, whatever a token says.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

/// Tells jsonwebtoken of it; to be called before anything is signed or verified.
pub(super) fn install() {
    // The second time it is there already.
    let _ = PROVIDER.install_default();
}

/// An algorithm and its key.
enum Key {
    Hs256(hmac::Key),
    Rs256 { n: Vec<u8>, e: Vec<u8> },
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let key = match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
            Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => Key::Rs256 { n: n.clone(), e: e.clone() },
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => Key::Es256(point.clone()),
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => Key::EdDsa(point.clone()),
        _ => return Err(new_error(ErrorKind::InvalidKeyFormat)),
    };
    Ok(Box::new(key))
}

/// Only secrets sign here: private keys are the identity provider's.
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match algorithm {
        Algorithm::HS256 => Ok(Box::new(Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())))),
        _ => Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    }
}

impl Key {
    fn algorithm(&self) -> Algorithm {
        match self {
            Key::Hs256(_) => Algorithm::HS256,
            Key::Rs256 { .. } => Algorithm::RS256,
            Key::Es256(_) => Algorithm::ES256,
            Key::EdDsa(_) => Algorithm::EdDSA,
        }
    }
}

impl Verifier<Vec<u8>> for Key {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match self {
            Key::Hs256(key) => hmac::verify(key, message, signature),
            // ring takes numbers without zeros in front.
            Key::Rs256 { n, e } => RsaPublicKeyComponents { n: trimmed(n), e: trimmed(e) }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Key::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Key::EdDsa(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        verified.map_err(|_| Error::new())
    }
}

fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl JwtVerifier for Key {
    fn algorithm(&self) -> Algorithm {
        Key::algorithm(self)
    }
}

impl Signer<Vec<u8>> for Key {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        match self {
            Key::Hs256(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Key::Rs256 { .. } | Key::Es256(_) | Key::EdDsa(_) => Err(Error::new()),
        }
    }
}

impl JwtSigner for Key {
    fn algorithm(&self) -> Algorithm {
        Key::algorithm(self)
    }
}
