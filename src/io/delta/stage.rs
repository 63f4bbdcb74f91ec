//! Staging: the rows of one job, or of several that share a commit, in their order, in one commit.

use std::collections::HashSet;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::kernel::Action;

use super::Lakehouse;
use super::error::LakeError;
use super::parquet::{FileWriter, Only, Scan};
use super::rewrite::{Leavers, take_rows};
use super::rows::{Renaming, staged_rows};
use super::schema::{fit_to_table, merged, senders_columns, staged_schema, staged_table_columns};
use super::table::{Change, ChangeKind, Committed, Table, TableKind, Tries};
use super::txn::{JobTxn, Share, Txn};
use crate::domain::job::JobId;
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::table::TableName;

/// How staged rows meet those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKind {
    /// They are added behind them; columns that the table lacks are added to it.
    Append,
    /// They take the place of all of them, and their columns the place of the table's.
    Overwrite,
}

/// What a commit that is about to begin finds.
pub enum Begin<W> {
    /// The same transaction is in the table: this is a replay and nothing is left to do.
    AlreadyDone(Committed),
    /// Nothing yet: write, then commit.
    Open(W),
}

impl<W> Begin<W> {
    /// The same beginning with the writer as something else.
    pub fn map<V>(self, change: impl FnOnce(W) -> V) -> Begin<V> {
        match self {
            Begin::AlreadyDone(done) => Begin::AlreadyDone(done),
            Begin::Open(writer) => Begin::Open(change(writer)),
        }
    }
}

/// Rows on their way into a staged table. Nothing of it can be read before [`StageWriter::commit`].
pub struct StageWriter {
    table: Arc<Table>,
    /// The sender's columns that the table had at the beginning; of a table that is replaced, none.
    existing: Vec<StagedColumn>,
    /// The columns of every job that joined.
    all: Vec<StagedColumn>,
    /// The columns of the last one.
    columns: Vec<StagedColumn>,
    renaming: Renaming,
    kind: StageKind,
    /// The transaction of the last job; its version is the highest.
    txn: Txn,
    /// What the jobs before it brought.
    shares: Vec<Share>,
    /// Rows of the jobs before it.
    rows_before: u64,
    files: FileWriter,
}

impl Lakehouse {
    /// The sender's columns of a staged table, `None` while it does not exist.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn staged_columns(&self, table: &TableName) -> Result<Option<Vec<StagedColumn>>, LakeError> {
        let table = self.staged_table(table)?;
        let Some(state) = table.fresh().await? else { return Ok(None) };
        Ok(Some(senders_columns(&table.columns(&state)?)))
    }

    /// Begins to stage rows with these columns of the sender's.
    ///
    /// A column that the table has keeps its type: the caller conforms the values beforehand, with
    /// [`Lakehouse::staged_columns`] as the guide. Column names are matched without case.
    ///
    /// # Errors
    /// `ColumnType` and `ColumnTwice` where the columns cannot stand in the table; `Overtaken` where a later job of
    /// this table was committed before.
    pub async fn stage(
        &self,
        table: &TableName,
        columns: Vec<StagedColumn>,
        kind: StageKind,
        txn: &JobTxn,
    ) -> Result<Begin<StageWriter>, LakeError> {
        let txn = Txn::new(format!("ddu/stage/{table}"), txn);
        let table = self.staged_table(table)?;
        let mut existing = Vec::new();
        if let Some(state) = table.fresh().await? {
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(Begin::AlreadyDone(done));
            }
            if kind == StageKind::Append {
                existing = senders_columns(&table.columns(&state)?);
            }
        }
        let given = columns;
        let columns = fit_to_table(&table.name, given.clone(), &existing)?;
        let renaming = Renaming::new(&given, &columns);
        let files = FileWriter::new(
            &table.name,
            table.store(),
            staged_schema(&columns),
            TableKind::Staged.stats(),
            txn.version,
        );
        let all = columns.clone();
        let (shares, rows_before) = (Vec::new(), 0);
        Ok(Begin::Open(StageWriter {
            table,
            existing,
            all,
            columns,
            renaming,
            kind,
            txn,
            shares,
            rows_before,
            files,
        }))
    }

    /// Whether this part of this job is in the staged table already.
    ///
    /// # Errors
    /// When the table's log cannot be read; `Overtaken` where a later job of this table was committed before.
    pub async fn is_staged(&self, table: &TableName, txn: &JobTxn) -> Result<bool, LakeError> {
        let txn = Txn::new(format!("ddu/stage/{table}"), txn);
        let table = self.staged_table(table)?;
        match table.fresh().await? {
            Some(state) => Ok(table.look(&state, &txn).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The rows of a version of a staged table in the order in which they were staged; of one job where one is named.
    ///
    /// # Errors
    /// `Missing` where there is no such table; `VersionGone` where its files were vacuumed.
    pub async fn rows(
        &self,
        table: &TableName,
        version: u64,
        job: Option<&JobId>,
    ) -> Result<RowReader, LakeError> {
        let table = self.staged_table(table)?;
        let state = table.at(version).await?;
        let columns = senders_columns(&table.columns(&state)?);
        let only = job.map(|job| Only { column: "_ddu_job", equals: job.to_string() });
        let scan = table.scan(&state, &staged_table_columns(&columns), only);
        Ok(RowReader { table: table.name.clone(), columns, scan })
    }

    /// Takes rows of a job out of a staged table, in one commit; a row that a later job gave other values stays.
    ///
    /// # Errors
    /// `Contended` when other processes moved the table at every try; the caller calls again.
    pub async fn unstage(
        &self,
        table: &TableName,
        job: &JobId,
        rows: &HashSet<RowId>,
        txn: &JobTxn,
    ) -> Result<(), LakeError> {
        let txn = Txn::new(format!("ddu/undo/{table}"), txn);
        let of = Some(Only { column: "_ddu_job", equals: job.to_string() });
        let leavers = Leavers { column: "_ddu_row_id", ids: rows, of };
        take_rows(&*self.staged_table(table)?, &leavers, rows.len() as u64, &txn).await
    }

    /// Rows in the newest version of a staged table; 0 while it does not exist. Reads the log only.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn staged_count(&self, table: &TableName) -> Result<u64, LakeError> {
        let table = self.staged_table(table)?;
        match table.fresh().await? {
            Some(state) => table.count(&state).await,
            None => Ok(0),
        }
    }

    /// The newest version of a staged table, `None` while it does not exist.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn staged_version(&self, table: &TableName) -> Result<Option<u64>, LakeError> {
        Ok(self.staged_table(table)?.fresh().await?.map(|state| state.version()))
    }
}

impl StageWriter {
    /// The sender's columns under the names that the table has for them, in the order in which they were given.
    pub fn columns(&self) -> &[StagedColumn] {
        &self.columns
    }

    /// The sender's columns that the table will have with this commit: the guide for who joins.
    pub fn table_columns(&self) -> Vec<StagedColumn> {
        merged(&self.existing, &self.all)
    }

    /// Says before the first row that small jobs are to join: their files are laid out so that each finds its own rows.
    pub fn share(&mut self) {
        self.files.share();
    }

    /// Lets a further job into the commit; what is written from now on are its rows, until the next one joins. Its
    /// claim came after the claims of those before, and it appends as they do.
    ///
    /// Delta takes one version of a transaction with a commit: the last job's. What each job brought, and under which
    /// version, is described beside it, so that every one of them recognises itself on a replay.
    ///
    /// # Errors
    /// `ColumnType` and `ColumnTwice` where its columns cannot stand beside the others; the commit stays as it was.
    pub async fn join(&mut self, columns: Vec<StagedColumn>, txn: &JobTxn) -> Result<(), LakeError> {
        assert!(self.kind == StageKind::Append, "a commit that replaces the table belongs to one job");
        assert!(txn.version.0 > self.txn.version, "jobs join in the order of their claims");
        let fitted = fit_to_table(&self.table.name, columns.clone(), &self.table_columns())?;
        self.files.go_on_with(staged_schema(&fitted)).await?;
        self.end_share();
        self.renaming = Renaming::new(&columns, &fitted);
        self.all = merged(&self.all, &fitted);
        self.columns = fitted;
        self.txn = Txn { app: self.txn.app.clone(), ..Txn::new(String::new(), txn) };
        Ok(())
    }

    fn end_share(&mut self) {
        let rows = self.files.rows() - self.rows_before;
        self.rows_before = self.files.rows();
        self.shares.push(Share { job: self.txn.job.clone(), version: self.txn.version, rows });
    }

    /// Writes a batch behind the others: our columns, then the sender's in the order in which they were given.
    ///
    /// Returns when the batch is encoded; memory stays below one row group, however many batches come.
    ///
    /// # Errors
    /// When the batch has other columns, or storage fails. The writer is to be dropped or aborted then.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.files.write(&self.renaming.rename(&self.table.name, batch)?).await
    }

    /// Makes the rows appear, all at once, beside a record of the transaction. On the disk when it returns.
    ///
    /// # Errors
    /// `Contended`, `Overtaken`, `ColumnType` where others changed the table meanwhile; the caller begins again.
    pub async fn commit(mut self) -> Result<Committed, LakeError> {
        if !self.shares.is_empty() {
            self.end_share();
        }
        let StageWriter { table, all: columns, kind, txn, shares, files, .. } = self;
        let rows = files.rows();
        let adds = files.finish().await?;
        let _turn = table.turn().await;
        let mut tries = Tries::new();
        loop {
            let state = table.ensure(&staged_table_columns(&columns)).await?;
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(done);
            }
            let mut actions: Vec<Action> = Vec::new();
            let (columns, kind) = match kind {
                StageKind::Append => {
                    let existing = senders_columns(&table.columns(&state)?);
                    let fitted = fit_to_table(&table.name, columns.clone(), &existing)?;
                    if let Some(renamed) = fitted.iter().zip(&columns).find(|(a, b)| a.name != b.name) {
                        let column = renamed.1.name.clone();
                        return Err(LakeError::ColumnTwice { table: table.name.clone(), column });
                    }
                    (merged(&existing, &fitted), ChangeKind::Append)
                }
                StageKind::Overwrite => {
                    actions.extend(table.entries(&state).iter().map(|entry| entry.remove(true)));
                    (columns.clone(), ChangeKind::Overwrite)
                }
            };
            actions.extend(table.evolve(&state, &staged_table_columns(&columns))?);
            actions.extend(adds.iter().cloned().map(Action::Add));
            let change = Change { actions, kind, rows, shares: shares.clone() };
            match table.commit(&state, change, Some(&txn)).await? {
                Some(done) => return Ok(done),
                None => tries.again(&table).await?,
            }
        }
    }

    #[cfg(test)]
    pub(super) fn set_file_bytes_max(&mut self, bytes: usize) {
        self.files.set_file_bytes_max(bytes);
    }

    /// Gives up; nothing of it will ever be read.
    pub async fn abort(self) {
        self.files.abort().await;
    }
}

/// Reads staged rows, a batch at a time.
pub struct RowReader {
    table: String,
    columns: Vec<StagedColumn>,
    scan: Scan,
}

impl RowReader {
    /// The table's columns at this version; every row has one value for each.
    pub fn columns(&self) -> &[StagedColumn] {
        &self.columns
    }

    /// The next rows, some thousands at most, fewer of wide tables, never none; `None` after the last.
    ///
    /// # Errors
    /// When a file cannot be read, or a row in it does not read back.
    pub async fn next(&mut self) -> Result<Option<Vec<StagedRow>>, LakeError> {
        match self.scan.next().await? {
            Some(batch) => staged_rows(&self.table, &self.columns, &batch).map(Some),
            None => Ok(None),
        }
    }
}
