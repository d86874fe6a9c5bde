//! Under which names a service is reached, and which other sites' pages may call it.
//!
//! **Owns** the comparison of `Host`, `Origin` and `Sec-Fetch-Site`. Names are compared exactly, as text.
//! A page of another site that talks to a service on this machine, by its address or by a name that
//! resolves to it (DNS rebinding), is what this is against.

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
}

impl Origins {
    /// From the settings; reports what is no origin.
    pub fn new(settings: &OriginSettings, mistakes: &mut Mistakes) -> Origins {
        let mut read = |variable: &str, list: &[String]| -> Vec<String> {
            let origins = list.iter().map(|url| url.trim_end_matches('/').to_ascii_lowercase());
            origins
                .inspect(|url| {
                    if host_of(url).is_none() {
                        mistakes.add(variable, format!("{url:?} is not an origin: write scheme, host and port only"));
                    }
                })
                .collect()
        };
        let own = read("public_urls", &settings.public_urls);
        let others = read("allowed_origins", &settings.allowed_origins);
        let hosts = own.iter().filter_map(|url| host_of(url)).map(str::to_owned).collect();
        Origins { own, hosts, others }
    }

    /// Whether any host is taken, because none was configured.
    #[must_use]
    pub fn takes_any_host(&self) -> bool {
        self.own.is_empty()
    }

    /// Whether the request was sent to a name of this service.
    #[must_use]
    pub fn knows_host(&self, headers: &HeaderMap, uri_host: Option<&str>) -> bool {
        if self.takes_any_host() {
            return true;
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next().map(|host| host.to_str()), hosts.next(), uri_host) {
            (Some(Ok(host)), None, None) => self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)),
            (Some(Ok(host)), None, Some(uri)) => {
                host.eq_ignore_ascii_case(uri) && self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
            }
            _ => false,
        }
    }

    /// Whether the request comes from no page, a page of the service itself, or one of an allowed site.
    #[must_use]
    pub fn allows_page(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::ORIGIN).map(|origin| origin.to_str()) {
            Some(Ok(origin)) => {
                let known = self.own.iter().chain(&self.others).any(|known| known == origin);
                known || (self.takes_any_host() && is_own_page(origin, headers))
            }
            Some(Err(_)) => false,
            // Without an `Origin`, browsers still say where a request comes from.
            None => match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
                None | Some(b"same-origin" | b"none") => true,
                Some(_) => false,
            },
        }
    }
}

/// Whether a page talks to the host it came from, which is all that can be told where no name is known.
fn is_own_page(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (host_of(origin), host) {
        (Some(page), Some(host)) => page.eq_ignore_ascii_case(host),
        (_, _) => false,
    }
}

/// The host and port of an origin, as a `Host` header holds them; nothing where it is not one.
fn host_of(origin: &str) -> Option<&str> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    plain.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Settings};

    fn origins(public: &str, allowed: &str) -> Result<Origins, Mistakes> {
        let environment = Environment::from([("PUBLIC_URLS", public), ("ALLOWED_ORIGINS", allowed)]);
        let mut mistakes = Mistakes::default();
        let settings = OriginSettings::read(&environment, &mut mistakes);
        let origins = settings.map(|settings| Origins::new(&settings, &mut mistakes));
        mistakes.or(origins)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn another_host_is_not_known_and_two_are_never() {
        let origins = origins("https://live.example.com, http://127.0.0.1:8000/", "").expect("origins");
        let check = |host: &[(&'static str, &str)], known: bool| {
            assert_eq!(origins.knows_host(&headers(host), None), known, "{host:?}");
        };
        check(&[("host", "live.example.com")], true);
        check(&[("host", "LIVE.example.com")], true);
        check(&[("host", "127.0.0.1:8000")], true);
        check(&[("host", "127.0.0.1")], false);
        check(&[("host", "rebound.example.net:8000")], false);
        check(&[], false);
        check(&[("host", "live.example.com"), ("host", "live.example.com")], false);
    }

    #[test]
    fn pages_of_other_sites_are_not_allowed_unless_listed() {
        let origins = origins("https://live.example.com", "https://app.example.com").expect("origins");
        let check = |pairs: &[(&'static str, &str)], allowed: bool| {
            assert_eq!(origins.allows_page(&headers(pairs)), allowed, "{pairs:?}");
        };
        check(&[], true);
        check(&[("origin", "https://live.example.com")], true);
        check(&[("origin", "https://app.example.com")], true);
        check(&[("origin", "https://evil.example.net")], false);
        check(&[("origin", "null")], false);
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "none")], true);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site")], false);
    }

    #[test]
    fn where_no_name_is_known_a_page_may_talk_to_the_host_it_came_from() {
        let origins = origins("", "").expect("origins");
        let check = |origin: &str, allowed: bool| {
            assert_eq!(origins.allows_page(&headers(&[("host", "10.0.0.1:8080"), ("origin", origin)])), allowed);
        };
        check("http://10.0.0.1:8080", true);
        check("http://10.0.0.1", false);
        check("https://evil.example.net", false);
        check("null", false);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_only() {
        let mistakes = origins("live.example.com,https://a.b/path", "https://").expect_err("three").to_string();
        assert_eq!(mistakes.lines().count(), 4, "{mistakes}");
    }
}
