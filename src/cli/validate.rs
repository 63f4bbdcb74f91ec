//! `ddu validate`: what was written, counted and read back from the target; the outcome goes into the state table.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use super::args::ValidateArgs;
use super::{ALL_WRITTEN, ROWS_LEFT, counted, now, this_program, write_table};
use crate::config::Settings;
use crate::daemon::assembly::{Access, assemble};
use crate::domain::near::did_you_mean;
use crate::domain::proof::Proof;
use crate::io::delta::StateRow;
use crate::pipeline::Pipeline;
use crate::pipeline::prove::HowMany;

/// Departures that are shown to a person; `--json` and the sign-off have more.
const DEPARTURES_SHOWN: usize = 50;

/// Checks one table, or every one.
pub(super) async fn run(settings: Settings, args: &ValidateArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let assembly = assemble(settings, this_program()?, now, Access::Look).await?;
    let pipeline = &assembly.pipeline;
    let states = pipeline.lake.states().await?;
    let wanted: Vec<&StateRow> = match &args.table {
        None => states.iter().collect(),
        Some(table) => states.iter().filter(|state| state.table_name == table.as_str()).collect(),
    };
    if let (true, Some(table)) = (wanted.is_empty(), &args.table) {
        let hint = did_you_mean(table.as_str(), states.iter().map(|state| state.table_name.as_str()));
        bail!("there is no table {table}{hint}; `ddu status` lists the tables");
    }
    let how = if args.all { HowMany::All } else { HowMany::Sample(args.sample as usize) };
    let mut all_hold = true;
    for (number, state) in wanted.into_iter().enumerate() {
        let proof = pipeline.prove_table(state, how).await?;
        all_hold &= proof.holds();
        let marked = pipeline.lake.mark_validated(state, proof.holds(), &proof.sentence()).await?;
        let file = signed_off(pipeline, args, &proof)?;
        if args.json {
            let mut object = serde_json::to_value(&proof)?;
            object["validated"] = json!(proof.holds() && marked);
            object["signoff"] = json!(file);
            writeln!(out, "{object}")?;
        } else {
            if number > 0 {
                writeln!(out)?;
            }
            write_proof(&proof, marked, out)?;
            if let Some(file) = file {
                writeln!(out, "signed off in {}", file.display())?;
            }
        }
    }
    if states.is_empty() && !args.json {
        writeln!(out, "nothing was loaded yet")?;
    }
    assembly.close().await;
    Ok(if all_hold { ALL_WRITTEN } else { ROWS_LEFT })
}

fn signed_off(pipeline: &Pipeline, args: &ValidateArgs, proof: &Proof) -> anyhow::Result<Option<PathBuf>> {
    match &args.output {
        Some(folder) => Ok(Some(pipeline.sign_off_table(folder, proof)?)),
        None => Ok(None),
    }
}

fn write_proof(proof: &Proof, marked: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let verdict = match (marked, proof.holds()) {
        (false, _) => "changed while it was checked, so nothing was noted; check it again",
        (true, true) => "validated",
        (true, false) => "not validated",
    };
    writeln!(out, "{} → {}: {verdict}", proof.table_name, proof.target_entity)?;
    let rows: Vec<Vec<String>> = proof
        .checks
        .iter()
        .map(|check| vec![check.what.to_owned(), check.finding.as_str().to_owned(), check.said.clone()])
        .collect();
    write_table(out, &["CHECK", "RESULT", "WHAT WAS FOUND"], &rows)?;
    if proof.departures.is_empty() {
        return Ok(());
    }
    let row = |departure: &crate::domain::proof::Departure| {
        vec![
            departure.row.to_string(),
            departure.job.clone(),
            departure.kind.as_str().to_owned(),
            departure.column.clone(),
            departure.sent.clone(),
            departure.found.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = proof.departures.iter().take(DEPARTURES_SHOWN).map(row).collect();
    writeln!(out)?;
    write_table(out, &["ROW", "JOB", "WHAT", "COLUMN", "SENT", "FOUND"], &rows)?;
    let more = proof.departures.len() as u64 + proof.more_departures - rows.len() as u64;
    if more > 0 {
        let more = counted(more, "difference", "differences");
        writeln!(out, "and {more} more; --json or a sign-off (-o DIR) has them")?;
    }
    Ok(())
}
