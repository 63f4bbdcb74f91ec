//! Staged rows as Arrow batches and back: what a column cannot hold travels beside it, as written.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder, Int32Builder,
    Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use deltalake::arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};
use indexmap::IndexMap;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, Unit};

use super::error::{Doing, LakeError};
use super::schema::staged_schema;
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::value::{StageType, Value};

/// The whole numbers that a `double` holds exactly.
const EXACT_INTEGER_MAX: i64 = 1 << 53;
/// The day from which Arrow counts.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// Staged rows as one batch of [`staged_schema`]. A value that its column cannot hold goes into `_ddu_rescued`.
///
/// # Errors
/// `Unreadable` where a row has not one value per column.
pub fn staged_batch(columns: &[StagedColumn], rows: &[StagedRow]) -> Result<RecordBatch, LakeError> {
    let arrays = staged_arrays("staged rows", columns, rows.iter())?;
    RecordBatch::try_new(staged_schema(columns), arrays).doing("staged rows", "encode rows")
}

/// The arrays of our columns and the sender's, in that order.
pub(super) fn staged_arrays<'a>(
    table: &str,
    columns: &[StagedColumn],
    rows: impl Iterator<Item = &'a StagedRow>,
) -> Result<Vec<ArrayRef>, LakeError> {
    let (mut ids, mut jobs, mut sheets, mut numbers) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new(), Int64Builder::new());
    let mut rescues = StringBuilder::new();
    let mut cells: Vec<Cells> = columns.iter().map(|column| Cells::new(column.kind)).collect();
    for row in rows {
        if row.values.len() != columns.len() {
            let reason =
                format!("row {} has {} values for {} columns", row.id, row.values.len(), columns.len());
            return Err(LakeError::Unreadable { table: table.to_owned(), reason });
        }
        ids.append_value(row.id.to_string());
        jobs.append_value(&row.job);
        sheets.append_value(&row.sheet);
        numbers.append_value(i64::from(row.number));
        let mut rescued: IndexMap<&str, &Value> = IndexMap::new();
        for ((column, cells), value) in columns.iter().zip(&mut cells).zip(&row.values) {
            if cells.push(value) == Fit::Rescued {
                rescued.insert(&column.name, value);
            }
        }
        match rescued.is_empty() {
            true => rescues.append_null(),
            false => rescues.append_value(serde_json::to_string(&rescued).doing(table, "encode rows")?),
        }
    }
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(jobs.finish()),
        Arc::new(sheets.finish()),
        Arc::new(numbers.finish()),
        Arc::new(rescues.finish()),
    ];
    arrays.extend(cells.into_iter().map(Cells::finish));
    Ok(arrays)
}

/// Whether a column holds a value as it was written.
#[derive(PartialEq)]
enum Fit {
    Exact,
    /// The cell is null, or holds a reading of the value; the value itself goes beside it.
    Rescued,
}

/// The cells of one column in the making.
enum Cells {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Cells {
    fn new(kind: StageType) -> Self {
        match kind {
            StageType::Text => Cells::Text(StringBuilder::new()),
            StageType::Integer => Cells::Integer(Int64Builder::new()),
            StageType::Number => Cells::Number(Float64Builder::new()),
            StageType::Boolean => Cells::Boolean(BooleanBuilder::new()),
            StageType::Date => Cells::Date(Date32Builder::new()),
            StageType::Timestamp => Cells::Timestamp(TimestampMicrosecondBuilder::new()),
        }
    }

    fn push(&mut self, value: &Value) -> Fit {
        match (self, value) {
            (Cells::Text(cells), Value::Text(text)) => {
                cells.append_value(text);
                Fit::Exact
            }
            (Cells::Integer(cells), Value::Integer(number)) => {
                cells.append_value(*number);
                Fit::Exact
            }
            (Cells::Number(cells), Value::Number(number)) if number.is_finite() => {
                cells.append_value(*number);
                Fit::Exact
            }
            (Cells::Number(cells), Value::Integer(number))
                if (-EXACT_INTEGER_MAX..=EXACT_INTEGER_MAX).contains(number) =>
            {
                cells.append_value(*number as f64);
                Fit::Exact
            }
            (Cells::Boolean(cells), Value::Boolean(truth)) => {
                cells.append_value(*truth);
                Fit::Exact
            }
            (Cells::Date(cells), Value::Date(date)) => {
                cells.append_value(days(*date));
                Fit::Exact
            }
            (Cells::Timestamp(cells), Value::Timestamp(at)) => {
                let micros = at.as_microsecond();
                cells.append_value(micros);
                match Timestamp::from_microsecond(micros) {
                    Ok(back) if back == *at => Fit::Exact,
                    _ => Fit::Rescued,
                }
            }
            // A text column shows any other value as a person would type it; its type is kept beside it.
            (
                Cells::Text(cells),
                Value::Integer(_)
                | Value::Number(_)
                | Value::Boolean(_)
                | Value::Date(_)
                | Value::Timestamp(_),
            ) => {
                cells.append_value(value.to_text());
                Fit::Rescued
            }
            (cells, value) => {
                cells.push_null();
                if value.is_blank() { Fit::Exact } else { Fit::Rescued }
            }
        }
    }

    fn push_null(&mut self) {
        match self {
            Cells::Text(cells) => cells.append_null(),
            Cells::Integer(cells) => cells.append_null(),
            Cells::Number(cells) => cells.append_null(),
            Cells::Boolean(cells) => cells.append_null(),
            Cells::Date(cells) => cells.append_null(),
            Cells::Timestamp(cells) => cells.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Cells::Text(mut cells) => Arc::new(cells.finish()),
            Cells::Integer(mut cells) => Arc::new(cells.finish()),
            Cells::Number(mut cells) => Arc::new(cells.finish()),
            Cells::Boolean(mut cells) => Arc::new(cells.finish()),
            Cells::Date(mut cells) => Arc::new(cells.finish()),
            Cells::Timestamp(mut cells) => Arc::new(cells.finish().with_timezone("UTC")),
        }
    }
}

/// The staged rows of a batch that holds our columns and these columns of the sender's.
///
/// # Errors
/// `Unreadable` where a row does not read back.
pub fn staged_rows(
    table: &str,
    columns: &[StagedColumn],
    batch: &RecordBatch,
) -> Result<Vec<StagedRow>, LakeError> {
    let fields = Fields::new(table, batch);
    let (ids, jobs, sheets) =
        (fields.texts("_ddu_row_id")?, fields.texts("_ddu_job")?, fields.texts("_ddu_sheet")?);
    let (numbers, rescues) = (fields.longs("_ddu_row")?, fields.texts("_ddu_rescued")?);
    let arrays = columns.iter().map(|column| fields.array(&column.name)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for i in 0..batch.num_rows() {
        let id = fields.row_id(ids(i))?;
        let mut rescued: IndexMap<String, Value> = match rescues(i) {
            None => IndexMap::new(),
            Some(json) => serde_json::from_str(json).doing(table, "read a rescued value")?,
        };
        let value = |(column, array): (&StagedColumn, &&ArrayRef)| match rescued.swap_remove(&column.name) {
            Some(original) => Ok(original),
            None => value_at(array, i).ok_or_else(|| fields.unreadable(format!("column `{}`", column.name))),
        };
        let values = columns.iter().zip(&arrays).map(value).collect::<Result<Vec<_>, _>>()?;
        rows.push(StagedRow {
            id,
            job: jobs(i).unwrap_or_default().to_owned(),
            sheet: sheets(i).unwrap_or_default().to_owned(),
            number: numbers(i).and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
            values,
        });
    }
    Ok(rows)
}

/// Batches of a caller under the names that the table has: they may differ in case, their places do not.
pub(super) struct Renaming {
    schema: SchemaRef,
    /// The caller's name → the table's, where they differ.
    names: HashMap<String, String>,
}

impl Renaming {
    pub(super) fn new(given: &[StagedColumn], fitted: &[StagedColumn]) -> Self {
        let pairs = given.iter().zip(fitted).filter(|(given, fitted)| given.name != fitted.name);
        let names = pairs.map(|(given, fitted)| (given.name.clone(), fitted.name.clone())).collect();
        Renaming { schema: staged_schema(fitted), names }
    }

    pub(super) fn rename(&self, table: &str, given: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let mut arrays = given.columns().to_vec();
        if !self.names.is_empty()
            && let Some((place, _)) = given.schema().column_with_name("_ddu_rescued")
        {
            let fields = Fields::new(table, given);
            let rescues = fields.texts("_ddu_rescued")?;
            let mut cells = StringBuilder::new();
            for i in 0..given.num_rows() {
                let Some(json) = rescues(i) else {
                    cells.append_null();
                    continue;
                };
                let values: IndexMap<String, Value> =
                    serde_json::from_str(json).doing(table, "take a rescued value")?;
                let name = |name: String| self.names.get(&name).cloned().unwrap_or(name);
                let values: IndexMap<String, Value> =
                    values.into_iter().map(|(given, value)| (name(given), value)).collect();
                cells.append_value(serde_json::to_string(&values).doing(table, "encode rows")?);
            }
            arrays[place] = Arc::new(cells.finish());
        }
        batch(table, Arc::clone(&self.schema), arrays)
    }
}

/// The row ids of a batch.
pub(super) fn ids_in(table: &str, batch: &RecordBatch) -> Result<Vec<RowId>, LakeError> {
    let fields = Fields::new(table, batch);
    let texts = fields.texts("_ddu_row_id")?;
    (0..batch.num_rows()).map(|i| fields.row_id(texts(i))).collect()
}

/// A cell as a value; `None` where it lies outside what the domain can say.
fn value_at(array: &ArrayRef, i: usize) -> Option<Value> {
    if array.is_null(i) {
        return Some(Value::Blank);
    }
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Some(Value::Text(texts.value(i).to_owned()));
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        return Some(Value::Integer(numbers.value(i)));
    }
    if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        return Some(Value::Number(numbers.value(i)));
    }
    if let Some(truths) = array.as_boolean_opt() {
        return Some(Value::Boolean(truths.value(i)));
    }
    if let Some(days) = array.as_primitive_opt::<Date32Type>() {
        return EPOCH.checked_add(i64::from(days.value(i)).days()).ok().map(Value::Date);
    }
    let micros = array.as_primitive_opt::<TimestampMicrosecondType>()?;
    Timestamp::from_microsecond(micros.value(i)).ok().map(Value::Timestamp)
}

/// Days since [`EPOCH`].
fn days(date: Date) -> i32 {
    let span = date.since((Unit::Day, EPOCH)).expect("two days of our calendar are never too far apart");
    span.get_days()
}

/// Typed access to the columns of a batch by name.
pub(super) struct Fields<'a> {
    table: &'a str,
    batch: &'a RecordBatch,
}

impl<'a> Fields<'a> {
    pub(super) fn new(table: &'a str, batch: &'a RecordBatch) -> Self {
        Fields { table, batch }
    }

    pub(super) fn texts(&self, name: &str) -> Result<impl Fn(usize) -> Option<&'a str> + use<'a>, LakeError> {
        let array = self.array(name)?.as_string_opt::<i32>().ok_or_else(|| self.mistyped(name))?;
        Ok(move |i| array.is_valid(i).then(|| array.value(i)))
    }

    pub(super) fn longs(&self, name: &str) -> Result<impl Fn(usize) -> Option<i64> + use<'a>, LakeError> {
        let array = self.array(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| self.mistyped(name))?;
        Ok(move |i| array.is_valid(i).then(|| array.value(i)))
    }

    pub(super) fn ints(&self, name: &str) -> Result<impl Fn(usize) -> Option<i32> + use<'a>, LakeError> {
        let array = self.array(name)?.as_primitive_opt::<Int32Type>().ok_or_else(|| self.mistyped(name))?;
        Ok(move |i| array.is_valid(i).then(|| array.value(i)))
    }

    pub(super) fn floats(&self, name: &str) -> Result<impl Fn(usize) -> Option<f32> + use<'a>, LakeError> {
        let array = self.array(name)?.as_primitive_opt::<Float32Type>().ok_or_else(|| self.mistyped(name))?;
        Ok(move |i| array.is_valid(i).then(|| array.value(i)))
    }

    pub(super) fn truths(&self, name: &str) -> Result<impl Fn(usize) -> Option<bool> + use<'a>, LakeError> {
        let array = self.array(name)?.as_boolean_opt().ok_or_else(|| self.mistyped(name))?;
        Ok(move |i| array.is_valid(i).then(|| array.value(i)))
    }

    /// Instants; one outside our calendar reads as the epoch.
    pub(super) fn times(&self, name: &str) -> Result<impl Fn(usize) -> Timestamp + use<'a>, LakeError> {
        let array = self.array(name)?;
        let array =
            array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| self.mistyped(name))?;
        Ok(move |i| match array.is_valid(i) {
            true => Timestamp::from_microsecond(array.value(i)).unwrap_or(Timestamp::UNIX_EPOCH),
            false => Timestamp::UNIX_EPOCH,
        })
    }

    /// A row's id.
    pub(super) fn row_id(&self, text: Option<&str>) -> Result<RowId, LakeError> {
        let id = text.and_then(|text| text.parse().ok());
        id.ok_or_else(|| self.unreadable(format!("its id is `{}`", text.unwrap_or_default())))
    }

    pub(super) fn array(&self, name: &str) -> Result<&'a ArrayRef, LakeError> {
        self.batch.column_by_name(name).ok_or_else(|| self.unreadable(format!("column `{name}` is missing")))
    }

    fn mistyped(&self, name: &str) -> LakeError {
        self.unreadable(format!("column `{name}` has another type"))
    }

    fn unreadable(&self, reason: String) -> LakeError {
        LakeError::Unreadable { table: self.table.to_owned(), reason }
    }
}

/// A text column.
pub(super) fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut cells = StringBuilder::new();
    values.for_each(|value| cells.append_option(value));
    Arc::new(cells.finish())
}

/// A `long` column.
pub(super) fn longs(values: impl Iterator<Item = i64>) -> ArrayRef {
    let mut cells = Int64Builder::new();
    values.for_each(|value| cells.append_value(value));
    Arc::new(cells.finish())
}

/// An `integer` column.
pub(super) fn ints(values: impl Iterator<Item = i32>) -> ArrayRef {
    let mut cells = Int32Builder::new();
    values.for_each(|value| cells.append_value(value));
    Arc::new(cells.finish())
}

/// A `float` column.
pub(super) fn floats(values: impl Iterator<Item = f32>) -> ArrayRef {
    let mut cells = Float32Builder::new();
    values.for_each(|value| cells.append_value(value));
    Arc::new(cells.finish())
}

/// A `boolean` column.
pub(super) fn truths(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    let mut cells = BooleanBuilder::new();
    values.for_each(|value| cells.append_option(value));
    Arc::new(cells.finish())
}

/// A `timestamp` column.
pub(super) fn times(values: impl Iterator<Item = Timestamp>) -> ArrayRef {
    let mut cells = TimestampMicrosecondBuilder::new();
    values.for_each(|value| cells.append_value(value.as_microsecond()));
    Arc::new(cells.finish().with_timezone("UTC"))
}

/// A batch of these columns.
pub(super) fn batch(
    table: &str,
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
) -> Result<RecordBatch, LakeError> {
    RecordBatch::try_new(schema, columns).doing(table, "encode rows")
}
