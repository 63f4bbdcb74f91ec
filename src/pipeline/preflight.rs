//! preflight: every staged row against the target's metadata, before the first one is written.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use sha2::{Digest, Sha256};

use super::claim::Job;
use super::{Halt, Pipeline};
use crate::domain::conform::excerpt;
use crate::domain::entity::Entity;
use crate::domain::lifecycle::{Event, Staged};
use crate::domain::refusal::{Refusal, RefusedRow};
use crate::domain::row::{StagedColumn, StagedRow};
use crate::domain::settings::{LoadSettings, Mode};
use crate::domain::value::Value;
use crate::io::delta::{ReceiptsOf, RowReader};
use crate::io::dynamics::RowPlan;

/// Operations in one change set. Dataverse refuses more. Source: `dynamics.md` §3.1.
pub const CHANGE_SET_OPERATIONS_MAX: u64 = 1_000;

/// The rows of a part, batch by batch, in the order in which they were staged: the same cut at every look.
pub struct Batches {
    reader: RowReader,
    own: OwnColumns,
    rows: u32,
    number: u32,
    rest: std::vec::IntoIter<StagedRow>,
}

impl Batches {
    /// The next batch with its number from 0, each row with the values of the job's own columns.
    ///
    /// # Errors
    /// When the staged table cannot be read.
    pub async fn next(&mut self) -> Result<Option<(u32, Vec<StagedRow>)>, Halt> {
        Ok(self.next_whole().await?.map(|(number, rows, _)| (number, rows)))
    }

    /// As [`Self::next`], and the same rows once more with the values of all the table's columns.
    ///
    /// # Errors
    /// When the staged table cannot be read.
    pub async fn next_whole(&mut self) -> Result<Option<(u32, Vec<StagedRow>, Vec<StagedRow>)>, Halt> {
        let mut whole = Vec::new();
        while whole.len() < self.rows as usize {
            match self.rest.next() {
                Some(row) => whole.push(row),
                None => match self.reader.next().await? {
                    Some(rows) => self.rest = rows.into_iter(),
                    None => break,
                },
            }
        }
        if whole.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let rows = whole.iter().map(|row| self.own.of(row)).collect();
        Ok(Some((self.number - 1, rows, whole)))
    }
}

/// The columns that a job brought among those of its table.
pub(super) struct OwnColumns {
    places: Vec<Option<usize>>,
}

impl OwnColumns {
    pub fn new(table: &[StagedColumn], own: &[StagedColumn]) -> Self {
        let at: HashMap<String, usize> =
            table.iter().enumerate().map(|(at, column)| (column.name.to_lowercase(), at)).collect();
        OwnColumns { places: own.iter().map(|column| at.get(&column.name.to_lowercase()).copied()).collect() }
    }

    /// The row with the values of these columns.
    pub fn of(&self, row: &StagedRow) -> StagedRow {
        let value = |at: &Option<usize>| at.map_or(Value::Blank, |at| row.values[at].clone());
        StagedRow {
            values: self.places.iter().map(value).collect(),
            id: row.id,
            job: row.job.clone(),
            sheet: row.sheet.clone(),
            number: row.number,
        }
    }
}

impl Pipeline {
    /// The rows of a part as they were staged.
    ///
    /// # Errors
    /// When the staged table cannot be read at that version.
    pub async fn batches(&self, job: &Job, part: u16, staged: &Staged) -> Result<Batches, Halt> {
        let load = &job.record.loads[usize::from(part)];
        let reader = self.lake.rows(&load.table_name, staged.version, Some(&job.record.job)).await?;
        let own = OwnColumns::new(reader.columns(), &staged.columns);
        // All or none is one batch, however many rows staging has let through.
        let whole = u32::try_from(staged.rows.max(CHANGE_SET_OPERATIONS_MAX)).unwrap_or(u32::MAX);
        let rows = if load.atomic { whole } else { load.batch_size };
        Ok(Batches { reader, own, rows, number: 0, rest: Vec::new().into_iter() })
    }

    /// Holds every row of the part against the target's metadata and journals the rows that may not leave.
    ///
    /// # Errors
    /// When the target or the disk does not answer; the next try starts from the first row.
    pub async fn preflight(&self, job: &mut Job, part: u16) -> Result<Event, Halt> {
        let load = job.record.loads[usize::from(part)].clone();
        let staged = job.staged(part);
        let (entity, plan) = self.plan_of(job, part, &staged).await?;
        let mut keys = KeysSeen::new(&entity, &plan, &load, &staged.columns);
        self.note(job, part, Event::PreflightBegun)?;
        if self.is_replaced(job, part, &staged).await? {
            return Ok(Event::Preflighted { batches: 0, refused: 0 });
        }
        let mut batches = self.batches(job, part, &staged).await?;
        let (mut count, mut refused_rows) = (0, 0);
        while let Some((batch, rows)) = batches.next().await? {
            if self.stop.is_cancelled() {
                return Err(Halt::Stopping);
            }
            let mut refused = Vec::new();
            for (index, (row, encoded)) in
                rows.iter().zip(self.dynamics.encode(&plan, &rows).await?).enumerate()
            {
                let mut refusals = encoded.err().unwrap_or_default();
                refusals.extend(keys.note(row, refusals.is_empty()));
                if !refusals.is_empty() {
                    refused.push(RefusedRow { index: index as u32, refusals });
                }
            }
            if load.atomic && !refused.is_empty() {
                hold_all(&mut refused, &rows);
            }
            refused_rows += refused.len() as u64;
            count = batch + 1;
            if !refused.is_empty() {
                self.note(job, part, Event::BatchHeld { batch, refused })?;
            }
        }
        tracing::info!(job = %job.record.job, table = %load.table_name, rows = staged.rows, refused = refused_rows, "preflight done");
        Ok(Event::Preflighted { batches: count, refused: refused_rows })
    }

    /// How the rows of a part become operations; rows that were written before keep their records.
    pub(super) async fn plan_of(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
    ) -> Result<(std::sync::Arc<Entity>, RowPlan), Halt> {
        let load = &job.record.loads[usize::from(part)];
        let (entity, mut plan) = self.plan(load, &staged.columns).await?;
        // Rows that are merely appended are new and have no receipts.
        if load.overwrite || job.record.heals.is_some() {
            plan.expect_known_rows();
            let mut receipts = self.lake.receipts(ReceiptsOf::Table(&load.table_name)).await?;
            while let Some(written) = receipts.next().await? {
                plan.keep_records(
                    written.iter().map(|receipt| (receipt.row_id, receipt.target_key.as_str())),
                );
            }
        }
        Ok((entity, plan))
    }

    /// How rows of these columns become operations on the load's entity.
    pub(super) async fn plan(
        &self,
        load: &LoadSettings,
        columns: &[StagedColumn],
    ) -> Result<(std::sync::Arc<Entity>, RowPlan), Halt> {
        let entity = self.dynamics.entity(&load.target_entity).await?;
        // Staging held the columns against the same metadata; if they no longer fit, the target has changed since.
        let plan = self.dynamics.prepare(&entity, columns, load).await.map_err(|fault| Halt::Wait {
            waiting_for: format!(
                "the operator: the target's metadata no longer fits what was staged: {fault}"
            ),
            retry: super::OPERATOR_WAIT,
        })?;
        Ok((entity, plan))
    }
}

/// `atomic` is all rows or none: one that may not leave holds all others back.
pub(super) fn hold_all(refused: &mut Vec<RefusedRow>, rows: &[StagedRow]) {
    let first = rows[refused[0].index as usize].number;
    let held = |index: u32| RefusedRow { index, refusals: vec![held_back(first)] };
    let known: std::collections::HashSet<u32> = refused.iter().map(|row| row.index).collect();
    refused.extend((0..rows.len() as u32).filter(|index| !known.contains(index)).map(held));
    refused.sort_by_key(|row| row.index);
}

/// Why a good row of an atomic load stays: another one, of this number, was refused.
pub(super) fn held_back(first: u32) -> Refusal {
    Refusal {
        column: None,
        error: format!("held back: the load is atomic and row {first} was refused"),
        cause: format!(
            "nothing is wrong with this row, but all rows go together and row {first} was refused"
        ),
        advice: format!("mend row {first}, leave this row as it is"),
    }
}

/// Finds rows of one load that name the same record: the first goes, the others come back.
pub(super) struct KeysSeen {
    keys: Vec<Key>,
}

struct Key {
    columns: Vec<usize>,
    /// A column whose blank cells stand for this text, so that they do not leave the key open.
    usual: Option<(usize, String)>,
    headers: String,
    column: String,
    seen: HashMap<[u8; 16], u32>,
}

impl KeysSeen {
    pub fn new(entity: &Entity, plan: &RowPlan, load: &LoadSettings, columns: &[StagedColumn]) -> Self {
        let mut lists: Vec<Vec<usize>> = Vec::new();
        let by_header = |header: &String| {
            let wanted = header.trim().to_lowercase();
            columns
                .iter()
                .position(|c| c.header.trim().to_lowercase() == wanted || c.name.to_lowercase() == wanted)
        };
        if let Some(list) =
            load.key.iter().map(by_header).collect::<Option<Vec<_>>>().filter(|list| !list.is_empty())
        {
            lists.push(list);
        }
        if load.mode == Mode::Edit {
            let id =
                plan.columns().iter().find(|c| Some(&c.attribute.logical_name) == entity.primary_id.as_ref());
            lists.extend(id.and_then(|id| columns.iter().position(|c| c.name == id.name)).map(|at| vec![at]));
        }
        if matches!(load.mode, Mode::Insert | Mode::Upsert | Mode::Edit) {
            for key in entity.keys.iter().filter(|key| key.active) {
                let column_of = |attribute: &String| -> Option<usize> {
                    let planned = plan.columns().iter().find(|c| c.attribute.logical_name == *attribute)?;
                    columns.iter().position(|c| c.name == planned.name)
                };
                lists.extend(key.attributes.iter().map(column_of).collect::<Option<Vec<_>>>());
            }
        }
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let mut usual = None;
        if let Some(key) = plan.entity_key() {
            lists =
                key.columns.iter().map(|name| place(name)).collect::<Option<Vec<_>>>().into_iter().collect();
            lists.retain(|list| !list.is_empty());
            let company = if key.usual.is_empty() { "the default company" } else { key.usual };
            usual = key.company.and_then(place).map(|at| (at, company.to_owned()));
        }
        for list in &mut lists {
            list.sort_unstable();
        }
        lists.sort();
        lists.dedup();
        let key = |list: Vec<usize>| Key {
            headers: list.iter().map(|at| columns[*at].header.as_str()).collect::<Vec<_>>().join(", "),
            column: columns[list[0]].name.clone(),
            usual: usual.clone().filter(|(at, _)| list.contains(at)),
            columns: list,
            seen: HashMap::new(),
        };
        KeysSeen { keys: lists.into_iter().map(key).collect() }
    }

    /// What speaks against the row; a row that is refused for other reasons does not take its key from a good one.
    pub fn note(&mut self, row: &StagedRow, good: bool) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for key in &mut self.keys {
            let text = |at: &usize| match (&key.usual, row.values[*at].to_text()) {
                (Some((usual_at, usual)), text) if at == usual_at && text.trim().is_empty() => usual.clone(),
                (_, text) => text,
            };
            let values: Vec<String> = key.columns.iter().map(text).collect();
            if values.iter().any(String::is_empty) {
                continue;
            }
            let shown = excerpt(&values.join(", "));
            // Dataverse compares text keys without case.
            let digest = Sha256::digest(values.join("\u{1f}").to_lowercase());
            let hash: [u8; 16] = digest[..16].try_into().expect("a SHA-256 has 32 bytes");
            match key.seen.entry(hash) {
                Slot::Occupied(first) => refusals.push(Refusal {
                    column: Some(key.column.clone()),
                    error: format!("duplicate key in the workbook: {} `{shown}`", key.headers),
                    cause: format!("{} `{shown}` stands in row {} already", key.headers, first.get()),
                    advice: format!("give this row its own {}, or delete it", key.headers),
                }),
                Slot::Vacant(free) if good => {
                    free.insert(row.number);
                }
                Slot::Vacant(_) => {}
            }
        }
        refusals
    }
}
