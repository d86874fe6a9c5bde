//! Where the public keys of an identity provider are read from.
//!
//! **Owns** one reading of a file or URL, within limits of size and time. When that happens is the
//! [keyring](super::keyring)'s business.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, header};
use shared::client::{Client, Unusable, cause};
use shared::settings::{Mistakes, Value};
use tokio::time::timeout;

use super::keys::{BadKeys, Keys};

/// A set of keys that is longer is none.
const JWKS_BYTES_MAX: usize = 256 << 10;
/// For an identity provider to answer whole.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// A file or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// The path of a file.
    File(PathBuf),
    /// An address of HTTP.
    Url(Uri),
}

impl Value for JwksSource {
    const KIND: &'static str = "file or URL";
    fn parse(text: &str) -> Result<JwksSource, String> {
        if !text.contains("://") {
            return Ok(JwksSource::File(text.into()));
        }
        match text.parse::<Uri>() {
            Ok(url) if matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() => {
                Ok(JwksSource::Url(url))
            }
            Ok(_) | Err(_) => Err("is neither the path of a file nor an http or https URL".to_owned()),
        }
    }
}

impl JwksSource {
    /// A file must be there from the start: a wrong path would be noticed by nobody.
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        if let JwksSource::File(path) = self {
            let read = std::fs::read(path).map_err(|error| error.to_string());
            let keys = read.and_then(|text| Keys::of_jwks(&text).map_err(|error| error.to_string()));
            if let Err(what) = keys {
                mistakes.add("jwt_jwks", format!("the file {} cannot be used: {what}", path.display()));
            }
        }
    }

    /// Whether its keys can be replaced on the way.
    pub(super) fn is_in_the_open(&self) -> bool {
        match self {
            JwksSource::File(_) => false,
            JwksSource::Url(url) => {
                url.scheme_str() == Some("http") && !matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
            }
        }
    }
}

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the file cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("no connection: {0}")]
    Connection(String),
    #[error("no answer within {} seconds", FETCH_TIMEOUT.as_secs())]
    Slow,
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    #[error("it is longer than {JWKS_BYTES_MAX} bytes, or broke off")]
    Body,
    #[error(transparent)]
    Keys(#[from] BadKeys),
}

/// A source that can be read again and again.
#[derive(Debug)]
pub(super) enum Fetch {
    File(PathBuf),
    Url(Client, Uri),
}

impl Fetch {
    pub(super) fn new(source: &JwksSource) -> Result<Fetch, Unusable> {
        Ok(match source {
            JwksSource::File(path) => Fetch::File(path.clone()),
            JwksSource::Url(url) => Fetch::Url(Client::new(url)?, url.clone()),
        })
    }

    /// The keys as they are now.
    pub(super) async fn read(&self) -> Result<Keys, FetchError> {
        let text = match self {
            Fetch::File(path) => read_file(path).await?,
            Fetch::Url(client, url) => {
                let get = timeout(FETCH_TIMEOUT, get(client, url));
                get.await.map_err(|_| FetchError::Slow)??.to_vec()
            }
        };
        Ok(Keys::of_jwks(&text)?)
    }
}

async fn read_file(path: &PathBuf) -> Result<Vec<u8>, FetchError> {
    if tokio::fs::metadata(path).await?.len() > JWKS_BYTES_MAX as u64 {
        return Err(FetchError::Body);
    }
    Ok(tokio::fs::read(path).await?)
}

/// Redirects are not followed: keys come from where the configuration says.
async fn get(client: &Client, url: &Uri) -> Result<Bytes, FetchError> {
    let request = Request::get(url).header(header::ACCEPT, "application/json").body(Full::default());
    let request = request.map_err(|error| FetchError::Connection(error.to_string()))?;
    let answer = client.request(request).await.map_err(|error| FetchError::Connection(cause(&error)))?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), JWKS_BYTES_MAX).collect().await;
    Ok(body.map_err(|_| FetchError::Body)?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_or_an_address() {
        assert_eq!(JwksSource::parse("keys.json"), Ok(JwksSource::File("keys.json".into())));
        let url = JwksSource::parse("https://id.example.com/keys").expect("a URL");
        assert!(!url.is_in_the_open());
        assert!(JwksSource::parse("http://id.example.com/keys").expect("a URL").is_in_the_open());
        assert!(!JwksSource::parse("http://127.0.0.1:1/keys").expect("a URL").is_in_the_open());
        for bad in ["ftp://id.example.com/keys", "https://"] {
            assert!(JwksSource::parse(bad).is_err(), "{bad}");
        }
    }
}
