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
use crate::control::{self, Asked, Control};
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

    fn answer(&self, inbound: Inbound) -> Result<(), ReadEnd> {
        let mut state = self.state();
        state.awaited = false;
        if !state.allows_another(Instant::now()) {
            return Err(ReadEnd::Refused(Close::Abuse));
        }
        if state.ending.is_some() {
            // Only the client's farewell matters now.
            return if matches!(inbound, Inbound::Close(_)) { Err(ReadEnd::Idle) } else { Ok(()) };
        }
        match inbound {
            Inbound::Text(text) if state.control => {
                if let Err(detail) = self.obey(&mut state, &text) {
                    self.say(&mut state, &Control::Error { detail }.frame());
                }
            }
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
        Ok(())
    }

    /// Does what a client of the subprotocol asks.
    fn obey(&self, state: &mut State, text: &str) -> Result<(), String> {
        let Asked::Filter(asked) = control::read(text)?;
        let builder = FilterBuilder::from_json(&asked).map_err(|error| error.to_string())?;
        // What is written already went by the old filter; its own task answers at the place of the change.
        state.asked = Some(builder.build().map(Arc::new));
        self.take_over(state);
        Ok(())
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
                    Ok(()) => continue,
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
