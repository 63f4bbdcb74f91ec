//! `ddu doctor`: looks at everything that the daemon needs and says what to mend.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

use super::{ALL_WRITTEN, FAILED, WRONG_USAGE, write_table};
use crate::config::Settings;
use crate::daemon::assembly::Access;
use crate::daemon::target::OpenTarget;
use crate::io::delta::{LakeError, Lakehouse};
use crate::io::spool::Spool;
use crate::io::watch::{FolderWatch, Watching};
use crate::io::workbook;

/// Free space below which large workbooks may not find room for their staging, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// What one look found.
struct Finding {
    what: &'static str,
    good: bool,
    found: String,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Finding { what, good: true, found: found.into() }
    }

    fn bad(what: &'static str, found: impl Into<String>) -> Self {
        Finding { what, good: false, found: found.into() }
    }
}

/// Looks at everything; the exit code is 0 where nothing is in the way.
pub(super) async fn run(config: Option<&Path>, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (findings, code) = match Settings::find(config).and_then(|path| Settings::load(&path)) {
        Err(faults) => {
            let bad = |fault: &crate::config::Fault| Finding::bad("configuration", fault.to_string());
            (faults.faults.iter().map(bad).collect(), WRONG_USAGE)
        }
        Ok(settings) => {
            let findings = look_around(&settings).await;
            let code = if findings.iter().all(|finding| finding.good) { ALL_WRITTEN } else { FAILED };
            (findings, code)
        }
    };
    if as_json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| json!({"what": finding.what, "good": finding.good, "found": finding.found}))
            .collect();
        writeln!(out, "{}", json!({ "good": code == ALL_WRITTEN, "findings": list }))?;
    } else {
        let rows: Vec<Vec<String>> = findings
            .into_iter()
            .map(|finding| {
                let mark = if finding.good { "good" } else { "BAD" };
                vec![finding.what.to_owned(), mark.to_owned(), finding.found]
            })
            .collect();
        write_table(out, &["WHAT", "", "FOUND"], &rows)?;
    }
    Ok(code)
}

async fn look_around(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![Finding::good("configuration", settings.source.display().to_string())];
    let around = settings.look_around();
    findings.extend(around.faults.iter().map(|fault| Finding::bad("configuration", fault.to_string())));
    findings.extend(around.notes.iter().map(|note| Finding::good("configuration", note.to_string())));
    findings.extend(dropbox(&Spool::at(&settings.dropbox)));
    findings.push(reader(&Spool::at(&settings.dropbox)).await);
    findings.push(lakehouse(settings).await);
    if let Some(folder) = settings.lakehouse_dir() {
        findings.extend(free_space("lakehouse disk", folder));
    }
    findings.extend(target(settings).await);
    findings
}

/// Has the process that reads workbooks try what a hostile one might make it do.
async fn reader(spool: &Spool) -> Finding {
    let scratch = if spool.work().is_dir() { spool.work() } else { std::env::temp_dir() };
    let walls = match super::this_program() {
        Ok(program) => workbook::try_walls(&program, &scratch).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match walls {
        Ok(walls) if walls.gaps.is_empty() => Finding::good("reader", walls.in_words()),
        Ok(walls) => Finding::bad("reader", walls.in_words()),
        Err(error) => Finding::bad("reader", format!("{error:#}")),
    }
}

/// Tries the lakehouse as a commit would; one that is not there yet is not made for it.
async fn lakehouse(settings: &Settings) -> Finding {
    if settings.lakehouse_dir().is_some_and(|folder| !folder.exists()) {
        return Finding::good("lakehouse", format!("{}, made when it is first used", settings.lakehouse));
    }
    let found = async {
        let (root, database, quarantine) =
            (&settings.lakehouse, &settings.database, &settings.quarantine_database);
        let lake = Lakehouse::open(root, database, quarantine).await?;
        let tables = lake.tables().await?.len();
        let whose = match lake.holder() {
            Some(holder) => format!("; {holder} works on it"),
            None if lake.is_shared_by_nature() => {
                "; an object store cannot be locked, see to it that no other ddu writes to it".to_owned()
            }
            None => String::new(),
        };
        Ok::<_, LakeError>(format!("{root}, {tables} staged tables{whose}"))
    };
    match found.await {
        Ok(found) => Finding::good("lakehouse", found),
        Err(error) => Finding::bad("lakehouse", format!("{:#}", anyhow::Error::from(error))),
    }
}

fn dropbox(spool: &Spool) -> Vec<Finding> {
    let mut findings = Vec::new();
    match spool.list() {
        Ok(entries) => {
            findings.push(Finding::good(
                "dropbox",
                format!("{}, {} names", spool.root().display(), entries.len()),
            ));
        }
        Err(error) => {
            let text = format!("{:#}; make it, or let `ddu init` make it", anyhow::Error::from(error));
            findings.push(Finding::bad("dropbox", text));
            return findings;
        }
    }
    if spool.work().is_dir() {
        let probe = spool.work().join("doctor");
        findings.push(
            match crate::io::durable::replace(&probe, b"").and_then(|()| crate::io::durable::remove(&probe)) {
                Ok(()) => Finding::good("dropbox rights", "files can be made and removed"),
                Err(error) => Finding::bad("dropbox rights", format!("{error}: {}", error.source)),
            },
        );
    }
    let (watch, watching) = FolderWatch::start(spool.root(), Arc::new(Notify::new()));
    drop(watch);
    findings.push(match watching {
        Watching::Events => Finding::good("dropbox events", "the kernel tells of new files"),
        Watching::Share(kind) => Finding::good("dropbox events", on_a_share(kind)),
        Watching::PollingOnly(why) => {
            Finding::bad("dropbox events", format!("{why}; until then files are found by polling"))
        }
        Watching::Gone => Finding::bad("dropbox events", "the dropbox went away meanwhile"),
    });
    findings.push(match spool.holder() {
        Some(holder) => Finding::good("daemon", format!("{holder} works on this dropbox")),
        None => Finding::good("daemon", "none works on this dropbox now"),
    });
    findings.extend(free_space("dropbox disk", spool.root()));
    findings
}

fn on_a_share(kind: &str) -> String {
    format!(
        "a share ({kind}): what other machines drop comes without events and is found by polling (`poll_ms`)"
    )
}

fn free_space(what: &'static str, folder: &Path) -> Option<Finding> {
    let exists = folder.ancestors().find(|dir| dir.exists())?;
    let free = crate::io::durable::free_bytes(exists)?;
    let text = format!("{} MB free", free / 1_000_000);
    Some(if free >= FREE_BYTES_MIN {
        Finding::good(what, text)
    } else {
        Finding::bad(what, format!("{text}; at least {} MB should be", FREE_BYTES_MIN / 1_000_000))
    })
}

/// Asks the target who we are, as each application user.
async fn target(settings: &Settings) -> Vec<Finding> {
    let target = match OpenTarget::open(settings, super::now, Access::Look).await {
        Ok(target) => target,
        Err(error) => return vec![Finding::bad("target", format!("{error:#}"))],
    };
    let users = target.dynamics.who_are_we().await;
    let several = users.len() > 1;
    let findings = users.into_iter().map(|(client_id, answer)| {
        let as_whom = if several { format!(" to {client_id}") } else { String::new() };
        match answer {
            Ok(greeting) => Finding::good("target", format!("{} answers{as_whom}; {greeting}", target.name)),
            Err(fault) => Finding::bad("target", format!("{}{as_whom}: {fault}", target.name)),
        }
    });
    let findings = findings.collect();
    target.close().await;
    findings
}
