//! `ddu quarantine`: refused rows counted, shown, or exported as a workbook to fix.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value as Json, json};

use super::args::QuarantineCommand;
use super::books::Books;
use super::{ALL_WRITTEN, counted, now, this_program, write_table};
use crate::config::{Settings, default_loads};
use crate::daemon::assembly::{Access, assemble};
use crate::domain::job::JobId;
use crate::domain::settings::LoadSettings;
use crate::domain::table::TableName;
use crate::domain::value::Value;

/// Rows that are shown to a person; `--json` and the export have all of them.
const ROWS_SHOWN: usize = 200;

/// Does what was asked.
pub(super) async fn run(
    settings: Settings,
    command: QuarantineCommand,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    match command {
        QuarantineCommand::List { json } => list(&settings, json, out).await,
        QuarantineCommand::Show { table, json } => show(&settings, &table, json, out).await,
        QuarantineCommand::Export { table, output } => export(settings, &table, &output, out).await,
    }
}

async fn list(settings: &Settings, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let books = Books::open(settings)?;
    let mut rows = Vec::new();
    for table in books.lake.quarantine_tables().await? {
        let count = books.lake.quarantine_count(&table).await?;
        if as_json {
            writeln!(out, "{}", json!({"table_name": table, "quarantined": count}))?;
        } else if count > 0 {
            rows.push(vec![table.to_string(), count.to_string()]);
        }
    }
    if !as_json && rows.is_empty() {
        writeln!(out, "no row is in quarantine")?;
    } else if !as_json {
        write_table(out, &["TABLE", "ROWS"], &rows)?;
    }
    Ok(ALL_WRITTEN)
}

async fn show(
    settings: &Settings,
    table: &TableName,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let books = Books::open(settings)?;
    let mut reader = books.lake.quarantine_rows(table, None).await?;
    let columns = reader.columns().to_vec();
    let (mut shown, mut count) = (Vec::new(), 0u64);
    while let Some(rows) = reader.next().await? {
        for row in rows {
            count += 1;
            let first = row.refusals.first();
            if as_json {
                let mut object = Map::new();
                object.insert("_ddu_row_id".into(), json!(row.row.id.to_string()));
                object.insert("_ddu_job".into(), json!(row.row.job));
                object.insert("_ddu_sheet".into(), json!(row.row.sheet));
                object.insert("_ddu_row".into(), json!(row.row.number));
                for (column, value) in columns.iter().zip(&row.row.values) {
                    object.insert(column.name.clone(), as_json_value(value));
                }
                object.insert("_ddu_error".into(), json!(first.map(|refusal| &refusal.error)));
                object.insert("_ddu_cause".into(), json!(first.map(|refusal| &refusal.cause)));
                object.insert("_ddu_column".into(), json!(first.and_then(|refusal| refusal.column.as_ref())));
                object.insert("_ddu_attempt".into(), json!(row.attempt));
                object.insert("_ddu_time".into(), json!(row.time));
                writeln!(out, "{}", Json::Object(object))?;
            } else if shown.len() < ROWS_SHOWN {
                for refusal in &row.refusals {
                    shown.push(vec![
                        row.row.number.to_string(),
                        row.row.job.clone(),
                        refusal.column.clone().unwrap_or_default(),
                        refusal.cause.clone(),
                        refusal.advice.clone(),
                    ]);
                }
            }
        }
    }
    if !as_json && count == 0 {
        writeln!(out, "no row of {table} is in quarantine")?;
    } else if !as_json {
        write_table(out, &["ROW", "JOB", "COLUMN", "WHAT IS WRONG", "WHAT TO DO"], &shown)?;
        if shown.len() >= ROWS_SHOWN {
            writeln!(
                out,
                "{count} rows in all; --json or `ddu quarantine export {table} -o F.xlsx` has every one"
            )?;
        }
    }
    Ok(ALL_WRITTEN)
}

fn as_json_value(value: &Value) -> Json {
    match value {
        Value::Blank => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Number(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        other => json!(other.to_text()),
    }
}

async fn export(
    settings: Settings,
    table: &TableName,
    output: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let assembly = assemble(settings, this_program()?, now, Access::Look).await?;
    let pipeline = &assembly.pipeline;
    if pipeline.lake.quarantine_count(table).await? == 0 {
        bail!("no row of {table} is in quarantine; `ddu quarantine list` names the tables that have some");
    }
    let mut rows = pipeline.lake.quarantine_rows(table, None).await?;
    let first = rows.next().await?.and_then(|rows| rows.into_iter().next());
    let job = first.context("the quarantine was emptied meanwhile")?.row.job;
    let job = JobId::try_from(job).map_err(anyhow::Error::msg)?;
    let load = match load_of(pipeline, &job, table)? {
        Some(load) => load,
        None => {
            let mut load = default_loads(&format!("{table}.xlsx"), &pipeline.settings)?.swap_remove(0);
            let state =
                pipeline.lake.states().await?.into_iter().find(|state| state.table_name == table.as_str());
            if let Some(state) = state {
                load.target_entity = state.target_entity;
            }
            load
        }
    };
    let count = pipeline.export_quarantine(&job, &load, output).await?;
    writeln!(
        out,
        "{} written to {}; fix them there and drop the file into the dropbox",
        counted(count, "row is", "rows are"),
        output.display()
    )?;
    assembly.close().await;
    Ok(ALL_WRITTEN)
}

/// The settings that a job loaded the table with, from its folder.
fn load_of(
    pipeline: &crate::pipeline::Pipeline,
    job: &JobId,
    table: &TableName,
) -> anyhow::Result<Option<LoadSettings>> {
    for dir in [pipeline.spool.archive_dir(job), pipeline.spool.job_dir(job)] {
        if let Some(record) = dir.record()? {
            return Ok(record.loads.into_iter().find(|load| load.table_name == *table));
        }
    }
    Ok(None)
}
