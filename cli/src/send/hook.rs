//! One request to a webhook, and what its answer means.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode, Uri, header};
use hyper_util::client::legacy;
use serde::Deserialize;
use shared::synthetic::Request;

use shared::client::{Client, Unusable, cause};

/// Longer than any commit may take, so that the service's own answer is the one that is seen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer is a few counts or one problem.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A webhook's address and the connections to it.
pub(crate) struct Hook {
    url: Uri,
    client: Client,
}

/// What the service counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    pub(crate) rejected: u64,
}

/// Why a batch was not taken. Equal ones are reported once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    pub(crate) what: String,
    pub(crate) detail: String,
    pub(crate) advice: &'static str,
    /// No connection could be made at all.
    pub(crate) unreachable: bool,
}

impl Hook {
    pub(crate) fn new(url: Uri) -> Result<Hook, Unusable> {
        let client = Client::new(&url)?;
        Ok(Hook { url, client })
    }

    pub(crate) async fn post(&self, request: Request) -> Result<Counts, Refusal> {
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
        let answer = self.client.request(post).await;
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
        let cause = cause(&error);
        if error.is_connect() {
            let advice = "Check --url, and that the service runs there: `make run` starts one on this machine.";
            return Refusal { unreachable: true, ..Refusal::new("no connection", cause, advice) };
        }
        let advice = "The service may have stored the batch all the same; look at its log.";
        Refusal::new("connection lost", cause, advice)
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
