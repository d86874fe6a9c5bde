//! A WebSocket client that can also be a bad one: it writes any bytes and sees every frame.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

/// A frame's opcode.
pub const TEXT: u8 = 0x1;
/// A frame's opcode.
pub const BINARY: u8 = 0x2;
/// A frame's opcode.
pub const CLOSE: u8 = 0x8;
/// A frame's opcode.
pub const PING: u8 = 0x9;
/// A frame's opcode.
pub const PONG: u8 = 0xA;

/// The header of a client that takes control frames.
pub const V1: (&str, &str) = ("Sec-WebSocket-Protocol", "mandrill-live.v1");

/// What the kernel may hold for a client that shall be slow; it doubles the number for its own needs.
const NARROW_BYTES: u32 = 16 << 10;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One end of a connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
    /// The head of the handshake's answer.
    pub head: String,
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text.
    Text(String),
    /// A ping and its payload.
    Ping(Vec<u8>),
    /// A pong and its payload.
    Pong(Vec<u8>),
    /// Code and reason, where there are any.
    Close(Option<(u16, String)>),
    /// The connection ended.
    End,
}

impl Client {
    /// Opens a session; the handshake must be accepted.
    pub async fn connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
        let client = Client::try_connect(address, path, headers).await;
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
        // The sample of RFC 6455.
        assert!(client.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", client.head);
        client
    }

    /// Opens a session that takes control frames; returns its `hello` as well.
    pub async fn control(address: SocketAddr, path: &str) -> (Client, serde_json::Value) {
        let mut client = Client::connect(address, path, &[V1]).await;
        let hello = client.json().await;
        assert_eq!(hello["_control"], "hello", "{hello}");
        (client, hello)
    }

    /// Sends a handshake and reads the head of the answer.
    pub async fn try_connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
        Client::open(address, &handshake(path, headers)).await
    }

    /// Sends the bytes of a handshake and reads the head of the answer.
    pub async fn open(address: SocketAddr, request: &[u8]) -> Client {
        Client::open_on(TcpStream::connect(address).await.expect("connected"), request).await
    }

    /// Opens a session for which the kernel holds little: where it does not read, the server notices soon.
    pub async fn narrow(address: SocketAddr, path: &str) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(NARROW_BYTES).expect("a small buffer");
        let client = Client::open_on(socket.connect(address).await.expect("connected"), &handshake(path, &[])).await;
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
        client
    }

    async fn open_on(stream: TcpStream, request: &[u8]) -> Client {
        soon("an answer to the handshake", Client::over(stream, request)).await.expect("an answer")
    }

    /// Opens a session where the connection may fail at any moment; the answer may be a refusal.
    ///
    /// # Errors
    /// Where the connection fails before the head of the answer has come.
    pub async fn begin(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Client> {
        Client::over(TcpStream::connect(address).await?, &handshake(path, headers)).await
    }

    async fn over(mut stream: TcpStream, request: &[u8]) -> io::Result<Client> {
        stream.write_all(request).await?;
        let mut client = Client { stream, buffer: Vec::new(), read: 0, head: String::new() };
        loop {
            if let Some(end) = client.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                client.head = String::from_utf8(client.buffer[..end].to_vec()).expect("a head of text");
                client.read = end + 4;
                return Ok(client);
            }
            if !client.fill().await {
                let came = String::from_utf8_lossy(&client.buffer);
                return Err(io::Error::other(format!("an answer, not the end: {came:?}")));
            }
        }
    }

    /// The next frame that is not a ping, however long it takes; pings are answered.
    pub async fn receive(&mut self) -> Frame {
        loop {
            match self.any_frame().await {
                Frame::Ping(payload) => self.send(PONG, &payload).await,
                other => return other,
            }
        }
    }

    async fn fill(&mut self) -> bool {
        if self.read > 0 && self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
        }
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }

    /// The next frame that is not a ping; pings are answered.
    pub async fn next(&mut self) -> Frame {
        soon("a frame that is no ping", self.receive()).await
    }

    /// The next frame; asserts that the server writes whole, unmasked frames with the shortest lengths.
    pub async fn frame(&mut self) -> Frame {
        soon("a frame", self.any_frame()).await
    }

    async fn any_frame(&mut self) -> Frame {
        loop {
            if let Some((opcode, payload)) = self.parse() {
                return frame(opcode, payload);
            }
            if !self.fill().await {
                return Frame::End;
            }
        }
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
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) => text,
            other => panic!("a text, not {other:?}"),
        }
    }

    /// The next text message as JSON.
    pub async fn json(&mut self) -> serde_json::Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON, not {text}"))
    }

    /// The close frame that ends the session; texts before it are passed over.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Frame::Close(Some(close)) => return close,
                Frame::Text(_) | Frame::Pong(_) => {}
                other => panic!("a close frame, not {other:?}"),
            }
        }
    }

    /// Sends a whole frame.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&masked(0x80 | opcode, payload)).await;
    }

    /// Sends any bytes.
    pub async fn raw(&mut self, bytes: &[u8]) {
        // The server may have closed: what it said is read all the same.
        let _ = self.write(bytes).await;
    }

    /// Sends any bytes; fails where the server has closed.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says goodbye and waits for the answer.
    pub async fn leave(mut self) {
        self.send(CLOSE, &1000_u16.to_be_bytes()).await;
        assert_eq!(self.closed().await.0, 1000);
        assert_eq!(self.next().await, Frame::End);
    }
}

/// The bytes of a handshake.
fn handshake(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    let mut defaults =
        vec![("Host", "localhost"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")];
    defaults.retain(|(name, _)| !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
    for (name, value) in defaults.iter().chain(headers) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// A client's frame: its first byte as given, its payload masked.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
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
