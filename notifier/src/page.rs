//! The live page: `/` and the files it loads.
//!
//! **Owns** the page's files, embedded as they are, and the headers they are served with. The policy
//! lets a browser load nothing but these files and talk to nobody but this origin. **May not touch**
//! sessions or events: what the page shows comes over the socket. The files' own modules are tested by
//! `page/tests`, the whole in a browser.

use std::hash::{DefaultHasher, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use shared::http::{Body, empty, full, plain_path};
use shared::problem::Problem;

/// Nothing inline, nothing from elsewhere, no markup made from text by a script, no frame around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);

struct File {
    path: &'static str,
    content_type: HeaderValue,
    content: &'static str,
    etag: HeaderValue,
}

macro_rules! files {
    ($($path:literal: $content_type:literal = $source:literal,)*) => {
        [$(File::new($path, $content_type, include_str!(concat!("page/", $source)))),*]
    };
}

static FILES: LazyLock<[File; 9]> = LazyLock::new(|| {
    files! {
        "/": "text/html; charset=utf-8" = "index.html",
        "/page/style.css": "text/css; charset=utf-8" = "style.css",
        "/page/icon.svg": "image/svg+xml" = "icon.svg",
        "/page/main.js": "text/javascript; charset=utf-8" = "main.js",
        "/page/connection.js": "text/javascript; charset=utf-8" = "connection.js",
        "/page/header.js": "text/javascript; charset=utf-8" = "header.js",
        "/page/model.js": "text/javascript; charset=utf-8" = "model.js",
        "/page/table.js": "text/javascript; charset=utf-8" = "table.js",
        "/page/toasts.js": "text/javascript; charset=utf-8" = "toasts.js",
    }
});

impl File {
    fn new(path: &'static str, content_type: &'static str, content: &'static str) -> File {
        let content_type = HeaderValue::from_static(content_type);
        File { path, content_type, content, etag: etag(content) }
    }
}

/// Names the content: replicas of one build give the same, so that a reload may reach any of them.
fn etag(content: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    hasher.write(content.as_bytes());
    let tag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::from_str(&tag).unwrap_or_else(|_| unreachable!("hex digits in quotes are a header's value"))
}

/// The answer to a request for one of the page's files; `None` where `path` is none of them.
pub(crate) fn answer(method: &Method, path: &str, if_none_match: Option<&str>) -> Option<Response<Body>> {
    let file = FILES.iter().find(|file| file.path == plain_path(path))?;
    if method != Method::GET && method != Method::HEAD {
        return Some(method_not_allowed());
    }

    let mut response = empty();
    let unchanged = if_none_match.is_some_and(|tags| names(tags, &file.etag));
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if method == Method::GET {
        *response.body_mut() = full(Bytes::from_static(file.content.as_bytes())).boxed_unsync();
    }

    let headers = response.headers_mut();
    if !unchanged {
        headers.insert(header::CONTENT_TYPE, file.content_type.clone());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.content.len()));
    }
    headers.insert(header::ETAG, file.etag.clone());
    // Kept, but asked about each time: after an update nobody mixes old files with new ones.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// Whether `If-None-Match` names this tag. Proxies that compress mark it as weak.
fn names(if_none_match: &str, etag: &HeaderValue) -> bool {
    let mut tags = if_none_match.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || etag == tag.strip_prefix("W/").unwrap_or(tag))
}

fn method_not_allowed() -> Response<Body> {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed")
        .detail("the page is read with GET or HEAD")
        .header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Response<Body> {
        answer(&Method::GET, path, None).unwrap_or_else(|| panic!("{path} is served"))
    }

    fn header(response: &Response<Body>, name: header::HeaderName) -> &str {
        response.headers().get(&name).unwrap_or_else(|| panic!("{name} is there")).to_str().unwrap()
    }

    async fn text(response: Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The values in `text` between `before` and the next double quote.
    fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn another_path_is_somebody_elses() {
        for path in ["/page", "/page/", "/page/missing.js", "/index.html", "/ws/email/", ""] {
            assert!(answer(&Method::GET, path, None).is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn every_file_the_page_names_is_served_as_what_it_is() {
        let page = text(get("/")).await;
        let named = quoted(&page, " href=\"").chain(quoted(&page, " src=\"")).collect::<Vec<_>>();
        assert!(named.len() >= 4, "{named:?}");
        for path in named {
            let response = get(&format!("/{path}"));
            let expected = match path.rsplit('.').next() {
                Some("js") => "text/javascript; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("svg") => "image/svg+xml",
                other => panic!("no type for {other:?}"),
            };
            assert_eq!(header(&response, header::CONTENT_TYPE), expected, "{path}");
        }
    }

    #[test]
    fn every_module_that_a_module_imports_is_served() {
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            for module in quoted(file.content, " from \"./") {
                get(&format!("/page/{module}"));
            }
        }
    }

    #[test]
    fn no_file_names_another_host_or_makes_markup_from_text() {
        for file in FILES.iter() {
            let content = file.content.replace("http://www.w3.org/2000/svg", "");
            for forbidden in ["://", "href=\"//", "src=\"//", "url(//", "innerHTML", "insertAdjacentHTML", "style=\""] {
                assert!(!content.contains(forbidden), "{} holds {forbidden}", file.path);
            }
        }
    }

    #[test]
    fn every_file_carries_the_policy_and_is_asked_about_each_time() {
        for file in FILES.iter() {
            for unchanged in [false, true] {
                let tag = unchanged.then(|| file.etag.to_str().unwrap());
                let response = answer(&Method::GET, file.path, tag).unwrap();
                let policy = header(&response, header::CONTENT_SECURITY_POLICY);
                assert!(policy.starts_with("default-src 'none';"), "{policy}");
                assert!(!policy.contains("unsafe"), "{policy}");
                assert_eq!(header(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
                assert_eq!(header(&response, header::REFERRER_POLICY), "no-referrer");
                assert_eq!(header(&response, header::CACHE_CONTROL), "no-cache");
                assert_eq!(header(&response, header::ETAG), file.etag);
            }
        }
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let tag = header(&get("/"), header::ETAG).to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let response = answer(&Method::GET, "/", Some(&known)).unwrap();
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(text(response).await, "");
        }
        for other in ["", "\"other\"", tag.trim_matches('"')] {
            assert_eq!(answer(&Method::GET, "/", Some(other)).unwrap().status(), StatusCode::OK, "{other}");
        }
    }

    #[tokio::test]
    async fn head_tells_the_length_and_sends_no_body() {
        let response = answer(&Method::HEAD, "/", None).unwrap();
        let length = header(&response, header::CONTENT_LENGTH).parse::<usize>().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "");
        assert_eq!(text(get("/")).await.len(), length);
    }

    #[test]
    fn the_page_is_only_read() {
        let response = answer(&Method::POST, "/", None).unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&response, header::ALLOW), "GET, HEAD");
    }
}
