//! HTTP to another service, with or without TLS.
//!
//! **Owns** the connections. What is asked and what an answer means is the caller's business.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::uri::Scheme;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Pool, Error, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// The connections to one service.
#[derive(Debug)]
pub struct Client(Connections);

/// The system's certificates are read for `https` only: without any there is still plain HTTP.
#[derive(Debug)]
enum Connections {
    Plain(Pool<HttpConnector, Full<Bytes>>),
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why there can be no request at all.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No scheme this program speaks, or none at all.
    #[error("{0} is no whole address: write it like http://127.0.0.1:8000/")]
    Url(Uri),
    /// TLS needs to know whom to trust.
    #[error("cannot read this system's certificates, which https needs ({0}): install ca-certificates")]
    Certificates(std::io::Error),
}

impl Client {
    /// For addresses of this one's scheme.
    ///
    /// # Errors
    /// Where it is no address of HTTP, or TLS has no certificates to trust.
    pub fn new(url: &Uri) -> Result<Client, Unusable> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new());
        match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Ok(Client(Connections::Plain(pool.build(tcp)))),
            Some(scheme) if *scheme == Scheme::HTTPS => {
                tcp.enforce_http(false);
                let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(Unusable::Certificates)?;
                Ok(Client(Connections::Tls(pool.build(tls.https_only().enable_http1().wrap_connector(tcp)))))
            }
            Some(_) | None => Err(Unusable::Url(url.clone())),
        }
    }

    /// One request and the head of its answer. It has no limit of time of its own.
    ///
    /// # Errors
    /// Where there is no connection, or it breaks.
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match &self.0 {
            Connections::Plain(pool) => pool.request(request).await,
            Connections::Tls(pool) => pool.request(request).await,
        }
    }
}

/// What the system or TLS said: the outermost only says "client error".
#[must_use]
pub fn cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
