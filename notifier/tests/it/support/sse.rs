//! A client of Server-Sent Events.

use std::net::SocketAddr;

use shared::testing::{http, soon};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One stream.
pub(crate) struct EventStream {
    stream: BufReader<TcpStream>,
    body: String,
    /// The head of the answer.
    pub(crate) head: String,
}

/// One event of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: String,
}

impl Message {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("JSON, not {self:?}"))
    }
}

impl EventStream {
    /// Opens a stream, which must be granted, and reads its `hello`.
    pub(crate) async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (EventStream, Message) {
        let mut stream = BufReader::new(TcpStream::connect(address).await.expect("connected"));
        let request = http::request("GET", path, headers, b"");
        stream.write_all(&request).await.expect("sent");
        let mut head = String::new();
        soon("an answer", async {
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).await.expect("a line") > 0, "{head}");
            }
        })
        .await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut events = EventStream { stream, body: String::new(), head };
        let hello = events.next().await.expect("a hello");
        assert_eq!(hello.json()["_control"], "hello");
        (events, hello)
    }

    /// The next event; nothing at the end. Comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            while let Some((block, rest)) = self.body.split_once("\n\n") {
                let message = message(block);
                self.body = rest.to_owned();
                if message != Message::default() {
                    return Some(message);
                }
            }
            if !soon("a chunk", self.chunk()).await {
                return None;
            }
        }
    }

    async fn chunk(&mut self) -> bool {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await.expect("a chunk's size") == 0 {
            return false;
        }
        let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size");
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await.expect("a chunk");
        self.body.push_str(std::str::from_utf8(&chunk[..size]).expect("text cut between characters"));
        size > 0
    }
}

fn message(block: &str) -> Message {
    let mut message = Message::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => message.id = Some(id.to_owned()),
            Some(("event", event)) => message.event = Some(event.to_owned()),
            Some(("data", data)) => message.data.push_str(data),
            _ => assert!(line.starts_with(':'), "no line of a stream: {line}"),
        }
    }
    message
}
