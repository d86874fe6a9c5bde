//! The API's answers that end.
//!
//! **Owns** what the handlers share: who asks is known before they are called, what may be seen is in the
//! filter they ask with, and a query's errors become answers in one place. **May not touch** a socket: live
//! sessions are begun in `server`.

pub(crate) mod erasures;
mod export;
mod large;
pub(crate) mod me;
mod stats;
pub(crate) mod status;
mod stored;

use std::sync::Arc;

use hyper::{HeaderMap, Request};
use shared::cursor::Cursor;
use tokio_util::sync::CancellationToken;

use crate::accept;
use crate::engine::Engine;
use crate::erasures::Eraser;
use crate::error::Refusal;
use crate::params::Asked;
use crate::query::{Archive, QueryError};

/// The handlers.
#[derive(Debug)]
pub(crate) struct Api {
    archive: Archive,
    eraser: Eraser,
    engine: Arc<Engine>,
    /// This replica stops.
    draining: CancellationToken,
}

impl Api {
    pub(crate) fn new(archive: Archive, eraser: Eraser, engine: Arc<Engine>, draining: CancellationToken) -> Api {
        Api { archive, eraser, engine, draining }
    }
}

/// Refuses a client that takes no JSON.
fn takes_json(headers: &HeaderMap) -> Result<(), Refusal> {
    const OFFER: &str = "application/json";
    accept::media(headers, &[OFFER]).map(|_| ()).ok_or(Refusal::NotAcceptable { offers: OFFER })
}

/// Refuses what a path that takes no parameters and answers with JSON cannot be asked for.
pub(crate) fn takes_nothing<B>(request: &Request<B>) -> Result<(), Refusal> {
    takes_json(request.headers())?;
    Asked::nothing(request.uri().query()).map_err(Refusal::Query)
}

/// The answer to a query that failed; `parameter` is where its cursor stood.
fn refused(error: QueryError, parameter: &'static str) -> Refusal {
    match error {
        QueryError::Busy => Refusal::Busy,
        QueryError::Store(detail) => Refusal::Broker(detail.into()),
        QueryError::Gone(reason) => Refusal::CursorGone { parameter, reason },
    }
}

/// A cursor as JSON has it.
fn cursor_json(cursor: Option<Cursor>) -> String {
    cursor.map_or_else(|| "null".to_owned(), |cursor| format!("\"{cursor}\""))
}
