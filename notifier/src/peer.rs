//! Who is at the other end.
//!
//! **Owns** the rule for addresses behind proxies, and what counts as one address. Pure. A header anybody
//! can send proves nothing: it counts only from a proxy that is trusted, and only its rightmost hops.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{HeaderMap, HeaderValue};
use shared::settings::Mistakes;

/// Addresses or networks of proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    networks: Vec<(IpAddr, u32)>,
    /// Whether somebody was told that there may be a proxy nobody named.
    told: Arc<AtomicBool>,
}

impl Proxies {
    /// Reads `TRUSTED_PROXIES`; reports what is no address or network.
    pub fn new(list: &[String], mistakes: &mut Mistakes) -> Proxies {
        let read = |text: &String| {
            let network = network(text);
            if network.is_none() {
                mistakes.add("trusted_proxies", format!("{text:?} is neither an address nor a network (10.0.0.0/8)"));
            }
            network
        };
        Proxies { networks: list.iter().filter_map(read).collect(), told: Arc::default() }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, bits)| is_within(address, *network, *bits))
    }

    /// The client's address: the peer's own or, behind trusted proxies, the rightmost hop that is not one.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.networks.is_empty() && looks_like_a_proxy(client, headers) && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "requests come from a private address: if that is a proxy, name it in TRUSTED_PROXIES, or all clients \
                 count as one for MAX_SESSIONS_PER_IP"
            );
        }
        // Proxies write behind what the client sent, which may be no text at all.
        let lines: Vec<&[u8]> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
        let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        while self.trusts(client) {
            match hops.next().map(address) {
                Some(Some(hop)) => client = hop.to_canonical(),
                // What a trusted proxy passed on is no address: it stands for itself.
                Some(None) | None => break,
            }
        }
        client
    }
}

fn address(hop: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(hop).ok()?.trim().parse().ok()
}

/// Whether clients may be hidden behind this peer: it is on a private network, or on this machine and speaks
/// for others.
fn looks_like_a_proxy(peer: IpAddr, headers: &HeaderMap) -> bool {
    let is_private = match peer {
        IpAddr::V4(address) => address.is_private() || address.is_link_local() || is_shared(address),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    };
    is_private || (peer.is_loopback() && headers.contains_key("x-forwarded-for"))
}

/// Addresses a provider shares among customers (RFC 6598): clusters use them within, too.
fn is_shared(address: Ipv4Addr) -> bool {
    is_within(address.into(), Ipv4Addr::new(100, 64, 0, 0).into(), 10)
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// What is counted as one: an IPv6 client has a whole /64 to choose addresses from.
pub(crate) fn one_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Sessions by what they have in common: an address, a user.
#[derive(Debug)]
pub(crate) struct Crowd<K> {
    counts: Mutex<HashMap<K, u32>>,
    most: u32,
}

impl<K: Eq + Hash + Clone> Crowd<K> {
    pub(crate) fn new(most: u32) -> Arc<Crowd<K>> {
        Arc::new(Crowd { counts: Mutex::default(), most })
    }

    /// One more session, as long as what is returned lives; nothing where there are enough.
    pub(crate) fn enter(self: &Arc<Crowd<K>>, key: K) -> Option<Presence<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Presence { crowd: Arc::clone(self), key })
    }
}

/// One session among those it is counted with.
#[derive(Debug)]
pub(crate) struct Presence<K: Eq + Hash> {
    crowd: Arc<Crowd<K>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Presence<K> {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_forwarded_address_counts_only_from_trusted_proxies_and_from_the_right() {
        let mut mistakes = Mistakes::default();
        let list = ["10.0.0.0/8", "2001:db8::1"].map(str::to_owned);
        let proxies = Proxies::new(&list, &mut mistakes);
        mistakes.or(Some(())).expect("no mistakes");
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).expect("a header"));
            }
            assert_eq!(proxies.client(ip(peer), &headers), ip(expected), "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.1.2.3", &["198.51.100.7"], "198.51.100.7");
        check("10.1.2.3", &["203.0.113.9, 198.51.100.7, 10.0.0.5"], "198.51.100.7");
        check("10.1.2.3", &["203.0.113.9", "198.51.100.7"], "198.51.100.7");
        check("10.1.2.3", &["nonsense"], "10.1.2.3");
        check("10.1.2.3", &[], "10.1.2.3");
        check("10.1.2.3", &["\u{e9}, 198.51.100.7"], "198.51.100.7");
        check("10.1.2.3", &["203.0.113.9, \u{e9}"], "10.1.2.3");
        check("::ffff:10.1.2.3", &["::ffff:198.51.100.7"], "198.51.100.7");
        check("2001:db8::1", &["2001:db8::2"], "2001:db8::2");
    }

    #[test]
    fn a_peer_that_may_be_a_proxy_nobody_named_is_told_from_clients() {
        let forwarded = HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static("x-forwarded-for"),
            "198.51.100.7".parse().expect("a header"),
        )]);
        for peer in ["10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "fd00::1", "fe80::1"] {
            assert!(looks_like_a_proxy(ip(peer), &HeaderMap::new()), "{peer}");
        }
        for peer in ["198.51.100.7", "2001:db8::1"] {
            assert!(!looks_like_a_proxy(ip(peer), &forwarded), "{peer}: anybody can send the header");
        }
        assert!(!looks_like_a_proxy(ip("127.0.0.1"), &HeaderMap::new()));
        assert!(looks_like_a_proxy(ip("127.0.0.1"), &forwarded));
    }

    #[test]
    fn what_is_no_network_is_reported() {
        let mut mistakes = Mistakes::default();
        Proxies::new(&["10.0.0.0/33", "proxy", "::/129"].map(str::to_owned), &mut mistakes);
        assert_eq!(mistakes.to_string().lines().count(), 4, "{mistakes}");
    }

    #[test]
    fn an_address_has_so_many_sessions_and_gets_room_as_they_end() {
        let crowd = Crowd::new(2);
        let enter = |text: &str| crowd.enter(one_of(ip(text)));
        let first = enter("2001:db8::1").expect("room");
        let _second = enter("2001:db8::2").expect("room");
        assert!(enter("2001:db8::3").is_none(), "one /64 is one client");
        assert!(enter("192.0.2.1").is_some());
        drop(first);
        assert!(enter("2001:db8::3").is_some());
    }
}
