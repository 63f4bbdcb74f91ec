//! `ddu show JOB`: everything that one job's folder tells, in progress or archived.

use std::collections::HashMap;
use std::io::Write;

use anyhow::bail;
use serde_json::json;

use super::{ALL_WRITTEN, write_table};
use crate::config::Settings;
use crate::domain::job::JobId;
use crate::io::journal::Journal;
use crate::io::spool::Spool;
use crate::io::spool::job_dir::JobRecord;

/// Reasons that are listed; the others are counted.
const REASONS_SHOWN: usize = 20;

/// Prints the job.
pub(super) fn run(settings: &Settings, job: &JobId, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let spool = Spool::at(&settings.dropbox);
    for (place, dir) in [("in progress", spool.job_dir(job)), ("archived", spool.archive_dir(job))] {
        let Some(record) = dir.record()? else { continue };
        let journal = dir.journal_for_reading(&record)?;
        if json {
            writeln!(out, "{}", as_json(place, &record, &journal)?)?;
        } else {
            write_job(place, &dir.path().display().to_string(), &record, &journal, out)?;
        }
        return Ok(ALL_WRITTEN);
    }
    if let Some(undo) = spool.undo_archived(job)? {
        let folder = spool.archive_dir(job).path().display().to_string();
        if json {
            writeln!(
                out,
                "{}",
                json!({"undo": undo.undo, "undoes": undo.undoes, "begun_at": undo.begun_at, "place": "archived", "folder": folder})
            )?;
        } else {
            writeln!(out, "undo      {} of job {}", undo.undo, undo.undoes)?;
            writeln!(out, "begun     {}", undo.begun_at.strftime("%Y-%m-%d %H:%M:%S UTC"))?;
            writeln!(out, "folder    {folder}; its journal names every row that was deleted or stayed")?;
        }
        return Ok(ALL_WRITTEN);
    }
    bail!("there is no job {job}; `ddu status` and `ddu log` name jobs by their ids")
}

fn as_json(place: &str, record: &JobRecord, journal: &Journal) -> anyhow::Result<serde_json::Value> {
    let mut parts = Vec::new();
    for (part, load) in (0..).zip(&record.loads) {
        let ledger = journal.part(part);
        parts.push(json!({
            "table_name": load.table_name,
            "settings": load,
            "staged": ledger.staged,
            "batches": ledger.batches,
            "written": ledger.written_rows,
            "refused": ledger.held_rows + ledger.refused_rows,
            "pending": ledger.pending_rows(),
            "in_doubt": ledger.in_doubt(),
            "reasons": reasons(journal, part)?,
        }));
    }
    Ok(json!({
        "job": record.job, "place": place, "workbook": record.workbook, "claimed_at": record.claimed_at,
        "sha256": record.sha256, "bytes": record.bytes, "target": record.target, "sidecar": record.sidecar,
        "heals": record.heals, "retry": record.retry, "state": journal.state().as_str(), "parts": parts,
        "set_aside": journal.set_aside().map(|(_, reason)| reason), "returned": journal.given_back(),
    }))
}

fn write_job(
    place: &str,
    folder: &str,
    record: &JobRecord,
    journal: &Journal,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(out, "job       {} ({place}, {})", record.job, journal.state().as_str())?;
    writeln!(out, "workbook  {} ({} bytes, sha256 {})", record.workbook, record.bytes, record.sha256)?;
    writeln!(out, "claimed   {}", record.claimed_at.strftime("%Y-%m-%d %H:%M:%S UTC"))?;
    writeln!(out, "settings  {}", record.sidecar.as_ref().map_or("defaults", |origin| origin.file.as_str()))?;
    if let Some(retry) = &record.retry {
        let entities = retry.entities.join(", ");
        writeln!(out, "again     made by ddu, because job {} wrote {entities}", retry.landed)?;
    } else if let Some(healed) = &record.heals {
        writeln!(out, "mends     rows that job {healed} gave back")?;
    }
    writeln!(out, "folder    {folder}")?;
    if let Some((_, reason)) = journal.set_aside() {
        writeln!(out, "set aside {reason}")?;
    }
    for (part, load) in (0..).zip(&record.loads) {
        let ledger = journal.part(part);
        writeln!(out, "\ntable {} → {} ({})", load.table_name, load.target_entity, load.mode.as_str())?;
        if let Some(staged) = &ledger.staged {
            writeln!(
                out,
                "  sheet `{}`, {} rows, table version {}",
                staged.sheet, staged.rows, staged.version
            )?;
            for note in &staged.notes {
                writeln!(out, "  {note}")?;
            }
        }
        let refused = ledger.held_rows + ledger.refused_rows;
        writeln!(
            out,
            "  {} written, {refused} refused, {} pending",
            ledger.written_rows,
            ledger.pending_rows()
        )?;
        let in_doubt = ledger.in_doubt();
        if !in_doubt.is_empty() {
            writeln!(
                out,
                "  batches sent and not heard yet: {in_doubt:?}; they are sent again, which is harmless"
            )?;
        }
        let reasons = reasons(journal, part)?;
        if !reasons.is_empty() {
            let rows: Vec<Vec<String>> = reasons
                .iter()
                .take(REASONS_SHOWN)
                .map(|(reason, count)| vec![count.to_string(), reason.clone()])
                .collect();
            write_table(out, &["ROWS", "REASON"], &rows)?;
            if reasons.len() > REASONS_SHOWN {
                writeln!(
                    out,
                    "  and {} other reasons; `ddu quarantine show {}` lists every row",
                    reasons.len() - REASONS_SHOWN,
                    load.table_name
                )?;
            }
        }
    }
    if let Some(file) = journal.given_back() {
        writeln!(out, "\nreturned/{file}")?;
    }
    Ok(())
}

/// Why rows were refused, most frequent first.
fn reasons(journal: &Journal, part: u16) -> anyhow::Result<Vec<(String, u64)>> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for batch in 0..journal.part(part).batches.unwrap_or(0) {
        let heard = journal.heard(part, batch)?.map(|heard| heard.refused).unwrap_or_default();
        for row in journal.held(part, batch)?.into_iter().chain(heard) {
            if let Some(first) = row.refusals.into_iter().next() {
                *counts.entry(first.error).or_default() += 1;
            }
        }
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(counts)
}
