//! Healing: corrected rows take the place of the staged ones they came from, in one commit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake::arrow::array::{Array, ArrayRef, Int64Builder, RecordBatch, StringBuilder, new_null_array};
use deltalake::arrow::compute::{interleave, take_record_batch};
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::kernel::Action;
use indexmap::{IndexMap, IndexSet};

use super::Lakehouse;
use super::error::{Doing, LakeError};
use super::parquet::{FileWriter, Only};
use super::rewrite::{row_ids, without};
use super::rows::{Fields, Renaming, batch, ids_in};
use super::schema::{
    arrow_schema, fit_to_table, merged, senders_columns, staged_schema, staged_table_columns, text,
};
use super::spool::{Spool, SpoolReader, Spooled};
use super::stage::Begin;
use super::table::{Change, ChangeKind, Committed, Table, TableKind, Tries};
use super::txn::{JobTxn, Txn};
use crate::domain::job::JobId;
use crate::domain::row::{RowId, StagedColumn};
use crate::domain::table::TableName;
use crate::domain::value::Value;

/// Corrected rows on their way; the table is untouched before [`HealWriter::commit`].
///
/// Rows wait in scratch space. Memory holds their ids and where the old rows stood, some 100 bytes a row.
pub struct HealWriter {
    table: Arc<Table>,
    columns: Vec<StagedColumn>,
    txn: Txn,
    scratch: PathBuf,
    renaming: Renaming,
    spool: Spool,
    ids: HashSet<RowId>,
}

/// What healing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// The commit; its rows are all that came, those that replaced others and those that are new.
    pub committed: Committed,
    /// The rows that were in the table before.
    pub replaced: HashSet<RowId>,
}

impl Lakehouse {
    /// Begins to heal a staged table with rows that have these columns of the sender's.
    ///
    /// A row whose id is in the table takes the place of the old one. It keeps the old one's `_ddu_sheet` and
    /// `_ddu_row`, and its values in columns that are not among these. A row with another id is added as new.
    /// `scratch` is an existing directory with room for the rows.
    ///
    /// # Errors
    /// `ColumnType` and `ColumnTwice` where the columns cannot stand in the table; `Overtaken` where a later job of
    /// this table was committed before; `Spool` where there is no scratch space.
    pub async fn heal(
        &self,
        table: &TableName,
        columns: Vec<StagedColumn>,
        scratch: &Path,
        txn: &JobTxn,
    ) -> Result<Begin<HealWriter>, LakeError> {
        let txn = Txn::new(format!("ddu/stage/{table}"), txn);
        let table = self.staged_table(table)?;
        let mut existing = Vec::new();
        if let Some(state) = table.fresh().await? {
            if let Some(done) = table.look(&state, &txn).await? {
                return Ok(Begin::AlreadyDone(done));
            }
            existing = senders_columns(&table.columns(&state)?);
        }
        let given = columns;
        let columns = fit_to_table(&table.name, given.clone(), &existing)?;
        let renaming = Renaming::new(&given, &columns);
        let spool = Spool::begin(scratch, staged_schema(&columns)).await?;
        let (scratch, ids) = (scratch.to_owned(), HashSet::new());
        Ok(Begin::Open(HealWriter { table, columns, txn, scratch, renaming, spool, ids }))
    }

    /// The rows that a job's healing replaced, for one that finds its commit [`Begin::AlreadyDone`].
    ///
    /// # Errors
    /// `VersionGone` where the commit is older than removed files are kept.
    pub async fn healed_by(
        &self,
        table: &TableName,
        job: &JobId,
        committed: Committed,
    ) -> Result<HashSet<RowId>, LakeError> {
        let table = self.staged_table(table)?;
        let only = Only { column: "_ddu_job", equals: job.to_string() };
        let brought = row_ids(&table, &table.at(committed.version).await?, Some(only)).await?;
        let Some(before) = committed.version.checked_sub(1) else { return Ok(HashSet::new()) };
        let before = row_ids(&table, &table.at(before).await?, None).await?;
        Ok(brought.intersection(&before).copied().collect())
    }
}

impl HealWriter {
    /// The sender's columns under the names that the table has for them, in the order in which they were given.
    pub fn columns(&self) -> &[StagedColumn] {
        &self.columns
    }

    /// Takes a batch: our columns with the final row ids and this job, then the sender's in the order given.
    ///
    /// # Errors
    /// `RowTwice` where an id came before. The writer is to be dropped after an error.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let batch = self.renaming.rename(&self.table.name, batch)?;
        for id in ids_in(&self.table.name, &batch)? {
            if !self.ids.insert(id) {
                return Err(LakeError::RowTwice { table: self.table.name.clone(), id });
            }
        }
        self.spool.write(batch).await
    }

    /// Puts the rows in their places, all at once. On the disk when it returns.
    ///
    /// # Errors
    /// `Contended`, `Overtaken`, `ColumnType` where others changed the table meanwhile; the caller begins again.
    pub async fn commit(self) -> Result<Healed, LakeError> {
        let HealWriter { table, columns, txn, scratch, spool, ids, .. } = self;
        let incoming = spool.finish().await?;
        let _turn = table.turn().await;
        let mut tries = Tries::new();
        loop {
            let state = table.ensure(&staged_table_columns(&columns)).await?;
            if table.look(&state, &txn).await?.is_some() {
                // Another process did the same job meanwhile; the caller's next look says so.
                return Err(tries.contended(&table));
            }
            let existing = senders_columns(&table.columns(&state)?);
            let fitted = fit_to_table(&table.name, columns.clone(), &existing)?;
            let all = merged(&existing, &fitted);
            let absent = existing.into_iter().filter(|column| fitted.iter().all(|f| f.name != column.name));
            let mut old = OldRows::begin(absent.collect(), &scratch).await?;
            let mut actions = without(&table, &state, &ids, Some(&mut old)).await?;
            let old = old.finish().await?;

            let schema = arrow_schema(&staged_table_columns(&all));
            let stats = TableKind::Staged.stats();
            let mut files = FileWriter::new(&table.name, table.store(), schema, stats, txn.version);
            let mut reader = incoming.read().await?;
            while let Some(batch) = reader.next().await? {
                files.write(&old.placed(&table.name, &all, &batch).await?).await?;
            }
            let rows = files.rows();
            let replaced: HashSet<RowId> = old.places.into_keys().collect();

            actions.extend(table.evolve(&state, &staged_table_columns(&all))?);
            actions.extend(files.finish().await?.into_iter().map(Action::Add));
            let change = Change { actions, kind: ChangeKind::Rewrite, rows, shares: Vec::new() };
            match table.commit(&state, change, Some(&txn)).await? {
                Some(committed) => return Ok(Healed { committed, replaced }),
                None => tries.again(&table).await?,
            }
        }
    }
}

/// What the new versions take over from the rows that they replace.
pub(super) struct OldRows {
    /// Columns of the table that the returned workbook lacks.
    absent: Vec<StagedColumn>,
    sheets: IndexSet<String>,
    places: HashMap<RowId, Place>,
    /// The old values of those columns, where there are any.
    spool: Option<Spool>,
    batches: u32,
}

/// Where an old row stood, and where its values wait.
struct Place {
    sheet: u32,
    row: i64,
    batch: u32,
    index: u32,
}

impl OldRows {
    async fn begin(absent: Vec<StagedColumn>, scratch: &Path) -> Result<Self, LakeError> {
        let spool = match absent.is_empty() {
            true => None,
            false => Some(Spool::begin(scratch, Self::spool_schema(&absent)).await?),
        };
        Ok(OldRows { absent, sheets: IndexSet::new(), places: HashMap::new(), spool, batches: 0 })
    }

    fn spool_schema(absent: &[StagedColumn]) -> SchemaRef {
        let rescued = text("_ddu_rescued");
        let mut columns = staged_table_columns(absent);
        columns.retain(|column| column.header.is_some() || *column == rescued);
        arrow_schema(&columns)
    }

    /// Remembers rows that are being replaced.
    pub(super) async fn take(&mut self, table: &str, batch: &RecordBatch) -> Result<(), LakeError> {
        let fields = Fields::new(table, batch);
        let (ids, sheets) = (fields.texts("_ddu_row_id")?, fields.texts("_ddu_sheet")?);
        let rows = fields.longs("_ddu_row")?;
        for i in 0..batch.num_rows() {
            let sheet = sheets(i).unwrap_or_default();
            let sheet = match self.sheets.get_index_of(sheet) {
                Some(known) => known,
                None => self.sheets.insert_full(sheet.to_owned()).0,
            };
            let place = Place {
                sheet: u32::try_from(sheet).expect("a table has fewer sheets than 2^32"),
                row: rows(i).unwrap_or(0),
                batch: self.batches,
                index: u32::try_from(i).expect("a batch has some thousand rows"),
            };
            self.places.insert(fields.row_id(ids(i))?, place);
        }
        if let Some(spool) = &mut self.spool {
            let schema = Self::spool_schema(&self.absent);
            let arrays = schema.fields().iter().map(|field| fields.array(field.name()).cloned());
            let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
            spool.write(super::rows::batch(table, schema, arrays)?).await?;
            self.batches += 1;
        }
        Ok(())
    }

    async fn finish(self) -> Result<Replaced, LakeError> {
        let values = match self.spool {
            Some(spool) => Some(spool.finish().await?),
            None => None,
        };
        Ok(Replaced { absent: self.absent, sheets: self.sheets, places: self.places, values })
    }
}

/// [`OldRows`], complete.
struct Replaced {
    absent: Vec<StagedColumn>,
    sheets: IndexSet<String>,
    places: HashMap<RowId, Place>,
    values: Option<Spooled>,
}

impl Replaced {
    /// Incoming rows with all columns of the table, each in the place of the row that it replaces.
    async fn placed(
        &self,
        table: &str,
        all: &[StagedColumn],
        incoming: &RecordBatch,
    ) -> Result<RecordBatch, LakeError> {
        let fields = Fields::new(table, incoming);
        let (ids, sheets) = (fields.texts("_ddu_row_id")?, fields.texts("_ddu_sheet")?);
        let rows = fields.longs("_ddu_row")?;
        let (mut new_sheets, mut new_rows) = (StringBuilder::new(), Int64Builder::new());
        let mut places = Vec::with_capacity(incoming.num_rows());
        for i in 0..incoming.num_rows() {
            let place = self.places.get(&fields.row_id(ids(i))?);
            match place {
                Some(place) => {
                    new_sheets.append_value(&self.sheets[place.sheet as usize]);
                    new_rows.append_value(place.row);
                }
                None => {
                    new_sheets.append_option(sheets(i));
                    new_rows.append_option(rows(i));
                }
            }
            places.push(place);
        }
        let (new_sheets, new_rows): (ArrayRef, ArrayRef) =
            (Arc::new(new_sheets.finish()), Arc::new(new_rows.finish()));
        let old = match &self.values {
            Some(values) => Some(gather(table, values, &places).await?),
            None => None,
        };
        let array = |name: &str| match (name, &old) {
            ("_ddu_sheet", _) => Ok(Arc::clone(&new_sheets)),
            ("_ddu_row", _) => Ok(Arc::clone(&new_rows)),
            ("_ddu_rescued", Some(old)) => self.rescued(table, &fields, old),
            (name, Some(old)) if old.column_by_name(name).is_some() => {
                Fields::new(table, old).array(name).cloned()
            }
            (name, _) => fields.array(name).cloned(),
        };
        let schema = arrow_schema(&staged_table_columns(all));
        let arrays =
            schema.fields().iter().map(|field| array(field.name())).collect::<Result<Vec<_>, _>>()?;
        batch(table, schema, arrays)
    }

    /// The rescued values of the incoming rows, with the old ones of columns that they lack.
    fn rescued(&self, table: &str, incoming: &Fields<'_>, old: &RecordBatch) -> Result<ArrayRef, LakeError> {
        let (new, before) = (incoming.texts("_ddu_rescued")?, Fields::new(table, old));
        let before = before.texts("_ddu_rescued")?;
        let parse = |json: Option<&str>| -> Result<IndexMap<String, Value>, LakeError> {
            json.map_or(Ok(IndexMap::new()), |json| {
                serde_json::from_str(json).doing(table, "read a rescued value")
            })
        };
        let mut cells = StringBuilder::new();
        for i in 0..old.num_rows() {
            let mut values = parse(new(i))?;
            let kept = parse(before(i))?.into_iter();
            values.extend(kept.filter(|(name, _)| self.absent.iter().any(|column| column.name == *name)));
            match values.is_empty() {
                true => cells.append_null(),
                false => cells.append_value(serde_json::to_string(&values).doing(table, "encode rows")?),
            }
        }
        Ok(Arc::new(cells.finish()))
    }
}

/// The old values for rows at these places, in their order; nulls where a row is new.
///
/// Reads each spooled batch once at most and keeps only the rows that are wanted of it.
async fn gather(table: &str, values: &Spooled, places: &[Option<&Place>]) -> Result<RecordBatch, LakeError> {
    let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for place in places.iter().flatten() {
        wanted.entry(place.batch).or_default().push(place.index);
    }
    let mut reader: SpoolReader = values.read().await?;
    let mut parts: Vec<RecordBatch> = Vec::with_capacity(wanted.len() + 1);
    let mut part_of: HashMap<u32, usize> = HashMap::new();
    for (number, indices) in &wanted {
        let spooled = reader.batch(*number as usize).await?;
        let indices = deltalake::arrow::array::UInt32Array::from(indices.clone());
        part_of.insert(*number, parts.len());
        parts.push(take_record_batch(&spooled, &indices).doing(table, "read old values")?);
    }
    let schema = reader.schema();
    let nulls = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    parts.push(batch(table, Arc::clone(&schema), nulls)?);
    // Rows of one part were taken in the order in which their places come here.
    let mut next: Vec<usize> = vec![0; parts.len()];
    let from = |place: &Option<&Place>| match place {
        None => (parts.len() - 1, 0),
        Some(place) => {
            let part = part_of[&place.batch];
            next[part] += 1;
            (part, next[part] - 1)
        }
    };
    let from: Vec<(usize, usize)> = places.iter().map(from).collect();
    let column = |c: usize| {
        let arrays: Vec<&dyn Array> = parts.iter().map(|part| part.column(c).as_ref()).collect();
        interleave(&arrays, &from).doing(table, "read old values")
    };
    let arrays = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>, _>>()?;
    batch(table, schema, arrays)
}
