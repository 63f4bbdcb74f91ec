//! `ddu demo`: the whole journey on example workbooks, against the embedded sandbox, in a folder of its own.

pub mod workbooks;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::args::DemoArgs;
use super::books::Books;
use super::{ALL_WRITTEN, FAILED, everything, now, status, this_program, write_table};
use crate::config::Settings;
use crate::daemon::run::run as run_pipeline;
use crate::daemon::status::{board_of, report};
use crate::io::durable;
use workbooks::{demo_files, fixed};

/// Quiet period of the demo's files: we write them ourselves, nobody should wait.
const SETTLE_MS: u64 = 300;

/// Shows the journey, or goes on with it.
pub(super) async fn run(args: &DemoArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let dir = &args.dir;
    let config = dir.join("config.json");
    match (args.fix, config.exists()) {
        (true, true) => fix(dir, &config, out).await,
        (true, false) => {
            bail!("{} holds no demo yet; begin one with `{}`", dir.display(), command(dir, false))
        }
        (false, true) => bail!(
            "{} holds a demo already; go on with `{}`, or give another folder with --dir",
            dir.display(),
            command(dir, true)
        ),
        (false, false) => begin(dir, &config, out).await,
    }
}

async fn begin(dir: &Path, config: &Path, out: &mut dyn Write) -> anyhow::Result<u8> {
    let settings = json!({
        "dropbox": "dropbox", "lakehouse": "lakehouse", "target": {"kind": "sandbox"}, "listen": null,
        "settle_ms": SETTLE_MS, "sidecar_wait_ms": SETTLE_MS,
    });
    durable::create_dir_all(&dir.join("dropbox"))?;
    durable::replace(config, serde_json::to_string_pretty(&settings)?.as_bytes())?;
    let dropbox = dir.join("dropbox");
    writeln!(out, "Dropping into {}:", dropbox.display())?;
    for file in demo_files()? {
        durable::replace(&dropbox.join(file.name), &file.bytes)?;
        writeln!(out, "  {}", file.name)?;
    }
    writeln!(out, "\nWatching it go, against a rehearsal server on this machine:")?;
    journey(config).await?;
    let returned = returned(dir)?;
    tell_tables(config, out).await?;
    tell_refused(config, out).await?;
    writeln!(out, "\nThe rows that were refused came back as workbooks to fix:")?;
    for path in &returned {
        writeln!(out, "  {}", path.display())?;
    }
    writeln!(out, "\nWhere to look:")?;
    for (what, place) in [
        ("what happened to each file", "dropbox/status"),
        ("the workbooks that were done", "dropbox/archive"),
        ("the Delta tables", "lakehouse/migration"),
        ("the rows in quarantine", "lakehouse/quarantine"),
    ] {
        writeln!(out, "  {:<30} {}", what, dir.join(place).display())?;
    }
    writeln!(out, "\nWhat to try next:")?;
    writeln!(out, "  {}", command(dir, true))?;
    writeln!(
        out,
        "      mends the returned workbooks as a person would, drops them, and shows how they heal"
    )?;
    writeln!(out, "  or open one, correct the coloured cells, save it into {}, and", dropbox.display())?;
    writeln!(out, "  {} --config {} run --once", program(), config.display())?;
    Ok(ALL_WRITTEN)
}

async fn fix(dir: &Path, config: &Path, out: &mut dyn Write) -> anyhow::Result<u8> {
    let returned = returned(dir)?;
    if returned.is_empty() {
        writeln!(out, "Nothing is left to fix in {}.", dir.join("dropbox/returned").display())?;
        return Ok(ALL_WRITTEN);
    }
    for path in &returned {
        let mended = fixed(path).with_context(|| format!("{} cannot be mended", path.display()))?;
        writeln!(out, "Fixing {}:", path.display())?;
        let rows: Vec<Vec<String>> = mended
            .cells
            .iter()
            .map(|cell| {
                vec![cell.row.to_string(), cell.header.to_owned(), short(&cell.from), short(&cell.to)]
            })
            .collect();
        write_table(out, &["  ROW", "COLUMN", "WAS", "IS NOW"], &rows)?;
        let name = path.file_name().context("a returned workbook has a name")?;
        durable::replace(&dir.join("dropbox").join(name), &mended.bytes)?;
        // The demo plays the person who moves the workbook back into the dropbox.
        durable::remove(path)?;
    }
    writeln!(out, "\nDropping them again:")?;
    journey(config).await?;
    tell_tables(config, out).await?;
    let left = self::returned(dir)?;
    if left.is_empty() {
        writeln!(
            out,
            "\nEvery row is in Dynamics now. `records` did not grow: each fixed row took the place of the refused one."
        )?;
        return Ok(ALL_WRITTEN);
    }
    tell_refused(config, out).await?;
    for path in &left {
        writeln!(out, "still to fix: {}", path.display())?;
    }
    Ok(FAILED)
}

async fn journey(config: &Path) -> anyhow::Result<()> {
    let end = run_pipeline(Settings::load(config)?, this_program()?, now, everything()).await?;
    if end.halted + end.held > 0 {
        bail!(
            "{} jobs and {} files wait for something; `{} --config {} status` says for what",
            end.halted,
            end.held,
            program(),
            config.display()
        );
    }
    Ok(())
}

async fn tell_tables(config: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let books = Books::open(&Settings::load(config)?)?;
    let report = report(&books.spool, &books.lake, board_of(&books.spool)?).await?;
    writeln!(out, "\nEvery row is accounted for:")?;
    status::write_report(&report, out)?;
    Ok(())
}

async fn tell_refused(config: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let books = Books::open(&Settings::load(config)?)?;
    let mut rows = Vec::new();
    for table in books.lake.quarantine_tables().await? {
        let mut reader = books.lake.quarantine_rows(&table, None).await?;
        while let Some(batch) = reader.next().await? {
            for refused in batch {
                let cause = refused.refusals.first().map(|refusal| short(&refusal.cause)).unwrap_or_default();
                rows.push(vec![table.to_string(), refused.row.number.to_string(), cause]);
            }
        }
    }
    if !rows.is_empty() {
        writeln!(out, "\nWhat was refused, and why:")?;
        write_table(out, &["TABLE", "ROW", "WHAT IS WRONG"], &rows)?;
    }
    out.flush()?;
    Ok(())
}

/// The workbooks that lie in `returned/`.
fn returned(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir.join("dropbox/returned"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "xlsx") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The command that begins a demo or goes on with it.
fn command(dir: &Path, fix: bool) -> String {
    let place =
        if dir == Path::new("ddu-demo") { String::new() } else { format!(" --dir {}", dir.display()) };
    format!("{} demo{place}{}", program(), if fix { " --fix" } else { "" })
}

/// The program as it was called, so that what is printed can be typed: under cargo it is on no path.
fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.as_os_str().is_empty() { "ddu".to_owned() } else { called.display().to_string() }
}

/// A text that fits a line of a table.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 90;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}
