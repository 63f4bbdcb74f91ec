//! log, quarantine: what became of a part's rows goes into the tables; every commit recognises itself on a replay.

use std::collections::{HashMap, HashSet};

use super::claim::Job;
use super::preflight::Batch;
use super::{Halt, Pipeline};
use crate::domain::conform::guid_in;
use crate::domain::entity::Entity;
use crate::domain::lifecycle::{Event, Staged};
use crate::domain::refusal::RefusedRow;
use crate::domain::row::{RowId, StagedRow};
use crate::domain::settings::LoadSettings;
use crate::io::delta::{Begin, JobTxn, Leaving, LogRow, QuarantineRow, QuarantineWriter, Receipt, StateRow};

/// The steps of a job that change the quarantine and the state, as their transactions name them.
const STEP_STAGED: &str = "staged";
const STEP_DONE: &str = "done";

impl Pipeline {
    /// Commits quarantine, receipts, log and state of a migrated part.
    ///
    /// # Errors
    /// When a table cannot be written; commits that were made are recognised at the next try.
    pub async fn record(&self, job: &mut Job, part: u16) -> Result<Event, Halt> {
        let (record, load) = (&job.record, &job.record.loads[usize::from(part)]);
        let staged = job.staged(part);
        let txn = job.txn(part);
        let replaced = self.is_replaced(job, part, &staged).await?;
        if replaced && !job.journal.part(part).heard_any() {
            return Ok(Event::Recorded);
        }
        let (entity, plan) = self.plan_of(job, part, &staged).await?;
        let mut quarantine = None;
        let leaving = self.leaving_quarantine(job, part, &staged).await?;
        let ledger = job.journal.part(part);
        let changes = !leaving.is_empty() || ledger.held_rows + ledger.refused_rows > 0;
        // Most parts have nothing to do with the quarantine, which is known beforehand at every try.
        if changes && !replaced {
            let table_columns =
                self.lake.rows(&load.table_name, staged.version, None).await?.columns().to_vec();
            let leaving = Leaving::Rows(leaving);
            quarantine = opened(
                self.lake
                    .change_quarantine(&load.table_name, table_columns, leaving, STEP_DONE, &txn)
                    .await?,
            );
        }
        let mut receipts = opened(self.lake.append_receipts(&load.table_name, &txn).await?);
        let mut log = Vec::new();
        let mut batches = self.batches(job, part, &staged).await?;
        while let Some(Batch { number, rows, whole, .. }) = batches.next().await? {
            let held = job.journal.held(part, number)?;
            let Some(heard) = job.journal.heard(part, number)? else { continue };
            let refused: Vec<&RefusedRow> = held.iter().chain(&heard.refused).collect();
            if let Some(writer) = &mut quarantine {
                self.add_refused(writer, &whole, &refused, heard.attempt, heard.heard_at).await?;
            }
            if let Some(writer) = &mut receipts {
                let refused: HashSet<u32> = refused.iter().map(|row| row.index).collect();
                let written = (0..).zip(&rows).filter(|(index, _)| !refused.contains(index));
                let made: HashMap<u32, &String> =
                    heard.made.iter().map(|(index, key)| (*index, key)).collect();
                let receipt = |(index, row): (u32, &StagedRow)| {
                    let target_key = match made.get(&index) {
                        Some(made) => (*made).clone(),
                        None => plan.target_key(self.dynamics.target_id(), row),
                    };
                    let effect = heard.effects.as_ref().map(|effects| effects.of(index));
                    let told = effect.and_then(|written| written.record);
                    Receipt {
                        table_name: load.table_name.to_string(),
                        row_id: row.id,
                        job: record.job.to_string(),
                        batch_id: number as i32,
                        time: heard.heard_at,
                        created: effect.and_then(|written| written.effect.created()),
                        record_id: told.or_else(|| guid_in(&target_key)).map(|id| id.to_string()),
                        target_key,
                    }
                };
                writer.add(&written.map(receipt).collect::<Vec<_>>()).await?;
            }
            log.push(LogRow {
                table_name: load.table_name.to_string(),
                partition_id: i32::from(part),
                batch_id: number as i32,
                batch_size: rows.len() as i32,
                write_time: heard.took_ms as f32 / 1_000.0,
                time: heard.heard_at,
                error: heard.error,
                severity: heard.severity.number(),
                cause: heard.cause,
                quarantine_table: (!refused.is_empty())
                    .then(|| format!("{}.{}", self.settings.quarantine_database, load.table_name)),
                job: record.job.to_string(),
                target_entity: entity.set_name.clone(),
                legal_entity: load.legal_entity.clone(),
                rows_written: i64::from(heard.written),
                rows_quarantined: refused.len() as i64,
                attempt: heard.attempt as i32,
            });
        }
        if let Some(writer) = quarantine {
            writer.commit().await?;
        }
        if let Some(writer) = receipts {
            writer.commit().await?;
        }
        self.lake.append_log(&load.table_name, &txn, &log).await?;
        if !replaced {
            self.prove_and_report(job, part, &staged, &entity).await?;
        }
        Ok(Event::Recorded)
    }

    /// Whether a later `overwrite` has taken the part's rows out of the table. It can while they wait between
    /// `ddu ingest` and `ddu migrate`; then they are not sent any more, and the table's numbers are the new version's.
    pub(super) async fn is_replaced(&self, job: &Job, part: u16, staged: &Staged) -> Result<bool, Halt> {
        let load = &job.record.loads[usize::from(part)];
        let version = self.lake.staged_version(&load.table_name).await?;
        let Some(version) = version.filter(|version| *version != staged.version && staged.rows > 0) else {
            return Ok(false);
        };
        let mut rows = self.lake.rows(&load.table_name, version, Some(&job.record.job)).await?;
        while let Some(batch) = rows.next().await? {
            if !batch.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rows of the part that were in quarantine before: written now, or refused anew with other reasons.
    async fn leaving_quarantine(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
    ) -> Result<HashSet<RowId>, Halt> {
        let load = &job.record.loads[usize::from(part)];
        let mut leaving = HashSet::new();
        if job.record.heals.is_none() {
            return Ok(leaving);
        }
        let quarantined = self.lake.quarantine_ids(&load.table_name).await?;
        let mut rows = self.lake.rows(&load.table_name, staged.version, Some(&job.record.job)).await?;
        while let Some(batch) = rows.next().await? {
            leaving.extend(batch.into_iter().map(|row| row.id).filter(|id| quarantined.contains(id)));
        }
        Ok(leaving)
    }

    async fn add_refused(
        &self,
        writer: &mut QuarantineWriter,
        rows: &[StagedRow],
        refused: &[&RefusedRow],
        attempt: u32,
        time: jiff::Timestamp,
    ) -> Result<(), Halt> {
        let row = |refused: &&RefusedRow| QuarantineRow {
            row: rows[refused.index as usize].clone(),
            refusals: refused.refusals.clone(),
            attempt: attempt as i32,
            time,
        };
        let mut rows: Vec<QuarantineRow> = refused.iter().map(row).collect();
        rows.sort_by_key(|row| row.row.number);
        if !rows.is_empty() {
            writer.add(&rows).await?;
        }
        Ok(())
    }

    /// Empties the quarantine of a table that begins anew.
    pub(super) async fn clear_quarantine(&self, load: &LoadSettings, txn: &JobTxn) -> Result<(), Halt> {
        if self.lake.quarantine_count(&load.table_name).await? == 0 {
            return Ok(());
        }
        let columns = self.lake.staged_columns(&load.table_name).await?.unwrap_or_default();
        let change = self
            .lake
            .change_quarantine(&load.table_name, columns, Leaving::Everything, STEP_STAGED, txn)
            .await?;
        if let Begin::Open(writer) = change {
            writer.commit().await?;
        }
        Ok(())
    }

    /// The table's state once a part is staged: its rows are pending, those on their way out of quarantine among them.
    pub(super) async fn put_staged_state(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
        entity: &Entity,
    ) -> Result<(), Halt> {
        let load = &job.record.loads[usize::from(part)];
        let before = self.state_of(load).await?;
        let (written, quarantined) = match (&before, load.overwrite) {
            (Some(before), false) => {
                (before.written - staged.rewritten as i64, before.quarantined - staged.healed as i64)
            }
            _ => (0, 0),
        };
        let txns = [job.txn(part)];
        let row = self.state_row(load, entity, written, quarantined, "migrating").await?;
        self.lake.put_state_of(&row, STEP_STAGED, &txns).await?;
        Ok(())
    }

    /// As [`Self::put_staged_state`], of jobs that share a commit and only append.
    pub(super) async fn put_staged_state_of(
        &self,
        load: &LoadSettings,
        txns: &[JobTxn],
        entity: &Entity,
    ) -> Result<(), Halt> {
        let before = self.state_of(load).await?;
        let (written, quarantined) = before.map_or((0, 0), |before| (before.written, before.quarantined));
        let row = self.state_row(load, entity, written, quarantined, "migrating").await?;
        self.lake.put_state_of(&row, STEP_STAGED, txns).await?;
        Ok(())
    }

    /// Checks what was written and reports the part as done, in this order: the report says what was checked.
    async fn prove_and_report(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
        entity: &Entity,
    ) -> Result<(), Halt> {
        let load = &job.record.loads[usize::from(part)];
        let txn = job.txn(part);
        let reported = self.lake.has_state(&load.table_name, STEP_DONE, &txn).await?;
        if reported && Self::sign_off_path(job, part).exists() {
            return Ok(());
        }
        let mut state = match self.state_of(load).await?.filter(|_| reported) {
            Some(reported) => reported,
            None => self.done_state(job, part, staged, entity).await?,
        };
        if let Some(proof) = self.prove_part(job, part, entity, &state).await? {
            state.validated = proof.holds();
            state.validation = Some(proof.sentence());
            self.sign_off(job, part, &proof)?;
        }
        self.lake.put_state(&state, STEP_DONE, &txn).await?;
        Ok(())
    }

    async fn done_state(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
        entity: &Entity,
    ) -> Result<StateRow, Halt> {
        let load = &job.record.loads[usize::from(part)];
        let before = self.state_of(load).await?.map_or(0, |before| before.written);
        let written = before + job.journal.part(part).written_rows as i64;
        let quarantined = self.lake.quarantine_count(&load.table_name).await? as i64;
        let fate = match quarantined {
            0 => "done".to_owned(),
            1 => "1 row to fix".to_owned(),
            rows => format!("{rows} rows to fix"),
        };
        let status = match staged.left_behind {
            0 => fate,
            left => format!("{fate}; {left} records of the replaced version stay in the target"),
        };
        self.state_row(load, entity, written, quarantined, &status).await
    }

    /// What the books say of the load's table.
    pub(super) async fn state_of(&self, load: &LoadSettings) -> Result<Option<StateRow>, Halt> {
        let states = self.lake.states().await?;
        Ok(states.into_iter().find(|state| state.table_name == load.table_name.as_str()))
    }

    /// The row of the state table, as it is to be now.
    async fn state_row(
        &self,
        load: &LoadSettings,
        entity: &Entity,
        written: i64,
        quarantined: i64,
        status: &str,
    ) -> Result<StateRow, Halt> {
        let records = self.lake.staged_count(&load.table_name).await? as i64;
        Ok(StateRow {
            id: 0,
            table_name: load.table_name.to_string(),
            records,
            validated: false,
            workers: self.workers(load) as i32,
            target_entity: entity.set_name.clone(),
            written,
            quarantined,
            // What is neither written nor refused is still to be written: if a row were ever lost, it would show here.
            pending: records - written - quarantined,
            status: status.to_owned(),
            updated: (self.now)(),
            validation: None,
        })
    }
}

/// The writer, or nothing where an earlier try has committed already.
fn opened<W>(begun: Begin<W>) -> Option<W> {
    match begun {
        Begin::Open(writer) => Some(writer),
        Begin::AlreadyDone(_) => None,
    }
}
