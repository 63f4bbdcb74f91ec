//! Receipts: what was written under which key, so that it can be checked and undone.

use std::collections::HashSet;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use jiff::Timestamp;
use serde::Serialize;

use super::Lakehouse;
use super::error::LakeError;
use super::log::Appender;
use super::parquet::{Only, Scan};
use super::rewrite::{Leavers, take_rows};
use super::rows::{Fields, batch, ints, texts, times, truths};
use super::schema::{Column, arrow_schema, column, int, text};
use super::stage::Begin;
use super::table::{Committed, Table, TableKind};
use super::txn::{JobTxn, Txn};
use crate::domain::job::JobId;
use crate::domain::row::RowId;
use crate::domain::table::TableName;
use crate::domain::value::StageType;

/// The receipts' table.
const TABLE: &str = "migration_receipts";

/// One row that the target has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Receipt {
    /// The staged table.
    pub table_name: String,
    /// The staged row.
    pub row_id: RowId,
    /// The record's key at the target.
    pub target_key: String,
    /// The job that wrote it.
    pub job: String,
    /// The batch that carried it, from 0.
    pub batch_id: i32,
    /// When it was heard.
    pub time: Timestamp,
    /// Whether this write created the record; `None` where nobody can tell.
    pub created: Option<bool>,
    /// The record's own id (Dataverse's GUID), where it is known.
    pub record_id: Option<String>,
}

pub(super) fn columns() -> Vec<Column> {
    vec![
        text("table_name"),
        text("row_id"),
        text("target_key"),
        text("job"),
        int("batch_id"),
        column("time", StageType::Timestamp),
        column("created", StageType::Boolean),
        text("record_id"),
    ]
}

/// Receipts on their way; none can be read before [`ReceiptWriter::commit`].
pub struct ReceiptWriter {
    appender: Appender,
}

/// Which receipts are wanted.
#[derive(Debug, Clone, Copy)]
pub enum ReceiptsOf<'a> {
    /// Those of all rows.
    All,
    /// Those of a staged table.
    Table(&'a TableName),
    /// Those that a job wrote.
    Job(&'a JobId),
}

impl Lakehouse {
    /// Begins to append receipts of a staged table's job, unless this transaction is there already.
    ///
    /// # Errors
    /// When the table's log cannot be read; `Overtaken` where a later job of this table was committed before.
    pub async fn append_receipts(
        &self,
        table: &TableName,
        txn: &JobTxn,
    ) -> Result<Begin<ReceiptWriter>, LakeError> {
        let txn = Txn::new(format!("ddu/receipts/{table}"), txn);
        Ok(match Appender::begin(self.receipts_table()?, columns(), txn).await? {
            Begin::AlreadyDone(done) => Begin::AlreadyDone(done),
            Begin::Open(appender) => Begin::Open(ReceiptWriter { appender }),
        })
    }

    /// The receipts in the order in which they were written.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn receipts(&self, of: ReceiptsOf<'_>) -> Result<ReceiptReader, LakeError> {
        let only = match of {
            ReceiptsOf::All => None,
            ReceiptsOf::Table(table) => Some(Only { column: "table_name", equals: table.to_string() }),
            ReceiptsOf::Job(job) => Some(Only { column: "job", equals: job.to_string() }),
        };
        let receipts = self.receipts_table()?;
        let scan = receipts.fresh().await?.map(|state| receipts.scan(&state, &columns(), only));
        Ok(ReceiptReader { table: receipts.name.clone(), scan })
    }

    /// Takes the receipts of these rows back that a job wrote for a staged table: their records are no more.
    ///
    /// # Errors
    /// `Contended` when other processes moved the table at every try; the caller calls again.
    pub async fn withdraw_receipts(
        &self,
        table: &TableName,
        job: &JobId,
        rows: &HashSet<RowId>,
        txn: &JobTxn,
    ) -> Result<(), LakeError> {
        let leavers = Leavers {
            column: "row_id",
            ids: rows,
            of: Some(Only { column: "job", equals: job.to_string() }),
        };
        let txn = Txn::new(format!("ddu/undo-receipts/{table}"), txn);
        take_rows(&*self.receipts_table()?, &leavers, rows.len() as u64, &txn).await
    }

    pub(super) fn receipts_table(&self) -> Result<Arc<Table>, LakeError> {
        self.table(&self.inner.database, TABLE, TableKind::Receipts)
    }
}

impl ReceiptWriter {
    /// Writes receipts behind the others; some thousands at a time keep memory and files small.
    ///
    /// # Errors
    /// When storage fails. The writer is to be dropped then.
    pub async fn add(&mut self, receipts: &[Receipt]) -> Result<(), LakeError> {
        let batch = encode(&self.appender.table.name, receipts)?;
        self.appender.write(&batch).await
    }

    /// Makes the receipts appear, all at once. On the disk when it returns.
    ///
    /// # Errors
    /// `Contended` when other processes moved the table at every try; the caller begins again.
    pub async fn commit(self) -> Result<Committed, LakeError> {
        self.appender.commit().await
    }
}

/// Reads receipts, a batch at a time.
pub struct ReceiptReader {
    table: String,
    scan: Option<Scan>,
}

impl ReceiptReader {
    /// The next receipts, never none; `None` after the last.
    ///
    /// # Errors
    /// When a file cannot be read, or a row id in it is none.
    pub async fn next(&mut self) -> Result<Option<Vec<Receipt>>, LakeError> {
        let Some(scan) = &mut self.scan else { return Ok(None) };
        match scan.next().await? {
            Some(batch) => decode(&self.table, &batch).map(Some),
            None => Ok(None),
        }
    }
}

fn encode(table: &str, rows: &[Receipt]) -> Result<RecordBatch, LakeError> {
    let ids: Vec<String> = rows.iter().map(|row| row.row_id.to_string()).collect();
    let arrays = vec![
        texts(rows.iter().map(|row| Some(row.table_name.as_str()))),
        texts(ids.iter().map(|id| Some(id.as_str()))),
        texts(rows.iter().map(|row| Some(row.target_key.as_str()))),
        texts(rows.iter().map(|row| Some(row.job.as_str()))),
        ints(rows.iter().map(|row| row.batch_id)),
        times(rows.iter().map(|row| row.time)),
        truths(rows.iter().map(|row| row.created)),
        texts(rows.iter().map(|row| row.record_id.as_deref())),
    ];
    batch(table, arrow_schema(&columns()), arrays)
}

fn decode(table: &str, batch: &RecordBatch) -> Result<Vec<Receipt>, LakeError> {
    let fields = Fields::new(table, batch);
    let (table_name, job) = (fields.texts("table_name")?, fields.texts("job")?);
    let (row_id, target_key) = (fields.texts("row_id")?, fields.texts("target_key")?);
    let (batch_id, time) = (fields.ints("batch_id")?, fields.times("time")?);
    let (created, record_id) = (fields.truths("created")?, fields.texts("record_id")?);
    let row = |i| {
        Ok(Receipt {
            table_name: table_name(i).unwrap_or_default().to_owned(),
            row_id: fields.row_id(row_id(i))?,
            target_key: target_key(i).unwrap_or_default().to_owned(),
            job: job(i).unwrap_or_default().to_owned(),
            batch_id: batch_id(i).unwrap_or(0),
            time: time(i),
            created: created(i),
            record_id: record_id(i).map(str::to_owned),
        })
    };
    (0..batch.num_rows()).map(row).collect()
}
