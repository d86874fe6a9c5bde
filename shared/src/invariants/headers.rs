//! What holds for any headers: who is at the other end, and what was asked for.

use std::net::{IpAddr, SocketAddrV4};
use std::sync::LazyLock;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;

use crate::origin::{OriginSettings, Origins};
use crate::settings::{Environment, Mistakes, Settings};

/// The headers of a request whose lines these are. What HTTP would not take as one is left out.
#[must_use]
pub fn headers_of(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The lines of a header.
#[must_use]
pub fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// An allowed page of another site.
pub const OTHER_PAGE: &str = "https://app.example.net";
static NAMED: LazyLock<Origins> = LazyLock::new(|| {
    let named = [("PUBLIC_URLS", "https://live.example.com,http://[::1]:8000"), ("ALLOWED_ORIGINS", OTHER_PAGE)];
    origins(&named.into())
});
static OPEN: LazyLock<Origins> = LazyLock::new(|| origins(&Environment::default()));

/// The origins of a service that whoever reaches it may use.
#[must_use]
pub fn origins(environment: &Environment) -> Origins {
    let mut mistakes = Mistakes::default();
    let settings = OriginSettings::read(environment, &mut mistakes).expect("settings");
    Origins::new(&settings, true, &mut mistakes)
}

/// A service is reached by its own names alone, and without a name by what no other site can lead here; it is called
/// by its own pages and allowed ones alone.
pub fn headers(input: &[u8]) {
    let headers = headers_of(input);
    let uri = Uri::from_static("/");
    let (hosts, pages) = (lines(&headers, "host"), lines(&headers, "origin"));

    let is_one_of = |known: &[&str], text: &[u8]| known.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(text));
    let known_host =
        matches!(hosts[..], [host] if is_one_of(&["live.example.com", "live.example.com:443", "[::1]:8000"], host));
    assert_eq!(NAMED.knows_host(&headers, &uri), known_host, "{hosts:?}");

    let from_no_page =
        lines(&headers, "sec-fetch-site").iter().all(|site| [&b"none"[..], b"same-origin"].contains(site));
    let known_page = match pages[..] {
        [] => from_no_page,
        [page] => [&b"https://live.example.com"[..], b"http://[::1]:8000", OTHER_PAGE.as_bytes()].contains(&page),
        _ => false,
    };
    assert_eq!(NAMED.allows_page(&headers), known_page, "{pages:?}");

    if OPEN.knows_host(&headers, &uri) {
        match hosts[..] {
            [] => {}
            [host] => cannot_be_rebound(host),
            _ => panic!("several hosts: {hosts:?}"),
        }
    }
    if OPEN.allows_page(&headers) {
        match (&pages[..], &hosts[..]) {
            ([], _) => assert!(from_no_page),
            ([page], [host, ..]) => is_page_of(page, host),
            _ => panic!("{pages:?} at {hosts:?}"),
        }
    }
    let address = |host: &&[u8]| std::str::from_utf8(host).ok()?.parse::<SocketAddrV4>().ok();
    if let ([_], Some(address)) = (&hosts[..], hosts.first().and_then(address)) {
        assert!(OPEN.knows_host(&headers, &uri), "an address is led nowhere: {address}");
    }
}

/// An address, a name without a dot, or one below `localhost`: by the reading of another library.
fn cannot_be_rebound(host: &[u8]) {
    let authority = Authority::try_from(host).expect("a host that is taken can be read");
    assert!(!host.contains(&b'@'), "{authority}");
    let name = authority.host().to_ascii_lowercase();
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    assert!(is_address || !name.contains('.') || name.ends_with(".localhost"), "{authority}");
}

/// A page's origin is the host's, but for the scheme and its own port.
fn is_page_of(page: &[u8], host: &[u8]) {
    let (page, host) = (String::from_utf8_lossy(page), String::from_utf8_lossy(host).to_ascii_lowercase());
    let (scheme, place) = page.split_once("://").expect("an origin");
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => panic!("{page}"),
    };
    assert_eq!(place, host.strip_suffix(port).unwrap_or(&host), "{page}");
}
