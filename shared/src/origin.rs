//! Under which names a service is reached, and which other sites' pages may call it.
//!
//! **Owns** the comparison of `Host`, `Origin` and `Sec-Fetch-Site`. Names are compared exactly, as text.
//! A page of another site that talks to a service on this machine, by its address or by a name that
//! resolves to it (DNS rebinding), is what this is against.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use hyper::header::{self, HeaderMap};

use crate::settings::{List, Mistakes};

crate::settings! {
    /// Where the service is reached from.
    pub struct OriginSettings {
        /// The origins the service is reached under (`https://mail.example.com`); another `Host` is refused.
        pub public_urls: List<String> = "";
        /// Origins of other sites whose pages may call it.
        pub allowed_origins: List<String> = "";
        /// Addresses or networks of proxies whose word about a client's address (`X-Forwarded-For`) counts.
        pub trusted_proxies: List<String> = "";
    }
}

/// The origins of a service.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    own: Vec<String>,
    hosts: Vec<String>,
    others: Vec<String>,
    open: bool,
}

impl Origins {
    /// From the settings; reports what is no origin. `open` says that whoever reaches the service may use it:
    /// then the name it is reached under must be one that no other site can lead here.
    pub fn new(settings: &OriginSettings, open: bool, mistakes: &mut Mistakes) -> Origins {
        let mut read = |variable: &str, list: &[String]| -> Vec<String> {
            let canonical = list.iter().map(|text| canonical(text).ok_or(text));
            let report = |text: &String, mistakes: &mut Mistakes| {
                mistakes.add(
                    variable,
                    format!(
                        "{text:?} is not an origin: write scheme, host and port only, as in https://live.example.com \
                         (no path, no wildcard, a name beyond ASCII as xn--…)"
                    ),
                );
            };
            canonical.filter_map(|origin| origin.map_err(|text| report(text, mistakes)).ok()).collect()
        };
        let own = read("public_urls", &settings.public_urls);
        let others = read("allowed_origins", &settings.allowed_origins);
        let hosts = own.iter().flat_map(|origin| hosts(origin)).collect();
        Origins { own, hosts, others, open }
    }

    /// Whether any host is taken, because none was configured.
    #[must_use]
    pub fn takes_any_host(&self) -> bool {
        self.own.is_empty() && !self.open
    }

    /// Whether the request was sent to a name of this service.
    #[must_use]
    pub fn knows_host(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut lines = headers.get_all(header::HOST).iter();
        let host = match (lines.next().map(|host| host.to_str()), lines.next()) {
            (Some(Ok(host)), None) => host,
            // Every browser sends one: without it nobody was led here. Which of several counts is anybody's guess.
            (None, None) => return self.own.is_empty(),
            (_, _) => return false,
        };
        if uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
            return false;
        }
        match (self.own.is_empty(), self.open) {
            (false, _) => self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)),
            (true, true) => !can_be_rebound(host),
            (true, false) => true,
        }
    }

    /// Whether the request comes from no page, a page of the service itself, or one of an allowed site.
    #[must_use]
    pub fn allows_page(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(header::ORIGIN).iter();
        match (lines.next().map(|origin| origin.to_str()), lines.next()) {
            (Some(Ok(origin)), None) => {
                let known = self.own.iter().chain(&self.others).any(|known| known == origin);
                known || (self.own.is_empty() && is_own_page(origin, headers))
            }
            (Some(_), _) => false,
            // Without an `Origin`, browsers still say where a request comes from.
            (None, _) => {
                let mut sites = headers.get_all("sec-fetch-site").iter();
                sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
            }
        }
    }
}

/// Whether a page talks to the host it came from, which is all that can be told where no name is known.
fn is_own_page(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (canonical(origin), host) {
        (Some(page), Some(host)) => page == origin && hosts(&page).any(|own| own.eq_ignore_ascii_case(host)),
        (_, _) => false,
    }
}

/// An origin as browsers write it: lower case, without the scheme's own port, an address in its one short form.
/// Nothing where the text is no origin.
fn canonical(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) = text.split_once("://").filter(|(scheme, _)| default_port(scheme).is_some())?;
    let (name, port) = split_port(host)?;
    let name = match name.strip_prefix('[') {
        Some(address) => format!("[{}]", address.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
        None if is_name(name) => name.to_owned(),
        None => return None,
    };
    match port {
        Some(port) if Some(port) != default_port(scheme) => Some(format!("{scheme}://{name}:{port}")),
        Some(_) | None => Some(format!("{scheme}://{name}")),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// The `Host` headers that lead to an origin in its canonical form. Browsers leave the scheme's own port out;
/// proxies are often told to write it.
fn hosts(origin: &str) -> impl Iterator<Item = String> {
    let (scheme, host) = origin.split_once("://").unwrap_or_default();
    let no_port = split_port(host).is_some_and(|(_, port)| port.is_none());
    let with_port = default_port(scheme).filter(|_| no_port).map(|port| format!("{host}:{port}"));
    std::iter::once(host.to_owned()).chain(with_port)
}

fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            Some((name, Some(port.parse().ok().filter(|_| digits)?)))
        }
        Some(_) | None => Some((host, None)),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Whether somebody else may own the name and lead it here: every name but those that only a machine or its own
/// network resolves. An address cannot be led anywhere.
fn can_be_rebound(host: &str) -> bool {
    let Some((name, _)) = split_port(host) else { return true };
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_err();
    }
    let is_address = name.parse::<Ipv4Addr>().is_ok();
    let is_local = !name.contains('.') || name.to_ascii_lowercase().ends_with(".localhost");
    !is_name(name) || !(is_address || is_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Settings};

    fn origins(public: &str, open: bool) -> Result<Origins, Mistakes> {
        let environment = Environment::from([("PUBLIC_URLS", public)]);
        let mut mistakes = Mistakes::default();
        let settings = OriginSettings::read(&environment, &mut mistakes);
        let origins = settings.map(|settings| Origins::new(&settings, open, &mut mistakes));
        mistakes.or(origins)
    }

    #[test]
    fn an_origin_is_read_as_browsers_write_it() {
        for (text, expected) in [
            ("https://Live.Example.com/", Some("https://live.example.com")),
            ("https://a.b:443", Some("https://a.b")),
            ("http://a.b:443", Some("http://a.b:443")),
            ("http://[0:0::1]:8000", Some("http://[::1]:8000")),
            ("http://127.0.0.1:8000", Some("http://127.0.0.1:8000")),
            ("live.example.com", None),
            ("https://", None),
            ("ftp://a.b", None),
            ("https://a.b/path", None),
            ("https://a.b?", None),
            ("https://me@a.b", None),
            ("https://*.a.b", None),
            ("https://a.b:", None),
            ("https://a.b:+1", None),
            ("https://a.b:99999", None),
            ("https://[::1", None),
            ("https://m\u{fc}nchen.example", None),
            ("https://a b", None),
            ("null", None),
        ] {
            assert_eq!(canonical(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_reported() {
        let mistakes = origins("live.example.com,https://a.b/path,https://", false).expect_err("three").to_string();
        assert_eq!(mistakes.lines().count(), 4, "{mistakes}");
    }

    #[test]
    fn an_open_service_without_a_name_is_reached_by_addresses_and_local_names_only() {
        let open = origins("", true).expect("origins");
        let check = |host: &str, known: bool| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().expect("a header"))]);
            assert_eq!(open.knows_host(&headers, &Uri::from_static("/")), known, "{host}");
        };
        for local in
            ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "10.0.0.5", "notifier:8080", "a.localhost"]
        {
            check(local, true);
        }
        for name in [
            "rebound.example.net",
            "127.0.0.1.example.net:8000",
            "localhost.",
            "[::1].example.net",
            "a.localhost.",
            "me@localhost",
            "[::1",
            "127.0.0.1:x",
            "",
        ] {
            check(name, false);
        }
    }
}
