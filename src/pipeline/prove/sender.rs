//! What a staged row was sent with: the plan of its job's part, and the columns that it brought.

use crate::domain::job::JobId;
use crate::domain::row::{StagedColumn, StagedRow};
use crate::domain::settings::Mode;
use crate::domain::table::TableName;
use crate::io::dynamics::{Operation, RowPlan};
use crate::pipeline::claim::Job;
use crate::pipeline::preflight::OwnColumns;
use crate::pipeline::{Halt, Pipeline};

/// What the rows of one part of a job were sent with.
pub(in crate::pipeline) struct Sender {
    job: String,
    sheet: String,
    pub plan: RowPlan,
    pub mode: Mode,
    own: OwnColumns,
}

impl Sender {
    /// Whether this row was sent so: parts of a job come one after the other, sheet by sheet.
    pub fn sent(&self, row: &StagedRow) -> bool {
        self.job == row.job && self.sheet == row.sheet
    }
}

impl Pipeline {
    /// What a row of a staged table with these columns was sent with; `None` where its job's folder is gone.
    ///
    /// # Errors
    /// When the folder does not read, or the target does not tell the entity.
    pub(in crate::pipeline) async fn sender_of(
        &self,
        table: &TableName,
        row: &StagedRow,
        columns: &[StagedColumn],
    ) -> Result<Option<Sender>, Halt> {
        let Ok(id) = JobId::try_from(row.job.clone()) else { return Ok(None) };
        let Some(job) = self.job_for_reading(&id)? else { return Ok(None) };
        let Some(part) = part_of(&job, table, row) else { return Ok(None) };
        let Some(staged) = job.journal.part(part).staged.clone() else { return Ok(None) };
        let (_, plan) = self.plan_of(&job, part, &staged).await?;
        let own = OwnColumns::new(columns, &staged.columns);
        let mode = job.record.loads[usize::from(part)].mode;
        Ok(Some(Sender { job: row.job.clone(), sheet: row.sheet.clone(), plan, mode, own }))
    }

    /// The rows' operations as they were sent, or why that cannot be told any more.
    ///
    /// # Errors
    /// When the target does not tell the lookups.
    pub(in crate::pipeline) async fn sent_as(
        &self,
        sender: &Sender,
        rows: &[StagedRow],
    ) -> Result<Vec<Result<Operation, String>>, Halt> {
        let own: Vec<StagedRow> = rows.iter().map(|row| sender.own.of(row)).collect();
        let encoded = self.dynamics.encode(&sender.plan, &own).await?.into_iter();
        Ok(encoded
            .map(|encoded| {
                encoded.map_err(|refusals| {
                    refusals.into_iter().next().map_or_else(String::new, |first| first.cause)
                })
            })
            .collect())
    }
}

/// The part of a job that a staged row came with: that of its sheet, or the first of the table where it was healed since.
fn part_of(job: &Job, table: &TableName, row: &StagedRow) -> Option<u16> {
    let parts =
        || (0..job.record.parts()).filter(|part| job.record.loads[usize::from(*part)].table_name == *table);
    let of_sheet =
        |part: &u16| job.journal.part(*part).staged.as_ref().is_some_and(|staged| staged.sheet == row.sheet);
    parts().find(of_sheet).or_else(|| parts().next())
}
