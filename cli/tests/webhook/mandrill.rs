//! Mandrill's side, as its API reference and captures describe it: webhooks, the check of a new address, errors
//! by name. And what may stand between: a proxy with habits of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use shared::http::{Body, full};
use shared::serve::{self, Handler};
use shared::signature::{TEST_KEY, sign};
use shared::testing::http;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub const API_KEY: &str = "ExampleApiKey_not-secret";

/// Serves until the test ends.
pub async fn serve(handler: impl Handler) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(serve::run(listener, handler, serve::ADMIN_LIMITS, CancellationToken::new(), Duration::ZERO));
    address
}

fn answer(status: u16, body: impl Into<Vec<u8>>, headers: &[(&'static str, &str)]) -> Response<Body> {
    let mut response = Response::new(full(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    response
}

/// One account.
#[derive(Clone, Default)]
pub struct Mandrill(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    made: u64,
    webhooks: Vec<Value>,
}

impl Mandrill {
    /// Says that the last batch of a webhook could not be delivered.
    pub fn fails(&self, id: u64, why: &str) {
        let mut state = self.0.lock().expect("the state");
        let webhook = state.webhooks.iter_mut().find(|webhook| webhook["id"] == id).expect("a webhook");
        webhook["last_error"] = why.into();
    }

    pub fn keys(&self) -> Vec<String> {
        let state = self.0.lock().expect("the state");
        state.webhooks.iter().map(|webhook| webhook["auth_key"].as_str().expect("a key").to_owned()).collect()
    }

    async fn call(&self, call: &str, body: &Value) -> Result<Value, (u16, &'static str, String)> {
        if body["key"] != API_KEY {
            return Err((401, "Invalid_Key", "Invalid API key".to_owned()));
        }
        if matches!(call, "add" | "update") {
            let url = body["url"].as_str().unwrap_or_default();
            let known =
                |events: &Value| events.as_array().is_some_and(|all| all.iter().all(|event| event != "inbound"));
            if !body.get("events").map_or(call == "update", known) {
                return Err((500, "ValidationError", "Validation error: {\"events\":\"unknown\"}".to_owned()));
            }
            if !responds(url).await {
                return Err((500, "GeneralError", format!("Webhook url {url} did not respond\u{1b}[31m")));
            }
        }
        let mut state = self.0.lock().expect("the state");
        let at = state.webhooks.iter().position(|webhook| webhook["id"] == body["id"]);
        let unknown = (404, "Unknown_Webhook", format!("No webhook with id {}", body["id"]));
        match call {
            "list" => Ok(state.webhooks.clone().into()),
            "add" => {
                state.made += 1;
                let webhook = json!({
                    "id": state.made, "url": body["url"], "description": body["description"],
                    "auth_key": format!("Key_{}_of-a-test", state.made), "events": body["events"],
                    "created_at": "2026-01-02 03:04:05.678", "last_sent_at": null, "batches_sent": 0,
                    "events_sent": 0, "last_error": null, "a_key_nobody_knows": {}
                });
                state.webhooks.push(webhook.clone());
                Ok(webhook)
            }
            "info" => Ok(state.webhooks[at.ok_or(unknown)?].clone()),
            "update" => {
                let webhook = &mut state.webhooks[at.ok_or(unknown)?];
                for field in ["url", "events", "description"] {
                    if let Some(value) = body.get(field) {
                        webhook[field] = value.clone();
                    }
                }
                Ok(webhook.clone())
            }
            "delete" => {
                let at = at.ok_or(unknown)?;
                Ok(state.webhooks.remove(at))
            }
            _ => Err((404, "Unknown_Call", call.to_owned())),
        }
    }
}

/// The check of an address: HEAD, and where that is not 200 an empty batch signed with the public key.
async fn responds(url: &str) -> bool {
    let Some((host, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else { return false };
    let Ok(address) = host.parse() else { return false };
    if tokio::net::TcpStream::connect(address).await.is_err() {
        return false;
    }
    let path = format!("/{path}");
    let signature = sign(TEST_KEY, url, &[(b"mandrill_events", b"[]")]);
    let headers = [
        ("Host", host),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("X-Mandrill-Signature", signature.as_str()),
    ];
    http::send(address, "HEAD", &path, &headers[..1], b"").await.status == 200
        || http::send(address, "POST", &path, &headers, b"mandrill_events=%5B%5D").await.status == 200
}

impl Handler for Mandrill {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let call = path.strip_prefix("/api/1.0/webhooks/").and_then(|rest| rest.strip_suffix(".json"));
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        match self.call(call.expect("a call"), &body).await {
            Ok(value) => answer(200, value.to_string(), &[]),
            Err((status, name, message)) => {
                let error = json!({ "status": "error", "code": -1, "name": name, "message": message });
                answer(status, error.to_string(), &[])
            }
        }
    }
}

/// What a proxy in front of ingest does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Habit {
    /// Answers everything itself.
    Answers(u16),
    /// Passes on what is not larger than its limit.
    LimitsBodies(usize),
    /// Sends everybody elsewhere.
    LeadsAway,
}

#[derive(Clone, Copy)]
pub struct Proxy {
    pub habit: Habit,
    pub ingest: SocketAddr,
}

impl Handler for Proxy {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Body> {
        let server = ("server", "nginx/1.29");
        let limit = match self.habit {
            Habit::Answers(status) => return answer(status, "<html>", &[server]),
            Habit::LeadsAway => return answer(301, "", &[server, ("location", "https://elsewhere.example.com/")]),
            Habit::LimitsBodies(limit) => limit,
        };
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        if body.len() > limit {
            return answer(413, "<html>", &[server]);
        }
        let host = self.ingest.to_string();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let headers = [
            ("Host", host.as_str()),
            ("Content-Type", text("content-type")),
            ("X-Mandrill-Signature", text("x-mandrill-signature")),
        ];
        let passed = http::send(self.ingest, head.method.as_str(), head.uri.path(), &headers, &body).await;
        answer(passed.status, passed.body, &[server])
    }
}
