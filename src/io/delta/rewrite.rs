//! Taking rows out of a table: only the files that hold them are rewritten, the others stay untouched.

use std::collections::HashSet;

use deltalake::arrow::array::{AsArray, BooleanArray, RecordBatch};
use deltalake::arrow::compute::{filter_record_batch, not};
use deltalake::kernel::Action;
use deltalake::table::state::DeltaTableState;

use super::error::{Doing, LakeError};
use super::heal::OldRows;
use super::parquet::{DataFile, Only, Scan, file_writer};
use super::rows::ids_in;
use super::schema::{Column, arrow_schema, text};
use super::table::Table;
use crate::domain::row::RowId;

/// Writes every file that holds one of these rows anew without them, in the same slot, so that order is kept.
///
/// Returns the actions that put the remainders in the place of the files; `taken` remembers the rows. Memory is bounded by one batch to read and
/// one row group to write.
pub(super) async fn without(
    table: &Table,
    state: &DeltaTableState,
    ids: &HashSet<RowId>,
    mut taken: Option<&mut OldRows>,
) -> Result<Vec<Action>, LakeError> {
    let mut actions = Vec::new();
    if ids.is_empty() {
        return Ok(actions);
    }
    let columns = table.columns(state)?;
    for entry in table.entries(state) {
        if !holds_any(table, entry.file.clone(), ids).await? {
            continue;
        }
        let rewritten =
            rewrite(table, &columns, entry.file.clone(), entry.slot(), ids, taken.as_deref_mut()).await?;
        actions.push(entry.remove(true));
        actions.extend(rewritten);
    }
    Ok(actions)
}

/// Whether the file holds one of these rows; only the column of the ids is read.
async fn holds_any(table: &Table, file: DataFile, ids: &HashSet<RowId>) -> Result<bool, LakeError> {
    let schema = arrow_schema(&[text("_ddu_row_id")]);
    let mut scan = Scan::new(&table.name, table.store(), [file], schema, None);
    while let Some(batch) = scan.next().await? {
        if members(&batch, ids).true_count() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn rewrite(
    table: &Table,
    columns: &[Column],
    file: DataFile,
    slot: deltalake::Path,
    ids: &HashSet<RowId>,
    mut taken: Option<&mut OldRows>,
) -> Result<Vec<Action>, LakeError> {
    let schema = arrow_schema(columns);
    let mut writer = file_writer(&table.name, &table.store(), &schema, table.kind.stats(), slot)?;
    let mut scan = Scan::new(&table.name, table.store(), [file], schema, None);
    while let Some(batch) = scan.next().await? {
        let out = members(&batch, ids);
        let kept = not(&out).and_then(|kept| filter_record_batch(&batch, &kept));
        writer.write(&kept.doing(&table.name, "rewrite rows")?).await.doing(&table.name, "rewrite rows")?;
        if out.true_count() > 0
            && let Some(taken) = &mut taken
        {
            let out = filter_record_batch(&batch, &out).doing(&table.name, "rewrite rows")?;
            taken.take(&table.name, &out).await?;
        }
    }
    let adds = writer.close().await.doing(&table.name, "rewrite rows")?;
    Ok(adds.into_iter().map(Action::Add).collect())
}

/// Which rows of a batch are among these.
fn members(batch: &RecordBatch, ids: &HashSet<RowId>) -> BooleanArray {
    let texts = batch.column_by_name("_ddu_row_id").and_then(|column| column.as_string_opt::<i32>());
    match texts {
        Some(texts) => {
            let id = |text: Option<&str>| text.and_then(|text| text.parse::<RowId>().ok());
            texts.iter().map(|text| Some(id(text).is_some_and(|id| ids.contains(&id)))).collect()
        }
        None => BooleanArray::from(vec![false; batch.num_rows()]),
    }
}

/// The row ids of a version, of one job where one is named.
pub(super) async fn row_ids(
    table: &Table,
    state: &DeltaTableState,
    only: Option<Only>,
) -> Result<HashSet<RowId>, LakeError> {
    let mut ids = HashSet::new();
    let mut scan = table.scan(state, &[text("_ddu_row_id")], only);
    while let Some(batch) = scan.next().await? {
        ids.extend(ids_in(&table.name, &batch)?);
    }
    Ok(ids)
}
