//! Several values in one text, with commas between them.
//!
//! **Owns** how a value that holds a comma is written: `\,`. A backslash before anything else stands for itself.
//! Pure.

use std::borrow::Cow;

/// The values, in their order; they may be empty.
pub fn values(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut pieces = text.split(',');
    std::iter::from_fn(move || {
        let mut value = Cow::Borrowed(pieces.next()?);
        while let Some(front) = value.strip_suffix('\\')
            && let Some(next) = pieces.next()
        {
            value = Cow::Owned(format!("{front},{next}"));
        }
        Some(value)
    })
}

/// A value as it is written among others.
#[must_use]
pub fn written(value: &str) -> Cow<'_, str> {
    if value.contains(',') { Cow::Owned(value.replace(',', "\\,")) } else { Cow::Borrowed(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_backslash_makes_a_comma_a_part_of_a_value() {
        let check = |text: &str, expected: &[&str]| assert_eq!(values(text).collect::<Vec<_>>(), expected, "{text}");
        check("", &[""]);
        check("a", &["a"]);
        check("a,b,", &["a", "b", ""]);
        check(r"a\,b,c", &["a,b", "c"]);
        check(r"a\,\,b", &["a,,b"]);
        check(r"\,", &[","]);
        check(r"a\\,b", &[r"a\,b"]);
        check(r"shop\ann,b\", &[r"shop\ann", r"b\"]);
    }

    proptest! {
        /// Only a value that ends with a backslash has to stand last.
        #[test]
        fn what_was_written_is_read(list in proptest::collection::vec("[a,\\\\ ]{0,6}[a,]", 1..5)) {
            let text: Vec<_> = list.iter().map(|value| written(value)).collect();
            let text = text.join(",");
            prop_assert_eq!(values(&text).collect::<Vec<_>>(), list);
        }
    }
}
