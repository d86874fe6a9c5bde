//! WebSocket as RFC 6455 has it: what a client may send, and how a session ends where it sends else.

use shared::testing::broker::Broker;

use crate::support::client::{BINARY, CLOSE, Frame, PING, PONG, TEXT, masked};
use crate::support::{Client, Service, Writer, events, expect};

async fn service() -> (Broker, Writer, Service) {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    (broker, writer, service)
}

/// Sends bytes on a new session and returns the code it ends with.
async fn code_after(service: &Service, bytes: &[u8]) -> u16 {
    let mut client = service.session().await;
    client.raw(bytes).await;
    let (code, _) = client.closed().await;
    assert_eq!(client.next().await, Frame::End, "the connection ends after the close frame");
    code
}

#[tokio::test]
async fn what_is_against_the_standard_ends_the_session_with_its_code() {
    let (_broker, _writer, service) = service().await;
    let long = "x".repeat(126);
    let check = async |what: &str, bytes: &[u8], code: u16| {
        assert_eq!(code_after(&service, bytes).await, code, "{what}");
    };
    check("an unmasked frame", &[0x81, 2, b'h', b'i'], 1002).await;
    check("a reserved bit", &masked(0xC1, b"x"), 1002).await;
    check("a reserved opcode", &masked(0x83, b"x"), 1002).await;
    check("a reserved control opcode", &masked(0x8B, b"x"), 1002).await;
    check("a fragmented ping", &masked(0x09, b"x"), 1002).await;
    check("a ping of 126 bytes", &masked(0x80 | PING, long.as_bytes()), 1002).await;
    check("a pong of 126 bytes", &masked(0x80 | PONG, long.as_bytes()), 1002).await;
    check("a continuation of nothing", &masked(0x80, b"x"), 1002).await;
    check("a text within a text", &[masked(0x01, b"a"), masked(0x81, b"b")].concat(), 1002).await;
    check("a close code of one byte", &masked(0x80 | CLOSE, &[3]), 1002).await;
    check("a close code nobody may send", &masked(0x80 | CLOSE, &1005_u16.to_be_bytes()), 1002).await;
    check("a close reason that is not UTF-8", &masked(0x80 | CLOSE, &[3, 0xE8, 0xFF]), 1007).await;
    check("binary", &masked(0x80 | BINARY, b"x"), 1003).await;
    check("a text that is not UTF-8", &masked(0x80 | TEXT, &[0xC3, 0x28]), 1007).await;
    let parts = [masked(0x01, &[0xE2, 0x82]), masked(0x80, &[0x28])].concat();
    check("a text whose parts are not UTF-8 together", &parts, 1007).await;
    check("a message of 4097 bytes", &masked(0x80 | TEXT, &[b'x'; 4097]), 1009).await;
    let parts = [masked(0x01, &[b'x'; 4000]), masked(0x80, &[b'x'; 97])].concat();
    check("parts of 4097 bytes together", &parts, 1009).await;
    check(
        "a message of 2^63 bytes, announced only",
        &[0x81, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4],
        1009,
    )
    .await;
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered_with_its_own_words() {
    let (_broker, _writer, service) = service().await;
    for payload in [&b""[..], &[3, 0xE8], &[0x0F, 0xA0, b'b', b'y', b'e']] {
        let mut client = service.session().await;
        client.send(CLOSE, payload).await;
        let expected = payload
            .split_first_chunk::<2>()
            .map(|(code, reason)| (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()));
        assert_eq!(client.next().await, Frame::Close(expected));
        assert_eq!(client.next().await, Frame::End);
    }
}

#[tokio::test]
async fn pings_are_answered_in_order_between_parts_of_a_message_too() {
    let (_broker, writer, service) = service().await;
    let mut client = service.session().await;
    let message = [
        masked(0x01, b"half a "),
        masked(0x80 | PING, b"one"),
        masked(0x80 | PING, b""),
        masked(0x80, b"word"),
        masked(0x80 | PING, b"two"),
    ];
    client.raw(&message.concat()).await;
    for payload in ["one", "", "two"] {
        assert_eq!(client.next().await, Frame::Pong(payload.into()));
    }
    let batch = events(3);
    writer.store_all(&batch).await;
    expect(&mut client, &batch).await;
}

#[tokio::test]
async fn a_frame_that_arrives_byte_by_byte_is_read() {
    let (_broker, writer, service) = service().await;
    let mut client = service.session().await;
    for byte in [masked(0x80 | TEXT, "ignored €".as_bytes()), masked(0x80 | PING, b"here")].concat() {
        client.raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.next().await, Frame::Pong(b"here".into()));
    let batch = events(3);
    writer.store_all(&batch).await;
    expect(&mut client, &batch).await;
}

#[tokio::test]
async fn what_comes_with_the_handshake_is_not_lost() {
    let (_broker, _writer, service) = service().await;
    let request = "GET /ws/email/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let bytes = [request.as_bytes(), &masked(0x80 | PING, b"early")].concat();
    let mut client = Client::open(service.http, &bytes).await;
    assert_eq!(client.next().await, Frame::Pong(b"early".into()));
}
