//! `POST /api/erasures`: a person's events are erased.
//!
//! **Owns** the request and the answer. What erasing is stands in [`crate::erasures`].

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::header;
use hyper::{HeaderMap, Request, Response};
use serde::{Deserialize, Serialize};
use shared::http::{Body, json};
use shared::subject::RecipientHash;
use tokio::time::timeout;

use super::{Api, takes_nothing};
use crate::access::Access;
use crate::error::Refusal;
use crate::params::{InvalidParams, person};

/// What a request may hold.
const BODY_BYTES_MAX: usize = 4 << 10;
/// For all of it to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    email: String,
}

#[derive(Serialize)]
struct Document {
    erased: u64,
    recipient: String,
    at: String,
}

impl Api {
    /// Erases a person's events.
    pub(crate) async fn erase<B>(&self, request: &mut Request<B>, access: &Access) -> Result<Response<Body>, Refusal>
    where
        B: hyper::body::Body + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        takes_nothing(request)?;
        if !is_json(request.headers()) {
            return Err(Refusal::ContentType);
        }
        let body = read(request.body_mut()).await?;
        let recipient = asked(&body)?;
        if !access.covers(recipient) {
            return Err(Refusal::OtherPeople);
        }
        let done = self.eraser.erase(recipient).await.map_err(Refusal::NotErased)?;
        Ok(json(&Document { erased: done.events, recipient: recipient.to_string(), at: done.at.to_string() }))
    }
}

/// Whom a body asks to erase.
pub(crate) fn asked(body: &[u8]) -> Result<RecipientHash, Refusal> {
    // An array would do for an object elsewhere.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(unusable("body", "it is not a JSON object".into()));
    }
    let asked: Asked = serde_json::from_slice(body).map_err(|error| unusable("body", error.to_string()))?;
    person(&asked.email).ok_or_else(|| unusable("email", "it is no address".into()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}

async fn read<B>(body: &mut B) -> Result<Vec<u8>, Refusal>
where
    B: hyper::body::Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Refusal::TooLarge { bytes_max: BODY_BYTES_MAX });
    }
    let all = timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match all.map_err(|_| Refusal::Stalled)? {
        Ok(all) => Ok(all.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge { bytes_max: BODY_BYTES_MAX }),
        Err(_) => Err(unusable("body", "it ended before its end".into())),
    }
}

fn unusable(parameter: &'static str, detail: String) -> Refusal {
    Refusal::Body(InvalidParams::new(
        parameter,
        detail,
        r#"{"email":"…"}: an address, or the 16 hex digits that stand for it"#,
    ))
}
