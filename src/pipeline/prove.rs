//! prove: what was written is counted and read back from the target, value by value; the outcome is signed off.

mod choose;
mod reading;
mod sender;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::claim::Job;
use super::{Halt, Pipeline};
use crate::config::Validate;
use crate::domain::entity::Entity;
use crate::domain::job::JobId;
use crate::domain::proof::{Departed, Finding, Proof};
use crate::domain::settings::Mode;
use crate::domain::table::TableName;
use crate::io::delta::{ReceiptsOf, StateRow};
use crate::io::durable;
use crate::io::signoff::{Fact, sign_off};

use choose::{Tally, choose, tally};
use reading::Reading;
pub(super) use reading::{CLOCK_DOUBT, KEY_UNKNOWN};
pub(super) use sender::Sender;

/// Receipts that are read back where nobody asks for another number: two requests.
pub const SAMPLE_ROWS: usize = 200;
/// Longest time that the checks of a job may take once its rows are written; then they are left open.
pub const SAMPLE_TIME_MAX: Duration = Duration::from_secs(60);
/// The same where every row is read back.
pub const ALL_TIME_MAX: Duration = Duration::from_secs(1_800);
/// Longest time to count an entity's records.
const COUNT_TIME_MAX: Duration = Duration::from_secs(20);
/// Receipts that are held at once; where there are more, the tables are read several times.
const ROUND_ROWS: u64 = 100_000;

/// How many receipts are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowMany {
    /// So many, always the same ones: those with the least row ids, which are hashes.
    Sample(usize),
    /// Every one.
    All,
}

impl Pipeline {
    /// The records that the target has of the entity, unless it does not say soon: nothing waits for this number.
    pub(super) async fn counted(&self, entity: &Entity) -> Option<u64> {
        let counted = tokio::time::timeout(COUNT_TIME_MAX, self.dynamics.count(entity)).await;
        counted.ok()?.ok()
    }

    /// Checks what a job wrote into one table, where the settings want that; `state` is what the books will say of it.
    ///
    /// # Errors
    /// `Stopping` alone: what cannot be checked in time is left open, and the job goes on.
    pub(super) async fn prove_part(
        &self,
        job: &Job,
        part: u16,
        entity: &Entity,
        state: &StateRow,
    ) -> Result<Option<Proof>, Halt> {
        let (how, time) = match self.settings.validate {
            Validate::Off => return Ok(None),
            Validate::Sample => (HowMany::Sample(SAMPLE_ROWS), SAMPLE_TIME_MAX),
            Validate::All => (HowMany::All, ALL_TIME_MAX),
        };
        let load = &job.record.loads[usize::from(part)];
        let mut proof = self.begin_proof(&load.table_name, state, Some(&job.record.job));
        let checks = async {
            self.check_books(&mut proof, state).await?;
            let mut of_job = tally(&self.lake, ReceiptsOf::Job(&job.record.job), &load.table_name).await?;
            if load.mode == Mode::Delete {
                of_job.deleted = of_job.updated;
            }
            self.check_part(&mut proof, job, part, &of_job).await?;
            let before = job.journal.part(part).counted.flatten();
            self.check_count(&mut proof, entity, before, &of_job).await;
            self.check_values(&mut proof, ReceiptsOf::Job(&job.record.job), Some(&job.record.job), how).await
        };
        let done = tokio::select! {
            biased;
            done = tokio::time::timeout(time, checks) => done,
            () = self.stop.cancelled() => return Err(Halt::Stopping),
        };
        match done {
            Ok(Ok(())) => {}
            Ok(Err(halt)) => proof.check("checks", Finding::Open, halt.waiting_for()),
            Err(_) => {
                let said = format!("not done within {} seconds; `ddu validate` makes them", time.as_secs());
                proof.check("checks", Finding::Open, said);
            }
        }
        proof.ended = (self.now)();
        tracing::info!(job = %job.record.job, table = %load.table_name, validated = proof.holds(), read_back = proof.read_back, "rows read back");
        Ok(Some(proof))
    }

    /// Checks everything that a table's jobs wrote.
    ///
    /// # Errors
    /// When the table is not known, or the tables or the target cannot be read.
    pub async fn prove_table(&self, state: &StateRow, how: HowMany) -> Result<Proof, Halt> {
        let table = TableName::try_from(state.table_name.clone())
            .expect("the state is kept under names of tables alone");
        let mut proof = self.begin_proof(&table, state, None);
        self.check_books(&mut proof, state).await?;
        let mut of_table = tally(&self.lake, ReceiptsOf::Table(&table), &table).await?;
        (proof.created, proof.updated, proof.unknown) =
            (of_table.created, of_table.updated, of_table.unknown);
        let entity = self.dynamics.entity(&state.target_entity).await?;
        let first = match &of_table.first_job {
            Some(job) => self.job_for_reading(job)?,
            None => None,
        };
        let part = first
            .as_ref()
            .and_then(|job| (0..).zip(&job.record.loads).find(|(_, load)| load.table_name == table));
        let before = match (&first, part) {
            (Some(job), Some((part, load))) => {
                if load.mode == Mode::Delete {
                    of_table.deleted = of_table.updated;
                }
                job.journal.part(part).counted.flatten()
            }
            _ => None,
        };
        self.check_count(&mut proof, &entity, before, &of_table).await;
        self.check_values(&mut proof, ReceiptsOf::Table(&table), None, how).await?;
        proof.ended = (self.now)();
        Ok(proof)
    }

    fn begin_proof(&self, table: &TableName, state: &StateRow, job: Option<&JobId>) -> Proof {
        let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
        let begun = (self.now)();
        Proof {
            table_name: table.clone(),
            target_entity: state.target_entity.clone(),
            job: job.cloned(),
            begun,
            ended: begun,
            records: count(state.records),
            written: count(state.written),
            quarantined: count(state.quarantined),
            pending: count(state.pending),
            created: 0,
            updated: 0,
            unknown: 0,
            read_back: 0,
            checks: Vec::new(),
            departures: Vec::new(),
            more_departures: 0,
        }
    }

    /// Conservation: the four numbers add up, and the tables hold what they say.
    async fn check_books(&self, proof: &mut Proof, state: &StateRow) -> Result<(), Halt> {
        let staged = self.lake.staged_count(&proof.table_name).await?;
        let held = self.lake.quarantine_count(&proof.table_name).await?;
        let StateRow { records, written, quarantined, pending, .. } = state;
        let adds_up = *records == written + quarantined + pending
            && [written, quarantined, pending].iter().all(|n| **n >= 0);
        let as_counted = staged as i64 == *records && held as i64 == *quarantined;
        let said = format!(
            "{records} rows = {written} written + {quarantined} in quarantine + {pending} pending; the tables hold \
             {staged} and {held}"
        );
        let finding = if adds_up && as_counted { Finding::Right } else { Finding::Wrong };
        proof.check("rows accounted for", finding, said);
        Ok(())
    }

    /// The job's own rows: each has a receipt or stands in quarantine.
    async fn check_part(
        &self,
        proof: &mut Proof,
        job: &Job,
        part: u16,
        receipts: &Tally,
    ) -> Result<(), Halt> {
        (proof.created, proof.updated, proof.unknown) =
            (receipts.created, receipts.updated, receipts.unknown);
        let same_table = |other: &usize| job.record.loads[*other].table_name == proof.table_name;
        let parts: Vec<usize> = (0..=usize::from(part)).filter(same_table).collect();
        let ledgers = || parts.iter().map(|part| &job.journal.ledgers()[*part]);
        let written: u64 = ledgers().map(|ledger| ledger.written_rows).sum();
        let refused: u64 = ledgers().map(|ledger| ledger.refused_rows + ledger.held_rows).sum();
        let rows: u64 = ledgers().filter_map(|ledger| ledger.staged.as_ref()).map(|staged| staged.rows).sum();
        let mut held = 0;
        let mut quarantine = self.lake.quarantine_rows(&proof.table_name, Some(&job.record.job)).await?;
        while let Some(rows) = quarantine.next().await? {
            held += rows.len() as u64;
        }
        let receipts = receipts.rows;
        let said = format!(
            "{rows} rows came, {written} were written and {refused} refused; there are {receipts} receipts and {held} \
             rows in quarantine"
        );
        let right = rows == written + refused && receipts == written && held == refused;
        proof.check("rows of the job", if right { Finding::Right } else { Finding::Wrong }, said);
        Ok(())
    }

    /// The entity's records before and after. Others may write meanwhile, so a difference is told and no fault by itself.
    async fn check_count(&self, proof: &mut Proof, entity: &Entity, before: Option<u64>, wrote: &Tally) {
        const WHAT: &str = "records in the target";
        let (Some(before), Some(after)) = (before, self.counted(entity).await) else {
            let said = "the target did not count its records in time, before or after".to_owned();
            return proof.check(WHAT, Finding::Noted, said);
        };
        let (least, most) = (wrote.created as i64 - wrote.deleted as i64, wrote.unknown as i64);
        let found = after as i64 - before as i64;
        let mut said = format!("{before} before, {after} after: {found:+}, where {least:+} were expected");
        if most > 0 {
            said += &format!(", up to {:+} with the {most} of which it is not known", least + most);
        }
        if (least..=least + most).contains(&found) {
            return proof.check(WHAT, Finding::Right, said);
        }
        said += "; others may have created or deleted records meanwhile";
        proof.check(WHAT, Finding::Noted, said);
    }

    /// Reads records back and holds them against the staged values.
    async fn check_values(
        &self,
        proof: &mut Proof,
        of: ReceiptsOf<'_>,
        job: Option<&JobId>,
        how: HowMany,
    ) -> Result<(), Halt> {
        let table = proof.table_name.clone();
        let all = tally(&self.lake, of, &table).await?.rows;
        let rounds = match how {
            HowMany::Sample(_) => 1,
            HowMany::All => all.div_ceil(ROUND_ROWS).max(1),
        };
        let mut counts = [0_u64; 5];
        for round in 0..rounds {
            let chosen = choose((&self.lake, &self.dynamics), of, &table, how, (round, rounds)).await?;
            let mut reading = Reading::new(self, &table, chosen);
            reading
                .read(job, |read| match read {
                    None => proof.read_back += 1,
                    Some(departures) => {
                        proof.read_back += u64::from(departures[0].kind != Departed::Untold);
                        counts[departures[0].kind as usize] += 1;
                        departures.into_iter().for_each(|departure| proof.depart(departure));
                    }
                })
                .await?;
        }
        let departed: u64 = counts.iter().sum();
        let read = proof.read_back;
        let untold = counts[Departed::Untold as usize];
        let mut said =
            format!("{read} of {all} receipts read back, {} as written", read - (departed - untold));
        let wrong = [Departed::Wrong, Departed::Missing, Departed::StillThere];
        for kind in wrong.into_iter().chain([Departed::ChangedSince, Departed::Untold]) {
            match counts[kind as usize] {
                0 => {}
                count => said += &format!(", {count} {}", kind.as_str()),
            }
        }
        let finding = if wrong.iter().any(|kind| counts[*kind as usize] > 0) {
            Finding::Wrong
        } else if departed > 0 {
            Finding::Noted
        } else {
            Finding::Right
        };
        proof.check("values", finding, said);
        Ok(())
    }

    /// A job, in progress or archived, as a report reads it.
    ///
    /// # Errors
    /// When its folder does not read.
    pub(super) fn job_for_reading(&self, job: &JobId) -> Result<Option<Job>, Halt> {
        for dir in [self.spool.archive_dir(job), self.spool.job_dir(job)] {
            if let Some(record) = dir.record()? {
                let journal = dir.journal_for_reading(&record)?;
                return Ok(Some(Job { record, dir, journal }));
            }
        }
        Ok(None)
    }

    /// Where a part's sign-off stands, in the job's folder.
    pub(super) fn sign_off_path(job: &Job, part: u16) -> PathBuf {
        let table = &job.record.loads[usize::from(part)].table_name;
        let sheet = if part == 0 { String::new() } else { format!("-{}", part + 1) };
        job.dir.path().join(format!("signoff.{table}{sheet}.{}.xlsx", job.record.job))
    }

    /// Writes a job's sign-off beside its other evidence.
    pub(super) fn sign_off(&self, job: &Job, part: u16, proof: &Proof) -> Result<(), Halt> {
        let record = &job.record;
        let mut facts = vec![
            ("Workbook", Fact::Text(record.workbook.clone())),
            ("SHA-256", Fact::Text(record.sha256.clone())),
            ("Job", Fact::Text(record.job.to_string())),
            ("Claimed", Fact::Text(shown(record.claimed_at))),
        ];
        let ledger = job.journal.part(part);
        if let Some(staged) = &ledger.staged {
            facts.push(("Sheet", Fact::Text(staged.sheet.clone())));
            facts.push(("Rows", Fact::Number(staged.rows)));
        }
        facts.push(("Rows written", Fact::Number(ledger.written_rows)));
        facts.push(("Rows refused", Fact::Number(ledger.refused_rows + ledger.held_rows)));
        self.write_sign_off(&Self::sign_off_path(job, part), facts, proof)
    }

    /// Writes the sign-off of a table where the operator wants it, and returns the file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sign_off_table(&self, folder: &Path, proof: &Proof) -> Result<PathBuf, Halt> {
        durable::create_dir_all(folder)?;
        let path = folder.join(format!("signoff.{}.xlsx", proof.table_name));
        self.write_sign_off(&path, Vec::new(), proof)?;
        Ok(path)
    }

    fn write_sign_off(&self, path: &Path, mut facts: Vec<(&str, Fact)>, proof: &Proof) -> Result<(), Halt> {
        facts.extend([
            ("Target", Fact::Text(self.dynamics.target_id().to_owned())),
            ("Entity", Fact::Text(proof.target_entity.clone())),
            ("Table", Fact::Text(format!("{}.{}", self.settings.database, proof.table_name))),
            ("Records created", Fact::Number(proof.created)),
            ("Records updated", Fact::Number(proof.updated)),
            ("Created or updated", Fact::Number(proof.unknown)),
            ("Rows in the table", Fact::Number(proof.records)),
            ("of them written", Fact::Number(proof.written)),
            ("of them in quarantine", Fact::Number(proof.quarantined)),
            ("of them pending", Fact::Number(proof.pending)),
            ("Receipts read back", Fact::Number(proof.read_back)),
            ("Checked", Fact::Text(format!("{} to {}", shown(proof.begun), shown(proof.ended)))),
            ("DDU", Fact::Text(env!("CARGO_PKG_VERSION").to_owned())),
        ]);
        let bytes = sign_off(&facts, proof).map_err(|source| Halt::SignOff { source })?;
        Ok(durable::replace(path, &bytes)?)
    }
}

fn shown(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
