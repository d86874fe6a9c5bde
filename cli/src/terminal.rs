//! Anybody's text on a terminal.
//!
//! **Owns** what of it gets there: letters, and nothing a terminal might obey. Pure.

/// The text with its control characters made visible.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
