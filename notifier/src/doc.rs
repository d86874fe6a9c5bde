//! The interface described: `/schema/` (OpenAPI), `/asyncapi.yaml`, and `/doc`, where Swagger UI shows the
//! first and lets people try it.
//!
//! **Owns** these documents' files and policies. Swagger UI is kept as its authors publish it
//! (`doc/swagger-ui`, by `scripts/swagger_ui.py`); what is ours beside it keeps it to this origin. **May not
//! touch** sessions or events: what is tried goes the way of any client.

use std::sync::LazyLock;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use shared::http::{Body, empty};

use crate::accept;
use crate::error::Refusal;
use crate::files::{File, packed};

/// What Swagger UI needs, and no more: its script and style sheet, icons that the style sheet holds as
/// `data:`, and requests to this origin. It takes no evaluated code and no inline script or style. Trusted
/// types are not asked for, as on the page: its renderer makes markup from the document's Markdown (through
/// a sanitiser of its own), and the document is ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

/// The files below `/doc`.
pub(crate) static FILES: LazyLock<[File; 8]> = LazyLock::new(|| {
    let file = |path, content_type, packed| File::new(path, content_type, Some(POLICY), packed);
    [
        file("/doc", HTML, packed!("doc/index.html")),
        file("/doc/style.css", STYLE, packed!("doc/style.css")),
        file("/doc/main.js", SCRIPT, packed!("doc/main.js")),
        file("/doc/sign.js", SCRIPT, packed!("doc/sign.js")),
        file("/doc/swagger-ui/swagger-ui.css", STYLE, packed!("doc/swagger-ui/swagger-ui.css")),
        file("/doc/swagger-ui/swagger-ui-bundle.js", SCRIPT, packed!("doc/swagger-ui/swagger-ui-bundle.js")),
        file(
            "/doc/swagger-ui/swagger-ui-bundle.js.LICENSE.txt",
            TEXT,
            packed!("doc/swagger-ui/swagger-ui-bundle.js.LICENSE.txt"),
        ),
        file("/doc/swagger-ui/LICENSE", TEXT, packed!("doc/swagger-ui/LICENSE")),
    ]
});

static SCHEMA: LazyLock<[File; 2]> = LazyLock::new(|| {
    [
        File::new("/schema", YAML, None, packed!("openapi.yaml")),
        File::new("/schema/openapi.json", JSON, None, packed!("openapi.json")),
    ]
});
static ASYNC_API: LazyLock<File> = LazyLock::new(|| File::new("/asyncapi.yaml", YAML, None, packed!("asyncapi.yaml")));

/// A document that has a path of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    /// The OpenAPI document in the form a client prefers.
    Schema,
    /// The same as JSON.
    SchemaJson,
    /// The AsyncAPI document.
    AsyncApi,
    /// Where the original project had another view of the schema.
    Redoc,
}

impl Document {
    pub(crate) fn answer(self, request: &HeaderMap) -> Result<Response<Body>, Refusal> {
        match self {
            Document::Schema => {
                let place = accept::media(request, &[YAML, JSON])
                    .ok_or(Refusal::NotAcceptable { offers: "application/yaml, application/json" })?;
                let mut response = SCHEMA[place].answer(request);
                response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
                Ok(response)
            }
            Document::SchemaJson => Ok(SCHEMA[1].answer(request)),
            Document::AsyncApi => Ok(ASYNC_API.answer(request)),
            Document::Redoc => Ok(moved("/doc")),
        }
    }
}

fn moved(to: &'static str) -> Response<Body> {
    let mut response = empty();
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(to));
    response
}
