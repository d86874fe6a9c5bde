//! Under which names the notifier answers, and to pages of which sites: the usual tricks, at the socket.

use shared::testing::broker::Broker;
use shared::testing::http::{Answer, send};

use crate::support::{Client, Service, Writer};

const OWN: &str = "https://live.example.com, http://127.0.0.1:8000, http://[::1]:8000";
/// A path that answers everybody whom host and page allow.
const PATH: &str = "/api/status";

async fn service(variables: &[(&str, &str)]) -> (Broker, Service) {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, variables).await;
    (broker, service)
}

async fn ask(service: &Service, method: &str, headers: &[(&str, &str)]) -> Answer {
    send(service.http, method, PATH, headers, b"").await
}

/// The status of a socket's handshake.
async fn handshake(service: &Service, headers: &[(&str, &str)]) -> u16 {
    let tried = Client::try_connect(service.http, "/ws/email/", headers).await;
    tried.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

#[tokio::test]
async fn only_its_own_names_lead_to_it() {
    let (_broker, service) = service(&[("PUBLIC_URLS", OWN)]).await;
    for (host, known) in [
        ("live.example.com", true),
        ("LIVE.Example.COM", true),
        ("live.example.com:443", true),
        ("127.0.0.1:8000", true),
        ("[::1]:8000", true),
        ("live.example.com:80", false),
        ("live.example.com:8000", false),
        ("live.example.com.", false),
        ("live.example.com.evil.example.net", false),
        ("evil-live.example.com", false),
        ("a.live.example.com", false),
        ("example.com", false),
        ("live.example.com@evil.example.net", false),
        ("me@live.example.com", false),
        ("evil.example.net", false),
        ("127.0.0.1", false),
        ("127.0.0.1:8001", false),
        ("127.1:8000", false),
        ("localhost:8000", false),
        ("[::1]", false),
        ("[0:0:0:0:0:0:0:1]:8000", false),
        ("live.example.com, evil.example.net", false),
        ("", false),
    ] {
        let (status, shake) = if known { (200, 101) } else { (421, 421) };
        let answer = ask(&service, "GET", &[("Host", host)]).await;
        // What is no host at all is refused by the reader of HTTP.
        assert!(answer.status == status || (!known && answer.status == 400), "{host}: {}", answer.head);
        let shaken = handshake(&service, &[("Host", host)]).await;
        assert!(shaken == shake || (!known && shaken == 400), "{host}: {shaken}");
    }
    let twice = [("Host", "live.example.com"), ("Host", "live.example.com")];
    assert_eq!(ask(&service, "GET", &twice).await.status, 421);
    let other = [("Host", "live.example.com")];
    let absolute = send(service.http, "GET", "http://evil.example.net/api/status", &other, b"").await;
    assert_eq!(absolute.status, 421, "the address in the request line counts as well");
    let own = send(service.http, "GET", "http://127.0.0.1:8000/api/status", &[("Host", "127.0.0.1:8000")], b"").await;
    assert_eq!(own.status, 200, "{}", own.head);
}

#[tokio::test]
async fn only_its_own_pages_and_those_of_allowed_sites_may_ask() {
    let (_broker, service) = service(&[("PUBLIC_URLS", OWN), ("ALLOWED_ORIGINS", "https://app.example.com")]).await;
    let host = ("Host", "live.example.com");
    for (origin, allowed) in [
        ("https://live.example.com", true),
        ("https://app.example.com", true),
        ("http://127.0.0.1:8000", true),
        ("http://[::1]:8000", true),
        ("http://live.example.com", false),
        ("https://live.example.com:8443", false),
        ("https://live.example.com/", false),
        ("https://live.example.com.", false),
        ("https://LIVE.example.com", false),
        ("https://live.example.com.evil.example.net", false),
        ("https://evil-live.example.com", false),
        ("https://a.live.example.com", false),
        ("https://live.example.com@evil.example.net", false),
        ("https://evil.example.net#live.example.com", false),
        ("https://app.example.com.evil.example.net", false),
        ("http://127.0.0.1", false),
        ("http://localhost:8000", false),
        ("file://", false),
        ("null", false),
        ("", false),
    ] {
        let answer = ask(&service, "GET", &[host, ("Origin", origin)]).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{origin}: {}", answer.head);
        assert_eq!(answer.header("access-control-allow-origin"), allowed.then_some(origin), "{origin}");
        assert!(answer.head.to_ascii_lowercase().contains("vary: origin"), "{origin}: {}", answer.head);
        // A browser cannot read the status of a refused handshake: it gets a close code.
        let mut socket = Client::connect(service.http, "/ws/email/", &[host, ("Origin", origin)]).await;
        if !allowed {
            assert_eq!(socket.closed().await.0, 4403, "{origin}");
        }
    }
    let twice = [host, ("Origin", "https://live.example.com"), ("Origin", "https://live.example.com")];
    assert_eq!(ask(&service, "GET", &twice).await.status, 403);
    for (site, status) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("x", 403)] {
        assert_eq!(ask(&service, "GET", &[host, ("Sec-Fetch-Site", site)]).await.status, status, "{site}");
    }
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_is_for_allowed_pages_and_known_hosts_only() {
    let (_broker, service) = service(&[("PUBLIC_URLS", OWN), ("ALLOWED_ORIGINS", "https://app.example.com")]).await;
    let preflight = async |host: &str, origin: &str| {
        let asks = [("Host", host), ("Origin", origin), ("Access-Control-Request-Method", "GET")];
        ask(&service, "OPTIONS", &[&asks[..], &[("Access-Control-Request-Headers", "authorization")]].concat()).await
    };
    let allowed = preflight("live.example.com", "https://app.example.com").await;
    assert_eq!(allowed.status, 204, "{}", allowed.head);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(allowed.header("access-control-allow-methods").is_some_and(|methods| methods.contains("GET")));
    assert!(allowed.header("access-control-allow-headers").is_some_and(|headers| headers.contains("Authorization")));
    assert_eq!(allowed.header("access-control-allow-credentials"), None, "tokens are no cookies");
    for (host, origin, status) in [
        ("live.example.com", "https://evil.example.net", 403),
        ("live.example.com", "null", 403),
        ("evil.example.net", "https://app.example.com", 421),
    ] {
        let refused = preflight(host, origin).await;
        assert_eq!(refused.status, status, "{host} {origin}: {}", refused.head);
        assert_eq!(refused.header("access-control-allow-methods"), None, "{host} {origin}");
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_site_can_read_when_to_come_again() {
    let variables = [("ALLOWED_ORIGINS", "https://app.example.com"), ("MAX_SESSIONS", "1")];
    let (_broker, service) = service(&variables).await;
    let _first = service.session().await;
    let page = [("Origin", "https://app.example.com")];
    let full = send(service.http, "GET", "/api/events/stream", &page, b"").await;
    assert_eq!(full.status, 503, "{}", full.head);
    assert!(full.header("retry-after").is_some());
    let exposed = full.header("access-control-expose-headers").unwrap_or_default();
    assert!(exposed.split(", ").any(|name| name == "Retry-After"), "{}", full.head);
}

#[tokio::test]
async fn a_name_that_another_site_leads_here_reads_nothing_of_an_anonymous_service() {
    let (_broker, service) = service(&[]).await;
    let port = service.http.port();
    for name in ["evil.example.net", "127.0.0.1.evil.example.net", "localhost.evil.example.net", "localhost."] {
        let host = format!("{name}:{port}");
        let origin = format!("http://{host}");
        let page = [("Host", host.as_str()), ("Origin", origin.as_str())];
        assert_eq!(ask(&service, "GET", &page).await.status, 421, "{name}");
        assert_eq!(handshake(&service, &page).await, 421, "{name}");
        assert_eq!(send(service.http, "GET", "/", &page, b"").await.status, 421, "{name}");
    }
    for name in ["localhost", "127.0.0.1", "[::1]", "notifier"] {
        let host = format!("{name}:{port}");
        let origin = format!("http://{host}");
        assert_eq!(ask(&service, "GET", &[("Host", &host), ("Origin", &origin)]).await.status, 200, "{name}");
        let other = [("Host", host.as_str()), ("Origin", "http://evil.example.net")];
        assert_eq!(ask(&service, "GET", &other).await.status, 403, "{name}");
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_clients_count_by_their_own_address_and_ipv6_by_its_64() {
    let variables = [("TRUSTED_PROXIES", "127.0.0.0/8"), ("MAX_SESSIONS_PER_IP", "1")];
    let (_broker, service) = service(&variables).await;
    let mut held = Vec::new();
    for (forwarded, room) in [
        ("198.51.100.7", true),
        ("198.51.100.7", false),
        ("203.0.113.9, 198.51.100.7", false),
        ("198.51.100.8", true),
        ("2001:db8:1:2::3", true),
        ("2001:db8:1:2:ffff::4", false),
        ("2001:db8:1:3::3", true),
        ("::ffff:198.51.100.8", false),
    ] {
        let tried = Client::try_connect(service.http, "/ws/email/", &[("X-Forwarded-For", forwarded)]).await;
        assert_eq!(tried.head.starts_with("HTTP/1.1 101 "), room, "{forwarded}: {}", tried.head);
        assert!(room || tried.head.starts_with("HTTP/1.1 429 "), "{forwarded}: {}", tried.head);
        held.push(tried);
    }
}

#[tokio::test]
async fn without_trusted_proxies_the_header_counts_for_nothing() {
    let (_broker, service) = service(&[("MAX_SESSIONS_PER_IP", "1")]).await;
    let _held = Client::connect(service.http, "/ws/email/", &[("X-Forwarded-For", "198.51.100.7")]).await;
    assert_eq!(handshake(&service, &[("X-Forwarded-For", "198.51.100.8")]).await, 429);
}
