//! What signs tokens: secrets, an identity provider's keys, and the server that publishes those.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use ring::{hmac, rsa};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "a secret of the tests of thirty-two bytes and more";
pub(crate) const OTHER_SECRET: &str = "another secret of the tests that is long enough";

/// Something that signs.
pub(crate) struct Signer {
    key: Key,
    kid: Option<&'static str>,
}

enum Key {
    Hs256(hmac::Key),
    Rs256(Box<RsaKeyPair>),
    Es256(Box<EcdsaKeyPair>),
    EdDsa(Box<Ed25519KeyPair>),
}

impl Signer {
    pub(crate) fn secret(secret: &str) -> Signer {
        Signer { key: Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())), kid: None }
    }

    /// Always the same key: making one takes seconds.
    pub(crate) fn rs256(kid: &'static str) -> Signer {
        let pair = RsaKeyPair::from_der(include_bytes!("rsa-test-key.der")).expect("a key");
        Signer { key: Key::Rs256(Box::new(pair)), kid: Some(kid) }
    }

    pub(crate) fn es256(kid: &'static str) -> Signer {
        let (kind, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).expect("a key");
        Signer { key: Key::Es256(Box::new(pair)), kid: Some(kid) }
    }

    pub(crate) fn eddsa(kid: &'static str) -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        Signer { key: Key::EdDsa(Box::new(pair)), kid: Some(kid) }
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Hs256(_) => "HS256",
            Key::Rs256(_) => "RS256",
            Key::Es256(_) => "ES256",
            Key::EdDsa(_) => "EdDSA",
        }
    }

    /// The public key, as an identity provider publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.key {
            Key::Hs256(_) => panic!("a secret is not published"),
            Key::Rs256(pair) => {
                let public: rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)})
            }
            Key::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Key::EdDsa(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())}),
        };
        jwk["kid"] = self.kid.into();
        jwk["alg"] = self.algorithm().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid}), claims)
    }

    /// A token with any header.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = match &self.key {
            Key::Hs256(key) => hmac::sign(key, message.as_bytes()).as_ref().to_vec(),
            Key::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).expect("signed");
                signature
            }
            Key::Es256(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).expect("signed").as_ref().to_vec(),
            Key::EdDsa(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Claims of somebody who may read everything for an hour, changed by `with`.
pub(crate) fn claims(with: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": now() + 3600, "scope": "events:read"});
    let (Value::Object(all), Value::Object(with)) = (&mut claims, with) else { panic!("claims are an object") };
    for (name, value) in with {
        if value.is_null() {
            all.remove(&name)
        } else {
            all.insert(name, value)
        };
    }
    claims
}

/// `JWT_JWKS` over HTTP, as an identity provider has it.
#[derive(Clone)]
pub(crate) struct IdentityProvider {
    address: SocketAddr,
    state: Arc<Mutex<Published>>,
}

struct Published {
    status: u16,
    body: String,
    reads: u64,
}

impl IdentityProvider {
    /// One that publishes the keys of these.
    pub(crate) async fn start(signers: &[&Signer]) -> IdentityProvider {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(Published { status: 200, body: String::new(), reads: 0 }));
        let provider = IdentityProvider { address, state };
        provider.publish(signers);
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = serving.answer();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        provider
    }

    fn answer(&self) -> String {
        let mut state = self.state.lock().expect("the state");
        state.reads += 1;
        let (status, body) = (state.status, &state.body);
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// From now on the keys of these.
    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.say(200, &json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string());
    }

    /// From now on anything.
    pub(crate) fn say(&self, status: u16, body: &str) {
        let mut state = self.state.lock().expect("the state");
        (state.status, state.body) = (status, body.to_owned());
    }

    /// How often it was asked.
    pub(crate) fn reads(&self) -> u64 {
        self.state.lock().expect("the state").reads
    }
}
