//! Which receipts are read back, and what all of them add up to.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::HowMany;
use crate::domain::job::JobId;
use crate::domain::row::RowId;
use crate::domain::table::TableName;
use crate::io::delta::{LakeError, Lakehouse, ReceiptsOf};
use crate::io::dynamics::{Dynamics, Record};

/// What receipts add up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub rows: u64,
    pub created: u64,
    pub updated: u64,
    pub unknown: u64,
    /// Records among the updated ones that are gone; known only where a job deletes.
    pub deleted: u64,
    /// The job of the first receipt.
    pub first_job: Option<JobId>,
}

/// A receipt that is read back.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub job: String,
    pub time: Timestamp,
    pub record: Option<Record>,
    /// As the receipt names it.
    pub target_key: String,
    /// The job of another row that wrote the same record later.
    pub written_over_by: Option<String>,
}

/// Adds receipts of a table up.
pub(super) async fn tally(
    lake: &Lakehouse,
    of: ReceiptsOf<'_>,
    table: &TableName,
) -> Result<Tally, LakeError> {
    let mut tally = Tally::default();
    let mut reader = lake.receipts(of).await?;
    while let Some(receipts) = reader.next().await? {
        for receipt in receipts.iter().filter(|receipt| receipt.table_name == table.as_str()) {
            tally.rows += 1;
            match receipt.created {
                Some(true) => tally.created += 1,
                Some(false) => tally.updated += 1,
                None => tally.unknown += 1,
            }
            if tally.first_job.is_none() {
                tally.first_job = JobId::try_from(receipt.job.clone()).ok();
            }
        }
    }
    Ok(tally)
}

/// The receipts of one round of several: of each row the last one. Row ids are hashes, so those with the least ids are
/// as good as drawn by lot, and the same ones every time.
pub(super) async fn choose(
    (lake, dynamics): (&Lakehouse, &Dynamics),
    of: ReceiptsOf<'_>,
    table: &TableName,
    how: HowMany,
    (round, rounds): (u64, u64),
) -> Result<BTreeMap<RowId, Chosen>, LakeError> {
    let most = match how {
        HowMany::Sample(most) => most,
        HowMany::All => usize::MAX,
    };
    let mut chosen: BTreeMap<RowId, Chosen> = BTreeMap::new();
    let mut by_record: HashMap<Record, RowId> = HashMap::new();
    let mut reader = lake.receipts(of).await?;
    while let Some(receipts) = reader.next().await? {
        for receipt in receipts {
            if receipt.table_name != table.as_str() {
                continue;
            }
            let record = dynamics.record_of(receipt.record_id.as_deref(), &receipt.target_key);
            let folded = record.as_ref().map(Record::folded);
            if let Some(other) = folded.as_ref().and_then(|record| by_record.get(record))
                && *other != receipt.row_id
                && let Some(before) = chosen.get_mut(other)
            {
                before.written_over_by = Some(receipt.job.clone());
            }
            if u128::from(rounds) > 1 && receipt.row_id.0.as_u128() % u128::from(rounds) != u128::from(round)
            {
                continue;
            }
            let id = receipt.row_id;
            chosen.insert(
                id,
                Chosen {
                    job: receipt.job,
                    time: receipt.time,
                    record,
                    target_key: receipt.target_key,
                    written_over_by: None,
                },
            );
            by_record.extend(folded.map(|record| (record, id)));
            if chosen.len() > most
                && let Some((_, out)) = chosen.pop_last()
                && let Some(record) = out.record
            {
                by_record.remove(&record.folded());
            }
        }
    }
    Ok(chosen)
}
