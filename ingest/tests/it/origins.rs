//! Under which names the hook answers, and what a page of another site can do to one that takes unsigned
//! batches: the usual tricks, at the socket.

use shared::testing::broker::Broker;
use shared::testing::http::{self, Answer};

use crate::harness::{Ingest, events, signed, unsigned};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Posts one event as a page's form would, or a program.
async fn post(ingest: &Ingest, headers: Headers<'_>) -> Answer {
    let body = b"mandrill_events=%5B%7B%22event%22%3A%22open%22%7D%5D";
    http::send(ingest.address, "POST", "/api/hook/", &[&[FORM], headers].concat(), body).await
}

#[tokio::test]
async fn only_its_own_names_lead_to_the_hook() {
    let broker = Broker::start().await;
    let own = "https://hooks.example.com, http://[::1]:8000";
    let ingest = Ingest::start(signed(&broker).or("PUBLIC_URLS", own)).await;
    for (host, known) in [
        ("hooks.example.com", true),
        ("Hooks.Example.COM", true),
        ("hooks.example.com:443", true),
        ("[::1]:8000", true),
        ("hooks.example.com:80", false),
        ("hooks.example.com.", false),
        ("hooks.example.com.evil.example.net", false),
        ("evil-hooks.example.com", false),
        ("a.hooks.example.com", false),
        ("me@hooks.example.com", false),
        ("[::1]", false),
        ("127.0.0.1:8000", false),
    ] {
        let checked = http::send(ingest.address, "HEAD", "/api/hook/", &[("Host", host)], b"").await.status;
        assert_eq!(checked == 200, known, "{host}: {checked}");
        assert!(known || matches!(checked, 400 | 421), "{host}: {checked}");
        let posted = post(&ingest, &[("Host", host)]).await.status;
        assert!(if known { posted == 401 } else { matches!(posted, 400 | 421) }, "{host}: {posted}");
    }
}

#[tokio::test]
async fn an_unsigned_hook_takes_nothing_from_pages_of_other_sites_and_names_they_lead_here() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(unsigned(&broker).or("ALLOWED_ORIGINS", "https://app.example.com")).await;
    let host = format!("127.0.0.1:{}", ingest.address.port());
    let own_page = format!("http://{host}");
    let evil_page = format!("http://evil.example.net:{}", ingest.address.port());
    let evil = evil_page.trim_start_matches("http://");
    let table: &[(&str, Headers<'_>, u16)] = &[
        (&host, &[], 200),
        (&host, &[("Origin", &own_page)], 200),
        (&host, &[("Origin", "https://app.example.com")], 200),
        (&host, &[("Origin", "https://evil.example.net")], 403),
        (&host, &[("Origin", "https://app.example.com.evil.example.net")], 403),
        (&host, &[("Origin", "http://app.example.com")], 403),
        (&host, &[("Origin", "http://127.0.0.1")], 403),
        (&host, &[("Origin", "http://localhost:8000")], 403),
        (&host, &[("Origin", "null")], 403),
        (&host, &[("Origin", &own_page), ("Origin", &own_page)], 403),
        (&host, &[("Sec-Fetch-Site", "cross-site")], 403),
        (&host, &[("Sec-Fetch-Site", "same-site")], 403),
        (evil, &[], 421),
        (evil, &[("Origin", &evil_page)], 421),
        (evil, &[("Origin", &evil_page), ("Sec-Fetch-Site", "same-origin")], 421),
    ];
    for (host, headers, status) in table {
        let answer = post(&ingest, &[&[("Host", *host)], *headers].concat()).await;
        assert_eq!(answer.status, *status, "{host} {headers:?}: {}", answer.head);
    }
    // The same event each time: what was taken is there once, and nothing else.
    assert_eq!(events(&broker).await, [r#"{"event":"open"}"#]);
}
