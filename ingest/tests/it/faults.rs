//! The broker fails in every way it can: never a 200 for what is not stored, and recovery by itself.

use std::time::Duration;

use shared::settings::Environment;
use shared::testing::broker::Broker;
use shared::testing::http::{self, Answer, WEBHOOK};
use shared::testing::{soon, until};

use tokio_util::sync::CancellationToken;

use crate::harness::{Ingest, batch, counts, events, signed, stored};

fn told_to_come_again(answer: &Answer) {
    assert_eq!(answer.status, 503, "{} {}", answer.head, String::from_utf8_lossy(&answer.body));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["type"], "urn:mandrill-live:problem:not-stored");
}

fn without_repeats(mut stored: Vec<String>) -> usize {
    let all = stored.len();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), all, "nothing is stored twice");
    all
}

#[tokio::test]
async fn away_at_the_start_it_serves_and_becomes_ready_when_the_broker_comes() {
    let mut broker = Broker::absent("");
    let ingest = Ingest::start_unready(signed(&broker)).await;
    until("it serves", async || tokio::net::TcpStream::connect(ingest.address).await.is_ok()).await;
    told_to_come_again(&WEBHOOK.post(ingest.address, &batch("a", 2)).await);
    assert!(!ingest.is_ready().await);
    assert_eq!(http::get(ingest.admin, "/livez").await.status, 200, "a broker that is away restarts nobody");
    broker.restart().await;
    ingest.ready().await;
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &batch("a", 2)).await), (2, 0, 0));
}

#[tokio::test]
async fn killed_and_restarted_under_load_it_has_stored_all_that_was_acknowledged() {
    let mut broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let address = ingest.address;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let (mut acknowledged, mut refused) = (0, 0);
                let mut round = 0;
                while !*stopped.borrow() {
                    // As Mandrill does: a batch again and again until it is taken.
                    let batch = batch(&format!("k{sender}-{round}-"), if sender % 2 == 0 { 1 } else { 40 });
                    loop {
                        let answer = WEBHOOK.post(address, &batch).await;
                        if answer.status == 200 {
                            let (stored, known, _) = counts(&answer);
                            acknowledged += stored + known;
                            break;
                        }
                        told_to_come_again(&answer);
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    round += 1;
                }
                (acknowledged, refused)
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        broker.kill();
        tokio::time::sleep(Duration::from_millis(700)).await;
        broker.restart().await;
        ingest.ready().await;
    }
    stop.send(true).expect("senders");
    let (mut acknowledged, mut refused) = (0, 0);
    for sender in senders {
        let (taken, told) = soon("the sender ends", sender).await.expect("no panic");
        acknowledged += taken;
        refused += told;
    }
    assert!(refused > 0, "the broker was away");
    assert_eq!(without_repeats(events(&broker).await) as u64, acknowledged);
}

#[tokio::test]
async fn frozen_it_is_told_to_come_again_in_time_and_nothing_is_stored_twice() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("COMMIT_TIMEOUT", "3s")).await;
    broker.freeze();
    let started = std::time::Instant::now();
    let (one, many) = (batch("one", 1), batch("many", 50));
    let (a, b) = tokio::join!(WEBHOOK.post(ingest.address, &one), WEBHOOK.post(ingest.address, &many));
    told_to_come_again(&a);
    told_to_come_again(&b);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    broker.thaw();
    let (a, b) = tokio::join!(ingest.post_until_taken(&one), ingest.post_until_taken(&many));
    counts(&a);
    counts(&b);
    assert_eq!(without_repeats(events(&broker).await), 51);
}

#[tokio::test]
async fn slow_it_is_waited_for_as_long_as_a_commit_may_take() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    broker.freeze();
    let (one, many) = (batch("one", 1), batch("many", 50));
    let posts = async { tokio::join!(WEBHOOK.post(ingest.address, &one), WEBHOOK.post(ingest.address, &many)) };
    let thaw = async {
        // Longer than one attempt, so that what was sent before is sent again and recognised.
        tokio::time::sleep(Duration::from_secs(3)).await;
        broker.thaw();
    };
    let ((a, b), ()) = tokio::join!(posts, thaw);
    assert_eq!((counts(&a).0 + counts(&a).1, counts(&b).0 + counts(&b).1), (1, 50));
    assert_eq!(without_repeats(events(&broker).await), 51);
}

#[tokio::test]
async fn full_it_says_so_and_goes_on_when_there_is_room() {
    let broker = Broker::with("").await;
    let ingest = Ingest::start(signed(&broker)).await;
    let context = async_nats::jetstream::new(broker.client().await);
    let mut config = context.get_stream("MANDRILL").await.expect("the stream").cached_info().config.clone();
    config.discard = async_nats::jetstream::stream::DiscardPolicy::New;
    config.max_messages = 5;
    context.update_stream(&config).await.expect("limited");
    let answer = WEBHOOK.post(ingest.address, &batch("f", 6)).await;
    told_to_come_again(&answer);
    told_to_come_again(&WEBHOOK.post(ingest.address, &batch("f", 50)).await);
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("maximum messages exceeded")));
    config.max_messages = -1;
    context.update_stream(&config).await.expect("room");
    counts(&WEBHOOK.post(ingest.address, &batch("f", 50)).await);
    assert_eq!(without_repeats(events(&broker).await), 50);
}

#[tokio::test]
async fn a_deleted_stream_is_made_again() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker)).await;
    let context = async_nats::jetstream::new(broker.client().await);
    context.delete_stream("MANDRILL").await.expect("deleted");
    assert_eq!(counts(&ingest.post_until_taken(&batch("d", 30)).await), (30, 0, 0));
    assert_eq!(without_repeats(events(&broker).await), 30);
}

#[tokio::test]
async fn what_is_beside_the_stream_is_made_again_too_and_the_batch_taken_meanwhile() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("LARGE_EVENT_BYTES", "4KiB")).await;
    let context = async_nats::jetstream::new(broker.client().await);
    for (stream, sort) in [("OBJ_MANDRILL_LARGE", "large"), ("MANDRILL_REJECTED", "rejected")] {
        context.delete_stream(stream).await.expect("deleted");
        let large = format!(r#"{{"event":"open","_id":"{sort}","x":"{}"}}"#, "y".repeat(300_000));
        let answer = WEBHOOK.post(ingest.address, &format!(r#"[{large},"{sort}"]"#)).await;
        assert_eq!(counts(&answer), (1, 0, 1), "{stream}");
    }
    assert_eq!(stored(&broker, "MANDRILL_REJECTED").await.len(), 1, "the one from before went with its stream");
    assert_eq!(stored(&broker, "OBJ_MANDRILL_LARGE").await.len(), 2 * (3 + 1), "three pieces each, and what it is");
}

#[tokio::test]
async fn frozen_what_is_beside_the_stream_is_told_of_as_the_stream_is() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("LARGE_EVENT_BYTES", "4KiB")).await;
    let large = format!(r#"[{{"event":"open","x":"{}"}}]"#, "y".repeat(5_000));
    broker.freeze();
    let post = |batch| WEBHOOK.post(ingest.address, batch);
    let answers = tokio::join!(post(&large), post(r#"["rejected"]"#), post(r#"[{"event":"open"}]"#));
    for answer in [&answers.0, &answers.1] {
        told_to_come_again(answer);
        assert_eq!(answer.json()["detail"], answers.2.json()["detail"]);
    }
    broker.thaw();
    assert_eq!(counts(&ingest.post_until_taken(&large).await).2, 0);
    assert_eq!(counts(&ingest.post_until_taken(r#"["rejected"]"#).await), (0, 0, 1));
    assert_eq!(stored(&broker, "MANDRILL_REJECTED").await.len(), 1, "kept once");
}

#[tokio::test]
async fn what_is_beside_the_stream_and_full_is_told_at_once() {
    let broker = Broker::start().await;
    let ingest = Ingest::start(signed(&broker).or("COMMIT_TIMEOUT", "5m").or("LARGE_EVENT_BYTES", "4KiB")).await;
    let context = async_nats::jetstream::new(broker.client().await);
    for (stream, batch) in [
        ("OBJ_MANDRILL_LARGE", format!(r#"[{{"event":"open","x":"{}"}}]"#, "y".repeat(5_000))),
        ("MANDRILL_REJECTED", r#"["rejected"]"#.to_owned()),
    ] {
        let mut config = context.get_stream(stream).await.expect("the stream").cached_info().config.clone();
        config.discard = async_nats::jetstream::stream::DiscardPolicy::New;
        config.max_bytes = 1;
        context.update_stream(&config).await.expect("limited");
        let answer = WEBHOOK.post(ingest.address, &batch).await;
        told_to_come_again(&answer);
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("the broker refused: maximum bytes exceeded"), "{detail}");
    }
}

#[tokio::test]
async fn a_stream_without_atomic_batches_is_written_singly() {
    let broker = Broker::start().await;
    let context = async_nats::jetstream::new(broker.client().await);
    let foreign = async_nats::jetstream::stream::Config {
        name: "MANDRILL".to_owned(),
        subjects: vec!["mandrill.events.>".to_owned()],
        metadata: [("mandrill-live-epoch".to_owned(), "0123456789abcdef".to_owned())].into(),
        ..Default::default()
    };
    context.create_stream(foreign).await.expect("a stream");
    let ingest = Ingest::start(signed(&broker).or("MANAGE_STREAM", "false")).await;
    assert_eq!(counts(&WEBHOOK.post(ingest.address, &batch("s", 30)).await), (30, 0, 0));
    assert_eq!(without_repeats(events(&broker).await), 30);
}

/// A server that greets as an older one does, and answers pings: no package of so old a server is installed.
async fn old_server(version: &'static str) -> std::net::SocketAddr {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, mut writer) = stream.into_split();
            let info = format!(
                r#"INFO {{"server_id":"old","server_name":"old","version":"{version}","proto":1,"go":"","host":"127.0.0.1","port":{},"headers":true,"max_payload":1048576,"jetstream":true}}"#,
                address.port()
            );
            let mut lines = BufReader::new(reader).lines();
            let _ = writer.write_all(format!("{info}\r\n").as_bytes()).await;
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "PING" {
                    let _ = writer.write_all(b"PONG\r\n").await;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_server_without_atomic_batches_is_refused_at_the_start_by_its_version() {
    let url = format!("nats://{}", old_server("2.11.9").await);
    let config = ingest::Config::read(&Environment::from([("NATS_URL", url.as_str())])).expect("settings");
    let bind = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let run = ingest::run(config, bind().await, bind().await, CancellationToken::new());
    let refused = soon("it gives up", Box::pin(run)).await.expect_err("too old").to_string();
    assert!(refused.contains("nats-server 2.11.9 is too old: 2.12 or newer"), "{refused}");
}
