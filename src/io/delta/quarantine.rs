//! Quarantine: the rows that the target does not have yet, with everything that is known about why.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::kernel::Action;
use jiff::Timestamp;

use super::Lakehouse;
use super::error::{Doing, LakeError};
use super::parquet::{FileWriter, Only, Scan};
use super::rewrite::{row_ids, without};
use super::rows::{Fields, batch, ints, staged_arrays, staged_rows, texts, times};
use super::schema::{
    MISSING_COLUMN, REFUSALS_COLUMN, arrow_schema, fit_to_table, merged, quarantine_table_columns,
    senders_columns, text,
};
use super::stage::Begin;
use super::table::{Change, ChangeKind, Committed, Table, TableKind, Tries};
use super::txn::{JobTxn, Txn};
use crate::domain::job::JobId;
use crate::domain::refusal::{Missing, Refusal, waits_for};
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::table::TableName;

/// A row in quarantine.
#[derive(Debug, Clone, PartialEq)]
pub struct QuarantineRow {
    /// The row as it is staged.
    pub row: StagedRow,
    /// Why, most important first. `_ddu_error`, `_ddu_cause` and `_ddu_column` show them to readers of the table,
    /// `_ddu_refusals` keeps them whole.
    pub refusals: Vec<Refusal>,
    /// The attempt that was the last, from 1; 0 where nothing was sent.
    pub attempt: i32,
    /// When it was refused.
    pub time: Timestamp,
}

/// What is to leave the quarantine in the same commit that brings new rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaving {
    /// These rows, where they are there: they are written, or come anew with other reasons.
    Rows(HashSet<RowId>),
    /// All rows, and the columns with them: the staged table was replaced.
    Everything,
}

/// A change of a quarantine table in the making.
pub struct QuarantineWriter {
    table: Arc<Table>,
    columns: Vec<StagedColumn>,
    leaving: Leaving,
    txn: Txn,
    files: FileWriter,
}

impl Lakehouse {
    /// Begins a change of the quarantine of a staged table with these columns of the sender's.
    ///
    /// A row that is added takes the place of one with its id. `step` names the step of the job that changes it, so
    /// that each step of a job changes it once. A quarantine without rows takes these columns in the place of its own.
    ///
    /// # Errors
    /// `ColumnType` where the table holds rows with another type; `Overtaken` where a later job of this table was before.
    pub async fn change_quarantine(
        &self,
        table: &TableName,
        columns: Vec<StagedColumn>,
        leaving: Leaving,
        step: &str,
        txn: &JobTxn,
    ) -> Result<Begin<QuarantineWriter>, LakeError> {
        let txn = Txn::new(format!("ddu/quarantine/{table}/{step}"), txn);
        let table = self.quarantine_table(table)?;
        let mut existing = Vec::new();
        if let Some(state) = table.fresh().await? {
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(Begin::AlreadyDone(done));
            }
            if leaving != Leaving::Everything && table.count(&state).await? > 0 {
                existing = senders_columns(&table.columns(&state)?);
            }
        }
        let columns = fit_to_table(&table.name, columns, &existing)?;
        let schema = arrow_schema(&quarantine_table_columns(&columns));
        let files = FileWriter::new(&table.name, table.store(), schema, table.kind.stats(), txn.version);
        Ok(Begin::Open(QuarantineWriter { table, columns, leaving, txn, files }))
    }

    /// The rows in quarantine in the order in which they came; of one job where one is named.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn quarantine_rows(
        &self,
        table: &TableName,
        job: Option<&JobId>,
    ) -> Result<QuarantineReader, LakeError> {
        let table = self.quarantine_table(table)?;
        let name = table.name.clone();
        let Some(state) = table.fresh().await? else {
            return Ok(QuarantineReader { table: name, columns: Vec::new(), scan: None });
        };
        let columns = senders_columns(&table.columns(&state)?);
        let only = job.map(|job| Only { column: "_ddu_job", equals: job.to_string() });
        let scan = table.scan(&state, &quarantine_table_columns(&columns), only);
        Ok(QuarantineReader { table: name, columns, scan: Some(scan) })
    }

    /// Rows in quarantine; 0 while the table does not exist. Reads the log only.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn quarantine_count(&self, table: &TableName) -> Result<u64, LakeError> {
        let table = self.quarantine_table(table)?;
        match table.fresh().await? {
            Some(state) => table.count(&state).await,
            None => Ok(0),
        }
    }

    /// The ids of all rows in quarantine, 16 bytes each.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn quarantine_ids(&self, table: &TableName) -> Result<HashSet<RowId>, LakeError> {
        let table = self.quarantine_table(table)?;
        match table.fresh().await? {
            Some(state) => row_ids(&table, &state, None).await,
            None => Ok(HashSet::new()),
        }
    }

    /// The ids of the rows in quarantine that one of these jobs brought last.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn quarantine_ids_of(
        &self,
        table: &TableName,
        jobs: &[JobId],
    ) -> Result<HashSet<RowId>, LakeError> {
        let table = self.quarantine_table(table)?;
        let Some(state) = table.fresh().await? else { return Ok(HashSet::new()) };
        let mut ids = HashSet::new();
        for job in jobs {
            let only = Only { column: "_ddu_job", equals: job.to_string() };
            ids.extend(row_ids(&table, &state, Some(only)).await?);
        }
        Ok(ids)
    }

    /// The entities whose records are all that some rows in quarantine wait for.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn quarantine_waits(&self, table: &TableName) -> Result<BTreeSet<String>, LakeError> {
        let table = self.quarantine_table(table)?;
        let mut waits = BTreeSet::new();
        let Some(state) = table.fresh().await? else { return Ok(waits) };
        if table.count(&state).await? == 0 {
            return Ok(waits);
        }
        let mut scan = table.scan(&state, &[text(MISSING_COLUMN)], None);
        while let Some(batch) = scan.next().await? {
            let missing = Fields::new(&table.name, &batch).texts(MISSING_COLUMN)?;
            let entities = (0..batch.num_rows()).filter_map(missing).flat_map(str::split_whitespace);
            for entity in entities {
                if !waits.contains(entity) {
                    waits.insert(entity.to_owned());
                }
            }
        }
        Ok(waits)
    }

    /// The staged tables that have a quarantine, empty or not, in the order of their names.
    ///
    /// # Errors
    /// When the database cannot be listed.
    pub async fn quarantine_tables(&self) -> Result<Vec<TableName>, LakeError> {
        let mut tables = Vec::new();
        for name in self.directories(&self.inner.quarantine_database).await? {
            let Ok(name) = TableName::try_from(name) else { continue };
            if self.quarantine_table(&name)?.fresh().await?.is_some() {
                tables.push(name);
            }
        }
        tables.sort();
        Ok(tables)
    }

    pub(super) fn quarantine_table(&self, table: &TableName) -> Result<Arc<Table>, LakeError> {
        self.table(&self.inner.quarantine_database, table.as_str(), TableKind::Quarantine)
    }
}

impl QuarantineWriter {
    /// The sender's columns in the order in which they were given; every row has one value for each.
    pub fn columns(&self) -> &[StagedColumn] {
        &self.columns
    }

    /// Writes rows behind the others; some thousands at a time keep memory small.
    ///
    /// # Errors
    /// When a row has not one value per column, or storage fails.
    pub async fn add(&mut self, rows: &[QuarantineRow]) -> Result<(), LakeError> {
        if let Leaving::Rows(leaving) = &mut self.leaving {
            leaving.extend(rows.iter().map(|row| row.row.id));
        }
        let batch = encode(&self.table.name, &self.columns, rows)?;
        self.files.write(&batch).await
    }

    /// Makes the change happen, all at once. On the disk when it returns.
    ///
    /// # Errors
    /// `Contended` when other processes moved the table at every try; the caller begins again.
    pub async fn commit(self) -> Result<Committed, LakeError> {
        let QuarantineWriter { table, columns, leaving, txn, files } = self;
        let rows = files.rows();
        let adds = files.finish().await?;
        let _turn = table.turn().await;
        let mut tries = Tries::new();
        loop {
            let state = table.ensure(&quarantine_table_columns(&columns)).await?;
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(done);
            }
            // Where no row is left, the columns of a staged table that was replaced since do not bind those of this one.
            let is_empty = table.count(&state).await? == 0;
            let (mut actions, columns): (Vec<Action>, _) = match &leaving {
                Leaving::Rows(ids) if !is_empty => {
                    let existing = senders_columns(&table.columns(&state)?);
                    let fitted = fit_to_table(&table.name, columns.clone(), &existing)?;
                    let rewritten = without(&table, &state, ids, None).await?;
                    (rewritten, merged(&existing, &fitted))
                }
                Leaving::Rows(_) | Leaving::Everything => {
                    let removes = table.entries(&state).iter().map(|entry| entry.remove(true)).collect();
                    (removes, columns.clone())
                }
            };
            let kind = match actions.is_empty() {
                true => ChangeKind::Append,
                false => ChangeKind::Rewrite,
            };
            actions.extend(table.evolve(&state, &quarantine_table_columns(&columns))?);
            actions.extend(adds.iter().cloned().map(Action::Add));
            match table.commit(&state, Change { actions, kind, rows, shares: Vec::new() }, Some(&txn)).await?
            {
                Some(done) => return Ok(done),
                None => tries.again(&table).await?,
            }
        }
    }
}

/// Reads rows in quarantine, a batch at a time.
pub struct QuarantineReader {
    table: String,
    columns: Vec<StagedColumn>,
    scan: Option<Scan>,
}

impl QuarantineReader {
    /// The sender's columns; every row has one value for each.
    pub fn columns(&self) -> &[StagedColumn] {
        &self.columns
    }

    /// The next rows, never none; `None` after the last.
    ///
    /// # Errors
    /// When a file cannot be read, or a row in it does not read back.
    pub async fn next(&mut self) -> Result<Option<Vec<QuarantineRow>>, LakeError> {
        let Some(scan) = &mut self.scan else { return Ok(None) };
        match scan.next().await? {
            Some(batch) => decode(&self.table, &self.columns, &batch).map(Some),
            None => Ok(None),
        }
    }
}

fn encode(table: &str, columns: &[StagedColumn], rows: &[QuarantineRow]) -> Result<RecordBatch, LakeError> {
    let mut arrays = staged_arrays(table, columns, rows.iter().map(|row| &row.row))?;
    let joined = |part: fn(&Refusal) -> &str| {
        rows.iter().map(move |row| row.refusals.iter().map(part).collect::<Vec<_>>().join("\n"))
    };
    let errors: Vec<String> = joined(|refusal| &refusal.error).collect();
    let causes: Vec<String> = joined(|refusal| &refusal.cause).collect();
    let wholes = rows.iter().map(|row| serde_json::to_string(&row.refusals).doing(table, "encode rows"));
    let wholes = wholes.collect::<Result<Vec<_>, _>>()?;
    let missing = |row: &QuarantineRow| {
        let entities: BTreeSet<&str> = waits_for(&row.refusals)
            .into_iter()
            .flat_map(Missing::alternatives)
            .map(|missing| missing.entity.as_str())
            .collect();
        (!entities.is_empty()).then(|| entities.into_iter().collect::<Vec<_>>().join(" "))
    };
    let missing: Vec<Option<String>> = rows.iter().map(missing).collect();
    let column = |row: &QuarantineRow| row.refusals.iter().find_map(|refusal| refusal.column.clone());
    let at: Vec<Option<String>> = rows.iter().map(column).collect();
    arrays.extend([
        texts(errors.iter().map(|text| Some(text.as_str()))),
        texts(causes.iter().map(|text| Some(text.as_str()))),
        texts(at.iter().map(|text| text.as_deref())),
        ints(rows.iter().map(|row| row.attempt)),
        times(rows.iter().map(|row| row.time)),
        texts(wholes.iter().map(|text| Some(text.as_str()))),
        texts(missing.iter().map(|text| text.as_deref())),
    ]);
    batch(table, arrow_schema(&quarantine_table_columns(columns)), arrays)
}

fn decode(
    table: &str,
    columns: &[StagedColumn],
    batch: &RecordBatch,
) -> Result<Vec<QuarantineRow>, LakeError> {
    let fields = Fields::new(table, batch);
    let (wholes, attempts) = (fields.texts(REFUSALS_COLUMN)?, fields.ints("_ddu_attempt")?);
    let times = fields.times("_ddu_time")?;
    let rows = staged_rows(table, columns, batch)?.into_iter().enumerate();
    let row = |(i, row)| {
        Ok(QuarantineRow {
            row,
            refusals: match wholes(i) {
                Some(json) => serde_json::from_str(json).doing(table, "read the refusals of a row")?,
                None => Vec::new(),
            },
            attempt: attempts(i).unwrap_or(0),
            time: times(i),
        })
    };
    rows.map(row).collect()
}
