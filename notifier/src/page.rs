//! The live page: `/` and the files it loads.
//!
//! **Owns** the page's files, embedded as they are, and the headers they are served with. The policy
//! lets a browser load nothing but these files and talk to nobody but this origin. **May not touch**
//! sessions or events: what the page shows comes over the socket. The files' own modules are tested by
//! `page/tests`, the whole in a browser.

use std::sync::LazyLock;

use crate::files::{File, packed};

/// Nothing inline, nothing from elsewhere, no markup made from text by a script, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Files by their place under `page/`, which is their path as well.
macro_rules! files {
    ($($path:literal,)*) => {
        [
            file("/", "text/html; charset=utf-8", packed!("page/index.html")),
            $(file(concat!("/", $path), content_type($path), packed!("page/", $path))),*
        ]
    };
}

/// All of them.
pub(crate) static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    Vec::from(files! {
        "client.d.ts",
        "client.js",
        "client/catchup.js",
        "client/ending.js",
        "client/links.js",
        "client/recent.js",
        "client/sse.js",
        "client/watch.js",
        "view/alerts.js",
        "view/api.js",
        "view/base.css",
        "view/chart.js",
        "view/counts.js",
        "view/dom.js",
        "view/event.js",
        "view/exporting.js",
        "view/feed.js",
        "view/filters.js",
        "view/finder.js",
        "view/flow.js",
        "view/glance.js",
        "view/header.js",
        "view/icon.svg",
        "view/json.js",
        "view/keys.js",
        "view/kinds.css",
        "view/kinds.js",
        "view/main.js",
        "view/message.js",
        "view/messageview.js",
        "view/older.js",
        "view/panel.css",
        "view/panel.js",
        "view/person.js",
        "view/personview.js",
        "view/place.js",
        "view/preferences.js",
        "view/ratios.js",
        "view/row.js",
        "view/rows.js",
        "view/search.js",
        "view/settings.js",
        "view/shown.js",
        "view/signin.js",
        "view/suggestions.js",
        "view/table.css",
        "view/table.js",
        "view/times.js",
        "view/toasts.js",
        "view/token.js",
        "view/top.css",
        "view/webhook.js",
        "view/words.js",
    })
});

/// What a file is, by its name.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

fn file(path: &'static str, content_type: &'static str, packed: &'static [u8]) -> File {
    let file = File::new(path, content_type, Some(POLICY), packed);
    // Pages of other sites may load the client: it is code without secrets, and modules need to be told.
    if path.starts_with("/client") { file.for_everybody() } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{self, HeaderMap};

    fn get(path: &str) -> &'static File {
        FILES.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is served"))
    }

    fn text(file: &File) -> String {
        String::from_utf8(file.unpacked().to_vec()).unwrap()
    }

    /// The values in `text` between `before` and the next double quote.
    fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_file_the_page_names_is_served_as_what_it_is() {
        let page = text(get("/"));
        let named = quoted(&page, " href=\"").chain(quoted(&page, " src=\"")).collect::<Vec<_>>();
        assert!(named.len() >= 4, "{named:?}");
        for path in named {
            let answer = get(&format!("/{path}")).answer(&HeaderMap::new());
            assert_ne!(answer.headers()[header::CONTENT_TYPE], content_type(""), "{path}");
        }
    }

    /// A module that is not named in the page would be asked for only when another has come.
    #[test]
    fn every_module_is_served_and_named_in_the_page() {
        let page = text(get("/"));
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            let (folder, _) = file.path.rsplit_once('/').unwrap();
            let content = text(file);
            for module in quoted(&content, " from \"").chain(quoted(&content, "\nimport \"")) {
                let path = match (module.strip_prefix("./"), module.strip_prefix("../")) {
                    (Some(beside), None) => format!("{folder}/{beside}"),
                    (None, Some(above)) => format!("/{above}"),
                    _ => continue, // an example
                };
                get(&path);
            }
            assert!(page.contains(&format!("\"{}\"", &file.path[1..])), "{} is not named", file.path);
        }
    }

    #[test]
    fn pages_of_other_sites_may_load_the_client_and_nothing_else() {
        for file in FILES.iter() {
            let answer = file.answer(&HeaderMap::new());
            let allowed = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed.is_some_and(|origin| origin == "*"), file.path.starts_with("/client"), "{}", file.path);
        }
    }

    #[test]
    fn no_file_names_another_host_or_makes_markup_from_text() {
        for file in FILES.iter() {
            let content = text(file).replace("http://www.w3.org/2000/svg", "");
            for forbidden in ["://", "href=\"//", "src=\"//", "url(//", "innerHTML", "insertAdjacentHTML", "style=\""] {
                assert!(!content.contains(forbidden), "{} holds {forbidden}", file.path);
            }
        }
    }

    #[test]
    fn every_file_carries_a_policy_that_lets_nothing_in_from_elsewhere() {
        for file in FILES.iter() {
            let answer = file.answer(&HeaderMap::new());
            let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        }
    }
}
