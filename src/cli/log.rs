//! `ddu log`: the migration log, one line a batch, in the order of the claims.

use std::io::Write;

use super::books::Books;
use super::{ALL_WRITTEN, write_table};
use crate::config::Settings;
use crate::domain::table::TableName;

/// Lines that are aligned with each other; a longer log is aligned page by page.
const PAGE_LINES: usize = 500;

/// Prints the log.
pub(super) async fn run(
    settings: &Settings,
    table: Option<&TableName>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let books = Books::open(settings)?;
    let mut log = books.lake.log(table).await?;
    let mut page: Vec<Vec<String>> = Vec::new();
    let mut lines = 0;
    let header = ["TIME", "TABLE", "JOB", "BATCH", "ROWS", "WRITTEN", "REFUSED", "SECONDS", "SEV", "CAUSE"];
    while let Some(rows) = log.next().await? {
        for row in rows {
            lines += 1;
            if json {
                writeln!(out, "{}", serde_json::to_string(&row)?)?;
                continue;
            }
            page.push(vec![
                row.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                row.table_name,
                row.job,
                row.batch_id.to_string(),
                row.batch_size.to_string(),
                row.rows_written.to_string(),
                row.rows_quarantined.to_string(),
                format!("{:.2}", row.write_time),
                row.severity.to_string(),
                row.cause.unwrap_or_default(),
            ]);
            if page.len() == PAGE_LINES {
                write_table(out, &header, &page)?;
                page.clear();
            }
        }
    }
    if !json && !page.is_empty() {
        write_table(out, &header, &page)?;
    }
    if !json && lines == 0 {
        writeln!(out, "the log is empty")?;
    }
    Ok(ALL_WRITTEN)
}
