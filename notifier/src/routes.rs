//! Which path is what.
//!
//! **Owns** the one table of paths and their methods. Pure. **May not** answer anything itself. The files of
//! the page and of `/doc` have tables of their own.

use hyper::Method;
use percent_encoding::percent_decode_str;
use shared::http::plain_path;

use crate::access::{Needs, Scope};
use crate::doc::{self, Document};
use crate::error::Refusal;
use crate::files::File;
use crate::page;

/// What a request is for.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// The live socket.
    Live,
    /// Live events over HTTP.
    Stream,
    /// What this replica knows of the whole.
    Status,
    /// What whoever asks may do.
    Me,
    /// Stored events, newest first.
    Events,
    /// All stored events that match, as a stream.
    Export,
    /// The original of a large event.
    Large(String),
    /// Events counted.
    Stats,
    /// One message's events.
    Message(String),
    /// One person's events.
    Recipient(String),
    /// A person to be erased.
    Erasures,
    /// What the path may be asked with.
    Options { allow: &'static str },
    /// The interface's description.
    Document(Document),
    /// A file of the page or of `/doc`.
    File(&'static File),
}

impl Route {
    /// What it asks of those who call it.
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Route::Live
            | Route::Stream
            | Route::Status
            | Route::Events
            | Route::Export
            | Route::Large(_)
            | Route::Stats
            | Route::Message(_)
            | Route::Recipient(_) => Needs::Scope(Scope::Read),
            Route::Erasures => Needs::Scope(Scope::Erase),
            Route::Me => Needs::Anybody,
            Route::Options { .. } | Route::Document(_) | Route::File(_) => Needs::Nothing,
        }
    }
}

/// A path, the methods it answers, and what it is for.
struct Row {
    /// Without its last slash. A last segment in braces stands for any one segment.
    template: &'static str,
    /// As `Allow` lists them. `OPTIONS` is answered everywhere.
    methods: &'static str,
    /// Takes what stands for the segment in braces, decoded.
    route: fn(String) -> Route,
}

const TABLE: [Row; 15] = [
    Row { template: "/ws/email", methods: "GET, OPTIONS", route: |_| Route::Live },
    Row { template: "/api/events/stream", methods: "GET, OPTIONS", route: |_| Route::Stream },
    Row { template: "/api/events", methods: READ, route: |_| Route::Events },
    Row { template: "/api/events/export", methods: READ, route: |_| Route::Export },
    Row { template: "/api/large/{id}", methods: READ, route: Route::Large },
    Row { template: "/api/stats", methods: READ, route: |_| Route::Stats },
    Row { template: "/api/messages/{id}", methods: READ, route: Route::Message },
    Row { template: "/api/recipients/{recipient}", methods: READ, route: Route::Recipient },
    Row { template: "/api/erasures", methods: "POST, OPTIONS", route: |_| Route::Erasures },
    Row { template: "/api/status", methods: "GET, HEAD, OPTIONS", route: |_| Route::Status },
    Row { template: "/schema", methods: READ, route: |_| Route::Document(Document::Schema) },
    Row { template: "/schema/openapi.json", methods: READ, route: |_| Route::Document(Document::SchemaJson) },
    Row { template: "/asyncapi.yaml", methods: READ, route: |_| Route::Document(Document::AsyncApi) },
    Row { template: "/redoc", methods: READ, route: |_| Route::Document(Document::Redoc) },
    Row { template: "/api/me", methods: READ, route: |_| Route::Me },
];

/// The methods of what is only read.
const READ: &str = "GET, HEAD, OPTIONS";

/// Every path with the methods it answers, for the documents: templates without their last slash. Of files,
/// only those that people open.
pub fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.iter().map(|row| (row.template, row.methods)).chain([("/", READ), ("/doc", READ)])
}

/// What begins so may be called by pages of allowed sites.
const API: &str = "/api/";

/// Whether a path belongs to the API.
pub(crate) fn is_api(path: &str) -> bool {
    path.starts_with(API)
}

/// The methods of a path in the table, as `Allow` lists them.
pub(crate) fn methods(path: &str) -> Option<&'static str> {
    row(path).map(|(row, _)| row.methods)
}

/// What a path is counted as: its template, or one word for all that is in no table.
pub(crate) fn template(path: &str) -> &'static str {
    match row(path) {
        Some((row, _)) => row.template,
        None if file(path).is_some() => "file",
        None => "unknown",
    }
}

/// The route of a request, with and without the path's last slash.
pub(crate) fn find(method: &Method, path: &str) -> Result<Route, Refusal> {
    let (methods, route) = match row(path) {
        Some((row, segment)) => {
            let segment = percent_decode_str(segment).decode_utf8().map_err(|_| Refusal::NotFound)?;
            (row.methods, (row.route)(segment.into_owned()))
        }
        None => (READ, Route::File(file(path).ok_or(Refusal::NotFound)?)),
    };
    match methods.split(", ").find(|known| *known == method.as_str()) {
        Some("OPTIONS") => Ok(Route::Options { allow: methods }),
        Some(_) => Ok(route),
        None => Err(Refusal::Method { allow: methods }),
    }
}

fn file(path: &str) -> Option<&'static File> {
    let path = plain_path(path);
    page::FILES.iter().chain(doc::FILES.iter()).find(|file| file.path == path)
}

/// The first row that fits, and what stands for its segment in braces.
fn row(path: &str) -> Option<(&'static Row, &str)> {
    let path = plain_path(path);
    TABLE.iter().find_map(|row| Some((row, segment(row.template, path)?)))
}

fn segment<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    match template.split_once('{') {
        Some((front, _)) => path.strip_prefix(front).filter(|rest| !rest.is_empty() && !rest.contains('/')),
        None => (template == path).then_some(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_in_braces_stands_for_any_one_segment() {
        for (path, expected) in [
            ("/api/messages/a", Some("a")),
            ("/api/messages/a%2Fb", Some("a%2Fb")),
            ("/api/messages/", None),
            ("/api/messages", None),
            ("/api/messages/a/b", None),
            ("/api/recipients/a", None),
        ] {
            assert_eq!(segment("/api/messages/{id}", path), expected, "{path}");
        }
        assert_eq!(segment("/api/events", "/api/events"), Some(""));
        assert_eq!(segment("/api/events", "/api/events/x"), None);
    }

    #[test]
    fn every_path_answers_with_and_without_its_last_slash_and_says_what_it_may_be_asked_with() {
        for (template, methods) in paths() {
            let path = template.replace("{id}", "x").replace("{recipient}", "x");
            for path in [path.clone(), format!("{path}/").replace("//", "/")] {
                for method in methods.split(", ") {
                    let method: Method = method.parse().expect("a method");
                    find(&method, &path).unwrap_or_else(|refusal| panic!("{method} {path}: {refusal:?}"));
                }
                assert!(matches!(find(&Method::OPTIONS, &path), Ok(Route::Options { allow }) if allow == methods));
                let refused = find(&Method::DELETE, &path).expect_err("no path is deleted");
                assert_eq!(refused, Refusal::Method { allow: methods });
            }
        }
    }

    #[test]
    fn a_path_is_counted_without_what_a_client_wrote_in_it() {
        for (path, expected) in [
            ("/api/recipients/ann@example.com/", "/api/recipients/{recipient}"),
            ("/api/events", "/api/events"),
            ("/", "file"),
            ("/ann@example.com", "unknown"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_nowhere_is_not_found_by_any_method() {
        for path in
            ["/no/such/thing", "/view", "/view/missing.js", "/client", "/index.html", "/doc/tests", "/doc/NOTICE", ""]
        {
            assert_eq!(find(&Method::POST, path).expect_err(path), Refusal::NotFound);
        }
    }
}
