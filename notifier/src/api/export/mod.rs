//! `GET /api/events/export`: everything that matches, oldest first, as a stream.
//!
//! **Owns** the stream's life and its last line. It is a body that is asked for its next piece when the
//! connection has room: one piece is held, whatever the export's length, and nothing is read for a client that
//! has gone. The last line tells a whole export from one that was cut. [`csv`] has the rows of a table.

mod csv;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response};
use shared::cursor::Cursor;
use shared::http::Body;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::stored::wanted;
use super::{Api, refused};
use crate::accept;
use crate::access::Access;
use crate::engine::Engine;
use crate::error::Refusal;
use crate::params::{Asked, Format};
use crate::query::{Forward, Hit, QueryError};
use crate::ring::GapReason;
use csv::Table;

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

/// An export under way.
struct Export {
    way: Forward,
    form: Form,
    events: u64,
    access: Access,
    engine: Arc<Engine>,
    draining: CancellationToken,
    /// The last line was sent.
    over: bool,
    _place: OwnedSemaphorePermit,
}

enum Form {
    Lines,
    Table(Table),
}

impl Api {
    /// All events that match, oldest first.
    pub(crate) async fn export<B>(&self, request: &Request<B>, access: Access) -> Result<Response<Body>, Refusal> {
        let names = ["format", "from", "to", "since"];
        let asked = Asked::read(request.uri().query(), &names, None).map_err(Refusal::Query)?;
        let format = format(&asked, request.headers())?;
        let fault = |error| refused(error, "since");
        let place = self.archive.download_place().map_err(fault)?;
        let view = self.archive.view().await.map_err(fault)?;
        let way = Forward::begin(view, wanted(&asked, &access), asked.since.as_ref()).await.map_err(fault)?;
        let export = Export {
            way,
            form: if format == Format::Csv { Form::Table(Table::default()) } else { Form::Lines },
            events: 0,
            access,
            engine: Arc::clone(&self.engine),
            draining: self.draining.clone(),
            over: false,
            _place: place,
        };
        Ok(answer(export, format))
    }
}

/// The form that was asked for, by name or by `Accept`; the name counts.
fn format(asked: &Asked, headers: &HeaderMap) -> Result<Format, Refusal> {
    let refusal = Refusal::NotAcceptable { offers: "application/x-ndjson, text/csv" };
    let offers = match asked.format {
        None => [NDJSON, CSV],
        Some(Format::NdJson) => [NDJSON, NDJSON],
        Some(Format::Csv) => [CSV, CSV],
    };
    let chosen = accept::media(headers, &offers).ok_or(refusal)?;
    Ok(if offers.get(chosen) == Some(&CSV) { Format::Csv } else { Format::NdJson })
}

fn answer(export: Export, format: Format) -> Response<Body> {
    let pieces = stream::unfold(export, |mut export| async move {
        let piece = export.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), export))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let (content_type, file) = match format {
        Format::NdJson => (NDJSON, "attachment; filename=\"mandrill-events.ndjson\""),
        Format::Csv => ("text/csv; charset=utf-8; header=present", "attachment; filename=\"mandrill-events.csv\""),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(file));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Export {
    /// The next piece; nothing after the last line.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        loop {
            if self.draining.is_cancelled() {
                return Some(self.end(Some("drain")));
            }
            if !self.engine.gate.allows(&self.access) {
                return Some(self.end(Some("token")));
            }
            match self.way.next().await {
                Ok(Some(hits)) if hits.is_empty() => {}
                Ok(Some(hits)) => return Some(self.piece(&hits)),
                Ok(None) => return Some(self.end(None)),
                Err(error) => {
                    tracing::warn!(%error, "an export ended early");
                    return Some(self.end(Some(reason(&error))));
                }
            }
        }
    }

    fn piece(&mut self, hits: &[Hit]) -> Bytes {
        self.events += hits.len() as u64;
        match &mut self.form {
            Form::Table(table) => table.rows(hits, self.way.epoch()),
            Form::Lines => {
                let mut lines = Vec::with_capacity(hits.iter().map(|hit| hit.text.len() + 1).sum());
                for hit in hits {
                    lines.extend_from_slice(&hit.text);
                    lines.push(b'\n');
                }
                lines.into()
            }
        }
    }

    /// The last line: that all is there, or why not.
    fn end(&mut self, incomplete: Option<&'static str>) -> Bytes {
        self.over = true;
        let (events, at) = (self.events, self.way.at());
        match &mut self.form {
            Form::Table(table) => table.end(events, incomplete, &at),
            Form::Lines => last_line(events, incomplete, &at).into(),
        }
    }
}

fn last_line(events: u64, incomplete: Option<&str>, at: &Cursor) -> String {
    match incomplete {
        None => format!("{{\"_export\":\"complete\",\"events\":{events},\"at\":\"{at}\"}}\n"),
        Some(reason) => {
            format!("{{\"_export\":\"incomplete\",\"events\":{events},\"at\":\"{at}\",\"reason\":\"{reason}\"}}\n")
        }
    }
}

fn reason(error: &QueryError) -> &'static str {
    match error {
        QueryError::Gone(GapReason::Retention) => "retention",
        QueryError::Gone(GapReason::Epoch) => "epoch",
        QueryError::Busy | QueryError::Store(_) => "broker",
    }
}
