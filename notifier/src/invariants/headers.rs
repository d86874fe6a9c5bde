//! What a request says in its headers: who sends it, by which token, and which answer it takes.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use hyper::header::{self, HeaderMap, HeaderValue};
use shared::invariants::{OTHER_PAGE, headers_of, lines, origins};
use shared::origin::Origins;
use shared::settings::Mistakes;

use crate::accept::{self, Encoding};
use crate::access::invariants::token_of;
use crate::cors;
use crate::files;
use crate::peer::{Proxies, one_of};

const TYPES: [&str; 2] = ["application/yaml", "application/json"];
const ENCODINGS: [Encoding; 2] = [Encoding::Zstd, Encoding::Gzip];
const TAG: &str = "W/\"0123456789abcdef\"";
/// What weights are counted by.
const THOUSANDTHS: usize = 3;

static PROXIES: LazyLock<Proxies> =
    LazyLock::new(|| Proxies::new(&["10.0.0.0/8", "2001:db8::/32"].map(str::to_owned), &mut Mistakes::default()));
static ORIGINS: LazyLock<Origins> =
    LazyLock::new(|| origins(&[("PUBLIC_URLS", "https://live.example.com"), ("ALLOWED_ORIGINS", OTHER_PAGE)].into()));

/// An address is the one that the last trusted proxy saw; a token comes by one way; an answer is of the form that is
/// taken most gladly; and pages of other sites read nothing.
pub fn headers(input: &[u8]) {
    let headers = headers_of(input);
    for peer in [[192, 0, 2, 1], [10, 1, 2, 3]].map(|peer| IpAddr::V4(Ipv4Addr::from(peer))) {
        is_client_of(peer, &headers);
    }
    is_of_one_token(&headers);
    let media = weighed(&headers, "accept");
    let expected = if media.is_empty() { Some(0) } else { best(&media, &TYPES, ranges) };
    assert_eq!(accept::media(&headers, &TYPES), expected, "{media:?}");
    let encodings = weighed(&headers, "accept-encoding");
    let expected = best(&encodings, &["zstd", "gzip"], |name| vec![name.to_owned(), "*".to_owned()]);
    let encoding = expected.map_or(Encoding::Identity, |place| ENCODINGS[place]);
    assert_eq!(accept::encoding(&headers, &ENCODINGS), encoding, "{encodings:?}");
    for tags in lines(&headers, "if-none-match").iter().filter_map(|tags| std::str::from_utf8(tags).ok()) {
        let strong = TAG.trim_start_matches("W/");
        let expected = tags.split(',').any(|tag| ["*", TAG, strong].contains(&tag.trim()));
        assert_eq!(files::names(tags, &HeaderValue::from_static(TAG)), expected, "{tags}");
    }
    let mut answer = HeaderMap::new();
    cors::allow(&mut answer, &headers, &ORIGINS);
    let allowed = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(HeaderValue::as_bytes);
    assert!(allowed.is_none_or(|page| page == b"https://live.example.com" || page == OTHER_PAGE.as_bytes()));
    assert_eq!(allowed, allowed.and(lines(&headers, "origin").first().copied()));
    assert_eq!(answer[header::VARY], "Origin");
}

fn is_client_of(peer: IpAddr, headers: &HeaderMap) {
    let is_trusted = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0xdb8],
    };
    // All lines are one list, and its last hop is the nearest.
    let list = lines(headers, "x-forwarded-for").join(&b","[..]);
    let mut hops = list.rsplit(|byte| *byte == b',').map(|hop| {
        let hop = std::str::from_utf8(hop).ok()?.trim().parse::<IpAddr>().ok()?;
        Some(match hop {
            IpAddr::V6(address) => address.to_ipv4_mapped().map_or(hop, IpAddr::V4),
            IpAddr::V4(_) => hop,
        })
    });
    let mut expected = peer;
    while is_trusted(expected) {
        match hops.next().flatten() {
            Some(hop) => expected = hop,
            None => break,
        }
    }
    let client = PROXIES.client(peer, headers);
    assert_eq!(client, expected, "{peer}: {}", String::from_utf8_lossy(&list));
    match (client, one_of(client)) {
        (IpAddr::V4(client), counted) => assert_eq!(counted, client),
        (IpAddr::V6(client), counted) => {
            let [a, b, c, d, ..] = client.segments();
            assert_eq!(counted, Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0));
        }
    }
}

/// One token is found where one was sent, and none where there are several.
fn is_of_one_token(headers: &HeaderMap) {
    let text = |line: &[u8]| std::str::from_utf8(line).ok().filter(|line| line.is_ascii()).map(str::to_owned);
    let authorizations = lines(headers, "authorization");
    let bearers = authorizations.iter().filter_map(|line| {
        let line = text(line)?;
        let mut words = line.trim().splitn(2, ' ');
        let is_bearer = words.next().unwrap_or_default().eq_ignore_ascii_case("bearer");
        is_bearer.then(|| words.next().unwrap_or_default().trim().to_owned())
    });
    let offers = lines(headers, "sec-websocket-protocol");
    let offers: Vec<String> = offers
        .iter()
        .filter_map(|line| text(line))
        .flat_map(|line| line.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    let offered = offers.iter().filter_map(|name| name.strip_prefix("bearer.").map(str::to_owned));
    let all: Vec<String> = bearers.chain(offered.clone()).collect();
    let is_spoken = offered.count() == 0 || offers.iter().any(|name| name == "mandrill-live.v1");
    let expected = match &all[..] {
        _ if authorizations.len() > 1 || !is_spoken => None,
        [] => Some(None),
        [token] => Some(Some(token.as_str())),
        _ => None,
    };
    assert_eq!(token_of(headers).ok(), expected, "{all:?}");
}

/// What a list header names, in lower case, each with its weight in thousandths.
fn weighed(headers: &HeaderMap, name: &str) -> Vec<(String, u32)> {
    let lines = lines(headers, name);
    let lines = lines.iter().filter_map(|line| std::str::from_utf8(line).ok().filter(|line| line.is_ascii()));
    let mut weighed = Vec::new();
    for item in lines.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';').map(|part| part.trim().to_ascii_lowercase());
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").map(str::to_owned));
        if let Some(weight) = weight.map_or(Some(1000), |weight| thousandths(&weight))
            && !name.is_empty()
        {
            weighed.push((name, weight));
        }
    }
    weighed
}

/// A weight as RFC 9110 (12.4.2) has it: 0 or 1, and up to three places behind a point.
fn thousandths(weight: &str) -> Option<u32> {
    let (whole, places) = weight.split_once('.').unwrap_or((weight, ""));
    let fits = ["0", "1"].contains(&whole) && places.len() <= THOUSANDTHS;
    let digits = format!("{whole}{places:0<THOUSANDTHS$}");
    let number = digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    (fits && number <= 1000).then_some(number)
}

/// What fits a type, the closest first.
fn ranges(name: &str) -> Vec<String> {
    let (kind, _) = name.split_once('/').expect("a type");
    vec![name.to_owned(), format!("{kind}/*"), "*/*".to_owned()]
}

/// The place of the first offer that is wanted more than any other, by what names it most closely.
fn best(weighed: &[(String, u32)], offers: &[&str], fits: impl Fn(&str) -> Vec<String>) -> Option<usize> {
    let weight = |offer: &str| {
        let weights =
            |range: &String| weighed.iter().filter(|(name, _)| name == range).map(|(_, weight)| *weight).max();
        fits(offer).iter().find_map(weights).unwrap_or(0)
    };
    let mut wanted: Vec<(Reverse<u32>, usize)> =
        offers.iter().enumerate().map(|(place, offer)| (Reverse(weight(offer)), place)).collect();
    wanted.sort_unstable();
    wanted.first().filter(|(Reverse(weight), _)| *weight > 0).map(|(_, place)| *place)
}
