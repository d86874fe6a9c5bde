//! Requests that are not live sessions, and handshakes that are refused.

use shared::testing::broker::Broker;
use shared::testing::http::{get, send};

use crate::support::{Client, Service, Writer, metric};

async fn service(variables: &[(&str, &str)]) -> (Broker, Service) {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, variables).await;
    (broker, service)
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let (_broker, service) = service(&[]).await;
    let missing = get(service.http, "/no/such/thing").await;
    assert_eq!((missing.status, missing.header("content-type")), (404, Some("application/problem+json")));
    assert_eq!(missing.json()["status"], 404);
    let method = send(service.http, "POST", "/ws/email/", &[], b"").await;
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, OPTIONS")));
    assert_eq!(send(service.http, "DELETE", "/no/such/thing", &[], b"").await.status, 404);
}

#[tokio::test]
async fn every_answer_protects_a_browser() {
    let (_broker, service) = service(&[]).await;
    let answer = get(service.http, "/no/such/thing").await;
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("content-security-policy").is_some());
}

#[tokio::test]
async fn a_request_that_is_no_handshake_says_what_is_missing() {
    let (_broker, service) = service(&[]).await;
    let plain = get(service.http, "/ws/email/").await;
    assert_eq!((plain.status, plain.header("sec-websocket-version")), (426, Some("13")));
    let old = Client::try_connect(service.http, "/ws/email/", &[("Sec-WebSocket-Version", "8")]).await;
    assert!(old.head.starts_with("HTTP/1.1 426 "), "{}", old.head);
}

#[tokio::test]
async fn another_host_is_misdirected() {
    let (_broker, service) = service(&[("PUBLIC_URLS", "https://live.example.com")]).await;
    let rebound = Client::try_connect(service.http, "/ws/email/", &[("Host", "evil.example.net")]).await;
    assert!(rebound.head.starts_with("HTTP/1.1 421 "), "{}", rebound.head);
    Client::connect(service.http, "/ws/email/", &[("Host", "live.example.com")]).await;
}

#[tokio::test]
async fn a_page_of_another_site_reads_its_refusal_as_a_close_code() {
    let (_broker, service) = service(&[("PUBLIC_URLS", "http://localhost")]).await;
    let foreign = [("Origin", "https://evil.example.net")];
    let mut page = Client::connect(service.http, "/ws/email/", &foreign).await;
    assert_eq!(page.closed().await.0, 4403);
    // A program without an `Origin` that a browser's fetch metadata gives away gets a status.
    let other = Client::try_connect(service.http, "/ws/email/", &[("Sec-Fetch-Site", "cross-site")]).await;
    assert!(other.head.starts_with("HTTP/1.1 403 "), "{}", other.head);
    Client::connect(service.http, "/ws/email/", &[("Origin", "http://localhost")]).await;
}

#[tokio::test]
async fn one_session_more_than_there_may_be_is_told_when_to_come_again() {
    let (_broker, service) = service(&[("MAX_SESSIONS", "1")]).await;
    let first = service.session().await;
    let second = Client::try_connect(service.http, "/ws/email/", &[]).await;
    assert!(second.head.starts_with("HTTP/1.1 503 "), "{}", second.head);
    assert!(second.head.to_ascii_lowercase().contains("retry-after: 5"), "{}", second.head);
    let mut browser = Client::connect(service.http, "/ws/email/", &[("Origin", "http://localhost")]).await;
    assert_eq!(browser.closed().await.0, 1013);
    first.leave().await;
    service.session().await;
}

#[tokio::test]
async fn a_path_says_what_it_may_be_asked_with_and_head_leaves_out_the_body_only() {
    let (_broker, service) = service(&[]).await;
    for path in ["/api/status", "/api/status/"] {
        let options = send(service.http, "OPTIONS", path, &[], b"").await;
        assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
        let head = send(service.http, "HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.header("content-type")), (200, Some("application/json")));
        let length: usize = head.header("content-length").expect("a length").parse().expect("a number");
        assert!(length > 2 && head.body.is_empty());
    }
}

#[tokio::test]
async fn what_takes_no_parameters_and_answers_with_json_cannot_be_asked_for_more() {
    let (_broker, service) = service(&[]).await;
    for path in ["/api/status", "/api/me"] {
        let unknown = get(service.http, &format!("{path}?colour=red")).await;
        assert_eq!((unknown.status, &unknown.json()["parameter"]), (400, &"colour".into()), "{path}");
        let other = send(service.http, "GET", path, &[("Accept", "text/html")], b"").await;
        assert_eq!((other.status, &other.json()["type"]), (406, &"urn:mandrill-live:problem:not-acceptable".into()));
        assert_eq!(get(service.http, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_path_and_status_and_by_nothing_that_a_client_wrote() {
    let (_broker, service) = service(&[]).await;
    for path in [
        "/api/recipients/ann@example.com/",
        "/api/recipients/bob@example.com",
        "/api/events?limit=no",
        "/ann@example.com",
    ] {
        get(service.http, path).await;
    }
    let _session = service.session().await;
    for (route, status, count) in
        [("/api/recipients/{recipient}", 200, 2), ("/api/events", 400, 1), ("unknown", 404, 1), ("/ws/email", 101, 1)]
    {
        let name = format!(r#"mandrill_live_notifier_requests_total{{route="{route}",status="{status}"}}"#);
        assert_eq!(metric(service.admin, &name).await, count, "{name}");
    }
    let timed = r#"mandrill_live_notifier_answer_seconds_count{route="/api/recipients/{recipient}"}"#;
    assert_eq!(metric(service.admin, timed).await, 2);
    let all = get(service.admin, "/metrics").await;
    assert!(!String::from_utf8(all.body).expect("text").contains("ann@"));
}
