//! Rows on their way out: each cell into its column or among the rescued, each batch into a frame.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use arrow_ipc::writer::StreamWriter;
use deltalake::arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder};
use deltalake::arrow::datatypes::{DataType, Field, Schema};
use uuid::Uuid;

use super::columns::{ColumnBuilder, Profile, Zone, arrow_type};
use super::fault::ReadFault;
use super::frames;
use super::layout::Layout;
use super::request::{ReadLimits, ReadSummary};
use super::row::Row;
use super::seen::{Seen, see};
use super::sheet::pipe;
use super::source::SheetFacts;
use super::table::Table;
use super::tables::{Bounds, Outside};
use crate::domain::value::Value;

/// Rows in a batch at most.
const BATCH_ROWS_MAX: usize = 2_048;
/// Bytes of values after which a batch is sent.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// What the sheet's column at an index is.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// One of the table's columns, by its place among them.
    Column(usize),
    /// The row ids of a returned workbook.
    Id,
    /// DDU's own.
    Own,
    /// None that anything was known of before.
    Unknown,
    /// Outside of the Excel table that is read: its cells are left out.
    Outside,
}

/// Rows on their way out.
pub(super) struct Rows {
    table: Table,
    roles: Vec<Role>,
    header_row: u32,
    bounds: Option<Bounds>,
    outside: Outside,
    rows_max: u64,
    zone: Zone,
    schema: Arc<Schema>,
    batches: SyncSender<RecordBatch>,
    numbers: Int64Builder,
    ids: StringBuilder,
    rescued: StringBuilder,
    builders: Vec<ColumnBuilder>,
    /// Whether each column has its value of the present row.
    filled: Vec<bool>,
    batch_rows: usize,
    batch_bytes: usize,
    /// What was met in each column of the sheet.
    profiles: Vec<Profile>,
    /// Whether some column turned out to be of another type than was thought, or to be one: nothing goes out any more.
    astray: bool,
    seen_rows: RowSet,
    seen_ids: HashSet<Uuid>,
    summary: ReadSummary,
    last_row: u32,
    hidden: u64,
    changed_ids: u64,
    repeated_ids: u64,
}

/// The columns of a batch.
pub(super) fn schema(table: &Table) -> Arc<Schema> {
    let mut fields = vec![
        Field::new("_ddu_row", DataType::Int64, false),
        Field::new("_ddu_row_id", DataType::Utf8, true),
        Field::new("_ddu_rescued", DataType::Utf8, true),
    ];
    fields.extend(table.columns.iter().map(|column| Field::new(&column.name, arrow_type(column.kind), true)));
    Arc::new(Schema::new(fields))
}

/// Writes batches as frames until no more come; the schema goes out with the first, or alone where there is none.
///
/// # Errors
/// When the parent went away.
pub(super) fn write(
    schema: &Schema,
    batches: Receiver<RecordBatch>,
    out: &mut impl Write,
) -> Result<(), ReadFault> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(arrow)?;
    for batch in batches {
        writer.write(&batch).map_err(arrow)?;
        frames::write(out, frames::ROWS, writer.get_ref()).map_err(pipe)?;
        writer.get_mut().clear();
    }
    if writer.get_ref().is_empty() {
        return Ok(());
    }
    frames::write(out, frames::ROWS, writer.get_ref()).map_err(pipe)
}

impl Rows {
    /// Begins a table whose batches go to [`write`].
    pub fn new(
        table: Table,
        layout: &Layout,
        zone: Zone,
        limits: &ReadLimits,
        schema: Arc<Schema>,
        batches: SyncSender<RecordBatch>,
    ) -> Self {
        let last = table.places.iter().chain(&layout.id_column).chain(&layout.own_columns).max();
        let mut roles = vec![Role::Unknown; last.map_or(0, |last| *last as usize + 1)];
        for (index, place) in table.places.iter().enumerate() {
            roles[*place as usize] = Role::Column(index);
        }
        for own in &layout.own_columns {
            roles[*own as usize] = Role::Own;
        }
        if let Some(id) = layout.id_column {
            roles[id as usize] = Role::Id;
        }
        let mut profiles = vec![Profile::default(); roles.len()];
        for (place, profile) in &table.profiles {
            profiles[*place as usize] = *profile;
        }
        let builders: Vec<_> = table.columns.iter().map(|column| ColumnBuilder::new(column.kind)).collect();
        Rows {
            filled: vec![false; builders.len()],
            builders,
            profiles,
            table,
            roles,
            header_row: layout.header_row,
            bounds: layout.bounds.clone(),
            outside: Outside::default(),
            rows_max: limits.rows_max,
            zone,
            schema,
            batches,
            numbers: Int64Builder::new(),
            ids: StringBuilder::new(),
            rescued: StringBuilder::new(),
            batch_rows: 0,
            batch_bytes: 0,
            astray: false,
            seen_rows: RowSet::default(),
            seen_ids: HashSet::new(),
            summary: ReadSummary { rows: 0, notes: Vec::new(), faults: 0, peak_rss_kib: 0 },
            last_row: layout.header_row,
            hidden: 0,
            changed_ids: 0,
            repeated_ids: 0,
        }
    }

    /// Takes the next row; those up to the header and those without anything are passed over.
    pub fn take(&mut self, row: &Row<'_>) -> Result<(), ReadFault> {
        if row.number <= self.header_row {
            return Ok(());
        }
        if let Some(bounds) = &self.bounds
            && !self.outside.passes(bounds, row)
        {
            return Ok(());
        }
        if self.is_void(row) {
            return Ok(());
        }
        if !self.seen_rows.insert(row.number) {
            return Err(ReadFault::damaged(format!("row {} stands there twice", row.number)));
        }
        self.summary.rows += 1;
        if self.summary.rows > self.rows_max {
            return Err(ReadFault::too_large("rows", self.summary.rows, self.rows_max, "rows_max"));
        }
        self.last_row = self.last_row.max(row.number);
        self.hidden += u64::from(row.hidden);
        let mut id = None;
        let mut rescued: Vec<(usize, Value)> = Vec::new();
        self.filled.fill(false);
        for cell in row.cells {
            let seen = see(row, cell);
            let role = self.role(cell.column);
            self.hold_against(cell.column, role, &seen);
            match role {
                Role::Id => id = self.id_of(&seen),
                Role::Column(index) if !self.astray => {
                    self.batch_bytes += if let Seen::Text(text) = &seen { text.len() } else { 8 };
                    self.filled[index] = true;
                    if let Some(value) = self.builders[index].put(&seen, &mut self.zone) {
                        rescued.push((index, value));
                    }
                }
                Role::Column(_) | Role::Own | Role::Unknown | Role::Outside => {}
            }
        }
        if self.astray {
            return Ok(());
        }
        for (builder, filled) in self.builders.iter_mut().zip(&self.filled) {
            if !filled {
                builder.put_null();
            }
        }
        self.numbers.append_value(i64::from(row.number));
        self.ids.append_option(id.map(|id| id.hyphenated().to_string()));
        self.rescue(rescued);
        self.batch_rows += 1;
        if self.batch_rows == BATCH_ROWS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
            self.send()?;
        }
        Ok(())
    }

    fn role(&self, column: u32) -> Role {
        match &self.bounds {
            Some(bounds) if !bounds.columns.contains(&column) => Role::Outside,
            _ => self.roles.get(column as usize).copied().unwrap_or(Role::Unknown),
        }
    }

    /// Notes what a column of the sheet holds, and whether it still is what it was thought to be.
    fn hold_against(&mut self, column: u32, role: Role, seen: &Seen<'_>) {
        let column = column as usize;
        if matches!(role, Role::Own | Role::Id | Role::Outside) {
            return;
        }
        if self.profiles.len() <= column {
            self.profiles.resize(column + 1, Profile::default());
        }
        let profile = &mut self.profiles[column];
        if profile.add(seen) {
            self.astray |= match role {
                Role::Column(index) => {
                    !self.table.given[index] && profile.kind() != self.table.columns[index].kind
                }
                _ => true,
            };
        }
    }

    /// Whether a row holds nothing of the sender's. In a returned workbook DDU's own cells do not make a row, and
    /// beside an Excel table none does.
    fn is_void(&self, row: &Row<'_>) -> bool {
        let own = |column| matches!(self.role(column), Role::Own | Role::Id | Role::Outside);
        row.is_blank() || row.cells.iter().all(|cell| own(cell.column) || see(row, cell) == Seen::Blank)
    }

    /// The id of a row to heal; the second row with an id, and one that is no id, are new rows.
    fn id_of(&mut self, seen: &Seen<'_>) -> Option<Uuid> {
        let text = seen.shown();
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let Ok(id) = Uuid::try_parse(text) else {
            self.changed_ids += 1;
            return None;
        };
        if !self.seen_ids.insert(id) {
            self.repeated_ids += 1;
            return None;
        }
        Some(id)
    }

    fn rescue(&mut self, rescued: Vec<(usize, Value)>) {
        if rescued.is_empty() {
            self.rescued.append_null();
            return;
        }
        let unreadable = rescued.iter().filter(|(_, value)| matches!(value, Value::Unreadable { .. }));
        self.summary.faults += unreadable.count() as u64;
        let named =
            rescued.into_iter().map(|(index, value)| (self.table.columns[index].name.as_str(), value));
        let values: indexmap::IndexMap<&str, Value> = named.collect();
        let json = serde_json::to_string(&values).expect("a rescued number is finite, the rest are texts");
        self.batch_bytes += json.len();
        self.rescued.append_value(json);
    }

    fn send(&mut self) -> Result<(), ReadFault> {
        if self.batch_rows == 0 {
            return Ok(());
        }
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.numbers.finish()),
            Arc::new(self.ids.finish()),
            Arc::new(self.rescued.finish()),
        ];
        arrays.extend(self.builders.iter_mut().map(ColumnBuilder::finish));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(arrow)?;
        (self.batch_rows, self.batch_bytes) = (0, 0);
        self.batches.send(batch).map_err(|_| pipe(std::io::ErrorKind::BrokenPipe.into()))
    }

    /// Sends what is left and says what it came to.
    ///
    /// # Errors
    /// `Retyped` where the types that the table was begun with are not those of all its cells.
    pub fn finish(mut self, facts: &SheetFacts) -> Result<ReadSummary, ReadFault> {
        if self.astray {
            let used = (0..).zip(&self.profiles).filter(|(_, profile)| profile.is_used());
            return Err(ReadFault::Retyped { kinds: used.map(|(place, p)| (place, p.kind())).collect() });
        }
        self.send()?;
        let span = u64::from(self.last_row - self.header_row);
        // Rows of a returned workbook that hold only what DDU wrote count as blank.
        let blank = span - self.summary.rows;
        let note = |count: u64, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            more => Some(format!("{more} {many}")),
        };
        let is_hidden = |place: &&u32| facts.hidden_columns.iter().any(|hidden| hidden.contains(*place));
        let hidden_columns = self.table.places.iter().filter(is_hidden).count() as u64;
        let counted = [
            note(blank, "blank row skipped", "blank rows skipped"),
            note(self.hidden, "hidden row was read as well", "hidden rows were read as well"),
            note(hidden_columns, "hidden column was read as well", "hidden columns were read as well"),
            note(
                facts.merged,
                "merged area: its value counts for its first cell only",
                "merged areas: their values count for their first cells only",
            ),
            note(
                facts.repeated_cells,
                "cell stands in the file twice; the later one was read",
                "cells stand in the file twice; the later ones were read",
            ),
            note(
                self.changed_ids,
                "hidden row id was changed; its row is read as a new one",
                "hidden row ids were changed; their rows are read as new ones",
            ),
            note(
                self.repeated_ids,
                "row was copied; the copy is read as a new one",
                "rows were copied; the copies are read as new ones",
            ),
        ];
        let mut summary = self.summary;
        summary.notes.extend(counted.into_iter().flatten());
        summary.notes.extend(self.outside.notes());
        summary.notes.extend(self.zone.notes());
        summary.notes.extend(facts.notes.iter().cloned());
        Ok(summary)
    }
}

/// Row numbers that were met.
#[derive(Default)]
struct RowSet(Vec<u64>);

impl RowSet {
    /// Adds a number; `false` if it was there.
    fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

fn arrow(error: deltalake::arrow::error::ArrowError) -> ReadFault {
    ReadFault::Protocol { detail: format!("a batch cannot be built: {error}") }
}
