//! mended: rows of a returned workbook on their way back. Added ones get an identity, and cells that only stood for what a
//! cell cannot show get their staged values again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use deltalake::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use indexmap::IndexMap;

use super::Halt;
use super::successors::content_mark;
use crate::domain::identity;
use crate::domain::row::{RowId, StagedColumn};
use crate::domain::table::TableName;
use crate::domain::value::Value;
use crate::io::delta::{Lakehouse, staged_rows};
use crate::io::durable::doing;
use crate::io::returned::{CELL_UNITS_MAX, may_stand_for_another, stands_for, stands_for_lost};
use crate::io::workbook::ReadFault;

/// Places of our columns in a staged batch.
const ID: usize = 0;
const RESCUED: usize = 4;
/// Our columns in front of the sender's.
const OWN: usize = 5;

/// What happens to the rows of one returned sheet between the reader and the staged table.
pub(super) struct Mended {
    lake: Lakehouse,
    table: TableName,
    target: String,
    entity: String,
    /// The job that gave the workbook back.
    healed_job: String,
    scratch: PathBuf,
    /// The table's columns in the order of the sheet, and the names that the reader has for them.
    columns: Vec<StagedColumn>,
    read_names: Vec<String>,
    /// Read when the first cell asks for them: most returned workbooks never do.
    originals: Option<Originals>,
    added: HashMap<[u8; 16], u32>,
    given: u64,
}

/// What a returned sheet belongs to.
pub(super) struct Returned<'a> {
    pub lake: &'a Lakehouse,
    pub table: &'a TableName,
    pub target: &'a str,
    pub entity: &'a str,
    pub healed_job: &'a str,
    pub scratch: PathBuf,
}

impl Mended {
    /// Nothing yet, for a sheet with these columns: as the table names them, and as the reader does.
    pub fn new(of: Returned<'_>, columns: &[StagedColumn], read: &[StagedColumn]) -> Self {
        Mended {
            lake: of.lake.clone(),
            table: of.table.clone(),
            target: of.target.to_owned(),
            entity: of.entity.to_owned(),
            healed_job: of.healed_job.to_owned(),
            scratch: of.scratch,
            columns: columns.to_vec(),
            read_names: read.iter().map(|column| column.name.clone()).collect(),
            originals: None,
            added: HashMap::new(),
            given: 0,
        }
    }

    /// Rows that came with the hidden id of a row, so far.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// The batch as it is to be staged; `given` are the ids that stood in the sheet.
    pub async fn take(&mut self, given: &StringArray, batch: RecordBatch) -> Result<RecordBatch, Halt> {
        let batch = self.with_added_ids(given, batch)?;
        self.with_originals(batch).await
    }

    /// Rows without an id are recognised by their content, so that the same workbook dropped again adds nothing.
    fn with_added_ids(&mut self, given: &StringArray, batch: RecordBatch) -> Result<RecordBatch, Halt> {
        let kept = |i: usize| given.is_valid(i) && given.value(i).parse::<RowId>().is_ok();
        let kept: Vec<bool> = (0..given.len()).map(kept).collect();
        self.given += kept.iter().filter(|kept| **kept).count() as u64;
        if kept.iter().all(|kept| *kept) {
            return Ok(batch);
        }
        let rows = staged_rows(self.table.as_str(), &self.columns, &batch)?;
        let ids = rows.iter().zip(kept).map(|(row, kept)| {
            if kept {
                return row.id.to_string();
            }
            let content = content_mark(&self.columns, row, |_| true);
            let nth = self.added.entry(content).or_default();
            let id = identity::added_row_id(&self.target, &self.entity, &self.healed_job, &content, *nth);
            *nth += 1;
            id.to_string()
        });
        let ids: ArrayRef = Arc::new(ids.map(Some).collect::<StringArray>());
        Ok(with_column(&batch, ID, ids))
    }

    async fn with_originals(&mut self, mut batch: RecordBatch) -> Result<RecordBatch, Halt> {
        let mut changes = Changes::new(&self.table, &batch)?;
        for (row, at, text) in changes.candidates(&batch, &self.read_names) {
            let id: RowId =
                batch.column(ID).as_string::<i32>().value(row).parse().expect("ids were given above");
            let column = self.columns[at].name.to_lowercase();
            let original = self.original(id, &column).await?.filter(|value| stands_for(&text, value));
            if let Some(value) = original.or_else(|| stands_for_lost(&text)) {
                changes.put(&batch, row, at, &self.read_names[at], value);
            }
        }
        if changes.any {
            batch = with_column(&batch, RESCUED, changes.rescued());
            for (at, texts) in changes.texts {
                batch = with_column(&batch, OWN + at, Arc::new(texts.into_iter().collect::<StringArray>()));
            }
        }
        Ok(batch)
    }

    async fn original(&mut self, id: RowId, column: &str) -> Result<Option<Value>, Halt> {
        let originals = match &self.originals {
            Some(originals) => originals,
            None => {
                let read = Originals::read(&self.lake, &self.table, &self.scratch).await?;
                self.originals.insert(read)
            }
        };
        originals.of(id, column)
    }
}

/// A batch's cells that are to be changed.
struct Changes {
    /// The rescued values of each row.
    rescued: Vec<IndexMap<String, Value>>,
    /// Text columns with changed cells, by their place among the sender's.
    texts: HashMap<usize, Vec<Option<String>>>,
    any: bool,
}

impl Changes {
    fn new(table: &TableName, batch: &RecordBatch) -> Result<Self, Halt> {
        let texts: &StringArray = batch.column(RESCUED).as_string();
        let parse = |text: Option<&str>| match text {
            None => Ok(IndexMap::new()),
            Some(json) => serde_json::from_str(json).map_err(|error| {
                let detail = format!("a rescued value of {table} does not read: {error}");
                Halt::Reader(ReadFault::Protocol { detail })
            }),
        };
        let rescued = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Changes { rescued, texts: HashMap::new(), any: false })
    }

    /// Cells that may stand for another value: row, place among the sender's columns, text.
    fn candidates(&self, batch: &RecordBatch, names: &[String]) -> Vec<(usize, usize, String)> {
        let mut found = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let column = batch.column(OWN + at).as_string_opt::<i32>();
            for (row, rescued) in self.rescued.iter().enumerate() {
                let text = match (column.filter(|column| column.is_valid(row)), rescued.get(name)) {
                    (_, Some(Value::Text(text))) => text.as_str(),
                    (Some(column), None) => column.value(row),
                    _ => continue,
                };
                if may_stand_for_another(text) {
                    found.push((row, at, text.to_owned()));
                }
            }
        }
        found
    }

    fn put(&mut self, batch: &RecordBatch, row: usize, at: usize, name: &str, value: Value) {
        self.any = true;
        if let Some(column) = batch.column(OWN + at).as_string_opt::<i32>() {
            let texts = self
                .texts
                .entry(at)
                .or_insert_with(|| column.iter().map(|text| text.map(str::to_owned)).collect());
            if let Value::Text(text) = value {
                texts[row] = Some(text);
                self.rescued[row].shift_remove(name);
                return;
            }
            texts[row] = None;
        }
        self.rescued[row].insert(name.to_owned(), value);
    }

    fn rescued(&self) -> ArrayRef {
        let json = |values: &IndexMap<String, Value>| {
            (!values.is_empty()).then(|| serde_json::to_string(values).expect("values are plain data"))
        };
        Arc::new(self.rescued.iter().map(json).collect::<StringArray>())
    }
}

fn with_column(batch: &RecordBatch, at: usize, column: ArrayRef) -> RecordBatch {
    let mut arrays = batch.columns().to_vec();
    arrays[at] = column;
    RecordBatch::try_new(batch.schema(), arrays).expect("one column took the place of another of its type")
}

/// Values of the staged table that a cell cannot show. They wait in a file without a name; memory holds 32 bytes for each
/// row that has one.
struct Originals {
    path: PathBuf,
    file: File,
    places: HashMap<RowId, (u64, u32)>,
}

impl Originals {
    async fn read(lake: &Lakehouse, table: &TableName, scratch: &std::path::Path) -> Result<Self, Halt> {
        let path = scratch.to_owned();
        let file = doing(tempfile::tempfile_in(&path), "make a file in", &path)?;
        let mut out = BufWriter::new(file);
        let mut places = HashMap::new();
        let mut end = 0_u64;
        if let Some(version) = lake.staged_version(table).await? {
            let mut reader = lake.rows(table, version, None).await?;
            let columns = reader.columns().to_vec();
            while let Some(rows) = reader.next().await? {
                for row in rows {
                    let hidden = columns.iter().zip(&row.values).filter(|(_, value)| cannot_be_shown(value));
                    let hidden: IndexMap<String, &Value> =
                        hidden.map(|(column, value)| (column.name.to_lowercase(), value)).collect();
                    if hidden.is_empty() {
                        continue;
                    }
                    let json = serde_json::to_vec(&hidden).expect("values are plain data");
                    doing(out.write_all(&json), "write to a file in", &path)?;
                    let length = u32::try_from(json.len()).expect("the cells of a row are far below 4 GiB");
                    places.insert(row.id, (end, length));
                    end += u64::from(length);
                }
            }
        }
        let file = doing(out.into_inner().map_err(|error| error.into_error()), "write to a file in", &path)?;
        Ok(Originals { path, file, places })
    }

    /// The value of a row in a column (its name in lower case), where it is one that a cell cannot show.
    fn of(&self, id: RowId, column: &str) -> Result<Option<Value>, Halt> {
        let Some((start, length)) = self.places.get(&id) else { return Ok(None) };
        let mut json = vec![0; *length as usize];
        doing(self.file.read_exact_at(&mut json, *start), "read from a file in", &self.path)?;
        let mut values: IndexMap<String, Value> =
            serde_json::from_slice(&json).expect("the file holds what was written into it");
        Ok(values.swap_remove(column))
    }
}

fn cannot_be_shown(value: &Value) -> bool {
    match value {
        Value::Unreadable { .. } => true,
        // Counting UTF-16 units is only worth it for texts that could have too many of them.
        Value::Text(text) => text.len() > CELL_UNITS_MAX,
        _ => false,
    }
}
