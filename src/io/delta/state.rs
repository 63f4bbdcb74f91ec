//! The migration state: one row a table, the guide's columns first.

use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::kernel::Action;
use deltalake::table::state::DeltaTableState;
use jiff::Timestamp;
use serde::Serialize;

use super::Lakehouse;
use super::error::{Doing, LakeError};
use super::parquet::file_writer;
use super::rows::{Fields, batch, ints, longs, texts, times, truths};
use super::schema::{Column, arrow_schema, column, int, text};
use super::table::{Change, ChangeKind, Committed, Table, TableKind, Tries};
use super::txn::{JobTxn, Share, Txn};
use crate::domain::table::TableName;
use crate::domain::value::StageType;

/// The state's table.
const TABLE: &str = "migration_state";
/// Where its files stand; its one file is replaced as a whole, so their order is of no matter.
const SLOT: &str = "state";

/// Where a table's migration stands. The fields are the columns in their order; the guide's are the first five.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateRow {
    /// The table's place in the order of first appearance, from 1. [`Lakehouse::put_state`] gives it.
    pub id: i32,
    /// The staged table.
    pub table_name: String,
    /// Rows that are staged: written, quarantined and pending together.
    pub records: i64,
    /// Whether every validation succeeded.
    pub validated: bool,
    /// Requests at once at most.
    pub workers: i32,
    /// The entity at the target.
    pub target_entity: String,
    /// Rows that the target has.
    pub written: i64,
    /// Rows in quarantine.
    pub quarantined: i64,
    /// Rows that are still to be written.
    pub pending: i64,
    /// The word for it.
    pub status: String,
    /// When this row was last changed.
    pub updated: Timestamp,
    /// What was checked, when, and what came of it; `None` while nothing was since the rows changed.
    pub validation: Option<String>,
}

pub(super) fn columns() -> Vec<Column> {
    vec![
        int("id"),
        text("table_name"),
        column("records", StageType::Integer),
        column("validated", StageType::Boolean),
        int("workers"),
        text("target_entity"),
        column("written", StageType::Integer),
        column("quarantined", StageType::Integer),
        column("pending", StageType::Integer),
        text("status"),
        column("updated", StageType::Timestamp),
        text("validation"),
    ]
}

impl Lakehouse {
    /// Puts a table's row in the place of the one it has, or behind the others; its `id` is kept or given here.
    ///
    /// `step` names the step of the job that reports, so that each step of a job reports once; a replay changes nothing.
    ///
    /// # Errors
    /// `Contended` when other processes moved the table at every try; the caller calls again.
    pub async fn put_state(&self, row: &StateRow, step: &str, txn: &JobTxn) -> Result<Committed, LakeError> {
        self.put_state_of(row, step, std::slice::from_ref(txn)).await
    }

    /// As [`Lakehouse::put_state`], for several jobs of the table at once, in the order of their claims.
    ///
    /// # Errors
    /// As [`Lakehouse::put_state`].
    pub async fn put_state_of(
        &self,
        row: &StateRow,
        step: &str,
        txns: &[JobTxn],
    ) -> Result<Committed, LakeError> {
        let last = txns.last().expect("a state is reported by a job");
        let shares = shares(txns);
        let txn = Txn::new(format!("ddu/state/{}/{step}", row.table_name), last);
        let table = self.state_table()?;
        let _turn = table.turn().await;
        let mut tries = Tries::new();
        loop {
            let state = table.ensure(&columns()).await?;
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(done);
            }
            let mut rows = read(&table, &state).await?;
            let last = rows.iter().map(|row| row.id).max().unwrap_or(0);
            match rows.iter_mut().find(|old| old.table_name == row.table_name) {
                Some(old) => *old = StateRow { id: old.id, ..row.clone() },
                None => rows.push(StateRow { id: last + 1, ..row.clone() }),
            }
            let actions = replaced(&table, &state, &rows).await?;
            let change = Change { actions, kind: ChangeKind::Overwrite, rows: 1, shares: shares.clone() };
            match table.commit(&state, change, Some(&txn)).await? {
                Some(done) => return Ok(done),
                None => tries.again(&table).await?,
            }
        }
    }

    /// Whether a step of a job has reported the table's state.
    ///
    /// # Errors
    /// When the table's log cannot be read; `Overtaken` where a later job of this table has reported this step.
    pub async fn has_state(&self, table: &TableName, step: &str, txn: &JobTxn) -> Result<bool, LakeError> {
        let txn = Txn::new(format!("ddu/state/{table}/{step}"), txn);
        let states = self.state_table()?;
        match states.fresh().await? {
            Some(state) => Ok(states.look(&state, &txn).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Says of a table what was checked and whether all of it was right, unless its row is not `seen` any more: then the
    /// table has changed since, and what was checked says nothing of it. Any process may call this, beside a daemon too.
    ///
    /// # Errors
    /// `Contended` when other processes moved the table at every try; the caller calls again.
    pub async fn mark_validated(
        &self,
        seen: &StateRow,
        validated: bool,
        validation: &str,
    ) -> Result<bool, LakeError> {
        let table = self.state_table()?;
        let _turn = table.turn().await;
        let mut tries = Tries::new();
        loop {
            let state = table.existing().await?;
            let mut rows = read(&table, &state).await?;
            let Some(row) = rows.iter_mut().find(|row| *row == seen) else { return Ok(false) };
            row.validated = validated;
            row.validation = Some(validation.to_owned());
            let actions = replaced(&table, &state, &rows).await?;
            let change = Change { actions, kind: ChangeKind::Overwrite, rows: 1, shares: Vec::new() };
            match table.commit(&state, change, None).await? {
                Some(_) => return Ok(true),
                None => tries.again(&table).await?,
            }
        }
    }

    /// One row a table, in the order of first appearance.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn states(&self) -> Result<Vec<StateRow>, LakeError> {
        let table = self.state_table()?;
        match table.fresh().await? {
            Some(state) => read(&table, &state).await,
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn state_table(&self) -> Result<Arc<Table>, LakeError> {
        self.table(&self.inner.database, TABLE, TableKind::State)
    }
}

/// What each job brings to a row that speaks for all of them.
fn shares(txns: &[JobTxn]) -> Vec<Share> {
    match txns {
        [_] => Vec::new(),
        several => {
            let share = |txn: &JobTxn| Share { job: txn.job.to_string(), version: txn.version.0, rows: 1 };
            several.iter().map(share).collect()
        }
    }
}

async fn read(table: &Table, state: &DeltaTableState) -> Result<Vec<StateRow>, LakeError> {
    let mut scan = table.scan(state, &columns(), None);
    let mut rows = Vec::new();
    while let Some(batch) = scan.next().await? {
        rows.extend(decode(&table.name, &batch)?);
    }
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

/// The actions that put these rows in the place of all that the table holds.
async fn replaced(
    table: &Table,
    state: &DeltaTableState,
    rows: &[StateRow],
) -> Result<Vec<Action>, LakeError> {
    let mut actions: Vec<Action> = table.widen(state, &columns())?.into_iter().collect();
    actions.extend(table.entries(state).iter().map(|entry| entry.remove(true)));
    actions.extend(write(table, rows).await?);
    Ok(actions)
}

async fn write(table: &Table, rows: &[StateRow]) -> Result<Vec<Action>, LakeError> {
    let (schema, stats) = (arrow_schema(&columns()), table.kind.stats());
    let mut writer = file_writer(&table.name, &table.store(), &schema, stats, SLOT.into())?;
    writer.write(&encode(&table.name, rows)?).await.doing(&table.name, "write rows")?;
    let adds = writer.close().await.doing(&table.name, "write rows")?;
    Ok(adds.into_iter().map(Action::Add).collect())
}

fn encode(table: &str, rows: &[StateRow]) -> Result<RecordBatch, LakeError> {
    let arrays = vec![
        ints(rows.iter().map(|row| row.id)),
        texts(rows.iter().map(|row| Some(row.table_name.as_str()))),
        longs(rows.iter().map(|row| row.records)),
        truths(rows.iter().map(|row| Some(row.validated))),
        ints(rows.iter().map(|row| row.workers)),
        texts(rows.iter().map(|row| Some(row.target_entity.as_str()))),
        longs(rows.iter().map(|row| row.written)),
        longs(rows.iter().map(|row| row.quarantined)),
        longs(rows.iter().map(|row| row.pending)),
        texts(rows.iter().map(|row| Some(row.status.as_str()))),
        times(rows.iter().map(|row| row.updated)),
        texts(rows.iter().map(|row| row.validation.as_deref())),
    ];
    batch(table, arrow_schema(&columns()), arrays)
}

fn decode(table: &str, batch: &RecordBatch) -> Result<Vec<StateRow>, LakeError> {
    let fields = Fields::new(table, batch);
    let (id, table_name) = (fields.ints("id")?, fields.texts("table_name")?);
    let (records, validated) = (fields.longs("records")?, fields.truths("validated")?);
    let (workers, target_entity) = (fields.ints("workers")?, fields.texts("target_entity")?);
    let (written, quarantined) = (fields.longs("written")?, fields.longs("quarantined")?);
    let (pending, status) = (fields.longs("pending")?, fields.texts("status")?);
    let (updated, validation) = (fields.times("updated")?, fields.texts("validation")?);
    let row = |i| StateRow {
        id: id(i).unwrap_or(0),
        table_name: table_name(i).unwrap_or_default().to_owned(),
        records: records(i).unwrap_or(0),
        validated: validated(i).unwrap_or(false),
        workers: workers(i).unwrap_or(0),
        target_entity: target_entity(i).unwrap_or_default().to_owned(),
        written: written(i).unwrap_or(0),
        quarantined: quarantined(i).unwrap_or(0),
        pending: pending(i).unwrap_or(0),
        status: status(i).unwrap_or_default().to_owned(),
        updated: updated(i),
        validation: validation(i).map(str::to_owned),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
