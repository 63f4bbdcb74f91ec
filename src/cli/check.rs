//! `ddu check FILE…`: the journey up to preflight for files anywhere, with nothing written anywhere.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::{ALL_WRITTEN, FAILED, ROWS_LEFT, now, this_program};
use crate::config::{Settings, default_loads, parse_sidecar};
use crate::daemon::assembly::{Access, Assembly, assemble};
use crate::domain::job::JobId;
use crate::domain::settings::LoadSettings;
use crate::io::spool::entry::open_dropped;
use crate::io::spool::names::shown;
use crate::pipeline::check::{CheckError, CheckedRow};

/// Checks each file with the settings that a sidecar beside it gives; a returned workbook brings its own.
pub(super) async fn run(
    settings: Settings,
    files: &[std::path::PathBuf],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let assembly = assemble(settings, this_program()?, now, Access::Look).await?;
    let mut worst = ALL_WRITTEN;
    for path in files {
        let code = check_file(&assembly, path, as_json, out).await?;
        worst = if worst == FAILED || code == FAILED { FAILED } else { worst.max(code) };
    }
    assembly.close().await;
    Ok(worst)
}

async fn check_file(
    assembly: &Assembly,
    path: &Path,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let name = path.file_name().map(shown).unwrap_or_default();
    // A person names the file, so a link is followed here.
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) => return cannot_be_read(&name, &error.to_string(), as_json, out),
    };
    let opened = || open_dropped(&real).map(|(file, _)| file);
    let file = match opened() {
        Ok(file) => file,
        Err(error) => return cannot_be_read(&name, &error.source.to_string(), as_json, out),
    };
    let brought = assembly.pipeline.brought(&name, file).await?;
    let said = match brought.returned {
        Some(_) => Ok(Vec::new()),
        None => loads_of(&assembly.pipeline.settings, path, &name),
    };
    let loads = said.map(|said| brought.loads(said));
    let loads = match loads {
        Ok(loads) => loads,
        Err(error) => {
            writeln!(out, "{}", fault(&name, &format!("{error:#}"), as_json))?;
            return Ok(FAILED);
        }
    };
    let mut code = ALL_WRITTEN;
    // No row of it is staged, so the id only has to be one.
    let job = JobId::new(now(), &[0; 32]);
    for load in &loads {
        match check_sheet(assembly, opened()?, &name, load, &job, as_json, out).await {
            Ok(sheet) => code = code.max(sheet),
            Err(error) => match error.downcast::<CheckError>() {
                Ok(CheckError::Senders(reason)) => {
                    writeln!(out, "{}", fault(&name, &reason, as_json))?;
                    return Ok(FAILED);
                }
                Ok(CheckError::Halted(halt)) => return Err(halt.into()),
                Err(other) => return Err(other),
            },
        }
    }
    Ok(code)
}

async fn check_sheet(
    assembly: &Assembly,
    file: std::fs::File,
    name: &str,
    load: &LoadSettings,
    job: &JobId,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let mut checking = assembly.pipeline.check(file, name, load, job).await?;
    while let Some(refused) = checking.next().await? {
        for CheckedRow { row, refusals } in &refused {
            for refusal in refusals {
                let at = refusal
                    .column
                    .as_ref()
                    .and_then(|name| checking.columns().iter().find(|c| c.name == *name));
                let header = at.map(|column| column.header.as_str());
                if as_json {
                    let line = json!({"file": name, "sheet": checking.sheet(), "row": row.number, "column": header,
                        "cause": refusal.cause, "advice": refusal.advice, "error": refusal.error});
                    writeln!(out, "{line}")?;
                } else {
                    let place = header.map_or(String::new(), |header| format!(", {header}"));
                    writeln!(
                        out,
                        "{name}: row {}{place}: {}; {}",
                        row.number, refusal.cause, refusal.advice
                    )?;
                }
            }
        }
    }
    let checked = checking.checked();
    if as_json {
        let line = json!({"file": name, "sheet": checking.sheet(), "table_name": load.table_name,
            "target_entity": load.target_entity, "rows": checked.rows, "refused": checked.refused, "notes": checked.notes});
        writeln!(out, "{line}")?;
    } else {
        for note in &checked.notes {
            writeln!(out, "{name}: {note}")?;
        }
        let fine = checked.rows - checked.refused;
        let (sheet, entity) = (checking.sheet(), &load.target_entity);
        writeln!(out, "{name}: sheet `{sheet}` → {entity}: {fine} of {} rows can be written", checked.rows)?;
    }
    Ok(if checked.refused > 0 { ROWS_LEFT } else { ALL_WRITTEN })
}

fn cannot_be_read(name: &str, reason: &str, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    writeln!(out, "{}", fault(name, &format!("cannot be read: {reason}"), as_json))?;
    Ok(FAILED)
}

fn fault(name: &str, reason: &str, as_json: bool) -> String {
    if as_json { json!({"file": name, "fault": reason}).to_string() } else { format!("{name}: {reason}") }
}

/// The settings for a file: its own sidecar beside it, else the defaults.
fn loads_of(settings: &Settings, path: &Path, name: &str) -> anyhow::Result<Vec<LoadSettings>> {
    let sidecar = format!("{name}.json");
    let beside = path.with_file_name(&sidecar);
    match std::fs::read(&beside) {
        Ok(bytes) => {
            let file = parse_sidecar(&sidecar, &bytes)?;
            let found = file.of(name).with_context(|| format!("{sidecar} does not speak of {name}"))?;
            Ok(found.loads(name, settings)?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(default_loads(name, settings)?),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", beside.display())),
    }
}
