//! Taking rows out of a table: only the files that hold them are rewritten, the others stay untouched.

use std::collections::HashSet;

use deltalake::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use deltalake::arrow::compute::{filter_record_batch, not};
use deltalake::kernel::Action;
use deltalake::table::state::DeltaTableState;

use super::error::{Doing, LakeError};
use super::heal::OldRows;
use super::parquet::{DataFile, Only, Scan, file_writer};
use super::rows::ids_in;
use super::schema::{Column, arrow_schema, text};
use super::table::{Change, ChangeKind, Table, Tries};
use super::txn::Txn;
use crate::domain::row::RowId;

/// Rows that are to leave: those with these ids, of one job where one is named.
#[derive(Clone)]
pub(super) struct Leavers<'a> {
    /// The column of the ids.
    pub column: &'static str,
    pub ids: &'a HashSet<RowId>,
    /// The column of the jobs, and the job.
    pub of: Option<Only>,
}

/// Writes every file that holds one of these rows anew without them, in the same slot, so that order is kept.
///
/// Returns the actions that put the remainders in the place of the files; `taken` remembers the rows. Memory is bounded by one batch to read and
/// one row group to write.
pub(super) async fn without(
    table: &Table,
    state: &DeltaTableState,
    ids: &HashSet<RowId>,
    taken: Option<&mut OldRows>,
) -> Result<Vec<Action>, LakeError> {
    without_these(table, state, &Leavers { column: "_ddu_row_id", ids, of: None }, taken).await
}

/// As [`without`], for rows that are named otherwise.
pub(super) async fn without_these(
    table: &Table,
    state: &DeltaTableState,
    leavers: &Leavers<'_>,
    mut taken: Option<&mut OldRows>,
) -> Result<Vec<Action>, LakeError> {
    let mut actions = Vec::new();
    if leavers.ids.is_empty() {
        return Ok(actions);
    }
    let columns = table.columns(state)?;
    for entry in table.entries(state) {
        let elsewhere = leavers.of.as_ref().is_some_and(|only| !entry.may_hold(only));
        if elsewhere || !holds_any(table, entry.file.clone(), leavers).await? {
            continue;
        }
        let rewritten =
            rewrite(table, &columns, entry.file.clone(), entry.slot(), leavers, taken.as_deref_mut()).await?;
        actions.push(entry.remove(true));
        actions.extend(rewritten);
    }
    Ok(actions)
}

/// Takes rows out of a table in one commit, unless this transaction has done so already.
pub(super) async fn take_rows(
    table: &Table,
    leavers: &Leavers<'_>,
    rows: u64,
    txn: &Txn,
) -> Result<(), LakeError> {
    let _turn = table.turn().await;
    let mut tries = Tries::new();
    loop {
        let Some(state) = table.fresh().await? else { return Ok(()) };
        if table.look(&state, txn).await?.is_some() {
            return Ok(());
        }
        let actions = without_these(table, &state, leavers, None).await?;
        if actions.is_empty() {
            return Ok(());
        }
        let change = Change { actions, kind: ChangeKind::Rewrite, rows, shares: Vec::new() };
        match table.commit(&state, change, Some(txn)).await? {
            Some(_) => return Ok(()),
            None => tries.again(table).await?,
        }
    }
}

/// Whether the file holds one of these rows; only the column of the ids is read.
async fn holds_any(table: &Table, file: DataFile, leavers: &Leavers<'_>) -> Result<bool, LakeError> {
    let mut columns = vec![text(leavers.column)];
    columns.extend(leavers.of.as_ref().map(|only| text(only.column)));
    let mut scan = Scan::new(&table.name, table.store(), [file], arrow_schema(&columns), None);
    while let Some(batch) = scan.next().await? {
        if members(&batch, leavers).true_count() > 0 {
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
    leavers: &Leavers<'_>,
    mut taken: Option<&mut OldRows>,
) -> Result<Vec<Action>, LakeError> {
    let schema = arrow_schema(columns);
    let mut writer = file_writer(&table.name, &table.store(), &schema, table.kind.stats(), slot)?;
    let mut scan = Scan::new(&table.name, table.store(), [file], schema, None);
    while let Some(batch) = scan.next().await? {
        let out = members(&batch, leavers);
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
fn members(batch: &RecordBatch, leavers: &Leavers<'_>) -> BooleanArray {
    let texts = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let Some(ids) = texts(leavers.column) else { return BooleanArray::from(vec![false; batch.num_rows()]) };
    let jobs = leavers.of.as_ref().map(|only| (texts(only.column), only.equals.as_str()));
    let is_of_job = |i: usize| match &jobs {
        Some((Some(jobs), job)) => jobs.is_valid(i) && jobs.value(i) == *job,
        Some((None, _)) => false,
        None => true,
    };
    let is_named = |i: usize| {
        let id = ids.is_valid(i).then(|| ids.value(i).parse::<RowId>().ok()).flatten();
        id.is_some_and(|id| leavers.ids.contains(&id))
    };
    (0..batch.num_rows()).map(|i| Some(is_named(i) && is_of_job(i))).collect()
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
