//! An authority that signs certificates, each in a file of its own, gone with its handle.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// One authority.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key: the paths of their files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate's.
    pub certificate: String,
    /// The private key's.
    pub key: String,
}

impl Authority {
    /// One that nobody knows yet.
    #[must_use]
    pub fn new() -> Authority {
        Authority::named("an authority of tests")
    }

    /// The same under a name of its own.
    #[must_use]
    pub fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let authority = Authority { issuer, folder: tempfile::tempdir().expect("a folder") };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The path of its own certificate.
    #[must_use]
    pub fn path(&self) -> String {
        self.file("ca.pem")
    }

    /// A certificate for hosts, addresses or a client of these names. The first also names its files.
    #[must_use]
    pub fn certificate(&self, names: &[&str]) -> Pair {
        self.sign(names, names[0], |_| ())
    }

    /// The same, of a time long ago.
    #[must_use]
    pub fn expired_certificate(&self, names: &[&str]) -> Pair {
        self.sign(names, &format!("expired-{}", names[0]), |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))
    }

    fn sign(&self, names: &[&str], file: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let first = names[0].clone();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, &*first);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (pem, secret) = (format!("{file}.pem"), format!("{file}.key"));
        self.write(&pem, &certificate.pem());
        self.write(&secret, &key.serialize_pem());
        Pair { certificate: self.file(&pem), key: self.file(&secret) }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a path").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("written");
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
