//! Which broker is believed to be ours, and the certificate shown to it.
//!
//! **Owns** the rules for URLs and certificate files. The client reads the files anew for every connection;
//! they are read here only to say at the start what is wrong with them.

use std::fmt;
use std::path::Path;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::sign::CertifiedKey;
use async_nats::{ConnectOptions, ServerAddr};

use crate::settings::Mistakes;

use super::BrokerSettings;

/// Reports URLs and files that can never work.
pub(super) fn check(settings: &BrokerSettings, mistakes: &mut Mistakes) {
    if settings.nats_url.is_empty() {
        mistakes.add("nats_url", "names no broker");
    }
    for url in settings.nats_url.iter() {
        if let Err(what) = check_url(url) {
            mistakes.add("nats_url", what);
        }
    }
    if let Some(path) = &settings.nats_tls_ca {
        match certificates(path) {
            Ok(_) => {}
            Err(what) => mistakes.add("nats_tls_ca", what),
        }
    }
    if let (Some(certificate), Some(key)) = (&settings.nats_tls_cert, &settings.nats_tls_key) {
        match (certificates(certificate), private_key(key)) {
            (Ok(certificates), Ok(key)) => {
                if let Err(error) = CertifiedKey::from_der(certificates, key, &ring::default_provider()) {
                    mistakes.add("nats_tls_key", format!("does not go with NATS_TLS_CERT: {error}"));
                }
            }
            (certificates, key) => {
                certificates.err().into_iter().for_each(|what| mistakes.add("nats_tls_cert", what));
                key.err().into_iter().for_each(|what| mistakes.add("nats_tls_key", what));
            }
        }
    }
}

/// Never quotes the URL: it may hold a password.
fn check_url(url: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "holds something that is no broker's URL: write nats://host:4222, or tls://host:4222";
    let address: ServerAddr = url.parse().map_err(|_| EXPECTED)?;
    if address.has_user_pass() || address.password().is_some() {
        return Err("holds a user or a password, where it would end up in logs: use NATS_USER and NATS_PASSWORD");
    }
    match address.scheme() {
        "nats" | "tls" if !address.host().is_empty() => Ok(()),
        _ => Err(EXPECTED),
    }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: &dyn fmt::Display| format!("the file {path} cannot be read as certificates in PEM: {error}");
    let read = CertificateDer::pem_file_iter(Path::new(path)).map_err(|error| failed(&error))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    if all.is_empty() { Err(failed(&"there is none in it")) } else { Ok(all) }
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(Path::new(path))
        .map_err(|error| format!("the file {path} cannot be read as a private key in PEM: {error}"))
}

/// Adds what was checked. Whoever has set one of the files wants TLS: without it nothing is said to the broker.
pub(super) fn add_to(mut options: ConnectOptions, settings: &BrokerSettings) -> ConnectOptions {
    if let Some(path) = &settings.nats_tls_ca {
        options = options.add_root_certificates(path.into()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&settings.nats_tls_cert, &settings.nats_tls_key) {
        options = options.add_client_certificate(certificate.into(), key.into()).require_tls(true);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Settings};

    fn mistakes(environment: &Environment) -> String {
        let mut mistakes = Mistakes::default();
        let settings = BrokerSettings::read(environment, &mut mistakes);
        settings.iter().for_each(|settings| settings.check(&mut mistakes));
        mistakes.to_string()
    }

    #[test]
    fn a_url_is_one_of_nats_and_holds_no_password() {
        for good in ["localhost", "nats://a:4222, tls://b:4222", "nats://[::1]:4222"] {
            assert_eq!(mistakes(&Environment::from([("NATS_URL", good)])).lines().count(), 1, "{good}");
        }
        for wrong in [",", "http://a:4222", "ws://a", "nats://", "nats://me:hush@a:4222", "nats://:hush@a"] {
            let said = mistakes(&Environment::from([("NATS_URL", wrong)]));
            assert!(said.contains("  NATS_URL: ") && !said.contains("hush"), "{wrong}: {said}");
        }
    }

    #[test]
    fn files_that_can_never_work_are_named_with_their_variable() {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").expect("a file");
        let empty = empty.to_str().expect("a path");
        let said = mistakes(&Environment::from([
            ("NATS_TLS_CA", empty),
            ("NATS_TLS_CERT", "/nowhere/cert.pem"),
            ("NATS_TLS_KEY", empty),
        ]));
        for part in ["NATS_TLS_CA: the file ", "NATS_TLS_CERT: the file /nowhere", "NATS_TLS_KEY: the file "] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
