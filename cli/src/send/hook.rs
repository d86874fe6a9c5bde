//! One request to a webhook, and what its answer means.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::uri::Scheme;
use hyper::{Response, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use shared::synthetic::Request;

/// Longer than any commit may take, so that the service's own answer is the one that is seen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer is a few counts or one problem.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A webhook's address and the connections to it.
pub(super) struct Hook {
    url: Uri,
    client: Connections,
}

/// The system's certificates are read for `https` only: without any there is still plain HTTP.
enum Connections {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why there can be no request at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("--url {0}: give a whole address, like http://127.0.0.1:8000/api/hook/")]
    Url(Uri),
    #[error("cannot read this system's certificates, which https needs ({0}): install ca-certificates")]
    Certificates(std::io::Error),
}

/// What the service counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
}

/// Why a batch was not taken. Equal ones are reported once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) detail: String,
    pub(super) advice: &'static str,
    /// No connection could be made at all.
    pub(super) unreachable: bool,
}

impl Hook {
    pub(super) fn new(url: Uri) -> Result<Hook, Unusable> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new());
        let client = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Connections::Plain(client.build(tcp)),
            Some(scheme) if *scheme == Scheme::HTTPS => {
                tcp.enforce_http(false);
                let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(Unusable::Certificates)?;
                Connections::Tls(client.build(tls.https_only().enable_http1().wrap_connector(tcp)))
            }
            _ => return Err(Unusable::Url(url)),
        };
        Ok(Hook { url, client })
    }

    pub(super) async fn post(&self, request: Request) -> Result<Counts, Refusal> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::new(
                "no answer",
                format!("nothing came within {} seconds", ANSWER_TIMEOUT.as_secs()),
                "Look at the service's log.",
            )),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Counts, Refusal> {
        let mut post = hyper::Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, Request::CONTENT_TYPE)
            .header(header::USER_AGENT, "Mandrill-Webhook/1.0")
            .header(header::ACCEPT, "*/*");
        if let Some(signature) = &request.signature {
            post = post.header("X-Mandrill-Signature", signature);
        }
        let post = post
            .body(Full::from(request.body))
            .map_err(|error| Refusal::new("no request", error.to_string(), "Check --url."))?;
        let answer = match &self.client {
            Connections::Plain(client) => client.request(post).await,
            Connections::Tls(client) => client.request(post).await,
        };
        read(answer.map_err(Refusal::from)?).await
    }
}

async fn read(answer: Response<Incoming>) -> Result<Counts, Refusal> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(|_| {
            Refusal::new(
                "200 without counts",
                "the answer is not that of mandrill-live's webhook".to_owned(),
                "Check --url: its path is /api/hook/.",
            )
        });
    }
    Err(Refusal::of_status(status, &body))
}

impl Refusal {
    fn new(what: impl Into<String>, detail: String, advice: &'static str) -> Refusal {
        Refusal { what: what.into(), detail, advice, unreachable: false }
    }

    /// From a status and, where the service says more, its problem document (RFC 9457).
    fn of_status(status: StatusCode, body: &[u8]) -> Refusal {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Problem {
            title: String,
            detail: String,
        }
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let title = match problem.title.as_str() {
            "" => status.canonical_reason().unwrap_or("an unknown status"),
            title => title,
        };
        let advice = match status {
            StatusCode::UNAUTHORIZED => {
                "Sign with the key and the registered URL that the service has: --key and --signed-url, or \
                 MANDRILL_WEBHOOK_KEYS and MANDRILL_WEBHOOK_URLS."
            }
            StatusCode::PAYLOAD_TOO_LARGE => "Send fewer events a request with --batch, or raise MAX_BODY_BYTES.",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "Check --url: its path is /api/hook/.",
            StatusCode::MISDIRECTED_REQUEST => "Use a host in --url that the service has in PUBLIC_URLS.",
            StatusCode::SERVICE_UNAVAILABLE => "Nothing of it counts as stored: Mandrill would send it again.",
            _ => "Look at the service's log.",
        };
        Refusal::new(format!("{} {title}", status.as_u16()), problem.detail, advice)
    }
}

impl From<legacy::Error> for Refusal {
    fn from(error: legacy::Error) -> Refusal {
        // The outermost only says "client error"; the innermost is what the system or TLS said.
        let mut cause: &dyn Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        if error.is_connect() {
            let advice = "Check --url, and that the service runs there: `make run` starts one on this machine.";
            return Refusal { unreachable: true, ..Refusal::new("no connection", cause.to_string(), advice) };
        }
        let advice = "The service may have stored the batch all the same; look at its log.";
        Refusal::new("connection lost", cause.to_string(), advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_repeated_and_anything_else_named_by_its_status() {
        let check = |status: u16, body: &str, what: &str, detail: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            let refusal = Refusal::of_status(status, body.as_bytes());
            assert_eq!((refusal.what.as_str(), refusal.detail.as_str()), (what, detail));
            assert!(!refusal.advice.is_empty());
        };
        check(401, r#"{"title":"Not signed","detail":"No key fits."}"#, "401 Not signed", "No key fits.");
        check(503, r#"{"title":"Draining"}"#, "503 Draining", "");
        check(404, "<html>", "404 Not Found", "");
        check(599, "", "599 an unknown status", "");
    }

    #[test]
    fn an_address_needs_a_scheme_this_program_speaks() {
        for url in ["/api/hook/", "127.0.0.1:8000", "ftp://127.0.0.1/"] {
            assert!(Hook::new(url.parse().expect("a URI")).is_err(), "{url}");
        }
    }
}
