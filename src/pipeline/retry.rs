//! retry: rows in quarantine that only waited for records which a job has written become a job of their own.
//!
//! The job goes the way of a returned workbook: DDU makes the workbook itself, of the rows as they stand in quarantine. It
//! is planned (workbooks and `job.json` as files of the job that landed, then one event), then made (each is put in its
//! place), so that a crash in between makes none twice and forgets none. A row is tried again only where everything that
//! it waits for is there; that, and [`RETRY_CHAIN_MAX`], keeps retries from following each other for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::claim::Job;
use super::give_back::described_columns;
use super::settle::hex;
use super::{Halt, Pipeline};
use crate::domain::job::{JobId, JobSeq};
use crate::domain::lifecycle::Event;
use crate::domain::refusal::{Missing, waits_for};
use crate::domain::row::{RowId, StagedColumn};
use crate::domain::settings::LoadSettings;
use crate::domain::table::TableName;
use crate::domain::value::Value;
use crate::io::delta::QuarantineRow;
use crate::io::durable::{self, doing};
use crate::io::returned::{ReturnedRow, ReturnedSheet, ReturnedWriter};
use crate::io::spool::SpoolError;
use crate::io::spool::job_dir::{JobRecord, Retry};

/// Retries that may follow from each other; entities that depend on each other are never so deep.
pub const RETRY_CHAIN_MAX: u16 = 32;
/// Retries that one job may set off: one for each table and each way in which rows were loaded into it.
const RETRIES_MAX: usize = 64;

/// How rows were loaded, as far as the settings go: they go again together.
struct Way {
    load: LoadSettings,
    columns: Vec<StagedColumn>,
    sheet: String,
    workbook: String,
}

/// Rows that go again together.
struct Again {
    way: Way,
    of: BTreeSet<JobId>,
    ids: HashSet<RowId>,
    /// Those among them that the job brought which has landed.
    own: Vec<RowId>,
}

/// What rows of one table wait for, and which of it is there.
type Present = HashMap<(String, String), HashSet<String>>;

impl Pipeline {
    /// Plans the jobs that try again what this one's rows were waited for by; `None` where there are none.
    ///
    /// # Errors
    /// When the tables, the target or the disk do not answer; nothing is planned then.
    pub(super) async fn plan_retries(&self, job: &Job) -> Result<Option<Event>, Halt> {
        let chain = job.record.retry.as_ref().map_or(0, |retry| retry.chain) + 1;
        let landed = self.landed(job).await?;
        if landed.is_empty() || chain > RETRY_CHAIN_MAX {
            return Ok(None);
        }
        let mut retries = Vec::new();
        let mut own = Vec::new();
        for table in self.lake.quarantine_tables().await? {
            if self.lake.quarantine_waits(&table).await?.is_disjoint(&landed) {
                continue;
            }
            let present = self.present(&table, &landed).await?;
            for again in self.again(job, &table, &landed, &present).await? {
                if retries.len() >= RETRIES_MAX {
                    tracing::warn!(job = %job.record.job, %table, "more retries than one job may set off; these rows wait for the next");
                    break;
                }
                let record = self.prepare_retry(job, &again, &landed, chain).await?;
                tracing::info!(job = %record.job, landed = %job.record.job, %table, rows = again.ids.len(), "rows are tried again");
                own.extend(again.own);
                retries.push(record.job);
            }
        }
        if retries.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_vec(&own).expect("ids are plain data");
        durable::replace(&own_rows(job), &text)?;
        Ok(Some(Event::RetriesPlanned { retries, own_rows: own.len() as u64 }))
    }

    /// Puts the planned jobs in their places; those that are there are left alone.
    ///
    /// # Errors
    /// When the disk refuses; the next try makes the others.
    pub(super) fn make_retries(&self, job: &Job) -> Result<(), Halt> {
        for id in job.journal.retries() {
            let (workbook, record) = (planned(job, id, "xlsx"), planned(job, id, "json"));
            // It has gone to its place once the workbook is gone from here.
            if workbook.symlink_metadata().is_err() {
                continue;
            }
            let text = doing(std::fs::read(&record), "read", &record)?;
            let record: JobRecord = serde_json::from_slice(&text)
                .map_err(|error| SpoolError::Broken { path: record, what: error.to_string() })?;
            let dir = self.spool.job_dir(id);
            // After a power loss the workbook may be seen in both places; the job has begun, and perhaps ended.
            if dir.claimed()?.is_some() || self.spool.archive_dir(id).path().symlink_metadata().is_ok() {
                continue;
            }
            dir.remove_unclaimed()?;
            durable::create_dir_all(dir.path())?;
            dir.begin(&record)?;
            durable::rename_noreplace(&workbook, &dir.workbook(&record))?;
        }
        Ok(())
    }

    /// Rows of the job itself that are tried again: they are not given back to their sender.
    pub(super) fn retried_rows(&self, job: &Job) -> Result<HashSet<RowId>, Halt> {
        if job.journal.retries().is_empty() {
            return Ok(HashSet::new());
        }
        let path = own_rows(job);
        let text = doing(std::fs::read(&path), "read", &path)?;
        Ok(serde_json::from_slice(&text)
            .map_err(|error| SpoolError::Broken { path, what: error.to_string() })?)
    }

    /// The entities that the job has written records of.
    async fn landed(&self, job: &Job) -> Result<BTreeSet<String>, Halt> {
        let mut landed = BTreeSet::new();
        for (load, ledger) in job.record.loads.iter().zip(job.journal.ledgers()) {
            if ledger.written_rows + ledger.partly_rows > 0 {
                landed.extend(self.state_of(load).await?.map(|state| state.target_entity));
            }
        }
        Ok(landed)
    }

    /// Which of the records are there that rows of the table wait for.
    async fn present(&self, table: &TableName, landed: &BTreeSet<String>) -> Result<Present, Halt> {
        let mut wanted: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        let mut rows = self.lake.quarantine_rows(table, None).await?;
        while let Some(batch) = rows.next().await? {
            for row in &batch {
                let missing = waiting(row, landed).into_iter().flat_map(Missing::alternatives);
                for Missing { entity, column, value, .. } in missing {
                    let key = (entity.clone(), column.clone());
                    wanted.entry(key).or_default().insert(value.clone());
                }
            }
        }
        let mut present = HashMap::new();
        for ((entity, column), values) in wanted {
            let found = self.dynamics.present(&entity, &column, values.into_iter().collect()).await?;
            present.insert((entity, column), found);
        }
        Ok(present)
    }

    /// The rows of the table that can go, by the ways in which they were loaded.
    async fn again(
        &self,
        job: &Job,
        table: &TableName,
        landed: &BTreeSet<String>,
        present: &Present,
    ) -> Result<Vec<Again>, Halt> {
        let is_there = |missing: &Missing| {
            missing.alternatives().any(|missing| {
                let of = present.get(&(missing.entity.clone(), missing.column.clone()));
                of.is_some_and(|values| values.contains(&missing.value))
            })
        };
        let mut ways: HashMap<String, Option<String>> = HashMap::new();
        let mut found: BTreeMap<String, Again> = BTreeMap::new();
        let mut rows = self.lake.quarantine_rows(table, None).await?;
        while let Some(batch) = rows.next().await? {
            for row in &batch {
                let missing = waiting(row, landed);
                if missing.is_empty() || !missing.iter().all(|missing| is_there(missing)) {
                    continue;
                }
                // What a retry has just tried in full is not tried again by itself.
                let own = row.row.job == job.record.job.as_str();
                if own && job.record.retry.is_some() && missing.iter().any(|missing| !missing.partly) {
                    continue;
                }
                let Ok(id) = JobId::try_from(row.row.job.clone()) else { continue };
                if !ways.contains_key(&row.row.job) {
                    let way = self.way_of(&id, table)?;
                    let key = way.as_ref().map(|way| {
                        serde_json::to_string(&(&way.load, &way.columns)).expect("settings are plain data")
                    });
                    if let (Some(key), Some(way)) = (&key, way) {
                        let none =
                            || Again { way, of: BTreeSet::new(), ids: HashSet::new(), own: Vec::new() };
                        found.entry(key.clone()).or_insert_with(none);
                    }
                    ways.insert(row.row.job.clone(), key);
                }
                let key = ways.get(&row.row.job).and_then(Option::as_ref);
                if let Some(again) = key.and_then(|key| found.get_mut(key)) {
                    again.of.insert(id);
                    again.ids.insert(row.row.id);
                    again.own.extend(own.then_some(row.row.id));
                }
            }
        }
        Ok(found.into_values().filter(|again| !again.ids.is_empty()).collect())
    }

    /// How a job loaded the table, from its folder. `None` where that is gone, and for what goes whole or not at all:
    /// such rows wait for their sender.
    fn way_of(&self, id: &JobId, table: &TableName) -> Result<Option<Way>, Halt> {
        for dir in [self.spool.archive_dir(id), self.spool.job_dir(id)] {
            let Some(record) = dir.record()? else { continue };
            let Some(part) = record.loads.iter().position(|load| load.table_name == *table) else { continue };
            let load = record.loads[part].clone();
            let journal = dir.journal_for_reading(&record)?;
            let Some(staged) = &journal.ledgers()[part].staged else { continue };
            let workbook = record.first_workbook().to_owned();
            let (columns, sheet) = (staged.columns.clone(), staged.sheet.clone());
            return Ok((!load.atomic).then_some(Way { load, columns, sheet, workbook }));
        }
        Ok(None)
    }

    /// Makes the workbook of a retry and its `job.json`, as files of the job that landed.
    async fn prepare_retry(
        &self,
        job: &Job,
        again: &Again,
        landed: &BTreeSet<String>,
        chain: u16,
    ) -> Result<JobRecord, Halt> {
        let Again { way, of, ids, .. } = again;
        let at = (self.now)();
        let cause =
            format!("{} {} {}", job.record.job, way.load.table_name, of.first().map_or("", JobId::as_str));
        let id = self.free_id(at, &Sha256::digest(cause).into());
        let path = planned(job, &id, "xlsx");
        let mut writer = ReturnedWriter::new(&id, &way.workbook, at, job.dir.path())?;
        let described = described_columns(&self.dynamics, &way.load, &way.columns).await;
        let title = way.sheet.clone();
        writer.sheet(&ReturnedSheet { title, columns: described, settings: way.load.clone() })?;
        let mut rows = self.lake.quarantine_rows(&way.load.table_name, None).await?;
        let in_table = rows.columns().to_vec();
        let place = |column: &StagedColumn| {
            in_table.iter().position(|other| other.name.to_lowercase() == column.name.to_lowercase())
        };
        let places: Vec<Option<usize>> = way.columns.iter().map(place).collect();
        while let Some(batch) = rows.next().await? {
            for QuarantineRow { row, refusals, .. } in
                batch.into_iter().filter(|row| ids.contains(&row.row.id))
            {
                let value = |at: &Option<usize>| at.map_or(Value::Blank, |at| row.values[at].clone());
                let values = places.iter().map(value).collect();
                writer.row(&ReturnedRow { id: row.id, number: row.number, values, refusals })?;
            }
        }
        writer.finish(durable::create(&path)?)?;
        let mut file = doing(File::open(&path), "open", &path)?;
        doing(file.sync_all(), "sync", &path)?;
        let mut hasher = Sha256::new();
        let bytes = doing(std::io::copy(&mut file, &mut hasher), "read", &path)?;
        let loads =
            self.brought(&way.workbook, doing(File::open(&path), "open", &path)?).await?.loads(Vec::new());
        let record = {
            let _numbering = self.spool.numbering();
            let record = JobRecord {
                job: id.clone(),
                seq: JobSeq(self.spool.next_seqs(at, 1)?.0),
                claimed_at: at,
                workbook: way.workbook.clone(),
                workbook_bytes: None,
                sha256: hex(&hasher.finalize()),
                bytes,
                target: job.record.target.clone(),
                database: job.record.database.clone(),
                loads,
                sidecar: None,
                heals: of.first().map(JobId::to_string),
                heals_workbook: Some(way.workbook.clone()),
                retry: Some(Retry {
                    landed: job.record.job.clone(),
                    entities: landed.iter().cloned().collect(),
                    of: of.iter().cloned().collect(),
                    chain,
                }),
            };
            let text = serde_json::to_vec(&record).expect("a job record is plain data");
            durable::replace(&planned(job, &id, "json"), &text)?;
            record
        };
        Ok(record)
    }
}

/// What a row waits for, where it waits for anything that has landed and for nothing else.
fn waiting<'a>(row: &'a QuarantineRow, landed: &BTreeSet<String>) -> Vec<&'a Missing> {
    let missing = waits_for(&row.refusals);
    let has_landed = |missing: &Missing| landed.contains(&missing.entity);
    match missing.iter().any(|missing| missing.alternatives().any(has_landed)) {
        true => missing,
        false => Vec::new(),
    }
}

/// Where a planned job waits in the folder of the one that landed.
fn planned(job: &Job, id: &JobId, ending: &str) -> PathBuf {
    job.dir.scratch(&format!("retry-{id}.{ending}"))
}

/// Which rows of the job itself are tried again.
fn own_rows(job: &Job) -> PathBuf {
    job.dir.scratch("retry-own.json")
}
