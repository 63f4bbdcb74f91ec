//! group: small workbooks of one table are staged together; one commit for all of them, a journal for each.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use tokio::task::JoinSet;

use super::advance::{Ended, Until};
use super::claim::Job;
use super::read::Unstaged;
use super::stage::{Identity, headers_kept, of_reading, put_down, set_aside, with_identities};
use super::{Halt, Pipeline};
use crate::domain::entity::Entity;
use crate::domain::lifecycle::{Event, Staged, State};
use crate::domain::row::StagedColumn;
use crate::domain::settings::LoadSettings;
use crate::io::delta::{Begin, Committed, StageKind, StageWriter, batch_bytes};
use crate::io::durable::together;
use crate::io::spool::entry::open_dropped;
use crate::io::spool::job_dir::JobRecord;
use crate::io::workbook::{ColumnKinds, ReadSummary, SheetHeader};

/// Jobs that are staged together at most. A commit costs some 20 ms however many share it, so more gain little, and
/// the first of them waits for the last.
pub const GROUP_JOBS_MAX: usize = 64;
/// Bytes of a workbook that is staged together with others; reading a larger one costs far more than its commit.
pub const GROUP_WORKBOOK_BYTES_MAX: u64 = 1 << 20;
/// Rows in the commit of several jobs, after which no further one joins.
const GROUP_ROWS_MAX: u64 = 100_000;
/// Arrow bytes of one workbook that wait for its end in memory; one that has more is staged alone, as it is read.
const GROUP_WORKBOOK_ARROW_BYTES_MAX: usize = 16 << 20;
/// Workbooks of a group that are read at once, each by a process of its own: those of the machine's cores that matter.
const READ_AHEAD: usize = 2;

/// Whether the job's rows may share a commit with those of others: it only appends, to one table, and is small.
///
/// What replaces, mends or only rehearses depends on what the jobs before it have left behind.
pub fn may_share(record: &JobRecord) -> bool {
    let [load] = record.loads.as_slice() else { return false };
    record.heals.is_none() && !load.overwrite && !load.dry_run && record.bytes <= GROUP_WORKBOOK_BYTES_MAX
}

/// Whether two jobs that may share a commit go to the same place.
pub fn share_place(one: &JobRecord, other: &JobRecord) -> bool {
    let place = |record: &JobRecord| {
        let load = &record.loads[0];
        (load.table_name.clone(), load.target_entity.clone(), load.order, record.database.clone())
    };
    place(one) == place(other)
}

/// A workbook that was read to its end.
struct Whole {
    header: SheetHeader,
    entity: Arc<Entity>,
    batches: Vec<RecordBatch>,
    rows: u64,
    summary: Option<ReadSummary>,
}

/// What became of reading a workbook for a group.
enum Read {
    Whole(Whole),
    /// It has more in it than its size promised.
    TooLarge,
}

/// A job whose rows are in the commit that is being written.
struct Member {
    /// Its place among the jobs.
    at: usize,
    staged: Staged,
}

/// What came of reading jobs for one commit.
struct Gathered {
    /// Jobs, from the first on, that are in the commit or put aside; those behind them cannot go with them.
    dealt_with: usize,
    /// Those in the commit.
    members: Vec<Member>,
    /// The commit that waits to be made, and the entity of its rows; `None` where no job is in it.
    commit: Option<(StageWriter, Arc<Entity>)>,
}

impl Pipeline {
    /// Takes jobs of one table as far as wanted, in the order of their claims: staged together as far as that may be,
    /// then each on its own. Says what came of the jobs in front; those behind have not begun, and keep their places.
    pub async fn advance_together(&self, jobs: &mut [Job], until: Until) -> Vec<Result<Ended, Halt>> {
        let staged = tokio::select! {
            biased;
            staged = self.stage_together(jobs) => staged,
            () = self.stop.cancelled() => Err(Halt::Stopping),
        };
        let may_go = match staged {
            Ok(count) => count.max(1),
            // Whatever is in the way is in the way of the first as well, who says so in its own name.
            Err(halt) => {
                tracing::debug!(%halt, "jobs not staged together");
                1
            }
        };
        let mut ends = Vec::new();
        for job in jobs.iter_mut().take(may_go) {
            let end = self.advance(job, until).await;
            let halted = end.is_err();
            ends.push(end);
            if halted {
                break;
            }
        }
        ends
    }

    /// Stages the jobs that can go together, from the first on; each is then in a state that follows from it. Says how
    /// many of them may be taken further.
    async fn stage_together(&self, jobs: &mut [Job]) -> Result<usize, Halt> {
        let (mut first, count) = (0, jobs.len());
        while jobs_left(first, count) {
            let job = &mut jobs[first];
            let load = &job.record.loads[0];
            if is_unread(job) {
                // Its rows may be in the table since a try before this one.
                if !self.lake.is_staged(&load.table_name, &job.txn(0)).await? {
                    break;
                }
                let event = self.stage(job, 0).await?;
                self.note(job, 0, event)?;
            }
            first += 1;
        }
        if !jobs_left(first, count) {
            return Ok(count);
        }
        let group = &mut jobs[first..];
        let load = group[0].record.loads[0].clone();
        let Gathered { dealt_with, members, commit } = self.read_together(group, &load).await?;
        if let Some((writer, entity)) = commit {
            // Known only while staging; it must be there when the commit is found without its journals.
            let noted = together(members.iter().collect(), |member| {
                put_down(&group[member.at], 0, &member.staged, 0)
            });
            noted.into_iter().collect::<Result<(), _>>()?;
            let done = writer.commit().await?;
            self.note_staged(group, members, done, &entity).await?;
        }
        Ok(first + dealt_with)
    }

    /// Reads one job after the other into a commit, and puts aside, each alone, those that cannot be read. Ends before
    /// the first that cannot go with the others; says how many were dealt with.
    async fn read_together(&self, jobs: &mut [Job], load: &LoadSettings) -> Result<Gathered, Halt> {
        let mut existing = self.lake.staged_columns(&load.table_name).await?.unwrap_or_default();
        let is_new = self.lake.staged_version(&load.table_name).await?.is_none();
        let (mut writer, mut entity): (Option<StageWriter>, _) = (None, None);
        let (mut members, mut marks, mut rows) = (Vec::<Member>::new(), HashSet::<PathBuf>::new(), 0);
        let mut ahead = Ahead::default();
        let mut dealt_with = jobs.len();
        for at in 0..jobs.len() {
            for (next, job) in jobs.iter().enumerate().take(at + READ_AHEAD).skip(ahead.begun) {
                ahead.begin(self, next, job, &existing);
            }
            let job = &mut jobs[at];
            if !is_unread(job) {
                // It was put aside by a try before this one.
                continue;
            }
            self.show_progress(job, 0);
            // The memory of what was loaded does not know the group yet.
            let is_twin = !marks.insert(self.spool.mark(&job.record, &job.record.loads[0]));
            if is_twin {
                dealt_with = at;
                break;
            }
            if let Some(event) = self.before_the_first_part(job).await? {
                self.note(job, 0, event)?;
                // It is not kept until the others are through.
                drop(ahead.take(at).await);
                continue;
            }
            let mut read = ahead.take(at).await;
            if let Ok(Read::Whole(whole)) = &read
                && !agree(&whole.header.columns, &existing)
            {
                // It was read before it was known what the workbooks in front of it would make of the table.
                read = self.read_whole(Source::of(job), existing.clone()).await;
            }
            let whole = match read {
                Ok(Read::Whole(whole)) => whole,
                Ok(Read::TooLarge) => {
                    dealt_with = at;
                    break;
                }
                Err(unstaged) => match unstaged.reason() {
                    // A commit of the others must find it in the journal: its number will be in no commit.
                    Ok(reason) => {
                        let event = set_aside(job, reason);
                        self.note(job, 0, event)?;
                        continue;
                    }
                    Err(halt) => {
                        tracing::debug!(job = %job.record.job, %halt, "job not staged with others");
                        dealt_with = at;
                        break;
                    }
                },
            };
            if !members.is_empty() && rows + whole.rows > GROUP_ROWS_MAX {
                dealt_with = at;
                break;
            }
            let Some(columns) = self.join(&mut writer, job, &whole).await? else {
                dealt_with = at;
                break;
            };
            let mut staged = self.write_whole(&mut writer, job, &whole, &columns).await?;
            if is_new && members.is_empty() {
                staged.notes.extend(self.clear_foreign_quarantine(load, &job.txn(0)).await?);
            }
            rows += whole.rows;
            entity.get_or_insert(whole.entity);
            existing = writer.as_ref().map(StageWriter::table_columns).unwrap_or(existing);
            members.push(Member { at, staged });
        }
        Ok(Gathered { dealt_with, members, commit: writer.zip(entity) })
    }

    /// Lets a job into the commit; `None` where its columns cannot stand beside the others, which it hears alone.
    async fn join(
        &self,
        writer: &mut Option<StageWriter>,
        job: &Job,
        whole: &Whole,
    ) -> Result<Option<Vec<StagedColumn>>, Halt> {
        let (load, txn) = (&job.record.loads[0], job.txn(0));
        let columns = whole.header.columns.clone();
        match writer {
            Some(writer) => {
                if let Err(error) = writer.join(columns, &txn).await {
                    tracing::debug!(job = %job.record.job, %error, "job not staged with others");
                    return Ok(None);
                }
            }
            None => match self.lake.stage(&load.table_name, columns, StageKind::Append, &txn).await? {
                Begin::Open(mut begun) => {
                    begun.share();
                    *writer = Some(begun);
                }
                Begin::AlreadyDone(_) => return Ok(None),
            },
        }
        Ok(writer.as_ref().map(|writer| writer.columns().to_vec()))
    }

    /// Writes the rows of a workbook behind those of the others.
    async fn write_whole(
        &self,
        writer: &mut Option<StageWriter>,
        job: &Job,
        whole: &Whole,
        columns: &[StagedColumn],
    ) -> Result<Staged, Halt> {
        let (record, header) = (&job.record, &whole.header);
        let identity = Identity { target: &record.target, entity: &whole.entity.set_name, job: &record.job };
        let writer = writer.as_mut().expect("join() has opened it");
        for batch in &whole.batches {
            writer.write(&with_identities(&identity, header, columns, batch)).await?;
        }
        Ok(Staged {
            sheet: header.sheet.clone(),
            version: 0,
            columns: headers_kept(columns, &header.columns),
            rows: whole.rows,
            healed: 0,
            rewritten: 0,
            left_behind: 0,
            notes: of_reading(header, whole.summary.as_ref(), whole.rows),
        })
    }

    /// What follows a commit: the memory of what was loaded, the table's state, and each job's own event.
    async fn note_staged(
        &self,
        jobs: &mut [Job],
        members: Vec<Member>,
        done: Committed,
        entity: &Entity,
    ) -> Result<(), Halt> {
        let records = members.iter().map(|member| &jobs[member.at].record);
        let loads: Vec<_> = records.map(|record| (record, &record.loads[0])).collect();
        self.spool.remember_all_loaded(&loads)?;
        let txns: Vec<_> = members.iter().map(|member| jobs[member.at].txn(0)).collect();
        if let Some((_, load)) = loads.first() {
            self.put_staged_state_of(load, &txns, entity).await?;
        }
        tracing::info!(
            jobs = members.len(),
            rows = done.rows,
            version = done.version,
            "jobs staged together"
        );
        let mut staged: BTreeMap<usize, Staged> =
            members.into_iter().map(|member| (member.at, member.staged)).collect();
        let jobs = jobs.iter_mut().enumerate().filter_map(|(at, job)| Some((job, staged.remove(&at)?)));
        let noted = together(jobs.collect(), |(job, mut staged)| {
            staged.version = done.version;
            tracing::info!(job = %job.record.job, sheet = staged.sheet, rows = staged.rows, version = staged.version, "rows staged");
            self.note(job, 0, Event::Staged(staged))
        });
        noted.into_iter().collect()
    }

    /// Reads a small workbook to its end, so that one that breaks off leaves nothing behind in the commit of others.
    async fn read_whole(&self, source: Source, existing: Vec<StagedColumn>) -> Result<Read, Unstaged> {
        match self.read_as(&source, &existing, None).await {
            Err(Unstaged::Retyped(kinds)) => self.read_as(&source, &existing, Some(kinds)).await,
            read => read,
        }
    }

    async fn read_as(
        &self,
        source: &Source,
        existing: &[StagedColumn],
        kinds: Option<ColumnKinds>,
    ) -> Result<Read, Unstaged> {
        let Source { path, name, load } = source;
        let (file, _) = open_dropped(path)?;
        let mut sheet = self.open_sheet_beside(file, name, load, kinds, existing).await?;
        let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while let Some(batch) = self.next_batch(&mut sheet.reading).await? {
            rows += batch.num_rows() as u64;
            bytes += batch_bytes(&batch);
            self.check_atomic(load, &sheet.entity, rows).await?;
            if bytes > GROUP_WORKBOOK_ARROW_BYTES_MAX || rows > GROUP_ROWS_MAX {
                return Ok(Read::TooLarge);
            }
            batches.push(batch);
        }
        let summary = sheet.reading.summary().cloned();
        Ok(Read::Whole(Whole { header: sheet.header, entity: sheet.entity, batches, rows, summary }))
    }
}

/// Whether the job is still to be read.
fn is_unread(job: &Job) -> bool {
    job.journal.state() == State::Claimed { part: 0 }
}

/// Whether there is anything to put together.
fn jobs_left(first: usize, jobs: usize) -> bool {
    jobs.saturating_sub(first) > 1
}

/// Whether a sheet that was typed by its own cells has the types that the table asks for.
fn agree(columns: &[StagedColumn], existing: &[StagedColumn]) -> bool {
    let known: BTreeMap<String, _> = existing.iter().map(|c| (c.name.to_lowercase(), c.kind)).collect();
    columns
        .iter()
        .all(|column| known.get(&column.name.to_lowercase()).is_none_or(|kind| *kind == column.kind))
}

/// What a reader needs to know of a job.
struct Source {
    path: PathBuf,
    name: String,
    load: LoadSettings,
}

impl Source {
    fn of(job: &Job) -> Self {
        Source {
            path: job.dir.workbook(&job.record),
            name: job.record.workbook.clone(),
            load: job.record.loads[0].clone(),
        }
    }
}

/// Workbooks that are being read before their turn.
#[derive(Default)]
struct Ahead {
    begun: usize,
    reading: JoinSet<(usize, Result<Read, Unstaged>)>,
    read: BTreeMap<usize, Result<Read, Unstaged>>,
}

impl Ahead {
    fn begin(&mut self, pipeline: &Pipeline, at: usize, job: &Job, existing: &[StagedColumn]) {
        self.begun = at + 1;
        if is_unread(job) {
            let (pipeline, source, existing) = (pipeline.clone(), Source::of(job), existing.to_vec());
            self.reading.spawn(async move { (at, pipeline.read_whole(source, existing).await) });
        }
    }

    /// Waits for the workbook of a place; it must have begun.
    async fn take(&mut self, at: usize) -> Result<Read, Unstaged> {
        loop {
            if let Some(read) = self.read.remove(&at) {
                return read;
            }
            match self.reading.join_next().await.expect("what is taken has begun") {
                Ok((place, read)) => drop(self.read.insert(place, read)),
                Err(join) => std::panic::resume_unwind(join.into_panic()),
            }
        }
    }
}
