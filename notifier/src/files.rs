//! Files that are a part of the program, as clients get them.
//!
//! **Owns** how one is kept (packed, see `build.rs`) and the headers it is served with. Which files there
//! are, and what a browser may do with them, is said by [`page`](crate::page) and [`doc`](crate::doc).

use std::hash::{DefaultHasher, Hasher};
use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use shared::http::{Body, empty, full};

use crate::accept::{Encoding, encoding};

/// The packed content of a file, by its path below `src` or its name in `shared`.
macro_rules! packed {
    ($($name:literal),*) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $($name,)* ".gz"))
    };
}
pub(crate) use packed;

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it is served.
    pub(crate) path: &'static str,
    content_type: &'static str,
    /// What a browser may do with it; the strictest policy of all where there is none.
    policy: Option<&'static str>,
    packed: &'static [u8],
    etag: HeaderValue,
    for_everybody: bool,
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl File {
    pub(crate) fn new(
        path: &'static str,
        content_type: &'static str,
        policy: Option<&'static str>,
        packed: &'static [u8],
    ) -> File {
        File { path, content_type, policy, packed, etag: etag(packed), for_everybody: false }
    }

    /// Pages of all other sites may load it.
    pub(crate) fn for_everybody(self) -> File {
        File { for_everybody: true, ..self }
    }

    /// The answer to `GET`; to `HEAD` too, once its body is taken off.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let unchanged = known.is_some_and(|tags| names(tags, &self.etag));
        let mut response = if unchanged { not_modified() } else { self.content(request) };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        // Kept, but asked about each time: after an update nobody mixes old files with new ones.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(policy) = self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        if self.for_everybody {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        }
        response
    }

    fn content(&self, request: &HeaderMap) -> Response<Body> {
        let gzip = encoding(request, &[Encoding::Gzip]) == Encoding::Gzip;
        let content = if gzip { Bytes::from_static(self.packed) } else { self.unpacked() };
        let mut response = Response::new(full(content).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// Few clients take no gzip: unpacking for them is cheaper than keeping both.
    pub(crate) fn unpacked(&self) -> Bytes {
        let mut content = Vec::new();
        // Packed when the program was built: it cannot fail to unpack.
        let _ = GzDecoder::new(self.packed).read_to_end(&mut content);
        content.into()
    }
}

/// Names the content: replicas of one build give the same, so that a reload may reach any of them. It is
/// weak, because packed and unpacked bytes share it.
fn etag(content: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    HeaderValue::from_str(&tag).unwrap_or_else(|_| unreachable!("hex digits in quotes are a header's value"))
}

/// Whether `If-None-Match` names this tag. It compares weakly: `W/` makes no difference.
pub(crate) fn names(if_none_match: &str, etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let known = etag.to_str().map(opaque).unwrap_or_default();
    if_none_match.split(',').map(str::trim).any(|tag| tag == "*" || opaque(tag) == known)
}

/// What a client has is what it would get.
pub(crate) fn not_modified() -> Response<Body> {
    let mut response = empty();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "default-src 'none'";

    fn file() -> File {
        File::new("/doc", "text/html; charset=utf-8", Some(POLICY), packed!("doc/index.html"))
    }

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    async fn bytes(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn it_is_sent_packed_to_those_who_take_that_and_plain_to_the_others() {
        let file = file();
        let packed = file.answer(&with(header::ACCEPT_ENCODING, "gzip, br"));
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(packed.headers()[header::VARY], "Accept-Encoding");
        let mut unpacked = String::new();
        GzDecoder::new(&bytes(packed).await[..]).read_to_string(&mut unpacked).unwrap();
        let plain = file.answer(&HeaderMap::new());
        assert_eq!(plain.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(plain.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(bytes(plain).await, include_str!("doc/index.html"));
        assert_eq!(unpacked, include_str!("doc/index.html"));
    }

    #[tokio::test]
    async fn what_the_client_has_is_not_sent_again() {
        let file = file();
        let tag = file.etag.to_str().unwrap();
        let strong = tag.trim_start_matches("W/");
        for known in [tag, strong, "*", &format!("\"other\", {tag}")] {
            let response = file.answer(&with(header::IF_NONE_MATCH, known));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(response.headers()[header::ETAG], tag);
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
            assert!(bytes(response).await.is_empty());
        }
        for other in ["", "\"other\"", strong.trim_matches('"')] {
            assert_eq!(file.answer(&with(header::IF_NONE_MATCH, other)).status(), StatusCode::OK, "{other}");
        }
    }
}
