//! Who is at the other end.
//!
//! **Owns** the rule for addresses behind proxies, and what counts as one address. Pure. A header anybody
//! can send proves nothing: it counts only from a proxy that is trusted, and only its rightmost hops.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::HeaderMap;
use shared::settings::Mistakes;

/// Addresses or networks of proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<(IpAddr, u32)>);

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
        Proxies(list.iter().filter_map(read).collect())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| is_within(address, *network, *bits))
    }

    /// The client's address: the peer's own or, behind trusted proxies, the rightmost hop that is not one.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
        let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        while self.trusts(client) {
            match hops.next().map(|hop| hop.trim().parse::<IpAddr>()) {
                Some(Ok(hop)) => client = hop.to_canonical(),
                // What a trusted proxy passed on is no address: it stands for itself.
                Some(Err(_)) | None => break,
            }
        }
        client
    }
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
fn one_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Sessions by address.
#[derive(Debug)]
pub(crate) struct Crowd {
    counts: Mutex<HashMap<IpAddr, u32>>,
    most: u32,
}

impl Crowd {
    pub(crate) fn new(most: u32) -> Arc<Crowd> {
        Arc::new(Crowd { counts: Mutex::default(), most })
    }

    /// One more session of this address, as long as what is returned lives; nothing where it has enough.
    pub(crate) fn enter(self: &Arc<Crowd>, address: IpAddr) -> Option<Presence> {
        let address = one_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Presence { crowd: Arc::clone(self), address })
    }
}

/// One session of an address.
#[derive(Debug)]
pub(crate) struct Presence {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
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
                headers.append("x-forwarded-for", line.parse().expect("a header"));
            }
            assert_eq!(proxies.client(address(peer), &headers), address(expected), "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.1.2.3", &["198.51.100.7"], "198.51.100.7");
        check("10.1.2.3", &["203.0.113.9, 198.51.100.7, 10.0.0.5"], "198.51.100.7");
        check("10.1.2.3", &["203.0.113.9", "198.51.100.7"], "198.51.100.7");
        check("10.1.2.3", &["nonsense"], "10.1.2.3");
        check("10.1.2.3", &[], "10.1.2.3");
        check("::ffff:10.1.2.3", &["::ffff:198.51.100.7"], "198.51.100.7");
        check("2001:db8::1", &["2001:db8::2"], "2001:db8::2");
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
        let first = crowd.enter(address("2001:db8::1")).expect("room");
        let _second = crowd.enter(address("2001:db8::2")).expect("room");
        assert!(crowd.enter(address("2001:db8::3")).is_none(), "one /64 is one client");
        assert!(crowd.enter(address("192.0.2.1")).is_some());
        drop(first);
        assert!(crowd.enter(address("2001:db8::3")).is_some());
    }
}
