//! HTTP as a stranger speaks it: bytes to a socket, bytes back. Requests signed as Mandrill signs them.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::synthetic::{Request, Signing};

/// An answer, as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, as text.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("a JSON body, not {:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// A request's text: method, path, further header lines, body. Asks for the connection to be closed.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: localhost\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) && !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("Connection: close\r\n\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends a request's bytes on a connection of its own and reads the answer to its end.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    super::soon("an answer", try_exchange(address, request)).await.expect("an answer")
}

/// The same where the connection may fail at any moment. A body that was cut short is given as far as it came.
///
/// # Errors
/// Where no connection could be made, or none of the answer's head came.
pub async fn try_exchange(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.split();
    let write = async {
        // A server may answer and close before it has read everything: that is its answer, not a failure.
        let _ = writer.write_all(request).await;
    };
    let ((), answer) = tokio::join!(write, read_answer(&mut reader));
    answer
}

async fn read_answer(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    // A reset after the answer has arrived leaves the answer.
    let _ = reader.read_to_end(&mut bytes).await;
    let none = || io::Error::other(format!("an answer, not {:?}", String::from_utf8_lossy(&bytes)));
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(none)?;
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head of text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = whole_chunks(&answer.body);
    }
    Ok(answer)
}

/// What stands in the chunks of a body, as far as they came.
fn whole_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(line) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let start = line + 2;
        let Some(chunk) = size.filter(|size| *size > 0).and_then(|size| body.get(start..start + size)) else { break };
        whole.extend_from_slice(chunk);
        body = body.get(start + chunk.len() + 2..).unwrap_or_default();
    }
    whole
}

/// Any request.
pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    exchange(address, &request(method, path, headers, body)).await
}

/// A GET.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, "GET", path, &[], b"").await
}

/// A webhook as Mandrill knows it: the URL registered and its key.
#[derive(Debug, Clone, Copy)]
pub struct Webhook {
    /// The URL as it was typed into Mandrill.
    pub url: &'static str,
    /// Its key.
    pub key: &'static str,
}

/// The one most tests use.
pub const WEBHOOK: Webhook = Webhook { url: "https://hooks.example.com/api/hook/", key: "ExampleKey_not-secret01" };

impl Webhook {
    /// The form body of a batch (the text of a JSON array) and its signature.
    #[must_use]
    pub fn sign(&self, batch: &str) -> (String, String) {
        let request = Request::of_batch(batch, Some(Signing { key: self.key, url: self.url }));
        (request.body, request.signature.expect("signed"))
    }

    /// The request that carries a batch.
    #[must_use]
    pub fn request(&self, path: &str, batch: &str) -> Vec<u8> {
        let (body, signature) = self.sign(batch);
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("User-Agent", "Mandrill-Webhook/1.0"),
            ("Accept", "*/*"),
            ("X-Mandrill-Signature", signature.as_str()),
        ];
        request("POST", path, &headers, body.as_bytes())
    }

    /// Posts a batch to the hook.
    pub async fn post(&self, address: SocketAddr, batch: &str) -> Answer {
        exchange(address, &self.request("/api/hook/", batch)).await
    }
}
