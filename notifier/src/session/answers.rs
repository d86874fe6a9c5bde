//! What a client's messages do.
//!
//! **Owns** the reading of a session's socket, the answers, and how many messages a client may send. It
//! writes through the session, as everybody does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shared::close::Close;
use tokio::time::{Instant, timeout};

use super::inbound::{Fragments, Inbound, ReadEnd, Reader};
use super::{Session, State};
use crate::access::Scope;
use crate::control::{self, Asked, Control, Token};
use crate::error::Refusal;
use crate::filter::FilterBuilder;
use crate::frame::{self, Opcode};

/// For the rest of a frame that has begun to arrive.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// What a first look at a readable socket shows.
pub(super) enum Glance {
    /// Nothing that asks for anything.
    Nothing,
    /// Bytes for a reader.
    Bytes(Bytes),
    /// The end.
    End,
}

/// What a first look takes in.
const GLANCE_BYTES: usize = 128;

pub(super) type Reading = Pin<Box<dyn Future<Output = (ReadEnd, Fragments)> + Send>>;
impl Session {
    /// Takes the first of what has arrived. The answer to our own ping, which is most of what clients ever
    /// send, needs no reader.
    pub(super) fn glance(&self) -> Glance {
        let mut bytes = [0; GLANCE_BYTES];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => Glance::End,
            Ok(length) => match bytes.get(..length).unwrap_or_default() {
                [0x8A, 0x80, _, _, _, _] => {
                    if self.answer(Inbound::Pong).is_err() {
                        self.end(Close::Abuse);
                    }
                    Glance::Nothing
                }
                begun => Glance::Bytes(Bytes::copy_from_slice(begun)),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Glance::Nothing,
            Err(_) => Glance::End,
        }
    }

    /// Answers what a client has sent, but for a token: that is judged first.
    fn answer(&self, inbound: Inbound) -> Result<Option<Token>, ReadEnd> {
        let mut state = self.state();
        state.heard_from();
        if !state.allows_another(Instant::now()) {
            return Err(ReadEnd::Refused(Close::Abuse));
        }
        if state.ending.is_some() {
            // Only the client's farewell matters now.
            return if matches!(inbound, Inbound::Close(_)) { Err(ReadEnd::Idle) } else { Ok(None) };
        }
        match inbound {
            Inbound::Text(text) if state.control => match self.obey(&mut state, &text) {
                Ok(token) => return Ok(token),
                Err(detail) => self.say(&mut state, &Control::Error { detail }.frame()),
            },
            // Clients of the plain form have nothing to say; the original took any text.
            Inbound::Text(_) | Inbound::Pong => {}
            Inbound::Ping(payload) => {
                let mut pong = BytesMut::with_capacity(payload.len() + frame::HEAD_BYTES_MAX);
                frame::put(&mut pong, Opcode::Pong, &payload);
                self.say(&mut state, &pong);
            }
            Inbound::Close(payload) => {
                let mut farewell = BytesMut::with_capacity(payload.len() + frame::HEAD_BYTES_MAX);
                frame::put(&mut farewell, Opcode::Close, &payload);
                state.outbox.end_with(&farewell);
                state.ending = Some(Close::Normal);
                self.take_over(&mut state);
            }
        }
        Ok(None)
    }

    /// Does what a client of the subprotocol asks; hands back a token it has sent.
    fn obey(&self, state: &mut State, text: &str) -> Result<Option<Token>, String> {
        let asked = match control::read(text)? {
            Asked::Filter(asked) => asked,
            Asked::Token { token } => return Ok(Some(token)),
        };
        let builder = FilterBuilder::from_json(&asked).map_err(|error| error.to_string())?;
        state.asked = builder.build().map(Arc::new);
        state.change.get_or_insert_default().filter = true;
        // What is written already went by the old filter; its own task answers at the place of the change.
        self.take_over(state);
        Ok(None)
    }

    /// Goes on with a newer token, where it is good and of the same user. Otherwise the session keeps the one
    /// it has, and its end.
    async fn renew(self: &Arc<Session>, token: Token) {
        let judged = self.engine.gate.know(&token.0).await.map_err(Refusal::detail);
        let mut state = self.state();
        let renewed = judged.and_then(|access| match access.ends_ms() {
            // Sessions are counted by their users.
            _ if access.user() != state.access.user() => {
                Err("the token is of another subject: open another session with it".to_owned())
            }
            _ if !access.may(Scope::Read) => Err(Refusal::Scope(Scope::Read).detail()),
            Some(ends_ms) => Ok((access, ends_ms)),
            None => Err(Refusal::NoTokensHere.detail()),
        });
        match renewed {
            Ok((access, ends_ms)) => {
                let before = std::mem::replace(&mut state.access, access.clone());
                state.change.get_or_insert_default().token = Some(ends_ms);
                self.take_over(&mut state);
                drop(state);
                self.engine.curfew.remove(self, &before);
                self.engine.curfew.add(self, &access);
                // Its key may have been withdrawn while it was judged.
                self.end_unless_allowed();
            }
            Err(detail) => self.say(&mut state, &Control::Error { detail }.frame()),
        }
    }
}

/// Reads all that has arrived and answers it.
pub(super) fn read(session: &Arc<Session>, unread: Bytes, message: Fragments) -> Reading {
    let session = Arc::clone(session);
    let mut reader = Reader::new(Arc::clone(&session.stream), unread, message);
    Box::pin(async move {
        loop {
            let end = match timeout(FRAME_TIMEOUT, reader.next()).await {
                Ok(Ok(inbound)) => match session.answer(inbound) {
                    Ok(None) => continue,
                    Ok(Some(token)) => {
                        session.renew(token).await;
                        continue;
                    }
                    Err(end) => end,
                },
                Ok(Err(end)) => end,
                Err(_) => ReadEnd::Refused(Close::Protocol),
            };
            return (end, reader.into_fragments());
        }
    })
}

pub(super) async fn finished(reading: &mut Option<Reading>) -> (ReadEnd, Fragments) {
    match reading {
        Some(reading) => reading.as_mut().await,
        None => std::future::pending().await,
    }
}
