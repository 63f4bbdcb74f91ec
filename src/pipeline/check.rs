//! check: the journey up to preflight, with nothing written to the lakehouse or the target; for `ddu check` and `dry_run`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::claim::Job;
use super::give_back::described_columns;
use super::preflight::KeysSeen;
use super::read::{OpenSheet, Unstaged};
use super::stage::{Identity, with_identities};
use super::{Halt, Pipeline};
use crate::domain::job::JobId;
use crate::domain::lifecycle::{Event, SetAsideKind};
use crate::domain::refusal::Refusal;
use crate::domain::row::{StagedColumn, StagedRow};
use crate::domain::settings::LoadSettings;
use crate::io::delta::staged_rows;
use crate::io::durable;
use crate::io::dynamics::{Ids, Pass, Placed, RowPlan, Siblings};
use crate::io::returned::{ReturnedRow, ReturnedSheet, ReturnedWriter};
use crate::io::spool::entry::open_dropped;
use crate::io::spool::names::returned_name;
use crate::io::workbook::ColumnKinds;

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
    /// Rows read.
    pub rows: u64,
    /// Rows that would be refused.
    pub refused: u64,
    /// What the reader decided.
    pub notes: Vec<String>,
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
        match unstaged.reason() {
            Ok(reason) => CheckError::Senders(reason),
            Err(halt) => CheckError::Halted(halt),
        }
    }
}

/// One sheet that is being checked, some rows at a time.
pub struct Checking<'a> {
    pipeline: &'a Pipeline,
    load: &'a LoadSettings,
    job: &'a JobId,
    sheet: OpenSheet,
    plan: RowPlan,
    keys: KeysSeen,
    checked: Checked,
}

impl Checking<'_> {
    /// The sheet's columns.
    pub fn columns(&self) -> &[StagedColumn] {
        &self.sheet.header.columns
    }

    /// The sheet's name.
    pub fn sheet(&self) -> &str {
        &self.sheet.header.sheet
    }

    /// What was found so far; complete after [`Self::next`] has returned `None`.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The refused ones of the next rows, in order, often none; `None` after the last row.
    ///
    /// # Errors
    /// When the sheet cannot be read on, or the target does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<CheckedRow>>, CheckError> {
        let pipeline = self.pipeline;
        let Some(batch) = pipeline.next_batch(&mut self.sheet.reading).await? else {
            let summary = self.sheet.reading.summary();
            self.checked.notes.extend(summary.into_iter().flat_map(|summary| summary.notes.iter().cloned()));
            return Ok(None);
        };
        let header = &self.sheet.header;
        let identity = Identity {
            target: pipeline.dynamics.target_id(),
            entity: &self.sheet.entity.set_name,
            job: self.job,
        };
        let batch = with_identities(&identity, header, &header.columns, &batch);
        let rows = staged_rows(self.load.table_name.as_str(), &header.columns, &batch).map_err(Halt::from)?;
        self.checked.rows += rows.len() as u64;
        let placed = Placed { rows: &rows, places: &[] };
        let encoded = pipeline.dynamics.encode_placed(&self.plan, placed, Pass::First, Ids::Asked).await;
        let encoded = encoded.map_err(Halt::from)?;
        let mut refused = Vec::new();
        for (row, encoded) in rows.into_iter().zip(encoded) {
            let mut refusals = encoded.operation.err().unwrap_or_default();
            refusals.extend(self.keys.note(&row, refusals.is_empty()));
            if !refusals.is_empty() {
                refused.push(CheckedRow { row, refusals });
            }
        }
        self.checked.refused += refused.len() as u64;
        Ok(Some(refused))
    }
}

impl Pipeline {
    /// Begins to check one sheet of a workbook.
    ///
    /// # Errors
    /// When the sheet cannot be read or does not fit its entity.
    pub async fn check<'a>(
        &'a self,
        file: File,
        name: &str,
        load: &'a LoadSettings,
        job: &'a JobId,
    ) -> Result<Checking<'a>, CheckError> {
        // Refused rows are given out while the sheet is read, so the types of all must be known before.
        let kinds = self.kinds_of(&file, name, load).await?;
        let again = file.try_clone();
        let sheet = self.open_sheet_of(file, name, load, kinds.clone()).await?;
        let columns = &sheet.header.columns;
        let (entity, mut plan) = self.plan(load, columns).await?;
        if plan.may_have_siblings() {
            let identity = Identity { target: self.dynamics.target_id(), entity: &entity.set_name, job };
            let again = durable::doing(again, "open again", Path::new(name)).map_err(Halt::from)?;
            let siblings = self.siblings_of(again, name, load, kinds, &identity, &plan).await?;
            plan.with_siblings(Arc::new(siblings));
        }
        let keys = KeysSeen::new(&entity, &plan, load, columns);
        let checked = Checked { notes: sheet.header.notes.clone(), ..Checked::default() };
        Ok(Checking { pipeline: self, load, job, sheet, plan, keys, checked })
    }

    /// The rows of a sheet that others of it may point at; it is read once more for them.
    async fn siblings_of(
        &self,
        file: File,
        name: &str,
        load: &LoadSettings,
        kinds: Option<ColumnKinds>,
        identity: &Identity<'_>,
        plan: &RowPlan,
    ) -> Result<Siblings, CheckError> {
        let mut siblings = Siblings::default();
        let mut keys = None;
        let mut sheet = self.open_sheet_of(file, name, load, kinds).await?;
        let mut places = 0..;
        while let Some(batch) = self.next_batch(&mut sheet.reading).await? {
            let columns = &sheet.header.columns;
            let batch = with_identities(identity, &sheet.header, columns, &batch);
            let rows = staged_rows(load.table_name.as_str(), columns, &batch).map_err(Halt::from)?;
            let keys = keys.get_or_insert_with(|| KeysSeen::new(plan.entity(), plan, load, columns));
            for (row, place) in rows.iter().zip(&mut places) {
                if keys.note(row, true).is_empty() {
                    siblings.note(&self.dynamics, plan, place, row);
                }
            }
        }
        Ok(siblings)
    }

    /// `dry_run`: checks every sheet and gives back what would be refused.
    pub(super) async fn rehearse(&self, job: &Job) -> Result<Event, Halt> {
        match self.rehearse_sheets(job).await {
            Ok(reason) => Ok(Event::SetAside { kind: SetAsideKind::Rehearsed, reason }),
            Err(CheckError::Senders(reason)) => Ok(Event::SetAside { kind: SetAsideKind::Returned, reason }),
            Err(CheckError::Halted(halt)) => Err(halt),
        }
    }

    async fn rehearse_sheets(&self, job: &Job) -> Result<String, CheckError> {
        let record = &job.record;
        let mut writer =
            ReturnedWriter::new(&record.job, &record.workbook, record.claimed_at, job.dir.path())
                .map_err(Halt::from)?;
        let mut sentences = Vec::new();
        let mut refused_rows = 0;
        for load in &record.loads {
            let (file, _) = open_dropped(&job.dir.workbook(record)).map_err(Halt::from)?;
            let mut checking = self.check(file, &record.workbook, load, &record.job).await?;
            while let Some(refused) = checking.next().await? {
                let first = checking.checked().refused == refused.len() as u64;
                if first && !refused.is_empty() {
                    let columns = described_columns(&self.dynamics, load, checking.columns()).await;
                    let title = checking.sheet().to_owned();
                    writer
                        .sheet(&ReturnedSheet { title, columns, settings: load.clone() })
                        .map_err(Halt::from)?;
                }
                for CheckedRow { row, refusals } in refused {
                    let row = ReturnedRow { id: row.id, number: row.number, values: row.values, refusals };
                    writer.row(&row).map_err(Halt::from)?;
                }
            }
            let Checked { rows, refused, .. } = *checking.checked();
            sentences.push(format!(
                "{} of {rows} rows of sheet `{}` could be written",
                rows - refused,
                checking.sheet()
            ));
            refused_rows += refused;
        }
        let mut reason = format!("dry run, nothing was written: {}", sentences.join("; "));
        if refused_rows > 0 {
            let name = returned_name(&record.workbook, &record.job, "xlsx");
            let scratch = job.dir.scratch("returned.xlsx");
            let file = durable::create(&scratch).map_err(Halt::from)?;
            writer.finish(file).map_err(Halt::from)?;
            durable::publish(&scratch, &self.spool.returned().join(&name)).map_err(Halt::from)?;
            reason = format!("{reason}; the others lie in returned/{name} with their reasons");
        }
        Ok(reason)
    }
}
