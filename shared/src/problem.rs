//! Errors as HTTP answers them: `application/problem+json` (RFC 9457).
//!
//! **Owns** their form. Each service maps its own errors to one of these in one place.

use std::borrow::Cow;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::http::{Body, full};

/// One error's answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    parameter: Option<Cow<'static, str>>,
    allowed: Option<Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
}

impl Problem {
    /// `name` is the stable part of its `type`; `title` is the same for all of that name.
    #[must_use]
    pub const fn new(status: StatusCode, name: &'static str, title: &'static str) -> Problem {
        let detail = Cow::Borrowed("");
        Problem { status, name, title, detail, parameter: None, allowed: None, headers: Vec::new() }
    }

    /// What is wrong with this request and what to do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Problem {
        self.detail = detail.into();
        self
    }

    /// What is at fault: a parameter of the query or the path, a header, or a member of the body.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<Cow<'static, str>>) -> Problem {
        self.parameter = Some(name.into());
        self
    }

    /// What may stand there.
    #[must_use]
    pub fn allowed(mut self, allowed: impl Into<Cow<'static, str>>) -> Problem {
        self.allowed = Some(allowed.into());
        self
    }

    /// A header that belongs to it.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// When trying again makes sense.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Problem {
        self.header(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))
    }

    /// Ends the connection after the answer: what was not read of the request will not be.
    #[must_use]
    pub fn close(self) -> Problem {
        self.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.detail
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let document = Document {
            r#type: format!("urn:mandrill-live:problem:{}", self.name),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
            allowed: self.allowed.as_deref(),
        };
        let text = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(full(text).boxed_unsync());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}
