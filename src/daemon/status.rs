//! The report of what stands where, put together from the books and the journals: beside a running daemon as well as without one.

use crate::domain::lifecycle::State;
use crate::domain::table::TableName;
use crate::io::delta::Lakehouse;
use crate::io::journal::{Journal, JournalError};
use crate::io::spool::Spool;
use crate::io::spool::entry::EntryKind;
use crate::io::spool::job_dir::JobRecord;
use crate::io::spool::names::shown;
use crate::pipeline::board::{Board, Snapshot};
use crate::pipeline::report::{FileStatus, JobStatus, StatusReport, TableStatus};

/// The report, with what a running daemon shows on its board.
///
/// # Errors
/// When the books cannot be read.
pub async fn report(spool: &Spool, lake: &Lakehouse, shown: Snapshot) -> anyhow::Result<StatusReport> {
    let open = open_jobs(spool)?;
    let mut tables: Vec<TableStatus> = Vec::new();
    for state in lake.states().await? {
        let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
        tables.push(TableStatus {
            table_name: TableName::try_from(state.table_name)?,
            target_entity: state.target_entity,
            records: count(state.records),
            written: count(state.written),
            quarantined: count(state.quarantined),
            pending: count(state.pending),
            validated: state.validated,
            status: state.status,
        });
    }
    for Open { record, journal } in &open {
        let Ok(journal) = journal else { continue };
        let (State::Staged { part } | State::Preflighted { part } | State::Migrated { part }) =
            journal.state()
        else {
            continue;
        };
        let (load, ledger) = (&record.loads[usize::from(part)], journal.part(part));
        // The books know the part's rows as pending until it is recorded; its journal knows how far they are.
        if let Some(table) = tables.iter_mut().find(|table| table.table_name == load.table_name) {
            let written = ledger.written_rows.min(table.pending);
            let refused = (ledger.refused_rows + ledger.held_rows).min(table.pending - written);
            table.written += written;
            table.quarantined += refused;
            table.pending -= written + refused;
        }
    }
    let waiting = |job: &JobRecord| {
        let on_board = shown.jobs.iter().find(|status| status.job == job.job);
        on_board.and_then(|status| status.waiting_for.clone())
    };
    let jobs = open.iter().map(|open| open.status(waiting(&open.record))).collect();
    Ok(StatusReport { tables, jobs, dropbox: shown.dropbox, target: shown.target })
}

/// What there is to show for a process that is not the daemon: the daemon's board, or the bare listing where none runs.
///
/// # Errors
/// When the dropbox cannot be listed.
pub fn board_of(spool: &Spool) -> anyhow::Result<Snapshot> {
    if spool.holder().is_some()
        && let Some(snapshot) = Board::read(spool)
    {
        return Ok(snapshot);
    }
    let nobody = Some("a running ddu: none works on this dropbox".to_owned());
    let mut dropbox = Vec::new();
    let entries = if spool.root().exists() { spool.list()? } else { Vec::new() };
    for entry in entries {
        let (state, waiting_for) = match entry.kind {
            EntryKind::Workbook | EntryKind::Sidecar(_) => ("waiting", nobody.clone()),
            EntryKind::Foreign(why) => ("ignored", Some(why.to_owned())),
            EntryKind::Owner { .. } | EntryKind::Passing => continue,
        };
        dropbox.push(FileStatus { file: shown(&entry.name), state: state.to_owned(), waiting_for });
    }
    let jobs = open_jobs(spool)?.iter().map(|open| open.status(nobody.clone())).collect();
    Ok(Snapshot { dropbox, jobs, target: Vec::new() })
}

/// A job in progress.
struct Open {
    record: JobRecord,
    /// Its journal, or why that cannot be read.
    journal: Result<Journal, String>,
}

impl Open {
    /// The line of the report; `waiting_for` is what is known of it otherwise.
    fn status(&self, waiting_for: Option<String>) -> JobStatus {
        let (state, waiting_for) = match &self.journal {
            Ok(journal) => (journal.state().as_str(), waiting_for),
            Err(error) => ("unreadable", Some(format!("the operator: {error}"))),
        };
        JobStatus {
            job: self.record.job.clone(),
            workbook: self.record.workbook.clone(),
            table_name: self.record.loads[0].table_name.clone(),
            state: state.to_owned(),
            waiting_for,
        }
    }
}

/// The jobs in progress, in the order of claims. One whose folder does not read is told in the log and left out.
fn open_jobs(spool: &Spool) -> anyhow::Result<Vec<Open>> {
    if !spool.work().is_dir() {
        return Ok(Vec::new());
    }
    let mut open = Vec::new();
    for job in spool.jobs()? {
        let dir = spool.job_dir(&job);
        let record = match dir.record() {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(job = %job, error = %error, "job cannot be shown");
                continue;
            }
        };
        match dir.journal_for_reading(&record) {
            Ok(journal) => open.push(Open { record, journal: Ok(journal) }),
            // A job may be archived, or not yet be one, while we look.
            Err(JournalError::Disk(error)) if error.is_missing() => {}
            Err(error) => open.push(Open { record, journal: Err(error.to_string()) }),
        }
    }
    open.sort_by_key(|open| open.record.seq);
    Ok(open)
}
