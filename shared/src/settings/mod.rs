//! Configuration from environment variables.
//!
//! **Owns** how a table of variables becomes a struct ([`settings!`](crate::settings!)): one
//! declaration gives the field, its default, its bounds and its line in the documents. All mistakes are
//! collected and reported at once. **May not** print a secret.

pub mod secret;
pub mod values;

use std::fmt;
use std::path::Path;

pub use secret::Secret;
pub use values::{Bounds, ByteSize, List, LogFormat, Span, Value};

/// The process exit status for a configuration that cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// One variable, as the documents list it.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The field's name; the variable is this in capitals.
    pub field: &'static str,
    /// What its text may be, in words.
    pub kind: &'static str,
    /// Its text where it is not set; empty for none.
    pub default: &'static str,
    /// The smallest and the largest it may be, where it has bounds.
    pub bounds: &'static [(&'static str, &'static str)],
    /// What it is for.
    pub doc: &'static [&'static str],
    /// Whether `<NAME>_FILE` may name a file that holds it.
    pub secret: bool,
}

impl Variable {
    /// The variable's name in the environment.
    #[must_use]
    pub fn name(&self) -> String {
        self.field.to_ascii_uppercase()
    }
}

/// A struct made by [`settings!`](crate::settings!).
pub trait Settings: Sized {
    /// Its variables, in order.
    const VARIABLES: &'static [Variable];
    /// Reads it whole, adding everything that is wrong to `mistakes`; nothing where anything was.
    fn read(environment: &Environment, mistakes: &mut Mistakes) -> Option<Self>;
}

/// Where variables come from: the process, or a list in tests.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// The process's own. Variables that are not Unicode are left out: none of ours can be.
    #[must_use]
    pub fn of_process() -> Environment {
        let unicode = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Environment(unicode.collect())
    }

    /// The same with a default for a variable that is not set.
    #[must_use]
    pub fn or(mut self, name: &str, value: &str) -> Environment {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// A variable's text. An empty one counts as not set: Compose files pass those.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let newest_first = self.0.iter().rev();
        newest_first.filter(|(_, text)| !text.is_empty()).find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }

    fn all(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().filter(|(_, text)| !text.is_empty()).cloned()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Environment {
        Environment(pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect())
    }
}

/// What is wrong with a configuration: a line each.
#[derive(Debug, Default, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// Adds one about a variable.
    pub fn add(&mut self, variable: &str, what: impl fmt::Display) {
        self.0.push(format!("{}: {what}", variable.to_ascii_uppercase()));
    }

    /// These and those of another service's configuration; what both say is said once.
    #[must_use]
    pub fn and(mut self, others: Mistakes) -> Mistakes {
        self.0.extend(others.0);
        let mut said = std::collections::HashSet::new();
        self.0.retain(|mistake| said.insert(mistake.clone()));
        self
    }

    /// `value`, where there were none.
    ///
    /// # Errors
    /// These mistakes, where there were any.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => Err(self),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|mistake| writeln!(formatter, "  {mistake}"))
    }
}

/// All of a table's variables from the environment, through envy: a raw struct of optional texts.
#[doc(hidden)]
pub fn raw<T: serde::de::DeserializeOwned + Default>(environment: &Environment, mistakes: &mut Mistakes) -> T {
    envy::from_iter(environment.all()).unwrap_or_else(|error| {
        mistakes.add("environment", error);
        T::default()
    })
}

/// One field of a table: its text or the text in its file, else its default.
#[doc(hidden)]
pub fn field<T: Value>(
    variable: &Variable,
    text: Option<String>,
    bounds: Option<Bounds>,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let name = variable.name();
    let file = T::SECRET.then(|| environment.get(&format!("{name}_FILE"))).flatten();
    let parsed = match (text, file) {
        (Some(_), Some(_)) => Err(format!("set it or {name}_FILE, not both")),
        (None, Some(path)) => secret::read(Path::new(path)).and_then(|text| T::parse(&text)),
        (Some(text), None) => T::parse(&text),
        (None, None) => T::parse(variable.default),
    };
    let checked = parsed.and_then(|value| value.within(bounds.as_ref()).map(|()| value));
    let mut value = checked.map_err(|what| mistakes.add(&name, what)).ok()?;
    if let Some(path) = file {
        value.came_from(Path::new(path));
    }
    Some(value)
}

/// Declares a table of variables: a struct, its reader and its documentation in one.
///
/// ```
/// shared::settings! {
///     /// The endpoint's limits.
///     pub struct Limits {
///         /// The largest body taken.
///         pub max_body_bytes: shared::settings::ByteSize = "64MiB", "1KiB" => "1GiB";
///         /// The address bound.
///         pub http_addr: std::net::SocketAddr = "0.0.0.0:8080";
///     }
/// }
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ pub $field:ident: $type:ty = $default:literal $(, $low:literal => $high:literal)?;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)* }

        impl $crate::settings::Settings for $name {
            const VARIABLES: &'static [$crate::settings::Variable] = &[$(
                $crate::settings::Variable {
                    field: stringify!($field),
                    kind: <$type as $crate::settings::Value>::KIND,
                    default: $default,
                    bounds: &[$(($low, $high))?],
                    doc: &[$($doc),+],
                    secret: <$type as $crate::settings::Value>::SECRET,
                },
            )*];

            fn read(environment: &$crate::settings::Environment, mistakes: &mut $crate::settings::Mistakes) -> Option<Self> {
                #[derive(Default, ::serde::Deserialize)]
                struct Raw { $($field: Option<String>,)* }
                let raw: Raw = $crate::settings::raw(environment, mistakes);
                let mut variables = Self::VARIABLES.iter();
                $(
                    #[allow(unused_mut, unused_assignments)]
                    let mut bounds = None;
                    $(bounds = Some($crate::settings::Bounds { low: $low, high: $high });)?
                    let $field = variables.next().and_then(|variable| {
                        $crate::settings::field(variable, raw.$field, bounds, environment, mistakes)
                    });
                )*
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    crate::settings! {
        /// A table for tests.
        #[allow(unreachable_pub)]
        pub struct Table {
            /// An address.
            pub test_addr: std::net::SocketAddr = "0.0.0.0:80";
            /// A size.
            pub test_bytes: ByteSize = "64MiB", "1KiB" => "1GiB";
            /// A span.
            pub test_span: Span = "15s", "1s" => "1h";
            /// A secret.
            pub test_secret: Secret<List<String>> = "";
        }
    }

    fn read(environment: impl Into<Environment>) -> Result<Table, Mistakes> {
        let mut mistakes = Mistakes::default();
        let table = Table::read(&environment.into(), &mut mistakes);
        mistakes.or(table)
    }

    #[test]
    fn what_is_not_set_or_empty_has_its_default() {
        let table = read([("TEST_BYTES", "")]).expect("defaults");
        assert_eq!(table.test_addr.port(), 80);
        assert_eq!(table.test_bytes.bytes(), 64 << 20);
        assert_eq!(table.test_span.duration(), Duration::from_secs(15));
        assert!(table.test_secret.get().is_empty());
    }

    #[test]
    fn all_mistakes_are_reported_at_once_and_no_secret_is_printed() {
        let mistakes = read([
            ("TEST_ADDR", "here"),
            ("TEST_BYTES", "2GiB"),
            ("TEST_SPAN", "soon"),
            ("TEST_SECRET", "hush"),
            ("TEST_SECRET_FILE", "/nowhere"),
        ])
        .expect_err("four mistakes")
        .to_string();
        for variable in ["TEST_ADDR", "TEST_BYTES", "TEST_SPAN", "TEST_SECRET"] {
            assert!(mistakes.contains(variable), "{variable} in {mistakes}");
        }
        assert!(mistakes.contains("between 1KiB and 1GiB"), "{mistakes}");
        assert!(!mistakes.contains("hush"));
        let table = read([("TEST_SECRET", "hush, hidden")]).expect("a secret");
        assert!(!format!("{table:?}").contains("hush"));
        assert_eq!(**table.test_secret.get(), ["hush".to_owned(), "hidden".to_owned()]);
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_last_line_break() {
        let file = std::env::temp_dir().join(format!("mandrill-live-secret-{}", std::process::id()));
        std::fs::write(&file, "one\ntwo\n").expect("a file");
        let table = read([("TEST_SECRET_FILE", file.to_str().expect("a path"))]).expect("a secret");
        assert_eq!(**table.test_secret.get(), ["one".to_owned(), "two".to_owned()]);
        std::fs::remove_file(file).expect("removed");
        let mistakes = read([("TEST_SECRET_FILE", "/nowhere/at/all")]).expect_err("no file").to_string();
        assert!(mistakes.contains("/nowhere/at/all"), "{mistakes}");
    }
}
