//! The live page's files.

use hyper::Response;
use shared::http::Body;

pub(crate) fn answer(_path: &str) -> Option<Response<Body>> {
    None
}
