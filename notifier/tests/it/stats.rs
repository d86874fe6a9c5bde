//! Counts of events.

use serde_json::{Value, json};
use shared::testing::broker::Broker;
use shared::testing::http::{get, send};

use crate::support::tokens::{SECRET, Signer, claims};
use crate::support::{Service, Writer};

fn event(number: usize) -> String {
    let kind = ["open", "click", "send"][number % 3];
    format!(r#"{{"event":"{kind}","n":{number},"msg":{{"email":"p{}@example.com"}}}}"#, number % 5)
}

#[tokio::test]
async fn events_are_counted_by_kind_true_to_filters_and_to_what_the_token_allows() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::with(&broker, &[]).await;
    for number in 0..50 {
        writer.store(&event(number)).await;
        // What was acknowledged is counted.
        let stats = get(service.http, "/api/stats?step=1s&window=10m").await.json();
        assert_eq!(stats["total"], number + 1);
    }
    let stats = async |query: &str| get(service.http, &format!("/api/stats/{query}")).await.json();
    for query in [
        "",
        "?window=1h&step=1m",
        "?window=2h&step=17s&email=p0@example.com,p1@example.com,p2@example.com,p3@example.com,p4@example.com",
    ] {
        let stats = stats(query).await;
        assert_eq!(stats["totals"], json!({"open": 17, "click": 17, "send": 16}), "{query}");
        let step = stats["step_ms"].as_u64().expect("milliseconds");
        let (from, to) = (stats["from"].as_u64().expect("a time"), stats["to"].as_u64().expect("a time"));
        assert_eq!((from % step, (to - from) % step), (0, 0));
        assert_eq!(stats["complete_from"], from, "a stream that is in memory whole");
        for (kind, counts) in stats["counts"].as_object().expect("counts") {
            let counts: Vec<u64> = counts.as_array().expect("counts").iter().filter_map(Value::as_u64).collect();
            assert_eq!(counts.len() as u64, (to - from) / step);
            assert_eq!(counts.iter().sum::<u64>(), stats["totals"][kind]);
        }
    }
    let newest = get(service.http, "/api/events/?limit=1").await.json()["events"][0]["_received"].clone();
    for query in ["", "?event=click", "?step=17s"] {
        assert_eq!(stats(query).await["counted_to"], newest, "{query:?}");
    }
    let clicks = stats("?event=click&email=p1@example.com").await;
    assert_eq!(clicks["totals"], json!({"click": (0..50).filter(|n| n % 3 == 1 && n % 5 == 1).count()}));
    for (query, parameter) in [
        ("?window=59s", "window"),
        ("?window=31d", "window"),
        ("?step=2h", "step"),
        ("?window=1d&step=1s", "step"),
        ("?limit=1", "limit"),
    ] {
        let refused = get(service.http, &format!("/api/stats{query}")).await;
        assert_eq!((refused.status, &refused.json()["parameter"]), (400, &json!(parameter)), "{query}");
    }

    let guarded = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let token = Signer::secret(SECRET).sign(&claims(json!({"filter": {"email": "p2@example.com"}})));
    let bearer = format!("Bearer {token}");
    let seen = send(guarded.http, "GET", "/api/stats", &[("Authorization", &bearer)], b"").await.json();
    assert_eq!(seen["total"], 10);
}
