//! Events as rows of a table.
//!
//! **Owns** the columns: those of Mandrill's own activity export first, so that what reads one reads the other,
//! then what only events have. Pure. RFC 4180; a text that a spreadsheet would take for a formula gets an
//! apostrophe in front.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use csv::{Terminator, Writer, WriterBuilder};
use serde_json::Value;
use shared::cursor::{Cursor, Epoch};
use shared::event;

use crate::query::Hit;

const COLUMNS: [&str; 17] = [
    "Date",
    "Email Address",
    "Sender",
    "Subject",
    "Status",
    "Tags",
    "Subaccount",
    "Opens",
    "Clicks",
    "Bounce Detail",
    "Event",
    "Message ID",
    "Template",
    "URL",
    "Metadata",
    "Received",
    "Cursor",
];

/// A table under way.
#[derive(Debug, Default)]
pub(super) struct Table {
    has_head: bool,
}

impl Table {
    /// Rows, after the head where they are the first.
    pub(super) fn rows(&mut self, hits: &[Hit], epoch: Epoch) -> Bytes {
        self.write(hits.iter().map(|hit| row(hit, epoch)))
    }

    /// The last row.
    pub(super) fn end(&mut self, events: u64, incomplete: Option<&str>, at: &Cursor) -> Bytes {
        let mut row: [Cow<'_, str>; COLUMNS.len()] = Default::default();
        let (date, count) = match incomplete {
            None => ("#complete", events.to_string()),
            Some(reason) => ("#incomplete", format!("{events} {reason}")),
        };
        (row[0], row[10], row[16]) = (date.into(), count.into(), at.to_string().into());
        self.write([row].into_iter())
    }

    fn write<'a>(&mut self, rows: impl Iterator<Item = [Cow<'a, str>; COLUMNS.len()]>) -> Bytes {
        let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
        // Writing to memory does not fail.
        let put = |writer: &mut Writer<Vec<u8>>, row: [&[u8]; COLUMNS.len()]| drop(writer.write_record(row));
        if !std::mem::replace(&mut self.has_head, true) {
            put(&mut writer, COLUMNS.map(str::as_bytes));
        }
        rows.for_each(|row| put(&mut writer, row.each_ref().map(|cell| cell.as_bytes())));
        writer.into_inner().unwrap_or_default().into()
    }
}

fn row(hit: &Hit, epoch: Epoch) -> [Cow<'static, str>; COLUMNS.len()] {
    let text = std::str::from_utf8(&hit.text).unwrap_or_default();
    let fields = event::fields(text);
    let whole: Value = serde_json::from_str(text).unwrap_or_default();
    let message = &whole["msg"];
    let kind = shared::subject::kind(&fields);
    let known = |value: Option<&str>| safe(value.unwrap_or_default());
    let bounce = || [&message["diag"], &message["bounce_description"]].into_iter().find_map(Value::as_str);
    let seconds = whole["ts"].as_u64().map_or(hit.place.stored_ms / 1000, |ts| ts.min(SECONDS_MAX));
    [
        date(seconds).into(),
        known(fields.email.as_deref()),
        known(fields.sender.as_deref()),
        known(message["subject"].as_str()),
        known(message["state"].as_str()),
        safe(&tags(&message["tags"])),
        known(fields.subaccount.as_deref()),
        count(&message["opens"], kind == "open").into(),
        count(&message["clicks"], kind == "click").into(),
        known(bounce()),
        safe(fields.event.as_deref().unwrap_or(&kind)),
        known(fields.message.as_deref()),
        known(fields.template.as_deref()),
        known(whole["url"].as_str()),
        safe(&metadata(&message["metadata"])),
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(hit.place.stored_ms)).to_string().into(),
        // Given back as it is, so never changed: its letters make no formula that does anything.
        hit.place.cursor(epoch).to_string().into(),
    ]
}

/// The end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// As Mandrill writes it: UTC, without a zone.
fn date(seconds: u64) -> String {
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    text.replace('T', " ").replace('Z', "")
}

/// How often, by the list Mandrill sends; an event that is one itself counts.
fn count(list: &Value, is_one: bool) -> String {
    list.as_array().map_or(0, Vec::len).max(usize::from(is_one)).to_string()
}

fn tags(list: &Value) -> String {
    let tags = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    tags.collect::<Vec<_>>().join(",")
}

/// PHP writes an empty map as `[]`.
fn metadata(value: &Value) -> String {
    match value.as_object() {
        Some(map) if !map.is_empty() => value.to_string(),
        Some(_) | None => String::new(),
    }
}

/// A text that no spreadsheet computes.
fn safe(text: &str) -> Cow<'static, str> {
    match text.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n') => format!("'{text}").into(),
        Some(_) | None => text.to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Place;
    use proptest::prelude::*;

    fn hit(text: &str) -> Hit {
        Hit {
            place: Place { sequence: 7, stored_ms: 1_760_000_000_123 },
            recipient: None,
            text: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn records(bytes: &[u8]) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        reader.records().map(|record| record.expect("a record").iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn an_event_is_a_row_as_mandrills_own_export_has_it_and_what_is_more() {
        let text = r#"{"event":"open","_id":"0a1b","ts":1760000000,"url":"https://x","msg":{"email":"a@example.com",
            "sender":"shop@example.net","subject":"Your \"order\", at last","state":"sent","tags":["order","vip"],
            "opens":[{"ts":1},{"ts":2}],"metadata":{"order":"1001"},"template":"t"}}"#;
        let (mut table, epoch) = (Table::default(), Epoch::random());
        let hit = hit(text);
        let bytes = table.rows(std::slice::from_ref(&hit), epoch);
        let at = hit.place.cursor(epoch);
        let expected = format!(
            "Date,Email Address,Sender,Subject,Status,Tags,Subaccount,Opens,Clicks,Bounce Detail,Event,Message \
             ID,Template,URL,Metadata,Received,Cursor\r\n2025-10-09 08:53:20,a@example.com,shop@example.net,\"Your \
             \"\"order\"\", at last\",sent,\"order,vip\",,2,0,,open,0a1b,t,https://x,\"{{\"\"order\"\":\"\"1001\"\"}}\",\
             2025-10-09T08:53:20.123Z,{at}\r\n"
        );
        assert_eq!(String::from_utf8(bytes.to_vec()).expect("text"), expected);
        let end = table.end(1, None, &at);
        assert_eq!(end, format!("#complete,,,,,,,,,,1,,,,,,{at}\r\n"));
        let cut = table.end(1, Some("drain"), &at);
        assert!(cut.starts_with(b"#incomplete,,,,,,,,,,1 drain,"));
    }

    #[test]
    fn an_export_of_nothing_has_a_head() {
        let at = Place::default().cursor(Epoch::random());
        let records = records(&Table::default().end(0, None, &at));
        assert_eq!((records.len(), records[0][0].as_str(), records[1][0].as_str()), (2, "Date", "#complete"));
    }

    #[test]
    fn what_a_spreadsheet_would_compute_is_text() {
        let text =
            r#"{"event":"click","url":"=HYPERLINK(\"x\")","msg":{"subject":"@SUM(A1)","tags":["+1"],"diag":"-1"}}"#;
        let rows = records(&Table::default().rows(&[hit(text)], Epoch::random()));
        let row = &rows[1];
        let cells = (row[3].as_str(), row[5].as_str(), row[9].as_str(), row[13].as_str());
        assert_eq!(cells, ("'@SUM(A1)", "'+1", "'-1", "'=HYPERLINK(\"x\")"));
    }

    proptest! {
        #[test]
        fn any_event_is_one_row(subject in ".{0,40}", odd in "[ -~]{0,40}") {
            let text = serde_json::json!({"event": odd, "ts": odd, "msg": {"subject": subject, "tags": odd}}).to_string();
            for text in [&text, &odd] {
                let rows = records(&Table::default().rows(&[hit(text)], Epoch::random()));
                prop_assert_eq!(rows.len(), 2);
                prop_assert_eq!(rows[1].len(), COLUMNS.len());
            }
            let rows = records(&Table::default().rows(&[hit(&text)], Epoch::random()));
            prop_assert_eq!(rows[1][3].trim_start_matches('\''), subject.trim_start_matches('\''));
        }
    }
}
