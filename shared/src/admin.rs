//! The private listener: liveness, readiness, metrics.
//!
//! **Owns** their routes and what readiness is made of. Liveness never asks the broker: a broker that is
//! away must not restart the fleet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::registry::Registry;

use crate::http::{Body, full, plain_path};
use crate::problem::Problem;
use crate::serve::Handler;
use crate::settings::{Environment, Mistakes, Settings};

crate::settings! {
    /// Where a process listens.
    pub struct ListenSettings {
        /// The public address.
        pub http_addr: SocketAddr = "0.0.0.0:8080";
        /// The private address of probes and metrics.
        pub admin_addr: SocketAddr = "127.0.0.1:9090";
    }
}

/// Where the private listener of a service with this environment is.
///
/// # Errors
/// Where the addresses cannot be read.
pub fn address(environment: &Environment) -> Result<SocketAddr, Mistakes> {
    let mut mistakes = Mistakes::default();
    let settings = ListenSettings::read(environment, &mut mistakes);
    mistakes.or(settings).map(|settings| settings.admin_addr)
}

/// What must hold for a process to be given work: each part says for itself, by name.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

impl Readiness {
    /// Part `name` can do its work.
    pub fn ready(&self, name: &'static str) {
        self.set(name, None);
    }

    /// Part `name` cannot, and why.
    pub fn not_ready(&self, name: &'static str, why: impl Into<String>) {
        self.set(name, Some(why.into()));
    }

    fn set(&self, name: &'static str, why: Option<String>) {
        // The map holds plain values: a panic elsewhere cannot have left it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, why);
    }

    /// The parts that are not ready, with their reasons.
    #[must_use]
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(|(name, why)| Some((*name, why.clone()?))).collect()
    }
}

/// Answers `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone)]
pub struct Admin {
    readiness: Readiness,
    registry: Arc<Registry>,
}

impl Admin {
    /// Of one process.
    #[must_use]
    pub fn new(readiness: Readiness, registry: Registry) -> Admin {
        Admin { readiness, registry: Arc::new(registry) }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed")
                .header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
                .into_response();
        }
        match plain_path(path) {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.readyz(),
            "/metrics" => self.metrics(),
            _ => Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found")
                .detail("here are /livez, /readyz and /metrics")
                .into_response(),
        }
    }

    fn readyz(&self) -> Response<Body> {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            return text(StatusCode::OK, "ready\n".to_owned());
        }
        let lines = missing.iter().map(|(name, why)| format!("{name}: {why}\n"));
        text(StatusCode::SERVICE_UNAVAILABLE, lines.collect())
    }

    fn metrics(&self) -> Response<Body> {
        let mut metrics = String::new();
        if prometheus_client::encoding::text::encode(&mut metrics, &self.registry).is_err() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n".to_owned());
        }
        let mut response = text(StatusCode::OK, metrics);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        );
        response
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        self.answer(request.method(), request.uri().path())
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
