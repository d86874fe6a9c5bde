//! Mandrill's webhook signature.
//!
//! **Owns** the one rule: base64 of HMAC-SHA1, keyed with the webhook's key as text, over the URL as it
//! was typed into Mandrill followed by each form field's name and value, sorted by name.
//! Pure; compares in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The key that Mandrill signs its check of a new URL with: public, good for an empty batch only.
pub const TEST_KEY: &str = "test-webhook";

/// A form's fields, decoded, in the order of signing. Built once a request, tried with every pair of
/// URL and key.
#[derive(Debug)]
pub struct SignedText<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> SignedText<'a> {
    /// Sorts the fields by name, by bytes.
    #[must_use]
    pub fn new(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> SignedText<'a> {
        let mut fields: Vec<_> = fields.into_iter().collect();
        fields.sort_unstable_by_key(|&(name, _)| name);
        SignedText(fields)
    }

    /// Whether `signature` is the one of this text under `url` and `key`, found in constant time.
    #[must_use]
    pub fn is_signed(&self, signature: &Signature, url: &str, key: &str) -> bool {
        self.mac(url, key).verify_slice(&signature.0).is_ok()
    }

    /// The header's value.
    #[must_use]
    pub fn sign(&self, url: &str, key: &str) -> String {
        STANDARD.encode(self.mac(url, key).finalize().into_bytes())
    }

    fn mac(&self, url: &str, key: &str) -> Hmac<Sha1> {
        // HMAC takes keys of any length: this cannot fail, and a key that did would sign nothing we accept.
        let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap_or_else(|_| Hmac::new(&Default::default()));
        mac.update(url.as_bytes());
        for (name, value) in &self.0 {
            mac.update(name);
            mac.update(value);
        }
        mac
    }
}

/// The digest that `X-Mandrill-Signature` holds.
#[derive(Debug, Clone, Copy)]
pub struct Signature([u8; 20]);

impl Signature {
    /// Reads the header's value; nothing where it is not base64 of 20 bytes.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Signature> {
        STANDARD.decode(header).ok()?.try_into().ok().map(Signature)
    }
}

/// The `X-Mandrill-Signature` of decoded form fields under `url` and `key`.
#[must_use]
pub fn sign(key: &str, url: &str, fields: &[(&[u8], &[u8])]) -> String {
    SignedText::new(fields.iter().copied()).sign(url, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// HMAC-SHA1 as RFC 2104 writes it, from the hash alone.
    fn hmac_by_hand(key: &[u8], text: &[u8]) -> Vec<u8> {
        use sha1::Digest;
        let mut block = [0; 64];
        if key.len() > 64 {
            block[..20].copy_from_slice(&Sha1::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let inner = Sha1::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(text).finalize();
        Sha1::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
    }

    #[test]
    fn a_published_probe_signature_agrees() {
        // Checked with the openssl command line: `printf '%s' URLmandrill_events[] | openssl sha1 -hmac test-webhook -binary | base64`.
        let signature = sign(TEST_KEY, "https://hooks.example.com/mandrill/in", &[(b"mandrill_events", b"[]")]);
        assert_eq!(signature, "Fw05qU8PGGdtsrS20R3d1DnxfuQ=");
    }

    proptest! {
        #[test]
        fn agrees_with_an_independent_computation(
            key in ".{0,80}",
            url in ".{0,60}",
            fields in proptest::collection::btree_map(".{0,8}", ".{0,40}", 0..5),
        ) {
            let mut text = url.clone();
            fields.iter().for_each(|(name, value)| { text.push_str(name); text.push_str(value); });
            let expected = STANDARD.encode(hmac_by_hand(key.as_bytes(), text.as_bytes()));
            let shuffled: Vec<_> = fields.iter().rev().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            let signature = sign(&key, &url, &shuffled);
            prop_assert_eq!(&signature, &expected);
            let parsed = Signature::parse(signature.as_bytes()).expect("28 characters of base64");
            prop_assert!(SignedText::new(shuffled.iter().copied()).is_signed(&parsed, &url, &key));
            let other_url = format!("{url}/");
            prop_assert!(!SignedText::new(shuffled).is_signed(&parsed, &other_url, &key));
        }

        #[test]
        fn any_header_is_a_signature_or_none(header: Vec<u8>) {
            let _ = Signature::parse(&header);
        }
    }
}
