//! A webhook without group commit: verified and taken apart as ingest does it, then one publish an event.
//! What group commit is measured against. Runs in a process of its own, as ingest does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use ingest::judge::{self, ContentType};
use ingest::trust::Trust;
use shared::http::{self, Body};
use shared::serve::{self, Handler};
use shared::settings::Environment;
use tokio_util::sync::CancellationToken;

use super::bare;

/// Serves until it is killed; configured as ingest is.
pub(crate) async fn run() {
    let config = ingest::Config::read(&Environment::of_process()).expect("settings");
    let client = async_nats::connect(config.broker.nats_url.to_vec()).await.expect("a broker");
    let public = serve::bind(config.listen.http_addr, "HTTP_ADDR").await.expect("a port");
    let admin = serve::bind(config.listen.admin_addr, "ADMIN_ADDR").await.expect("a port");
    let (stop, span) = (CancellationToken::new(), Duration::from_secs(1));
    let ready = shared::admin::Admin::new(Default::default(), shared::telemetry::registry());
    let webhook = Webhook { trust: Trust::new(&config.hook), client };
    tokio::join!(
        serve::run(public, webhook, ingest::connection_limits(&config), stop.clone(), span),
        serve::run(admin, ready, serve::ADMIN_LIMITS, stop, span),
    );
}

#[derive(Clone)]
struct Webhook {
    trust: Trust,
    client: async_nats::Client,
}

impl Handler for Webhook {
    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let signature = head.headers.get("x-mandrill-signature").map(|signature| signature.as_bytes());
        let batch = judge::judge(BytesMut::from(body), ContentType::Form, signature, &self.trust).expect("a batch");
        for event in &batch.events {
            bare::publish(&self.client, event).await;
        }
        http::json(&BTreeMap::from([("accepted", batch.events.len())]))
    }
}
