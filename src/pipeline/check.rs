//! check: the journey up to preflight, with nothing written to the lakehouse or the target; for `ddu check` and `dry_run`.

use std::fs::File;

use super::claim::Job;
use super::give_back::described_columns;
use super::preflight::KeysSeen;
use super::stage::{Identity, OpenSheet, Unstaged, with_identities};
use super::{Halt, Pipeline};
use crate::domain::job::JobId;
use crate::domain::lifecycle::{Event, SetAsideKind};
use crate::domain::refusal::Refusal;
use crate::domain::row::{StagedColumn, StagedRow};
use crate::domain::settings::LoadSettings;
use crate::io::delta::staged_rows;
use crate::io::durable;
use crate::io::returned::{ReturnedRow, ReturnedSheet, ReturnedWriter};
use crate::io::spool::names::returned_name;

/// A row that would be refused.
#[derive(Debug, Clone)]
pub struct CheckedRow {
    /// The row as it was read.
    pub row: StagedRow,
    /// Every reason.
    pub refusals: Vec<Refusal>,
}

/// What checking one sheet came to.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The sheet.
    pub sheet: String,
    /// Rows read.
    pub rows: u64,
    /// Rows that would be refused.
    pub refused: u64,
    /// What the reader decided.
    pub notes: Vec<String>,
    /// The sheet's columns.
    pub columns: Vec<StagedColumn>,
}

/// Why a file cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The workbook or its settings are at fault; the sentence is for the sender.
    #[error("{0}")]
    Senders(String),
    /// Something else is in the way.
    #[error(transparent)]
    Halted(#[from] Halt),
}

impl From<Unstaged> for CheckError {
    fn from(unstaged: Unstaged) -> Self {
        match unstaged {
            Unstaged::Senders(reason) => CheckError::Senders(reason),
            Unstaged::Halted(halt) => CheckError::Halted(halt),
        }
    }
}

impl Pipeline {
    /// Checks one sheet of a workbook; `refused` is called for each row that would be refused, in order.
    ///
    /// # Errors
    /// When the sheet cannot be read or does not fit its entity.
    pub async fn check(
        &self,
        file: File,
        name: &str,
        load: &LoadSettings,
        job: &JobId,
        mut refused: impl FnMut(CheckedRow),
    ) -> Result<Checked, CheckError> {
        let mut sheet = self.open_sheet_of(file, name, load).await?;
        let columns = sheet.header.columns.clone();
        let (entity, plan) = self.plan(load, &columns).await?;
        let mut keys = KeysSeen::new(&entity, &plan, load, &columns);
        let mut checked = Checked {
            sheet: sheet.header.sheet.clone(),
            notes: sheet.header.notes.clone(),
            columns: columns.clone(),
            ..Checked::default()
        };
        while let Some(rows) = self.next_rows(&mut sheet, job, load).await? {
            checked.rows += rows.len() as u64;
            let encoded = self.dynamics.encode(&plan, &rows).await.map_err(Halt::from)?;
            for (row, encoded) in rows.into_iter().zip(encoded) {
                let mut refusals = encoded.err().unwrap_or_default();
                refusals.extend(keys.note(&row, refusals.is_empty()));
                if !refusals.is_empty() {
                    checked.refused += 1;
                    refused(CheckedRow { row, refusals });
                }
            }
        }
        if let Some(summary) = sheet.reading.summary() {
            checked.notes.extend(summary.notes.iter().cloned());
        }
        Ok(checked)
    }

    async fn next_rows(
        &self,
        sheet: &mut OpenSheet,
        job: &JobId,
        load: &LoadSettings,
    ) -> Result<Option<Vec<StagedRow>>, Unstaged> {
        let Some(batch) = self.next_batch(&mut sheet.reading).await? else { return Ok(None) };
        let target = self.dynamics.target_id();
        let identity = Identity { target, entity: &sheet.entity.set_name, job };
        let columns = &sheet.header.columns;
        let batch = with_identities(&identity, &sheet.header, columns, &batch);
        Ok(Some(staged_rows(load.table_name.as_str(), columns, &batch)?))
    }

    /// `dry_run`: checks every sheet and gives back what would be refused.
    pub(super) async fn rehearse(&self, job: &Job) -> Result<Event, Halt> {
        let record = &job.record;
        let mut writer =
            ReturnedWriter::new(&record.job, &record.workbook, record.claimed_at, job.dir.path())?;
        let mut sentences = Vec::new();
        let mut refused_rows = 0;
        for load in &record.loads {
            let (file, _) = crate::io::spool::entry::open_dropped(&job.dir.workbook(record))?;
            let mut refused = Vec::new();
            let checked =
                match self.check(file, &record.workbook, load, &record.job, |row| refused.push(row)).await {
                    Ok(checked) => checked,
                    Err(CheckError::Halted(halt)) => return Err(halt),
                    Err(CheckError::Senders(reason)) => {
                        return Ok(Event::SetAside { kind: SetAsideKind::Returned, reason });
                    }
                };
            let fine = checked.rows - checked.refused;
            sentences.push(format!(
                "{fine} of {} rows of sheet `{}` could be written",
                checked.rows, checked.sheet
            ));
            refused_rows += checked.refused;
            if checked.refused > 0 {
                self.write_checked(&mut writer, load, &checked, refused).await?;
            }
        }
        let mut reason = format!("dry run, nothing was written: {}", sentences.join("; "));
        if refused_rows > 0 {
            let name = returned_name(&record.workbook, &record.job, "xlsx");
            let scratch = job.dir.scratch("returned.xlsx");
            writer.finish(durable::create(&scratch)?)?;
            durable::publish(&scratch, &self.spool.returned().join(&name))?;
            reason = format!("{reason}; the others lie in returned/{name} with their reasons");
        }
        Ok(Event::SetAside { kind: SetAsideKind::Rehearsed, reason })
    }

    async fn write_checked(
        &self,
        writer: &mut ReturnedWriter,
        load: &LoadSettings,
        checked: &Checked,
        refused: Vec<CheckedRow>,
    ) -> Result<(), Halt> {
        let columns = described_columns(&self.dynamics, load, &checked.columns).await;
        writer.sheet(&ReturnedSheet { title: checked.sheet.clone(), columns, settings: load.clone() })?;
        for CheckedRow { row, refusals } in refused {
            writer.row(&ReturnedRow { id: row.id, number: row.number, values: row.values, refusals })?;
        }
        Ok(())
    }
}
