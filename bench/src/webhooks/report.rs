//! Numbers as people read them.

/// The middle of several runs.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The value below which this share (0 to 1) of them lies.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// One line of a table: a label and its columns.
pub(crate) fn row(label: &str, columns: &[String]) {
    let columns: Vec<String> = columns.iter().map(|column| format!("{column:>24}")).collect();
    println!("  {label:<38}{}", columns.concat());
}
