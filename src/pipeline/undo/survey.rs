//! Which records a job created, which of them others of our jobs wrote since, and what nobody can tell.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::domain::row::RowId;
use crate::domain::table::TableName;
use crate::io::delta::{Receipt, ReceiptsOf};
use crate::io::dynamics::{Dialect, Record, TargetFault};
use crate::io::spool::undo_dir::LeftRow;
use crate::pipeline::claim::Job;
use crate::pipeline::{Halt, Pipeline};

/// A record that the job created.
#[derive(Debug, Clone)]
pub(super) struct Doomed {
    pub row: RowId,
    pub record: Record,
    /// When one of our jobs wrote it last.
    pub time: Timestamp,
    /// A later job that wrote it too and is not undone.
    pub later_job: Option<String>,
}

/// What the receipts of a job in one table say.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What it created, newest first.
    pub doomed: Vec<Doomed>,
    /// What it only changed.
    pub updated: u64,
    /// What stays whatever the target holds.
    pub left: Vec<LeftRow>,
}

impl Pipeline {
    /// Reads the receipts; rows that are decided already are left out. Memory holds some 100 bytes a created record.
    pub(super) async fn survey(
        &self,
        job: &Job,
        table: &TableName,
        decided: &HashSet<RowId>,
    ) -> Result<Survey, Halt> {
        let record_of =
            |receipt: &Receipt| self.dynamics.record_of(receipt.record_id.as_deref(), &receipt.target_key);
        let mut survey = Survey::default();
        let mut places: HashMap<Record, usize> = HashMap::new();
        let mut reader = self.lake.receipts(ReceiptsOf::Job(&job.record.job)).await?;
        while let Some(receipts) = reader.next().await? {
            for receipt in receipts.into_iter().filter(|receipt| receipt.table_name == table.as_str()) {
                let row = receipt.row_id;
                let left = |reason: &str| LeftRow {
                    row,
                    record: receipt.target_key.clone(),
                    reason: reason.to_owned(),
                };
                match (receipt.created, record_of(&receipt)) {
                    (Some(false), _) => survey.updated += 1,
                    _ if decided.contains(&row) => {}
                    (None, _) => survey.left.push(left("nobody can tell whether this job created it")),
                    (Some(true), None) => survey.left.push(left("its own id is not known")),
                    (Some(true), Some(record)) => {
                        places.insert(record.folded(), survey.doomed.len());
                        survey.doomed.push(Doomed { row, record, time: receipt.time, later_job: None });
                    }
                }
            }
        }
        let mut undone: HashMap<String, bool> = HashMap::new();
        let own: Vec<Timestamp> = survey.doomed.iter().map(|doomed| doomed.time).collect();
        let elsewhere = self.other_entities(job, table).await?;
        let mut reader = self.lake.receipts(ReceiptsOf::All).await?;
        while let Some(receipts) = reader.next().await? {
            for receipt in receipts.into_iter().filter(|receipt| !elsewhere.contains(&receipt.table_name)) {
                let place = record_of(&receipt).and_then(|record| places.get(&record.folded()).copied());
                let Some(place) = place else { continue };
                // Receipts stand in the order of the claims, which with `order` need not be that of the writes.
                if receipt.job == job.record.job.as_str() || receipt.time < own[place] {
                    continue;
                }
                let doomed = &mut survey.doomed[place];
                doomed.time = doomed.time.max(receipt.time);
                let is_undone =
                    undone.entry(receipt.job.clone()).or_insert_with_key(|job| self.spool.is_undone(job));
                if !*is_undone {
                    doomed.later_job = Some(receipt.job);
                }
            }
        }
        survey.doomed.reverse();
        Ok(survey)
    }

    /// Tables whose records are of another entity than this one's: in F&O the same key may name records of both. Ids of
    /// Dataverse are one record's alone, so that no table needs to be left out.
    async fn other_entities(&self, job: &Job, table: &TableName) -> Result<HashSet<String>, Halt> {
        let mut others = HashSet::new();
        if self.dynamics.dialect() == Dialect::Dataverse {
            return Ok(others);
        }
        let load = job.record.loads.iter().find(|load| load.table_name == *table);
        let load = load.expect("the tables are those of the job's loads");
        let own = self.dynamics.entity(&load.target_entity).await?;
        for state in self.lake.states().await? {
            // An entity that is not there any more may have been this one under another name.
            let other = match self.dynamics.entity(&state.target_entity).await {
                Ok(entity) => entity.set_name != own.set_name,
                Err(TargetFault::UnknownEntity { .. }) => false,
                Err(fault) => return Err(fault.into()),
            };
            if other {
                others.insert(state.table_name);
            }
        }
        Ok(others)
    }
}
