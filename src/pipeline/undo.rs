//! undo: deletes what a job created, newest first, and takes its rows out of the tables; what was changed since stays.

mod decide;
mod survey;

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::claim::Job;
use super::prove::{KEY_UNKNOWN, Sender};
use super::{Halt, Pipeline};
use crate::domain::job::{JobId, TxnVersion};
use crate::domain::refusal::Severity;
use crate::domain::row::RowId;
use crate::domain::table::TableName;
use crate::io::delta::{Begin, JobTxn, Leaving, LogRow, StateRow};
use crate::io::dynamics::{BatchShape, History, Operation, Outcome, Sought, Waiting};
use crate::io::spool::undo_dir::{LeftRow, Undo, UndoEvent, UndoRecord};

use decide::{Decided, Deciding, Fate};
use survey::{Doomed, Survey};

/// The step of the undo, as the transactions of quarantine and state name it.
const STEP: &str = "undone";

/// What an undo does, or would do, in one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UndoneTable {
    /// The staged table.
    pub table_name: TableName,
    /// The entity.
    pub target_entity: String,
    /// Records that were, or would be, deleted; those that are gone already among them.
    pub deleted: u64,
    /// Records that the job only changed: they stay as they are.
    pub updated: u64,
    /// Rows of the job in quarantine, which leave it.
    pub quarantined: u64,
    /// Records that stay although the job created them, or may have.
    pub left: Vec<LeftRow>,
}

/// Why a job cannot be undone. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum UndoFault {
    /// No such job.
    #[error("there is no job {job} in the archive; `ddu log` names jobs by their ids")]
    Unknown {
        /// As it was asked for.
        job: JobId,
    },
    /// It is not done yet.
    #[error("job {job} is still in work; let it end first (`ddu run --once`), then undo it")]
    InWork {
        /// The job.
        job: JobId,
    },
    /// Another job of one of its tables is in work.
    #[error("job {other} of table {table} is in work; let it end first (`ddu run --once`)")]
    TableInWork {
        /// The other job.
        other: JobId,
        /// The table.
        table: TableName,
    },
    /// It wrote to another target, or another database.
    #[error("job {job} wrote to {was}, and the configuration names {is}")]
    Elsewhere {
        /// The job.
        job: JobId,
        /// Where it wrote to.
        was: String,
        /// What the configuration names.
        is: String,
    },
    /// A step did not come to its end; the undo goes on at the next try.
    #[error(transparent)]
    Halt(#[from] Halt),
}

impl Pipeline {
    /// The job, if it can be undone.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn undoable(&self, id: &JobId) -> Result<Job, UndoFault> {
        let in_work = |id: &JobId| self.spool.job_dir(id).record().map_err(Halt::from);
        if in_work(id)?.is_some() {
            return Err(UndoFault::InWork { job: id.clone() });
        }
        let Some(job) = self.job_for_reading(id)? else { return Err(UndoFault::Unknown { job: id.clone() }) };
        let elsewhere = |was: &str, is: &str| UndoFault::Elsewhere {
            job: id.clone(),
            was: was.to_owned(),
            is: is.to_owned(),
        };
        if job.record.target != self.dynamics.target_id() {
            return Err(elsewhere(&job.record.target, self.dynamics.target_id()));
        }
        if job.record.database != self.settings.database {
            return Err(elsewhere(&job.record.database, &self.settings.database));
        }
        for other in self.spool.jobs().map_err(Halt::from)? {
            let Some(record) = in_work(&other)? else { continue };
            let table = job.record.loads.iter().map(|load| &load.table_name);
            let shared =
                table.clone().find(|table| record.loads.iter().any(|load| load.table_name == **table));
            if let Some(table) = shared {
                return Err(UndoFault::TableInWork { other, table: table.clone() });
            }
        }
        Ok(job)
    }

    /// What undoing the job would do, table by table; nothing is changed anywhere.
    ///
    /// # Errors
    /// When the tables or the target cannot be read.
    pub async fn undo_preview(&self, job: &Job) -> Result<Vec<UndoneTable>, Halt> {
        let mut tables = Vec::new();
        for (_, table) in newest_first(job) {
            let survey = self.survey(job, &table, &HashSet::new()).await?;
            let mut undone = self.undone_table(job, &table, &survey).await?;
            let mut deciding = Deciding::new(self, job, &table, survey.doomed);
            while let Some((_, decided)) = deciding.next().await? {
                for one in decided {
                    match one.fate {
                        Fate::Delete(_) | Fate::Gone => undone.deleted += 1,
                        Fate::Left(left) => undone.left.push(left),
                    }
                }
            }
            tables.push(undone);
        }
        Ok(tables)
    }

    /// Begins the undo of a job, or finds the one that was cut short.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn undo_begin(&self, job: &Job) -> Result<Undo, Halt> {
        if let Some(undo) = self.spool.undo_begun(&job.record.job)? {
            return Ok(undo);
        }
        let begun_at = (self.now)();
        let seq = self.spool.next_seqs(begun_at, 1)?;
        let hash = Sha256::digest(format!("undo {} {}", job.record.job, seq.0));
        let undo = JobId::new(begun_at, &hash.into());
        Ok(self.spool.begin_undo(UndoRecord { undo, undoes: job.record.job.clone(), seq, begun_at })?)
    }

    /// Takes an undo from where its journal stands to its end, and returns what it did and where its evidence lies.
    ///
    /// # Errors
    /// When the target, a table or the disk does not answer; it goes on at the next call.
    pub async fn undo(&self, job: &Job, mut undo: Undo) -> Result<(Vec<UndoneTable>, PathBuf), Halt> {
        let mut tables = Vec::new();
        for (number, table) in newest_first(job) {
            let decided: HashSet<RowId> = {
                let ledger = undo.table(number);
                ledger.deleted.iter().copied().chain(ledger.left.iter().map(|left| left.row)).collect()
            };
            let survey = self.survey(job, &table, &decided).await?;
            let mut undone = self.undone_table(job, &table, &survey).await?;
            if !undo.table(number).is_deleted {
                self.delete(job, &table, survey, &mut undo, number).await?;
                undo.append((self.now)(), UndoEvent::Deleted { table: number })?;
            }
            let ledger = undo.table(number);
            undone.deleted = ledger.deleted.len() as u64;
            undone.left.extend(ledger.left.iter().cloned());
            if !ledger.is_recorded {
                self.record_undo(job, &mut undo, number, &undone).await?;
                undo.append((self.now)(), UndoEvent::Recorded { table: number })?;
            }
            tables.push(undone);
        }
        let folder = self.spool.end_undo(undo)?;
        tracing::info!(job = %job.record.job, "job undone");
        Ok((tables, folder))
    }

    /// Goes on with an undo that was cut short. Where it cannot go on now that is told in the log, and it goes on at the
    /// next start.
    pub async fn go_on_with_undo(&self, id: &JobId) {
        let done: Result<(), Halt> = async {
            let Some(undo) = self.spool.undo_begun(id)? else { return Ok(()) };
            let Some(job) = self.job_for_reading(id)? else {
                let waiting_for = format!("the operator: the folder of job {id} is gone from the archive");
                return Err(Halt::Wait { waiting_for, retry: super::OPERATOR_WAIT });
            };
            self.undo(&job, undo).await.map(drop)
        }
        .await;
        if let Err(halt) = done {
            let waiting_for = halt.waiting_for();
            tracing::error!(job = %id, waiting_for, "undo rests; it goes on with the next start or `ddu undo`");
        }
    }

    async fn undone_table(&self, job: &Job, table: &TableName, survey: &Survey) -> Result<UndoneTable, Halt> {
        let load = job.record.loads.iter().find(|load| load.table_name == *table);
        let load = load.expect("the tables are those of the job's loads");
        Ok(UndoneTable {
            table_name: table.clone(),
            target_entity: load.target_entity.clone(),
            deleted: 0,
            updated: survey.updated,
            quarantined: self.held_rows(job, table).await?.len() as u64,
            left: survey.left.clone(),
        })
    }

    /// The job's rows in quarantine.
    async fn held_rows(&self, job: &Job, table: &TableName) -> Result<HashSet<RowId>, Halt> {
        let mut held = HashSet::new();
        let mut reader = self.lake.quarantine_rows(table, Some(&job.record.job)).await?;
        while let Some(rows) = reader.next().await? {
            held.extend(rows.iter().map(|row| row.row.id));
        }
        Ok(held)
    }

    async fn delete(
        &self,
        job: &Job,
        table: &TableName,
        survey: Survey,
        undo: &mut Undo,
        number: u16,
    ) -> Result<(), Halt> {
        let mut deciding = Deciding::new(self, job, table, survey.doomed);
        while let Some((sender, decided)) = deciding.next().await? {
            self.delete_batch(decided, sender, undo, number).await?;
            if self.stop.is_cancelled() {
                return Err(Halt::Stopping);
            }
        }
        Ok(())
    }

    async fn delete_batch(
        &self,
        decided: Vec<Decided>,
        sender: &Sender,
        undo: &mut Undo,
        number: u16,
    ) -> Result<(), Halt> {
        let (mut deleted, mut left, mut going) = (Vec::new(), Vec::new(), Vec::new());
        let mut operations: Vec<Operation> = Vec::new();
        for one in decided {
            match one.fate {
                Fate::Gone => deleted.push(one.doomed.row),
                Fate::Left(row) => left.push(row),
                Fate::Delete(etag) => {
                    let Doomed { row, record, .. } = &one.doomed;
                    let deletion = sender.plan.deletion(*row, record, etag.as_deref());
                    match deletion.zip(Sought::record(&sender.plan, record)) {
                        Some((operation, sought)) => {
                            operations.push(operation);
                            going.push((one.doomed, sought));
                        }
                        None => left.push(one.doomed.left(KEY_UNKNOWN.to_owned())),
                    }
                }
            }
        }
        if !operations.is_empty() {
            let rows = operations.len() as u32;
            undo.append((self.now)(), UndoEvent::BatchSent { table: number, rows })?;
            let waiting = |waiting: Waiting| {
                tracing::info!(undo = %undo.record.undo, reason = waiting.reason, "waiting for the target");
            };
            // A record that a deletion does not find is gone, which is all that is wanted.
            let sent = self.dynamics.send(&operations, BatchShape::Independent, History::InDoubt, &waiting);
            let report = sent.await?;
            let (mut refused, mut sought) = (Vec::new(), Vec::new());
            for ((doomed, one), outcome) in going.into_iter().zip(report.outcomes) {
                match outcome {
                    Outcome::Written(_) => deleted.push(doomed.row),
                    Outcome::Refused(refusal) => {
                        refused.push((doomed, refusal));
                        sought.push(one);
                    }
                }
            }
            let found = self.dynamics.read_back(&sender.plan, &sought).await?.found;
            for ((doomed, refusal), found) in refused.into_iter().zip(found) {
                match found {
                    None => deleted.push(doomed.row),
                    Some(_) => {
                        left.push(doomed.left(format!("Dynamics did not delete it: {}", refusal.error)))
                    }
                }
            }
        }
        undo.append((self.now)(), UndoEvent::BatchHeard { table: number, deleted, left })?;
        Ok(())
    }

    /// Says in the lakehouse what was undone; every commit recognises itself on a replay.
    async fn record_undo(
        &self,
        job: &Job,
        undo: &mut Undo,
        number: u16,
        undone: &UndoneTable,
    ) -> Result<(), Halt> {
        let UndoneTable { table_name: table, target_entity, .. } = undone;
        let record = undo.record.clone();
        let txn = JobTxn { job: record.undo.clone(), version: TxnVersion::of(record.seq, number) };
        let deleted = undo.table(number).deleted.clone();
        let held = self.held_rows(job, table).await?;
        // The staged rows leave first: a replay still finds in quarantine what it has to take out there.
        let leaving: HashSet<RowId> = deleted.union(&held).copied().collect();
        self.lake.unstage(table, &job.record.job, &leaving, &txn).await?;
        if !held.is_empty() {
            let columns = self.lake.staged_columns(table).await?.unwrap_or_default();
            let begun = self.lake.change_quarantine(table, columns, Leaving::Rows(held), STEP, &txn).await?;
            if let Begin::Open(writer) = begun {
                writer.commit().await?;
            }
        }
        self.lake.withdraw_receipts(table, &job.record.job, &deleted, &txn).await?;
        let (gone, left) = (deleted.len() as i64, undone.left.len());
        let stays = if left == 0 { String::new() } else { format!(", {left} left") };
        let said = format!("job {} undone: {gone} records deleted{stays}", job.record.job);
        let log = LogRow {
            table_name: table.to_string(),
            partition_id: i32::from(number),
            batch_id: 0,
            batch_size: (gone + left as i64) as i32,
            write_time: 0.0,
            time: (self.now)(),
            error: None,
            severity: if left == 0 { Severity::Fine } else { Severity::Rows }.number(),
            cause: Some(said.clone()),
            quarantine_table: None,
            job: record.undo.to_string(),
            target_entity: target_entity.clone(),
            legal_entity: None,
            rows_written: -gone,
            rows_quarantined: -(undone.quarantined as i64),
            attempt: 1,
        };
        self.lake.append_undo_log(table, &txn, &[log]).await?;
        let states = self.lake.states().await?;
        if let Some(before) = states.into_iter().find(|state| state.table_name == table.as_str()) {
            let records = self.lake.staged_count(table).await? as i64;
            let quarantined = self.lake.quarantine_count(table).await? as i64;
            let state = StateRow {
                records,
                quarantined,
                // What is pending was never written, and an undo has nothing to do with it.
                written: records - quarantined - before.pending,
                validated: false,
                validation: None,
                status: said,
                updated: (self.now)(),
                ..before
            };
            self.lake.put_state(&state, STEP, &txn).await?;
        }
        if undone.left.is_empty() {
            for load in job.record.loads.iter().filter(|load| load.table_name == *table) {
                self.spool.forget_loaded(&job.record, load)?;
            }
        }
        Ok(())
    }
}

/// The tables of a job with their places, in the order in which they are undone.
fn newest_first(job: &Job) -> Vec<(u16, TableName)> {
    let mut tables: Vec<TableName> = Vec::new();
    for load in &job.record.loads {
        if !tables.contains(&load.table_name) {
            tables.push(load.table_name.clone());
        }
    }
    (0..).zip(tables).collect::<Vec<_>>().into_iter().rev().collect()
}

impl Doomed {
    /// The row, with the reason why its record stays.
    fn left(&self, reason: String) -> LeftRow {
        LeftRow { row: self.row, record: self.record.to_string(), reason }
    }
}
