//! The migration log: one row a batch, the guide's columns first.

use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::kernel::Action;
use jiff::Timestamp;
use serde::Serialize;

use super::Lakehouse;
use super::error::LakeError;
use super::parquet::{FileWriter, Only, Scan};
use super::rows::{Fields, batch, floats, ints, longs, texts, times};
use super::schema::{Column, arrow_schema, column, float, int, text};
use super::stage::Begin;
use super::table::{Change, ChangeKind, Committed, Table, TableKind, Tries};
use super::txn::{JobTxn, Txn};
use crate::domain::table::TableName;
use crate::domain::value::StageType;

/// The log's table.
const TABLE: &str = "migration_log";
/// Rows in one batch while they are written.
const WRITE_ROWS_MAX: usize = 8_192;

/// What came of one batch. The fields are the table's columns in their order; the guide's are the first ten.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRow {
    /// The table that is migrated.
    pub table_name: String,
    /// The part of the job.
    pub partition_id: i32,
    /// The batch in that part, from 0.
    pub batch_id: i32,
    /// Rows in the batch.
    pub batch_size: i32,
    /// Seconds from the first byte sent to the last heard.
    pub write_time: f32,
    /// When the batch was heard.
    pub time: Timestamp,
    /// What the target said, where something was wrong.
    pub error: Option<String>,
    /// How bad it was, see [`crate::domain::refusal::Severity`].
    pub severity: i32,
    /// The sentence about it.
    pub cause: Option<String>,
    /// Where refused rows went, `quarantine.customers`.
    pub quarantine_table: Option<String>,
    /// The job.
    pub job: String,
    /// The entity at the target.
    pub target_entity: String,
    /// The F&O company.
    pub legal_entity: Option<String>,
    /// Rows of the batch that the target has.
    pub rows_written: i64,
    /// Rows of the batch that went to quarantine.
    pub rows_quarantined: i64,
    /// The attempt that was heard, from 1.
    pub attempt: i32,
}

pub(super) fn columns() -> Vec<Column> {
    vec![
        text("table_name"),
        int("partition_id"),
        int("batch_id"),
        int("batch_size"),
        float("write_time"),
        column("time", StageType::Timestamp),
        text("error"),
        int("severity"),
        text("cause"),
        text("quarantine_table"),
        text("job"),
        text("target_entity"),
        text("legal_entity"),
        column("rows_written", StageType::Integer),
        column("rows_quarantined", StageType::Integer),
        int("attempt"),
    ]
}

impl Lakehouse {
    /// Appends the rows unless this transaction is already in the log, so a replay after a crash is harmless.
    ///
    /// `table` is the staged table whose job writes; its versions only rise.
    ///
    /// # Errors
    /// `Contended` when other processes moved the log at every try; the caller calls again.
    pub async fn append_log(
        &self,
        table: &TableName,
        txn: &JobTxn,
        rows: &[LogRow],
    ) -> Result<Committed, LakeError> {
        self.append_log_as(Txn::new(format!("ddu/log/{table}"), txn), rows).await
    }

    /// As [`Lakehouse::append_log`], for an undo: it may come behind jobs that were claimed after it was begun.
    ///
    /// # Errors
    /// As [`Lakehouse::append_log`].
    pub async fn append_undo_log(
        &self,
        table: &TableName,
        txn: &JobTxn,
        rows: &[LogRow],
    ) -> Result<Committed, LakeError> {
        self.append_log_as(Txn::new(format!("ddu/undo-log/{table}"), txn), rows).await
    }

    async fn append_log_as(&self, txn: Txn, rows: &[LogRow]) -> Result<Committed, LakeError> {
        let log = self.log_table()?;
        let mut writer = match Appender::begin(log, columns(), txn).await? {
            Begin::AlreadyDone(done) => return Ok(done),
            Begin::Open(writer) => writer,
        };
        for rows in rows.chunks(WRITE_ROWS_MAX) {
            writer.write(&encode(&writer.table.name, rows)?).await?;
        }
        writer.commit().await
    }

    /// The log in the order of the jobs' claims; of one table where it is named.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub async fn log(&self, table: Option<&TableName>) -> Result<LogReader, LakeError> {
        let only = table.map(|table| Only { column: "table_name", equals: table.to_string() });
        let log = self.log_table()?;
        let scan = log.fresh().await?.map(|state| log.scan(&state, &columns(), only));
        Ok(LogReader { table: log.name.clone(), scan })
    }

    pub(super) fn log_table(&self) -> Result<Arc<Table>, LakeError> {
        self.table(&self.inner.database, TABLE, TableKind::Log)
    }
}

/// Reads the log, a batch at a time.
pub struct LogReader {
    table: String,
    scan: Option<Scan>,
}

impl LogReader {
    /// The next rows, never none; `None` after the last.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<LogRow>>, LakeError> {
        let Some(scan) = &mut self.scan else { return Ok(None) };
        match scan.next().await? {
            Some(batch) => decode(&self.table, &batch).map(Some),
            None => Ok(None),
        }
    }
}

fn encode(table: &str, rows: &[LogRow]) -> Result<RecordBatch, LakeError> {
    let arrays = vec![
        texts(rows.iter().map(|row| Some(row.table_name.as_str()))),
        ints(rows.iter().map(|row| row.partition_id)),
        ints(rows.iter().map(|row| row.batch_id)),
        ints(rows.iter().map(|row| row.batch_size)),
        floats(rows.iter().map(|row| row.write_time)),
        times(rows.iter().map(|row| row.time)),
        texts(rows.iter().map(|row| row.error.as_deref())),
        ints(rows.iter().map(|row| row.severity)),
        texts(rows.iter().map(|row| row.cause.as_deref())),
        texts(rows.iter().map(|row| row.quarantine_table.as_deref())),
        texts(rows.iter().map(|row| Some(row.job.as_str()))),
        texts(rows.iter().map(|row| Some(row.target_entity.as_str()))),
        texts(rows.iter().map(|row| row.legal_entity.as_deref())),
        longs(rows.iter().map(|row| row.rows_written)),
        longs(rows.iter().map(|row| row.rows_quarantined)),
        ints(rows.iter().map(|row| row.attempt)),
    ];
    batch(table, arrow_schema(&columns()), arrays)
}

fn decode(table: &str, batch: &RecordBatch) -> Result<Vec<LogRow>, LakeError> {
    let fields = Fields::new(table, batch);
    let (table_name, job) = (fields.texts("table_name")?, fields.texts("job")?);
    let (partition_id, batch_id) = (fields.ints("partition_id")?, fields.ints("batch_id")?);
    let (batch_size, attempt) = (fields.ints("batch_size")?, fields.ints("attempt")?);
    let (write_time, time) = (fields.floats("write_time")?, fields.times("time")?);
    let (error, cause) = (fields.texts("error")?, fields.texts("cause")?);
    let (severity, quarantine_table) = (fields.ints("severity")?, fields.texts("quarantine_table")?);
    let (target_entity, legal_entity) = (fields.texts("target_entity")?, fields.texts("legal_entity")?);
    let (rows_written, rows_quarantined) = (fields.longs("rows_written")?, fields.longs("rows_quarantined")?);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let row = |i| LogRow {
        table_name: table_name(i).unwrap_or_default().to_owned(),
        partition_id: partition_id(i).unwrap_or(0),
        batch_id: batch_id(i).unwrap_or(0),
        batch_size: batch_size(i).unwrap_or(0),
        write_time: write_time(i).unwrap_or(0.0),
        time: time(i),
        error: owned(error(i)),
        severity: severity(i).unwrap_or(0),
        cause: owned(cause(i)),
        quarantine_table: owned(quarantine_table(i)),
        job: job(i).unwrap_or_default().to_owned(),
        target_entity: target_entity(i).unwrap_or_default().to_owned(),
        legal_entity: owned(legal_entity(i)),
        rows_written: rows_written(i).unwrap_or(0),
        rows_quarantined: rows_quarantined(i).unwrap_or(0),
        attempt: attempt(i).unwrap_or(0),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// Rows on their way behind those of one of our books; columns that it does not have yet come with them.
pub(super) struct Appender {
    pub table: Arc<Table>,
    columns: Vec<Column>,
    txn: Txn,
    files: FileWriter,
}

impl Appender {
    pub(super) async fn begin(
        table: Arc<Table>,
        columns: Vec<Column>,
        txn: Txn,
    ) -> Result<Begin<Appender>, LakeError> {
        if let Some(state) = table.fresh().await?
            && let Some(done) = table.look(&state, &txn).await?
        {
            return Ok(Begin::AlreadyDone(done));
        }
        let (store, schema, stats) = (table.store(), arrow_schema(&columns), table.kind.stats());
        let files = FileWriter::new(&table.name, store, schema, stats, txn.version);
        Ok(Begin::Open(Appender { table, columns, txn, files }))
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.files.write(batch).await
    }

    pub(super) async fn commit(self) -> Result<Committed, LakeError> {
        let Appender { table, columns, txn, files } = self;
        let rows = files.rows();
        let adds: Vec<Action> = files.finish().await?.into_iter().map(Action::Add).collect();
        let _turn = table.turn().await;
        let mut tries = Tries::new();
        loop {
            let state = table.ensure(&columns).await?;
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(done);
            }
            let widened = table.widen(&state, &columns)?.into_iter();
            let actions = widened.chain(adds.iter().cloned()).collect();
            let change = Change { actions, kind: ChangeKind::Append, rows, shares: Vec::new() };
            match table.commit(&state, change, Some(&txn)).await? {
                Some(done) => return Ok(done),
                None => tries.again(&table).await?,
            }
        }
    }
}
