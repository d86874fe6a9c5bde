//! The service's stream of events, and where it was left.
//!
//! **Owns** the connection, the reading of Server-Sent Events, and the cursor to go on from. What is done
//! with an event is not its concern.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, header};
use serde_json::Value;
use tokio::time::timeout;

use shared::client::{Client, Unusable, cause};

use crate::sign_in::SignIn;

/// The stream's path.
const PATH: &str = "/api/events/stream";
/// For a connection and the head of the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The service says something every 15 seconds: after this long without a word the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A stream whose event has no end in sight is not one.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// A refusal is one problem.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// What the stream says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// An event, as it came.
    Event(String),
    /// Something people should know.
    Notice(String),
    /// Nothing to show.
    Quiet,
}

/// Why the stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The same would happen again.
    Refused(String),
    /// The service asks to connect again, now.
    Moved,
    /// The connection is gone, or was not to be had.
    Lost { why: String, retry_after: Option<Duration> },
}

fn lost(why: impl Into<String>) -> Ended {
    Ended::Lost { why: why.into(), retry_after: None }
}

/// One stream, connected again and again.
pub(super) struct Source {
    client: Client,
    url: Uri,
    sign_in: SignIn,
    answer: Option<Response<Incoming>>,
    text: Vec<u8>,
    cursor: Option<String>,
}

impl Source {
    pub(super) fn new(service: &Uri, query: String, sign_in: SignIn) -> Result<Source, Unusable> {
        let client = Client::new(service)?;
        let mut parts = service.clone().into_parts();
        let path = service.path().trim_end_matches('/');
        let path = PathAndQuery::try_from(format!("{path}{PATH}?{query}"));
        parts.path_and_query = Some(path.map_err(|_| Unusable::Url(service.clone()))?);
        let url = Uri::from_parts(parts).map_err(|_| Unusable::Url(service.clone()))?;
        Ok(Source { client, url, sign_in, answer: None, text: Vec::new(), cursor: None })
    }

    /// Opens the stream, after the last event it has given out.
    pub(super) async fn connect(&mut self) -> Result<(), Ended> {
        self.text.clear();
        let mut request = Request::get(self.url.clone()).header(header::ACCEPT, "text/event-stream");
        if let Some(cursor) = &self.cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        if let Some(token) = self.sign_in.authorization().map_err(|why| Ended::Refused(why.to_string()))? {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::<Bytes>::default()).map_err(|error| Ended::Refused(error.to_string()))?;
        match timeout(CONNECT_TIMEOUT, self.client.request(request)).await {
            Err(_) => Err(lost("no answer")),
            Ok(Err(error)) => Err(lost(cause(&error))),
            Ok(Ok(answer)) if answer.status() == StatusCode::OK => {
                self.answer = Some(answer);
                Ok(())
            }
            Ok(Ok(answer)) => Err(refusal(answer).await),
        }
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Message, Ended> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.text, b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return self.read(&String::from_utf8_lossy(&block));
            }
            if self.text.len() > EVENT_BYTES_MAX {
                return Err(lost("an event without an end"));
            }
            let answer = self.answer.as_mut().ok_or_else(|| lost("not connected"))?;
            match timeout(SILENCE_MAX, answer.frame()).await {
                Err(_) => return Err(lost("the service has gone silent")),
                Ok(None) => return Err(lost("the service ended the stream")),
                Ok(Some(Err(error))) => return Err(lost(error.to_string())),
                Ok(Some(Ok(frame))) => self.text.extend(frame.into_data().unwrap_or_default()),
            }
        }
    }

    fn read(&mut self, block: &str) -> Result<Message, Ended> {
        let (mut id, mut control, mut data) = (None, false, None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => control = value == "control",
                Some(("data", value)) => data = Some(value.to_owned()),
                Some(_) | None => {}
            }
        }
        if let Some(id) = id {
            self.cursor = Some(id);
        }
        match data {
            None => Ok(Message::Quiet),
            Some(text) if !control => Ok(Message::Event(text)),
            Some(text) => notice(&serde_json::from_str(&text).unwrap_or_default()),
        }
    }
}

/// What a control frame means to people.
fn notice(frame: &Value) -> Result<Message, Ended> {
    let text = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default();
    let lost = |reason: &str| {
        Message::Notice(match reason {
            "retention" => "events are missing here: the service does not keep them any more".to_owned(),
            "epoch" => "events may be missing here: the service's stream was made anew".to_owned(),
            _ => "events may be missing here".to_owned(),
        })
    };
    match text("_control") {
        "hello" if frame.get("recovered") == Some(&Value::Bool(false)) => Ok(lost(text("reason"))),
        "gap" => Ok(lost(text("reason"))),
        "status" if text("feed") == "stalled" => {
            Ok(Message::Notice("the service does not hear its broker: events will come later".to_owned()))
        }
        "status" => Ok(Message::Notice("the service hears its broker again".to_owned())),
        "erased" => Ok(Message::Notice(format!("the events of {} were erased", text("recipient")))),
        "goaway" => Err(Ended::Moved),
        _ => Ok(Message::Quiet),
    }
}

async fn refusal(answer: Response<Incoming>) -> Ended {
    let status = answer.status();
    let after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(answer.into_body(), PROBLEM_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("the address may be another service's");
    let why = format!("{status}: {detail}");
    match status {
        StatusCode::TOO_MANY_REQUESTS => Ended::Lost { why, retry_after: after.map(Duration::from_secs) },
        status if status.is_server_error() => Ended::Lost { why, retry_after: after.map(Duration::from_secs) },
        _ => Ended::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_stream_are_events_notices_or_nothing() {
        let mut source =
            Source::new(&"http://127.0.0.1:1/".parse().expect("a URI"), "event=open".to_owned(), SignIn::default())
                .expect("it");
        assert_eq!(source.url.to_string(), "http://127.0.0.1:1/api/events/stream?event=open");
        let mut read = |block: &str| source.read(block);
        assert_eq!(read(":\n\n").expect("a comment"), Message::Quiet);
        assert_eq!(read("id: c1\ndata: {\"a\":1}\n\n").expect("an event"), Message::Event("{\"a\":1}".to_owned()));
        let gap = read("id: c2\nevent: control\ndata: {\"_control\":\"gap\",\"reason\":\"retention\"}\n\n");
        assert!(matches!(gap, Ok(Message::Notice(text)) if text.contains("missing")));
        assert!(matches!(read("event: control\ndata: {\"_control\":\"goaway\"}\n\n"), Err(Ended::Moved)));
        assert_eq!(source.cursor.as_deref(), Some("c2"));
    }
}
