//! What holds for any bytes on a client's socket (feature `invariants`).
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise ends the run")]

use std::net::TcpListener;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_util::FutureExt;
use shared::close::Close;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::inbound::{Fragments, Inbound, MESSAGE_BYTES_MAX, ReadEnd, Reader};

/// A socket that stays open and on which nothing more comes.
struct Silence {
    _runtime: Runtime,
    _peer: std::net::TcpStream,
    stream: Arc<TcpStream>,
}

static SILENCE: LazyLock<Silence> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (stream, _) = listener.accept().expect("accepted");
    stream.set_nonblocking(true).expect("not blocking");
    let stream = {
        let _within = runtime.enter();
        Arc::new(TcpStream::from_std(stream).expect("a stream"))
    };
    Silence { _runtime: runtime, _peer: peer, stream }
});

/// How reading ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Nothing is left, and no frame has begun.
    Idle,
    /// The rest of a frame is waited for, which is done for some seconds only.
    Waiting,
    Refused(Close),
}

/// Frames are what the standard says they are, within our limits, and it makes no difference after which of them a
/// reader has nothing to do and is made anew.
pub fn frames(input: &[u8]) {
    let Some((pause, bytes)) = input.split_first() else { return };
    let plainly = Plainly::read(bytes);
    let (read, end, _) = read(bytes, Fragments::default());
    assert_eq!((&read, &end), (&plainly.said, &plainly.end), "{bytes:02x?}");
    assert!(read.iter().all(|said| said.bytes() <= MESSAGE_BYTES_MAX));

    let pause = plainly.pauses[usize::from(*pause) % plainly.pauses.len()];
    let (before, after) = bytes.split_at(pause);
    let (mut said, end, fragments) = self::read(before, Fragments::default());
    assert_eq!(end, End::Idle, "{before:02x?}");
    let (more, end, _) = self::read(after, fragments);
    said.extend(more);
    assert_eq!((said, end), (plainly.said, plainly.end), "{before:02x?} {after:02x?}");
}

fn read(bytes: &[u8], message: Fragments) -> (Vec<Inbound>, End, Fragments) {
    let mut reader = Reader::new(Arc::clone(&SILENCE.stream), Bytes::copy_from_slice(bytes), message);
    let mut said = Vec::new();
    let end = loop {
        match reader.next().now_or_never() {
            Some(Ok(inbound)) => said.push(inbound),
            Some(Err(ReadEnd::Idle)) => break End::Idle,
            Some(Err(ReadEnd::Refused(close))) => break End::Refused(close),
            Some(Err(ReadEnd::Gone)) => panic!("the client is still there"),
            None => break End::Waiting,
        }
    };
    (said, end, reader.into_fragments())
}

/// The frames of some bytes, read after RFC 6455 one step after the other.
struct Plainly {
    said: Vec<Inbound>,
    end: End,
    /// After how many bytes a frame has ended.
    pauses: Vec<usize>,
}

impl Plainly {
    fn read(mut bytes: &[u8]) -> Plainly {
        let all = bytes.len();
        let (mut said, mut pauses, mut message) = (Vec::new(), vec![0], None);
        // Whether each length was written in as few bytes as it needs. A reader that met another counts wrong from
        // then on, and its session ends.
        let mut counts = true;
        let end = loop {
            match frame(bytes, &mut message) {
                Err(end) => break if bytes.is_empty() && counts { End::Idle } else { end },
                Ok(read) => {
                    bytes = read.rest;
                    counts &= read.is_short;
                    said.extend(read.said);
                    if counts {
                        pauses.push(all - bytes.len());
                    }
                }
            }
        };
        Plainly { said, end, pauses }
    }
}

struct Read<'a> {
    said: Option<Inbound>,
    is_short: bool,
    rest: &'a [u8],
}

fn frame<'a>(bytes: &'a [u8], message: &mut Option<Vec<u8>>) -> Result<Read<'a>, End> {
    let [first, second, rest @ ..] = bytes else { return Err(End::Waiting) };
    let (is_last, opcode, is_masked) = (first & 0x80 != 0, first & 0x0F, second & 0x80 != 0);
    let is_control = opcode >= 8;
    let protocol = Err(End::Refused(Close::Protocol));
    if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
        return protocol;
    }
    let wide = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(wide) else { return Err(End::Waiting) };
    let length = match wide {
        0 => u64::from(second & 0x7F),
        _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let is_short = match wide {
        0 => true,
        2 => length > 125,
        _ => length > 0xFFFF,
    };
    let Some((mask, rest)) = rest.split_at_checked(if is_masked { 4 } else { 0 }) else { return Err(End::Waiting) };
    if is_control && !is_last || opcode == 9 && length > 125 {
        return protocol;
    }
    if length > MESSAGE_BYTES_MAX as u64 {
        return Err(End::Refused(Close::TooLarge));
    }
    let Some((payload, rest)) = rest.split_at_checked(length as usize) else { return Err(End::Waiting) };
    let payload: Vec<u8> = match mask {
        [] => payload.to_vec(),
        mask => payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect(),
    };
    if opcode == 1 && is_last && std::str::from_utf8(&payload).is_err() {
        return Err(End::Refused(Close::InvalidText));
    }
    if !is_masked || is_control && length > 125 {
        return protocol;
    }
    let said = match opcode {
        8 => Some(farewell(payload)?),
        9 => Some(Inbound::Ping(payload)),
        10 => Some(Inbound::Pong),
        2 => return Err(End::Refused(Close::Unsupported)),
        // A message begins where none is under way, and goes on where one is.
        _ if (opcode == 1) == message.is_some() => return protocol,
        _ => {
            let message_so_far = message.get_or_insert_default();
            message_so_far.extend(payload);
            if message_so_far.len() > MESSAGE_BYTES_MAX {
                return Err(End::Refused(Close::TooLarge));
            }
            let whole = if is_last { message.take() } else { None };
            match whole.map(String::from_utf8) {
                None => None,
                Some(Ok(text)) => Some(Inbound::Text(text)),
                Some(Err(_)) => return Err(End::Refused(Close::InvalidText)),
            }
        }
    };
    Ok(Read { said, is_short, rest })
}

fn farewell(payload: Vec<u8>) -> Result<Inbound, End> {
    let Some((code, reason)) = payload.split_at_checked(2) else {
        return if payload.is_empty() { Ok(Inbound::Close(payload)) } else { Err(End::Refused(Close::Protocol)) };
    };
    // Those that a frame may carry (7.4): the standard's own, registered ones, and applications'.
    let may_be = matches!(u16::from_be_bytes([code[0], code[1]]), 1000..=1003 | 1007..=1013 | 3000..=4999);
    match (may_be, std::str::from_utf8(reason)) {
        (false, _) => Err(End::Refused(Close::Protocol)),
        (true, Err(_)) => Err(End::Refused(Close::InvalidText)),
        (true, Ok(_)) => Ok(Inbound::Close(payload)),
    }
}

impl Inbound {
    fn bytes(&self) -> usize {
        match self {
            Inbound::Text(text) => text.len(),
            Inbound::Ping(payload) | Inbound::Close(payload) => payload.len(),
            Inbound::Pong => 0,
        }
    }
}
