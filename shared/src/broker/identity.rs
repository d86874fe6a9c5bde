//! Who a service is to the broker.
//!
//! **Owns** the ways to sign in, and what is sent for each. A secret that stands in a file is read again for
//! every connection, so that a renewed one needs no restart. **May not** print one.

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::settings::{Mistakes, Secret, Value};

use super::BrokerSettings;

/// The seed of a user's NKEY: it signs the broker's challenge and is never sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(String);

impl Value for Seed {
    const KIND: &'static str = "NKEY seed (SU…)";
    fn parse(text: &str) -> Result<Seed, String> {
        let seed = text.trim();
        KeyPair::from_seed(seed).map(|_| Seed(seed.to_owned())).map_err(|error| error.to_string())
    }
}

impl Seed {
    fn key_pair(&self) -> Result<KeyPair, AuthError> {
        KeyPair::from_seed(&self.0).map_err(AuthError::new)
    }
}

/// A credentials file's content, as `nsc` writes it: a user's JWT, and the seed that proves it is ours.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    jwt: String,
    seed: Seed,
}

impl Value for Credentials {
    const KIND: &'static str = "content of a credentials file";
    fn parse(text: &str) -> Result<Credentials, String> {
        let after = |marker: &str| {
            let mut lines = text.lines().map(str::trim).skip_while(|line| !line.contains(marker)).skip(1);
            lines.find(|line| !line.is_empty()).ok_or_else(|| format!("it has no line {marker}"))
        };
        let jwt = after("BEGIN NATS USER JWT")?.to_owned();
        Ok(Credentials { jwt, seed: Seed::parse(after("BEGIN USER NKEY SEED")?)? })
    }
}

/// One way to sign in.
#[derive(Clone)]
pub(super) enum Identity {
    /// No secret; a client certificate may still say who this is.
    None,
    User(String, Secret<String>),
    Seed(Secret<Seed>),
    Credentials(Secret<Credentials>),
}

impl Identity {
    /// Reports more than one way: which of them counts would be anybody's guess.
    pub(super) fn check(settings: &BrokerSettings, mistakes: &mut Mistakes) {
        let ways = [
            ("nats_user", settings.nats_user.is_some()),
            ("nats_nkey", settings.nats_nkey.is_some()),
            ("nats_creds", settings.nats_creds.is_some()),
        ];
        let mut set = ways.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name);
        if let (Some(first), Some(second)) = (set.next(), set.next()) {
            mistakes
                .add(second, format!("is another way to sign in than {}: set one of them", first.to_ascii_uppercase()));
        }
    }

    pub(super) fn of(settings: &BrokerSettings) -> Identity {
        let BrokerSettings { nats_user, nats_password, nats_nkey, nats_creds, .. } = settings.clone();
        match (nats_creds, nats_nkey, nats_user.zip(nats_password)) {
            (Some(credentials), _, _) => Identity::Credentials(credentials),
            (None, Some(seed), _) => Identity::Seed(seed),
            (None, None, Some((user, password))) => Identity::User(user, password),
            (None, None, None) => Identity::None,
        }
    }

    /// Options of a connection that signs in so, each time it is made.
    pub(super) fn options(self) -> ConnectOptions {
        match self {
            Identity::None => ConnectOptions::new(),
            Identity::User(..) | Identity::Seed(_) | Identity::Credentials(_) => {
                ConnectOptions::with_auth_callback(move |challenge| {
                    let identity = self.clone();
                    async move { identity.answer(&challenge).await }
                })
            }
        }
    }

    async fn answer(self, challenge: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Identity::None => {}
            Identity::User(user, password) => {
                auth.username = Some(user);
                auth.password = Some(password.read_again().await.map_err(AuthError::new)?);
            }
            Identity::Seed(seed) => {
                let key = seed.read_again().await.map_err(AuthError::new)?.key_pair()?;
                auth.signature = Some(key.sign(challenge).map_err(AuthError::new)?);
                auth.nkey = Some(key.public_key());
            }
            Identity::Credentials(credentials) => {
                let Credentials { jwt, seed } = credentials.read_again().await.map_err(AuthError::new)?;
                auth.signature = Some(seed.key_pair()?.sign(challenge).map_err(AuthError::new)?);
                auth.jwt = Some(jwt);
            }
        }
        Ok(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_file_is_read_as_nsc_writes_it() {
        let seed = KeyPair::new_user().seed().expect("a seed");
        let file = format!(
            "-----BEGIN NATS USER JWT-----\r\neyJ0.e30.x\r\n------END NATS USER JWT------\r\n\r\n*** IMPORTANT ***\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        );
        let credentials = Credentials::parse(&file).expect("credentials");
        assert!(credentials.jwt == "eyJ0.e30.x" && credentials.seed.0 == seed);
        for wrong in ["", "eyJ0.e30.x", &file[..40], &file.replace(&seed, "SUAAAA")] {
            assert!(Credentials::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_that_is_none_is_told_without_being_shown() {
        assert!(Seed::parse(" SUAAAA ").is_err_and(|error| !error.contains("SUAAAA")));
        let seed = KeyPair::new_user().seed().expect("a seed");
        assert!(Seed::parse(&format!(" {seed}\n")).is_ok());
    }
}
