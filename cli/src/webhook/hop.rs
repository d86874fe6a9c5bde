//! One exchange with a public address, and who answered it.
//!
//! **Owns** where an address leads, and the words for what each place on the way may answer. The words are pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Uri, header};
use serde::Deserialize;
use shared::client::{Client, cause};
use shared::form;
use shared::signature;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::terminal::plain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A slow sender of 2.5 MiB is slow, not broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const FIELD: &str = "mandrill_events";

/// A public address.
pub(super) struct Target {
    /// As it was typed: signatures are made over it.
    pub(super) url: String,
    uri: Uri,
    host: String,
    port: u16,
}

/// What came back.
pub(super) struct Reply {
    status: u16,
    server: Option<String>,
    location: Option<String>,
    body: Bytes,
}

/// ingest's own refusal (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    r#type: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// ingest's own `200`.
#[derive(Deserialize)]
struct Counts {
    #[serde(rename = "accepted")]
    _accepted: u64,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, String> {
        let unusable = |what: &dyn fmt::Display| format!("{} is no address: {what}", plain(url));
        let uri: Uri = url.parse().map_err(|error| unusable(&error))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| unusable(&"it names no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        Ok(Target { url: url.to_owned(), host, port, uri })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Where the name leads.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let found = timeout(CONNECT_TIMEOUT, lookup_host((self.host.as_str(), self.port))).await;
        let advice = format!("make an A or AAAA record for {}, or correct the address", self.host);
        match found {
            Ok(Ok(addresses)) => match addresses.collect::<Vec<_>>() {
                addresses if addresses.is_empty() => Err(format!("{} has no address: {advice}", self.host)),
                addresses => Ok(addresses),
            },
            Ok(Err(error)) => Err(format!("nobody knows {} ({error}): {advice}", self.host)),
            Err(_) => Err(format!("nobody answered about {} in time: {advice}", self.host)),
        }
    }

    /// Whether somebody listens there.
    pub(super) async fn connect(&self, addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
        let mut last = String::new();
        for address in addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(_)) => return Ok(*address),
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address}: no answer in time"),
            }
        }
        Err(format!("nothing takes a connection at {last}: start the proxy there, and let the port through firewalls"))
    }

    /// A HEAD, as Mandrill's first look at a new address.
    pub(super) async fn look(&self) -> Result<Reply, String> {
        self.exchange(Method::HEAD, None, Bytes::new()).await
    }

    /// An empty batch, `bytes` long on the way, signed with `key`: nothing of it is stored.
    pub(super) async fn post_empty(&self, key: &str, bytes: usize) -> Result<Reply, String> {
        let batch = format!("[{}]", " ".repeat(bytes.saturating_sub(2)));
        let signature = signature::sign(key, &self.url, &[(FIELD.as_bytes(), batch.as_bytes())]);
        let mut body = String::with_capacity(bytes + FIELD.len() + 8);
        form::encode_pair(&mut body, FIELD, &batch);
        self.exchange(Method::POST, Some(&signature), body.into()).await
    }

    async fn exchange(&self, method: Method, signature: Option<&str>, body: Bytes) -> Result<Reply, String> {
        let client = Client::new(&self.uri).map_err(|error| error.to_string())?;
        let mut request =
            Request::builder().method(method).uri(&self.uri).header(header::USER_AGENT, "Mandrill-Webhook/1.0");
        if let Some(signature) = signature {
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header("X-Mandrill-Signature", signature);
        }
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let answered = async {
            let answer = client.request(request).await.map_err(|error| {
                let cause = plain(&cause(&error));
                if error.is_connect() { in_words_of_tls(&cause) } else { format!("the connection broke off ({cause})") }
            })?;
            let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(plain);
            let (status, server, location) = (answer.status().as_u16(), text(header::SERVER), text(header::LOCATION));
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok(Reply { status, server, location, body })
        };
        let slow = || format!("no answer within {} seconds", ANSWER_TIMEOUT.as_secs());
        timeout(ANSWER_TIMEOUT, answered).await.unwrap_or_else(|_| Err(slow()))
    }
}

/// What TLS says, and what helps.
fn in_words_of_tls(cause: &str) -> String {
    let lower = cause.to_ascii_lowercase();
    let advice = if lower.contains("unknownissuer") {
        "its certificate is of an authority that this machine does not know: Mandrill needs one that everybody knows, \
         with the chain complete"
    } else if lower.contains("not valid for name") {
        "its certificate is for another name"
    } else if lower.contains("expired") {
        "its certificate has expired"
    } else if lower.contains("invalidcontenttype") || lower.contains("corrupt message") {
        "it does not speak TLS on this port"
    } else {
        "the connection could not be made"
    };
    format!("{advice} ({cause})")
}

impl Reply {
    /// `200` by ingest itself, or to a HEAD, which carries nothing that would tell who answered.
    pub(super) fn accepted(&self, head: bool) -> Result<(), String> {
        if self.status != 200 {
            return Err(self.refusal());
        }
        if head || serde_json::from_slice::<Counts>(&self.body).is_ok() {
            return Ok(());
        }
        Err(format!("{} answers 200 to everything and passes nothing on: route this path to ingest", self.who()))
    }

    /// Whether ingest itself refused the signature.
    pub(super) fn is_signature(&self) -> bool {
        self.problem().is_some_and(|problem| problem.r#type.ends_with(":signature"))
    }

    fn problem(&self) -> Option<Problem> {
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        problem.r#type.starts_with("urn:mandrill-live:problem:").then_some(problem)
    }

    fn who(&self) -> String {
        match &self.server {
            Some(server) => format!("something in front of ingest (Server: {server})"),
            None => "something in front of ingest".to_owned(),
        }
    }

    fn refusal(&self) -> String {
        let status = self.status;
        if let Some(problem) = self.problem() {
            let (title, detail) = (plain(&problem.title), plain(&problem.detail));
            let advice = match problem.r#type.rsplit(':').next() {
                Some("signature") => {
                    "; MANDRILL_WEBHOOK_URLS must hold this address exactly, MANDRILL_WEBHOOK_KEYS its key"
                }
                Some("too-large") => "; raise MAX_BODY_BYTES",
                _ => "",
            };
            return format!("ingest answers {status} ({title}: {detail}{advice})");
        }
        let who = self.who();
        match status {
            301 | 302 | 303 | 307 | 308 => {
                let to = self.location.as_deref().unwrap_or("elsewhere");
                format!("{who} redirects to {to}: register the address it leads to, or let it answer here")
            }
            401 | 403 => format!("{who} answers {status}: it must let this path through without signing in"),
            404 | 405 => format!("{who} answers {status}: route this path to ingest, for HEAD and POST"),
            413 => format!(
                "{who} refuses bodies of this size: raise its limit to ingest's MAX_BODY_BYTES (nginx: \
                 client_max_body_size 64m)"
            ),
            // ingest's own answer to HEAD has no body to tell it by.
            421 => format!("{status}: the host is not in ingest's PUBLIC_URLS, or {who} serves another name here"),
            502..=504 => format!(
                "{who} answers {status}: it cannot reach ingest; is that running, ready, and where it is looked for?"
            ),
            _ => format!("{who} answers {status}"),
        }
    }
}

/// Whether nobody outside reaches an address.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}
