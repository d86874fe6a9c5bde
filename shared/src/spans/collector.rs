//! The way to the collector.
//!
//! **Owns** its connections. The exporter runs on a thread of its own and waits there; what is sent goes over the
//! runtime that the service has. A collector that is away costs spans, and is said once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, Uri};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::client::{Client, Unusable, cause};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Collector {
    client: Arc<Client>,
    runtime: Handle,
    away: AtomicBool,
}

impl Collector {
    pub(super) fn new(url: &Uri) -> Result<Collector, Unusable> {
        Ok(Collector { client: Arc::new(Client::new(url)?), runtime: Handle::current(), away: AtomicBool::new(false) })
    }

    fn note(&self, trouble: Option<&str>) {
        let was_away = self.away.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !was_away => {
                tracing::warn!(why, "the collector takes no traces: they are dropped until it does")
            }
            None if was_away => tracing::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        let answered = self.runtime.spawn(async { timeout(ANSWER_TIMEOUT, exchange(client, request)).await }).await;
        let answer = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("no answer in time".to_owned()),
            Err(_) => Err("the service is about to end".to_owned()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(answer.status().as_str())),
            Err(why) => self.note(Some(why)),
        }
        answer.map_err(HttpError::from)
    }
}

async fn exchange(client: Arc<Client>, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let answer = client.request(request.map(Full::new)).await.map_err(|error| cause(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
