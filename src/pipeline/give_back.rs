//! give back: refused rows as a workbook to fix, or the untouched workbook with a text that says why it was not loaded.

use std::collections::HashSet;
use std::path::Path;

use super::claim::Job;
use super::{Halt, Pipeline};
use crate::domain::entity::{AttributeKind, Entity};
use crate::domain::job::JobId;
use crate::domain::lifecycle::{Event, SetAsideKind};
use crate::domain::row::{RowId, StagedColumn};
use crate::domain::settings::LoadSettings;
use crate::domain::value::Value;
use crate::io::delta::QuarantineRow;
use crate::io::durable;
use crate::io::dynamics::{Dynamics, RowPlan};
use crate::io::returned::{ReturnedColumn, ReturnedRow, ReturnedSheet, ReturnedWriter};
use crate::io::spool::names::{returned_name, shown};

/// Which rows of a table's quarantine are given back.
#[derive(Clone, Copy)]
struct Of<'a> {
    /// Those that this job brought.
    job: &'a JobId,
    /// With these columns.
    columns: &'a [StagedColumn],
    /// Without those that are tried again by themselves.
    but: &'a HashSet<RowId>,
}

/// Rows of the job that were refused.
fn refused_rows(job: &Job) -> u64 {
    job.journal.ledgers().iter().map(|part| part.held_rows + part.refused_rows).sum()
}

impl Pipeline {
    /// Puts what the sender gets back into `returned/`; the same files at every try.
    ///
    /// # Errors
    /// When the quarantine cannot be read or the disk refuses.
    pub async fn give_back(&self, job: &Job) -> Result<Event, Halt> {
        let file = match job.journal.set_aside() {
            Some((SetAsideKind::Duplicate | SetAsideKind::Rehearsed, _)) => None,
            Some((SetAsideKind::Returned, reason)) => Some(self.give_back_untouched(job, reason)?),
            None if !self.settings.download_quarantine => None,
            None => self.give_back_refused_rows(job).await?,
        };
        if let Some(file) = &file {
            tracing::info!(job = %job.record.job, file, "workbook returned");
        }
        Ok(Event::GivenBack { file })
    }

    /// The sender's own file, byte for byte, and beside it a text with the reason.
    fn give_back_untouched(&self, job: &Job, reason: &str) -> Result<String, Halt> {
        let record = &job.record;
        let extension = Path::new(&record.workbook).extension().map_or("xlsx".to_owned(), shown);
        let name = returned_name(&record.workbook, &record.job, &extension);
        let sidecar = match &record.sidecar {
            Some(origin) => format!(" It came with the settings in {}: drop them again too.", origin.file),
            None => String::new(),
        };
        let text = format!(
            "{} was not loaded.\n\n{reason}\n\nNothing of it was written, and the file beside this text is yours, \
             unchanged. Correct what is wrong and drop it into the folder again.{sidecar}\n\njob {}\n",
            record.workbook, record.job
        );
        let text_name = returned_name(&record.workbook, &record.job, &format!("{extension}.txt"));
        durable::replace(&self.spool.returned().join(text_name), text.as_bytes())?;
        let (from, to) = (job.dir.workbook(record), self.spool.returned().join(&name));
        match durable::rename_noreplace(&from, &to) {
            // A crash came between the rename and the journal.
            Err(error) if error.is_missing() && to.symlink_metadata().is_ok() => {}
            moved => moved?,
        }
        Ok(name)
    }

    async fn give_back_refused_rows(&self, job: &Job) -> Result<Option<String>, Halt> {
        let record = &job.record;
        let mut refused: Vec<bool> =
            job.journal.ledgers().iter().map(|part| part.held_rows + part.refused_rows > 0).collect();
        for (part, refused) in (0..).zip(&mut refused) {
            *refused = *refused && !self.is_replaced(job, part, &job.staged(part)).await?;
        }
        let retried = self.retried_rows(job)?;
        if !refused.contains(&true) || retried.len() as u64 >= refused_rows(job) {
            return Ok(None);
        }
        // Rows that come back a second time are still those of the workbook that came first, and numbered as there.
        let workbook = record.first_workbook();
        let name = returned_name(workbook, &record.job, "xlsx");
        let made_at = record.claimed_at;
        let mut writer = ReturnedWriter::new(&record.job, workbook, made_at, job.dir.path())?;
        for (part, load) in record.loads.iter().enumerate().filter(|(part, _)| refused[*part]) {
            let staged = job.staged(part as u16);
            // Sheet names are the sender's; they find their rows where they left them.
            let of = Of { job: &record.job, columns: &staged.columns, but: &retried };
            self.write_sheet(&mut writer, load, &staged.sheet, Some(of)).await?;
        }
        let scratch = job.dir.scratch("returned.xlsx");
        writer.finish(durable::create(&scratch)?)?;
        durable::publish(&scratch, &self.spool.returned().join(&name))?;
        Ok(Some(name))
    }

    /// Writes a table's quarantined rows as one sheet and returns how many: all of them, or those of one job with the
    /// columns of its workbook in their order.
    async fn write_sheet(
        &self,
        writer: &mut ReturnedWriter,
        load: &LoadSettings,
        title: &str,
        of: Option<Of<'_>>,
    ) -> Result<u64, Halt> {
        let mut rows = self.lake.quarantine_rows(&load.table_name, of.map(|of| of.job)).await?;
        let in_table = rows.columns().to_vec();
        let columns = of.map_or(in_table.as_slice(), |of| of.columns);
        let place = |column: &StagedColumn| {
            in_table.iter().position(|other| other.name.to_lowercase() == column.name.to_lowercase())
        };
        let places: Vec<Option<usize>> = columns.iter().map(place).collect();
        let described = described_columns(&self.dynamics, load, columns).await;
        let settings = load.clone();
        writer.sheet(&ReturnedSheet { title: title.to_owned(), columns: described, settings })?;
        let mut count = 0;
        while let Some(batch) = rows.next().await? {
            for QuarantineRow { row, refusals, .. } in batch {
                if of.is_some_and(|of| of.but.contains(&row.id)) {
                    continue;
                }
                let value = |at: &Option<usize>| at.map_or(Value::Blank, |at| row.values[at].clone());
                let values = places.iter().map(value).collect();
                writer.row(&ReturnedRow { id: row.id, number: row.number, values, refusals })?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Exports all quarantined rows of a table to a workbook that can be dropped like a returned one; returns how many.
    ///
    /// # Errors
    /// When the quarantine cannot be read or the disk refuses.
    pub async fn export_quarantine(&self, job: &JobId, load: &LoadSettings, to: &Path) -> Result<u64, Halt> {
        let folder = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = format!("{}.xlsx", load.table_name);
        let mut writer = ReturnedWriter::new(job, &name, (self.now)(), folder)?;
        let count = self.write_sheet(&mut writer, load, load.table_name.as_str(), None).await?;
        let scratch = durable::temporary_beside(to);
        writer.finish(durable::create(&scratch)?)?;
        durable::publish(&scratch, to)?;
        Ok(count)
    }
}

/// The columns with what the target knows of them: choices and lengths.
pub(super) async fn described_columns(
    dynamics: &Dynamics,
    load: &LoadSettings,
    columns: &[StagedColumn],
) -> Vec<ReturnedColumn> {
    // The lists to choose from are a help; a target that does not answer must not keep the rows from their sender.
    let described = match dynamics.entity(&load.target_entity).await {
        Ok(entity) => {
            let plan = dynamics.prepare(&entity, columns, load).await.ok();
            Some((entity, plan))
        }
        Err(_) => None,
    };
    let described = described.as_ref().map(|(entity, plan)| (entity.as_ref(), plan.as_ref()));
    columns.iter().map(|column| returned_column(column, described)).collect()
}

fn returned_column(column: &StagedColumn, described: Option<(&Entity, Option<&RowPlan>)>) -> ReturnedColumn {
    let attribute = described.and_then(|(entity, plan)| {
        let planned = plan.and_then(|plan| plan.columns().iter().find(|planned| planned.name == column.name));
        planned.map(|planned| &planned.attribute).or_else(|| entity.attribute(&column.header))
    });
    let (choices, length_max) = match attribute.map(|attribute| &attribute.kind) {
        Some(AttributeKind::Choice { options }) => {
            (options.iter().map(|option| option.label.clone()).collect(), None)
        }
        Some(AttributeKind::Boolean { yes, no }) => (vec![yes.clone(), no.clone()], None),
        Some(AttributeKind::Enumeration { members, .. }) => {
            (members.iter().map(|member| member.label.clone()).collect(), None)
        }
        Some(AttributeKind::Text { length_max }) => (Vec::new(), *length_max),
        _ => (Vec::new(), None),
    };
    ReturnedColumn {
        name: column.name.clone(),
        header: column.header.clone(),
        kind: column.kind,
        choices,
        length_max,
    }
}
