//! Upkeep: what keeps tables small and quick to open for years. Nothing of it changes a row.
#![allow(clippy::disallowed_methods, reason = "leftovers of crashes are not workbooks; nothing reads them")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake::checkpoints::{cleanup_metadata, create_checkpoint};
use deltalake::kernel::Action;
use deltalake::logstore::object_store::{self, ObjectStoreExt};
use deltalake::operations::vacuum::{Clock, VacuumMode};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::Lakehouse;
use super::error::{Doing, LakeError};
use super::parquet::{Scan, file_writer, is_slot};
use super::schema::arrow_schema;
use super::table::{Change, ChangeKind, Entry, Table, TableKind, no_retries};
use crate::domain::table::{RESERVED_TABLES, TableName};

/// Commits after which a table's log is folded into a checkpoint. Spark's default; delta-rs would wait for 100.
pub(super) const CHECKPOINT_COMMITS: u64 = 10;
/// Small files of a book that stand side by side before they are written as one.
const COMPACT_FILES_MIN: usize = 16;
/// A file below this size is small, in bytes.
const COMPACT_FILE_BYTES: u64 = 8 << 20;
/// Bytes that are compacted into one file at most.
const COMPACT_BYTES_MAX: u64 = 64 << 20;
/// How often one process looks for removed files of a table.
const VACUUM_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Age from which a file in the making belongs to a crash; writing one takes minutes at most.
const LEFTOVER_AGE_MIN: SignedDuration = SignedDuration::from_hours(24);
/// Directories below a database: table, slot or log.
const LEFTOVER_DEPTH_MAX: u32 = 3;

/// What upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Tables whose log was folded into a checkpoint.
    pub checkpoints: u64,
    /// Small files that were written together.
    pub compacted_files: u64,
    /// Data files that no version of the last week needs, removed.
    pub removed_files: u64,
    /// Files and directories that a crash left behind, removed.
    pub leftovers: u64,
}

impl Lakehouse {
    /// Keeps every table small: checkpoints, compaction of log and receipts, vacuum, and the leftovers of crashes.
    ///
    /// Cheap where nothing is due, so it can be called after every job; call it when nothing urgent waits. Files
    /// that a commit removed are kept for [`super::REMOVED_FILES_KEPT`], which must outlive every open job.
    ///
    /// # Errors
    /// When storage fails; what was done until then is done. Calling it again goes on.
    pub async fn maintain(&self, now: Timestamp) -> Result<Maintained, LakeError> {
        let mut done = Maintained::default();
        for table in self.all_tables().await? {
            match maintain_table(&table, now, &mut done).await {
                Err(LakeError::Foreign { table, reason }) => {
                    tracing::debug!(table, reason, "a table that is not ours is left alone");
                }
                result => result?,
            }
        }
        if let Some(dir) = &self.inner.dir {
            let dirs = [&self.inner.database, &self.inner.quarantine_database].map(|name| dir.join(name));
            let swept = tokio::task::spawn_blocking(move || {
                dirs.iter().map(|dir| sweep(dir, now, LEFTOVER_DEPTH_MAX)).sum::<std::io::Result<u64>>()
            });
            done.leftovers +=
                swept.await.doing(self.root(), "remove leftovers")?.doing(self.root(), "remove leftovers")?;
        }
        Ok(done)
    }

    /// Every table of both databases.
    async fn all_tables(&self) -> Result<Vec<Arc<Table>>, LakeError> {
        let mut tables = Vec::new();
        for name in self.directories(&self.inner.database).await? {
            if RESERVED_TABLES.contains(&name.as_str()) {
                tables.push(self.book(&name)?);
            } else if let Ok(name) = TableName::try_from(name) {
                tables.push(self.staged_table(&name)?);
            }
        }
        for name in self.directories(&self.inner.quarantine_database).await? {
            if let Ok(name) = TableName::try_from(name) {
                tables.push(self.quarantine_table(&name)?);
            }
        }
        Ok(tables)
    }

    /// One of our own tables by its name.
    pub(super) fn book(&self, name: &str) -> Result<Arc<Table>, LakeError> {
        match name {
            "migration_log" => self.log_table(),
            "migration_state" => self.state_table(),
            _ => self.receipts_table(),
        }
    }
}

async fn maintain_table(table: &Table, now: Timestamp, done: &mut Maintained) -> Result<(), LakeError> {
    if table.fresh().await?.is_none() {
        return Ok(());
    }
    if matches!(table.kind, TableKind::Log | TableKind::Receipts) {
        done.compacted_files += compact(table).await?;
    }
    if table.vacuum_due(now, VACUUM_EVERY) {
        done.removed_files += vacuum(table, now).await?;
    }
    if checkpoint(table).await? {
        done.checkpoints += 1;
    }
    Ok(())
}

/// Writes runs of small files as one, in the first one's slot, so that the order of rows stays.
async fn compact(table: &Table) -> Result<u64, LakeError> {
    let _turn = table.turn().await;
    let state = table.existing().await?;
    let mut actions = Vec::new();
    let mut compacted = 0;
    for run in runs(table.entries(&state)) {
        let schema = arrow_schema(&table.columns(&state)?);
        let store = table.store();
        let mut writer = file_writer(&table.name, &store, &schema, table.kind.stats(), run[0].slot())?;
        let files = run.iter().map(|entry| entry.file.clone());
        let mut scan = Scan::new(&table.name, store, files, schema, None);
        while let Some(batch) = scan.next().await? {
            writer.write(&batch).await.doing(&table.name, "compact files")?;
        }
        let adds = writer.close().await.doing(&table.name, "compact files")?;
        actions.extend(run.iter().map(|entry| entry.remove(false)));
        actions.extend(adds.into_iter().map(|mut add| {
            add.data_change = false;
            Action::Add(add)
        }));
        compacted += run.len() as u64;
    }
    if actions.is_empty() {
        return Ok(0);
    }
    let change = Change { actions, kind: ChangeKind::Rewrite, rows: 0, shares: Vec::new() };
    // Where another writer was faster, the next upkeep does it.
    let committed = table.commit(&state, change, None).await?;
    Ok(committed.map_or(0, |_| compacted))
}

/// Runs of small neighbours that are worth writing as one file.
fn runs(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut runs: Vec<Vec<Entry>> = vec![Vec::new()];
    let mut bytes = 0;
    for entry in entries {
        let size = entry.file.size;
        if size >= COMPACT_FILE_BYTES || bytes + size > COMPACT_BYTES_MAX {
            runs.push(Vec::new());
            bytes = 0;
        }
        if size < COMPACT_FILE_BYTES {
            bytes += size;
            runs.last_mut().expect("it begins with one").push(entry);
        }
    }
    runs.retain(|run| run.len() >= COMPACT_FILES_MIN);
    runs
}

/// Folds the log into a checkpoint where enough commits came since the last one, then drops expired log entries.
pub(super) async fn checkpoint(table: &Table) -> Result<bool, LakeError> {
    #[derive(Deserialize)]
    struct Last {
        version: u64,
    }
    let newest = table.existing().await?.version();
    let path = object_store::path::Path::from("_delta_log/_last_checkpoint");
    let last = match table.store().get(&path).await {
        Err(object_store::Error::NotFound { .. }) => None,
        found => {
            let bytes = found.doing(&table.name, "look for a checkpoint")?.bytes().await;
            let bytes = bytes.doing(&table.name, "look for a checkpoint")?;
            // A broken hint is replaced by the next checkpoint; readers fall back to listing the log.
            serde_json::from_slice::<Last>(&bytes).ok().map(|last| last.version)
        }
    };
    if newest.saturating_sub(last.unwrap_or(0)) < CHECKPOINT_COMMITS {
        return Ok(false);
    }
    let handle = table.handle().await;
    create_checkpoint(&handle, None).await.doing(&table.name, "write a checkpoint")?;
    cleanup_metadata(&handle, None).await.doing(&table.name, "drop expired log entries")?;
    Ok(true)
}

/// Removes data files that were replaced long ago, and those of writers that never committed.
async fn vacuum(table: &Table, now: Timestamp) -> Result<u64, LakeError> {
    #[derive(Debug)]
    struct Now(i64);
    impl Clock for Now {
        fn current_timestamp_millis(&self) -> i64 {
            self.0
        }
    }
    let _turn = table.turn().await;
    table.existing().await?;
    let vacuumed = table
        .handle()
        .await
        .vacuum()
        .with_mode(VacuumMode::Full)
        .with_clock(Arc::new(Now(now.as_millisecond())))
        .with_commit_properties(no_retries())
        .await;
    let (_, metrics) = vacuumed.doing(&table.name, "remove old files")?;
    Ok(metrics.files_deleted.len() as u64)
}

/// Removes files in the making and empty slots that are too old to belong to a living writer.
fn sweep(dir: &Path, now: Timestamp, depth: u32) -> std::io::Result<u64> {
    let mut removed = 0;
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && depth > 0 {
            removed += sweep(&path, now, depth - 1)?;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let leftover = kind.is_file() && is_in_the_making(&name);
        let slot = kind.is_dir() && is_slot(&name);
        if (leftover || slot) && is_old(&path, now)? {
            // A slot that still holds files stays; so does what another process removed first.
            let gone = if slot { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
            removed += u64::from(gone.is_ok());
        }
    }
    Ok(removed)
}

/// Whether a name is one that a store gives a file before it appears: `x.parquet#1`.
fn is_in_the_making(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn is_old(path: &PathBuf, now: Timestamp) -> std::io::Result<bool> {
    let changed = std::fs::symlink_metadata(path)?.modified()?;
    let changed = Timestamp::try_from(changed).map_err(std::io::Error::other)?;
    Ok(now.duration_since(changed) >= LEFTOVER_AGE_MIN)
}
