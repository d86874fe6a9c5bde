//! Which tokens are good, by each way in and for each path.

use serde_json::{Value, json};
use shared::testing::broker::Broker;
use shared::testing::http::{self, Answer};

use crate::support::client::{Frame, TEXT};
use crate::support::tokens::{IdentityProvider, OTHER_SECRET, SECRET, Signer, claims, now};
use crate::support::{Client, EventStream, Service, V1, Writer, expect};

const LIVE: &str = "/ws/email/";
const ISSUER: &str = "https://id.example.com/";
const AUDIENCE: &str = "mandrill-live";

/// What a token must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// 401, 4401.
    Unauthorized,
    /// 403, 4403.
    Forbidden,
}

impl Verdict {
    fn status(self) -> u16 {
        match self {
            Verdict::Good => 200,
            Verdict::Unauthorized => 401,
            Verdict::Forbidden => 403,
        }
    }

    fn code(self) -> u16 {
        4000 + self.status()
    }
}

/// Claims of a token that is good where issuer and audience are asked for.
fn whole(with: Value) -> Value {
    let mut all = json!({"iss": ISSUER, "aud": AUDIENCE});
    all.as_object_mut().expect("an object").extend(with.as_object().expect("an object").clone());
    claims(all)
}

/// Every kind of token: by name, itself, and what must come of it.
fn tokens(signer: &Signer, stranger: &Signer, public_key: &str) -> Vec<(&'static str, String, Verdict)> {
    use Verdict::{Forbidden, Good, Unauthorized};
    let sign = |with: Value| signer.sign(&whole(with));
    let parts = |token: String| token.rsplit_once('.').map(|(message, _)| message.to_owned()).expect("three parts");
    let none = json!({"alg": "none", "typ": "JWT"});
    let many_tags: Vec<String> = (0..257).map(|number| format!("t{number}")).collect();
    vec![
        ("a good one", sign(json!({})), Good),
        ("scopes in an array", sign(json!({"scope": ["events:erase", "events:read"]})), Good),
        ("several audiences", sign(json!({"aud": ["another", AUDIENCE]})), Good),
        ("an end with a fraction", sign(json!({"exp": now() as f64 + 60.5})), Good),
        ("nbf a moment ahead", sign(json!({"nbf": now() + 10})), Good),
        ("unknown claims", sign(json!({"groups": ["a"], "iat": now()})), Good),
        ("no subject", sign(json!({"sub": null})), Good),
        ("empty", String::new(), Unauthorized),
        ("garbage", "garbage".to_owned(), Unauthorized),
        ("dots", "...".to_owned(), Unauthorized),
        ("garbage in three parts", "e30.e30.e30".to_owned(), Unauthorized),
        ("no signature", format!("{}.", parts(sign(json!({})))), Unauthorized),
        ("another's signature", format!("{}.{}", parts(sign(json!({}))), "A".repeat(43)), Unauthorized),
        ("expired", sign(json!({"exp": now() - 5})), Unauthorized),
        ("expired this second", sign(json!({"exp": now()})), Unauthorized),
        ("not valid yet", sign(json!({"nbf": now() + 120})), Unauthorized),
        ("another issuer", sign(json!({"iss": "https://id.example.net/"})), Unauthorized),
        ("another issuer by a slash", sign(json!({"iss": "https://id.example.com"})), Unauthorized),
        ("no issuer", sign(json!({"iss": null})), Unauthorized),
        ("another audience", sign(json!({"aud": "another"})), Unauthorized),
        ("no audience", sign(json!({"aud": null})), Unauthorized),
        ("no end", sign(json!({"exp": null})), Unauthorized),
        ("an end that is text", sign(json!({"exp": "tomorrow"})), Unauthorized),
        ("a negative end", sign(json!({"exp": -1})), Unauthorized),
        ("a subject that is no text", sign(json!({"sub": 1})), Unauthorized),
        ("a key nobody knows", stranger.sign(&whole(json!({}))), Unauthorized),
        ("no algorithm", format!("{}.", parts(signer.sign_as(&none, &whole(json!({}))))), Unauthorized),
        ("another algorithm", signer.sign_as(&json!({"alg": "HS512"}), &whole(json!({}))), Unauthorized),
        // The public key taken for a secret: what a service falls for that believes the header.
        (
            "the public key as a secret",
            Signer::secret(public_key).sign_as(&json!({"alg": "HS256", "kid": "one"}), &whole(json!({}))),
            Unauthorized,
        ),
        (
            "something critical that is not known here",
            signer.sign_as(&json!({"alg": "HS256", "kid": "one", "crit": ["x"], "x": 1}), &whole(json!({}))),
            Unauthorized,
        ),
        ("over-long", sign(json!({"padding": "x".repeat(8 << 10)})), Unauthorized),
        ("scopes that are none", sign(json!({"scope": 7})), Unauthorized),
        ("a filter that is text", sign(json!({"filter": "event=open"})), Unauthorized),
        (
            "a filter that is null",
            {
                let mut all = whole(json!({}));
                all["filter"] = Value::Null;
                signer.sign(&all)
            },
            Unauthorized,
        ),
        ("an empty filter", sign(json!({"filter": {}})), Unauthorized),
        ("a filter without a value", sign(json!({"filter": {"tag": []}})), Unauthorized),
        ("a filter by nothing known", sign(json!({"filter": {"colour": "red"}})), Unauthorized),
        ("a filter by numbers", sign(json!({"filter": {"metadata.order": 7}})), Unauthorized),
        ("a filter of too many values", sign(json!({"filter": {"tag": many_tags}})), Unauthorized),
        ("no scope", sign(json!({"scope": null})), Forbidden),
        ("an unknown scope", sign(json!({"scope": "events:write eventsread"})), Forbidden),
        ("another scope", sign(json!({"scope": "events:erase"})), Forbidden),
    ]
}

/// The paths that need a token with `events:read`, as the service has them.
fn protected() -> Vec<String> {
    let paths = notifier::paths().filter(|(path, methods)| {
        path.starts_with("/api/") && methods.contains("GET") && !["/api/me", "/api/events/stream"].contains(path)
    });
    let paths: Vec<String> = paths.map(|(path, _)| filled(path)).collect();
    assert!(paths.iter().any(|path| path == "/api/status"));
    paths
}

/// A path with something in place of what stands in braces.
fn filled(template: &str) -> String {
    template.split_once('{').map_or(template.to_owned(), |(front, _)| format!("{front}0123456789abcdef"))
}

async fn get(service: &Service, path: &str, token: Option<&str>) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    http::send(service.http, "GET", path, &headers, b"").await
}

fn is_refused(name: &str, path: &str, answer: &Answer, verdict: Verdict) {
    assert_eq!(answer.status, verdict.status(), "{name}, {path}: {}", answer.head);
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{name}, {path}");
    assert_eq!(answer.json()["status"], verdict.status(), "{name}, {path}");
    let challenge = answer.header("WWW-Authenticate").unwrap_or_else(|| panic!("{name}, {path}: {}", answer.head));
    let expected = match verdict {
        Verdict::Forbidden => "Bearer error=\"insufficient_scope\", scope=\"events:read\"",
        _ => "Bearer error=\"invalid_token\"",
    };
    assert_eq!(challenge, expected, "{name}, {path}");
}

/// Each token, by each way in, for each path.
async fn judge(service: &Service, good: &str, tokens: &[(&str, String, Verdict)]) {
    for (name, token, verdict) in tokens {
        for path in protected() {
            let answer = get(service, &path, Some(token)).await;
            match verdict {
                Verdict::Good => assert!(!matches!(answer.status, 401 | 403), "{name}, {path}: {}", answer.head),
                _ => is_refused(name, &path, &answer, *verdict),
            }
        }
        by_stream(service, name, token, *verdict).await;
        by_me(service, name, token, *verdict).await;
        by_socket(service, name, token, *verdict).await;
        in_band(service, good, name, token, *verdict).await;
    }
}

async fn by_stream(service: &Service, name: &str, token: &str, verdict: Verdict) {
    let path = "/api/events/stream";
    if verdict == Verdict::Good {
        EventStream::open(service.http, path, &[("Authorization", &format!("Bearer {token}"))]).await;
    } else {
        is_refused(name, path, &get(service, path, Some(token)).await, verdict);
    }
}

async fn by_me(service: &Service, name: &str, token: &str, verdict: Verdict) {
    let answer = get(service, "/api/me", Some(token)).await;
    match verdict {
        Verdict::Unauthorized => is_refused(name, "/api/me", &answer, verdict),
        // Whoever may do nothing here is told so.
        Verdict::Good | Verdict::Forbidden => {
            assert_eq!(answer.status, 200, "{name}");
            let scopes = answer.json()["scopes"].as_array().expect("an array").clone();
            assert_eq!(scopes.contains(&"events:read".into()), verdict == Verdict::Good, "{name}: {scopes:?}");
        }
    }
}

/// By `Authorization` and, as browsers do, by subprotocol.
async fn by_socket(service: &Service, name: &str, token: &str, verdict: Verdict) {
    let bearer = format!("Bearer {token}");
    let plain = Client::try_connect(service.http, LIVE, &[("Authorization", &bearer)]).await;
    let status = if verdict == Verdict::Good { 101 } else { verdict.status() };
    assert!(plain.head.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {}", plain.head);
    let offers = format!("mandrill-live.v1, bearer.{token}");
    for headers in [&[V1, ("Authorization", &*bearer)][..], &[("Sec-WebSocket-Protocol", &*offers)]] {
        let mut client = Client::connect(service.http, LIVE, headers).await;
        let head = client.head.to_ascii_lowercase();
        assert!(head.contains("sec-websocket-protocol: mandrill-live.v1\r\n"), "{name}: {head}");
        assert!(!head.contains("bearer"), "{name}: {head}");
        match verdict {
            Verdict::Good => assert_eq!(client.json().await["_control"], "hello", "{name}"),
            _ => assert_eq!(client.closed().await.0, verdict.code(), "{name}"),
        }
    }
}

/// On a session that runs: it goes on with its own token where the new one is no better.
async fn in_band(service: &Service, good: &str, name: &str, token: &str, verdict: Verdict) {
    let offers = format!("mandrill-live.v1, bearer.{good}");
    let mut client = Client::connect(service.http, LIVE, &[("Sec-WebSocket-Protocol", &offers)]).await;
    assert_eq!(client.json().await["_control"], "hello");
    let message = json!({"_control": "token", "token": token}).to_string();
    client.send(TEXT, message.as_bytes()).await;
    if message.len() > 4096 {
        assert_eq!(client.closed().await.0, 1009, "{name}");
        return;
    }
    let answer = client.json().await;
    // A token of nobody is of another subject.
    let expected = if verdict == Verdict::Good && name != "no subject" { "token" } else { "error" };
    assert_eq!(answer["_control"], expected, "{name}: {answer}");
    assert!(!answer.to_string().contains(token) || token.len() < 4, "{name}: {answer}");
    client.send(TEXT, br#"{"_control":"filter","event":"open"}"#).await;
    assert_eq!(client.json().await["_control"], "filter", "{name}: it goes on");
}

#[tokio::test]
async fn every_kind_of_token_by_each_way_in_and_for_each_path_where_a_secret_signs() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let variables = [("JWT_SECRET", SECRET), ("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", AUDIENCE)];
    let service = Service::with(&broker, &variables).await;
    let signer = Signer::secret(SECRET);
    let good = signer.sign(&whole(json!({})));
    judge(&service, &good, &tokens(&signer, &Signer::secret(OTHER_SECRET), "none is public")).await;
}

#[tokio::test]
async fn every_kind_of_token_by_each_way_in_and_for_each_path_where_an_identity_provider_signs() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    for signer in [Signer::rs256("one"), Signer::es256("one"), Signer::eddsa("one")] {
        let provider = IdentityProvider::start(&[&signer]).await;
        let url = provider.url();
        let variables = [("JWT_JWKS", &*url), ("JWT_ISSUER", ISSUER), ("JWT_AUDIENCE", AUDIENCE)];
        let service = Service::with(&broker, &variables).await;
        let public_key = signer.jwk();
        let public_key = public_key["n"].as_str().or(public_key["x"].as_str()).expect("a number");
        let good = signer.sign(&whole(json!({})));
        judge(&service, &good, &tokens(&signer, &Signer::eddsa("two"), public_key)).await;
        service.stop().await;
    }
}

#[tokio::test]
async fn without_a_token_nobody_reads_and_everybody_is_told_how_to_sign_in() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET), ("JWT_ISSUER", ISSUER)]).await;
    for path in protected().iter().map(String::as_str).chain(["/api/events/stream"]) {
        let answer = get(&service, path, None).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"), "{path}");
        assert_eq!(answer.json()["type"], "urn:mandrill-live:problem:token-missing", "{path}");
    }
    let mut client = Client::connect(service.http, LIVE, &[V1]).await;
    assert_eq!(client.closed().await.0, 4401);
    let mut page = Client::connect(service.http, LIVE, &[("Origin", "http://localhost")]).await;
    assert_eq!(page.closed().await.0, 4401);
    let plain = Client::try_connect(service.http, LIVE, &[]).await;
    assert!(plain.head.starts_with("HTTP/1.1 401 "), "{}", plain.head);

    let me = get(&service, "/api/me", None).await;
    assert_eq!((me.status, me.header("Cache-Control")), (200, Some("no-store")));
    let me = me.json();
    assert_eq!(me["sign_in"], json!({"token": true, "anonymous": false, "issuer": ISSUER, "audience": null}));
    assert_eq!((&me["scopes"], &me["subject"], &me["expires_at"]), (&json!([]), &Value::Null, &Value::Null));
    // The page has to be there to ask for a token.
    assert_eq!(get(&service, "/", None).await.status, 200);
}

#[tokio::test]
async fn a_token_says_what_it_allows() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let variables = [("JWT_SECRET", SECRET), ("JWT_SCOPE_CLAIM", "roles"), ("JWT_FILTER_CLAIM", "events")];
    let service = Service::with(&broker, &variables).await;
    let (end, filter) = (now() + 600, json!({"subaccount": ["shop"], "event": "open"}));
    let token = Signer::secret(SECRET).sign(&claims(json!({
        "exp": end, "scope": "events:erase", "roles": ["events:read"], "filter": {"tag": "x"}, "events": filter,
    })));
    let me = get(&service, "/api/me", Some(&token)).await.json();
    assert_eq!(me["subject"], "ann");
    assert_eq!(me["scopes"], json!(["events:read"]));
    assert_eq!(me["filter"], json!({"subaccount": ["shop"], "event": ["open"]}));
    assert_eq!(me["expires_at"], end * 1000);
    assert_eq!((&me["limits"]["sessions_per_user"], &me["limits"]["queries"]), (&json!(100), &json!(16)));
    // No number of all events for whoever may see some.
    let status = get(&service, "/api/status", Some(&token)).await.json();
    assert_eq!(status["feed"]["state"], "live");
    assert_eq!((&status["ring"], &status["stream"], &status["ingest"]), (&Value::Null, &Value::Null, &Value::Null));
}

#[tokio::test]
async fn two_tokens_or_one_in_a_url_are_refused() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let token = Signer::secret(SECRET).sign(&claims(json!({})));
    let bearer = format!("Bearer {token}");
    let alone = format!("bearer.{token}");
    for (headers, status) in [
        (&[("Sec-WebSocket-Protocol", &*alone)][..], 400),
        (&[("Sec-WebSocket-Protocol", &*alone), ("Origin", "http://localhost")], 400),
        (&[("Authorization", &*bearer), ("Authorization", &*bearer)], 400),
    ] {
        let refused = Client::try_connect(service.http, LIVE, headers).await;
        assert!(refused.head.starts_with(&format!("HTTP/1.1 {status} ")), "{}", refused.head);
        assert!(!refused.head.contains(&token), "{}", refused.head);
    }
    let both = format!("mandrill-live.v1, {alone}");
    for headers in [
        &[("Sec-WebSocket-Protocol", &*format!("{both}, {alone}"))][..],
        &[("Sec-WebSocket-Protocol", &*both), ("Authorization", &*bearer)],
    ] {
        let mut client = Client::connect(service.http, LIVE, headers).await;
        assert_eq!(client.closed().await.0, 4400);
        assert!(!client.head.contains(&token), "{}", client.head);
    }
    for name in ["token", "access_token", "bearer"] {
        let path = format!("/api/events/stream?{name}={token}");
        assert_eq!(get(&service, &path, None).await.status, 401, "it is not looked at");
        let answer = get(&service, &path, Some(&token)).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(&token), "{name}");
    }
}

#[tokio::test]
async fn any_of_several_secrets_signs_and_so_does_a_key_beside_them() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let signer = Signer::es256("one");
    let provider = IdentityProvider::start(&[&signer]).await;
    let secrets = format!("{SECRET},{OTHER_SECRET}");
    let service = Service::with(&broker, &[("JWT_SECRET", &secrets), ("JWT_JWKS", &provider.url())]).await;
    for signer in [Signer::secret(SECRET), Signer::secret(OTHER_SECRET), signer] {
        let token = signer.sign(&claims(json!({})));
        assert_eq!(get(&service, "/api/status", Some(&token)).await.status, 200);
    }
}

#[tokio::test]
async fn where_everybody_may_read_a_token_changes_nothing() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    let service = Service::start(&broker).await;
    let mut client = Client::connect(service.http, LIVE, &[("Authorization", "Bearer x")]).await;
    let (mut v1, _) = Client::control(service.http, LIVE).await;
    let event = r#"{"event":"open"}"#.to_owned();
    writer.store(&event).await;
    expect(&mut client, std::slice::from_ref(&event)).await;
    expect(&mut v1, &[event]).await;
    v1.send(TEXT, br#"{"_control":"token","token":"x"}"#).await;
    assert_eq!(v1.json().await["_control"], "error");
    let me = get(&service, "/api/me", None).await.json();
    assert_eq!(me["sign_in"], json!({"token": false, "anonymous": true, "issuer": null, "audience": null}));
    assert!(me["scopes"].as_array().expect("scopes").contains(&"events:read".into()));
}

#[tokio::test]
async fn one_user_has_so_many_sessions_and_no_more() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET), ("MAX_SESSIONS_PER_USER", "2")]).await;
    let bearer = |user: Value| format!("Bearer {}", Signer::secret(SECRET).sign(&claims(json!({"sub": user}))));
    let (ann, bob, nobody) = (bearer("ann".into()), bearer("bob".into()), bearer(Value::Null));
    let one = Client::connect(service.http, LIVE, &[("Authorization", &ann)]).await;
    let (_two, _) = EventStream::open(service.http, "/api/events/stream", &[("Authorization", &ann)]).await;
    let third = Client::try_connect(service.http, LIVE, &[("Authorization", &ann)]).await;
    assert!(third.head.starts_with("HTTP/1.1 429 "), "{}", third.head);
    let mut third = Client::connect(service.http, LIVE, &[V1, ("Authorization", &ann)]).await;
    assert_eq!(third.closed().await.0, 1013);
    let _bob = Client::connect(service.http, LIVE, &[("Authorization", &bob)]).await;
    let _nobodies = [
        Client::connect(service.http, LIVE, &[("Authorization", &nobody)]).await,
        Client::connect(service.http, LIVE, &[("Authorization", &nobody)]).await,
    ];
    let third = Client::try_connect(service.http, LIVE, &[("Authorization", &nobody)]).await;
    assert!(third.head.starts_with("HTTP/1.1 429 "), "{}", third.head);
    one.leave().await;
    shared::testing::until("there is room again", async || {
        let again = Client::try_connect(service.http, LIVE, &[("Authorization", &ann)]).await;
        again.head.starts_with("HTTP/1.1 101 ")
    })
    .await;
}

#[tokio::test]
async fn pages_of_allowed_sites_can_ask_how_to_sign_in_and_read_why_they_may_not() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let site = "https://app.example.com";
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET), ("ALLOWED_ORIGINS", site)]).await;
    let preflight = [
        ("Origin", site),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let answer = http::send(service.http, "OPTIONS", "/api/status", &preflight, b"").await;
    assert_eq!(answer.status, 204, "{}", answer.head);
    assert!(answer.header("Access-Control-Allow-Headers").is_some_and(|names| names.contains("Authorization")));
    for (path, status) in [("/api/me", 200), ("/api/status", 401)] {
        let answer = http::send(service.http, "GET", path, &[("Origin", site)], b"").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(site), "{path}");
        assert!(answer.header("Access-Control-Expose-Headers").is_some_and(|names| names.contains("WWW-Authenticate")));
        let foreign = http::send(service.http, "GET", path, &[("Origin", "https://evil.example.net")], b"").await;
        assert_eq!((foreign.status, foreign.header("Access-Control-Allow-Origin")), (403, None), "{path}");
    }
}

#[tokio::test]
async fn every_answer_protects_the_browser_that_gets_it() {
    let broker = Broker::start().await;
    Writer::new(&broker).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let token = Signer::secret(SECRET).sign(&claims(json!({})));
    let mut paths = protected();
    paths.extend(["/", "/api/me", "/no/such/path", "/api/events/stream?colour=red"].map(str::to_owned));
    for path in paths {
        for token in [None, Some(&*token)] {
            let answer = get(&service, &path, token).await;
            assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
            assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"), "{path}");
            let policy = answer.header("Content-Security-Policy").expect("a policy");
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{path}: {policy}"
            );
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            if path.starts_with("/api/") {
                assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{path}: {}", answer.head);
            }
        }
    }
}

#[tokio::test]
async fn a_session_that_is_refused_sends_nothing_before_its_close() {
    let broker = Broker::start().await;
    let writer = Writer::new(&broker).await;
    writer.store(r#"{"event":"open"}"#).await;
    let service = Service::with(&broker, &[("JWT_SECRET", SECRET)]).await;
    let mut client = Client::connect(service.http, "/ws/email/?last=10", &[V1]).await;
    assert!(matches!(client.next().await, Frame::Close(Some((4401, _)))));
}
