//! What holds for whatever clients send (feature `invariants`): run by fuzz targets and, over their corpora, by tests.
//!
//! **Owns** the checks of this crate's parsers: each takes any bytes and panics where a promise is broken. What
//! they compare with is written as plainly as can be, and not with the code that it judges. Nothing here runs in a
//! service.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise ends the run")]

mod control;
mod erasure;
mod headers;
mod query;
pub(crate) mod wanted;

pub use crate::access::invariants::token;
pub use crate::session::invariants::frames;
pub use control::control;
pub use erasure::erasure;
pub use headers::headers;
pub use query::query;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::invariants::replay;

    #[test]
    fn the_corpus_of_queries_holds() {
        replay("query", query);
    }

    #[test]
    fn the_corpus_of_tokens_holds() {
        replay("token", token);
    }

    #[test]
    fn the_corpus_of_frames_holds() {
        replay("frames", frames);
    }

    #[test]
    fn the_corpus_of_control_messages_holds() {
        replay("control", control);
    }

    #[test]
    fn the_corpus_of_erasures_holds() {
        replay("erasure", erasure);
    }

    #[test]
    fn the_corpus_of_headers_holds() {
        replay("headers", headers);
    }
}
