//! The types of a setting's value: how each reads its text.
//!
//! **Owns** the notation of sizes, spans and lists. Pure.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

/// A setting's value, read from text.
pub trait Value: Sized {
    /// What the text may be, in words for the documents.
    const KIND: &'static str;
    /// Whether it may stand in a file of its own, and must not be printed.
    const SECRET: bool = false;

    /// Reads the text; an empty one is a variable without a default that was not set.
    ///
    /// # Errors
    /// What is wrong and what is expected; never the text itself where it may be secret.
    fn parse(text: &str) -> Result<Self, String>;

    /// Checks the bounds of the table.
    ///
    /// # Errors
    /// Where it is out of them; says what they are.
    fn within(&self, _bounds: Option<&Bounds>) -> Result<(), String> {
        Ok(())
    }

    /// Told where the text came from, for values that are read again when that file changes.
    fn came_from(&mut self, _file: &Path) {}
}

/// The least and the largest text a value may have.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The least.
    pub low: &'static str,
    /// The largest.
    pub high: &'static str,
}

impl Bounds {
    fn check<T: Value + PartialOrd>(bounds: Option<&Bounds>, value: &T) -> Result<(), String> {
        let Some(bounds) = bounds else { return Ok(()) };
        if T::parse(bounds.low)? <= *value && *value <= T::parse(bounds.high)? {
            return Ok(());
        }
        Err(format!("must be between {} and {}", bounds.low, bounds.high))
    }
}

/// A number of bytes: `262144`, `256KiB`, `64MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In bytes, for what lies in memory.
    #[must_use]
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).display().iec().fmt(formatter)
    }
}

impl Value for ByteSize {
    const KIND: &'static str = "size (`64MiB`)";
    fn parse(text: &str) -> Result<ByteSize, String> {
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) => Ok(ByteSize(size.as_u64())),
            Err(_) => Err(format!("{text:?} is not a size: write bytes, or a number with KiB, MiB or GiB")),
        }
    }
    fn within(&self, bounds: Option<&Bounds>) -> Result<(), String> {
        Bounds::check(bounds, self)
    }
}

/// A span of time: `500ms`, `15s`, `5m`, `24h`, `30d`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Value for Span {
    const KIND: &'static str = "time (`15s`, `24h`)";
    fn parse(text: &str) -> Result<Span, String> {
        if let Ok(seconds) = text.parse() {
            return Ok(Span(Duration::from_secs(seconds)));
        }
        match humantime::parse_duration(text) {
            Ok(duration) => Ok(Span(duration)),
            Err(_) => Err(format!("{text:?} is not a span of time: write a number with ms, s, m, h or d")),
        }
    }
    fn within(&self, bounds: Option<&Bounds>) -> Result<(), String> {
        Bounds::check(bounds, self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

/// Several values, separated by commas or line breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(Vec<T>);

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Value> Value for List<T> {
    const KIND: &'static str = "list, comma-separated";
    fn parse(text: &str) -> Result<List<T>, String> {
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        Ok(List(items.map(T::parse).collect::<Result<_, _>>()?))
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    const SECRET: bool = T::SECRET;
    fn parse(text: &str) -> Result<Option<T>, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn within(&self, bounds: Option<&Bounds>) -> Result<(), String> {
        self.as_ref().map_or(Ok(()), |value| value.within(bounds))
    }
    fn came_from(&mut self, file: &Path) {
        if let Some(value) = self {
            value.came_from(file);
        }
    }
}

impl Value for bool {
    const KIND: &'static str = "`true` or `false`";
    fn parse(text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err(format!("{text:?} is neither `true` nor `false`")),
        }
    }
}

impl Value for u32 {
    const KIND: &'static str = "number";
    fn parse(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number"))
    }
    fn within(&self, bounds: Option<&Bounds>) -> Result<(), String> {
        Bounds::check(bounds, self)
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "address (`127.0.0.1:8080`)";
    fn parse(text: &str) -> Result<SocketAddr, String> {
        text.parse()
            .map_err(|_| format!("{text:?} is not an address: write an IP address and a port, as in 127.0.0.1:8080"))
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl Value for LogFormat {
    const KIND: &'static str = "`text` or `json`";
    fn parse(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("{text:?} is neither `text` nor `json`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_as_people_write_them() {
        for (text, bytes) in [("262144", 262_144), ("256KiB", 262_144), ("64MiB", 64 << 20), ("2 GiB", 2 << 30)] {
            assert_eq!(ByteSize::parse(text).map(ByteSize::bytes), Ok(bytes), "{text}");
        }
        for (text, seconds) in
            [("15", 15), ("15s", 15), ("5m", 300), ("5min", 300), ("24h", 86_400), ("30d", 2_592_000)]
        {
            assert_eq!(Span::parse(text).map(Span::duration), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "x", "-1", "1x"] {
            assert!(ByteSize::parse(wrong).is_err() && Span::parse(wrong).is_err(), "{wrong}");
        }
    }
}
