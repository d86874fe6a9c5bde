//! Why a signature may be wrong: what a person looks for on the first day.
//!
//! **Owns** the comparison of how a request arrived with the URLs configured. It is a hint for the log
//! only, never part of the decision. Pure.

/// How a request arrived, as far as it says.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// `X-Forwarded-Proto`, if a proxy set it.
    pub scheme: Option<&'a str>,
    /// `Host`.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
}

/// The likeliest mistake, in words.
#[must_use]
pub fn hint(arrival: Arrival<'_>, signature_sent: bool, urls: &[String]) -> &'static str {
    if !signature_sent {
        return "it carries no X-Mandrill-Signature: not from Mandrill, or a proxy drops the header";
    }
    let parts: Vec<(&str, &str, &str)> = urls.iter().filter_map(|url| split(url)).collect();
    let same_host =
        |host: &str| host.rsplit_once('@').map_or(host, |(_, host)| host).eq_ignore_ascii_case(arrival.host);
    let Some((scheme, _, path)) = parts.iter().find(|(_, host, _)| same_host(host)) else {
        return "it was sent to a host that no configured URL has: if a proxy rewrites Host, configure the URL as registered in Mandrill";
    };
    if arrival.scheme.is_some_and(|arrived| arrived != *scheme) {
        return "it was sent with another scheme than the configured URL's (http or https)";
    }
    let slash = |path: &str| path.trim_end_matches('/').to_owned();
    if *path == arrival.path {
        "the URL fits, so the key is another webhook's, or was reset in Mandrill"
    } else if slash(path) == slash(arrival.path) {
        "the configured URL differs in its last slash from where the request was sent"
    } else if path.split('?').next() == arrival.path.split('?').next() {
        "the configured URL differs in its query from where the request was sent"
    } else {
        "it was sent to another path than the configured URL's: if a proxy rewrites paths, configure the URL as registered in Mandrill"
    }
}

fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_are_named() {
        let urls = ["https://hooks.example.com/api/hook/".to_owned()];
        let check = |scheme, host, path, words: &str| {
            let hint = hint(Arrival { scheme, host, path }, true, &urls);
            assert!(hint.contains(words), "{hint}");
        };
        check(Some("http"), "hooks.example.com", "/api/hook/", "scheme");
        check(None, "hooks.example.com", "/api/hook", "last slash");
        check(None, "hooks.example.com", "/api/hook/?a=1", "query");
        check(None, "hooks.example.com", "/other", "another path");
        check(None, "10.0.0.1:8080", "/api/hook/", "host");
        check(Some("https"), "HOOKS.example.com", "/api/hook/", "key");
        assert!(hint(Arrival { scheme: None, host: "", path: "" }, false, &urls).contains("no X-Mandrill-Signature"));
    }
}
