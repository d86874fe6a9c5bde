//! From an HTTP request to a session.
//!
//! **Owns** the judgement of a WebSocket handshake and the way a refusal reaches the client: by status, or
//! by close code where the client is a browser, which cannot read the status of a refused handshake.

use bytes::Bytes;
use fastwebsockets::WebSocketError;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use shared::http::Body;
use shared::serve::Connection;
use tokio::net::TcpStream;

use crate::control::SUBPROTOCOL;
use crate::error::Refusal;

/// A handshake that was answered; the socket comes when the answer has been sent.
pub(crate) struct Upgrade(UpgradeFut);

impl Upgrade {
    /// Answers a handshake, choosing the subprotocol where it is offered.
    pub(crate) fn accept(request: &mut Request<Incoming>) -> Result<(Response<Body>, Upgrade), Refusal> {
        let control = offers_control(request.headers());
        if request.method() != Method::GET {
            return Err(Refusal::Method { allow: "GET" });
        }
        if !is_upgrade_request(request) {
            return Err(Refusal::NotAnUpgrade);
        }
        let (response, socket) = upgrade(request).map_err(|error| match error {
            WebSocketError::InvalidSecWebsocketVersion => Refusal::NotAnUpgrade,
            _ => Refusal::Handshake("Sec-WebSocket-Key is missing".into()),
        })?;
        let mut response = response.map(|empty| empty.boxed_unsync());
        if control {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok((response, Upgrade(socket)))
    }

    /// The socket itself and what has arrived on it already; nothing where the client has gone.
    pub(crate) async fn socket(self) -> Option<(TcpStream, Bytes)> {
        let upgraded = self.0.await.ok()?.into_inner().into_inner();
        let parts = upgraded.downcast::<TokioIo<Connection>>().ok()?;
        Some((parts.io.into_inner().into_inner(), parts.read_buf))
    }
}

/// Whether the client takes control frames.
pub(crate) fn offers_control(headers: &HeaderMap) -> bool {
    offers(headers).any(|name| name == SUBPROTOCOL)
}

/// The subprotocols a client offers.
pub(crate) fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether the client can only read a refusal after the upgrade.
pub(crate) fn reads_close_codes_only(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || offers_control(headers)
}
