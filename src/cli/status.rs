//! `ddu status`: tables with their four numbers, jobs, and what the files in the dropbox wait for.

use std::io::Write;

use super::books::Books;
use super::{ALL_WRITTEN, write_table};
use crate::config::Settings;
use crate::daemon::status::{board_of, report};
use crate::pipeline::report::StatusReport;

/// Prints the report.
pub(super) async fn run(settings: &Settings, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let books = Books::open(settings)?;
    let board = board_of(&books.spool)?;
    let report = report(&books.spool, &books.lake, board).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write_report(&report, out)?;
    }
    Ok(ALL_WRITTEN)
}

/// The report as a person reads it.
pub(super) fn write_report(report: &StatusReport, out: &mut dyn Write) -> std::io::Result<()> {
    if report.tables.is_empty() {
        writeln!(out, "no table is staged yet")?;
    } else {
        let header = ["TABLE", "ENTITY", "RECORDS", "WRITTEN", "QUARANTINED", "PENDING", "STATUS"];
        let rows: Vec<Vec<String>> = report
            .tables
            .iter()
            .map(|table| {
                vec![
                    table.table_name.to_string(),
                    table.target_entity.clone(),
                    table.records.to_string(),
                    table.written.to_string(),
                    table.quarantined.to_string(),
                    table.pending.to_string(),
                    table.status.clone(),
                ]
            })
            .collect();
        write_table(out, &header, &rows)?;
    }
    for table in report.unaccounted() {
        writeln!(out, "warning: the numbers of {} do not add up; please report this", table.table_name)?;
    }
    for sentence in &report.target {
        writeln!(out, "warning: {sentence}")?;
    }
    if !report.jobs.is_empty() {
        writeln!(out)?;
        let line = |waiting: &Option<String>| waiting.clone().unwrap_or_else(|| "-".to_owned());
        let jobs = report.jobs.iter().map(|job| {
            vec![job.job.to_string(), job.workbook.clone(), job.state.clone(), line(&job.waiting_for)]
        });
        write_table(out, &["JOB", "WORKBOOK", "STATE", "WAITING FOR"], &jobs.collect::<Vec<_>>())?;
    }
    if !report.dropbox.is_empty() {
        writeln!(out)?;
        let files = report.dropbox.iter().map(|file| {
            vec![
                file.file.clone(),
                file.state.clone(),
                file.waiting_for.clone().unwrap_or_else(|| "its turn".to_owned()),
            ]
        });
        write_table(out, &["FILE", "STATE", "WAITING FOR"], &files.collect::<Vec<_>>())?;
    }
    Ok(())
}
