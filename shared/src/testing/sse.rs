//! A client of Server-Sent Events.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{http, soon};

/// One stream.
#[derive(Debug)]
pub struct EventStream {
    stream: BufReader<TcpStream>,
    body: String,
    /// The head of the answer.
    pub head: String,
}

/// One event of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The cursor.
    pub id: Option<String>,
    /// `control`, or nothing for an event of Mandrill's.
    pub event: Option<String>,
    /// JSON.
    pub data: String,
}

impl Message {
    /// The data.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("JSON, not {self:?}"))
    }
}

impl EventStream {
    /// Opens a stream, which must be granted, and reads its `hello`.
    pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (EventStream, Message) {
        let mut events = soon("an answer", EventStream::begin(address, path, headers)).await.expect("an answer");
        assert!(events.head.starts_with("HTTP/1.1 200 "), "{}", events.head);
        let hello = events.next().await.expect("a hello");
        assert_eq!(hello.json()["_control"], "hello");
        (events, hello)
    }

    /// Opens a stream where the connection may fail at any moment; the answer may be a refusal.
    ///
    /// # Errors
    /// Where the connection fails before the head of the answer has come.
    pub async fn begin(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<EventStream> {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        stream.write_all(&http::request("GET", path, headers, b"")).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(EventStream { stream, body: String::new(), head })
    }

    /// The next event; nothing at the end. Comments are passed over.
    pub async fn next(&mut self) -> Option<Message> {
        soon("an event", self.receive()).await.expect("a whole chunk")
    }

    /// The next event, however long it takes; nothing at the orderly end. Comments are passed over.
    ///
    /// # Errors
    /// Where the connection fails.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            while let Some((block, rest)) = self.body.split_once("\n\n") {
                let message = message(block);
                self.body = rest.to_owned();
                if message != Message::default() {
                    return Ok(Some(message));
                }
            }
            if !self.chunk().await? {
                return Ok(None);
            }
        }
    }

    async fn chunk(&mut self) -> io::Result<bool> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let size = usize::from_str_radix(line.trim(), 16).map_err(|_| cut())?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await?;
        self.body.push_str(std::str::from_utf8(&chunk[..size]).expect("text cut between characters"));
        Ok(size > 0)
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
