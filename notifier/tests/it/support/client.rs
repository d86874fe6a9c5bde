//! A WebSocket client that can also be a bad one: it writes any bytes and sees every frame.

use std::net::SocketAddr;

use shared::testing::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// The header of a client that takes control frames.
pub(crate) const V1: (&str, &str) = ("Sec-WebSocket-Protocol", "mandrill-live.v1");

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
    /// The head of the handshake's answer.
    pub(crate) head: String,
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Code and reason, where there are any.
    Close(Option<(u16, String)>),
    /// The connection ended.
    End,
}

impl Client {
    /// Opens a session; the handshake must be accepted.
    pub(crate) async fn connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
        let client = Client::try_connect(address, path, headers).await;
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
        // The sample of RFC 6455.
        assert!(client.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", client.head);
        client
    }

    /// Opens a session that takes control frames; returns its `hello` as well.
    pub(crate) async fn control(address: SocketAddr, path: &str) -> (Client, serde_json::Value) {
        let mut client = Client::connect(address, path, &[V1]).await;
        let hello = client.json().await;
        assert_eq!(hello["_control"], "hello", "{hello}");
        (client, hello)
    }

    /// Sends a handshake and reads the head of the answer.
    pub(crate) async fn try_connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
        let mut request = format!("GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
        let mut defaults = vec![
            ("Host", "localhost"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        defaults.retain(|(name, _)| !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
        for (name, value) in defaults.iter().chain(headers) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        Client::open(address, request.as_bytes()).await
    }

    /// Sends the bytes of a handshake and reads the head of the answer.
    pub(crate) async fn open(address: SocketAddr, request: &[u8]) -> Client {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request).await.expect("sent");
        let mut client = Client { stream, buffer: Vec::new(), read: 0, head: String::new() };
        soon("an answer to the handshake", async {
            loop {
                if let Some(end) = client.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                    client.head = String::from_utf8(client.buffer[..end].to_vec()).expect("a head of text");
                    client.read = end + 4;
                    return;
                }
                assert!(client.fill().await, "an answer, not the end: {:?}", String::from_utf8_lossy(&client.buffer));
            }
        })
        .await;
        client
    }

    async fn fill(&mut self) -> bool {
        if self.read > 0 && self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
        }
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }

    /// The next frame that is not a ping; pings are answered.
    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            match self.frame().await {
                Frame::Ping(payload) => self.send(PONG, &payload).await,
                other => return other,
            }
        }
    }

    /// The next frame; asserts that the server writes whole, unmasked frames with the shortest lengths.
    pub(crate) async fn frame(&mut self) -> Frame {
        soon("a frame", async {
            loop {
                if let Some((opcode, payload)) = self.parse() {
                    return frame(opcode, payload);
                }
                if !self.fill().await {
                    return Frame::End;
                }
            }
        })
        .await
    }

    fn parse(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = &self.buffer[self.read..];
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert_eq!(first & 0xF0, 0x80, "a whole frame without reserved bits");
        assert_eq!(second & 0x80, 0, "not masked");
        let (head, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
            short => (2, usize::from(short)),
        };
        let payload = bytes.get(head..head + length)?.to_vec();
        self.read += head + length;
        Some((first & 0x0F, payload))
    }

    /// The next text message.
    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) => text,
            other => panic!("a text, not {other:?}"),
        }
    }

    /// The next text message as JSON.
    pub(crate) async fn json(&mut self) -> serde_json::Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON, not {text}"))
    }

    /// The close frame that ends the session; texts before it are passed over.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Frame::Close(Some(close)) => return close,
                Frame::Text(_) | Frame::Pong(_) => {}
                other => panic!("a close frame, not {other:?}"),
            }
        }
    }

    /// Sends a whole frame.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&masked(0x80 | opcode, payload)).await;
    }

    /// Sends any bytes.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        // The server may have closed: what it said is read all the same.
        let _ = self.write(bytes).await;
    }

    /// Sends any bytes; fails where the server has closed.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says goodbye and waits for the answer.
    pub(crate) async fn leave(mut self) {
        self.send(CLOSE, &1000_u16.to_be_bytes()).await;
        assert_eq!(self.closed().await.0, 1000);
        assert_eq!(self.next().await, Frame::End);
    }
}

/// A client's frame: its first byte as given, its payload masked.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn frame(opcode: u8, payload: Vec<u8>) -> Frame {
    match opcode {
        TEXT => Frame::Text(String::from_utf8(payload).expect("UTF-8")),
        PING => Frame::Ping(payload),
        PONG => Frame::Pong(payload),
        CLOSE => Frame::Close(payload.split_first_chunk::<2>().map(|(code, reason)| {
            (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("a reason of text"))
        })),
        other => panic!("opcode {other} from a server"),
    }
}
