//! What the page's template is given, and its rendering.

use jiff::Timestamp;
use minijinja::value::Serde;
use minijinja::{Environment, Error, HtmlEscape, Value};
use serde::Serialize;

use super::About;
use crate::pipeline::report::{FileStatus, JobStatus, RowCounts, StatusReport, TableStatus};

/// How often the page renews itself.
const REFRESH_SECONDS: u32 = 5;
/// Rows that the page shows of each list; the rest is counted, and `ddu status` lists it.
const ROWS_SHOWN_MAX: usize = 200;

/// The compiled template with its filters.
pub(super) fn template() -> Environment<'static> {
    let mut template = Environment::new();
    template
        .add_template("page.html", include_str!("../page.html.j2"))
        .expect("the template is compiled in, and the tests render it");
    template.add_filter("grouped", grouped);
    template.add_filter("quoted", quoted);
    template
}

/// The page as HTML; a status that could not be read is told in its place.
pub(super) fn render(
    template: &Environment<'_>,
    about: &About,
    alive: bool,
    status: &Result<StatusReport, String>,
) -> Result<String, Error> {
    let nothing = StatusReport::default();
    let (report, unavailable) = match status {
        Ok(report) => (report, None),
        Err(reason) => (&nothing, Some(reason.as_str())),
    };
    let view = View {
        about,
        alive,
        unavailable,
        totals: report.totals(),
        unaccounted: report.unaccounted().take(ROWS_SHOWN_MAX).collect(),
        tables: report.tables.iter().take(ROWS_SHOWN_MAX).map(TableRow::of).collect(),
        tables_count: report.tables.len(),
        tables_more: report.tables.len().saturating_sub(ROWS_SHOWN_MAX),
        jobs: first(&report.jobs),
        jobs_count: report.jobs.len(),
        jobs_more: report.jobs.len().saturating_sub(ROWS_SHOWN_MAX),
        dropbox: first(&report.dropbox),
        dropbox_count: report.dropbox.len(),
        dropbox_more: report.dropbox.len().saturating_sub(ROWS_SHOWN_MAX),
        now: now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
        version: env!("CARGO_PKG_VERSION"),
        refresh_seconds: REFRESH_SECONDS,
    };
    template.get_template("page.html")?.render(Serde(&view))
}

/// What the template is given.
#[derive(Serialize)]
struct View<'a> {
    about: &'a About,
    alive: bool,
    unavailable: Option<&'a str>,
    totals: RowCounts,
    unaccounted: Vec<&'a TableStatus>,
    tables: Vec<TableRow<'a>>,
    tables_count: usize,
    tables_more: usize,
    jobs: &'a [JobStatus],
    jobs_count: usize,
    jobs_more: usize,
    dropbox: &'a [FileStatus],
    dropbox_count: usize,
    dropbox_more: usize,
    now: String,
    version: &'static str,
    refresh_seconds: u32,
}

/// A table with the lengths of its bar.
#[derive(Serialize)]
struct TableRow<'a> {
    #[serde(flatten)]
    table: &'a TableStatus,
    written_permille: u64,
    quarantined_permille: u64,
}

impl<'a> TableRow<'a> {
    fn of(table: &'a TableStatus) -> Self {
        let permille = |rows: u64| {
            let records = u128::from(table.records.max(1));
            (u128::from(rows) * 1000 / records).min(1000) as u64
        };
        TableRow {
            table,
            written_permille: permille(table.written),
            // A single refused row among a million still shows as a line.
            quarantined_permille: permille(table.quarantined).max(u64::from(table.quarantined > 0) * 4),
        }
    }
}

fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(ROWS_SHOWN_MAX)]
}

#[allow(clippy::disallowed_methods, reason = "the page says when it was made, for the reader's eye alone")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The number with its thousands set apart: 1,048,576.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A sentence of ours with the values in its `ticks` set apart as code.
fn quoted(sentence: &str) -> Value {
    let mut html = String::with_capacity(sentence.len() * 2);
    let parts: Vec<&str> = sentence.split('`').collect();
    let unpaired = parts.len().is_multiple_of(2);
    for (index, part) in parts.iter().enumerate() {
        let escaped = HtmlEscape(part);
        let last = index + 1 == parts.len();
        html += &match index % 2 {
            1 if last && unpaired => format!("`{escaped}"),
            1 => format!("<code>{escaped}</code>"),
            _ => escaped.to_string(),
        };
    }
    Value::from_safe_string(html)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_in_ticks_is_set_apart_and_stays_text() {
        for (sentence, html) in [
            (
                "sheet `A&B` has no column `<b>`",
                "sheet <code>A&amp;B</code> has no column <code>&lt;b&gt;</code>",
            ),
            ("a stray ` tick <i>", "a stray ` tick &lt;i&gt;"),
            ("", ""),
        ] {
            assert_eq!(quoted(sentence).as_str(), Some(html));
        }
    }

    #[test]
    fn one_refused_row_in_a_million_is_seen() {
        let mut table = TableStatus {
            table_name: "customers".to_owned().try_into().unwrap(),
            target_entity: "accounts".into(),
            records: 1_000_000,
            written: 999_999,
            quarantined: 1,
            pending: 0,
            validated: false,
            status: String::new(),
        };
        assert_eq!(TableRow::of(&table).quarantined_permille, 4);
        table.quarantined = 0;
        assert_eq!(TableRow::of(&table).quarantined_permille, 0);
    }
}
