//! One Delta table: a handle that is kept fresh, and commits that either happen or show who was faster.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, LogicalFileView, MetadataExt, StructType, Transaction};
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{self, ObjectMeta, ObjectStoreExt};
use deltalake::logstore::{LogStore, LogStoreRef, ObjectStoreRef};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableBuilder};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

use super::error::{Doing, LakeError};
use super::parquet::{DataFile, Only, Scan, row_count};
use super::schema::{Column, arrow_schema, columns_of, delta_fields};
use super::txn::{KnownTxns, LogEntry, Share, Txn};

/// Tries of one commit while other writers move the table. Within one process commits take turns, so this is for others.
const COMMIT_TRIES_MAX: u32 = 10;
/// Wait before the second try, growing by as much with each; a commit on a local disk takes some 5 ms.
const COMMIT_RETRY_STEP: Duration = Duration::from_millis(20);
/// How long files that a commit removed stay for readers of older versions. A job that stays open longer
/// than this can no longer read the version it staged. Delta's own default.
pub const REMOVED_FILES_KEPT: &str = "interval 7 days";
/// The key in a table's configuration that says it is ours, and which kind.
const OURS_KEY: &str = "ddu.table";

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TableKind {
    Staged,
    Quarantine,
    Log,
    State,
    Receipts,
}

impl TableKind {
    fn as_str(self) -> &'static str {
        match self {
            TableKind::Staged => "staged",
            TableKind::Quarantine => "quarantine",
            TableKind::Log => "log",
            TableKind::State => "state",
            TableKind::Receipts => "receipts",
        }
    }

    /// The columns whose bounds go into the log, so that readers can skip files. Few, and all of them short.
    pub(super) fn stats(self) -> &'static [&'static str] {
        match self {
            TableKind::Staged | TableKind::Quarantine => &["_ddu_job", "_ddu_row"],
            TableKind::Log | TableKind::Receipts => &["table_name", "job"],
            TableKind::State => &["table_name"],
        }
    }
}

/// A commit that is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The table's version that holds it.
    pub version: u64,
    /// Rows that the commit brought.
    pub rows: u64,
}

/// What a commit is to do.
pub(super) struct Change {
    pub actions: Vec<Action>,
    pub kind: ChangeKind,
    pub rows: u64,
    /// What each job brings, where several share the commit, in the order of their versions; else none.
    pub shares: Vec<Share>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// Only adds files: no other writer's commit can contradict it.
    Append,
    /// Replaces the whole table.
    Overwrite,
    /// Replaces some files by others.
    Rewrite,
}

pub(super) struct Table {
    /// `migration.customers`, for messages.
    pub name: String,
    pub kind: TableKind,
    log_store: LogStoreRef,
    handle: Mutex<Handle>,
    turns: Mutex<()>,
    vacuumed: std::sync::Mutex<Option<Timestamp>>,
    known: KnownTxns,
    /// The earlier version that was asked for last: a job asks for its own again and again.
    earlier: std::sync::Mutex<Option<DeltaTableState>>,
}

/// The table as it was seen last.
struct Handle {
    table: DeltaTable,
    /// The log entry of that version: a table that was made anew has another one under the same number.
    entry: Option<ObjectMeta>,
}

impl Table {
    pub(super) fn new(name: String, kind: TableKind, url: &Url) -> Result<Self, LakeError> {
        let handle = DeltaTableBuilder::from_url(url.clone())
            .and_then(DeltaTableBuilder::build)
            .doing(&name, "open the table")?;
        let log_store = handle.log_store();
        Ok(Table {
            name,
            kind,
            log_store,
            handle: Mutex::new(Handle { table: handle, entry: None }),
            turns: Mutex::new(()),
            vacuumed: std::sync::Mutex::new(None),
            known: KnownTxns::default(),
            earlier: std::sync::Mutex::default(),
        })
    }

    pub(super) fn store(&self) -> ObjectStoreRef {
        self.log_store.object_store(None)
    }

    /// Whoever holds this may commit; in one process nobody meets a conflict.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().await
    }

    /// The newest version, `None` while the table does not exist.
    ///
    /// Two looks at single files say whether anything is new; the log, which grows, is only listed when something is.
    pub(super) async fn fresh(&self) -> Result<Option<DeltaTableState>, LakeError> {
        let mut handle = self.handle.lock().await;
        if !self.is_newest(&handle).await {
            if let Some(version) = handle.table.version() {
                let is_same = handle.entry.is_none() || self.log_entry(version).await == handle.entry;
                if !is_same || handle.table.update_state().await.is_err() {
                    // The table was removed or made anew under us; what a fresh look shows is the truth.
                    handle.table = DeltaTable::new(self.log_store.clone());
                }
            }
            if handle.table.version().is_none() {
                self.forget();
                let exists = self.log_store.is_delta_table_location().await;
                if !exists.doing(&self.name, "look for the table")? {
                    return Ok(None);
                }
                handle.table.load().await.doing(&self.name, "read the table's log")?;
            }
            handle.entry = match handle.table.version() {
                Some(version) => self.log_entry(version).await,
                None => None,
            };
        }
        let state = handle.table.snapshot().doing(&self.name, "read the table's log")?.clone();
        self.check(&state)?;
        Ok(Some(state))
    }

    /// Whether the log ends where the handle has read to, and is still the one that it has read.
    async fn is_newest(&self, handle: &Handle) -> bool {
        let (Some(version), Some(entry)) = (handle.table.version(), &handle.entry) else { return false };
        let next = self.store().head(&commit_path(version + 1)).await;
        matches!(next, Err(object_store::Error::NotFound { .. }))
            && self.log_entry(version).await.as_ref() == Some(entry)
    }

    /// The log entry of a version; `None` where it is gone or does not answer, which makes the next look a full one.
    async fn log_entry(&self, version: u64) -> Option<ObjectMeta> {
        self.store().head(&commit_path(version)).await.ok()
    }

    /// The newest version, of a table that must be there.
    pub(super) async fn existing(&self) -> Result<DeltaTableState, LakeError> {
        self.fresh().await?.ok_or_else(|| LakeError::Missing { table: self.name.clone() })
    }

    /// A version that was committed earlier.
    pub(super) async fn at(&self, version: u64) -> Result<DeltaTableState, LakeError> {
        let newest = self.existing().await?;
        if newest.version() == version {
            return Ok(newest);
        }
        let earlier = self.earlier().clone();
        if let Some(state) = earlier.filter(|state| state.version() == version && version < newest.version())
        {
            return Ok(state);
        }
        let mut table = DeltaTable::new(self.log_store.clone());
        table.load_version(version).await.map_err(|e| LakeError::VersionGone {
            table: self.name.clone(),
            version,
            source: Box::new(e),
        })?;
        let state = table.snapshot().doing(&self.name, "read the table's log")?.clone();
        self.check(&state)?;
        *self.earlier() = Some(state.clone());
        Ok(state)
    }

    fn earlier(&self) -> std::sync::MutexGuard<'_, Option<DeltaTableState>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another table stands where this one was: nothing of it is remembered.
    fn forget(&self) {
        self.known.forget();
        *self.earlier() = None;
    }

    /// The newest version, of a table that is made with these columns where it does not exist yet.
    pub(super) async fn ensure(&self, columns: &[Column]) -> Result<DeltaTableState, LakeError> {
        if let Some(state) = self.fresh().await? {
            return Ok(state);
        }
        let created = CreateBuilder::new()
            .with_log_store(self.log_store.clone())
            .with_table_name(self.name.rsplit('.').next().unwrap_or(&self.name))
            .with_columns(delta_fields(columns))
            .with_configuration([
                (OURS_KEY, Some(self.kind.as_str())),
                ("delta.deletedFileRetentionDuration", Some(REMOVED_FILES_KEPT)),
            ])
            .with_raise_if_key_not_exists(false)
            // With retries a lost race would commit our schema over the winner's (`crates.md` §A5, T3).
            .with_commit_properties(no_retries())
            .with_save_mode(SaveMode::ErrorIfExists)
            .await;
        match (self.fresh().await?, created) {
            (Some(state), _) => Ok(state),
            (None, Ok(_)) => Err(LakeError::Missing { table: self.name.clone() }),
            (None, Err(e)) => Err(e).doing(&self.name, "create the table"),
        }
    }

    /// Whether the transaction is in the table already, and since which version.
    ///
    /// Delta records `txn` but does not refuse a repeated one (deltalake-core 1.1.3), so we look before we commit.
    pub(super) async fn look(
        &self,
        state: &DeltaTableState,
        txn: &Txn,
    ) -> Result<Option<Committed>, LakeError> {
        let found = match self.known.of(state.version(), &txn.app) {
            Some(known) => known,
            None => {
                let asked = state.transaction_version(self.log_store.as_ref(), &txn.app).await;
                let found = asked.doing(&self.name, "look for a transaction")?;
                self.known.learn(state.version(), &txn.app, found);
                found
            }
        };
        match found {
            Some(found) if found >= txn.version => self.trace(state.version(), txn, found).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Finds the commit of a transaction by walking the log back from the newest version.
    async fn trace(&self, newest: u64, txn: &Txn, found: i64) -> Result<Committed, LakeError> {
        for version in (0..=newest).rev() {
            let entry = self.log_store.read_commit_entry(version).await.doing(&self.name, "read the log")?;
            // Older entries are gone after a month.
            let Some(entry) = entry else { break };
            let entry = LogEntry::parse(&entry).doing(&self.name, "read the log")?;
            let Some(in_log) = entry.txn(&txn.app) else { continue };
            let Some(ddu) = entry.ddu() else {
                if in_log == txn.version {
                    break;
                }
                continue;
            };
            if let Some((job, rows)) = ddu.share(in_log, txn.version) {
                if job != Some(txn.job.as_str()) {
                    return Err(LakeError::Taken {
                        table: self.name.clone(),
                        wanted: txn.version,
                        job: txn.job.clone(),
                        other: job.unwrap_or_default().to_owned(),
                    });
                }
                return Ok(Committed { version, rows });
            }
        }
        Err(LakeError::Overtaken {
            table: self.name.clone(),
            app: txn.app.clone(),
            wanted: txn.version,
            found,
        })
    }

    /// Commits against exactly this state; `None` means that the table moved and the caller must look afresh.
    ///
    /// An error may mean "committed" (`crates.md` §A5, T2), so after any of them the log decides.
    pub(super) async fn commit(
        &self,
        state: &DeltaTableState,
        change: Change,
        txn: Option<&Txn>,
    ) -> Result<Option<Committed>, LakeError> {
        let rows = change.rows;
        let mut properties = no_retries().with_metadata(change.info(txn));
        if let Some(txn) = txn {
            properties = properties.with_application_transaction(Transaction::new(&txn.app, txn.version));
        }
        let mode = match change.kind {
            ChangeKind::Append => SaveMode::Append,
            ChangeKind::Overwrite | ChangeKind::Rewrite => SaveMode::Overwrite,
        };
        let operation = DeltaOperation::Write { mode, partition_by: None, predicate: None };
        let committed = CommitBuilder::from(properties)
            .with_actions(change.actions)
            .build(Some(state as &dyn TableReference), self.log_store.clone(), operation)
            .await;
        let error = match committed {
            Ok(done) => {
                self.took(state.version(), done.snapshot(), txn).await;
                self.keep_log_short(done.version()).await;
                return Ok(Some(Committed { version: done.version(), rows }));
            }
            Err(error) => error,
        };
        let now = self.existing().await?;
        if let Some(txn) = txn
            && let Some(done) = self.look(&now, txn).await?
        {
            return Ok(Some(done));
        }
        if now.version() > state.version() {
            return Ok(None);
        }
        Err(error).doing(&self.name, "commit")
    }

    /// Keeps what a commit has shown, so that nobody needs to read it again.
    async fn took(&self, before: u64, now: DeltaTableState, txn: Option<&Txn>) {
        let mut handle = self.handle.lock().await;
        if handle.table.version() == Some(before) {
            self.known.carry(before, now.version(), txn);
            handle.entry = self.log_entry(now.version()).await;
            handle.table.state = Some(now);
        }
    }

    /// Folds the log now and then, so that opening the table stays quick however many jobs come before upkeep does.
    async fn keep_log_short(&self, version: u64) {
        if (version + 1).is_multiple_of(super::maintain::CHECKPOINT_COMMITS)
            && let Err(error) = super::maintain::checkpoint(self).await
        {
            // The commit stands; the next one, or upkeep, tries again.
            tracing::warn!(table = self.name, %error, "log not folded");
        }
    }

    /// The columns of a version.
    pub(super) fn columns(&self, state: &DeltaTableState) -> Result<Vec<Column>, LakeError> {
        columns_of(&self.name, &state.schema())
    }

    /// The active files of a version as the log knows them, in the order in which their rows were written.
    pub(super) fn entries(&self, state: &DeltaTableState) -> Vec<Entry> {
        let mut entries: Vec<Entry> = state.log_data().iter().map(Entry::new).collect();
        entries.sort_by(|a, b| a.file.cmp(&b.file));
        entries
    }

    /// Reads a version in the order in which its rows were written; files that cannot hold `only` are skipped.
    pub(super) fn scan(&self, state: &DeltaTableState, columns: &[Column], only: Option<Only>) -> Scan {
        let files = self.entries(state).into_iter();
        let files = files.filter(|entry| only.as_ref().is_none_or(|only| entry.may_hold(only)));
        let files = files.map(|entry| entry.file);
        Scan::new(&self.name, self.store(), files, arrow_schema(columns), only.clone())
            .of_version(state.version())
    }

    /// Rows of a version, from the log; only files of other writers are opened for it.
    pub(super) async fn count(&self, state: &DeltaTableState) -> Result<u64, LakeError> {
        let mut rows = 0;
        for entry in self.entries(state) {
            rows += match entry.rows() {
                Some(rows) => rows,
                None => row_count(&self.name, self.store(), entry.file).await?,
            };
        }
        Ok(rows)
    }

    /// The action that gives the table these columns, `None` where it has them.
    pub(super) fn evolve(
        &self,
        state: &DeltaTableState,
        columns: &[Column],
    ) -> Result<Option<Action>, LakeError> {
        if self.columns(state)? == columns {
            return Ok(None);
        }
        let schema = StructType::try_new(delta_fields(columns))
            .map_err(deltalake::DeltaTableError::from)
            .doing(&self.name, "add columns")?;
        let metadata = state.metadata().clone().with_schema(&schema).doing(&self.name, "add columns")?;
        Ok(Some(Action::Metadata(metadata)))
    }

    /// As [`Table::evolve`], for a book of ours: columns that it lacks come behind those it has.
    pub(super) fn widen(
        &self,
        state: &DeltaTableState,
        columns: &[Column],
    ) -> Result<Option<Action>, LakeError> {
        let mut all = self.columns(state)?;
        let new = columns.iter().filter(|column| all.iter().all(|known| known.name != column.name));
        let new: Vec<Column> = new.cloned().collect();
        all.extend(new);
        self.evolve(state, &all)
    }

    /// Whether this process has not vacuumed the table for so long; asking counts as doing.
    pub(super) fn vacuum_due(&self, now: Timestamp, every: SignedDuration) -> bool {
        let mut last = self.vacuumed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= every);
        if due {
            *last = Some(now);
        }
        due
    }

    /// A handle for maintenance.
    pub(super) async fn handle(&self) -> DeltaTable {
        self.handle.lock().await.table.clone()
    }

    fn check(&self, state: &DeltaTableState) -> Result<(), LakeError> {
        let foreign = |reason: String| LakeError::Foreign { table: self.name.clone(), reason };
        let protocol = state.protocol();
        let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
        if reader > 1 || writer > 2 {
            return Err(foreign(format!("it needs reader {reader} and writer {writer}")));
        }
        if !is_ours(state) {
            return Err(foreign(format!("its property `{OURS_KEY}` is missing, so DDU did not make it")));
        }
        Ok(())
    }
}

/// Whether the table was made by us.
pub(super) fn is_ours(state: &DeltaTableState) -> bool {
    state.metadata().configuration().contains_key(OURS_KEY)
}

/// Counts the tries of one commit.
pub(super) struct Tries {
    made: u32,
}

impl Tries {
    pub(super) fn new() -> Self {
        Tries { made: 1 }
    }

    /// Waits a little before the next try.
    ///
    /// # Errors
    /// `Contended` after the last one.
    pub(super) async fn again(&mut self, table: &Table) -> Result<(), LakeError> {
        if self.made >= COMMIT_TRIES_MAX {
            return Err(self.contended(table));
        }
        tokio::time::sleep(COMMIT_RETRY_STEP * self.made).await;
        self.made += 1;
        Ok(())
    }

    pub(super) fn contended(&self, table: &Table) -> LakeError {
        LakeError::Contended { table: table.name.clone(), attempts: self.made }
    }
}

/// One active file, as the log knows it.
#[derive(Clone)]
pub(super) struct Entry {
    pub file: DataFile,
    view: LogicalFileView,
}

impl Entry {
    fn new(view: LogicalFileView) -> Self {
        let size = u64::try_from(view.size()).unwrap_or(0);
        Entry { file: DataFile { path: view.object_store_path(), size }, view }
    }

    pub(super) fn rows(&self) -> Option<u64> {
        self.view.num_records().map(|rows| rows as u64)
    }

    /// The directory that the file stands in.
    pub(super) fn slot(&self) -> Path {
        let parts: Vec<_> = self.file.path.parts().collect();
        Path::from_iter(parts.iter().take(parts.len().saturating_sub(1)).cloned())
    }

    /// The action that removes it; `data_change` is false where other files of the same commit hold the same rows.
    pub(super) fn remove(&self, data_change: bool) -> Action {
        Action::Remove(self.view.remove_action(data_change))
    }

    pub(super) fn may_hold(&self, only: &Only) -> bool {
        let Some(stats) = self.view.stats().and_then(|json| serde_json::from_str::<Stats>(&json).ok()) else {
            return true;
        };
        let bound = |bounds: &HashMap<String, serde_json::Value>| {
            bounds.get(only.column).and_then(|value| value.as_str()).map(str::to_owned)
        };
        let above = bound(&stats.min_values).is_none_or(|min| only.equals >= min);
        let below = bound(&stats.max_values).is_none_or(|max| only.equals <= max);
        above && below
    }
}

/// The part of a file's statistics that we look at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    min_values: HashMap<String, serde_json::Value>,
    #[serde(default)]
    max_values: HashMap<String, serde_json::Value>,
}

impl Change {
    /// What the commit says about itself; it is evidence for people, and the row count of a replay.
    fn info(&self, txn: Option<&Txn>) -> Vec<(String, serde_json::Value)> {
        let job = txn.map(|txn| txn.job.as_str());
        let mut ddu = serde_json::json!({ "rows": self.rows, "job": job });
        if !self.shares.is_empty() {
            ddu["jobs"] = serde_json::json!(self.shares);
        }
        vec![
            ("ddu".to_owned(), ddu),
            ("isBlindAppend".to_owned(), serde_json::json!(self.kind == ChangeKind::Append)),
        ]
    }
}

/// Where the log has a version.
fn commit_path(version: u64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

pub(super) fn no_retries() -> CommitProperties {
    CommitProperties::default()
        .with_max_retries(0)
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false))
}
