//! `ddu undo`: takes back what a job created. It shows what it would do and asks first.

use std::io::{self, BufRead, IsTerminal, Write};

use super::args::UndoArgs;
use super::{ALL_WRITTEN, FAILED, ROWS_LEFT, WRONG_USAGE, counted, now, this_program, write_table};
use crate::config::Settings;
use crate::daemon::assembly::{Access, Assembly, assemble};
use crate::io::spool::Spool;
use crate::pipeline::undo::UndoneTable;

/// Records that stay and are listed one by one; the others are in the undo's journal.
const LEFT_SHOWN: usize = 50;

/// Undoes the job.
pub(super) async fn run(settings: Settings, args: &UndoArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let spool = Spool::at(&settings.dropbox);
    spool.prepare()?;
    // Nobody else may write while rows leave; the error names the process that does.
    let _dropbox = spool.lock(now())?;
    let assembly = assemble(settings, this_program()?, now, Access::Work).await?;
    let _lakehouse = assembly.pipeline.lake.lock(now())?;
    let done = undo(&assembly, args, out).await;
    assembly.close().await;
    done
}

async fn undo(assembly: &Assembly, args: &UndoArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let pipeline = &assembly.pipeline;
    let job = pipeline.undoable(&args.job)?;
    if pipeline.spool.undo_begun(&args.job)?.is_some() {
        eprintln!("an undo of this job was cut short; it goes on");
    } else {
        let preview = pipeline.undo_preview(&job).await?;
        if !args.json {
            write_tables("WOULD DELETE", &preview, out)?;
            write_left(&preview, out)?;
            out.flush()?;
        }
        if preview.iter().all(|table| table.deleted == 0 && table.quarantined == 0) {
            eprintln!("there is nothing to undo");
            return Ok(code_of(&preview));
        }
        let records = counted(preview.iter().map(|table| table.deleted).sum(), "record", "records");
        if !args.yes {
            if !io::stdin().is_terminal() {
                eprintln!("nothing was deleted; say --yes to delete {records} for good without being asked");
                return Ok(WRONG_USAGE);
            }
            eprint!("delete {records} in {} for good? [y/N] ", pipeline.dynamics.target_id());
            io::stderr().flush()?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                eprintln!("nothing was deleted");
                return Ok(FAILED);
            }
        }
    }
    let undo = pipeline.undo_begin(&job)?;
    let (tables, folder) = pipeline.undo(&job, undo).await?;
    if args.json {
        for table in &tables {
            writeln!(out, "{}", serde_json::to_string(table)?)?;
        }
    } else {
        writeln!(out)?;
        write_tables("DELETED", &tables, out)?;
        write_left(&tables, out)?;
        writeln!(out, "evidence in {}", folder.display())?;
    }
    Ok(code_of(&tables))
}

fn code_of(tables: &[UndoneTable]) -> u8 {
    if tables.iter().all(|table| table.left.is_empty()) { ALL_WRITTEN } else { ROWS_LEFT }
}

fn write_tables(deleted: &str, tables: &[UndoneTable], out: &mut dyn Write) -> io::Result<()> {
    let row = |table: &UndoneTable| {
        vec![
            table.table_name.to_string(),
            table.target_entity.clone(),
            table.deleted.to_string(),
            table.left.len().to_string(),
            table.updated.to_string(),
            table.quarantined.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = tables.iter().map(row).collect();
    write_table(out, &["TABLE", "ENTITY", deleted, "LEFT", "ONLY UPDATED", "LEAVE QUARANTINE"], &rows)
}

fn write_left(tables: &[UndoneTable], out: &mut dyn Write) -> io::Result<()> {
    let left: Vec<Vec<String>> = tables
        .iter()
        .flat_map(|table| {
            let name = table.table_name.to_string();
            table.left.iter().map(move |left| vec![name.clone(), left.record.clone(), left.reason.clone()])
        })
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    write_table(out, &["TABLE", "RECORD", "WHY IT STAYS"], &left[..left.len().min(LEFT_SHOWN)])?;
    if left.len() > LEFT_SHOWN {
        writeln!(out, "and {} more; the undo's journal and --json name each", left.len() - LEFT_SHOWN)?;
    }
    Ok(())
}
