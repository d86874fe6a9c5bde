//! What a client takes: `Accept` and `Accept-Encoding` (RFC 9110, section 12).
//!
//! **Owns** the choice between forms of one answer. Pure. What cannot be read of a header is passed over, as
//! though the client had not written it.

use hyper::header::{self, HeaderMap, HeaderName};

/// The weight of what is named without one.
const WEIGHT_MAX: u16 = 1000;

/// How an answer's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Zstd,
    Gzip,
    Identity,
}

impl Encoding {
    /// As headers name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
            Encoding::Identity => "identity",
        }
    }
}

/// The offer a client takes most gladly, by its place in `offers`: media types without parameters, the
/// service's own choice first. Nothing where it takes none of them.
pub(crate) fn media(headers: &HeaderMap, offers: &[&str]) -> Option<usize> {
    let ranges = preferences(headers, &header::ACCEPT);
    if ranges.is_empty() {
        return (!offers.is_empty()).then_some(0);
    }
    best(offers.iter().map(|offer| weight(&ranges, |range| fit(range, offer))))
}

/// The encoding a client takes most gladly of `offers`, the service's own choice first. Plain bytes are
/// always there, and the last choice.
pub(crate) fn encoding(headers: &HeaderMap, offers: &[Encoding]) -> Encoding {
    let codings = preferences(headers, &header::ACCEPT_ENCODING);
    let fit = |coding: &str, name: &str| match coding {
        "*" => Some(0),
        _ => coding.eq_ignore_ascii_case(name).then_some(1),
    };
    let chosen = best(offers.iter().map(|offer| weight(&codings, |coding| fit(coding, offer.name()))));
    chosen.and_then(|place| offers.get(place)).copied().unwrap_or(Encoding::Identity)
}

/// What a list header names, each with its weight in thousandths.
fn preferences<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<(&'a str, u16)> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(preference).collect()
}

fn preference(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, weight.map_or(Some(WEIGHT_MAX), thousandths)?))
}

/// A weight: `0` or `1`, and up to three digits behind a point.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, places) = weight.split_once('.').unwrap_or((weight, ""));
    let is_written_so = matches!(whole, "0" | "1") && places.len() <= 3;
    let thousandths = format!("{whole}{places:0<3}");
    let is_number = is_written_so && thousandths.bytes().all(|digit| digit.is_ascii_digit());
    thousandths.parse().ok().filter(|weight| is_number && *weight <= WEIGHT_MAX)
}

/// How closely a media range fits a type: more is closer.
fn fit(range: &str, offer: &str) -> Option<u8> {
    if range == "*/*" {
        return Some(0);
    }
    let (kind, part) = range.split_once('/')?;
    let (offer_kind, offer_part) = offer.split_once('/')?;
    let same_kind = kind.eq_ignore_ascii_case(offer_kind);
    match part {
        "*" => same_kind.then_some(1),
        _ => (same_kind && part.eq_ignore_ascii_case(offer_part)).then_some(2),
    }
}

/// What the closest fit says of an offer; 0 where nothing fits.
fn weight(preferences: &[(&str, u16)], fit: impl Fn(&str) -> Option<u8>) -> u16 {
    let fits = preferences.iter().filter_map(|(name, weight)| Some((fit(name)?, *weight)));
    fits.max().map_or(0, |(_, weight)| weight)
}

/// The first of the greatest weights that is not 0.
fn best(weights: impl Iterator<Item = u16>) -> Option<usize> {
    let wanted = weights.enumerate().filter(|(_, weight)| *weight > 0);
    wanted.max_by_key(|(place, weight)| (*weight, usize::MAX - place)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFERS: [&str; 2] = ["application/yaml", "application/json"];

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header's value"))])
    }

    #[test]
    fn the_type_a_client_takes_most_gladly_is_chosen() {
        let check = |accept: &str, expected: Option<usize>| {
            assert_eq!(media(&headers(header::ACCEPT, accept), &OFFERS), expected, "{accept}");
        };
        check("*/*", Some(0));
        check("application/json", Some(1));
        check("APPLICATION/JSON; charset=utf-8", Some(1));
        check("application/*", Some(0));
        check("application/yaml;q=0.5, application/json", Some(1));
        check("application/yaml;q=0, */*", Some(1));
        check("text/html,application/xhtml+xml,*/*;q=0.8", Some(0));
        check("text/html", None);
        check("*/*;q=0", None);
        check("", Some(0));
        check("application/yaml;q=0.999, application/json", Some(1));
        check("application/yaml;q=0.057, application/json;q=0.058", Some(1));
        for bad in ["2", "1.001", "1e-1", "+1", "inf", "0.5555", ".5", ""] {
            check(&format!("application/json;q={bad}, text/html"), None);
        }
        assert_eq!(media(&HeaderMap::new(), &OFFERS), Some(0));
    }

    #[test]
    fn the_encoding_a_client_takes_most_gladly_is_chosen() {
        let check = |accept: &str, expected: Encoding| {
            let headers = headers(header::ACCEPT_ENCODING, accept);
            assert_eq!(encoding(&headers, &[Encoding::Zstd, Encoding::Gzip]), expected, "{accept}");
        };
        check("gzip, deflate, br, zstd", Encoding::Zstd);
        check("gzip, deflate, br", Encoding::Gzip);
        check("zstd;q=0.5, gzip", Encoding::Gzip);
        check("*", Encoding::Zstd);
        check("*, zstd;q=0", Encoding::Gzip);
        check("br", Encoding::Identity);
        check("gzip;q=0", Encoding::Identity);
        check("", Encoding::Identity);
        assert_eq!(encoding(&HeaderMap::new(), &[Encoding::Zstd, Encoding::Gzip]), Encoding::Identity);
    }

    proptest! {
        #[test]
        fn any_header_leads_to_an_offer_or_to_none(text in "[ -~]{0,60}") {
            let chosen = media(&headers(header::ACCEPT, &text), &OFFERS);
            prop_assert!(chosen.is_none_or(|place| place < OFFERS.len()));
            encoding(&headers(header::ACCEPT_ENCODING, &text), &[Encoding::Gzip]);
        }
    }
}
