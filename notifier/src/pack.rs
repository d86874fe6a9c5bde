//! Answers packed for the way: zstd or gzip, where a client takes it and it is worth it.
//!
//! **Owns** which answers are packed. Live events are not: they would wait in a buffer, and compressing each
//! stream costs more than all else. Nor is what has its length in front, so that a part is never taken for the
//! whole.

use std::convert::Infallible;
use std::future::ready;

use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use shared::http::Body;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::accept::{self, Encoding};

/// Below this the head is most of an answer.
const BYTES_MIN: u64 = 1024;
/// A piece of a packed answer.
const PIECE_BYTES: usize = 16 << 10;
/// What is worth it.
const TYPES: [&str; 3] = ["application/json", "application/x-ndjson", "text/csv"];

/// Packs an answer, where the request takes it.
pub(crate) fn pack(response: Response<Body>, request: &HeaderMap) -> Response<Body> {
    if !is_worth_it(&response) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoding = accept::encoding(request, &[Encoding::Zstd, Encoding::Gzip]);
    let body = match encoding {
        Encoding::Identity => body,
        Encoding::Zstd => packed(ZstdEncoder::new(StreamReader::new(pieces(body)))),
        Encoding::Gzip => packed(GzipEncoder::new(StreamReader::new(pieces(body)))),
    };
    if encoding != Encoding::Identity {
        head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    Response::from_parts(head, body)
}

fn is_worth_it(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_known = TYPES.iter().any(|known| content_type.starts_with(known));
    let is_whole = !headers.contains_key(header::CONTENT_ENCODING) && !headers.contains_key(header::CONTENT_LENGTH);
    let is_long = response.body().size_hint().exact().is_none_or(|bytes| bytes >= BYTES_MIN);
    response.status() == StatusCode::OK && is_known && is_whole && is_long
}

fn pieces(body: Body) -> impl Stream<Item = std::io::Result<Bytes>> + Unpin + Send {
    body.into_data_stream().map(|piece| match piece {
        Ok(piece) => Ok(piece),
        Err(never) => match never {},
    })
}

fn packed(reader: impl AsyncRead + Send + 'static) -> Body {
    let pieces = ReaderStream::with_capacity(reader, PIECE_BYTES);
    // Nothing that is packed in memory fails; what did would end here, and the packed form has an end of its own.
    let whole = pieces.take_while(|piece| ready(piece.is_ok())).filter_map(|piece| ready(piece.ok()));
    let frames = whole.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    StreamBody::new(frames.boxed()).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
    use shared::http::full;
    use tokio::io::AsyncReadExt;

    fn answer(content_type: &'static str, text: &str) -> Response<Body> {
        let mut response = Response::new(full(text.to_owned()).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn accepts(encodings: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(encodings))])
    }

    #[tokio::test]
    async fn what_is_packed_is_the_same_when_it_is_unpacked() {
        let text = "{\"event\":\"open\"}\n".repeat(50_000);
        for (accept, encoding) in [("gzip, zstd", "zstd"), ("gzip", "gzip"), ("br", "")] {
            let packed = pack(answer("application/x-ndjson", &text), &accepts(accept));
            let named = packed.headers().get(header::CONTENT_ENCODING).map_or("", |name| name.to_str().unwrap());
            assert_eq!((named, packed.headers()[header::VARY].to_str().unwrap()), (encoding, "Accept-Encoding"));
            let bytes = packed.into_body().collect().await.unwrap().to_bytes();
            let mut unpacked = String::new();
            match encoding {
                "zstd" => drop(ZstdDecoder::new(&*bytes).read_to_string(&mut unpacked).await.unwrap()),
                "gzip" => drop(GzipDecoder::new(&*bytes).read_to_string(&mut unpacked).await.unwrap()),
                _ => unpacked = String::from_utf8(bytes.to_vec()).unwrap(),
            }
            assert!(unpacked == text);
            assert!(encoding.is_empty() || bytes.len() < text.len() / 10, "{accept}: {}", bytes.len());
        }
    }

    #[test]
    fn short_answers_live_events_and_what_has_its_length_are_sent_as_they_are() {
        let long = "x".repeat(5000);
        let mut whole = answer("application/json", &long);
        whole.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(5000));
        for plain in [answer("application/json", "{}"), answer("text/event-stream", &long), whole] {
            let sent = pack(plain, &accepts("gzip, zstd"));
            assert!(!sent.headers().contains_key(header::CONTENT_ENCODING));
        }
    }
}
