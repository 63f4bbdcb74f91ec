//! The report of what stands where, put together from the books and the journals: beside a running daemon as well as without one.

use crate::domain::lifecycle::State;
use crate::domain::table::TableName;
use crate::io::delta::Lakehouse;
use crate::io::journal::Journal;
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
    for (record, journal) in &open {
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
    let jobs = open
        .iter()
        .map(|(record, journal)| JobStatus {
            job: record.job.clone(),
            workbook: record.workbook.clone(),
            table_name: record.loads[0].table_name.clone(),
            state: journal.state().as_str().to_owned(),
            waiting_for: waiting(record),
        })
        .collect();
    Ok(StatusReport { tables, jobs, dropbox: shown.dropbox })
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
    for entry in spool.list()? {
        let (state, waiting_for) = match entry.kind {
            EntryKind::Workbook | EntryKind::Sidecar(_) => ("waiting", nobody.clone()),
            EntryKind::Foreign(why) => ("ignored", Some(why.to_owned())),
            EntryKind::Owner { .. } | EntryKind::Passing => continue,
        };
        dropbox.push(FileStatus { file: shown(&entry.name), state: state.to_owned(), waiting_for });
    }
    let jobs = open_jobs(spool)?
        .into_iter()
        .map(|(record, journal)| JobStatus {
            table_name: record.loads[0].table_name.clone(),
            job: record.job,
            workbook: record.workbook,
            state: journal.state().as_str().to_owned(),
            waiting_for: nobody.clone(),
        })
        .collect();
    Ok(Snapshot { dropbox, jobs })
}

/// The jobs in progress with their journals, in the order of claims.
fn open_jobs(spool: &Spool) -> anyhow::Result<Vec<(JobRecord, Journal)>> {
    if !spool.work().is_dir() {
        return Ok(Vec::new());
    }
    let mut open = Vec::new();
    for job in spool.jobs()? {
        let dir = spool.job_dir(&job);
        // A job may be archived, or not yet be one, while we look.
        if let Some(record) = dir.record()?
            && let Ok(journal) = dir.journal_for_reading(&record)
        {
            open.push((record, journal));
        }
    }
    open.sort_by_key(|(record, _)| record.seq);
    Ok(open)
}
