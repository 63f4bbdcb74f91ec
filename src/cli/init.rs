//! `ddu init`: the folders and the lakehouse; with switches, a clean slate. It asks before it removes.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};

use super::args::InitArgs;
use super::{ALL_WRITTEN, FAILED, WRONG_USAGE, now};
use crate::config::Settings;
use crate::io::delta::Lakehouse;
use crate::io::durable;
use crate::io::spool::Spool;

/// Makes what is missing, after removing what was asked for.
pub(super) async fn run(settings: Settings, args: &InitArgs) -> anyhow::Result<u8> {
    let spool = Spool::at(&settings.dropbox);
    spool.prepare()?;
    let lake = Lakehouse::open(&settings.lakehouse, &settings.database, &settings.quarantine_database)
        .await
        .context("the lakehouse cannot be opened")?;
    let _dropbox = spool.lock(now())?;
    let _lakehouse = lake.lock(now())?;
    let mut removals = Vec::new();
    if args.drop_database {
        removals.extend(lake.would_drop().await?);
    }
    if args.reset_checkpoints {
        removals.extend(checkpoints(&settings.checkpoints)?);
    }
    if args.drop_database && !spool.jobs()?.is_empty() {
        bail!(
            "{} jobs are in progress in {}; finish them with `ddu run --once` before their tables are dropped",
            spool.jobs()?.len(),
            spool.work().display()
        );
    }
    if !removals.is_empty() {
        eprintln!("this removes for good:");
        for removal in &removals {
            eprintln!("  {removal}");
        }
        if !args.yes {
            if !io::stdin().is_terminal() {
                eprintln!("nothing was removed; say --yes to do it without being asked");
                return Ok(WRONG_USAGE);
            }
            eprint!("remove it? [y/N] ");
            io::stderr().flush()?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                eprintln!("nothing was removed");
                return Ok(FAILED);
            }
        }
    }
    if args.drop_database {
        lake.drop_databases().await.context("the databases cannot be dropped")?;
        spool.forget_database(&settings.database)?;
    }
    if args.reset_checkpoints {
        durable::remove_dir_all(&settings.checkpoints)?;
    }
    durable::create_dir_all(&settings.checkpoints)?;
    eprintln!("ready: drop workbooks into {}", settings.dropbox.display());
    Ok(ALL_WRITTEN)
}

/// The streams whose progress would be forgotten.
fn checkpoints(folder: &Path) -> anyhow::Result<Vec<String>> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in listing {
        found.push(entry?.path().display().to_string());
    }
    found.sort();
    Ok(found)
}
