//! stage: gives every row of a sheet its identity and writes it into the staged table; one commit.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StringBuilder,
};
use deltalake::arrow::compute::filter_record_batch;
use deltalake::arrow::datatypes::Int64Type;

use super::brought::held_by_package;
use super::claim::Job;
use super::mended::{Mended, Returned};
use super::preflight::CHANGE_SET_OPERATIONS_MAX;
use super::read::{OpenSheet, Unstaged};
use super::successors::Predecessors;
use super::{Halt, Pipeline};
use crate::domain::entity::Entity;
use crate::domain::identity;
use crate::domain::job::JobId;
use crate::domain::lifecycle::{Event, SetAsideKind, Staged};
use crate::domain::row::{RowId, StagedColumn};
use crate::domain::settings::{LoadSettings, Mode};
use crate::io::delta::{Begin, HealWriter, JobTxn, StageKind, StageWriter, staged_rows, staged_schema};
use crate::io::durable::{self, DiskError};
use crate::io::dynamics::{Dialect, PlanFault};
use crate::io::workbook::{ColumnKinds, ReadSummary, SheetHeader};

/// Where the rows go, by what the workbook is.
enum Sink {
    Stage(Box<StageWriter>),
    Heal(Box<HealWriter>),
}

impl Pipeline {
    /// Reads and stages one part, or puts the workbook aside with the reason.
    ///
    /// # Errors
    /// When the disk, the lakehouse or the target does not answer; nothing of the part can be read then.
    pub async fn stage(&self, job: &mut Job, part: u16) -> Result<Event, Halt> {
        // Rows that a try before this one committed are in the table for good; the workbook cannot be put aside any more.
        let load = &job.record.loads[usize::from(part)];
        let committed = self.lake.is_staged(&load.table_name, &job.txn(part)).await?;
        let may_be_put_aside = part == 0 && !committed;
        if may_be_put_aside && let Some(event) = self.before_the_first_part(job).await? {
            return Ok(event);
        }
        let staged = match self.stage_part(job, part, None).await {
            Err(Unstaged::Retyped(kinds)) => self.stage_part(job, part, Some(kinds)).await,
            staged => staged,
        };
        match staged {
            Ok(staged) => {
                tracing::info!(job = %job.record.job, sheet = staged.sheet, rows = staged.rows, version = staged.version, "rows staged");
                Ok(Event::Staged(staged))
            }
            Err(unstaged) => match unstaged.reason()? {
                reason if may_be_put_aside => Ok(set_aside(job, reason)),
                reason => Err(Halt::Wait {
                    waiting_for: format!(
                        "the operator: sheet {} of the workbook no longer reads: {reason}",
                        part + 1
                    ),
                    retry: super::OPERATOR_WAIT,
                }),
            },
        }
    }

    /// What must be known of the whole workbook before any of its rows is staged.
    pub(super) async fn before_the_first_part(&self, job: &mut Job) -> Result<Option<Event>, Halt> {
        if job.record.loads.iter().any(|load| load.dry_run) {
            return self.rehearse(job).await.map(Some);
        }
        let mut loaded = Vec::new();
        for load in &job.record.loads {
            if !load.overwrite
                && let Some(earlier) = self.spool.loaded_before(&job.record, load)?
            {
                loaded.push(earlier);
            }
        }
        if let Some((earlier, name)) = loaded.first().filter(|_| loaded.len() == job.record.loads.len())
            && !self.waits_for(job).await?
        {
            let again = match job.record.heals {
                None => "To load them once more, set `overwrite` in a sidecar",
                Some(_) => "None of its rows waits in quarantine any more",
            };
            let reason = format!(
                "the same bytes were loaded before, as {name} by job {earlier}; nothing was staged or written again. \
                 {again}"
            );
            tracing::info!(job = %job.record.job, earlier, "duplicate set aside");
            return Ok(Some(Event::SetAside { kind: SetAsideKind::Duplicate, reason }));
        }
        if job.record.heals.is_none()
            && let Some((earlier, name)) = loaded.first()
            && loaded.len() < job.record.loads.len()
        {
            let reason = format!(
                "some of its sheets were loaded before, as {name} by job {earlier}, and would be loaded a second time; \
                 take those sheets out of `sheets` in the sidecar, or set `overwrite` for them"
            );
            return Ok(Some(set_aside(job, reason)));
        }
        // The parts become visible one after the other; a fault of a later one must be known before the first.
        for part in 1..job.record.parts() {
            let read = match self.read_through(job, part, None).await {
                Err(Unstaged::Retyped(kinds)) => self.read_through(job, part, Some(kinds)).await,
                read => read,
            };
            match read {
                Ok(()) => {}
                Err(unstaged) => return Ok(Some(set_aside(job, unstaged.reason()?))),
            }
        }
        Ok(None)
    }

    /// Whether this is a returned workbook with rows that are still in quarantine: the target may take now what it
    /// refused when the same bytes came first.
    async fn waits_for(&self, job: &Job) -> Result<bool, Halt> {
        if job.record.heals.is_none() {
            return Ok(false);
        }
        for load in &job.record.loads {
            let quarantined = self.lake.quarantine_ids(&load.table_name).await?;
            let found = match self.has_one_of(job, load, &quarantined, None).await {
                Err(Unstaged::Retyped(kinds)) => self.has_one_of(job, load, &quarantined, Some(kinds)).await,
                found => found,
            };
            match found {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                // What does not read any more is told by staging.
                Err(unstaged) => return unstaged.reason().map(|_| true),
            }
        }
        Ok(false)
    }

    async fn has_one_of(
        &self,
        job: &Job,
        load: &LoadSettings,
        ids: &HashSet<RowId>,
        kinds: Option<ColumnKinds>,
    ) -> Result<bool, Unstaged> {
        let mut sheet = self.open_sheet(job, load, kinds).await?;
        while let Some(batch) = self.next_batch(&mut sheet.reading).await? {
            let given: &StringArray = batch.column(1).as_string();
            if given.iter().flatten().any(|id| id.parse().is_ok_and(|id| ids.contains(&id))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn read_through(&self, job: &Job, part: u16, kinds: Option<ColumnKinds>) -> Result<(), Unstaged> {
        let load = &job.record.loads[usize::from(part)];
        let mut sheet = self.open_sheet(job, load, kinds).await?;
        let mut rows = 0;
        while let Some(batch) = self.next_batch(&mut sheet.reading).await? {
            rows += batch.num_rows() as u64;
            self.check_atomic(load, &sheet.entity, rows).await?;
        }
        Ok(())
    }

    /// A returned workbook takes rows out of quarantine; which ones are there is only known once the jobs before it
    /// have recorded theirs.
    fn wait_for_earlier(&self, job: &Job, load: &LoadSettings) -> Result<(), Halt> {
        if job.record.heals.is_none() {
            return Ok(());
        }
        for id in self.spool.jobs()? {
            let Some(other) = self.spool.job_dir(&id).record()? else { continue };
            let same_table = other.loads.iter().any(|other| other.table_name == load.table_name);
            if same_table && other.seq < job.record.seq {
                return Err(Halt::Wait {
                    waiting_for: format!(
                        "job {id}, which has rows of the table {} to write first",
                        load.table_name
                    ),
                    retry: super::OPERATOR_WAIT,
                });
            }
        }
        Ok(())
    }

    async fn stage_part(&self, job: &Job, part: u16, kinds: Option<ColumnKinds>) -> Result<Staged, Unstaged> {
        let (record, load) = (&job.record, &job.record.loads[usize::from(part)]);
        self.wait_for_earlier(job, load)?;
        let txn = job.txn(part);
        let mut sheet = self.open_sheet(job, load, kinds).await?;
        let columns = sheet.header.columns.clone();
        let heals = record.heals.is_some();
        let begun = if heals {
            self.lake
                .heal(&load.table_name, columns, job.dir.path(), &txn)
                .await?
                .map(|writer| Sink::Heal(Box::new(writer)))
        } else {
            let kind = if load.overwrite { StageKind::Overwrite } else { StageKind::Append };
            self.lake
                .stage(&load.table_name, columns, kind, &txn)
                .await?
                .map(|writer| Sink::Stage(Box::new(writer)))
        };
        // What is known only while staging is put down before the commit, for the case that we die right after it.
        let notes = notes_of(job, part);
        let (mut staged, given, done) = match begun {
            Begin::AlreadyDone(done) => {
                let text = durable::doing(std::fs::read(&notes), "read", &notes)?;
                let (staged, given): (Staged, u64) = serde_json::from_slice(&text).map_err(|error| {
                    let path = notes.clone();
                    Halt::Spool(crate::io::spool::SpoolError::Broken { path, what: error.to_string() })
                })?;
                (staged, given, done)
            }
            Begin::Open(mut sink) => {
                let (mut staged, given) = self.write_rows(job, load, &mut sheet, &mut sink).await?;
                if self.lake.staged_version(&load.table_name).await?.is_none() {
                    staged.notes.extend(self.clear_foreign_quarantine(load, &txn).await?);
                }
                put_down(job, part, &staged, given)?;
                let done = match sink {
                    Sink::Stage(writer) => writer.commit().await?,
                    Sink::Heal(writer) => writer.commit().await?.committed,
                };
                (staged, given, done)
            }
        };
        staged.version = done.version;
        if heals {
            let mut replaced = self.lake.healed_by(&load.table_name, &record.job, done).await?;
            let all = replaced.len() as u64;
            let quarantined = self.lake.quarantine_ids(&load.table_name).await?;
            let held = quarantined.len() as u64;
            replaced.retain(|id| quarantined.contains(id));
            staged.healed = replaced.len() as u64;
            staged.rewritten = all - staged.healed;
            staged.notes.extend(of_healing(&staged, given, held, load.table_name.as_str()));
        }
        if heals && let Some(columns) = self.lake.staged_columns(&load.table_name).await? {
            // Values of columns that were taken out of the returned workbook stayed in the table; they go along.
            let known: HashSet<String> = staged.columns.iter().map(|c| c.name.to_lowercase()).collect();
            let absent = columns.into_iter().filter(|c| !known.contains(&c.name.to_lowercase())).collect();
            staged.columns.extend(self.columns_that_fit(&sheet.entity, load, absent).await?);
        }
        if load.overwrite {
            self.clear_quarantine(load, &txn).await?;
        }
        self.spool.remember_loaded(record, load)?;
        self.put_staged_state(job, part, &staged, &sheet.entity).await?;
        Ok(staged)
    }

    /// A table that does not exist yet has no refused rows: those that lie there are of a database before this one, and
    /// would be counted among its rows.
    pub(super) async fn clear_foreign_quarantine(
        &self,
        load: &LoadSettings,
        txn: &JobTxn,
    ) -> Result<Option<String>, Halt> {
        let count = self.lake.quarantine_count(&load.table_name).await?;
        if count == 0 {
            return Ok(None);
        }
        self.clear_quarantine(load, txn).await?;
        tracing::warn!(table = %load.table_name, rows = count, "quarantine of an earlier database cleared");
        Ok(Some(format!(
            "{count} refused rows of an earlier database were cleared from quarantine table {}.{}",
            self.settings.quarantine_database, load.table_name
        )))
    }

    async fn write_rows(
        &self,
        job: &Job,
        load: &LoadSettings,
        sheet: &mut OpenSheet,
        sink: &mut Sink,
    ) -> Result<(Staged, u64), Unstaged> {
        let record = &job.record;
        let mut predecessors = match self.lake.staged_version(&load.table_name).await? {
            Some(version) if load.overwrite => Some(Predecessors::read(&self.lake, load, version).await?),
            _ => None,
        };
        let columns = match sink {
            Sink::Stage(writer) => writer.columns().to_vec(),
            Sink::Heal(writer) => writer.columns().to_vec(),
        };
        let target = Identity { target: &record.target, entity: &sheet.entity.set_name, job: &record.job };
        let mut mended = record.heals.as_ref().map(|heals| {
            let of = Returned {
                lake: &self.lake,
                table: &load.table_name,
                target: &record.target,
                entity: &sheet.entity.set_name,
                healed_job: heals,
                scratch: job.dir.path().to_owned(),
            };
            Mended::new(of, &columns, &sheet.header.columns)
        });
        let still_waiting = match &record.retry {
            Some(retry) => Some(self.lake.quarantine_ids_of(&load.table_name, &retry.of).await?),
            None => None,
        };
        let mut rows = 0;
        while let Some(mut read) = self.next_batch(&mut sheet.reading).await? {
            if let Some(ids) = &still_waiting {
                // What somebody mended meanwhile, or a later version replaced, is not put in its place.
                let given: &StringArray = read.column(1).as_string();
                let waits = |id: Option<&str>| {
                    Some(id.and_then(|id| id.parse().ok()).is_some_and(|id| ids.contains(&id)))
                };
                let keep: BooleanArray = given.iter().map(waits).collect();
                read = filter_record_batch(&read, &keep).expect("one mark a row");
            }
            rows += read.num_rows() as u64;
            self.check_atomic(load, &sheet.entity, rows).await?;
            let mut batch = with_identities(&target, &sheet.header, &columns, &read);
            if let Some(mended) = &mut mended {
                batch = mended.take(read.column(1).as_string(), batch).await?;
            }
            if let Some(predecessors) = &mut predecessors {
                batch = with_inherited(predecessors, load.table_name.as_str(), &columns, batch)?;
            }
            match sink {
                Sink::Stage(writer) => writer.write(&batch).await?,
                Sink::Heal(writer) => writer.write(&batch).await?,
            }
        }
        let notes = of_reading(&sheet.header, sheet.reading.summary(), rows);
        let left_behind = match predecessors {
            None => 0,
            Some(predecessors) => {
                let quarantined = self.lake.quarantine_ids(&load.table_name).await?;
                let written = self.state_of(load).await?.map_or(0, |state| state.written);
                // Rows that were staged and never sent have no record that could stay.
                predecessors.left_behind(&quarantined).min(u64::try_from(written).unwrap_or(0))
            }
        };
        let given = mended.map_or(0, |mended| mended.given());
        let staged = Staged {
            sheet: sheet.header.sheet.clone(),
            version: 0,
            columns: headers_kept(&columns, &sheet.header.columns),
            rows,
            healed: 0,
            rewritten: 0,
            left_behind,
            notes,
        };
        Ok((staged, given))
    }

    /// Those of the columns that the entity knows; columns of another load into the same table do not count.
    async fn columns_that_fit(
        &self,
        entity: &Arc<Entity>,
        load: &LoadSettings,
        columns: Vec<StagedColumn>,
    ) -> Result<Vec<StagedColumn>, Halt> {
        let mut fitting = Vec::new();
        for column in columns {
            let mut alone = LoadSettings { key: Vec::new(), mode: Mode::Insert, ..load.clone() };
            alone.columns.retain(|header, _| *header == column.header);
            alone.lookups.retain(|header, _| *header == column.header);
            match self.dynamics.prepare(entity, std::slice::from_ref(&column), &alone).await {
                Ok(_) => fitting.push(column),
                Err(PlanFault::Target(fault)) => return Err(fault.into()),
                Err(PlanFault::Problems { .. }) => {}
            }
        }
        Ok(fitting)
    }
}

/// Where a part's staging puts down what the commit does not say.
fn notes_of(job: &Job, part: u16) -> PathBuf {
    job.dir.scratch(&format!("staged-{part}.json"))
}

/// Puts down what is known only while staging, for a try that finds the commit made.
pub(super) fn put_down(job: &Job, part: u16, staged: &Staged, given: u64) -> Result<(), DiskError> {
    let text = serde_json::to_vec(&(staged, given)).expect("notes are plain data");
    durable::replace(&notes_of(job, part), &text)
}

/// What the sender should know of how the sheet was read.
pub(super) fn of_reading(header: &SheetHeader, summary: Option<&ReadSummary>, rows: u64) -> Vec<String> {
    let mut notes = header.notes.clone();
    if let Some(summary) = summary {
        notes.extend(summary.notes.iter().cloned());
        match summary.faults {
            0 => {}
            1 => notes.push("1 cell cannot be read as a value; its row comes back".to_owned()),
            more => notes.push(format!("{more} cells cannot be read as values; their rows come back")),
        }
    }
    if rows == 0 {
        notes.push("there is no row below the header".to_owned());
    }
    notes
}

/// The event that puts the workbook aside; the operator reads it in the log as well.
pub(super) fn set_aside(job: &Job, reason: String) -> Event {
    let reason = [Some(reason), held_by_package(&job.record.loads)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n");
    tracing::warn!(job = %job.record.job, workbook = job.record.workbook, reason, "workbook set aside");
    Event::SetAside { kind: SetAsideKind::Returned, reason }
}

/// What the sender should know of rows that did not take the place of refused ones, and of those that stay refused.
///
/// `given` rows came with the id of a row; `held` rows were in quarantine before.
fn of_healing(staged: &Staged, given: u64, held: u64, table: &str) -> Vec<String> {
    let sentence = |count: u64, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 row {one}")),
        more => Some(format!("{more} rows {many}")),
    };
    let gone = given.saturating_sub(staged.healed + staged.rewritten);
    let added = staged.rows.saturating_sub(staged.healed + staged.rewritten + gone);
    [
        sentence(added, "is new and was added", "are new and were added"),
        sentence(
            staged.rewritten,
            "had been written before and was written again as it stands here",
            "had been written before and were written again as they stand here",
        ),
        sentence(
            gone,
            &format!(
                "is no longer in the table {table}, which was replaced since; it was added as a new one"
            ),
            &format!(
                "are no longer in the table {table}, which was replaced since; they were added as new ones"
            ),
        ),
        sentence(
            held.saturating_sub(staged.healed),
            &format!("of the table {table} is not in this workbook and stays in quarantine"),
            &format!("of the table {table} are not in this workbook and stay in quarantine"),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Pipeline {
    /// `atomic` beyond what one transaction of the target holds is refused before anything is staged.
    pub(super) async fn check_atomic(
        &self,
        load: &LoadSettings,
        entity: &Entity,
        rows: u64,
    ) -> Result<(), Unstaged> {
        if !load.atomic || rows <= CHANGE_SET_OPERATIONS_MAX {
            return Ok(());
        }
        let max = self.dynamics.transaction_rows_max(entity, load.mode).await as u64;
        if rows <= max {
            return Ok(());
        }
        let what = match (self.dynamics.dialect(), max) {
            (Dialect::Finops, _) => "what one change set of Finance & Operations takes",
            (Dialect::Dataverse, CHANGE_SET_OPERATIONS_MAX) => "what one change set of Dataverse takes",
            (Dialect::Dataverse, _) => "what one bulk action may hold",
        };
        Err(Unstaged::Senders(format!(
            "`atomic` asks for one transaction, and the workbook has more than {max} rows, which is {what}; split the \
             workbook, or take `atomic` out of its sidecar"
        )))
    }
}

/// What the identities of a load's rows are made of.
pub(super) struct Identity<'a> {
    pub target: &'a str,
    pub entity: &'a str,
    pub job: &'a JobId,
}

/// The reader's batch as a staged one: identities, job and sheet in front, the cells as they are.
pub(super) fn with_identities(
    identity: &Identity<'_>,
    header: &SheetHeader,
    columns: &[StagedColumn],
    batch: &RecordBatch,
) -> RecordBatch {
    let rows = batch.num_rows();
    let numbers: &Int64Array = batch.column(0).as_primitive::<Int64Type>();
    let given: &StringArray = batch.column(1).as_string();
    let mut ids = StringBuilder::with_capacity(rows, rows * 36);
    for row in 0..rows {
        let kept = given.is_valid(row).then(|| given.value(row).parse::<RowId>().ok()).flatten();
        let number = u32::try_from(numbers.value(row)).unwrap_or(u32::MAX);
        let fresh =
            || identity::row_id(identity.target, identity.entity, identity.job, &header.sheet, number);
        ids.append_value(kept.unwrap_or_else(fresh).to_string());
    }
    let same =
        |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) };
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        same(identity.job.as_str()),
        same(&header.sheet),
        Arc::clone(batch.column(0)),
        Arc::clone(batch.column(2)),
    ];
    arrays.extend(batch.columns()[3..].iter().cloned());
    RecordBatch::try_new(staged_schema(columns), arrays)
        .expect("the reader keeps to the columns and types of the header that it sent")
}

/// The batch with the identities that its rows inherit from the version that it replaces.
fn with_inherited(
    predecessors: &mut Predecessors,
    table: &str,
    columns: &[StagedColumn],
    batch: RecordBatch,
) -> Result<RecordBatch, Halt> {
    let rows = staged_rows(table, columns, &batch)?;
    let ids = rows.iter().map(|row| predecessors.take(columns, row).unwrap_or(row.id).to_string());
    let mut arrays = batch.columns().to_vec();
    arrays[0] = Arc::new(ids.map(Some).collect::<StringArray>());
    Ok(RecordBatch::try_new(batch.schema(), arrays)
        .expect("one column took the place of another of its type"))
}

/// The table's names and types with the headers of this workbook, which its settings speak of.
pub(super) fn headers_kept(columns: &[StagedColumn], read: &[StagedColumn]) -> Vec<StagedColumn> {
    columns
        .iter()
        .zip(read)
        .map(|(column, read)| StagedColumn { header: read.header.clone(), ..column.clone() })
        .collect()
}
