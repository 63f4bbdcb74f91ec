//! The columns of our tables: as Delta stores them, as Arrow carries them, and as the domain names them.

use std::sync::Arc;

use delta_kernel::schema::MetadataValue;
use deltalake::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{DataType, PrimitiveType, StructField, StructType};

use super::error::LakeError;
use crate::domain::row::StagedColumn;
use crate::domain::table::{QUARANTINE_META_COLUMNS, STAGED_META_COLUMNS};
use crate::domain::value::StageType;

/// The key in a Delta field's metadata under which a column's header stands as the sender wrote it.
const HEADER_KEY: &str = "ddu.header";
/// A column of a quarantine table: every refusal of the row, with its advice, as JSON.
pub(super) const REFUSALS_COLUMN: &str = "_ddu_refusals";

/// Behind it, the entities whose records are all that the row waits for, by their names in the URL, with blanks between.
pub(super) const MISSING_COLUMN: &str = "_ddu_missing";

/// One column of any of our tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
    /// The sender's header; `None` for columns of ours.
    pub header: Option<String>,
}

/// The types our tables use: those of the sender's columns, and the guide's `integer` and `float`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stage(StageType),
    Int,
    Float,
}

impl Kind {
    fn delta(self) -> DataType {
        match self {
            Kind::Stage(StageType::Text) => DataType::STRING,
            Kind::Stage(StageType::Integer) => DataType::LONG,
            Kind::Stage(StageType::Number) => DataType::DOUBLE,
            Kind::Stage(StageType::Boolean) => DataType::BOOLEAN,
            Kind::Stage(StageType::Date) => DataType::DATE,
            Kind::Stage(StageType::Timestamp) => DataType::TIMESTAMP,
            Kind::Int => DataType::INTEGER,
            Kind::Float => DataType::FLOAT,
        }
    }

    fn arrow(self) -> ArrowType {
        match self {
            Kind::Stage(kind) => arrow_type(kind),
            Kind::Int => ArrowType::Int32,
            Kind::Float => ArrowType::Float32,
        }
    }

    fn of(delta: &DataType) -> Option<Kind> {
        let DataType::Primitive(primitive) = delta else { return None };
        match primitive {
            PrimitiveType::String => Some(Kind::Stage(StageType::Text)),
            PrimitiveType::Long => Some(Kind::Stage(StageType::Integer)),
            PrimitiveType::Double => Some(Kind::Stage(StageType::Number)),
            PrimitiveType::Boolean => Some(Kind::Stage(StageType::Boolean)),
            PrimitiveType::Date => Some(Kind::Stage(StageType::Date)),
            PrimitiveType::Timestamp => Some(Kind::Stage(StageType::Timestamp)),
            PrimitiveType::Integer => Some(Kind::Int),
            PrimitiveType::Float => Some(Kind::Float),
            _ => None,
        }
    }
}

/// The Arrow type of a staged column.
pub fn arrow_type(kind: StageType) -> ArrowType {
    match kind {
        StageType::Text => ArrowType::Utf8,
        StageType::Integer => ArrowType::Int64,
        StageType::Number => ArrowType::Float64,
        StageType::Boolean => ArrowType::Boolean,
        StageType::Date => ArrowType::Date32,
        StageType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// The Arrow schema of rows to be staged: our columns ([`STAGED_META_COLUMNS`]), then the sender's.
///
/// A [`super::StageWriter`] takes batches of exactly this schema.
pub fn staged_schema(columns: &[StagedColumn]) -> SchemaRef {
    arrow_schema(&staged_table_columns(columns))
}

pub(super) fn text(name: &str) -> Column {
    Column { name: name.to_owned(), kind: Kind::Stage(StageType::Text), header: None }
}

pub(super) fn column(name: &str, kind: StageType) -> Column {
    Column { name: name.to_owned(), kind: Kind::Stage(kind), header: None }
}

pub(super) fn int(name: &str) -> Column {
    Column { name: name.to_owned(), kind: Kind::Int, header: None }
}

pub(super) fn float(name: &str) -> Column {
    Column { name: name.to_owned(), kind: Kind::Float, header: None }
}

/// All columns of a staged table.
pub(super) fn staged_table_columns(columns: &[StagedColumn]) -> Vec<Column> {
    let [id, job, sheet, row, rescued] = STAGED_META_COLUMNS;
    let ours = [text(id), text(job), text(sheet), column(row, StageType::Integer), text(rescued)];
    ours.into_iter().chain(columns.iter().map(senders)).collect()
}

/// All columns of a quarantine table.
pub(super) fn quarantine_table_columns(columns: &[StagedColumn]) -> Vec<Column> {
    let [error, cause, at, attempt, time] = QUARANTINE_META_COLUMNS;
    let mut all = staged_table_columns(columns);
    all.extend([text(error), text(cause), text(at), int(attempt), column(time, StageType::Timestamp)]);
    all.extend([text(REFUSALS_COLUMN), text(MISSING_COLUMN)]);
    all
}

fn senders(staged: &StagedColumn) -> Column {
    Column { name: staged.name.clone(), kind: Kind::Stage(staged.kind), header: Some(staged.header.clone()) }
}

/// The sender's columns among those of a staged or quarantine table, in their order.
pub(super) fn senders_columns(columns: &[Column]) -> Vec<StagedColumn> {
    let ours = |name: &str| {
        STAGED_META_COLUMNS.contains(&name)
            || QUARANTINE_META_COLUMNS.contains(&name)
            || [REFUSALS_COLUMN, MISSING_COLUMN].contains(&name)
    };
    let senders = columns.iter().filter(|column| !ours(&column.name));
    senders
        .filter_map(|column| {
            let Kind::Stage(kind) = column.kind else { return None };
            let header = column.header.clone().unwrap_or_else(|| column.name.clone());
            Some(StagedColumn { name: column.name.clone(), header, kind })
        })
        .collect()
}

pub(super) fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> =
        columns.iter().map(|column| Field::new(&column.name, column.kind.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// The Delta fields of these columns; all nullable, as Delta columns that may be added later must be.
pub(super) fn delta_fields(columns: &[Column]) -> Vec<StructField> {
    let field = |column: &Column| {
        let field = StructField::nullable(&column.name, column.kind.delta());
        match &column.header {
            Some(header) => field.with_metadata([(HEADER_KEY, MetadataValue::String(header.clone()))]),
            None => field,
        }
    };
    columns.iter().map(field).collect()
}

/// The columns of a table as its log has them.
///
/// # Errors
/// `Foreign` where another program gave it a column of a type that we never write.
pub(super) fn columns_of(table: &str, schema: &StructType) -> Result<Vec<Column>, LakeError> {
    let column = |field: &StructField| {
        let kind = Kind::of(field.data_type()).ok_or_else(|| LakeError::Foreign {
            table: table.to_owned(),
            reason: format!("column `{}` has the type {}", field.name(), field.data_type()),
        })?;
        let header = match field.metadata().get(HEADER_KEY) {
            Some(MetadataValue::String(header)) => Some(header.clone()),
            _ => None,
        };
        Ok(Column { name: field.name().clone(), kind, header })
    };
    schema.fields().map(column).collect()
}

/// Gives the sender's columns the names under which the table knows them, whatever their case.
///
/// # Errors
/// `ColumnType` where the table holds another type under the name; `ColumnTwice` where two names differ in case only
/// or one is ours.
pub(super) fn fit_to_table(
    table: &str,
    mut wanted: Vec<StagedColumn>,
    existing: &[StagedColumn],
) -> Result<Vec<StagedColumn>, LakeError> {
    let mut seen: Vec<String> = staged_table_columns(&[]).into_iter().map(|column| column.name).collect();
    for column in &mut wanted {
        let lower = column.name.to_lowercase();
        if let Some(found) = existing.iter().find(|found| found.name.to_lowercase() == lower) {
            if found.kind != column.kind {
                return Err(LakeError::ColumnType {
                    table: table.to_owned(),
                    column: found.name.clone(),
                    has: found.kind,
                    wanted: column.kind,
                });
            }
            column.name.clone_from(&found.name);
        }
        let ours = QUARANTINE_META_COLUMNS.contains(&lower.as_str())
            || [REFUSALS_COLUMN, MISSING_COLUMN].contains(&lower.as_str());
        if ours || seen.contains(&lower) {
            return Err(LakeError::ColumnTwice { table: table.to_owned(), column: column.name.clone() });
        }
        seen.push(lower);
    }
    Ok(wanted)
}

/// The existing columns with the new ones behind them.
pub(super) fn merged(existing: &[StagedColumn], new: &[StagedColumn]) -> Vec<StagedColumn> {
    let mut all = existing.to_vec();
    all.extend(new.iter().filter(|column| existing.iter().all(|e| e.name != column.name)).cloned());
    all
}
