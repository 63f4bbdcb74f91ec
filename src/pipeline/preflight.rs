//! preflight: every staged row against the target's metadata, before the first one is written.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::claim::Job;
use super::order::Order;
use super::{Halt, Pipeline};
use crate::domain::conform::excerpt;
use crate::domain::entity::Entity;
use crate::domain::job::JobId;
use crate::domain::levels::{Edge, levels};
use crate::domain::lifecycle::{Event, Staged};
use crate::domain::refusal::{Refusal, RefusedRow};
use crate::domain::row::{StagedColumn, StagedRow};
use crate::domain::settings::{LoadSettings, Mode};
use crate::domain::table::TableName;
use crate::domain::value::Value;
use crate::io::delta::{Lakehouse, ReceiptsOf, RowReader};
use crate::io::dynamics::{Ids, Pass, Placed, RowPlan};

/// Operations in one change set. Dataverse refuses more. Source: `dynamics.md` §3.1.
pub const CHANGE_SET_OPERATIONS_MAX: u64 = 1_000;

/// Values of rows that are read ahead where batches are cut in an order of their own.
const AHEAD_VALUES_MAX: usize = 400_000;

/// The rows of a part, batch by batch: the same cut at every look.
pub struct Batches {
    source: Source,
    own: OwnColumns,
    rows: u32,
    number: u32,
    /// Rows that were read and are not given out, by their places.
    rest: std::vec::IntoIter<StagedRow>,
    /// The place of the next row that is read.
    place: u32,
    order: Option<Arc<Order>>,
    ahead: HashMap<u32, StagedRow>,
}

/// Where the rows of a part come from.
struct Source {
    lake: Lakehouse,
    table: TableName,
    version: u64,
    job: JobId,
    reader: RowReader,
}

/// One batch.
pub struct Batch {
    /// Its number, from 0.
    pub number: u32,
    /// Its rows with the values of the job's own columns.
    pub rows: Vec<StagedRow>,
    /// The same rows with the values of all the table's columns.
    pub whole: Vec<StagedRow>,
    /// The place of each in the part as it was staged, from 0.
    pub places: Vec<u32>,
}

impl Batches {
    /// The next batch.
    ///
    /// # Errors
    /// When the staged table cannot be read.
    pub async fn next(&mut self) -> Result<Option<Batch>, Halt> {
        let (whole, places) = match self.order.clone() {
            None => self.next_as_staged().await?,
            Some(order) => self.next_in_order(&order).await?,
        };
        if whole.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let rows = whole.iter().map(|row| self.own.of(row)).collect();
        Ok(Some(Batch { number: self.number - 1, rows, whole, places }))
    }

    /// The level of the next batch: it goes when all those of lower levels were heard.
    pub fn next_level(&self) -> u32 {
        self.order.as_ref().map_or(0, |order| order.level(self.number))
    }

    async fn next_as_staged(&mut self) -> Result<(Vec<StagedRow>, Vec<u32>), Halt> {
        let (mut whole, mut places) = (Vec::new(), Vec::new());
        while whole.len() < self.rows as usize {
            let Some((place, row)) = self.next_row().await? else { break };
            whole.push(row);
            places.push(place);
        }
        Ok((whole, places))
    }

    async fn next_row(&mut self) -> Result<Option<(u32, StagedRow)>, Halt> {
        loop {
            if let Some(row) = self.rest.next() {
                self.place += 1;
                return Ok(Some((self.place - 1, row)));
            }
            match self.source.reader.next().await? {
                Some(rows) => self.rest = rows.into_iter(),
                None => return Ok(None),
            }
        }
    }

    async fn next_in_order(&mut self, order: &Order) -> Result<(Vec<StagedRow>, Vec<u32>), Halt> {
        let places = order.batch(self.number).to_vec();
        if !places.iter().all(|place| self.ahead.contains_key(place)) {
            self.read_ahead(order).await?;
        }
        let row = |place: &u32| {
            self.ahead.remove(place).ok_or_else(|| Halt::Wait {
                waiting_for: format!(
                    "the operator: row {place} of the staged table {} is gone",
                    self.source.table
                ),
                retry: super::OPERATOR_WAIT,
            })
        };
        let whole = places.iter().map(row).collect::<Result<_, _>>()?;
        Ok((whole, places))
    }

    /// Reads the rows of this batch and of as many after it as memory is meant for, in one pass over the table.
    async fn read_ahead(&mut self, order: &Order) -> Result<(), Halt> {
        let rows_max = AHEAD_VALUES_MAX / self.source.reader.columns().len().max(1);
        let mut wanted: HashSet<u32> = HashSet::new();
        for number in self.number..order.batches() {
            let batch = order.batch(number);
            if !wanted.is_empty() && wanted.len() + batch.len() > rows_max {
                break;
            }
            wanted.extend(batch.iter().filter(|place| !self.ahead.contains_key(place)));
        }
        if wanted.iter().min().is_some_and(|first| *first < self.place) {
            let Source { lake, table, version, job, .. } = &self.source;
            self.source.reader = lake.rows(table, *version, Some(job)).await?;
            (self.place, self.rest) = (0, Vec::new().into_iter());
        }
        while !wanted.is_empty() {
            let Some((place, row)) = self.next_row().await? else { break };
            if wanted.remove(&place) {
                self.ahead.insert(place, row);
            }
        }
        Ok(())
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
    /// The batches of a part, in the order that preflight gave them.
    ///
    /// # Errors
    /// When the staged table cannot be read at that version.
    pub async fn batches(&self, job: &Job, part: u16, staged: &Staged) -> Result<Batches, Halt> {
        let order = self.order_of(job, part)?;
        Ok(Batches { order, ..self.batches_as_staged(job, part, staged).await? })
    }

    /// The rows of a part in the order in which they were staged.
    pub(super) async fn batches_as_staged(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
    ) -> Result<Batches, Halt> {
        let load = &job.record.loads[usize::from(part)];
        let (table, version, id) = (&load.table_name, staged.version, &job.record.job);
        let reader = self.lake.rows(table, version, Some(id)).await?;
        let own = OwnColumns::new(reader.columns(), &staged.columns);
        let source =
            Source { lake: self.lake.clone(), table: table.clone(), version, job: id.clone(), reader };
        Ok(Batches {
            source,
            own,
            rows: batch_rows(load, staged),
            number: 0,
            rest: Vec::new().into_iter(),
            place: 0,
            order: None,
            ahead: HashMap::new(),
        })
    }

    /// Holds every row of the part against the target's metadata and journals the rows that may not leave.
    ///
    /// # Errors
    /// When the target or the disk does not answer; the next try starts from the first row.
    pub async fn preflight(&self, job: &mut Job, part: u16) -> Result<Event, Halt> {
        let load = job.record.loads[usize::from(part)].clone();
        let staged = job.staged(part);
        let (entity, mut plan) = self.plan_of(job, part, &staged).await?;
        let mut keys = KeysSeen::new(&entity, &plan, &load, &staged.columns);
        self.note(job, part, Event::PreflightBegun)?;
        if self.is_replaced(job, part, &staged).await? {
            return Ok(Event::Preflighted { batches: 0, refused: 0, ordered: false, without: Vec::new() });
        }
        let without = if load.atomic { BTreeSet::new() } else { self.goes_without(job, &plan).await? };
        plan.go_without(without.clone());
        if let Some(siblings) = self.siblings(job, part, &staged, &plan).await? {
            plan.with_siblings(Arc::new(siblings));
            return self.preflight_in_order(job, part, plan, keys).await;
        }
        let mut batches = self.batches_as_staged(job, part, &staged).await?;
        let (mut count, mut refused_rows) = (0, 0);
        while let Some(batch) = batches.next().await? {
            let looked = self.look_at(&plan, &batch, &mut keys).await?;
            let mut refused = Vec::new();
            for (index, (refusals, _)) in looked.into_iter().enumerate() {
                if !refusals.is_empty() {
                    refused.push(RefusedRow { index: index as u32, refusals });
                }
            }
            if load.atomic && !refused.is_empty() {
                hold_all(&mut refused, &batch.rows);
            }
            refused_rows += refused.len() as u64;
            count = batch.number + 1;
            if !refused.is_empty() {
                self.note(job, part, Event::BatchHeld { batch: batch.number, refused })?;
            }
        }
        tracing::info!(job = %job.record.job, table = %load.table_name, rows = staged.rows, refused = refused_rows, "preflight done");
        let without = without.into_iter().collect();
        Ok(Event::Preflighted { batches: count, refused: refused_rows, ordered: false, without })
    }

    /// As [`Self::preflight`], where rows may point at each other: those that are refused, and those that point at them,
    /// are batches of their own; the others go parents first.
    async fn preflight_in_order(
        &self,
        job: &mut Job,
        part: u16,
        mut plan: RowPlan,
        mut keys: KeysSeen,
    ) -> Result<Event, Halt> {
        let load = job.record.loads[usize::from(part)].clone();
        let staged = job.staged(part);
        let siblings = plan.siblings().cloned().expect("preflight() has given the plan its siblings");
        let mut held = HeldRows::new(batch_rows(&load, &staged));
        let (mut is_held, mut edges) = (Vec::new(), Vec::new());
        let mut batches = self.batches_as_staged(job, part, &staged).await?;
        while let Some(batch) = batches.next().await? {
            let looked = self.look_at(&plan, &batch, &mut keys).await?;
            for ((child, row), (mut refusals, parents)) in batch.places.iter().zip(&batch.rows).zip(looked) {
                let known = plan.chooses_ids() || parents.is_empty();
                if load.atomic && !known {
                    refusals.push(unpromised(&load));
                }
                edges.extend(parents.into_iter().map(|parent| Edge { child: *child, parent }));
                is_held.push(!refusals.is_empty());
                if !refusals.is_empty() {
                    self.hold(job, part, &mut held, (*child, row.number), refusals)?;
                }
            }
        }
        let levels = levels(is_held.len() as u32, edges.clone());
        let circular = levels.later.len() as u64;
        if load.atomic && is_held.len() as u64 + circular > CHANGE_SET_OPERATIONS_MAX {
            let refusal = too_circular(is_held.len() as u64, circular);
            self.hold_rest(job, part, &mut held, &mut is_held, &|_| true, &plan, Some(refusal)).await?;
        } else if !plan.can_be_circular() && circular > 0 {
            let cut: HashSet<u32> = levels.later.iter().map(|edge| edge.child).collect();
            let hold = |place: u32| cut.contains(&place);
            self.hold_rest(job, part, &mut held, &mut is_held, &hold, &plan, Some(circular_for_good()))
                .await?;
        }
        // Rows that point at refused ones, level after level: a refused row takes all below it along.
        edges.retain(|edge| edge.child != edge.parent);
        edges.sort_unstable_by_key(|edge| (levels.of[edge.child as usize], edge.child));
        let before: Vec<bool> = is_held.clone();
        let mut orphaned = is_held.clone();
        for edge in &edges {
            orphaned[edge.child as usize] |= orphaned[edge.parent as usize];
        }
        for place in (0..orphaned.len() as u32).filter(|place| orphaned[*place as usize]) {
            siblings.refuse(place);
        }
        if orphaned != before {
            let hold = |place: u32| orphaned[place as usize] && !before[place as usize];
            self.hold_rest(job, part, &mut held, &mut is_held, &hold, &plan, None).await?;
        }
        let refused =
            if load.atomic && !held.places.is_empty() { staged.rows } else { held.places.len() as u64 };
        let order = Order::new(&held.places, &is_held, &levels, batch_rows(&load, &staged), load.atomic);
        let order = order.with_parents(&edges);
        if load.atomic {
            self.hold_atomic(job, part, held, &order, &staged).await?;
        } else if let Some(event) = held.rest() {
            self.note(job, part, event)?;
        }
        self.keep_order(job, part, &order)?;
        tracing::info!(job = %job.record.job, table = %load.table_name, rows = staged.rows, refused, levels = levels.of.iter().max().map_or(0, |level| level + 1), circular, "preflight done, parents first");
        let without = plan.take_without().into_iter().collect();
        Ok(Event::Preflighted { batches: order.batches(), refused, ordered: true, without })
    }

    /// What speaks against each row of a batch, and the places of the rows that must be written before it.
    async fn look_at(
        &self,
        plan: &RowPlan,
        batch: &Batch,
        keys: &mut KeysSeen,
    ) -> Result<Vec<(Vec<Refusal>, Vec<u32>)>, Halt> {
        if self.stop.is_cancelled() {
            return Err(Halt::Stopping);
        }
        let placed = Placed { rows: &batch.rows, places: &batch.places };
        let encoded = self.dynamics.encode_placed(plan, placed, Pass::First, Ids::Asked).await?;
        let looked = encoded.into_iter().zip(&batch.rows).map(|(encoded, row)| {
            let mut refusals = encoded.operation.err().unwrap_or_default();
            refusals.extend(keys.note(row, refusals.is_empty()));
            (refusals, encoded.parents)
        });
        Ok(looked.collect())
    }

    /// Holds further rows back: for the reason given, or because what they point at is refused.
    #[expect(clippy::too_many_arguments, reason = "what preflight has gathered")]
    async fn hold_rest(
        &self,
        job: &mut Job,
        part: u16,
        held: &mut HeldRows,
        is_held: &mut [bool],
        hold: &(dyn Fn(u32) -> bool + Sync),
        plan: &RowPlan,
        reason: Option<Refusal>,
    ) -> Result<(), Halt> {
        let staged = job.staged(part);
        let mut batches = self.batches_as_staged(job, part, &staged).await?;
        while let Some(mut batch) = batches.next().await? {
            let mut keep = batch.places.iter().map(|place| hold(*place) && !is_held[*place as usize]);
            batch.rows.retain(|_| keep.next().unwrap_or(false));
            batch.places.retain(|place| hold(*place) && !is_held[*place as usize]);
            let placed = Placed { rows: &batch.rows, places: &batch.places };
            let encoded = match &reason {
                Some(_) => Vec::new(),
                None => self.dynamics.encode_placed(plan, placed, Pass::First, Ids::Asked).await?,
            };
            let mut encoded = encoded.into_iter();
            for (place, row) in batch.places.iter().zip(&batch.rows) {
                let refusals = match (&reason, encoded.next().map(|encoded| encoded.operation)) {
                    (Some(reason), _) => vec![reason.clone()],
                    (None, Some(Err(refusals))) => refusals,
                    // The target has its parent by now: it may go after all.
                    (None, _) => continue,
                };
                is_held[*place as usize] = true;
                self.hold(job, part, held, (*place, row.number), refusals)?;
            }
        }
        Ok(())
    }

    fn hold(
        &self,
        job: &mut Job,
        part: u16,
        held: &mut HeldRows,
        row: (u32, u32),
        refusals: Vec<Refusal>,
    ) -> Result<(), Halt> {
        let atomic = job.record.loads[usize::from(part)].atomic;
        match held.push(row, refusals, !atomic) {
            Some(event) => self.note(job, part, event),
            None => Ok(()),
        }
    }

    /// All or none: one batch, and one row that is held back holds all.
    async fn hold_atomic(
        &self,
        job: &mut Job,
        part: u16,
        held: HeldRows,
        order: &Order,
        staged: &Staged,
    ) -> Result<(), Halt> {
        if held.places.is_empty() {
            return Ok(());
        }
        let at: HashMap<u32, u32> = order.batch(0).iter().copied().zip(0..).collect();
        let mut refused: Vec<RefusedRow> = held.pending;
        for (row, place) in refused.iter_mut().zip(&held.places) {
            row.index = at[place];
        }
        let first = held.first_number;
        let known: HashSet<u32> = refused.iter().map(|row| row.index).collect();
        let rest = (0..staged.rows as u32).filter(|index| !known.contains(index));
        refused.extend(rest.map(|index| RefusedRow { index, refusals: vec![held_back(first)] }));
        refused.sort_by_key(|row| row.index);
        self.note(job, part, Event::BatchHeld { batch: 0, refused })
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

/// Rows in one batch of a load: all or none is one batch, however many rows staging has let through.
fn batch_rows(load: &LoadSettings, staged: &Staged) -> u32 {
    let whole = u32::try_from(staged.rows.max(CHANGE_SET_OPERATIONS_MAX)).unwrap_or(u32::MAX);
    if load.atomic { whole } else { load.batch_size }
}

/// Rows that are held back before the others, in batches of their own.
struct HeldRows {
    batch_rows: u32,
    /// Their places, in the order in which they were held back.
    places: Vec<u32>,
    pending: Vec<RefusedRow>,
    batch: u32,
    /// The Excel row number of the first.
    first_number: u32,
}

impl HeldRows {
    fn new(batch_rows: u32) -> Self {
        HeldRows { batch_rows, places: Vec::new(), pending: Vec::new(), batch: 0, first_number: 0 }
    }

    /// Adds a row; gives out the batch that it fills, where batches are given out.
    fn push(
        &mut self,
        (place, number): (u32, u32),
        refusals: Vec<Refusal>,
        in_batches: bool,
    ) -> Option<Event> {
        if self.places.is_empty() {
            self.first_number = number;
        }
        self.places.push(place);
        self.pending.push(RefusedRow { index: self.pending.len() as u32, refusals });
        (in_batches && self.pending.len() >= self.batch_rows as usize).then(|| self.rest()).flatten()
    }

    /// The batch that was begun.
    fn rest(&mut self) -> Option<Event> {
        let refused = std::mem::take(&mut self.pending);
        self.batch += 1;
        (!refused.is_empty()).then(|| Event::BatchHeld { batch: self.batch - 1, refused })
    }
}

/// A transaction in which a row cannot name the record of another one.
fn unpromised(load: &LoadSettings) -> Refusal {
    Refusal {
        column: None,
        error: "atomic: the id of a record of the same transaction is not known beforehand".to_owned(),
        cause: format!(
            "it points at another row of this workbook, which mode `{}` cannot name before it is written",
            load.mode.as_str()
        ),
        advice: "load it with mode `insert`, or take `atomic` out of the sidecar".to_owned(),
        missing: None,
    }
}

/// More operations than one transaction holds, because circular lookups need two each.
fn too_circular(rows: u64, circular: u64) -> Refusal {
    Refusal {
        column: None,
        error: format!(
            "atomic: {rows} rows and {circular} circular lookups are more than {CHANGE_SET_OPERATIONS_MAX} operations"
        ),
        cause: format!(
            "the {rows} rows of this workbook need {circular} further writes because rows point at each other in a \
             circle, and one transaction takes {CHANGE_SET_OPERATIONS_MAX}"
        ),
        advice: "split the workbook, or take `atomic` out of its sidecar".to_owned(),
        missing: None,
    }
}

/// A circle whose lookup cannot be left out of any of its rows.
fn circular_for_good() -> Refusal {
    Refusal {
        column: None,
        error: "circular: the lookup is required or cannot be updated, so that no row can go first"
            .to_owned(),
        cause: "rows of this workbook point at each other in a circle, and none of them can be written first"
            .to_owned(),
        advice: "let one of the rows point at a record that is there".to_owned(),
        missing: None,
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
        missing: None,
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
                    missing: None,
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
