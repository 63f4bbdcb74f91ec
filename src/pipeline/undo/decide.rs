//! Whether a record may be deleted: it is as our jobs wrote it last, and no other job of ours has to be undone first.

use std::collections::{HashMap, HashSet};

use jiff::SignedDuration;

use super::survey::Doomed;
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::table::TableName;
use crate::io::dynamics::{Found, Sought};
use crate::io::spool::undo_dir::LeftRow;
use crate::pipeline::claim::Job;
use crate::pipeline::prove::{CLOCK_DOUBT, KEY_UNKNOWN, Sender};
use crate::pipeline::{Halt, Pipeline};

/// Records that are read, decided and deleted together.
const BATCH_ROWS: usize = 100;
/// Rows whose staged values are held at once; where there are more, the staged table is read several times.
const ROUND_ROWS: usize = 10_000;

/// What is to become of a record.
pub(super) enum Fate {
    /// It is deleted, if it still is this version.
    Delete(Option<String>),
    /// It is not there.
    Gone,
    /// It stays.
    Left(LeftRow),
}

/// A record with its fate.
pub(super) struct Decided {
    pub doomed: Doomed,
    pub fate: Fate,
}

/// Records on their way to their fates, batch by batch in their order.
pub(super) struct Deciding<'a> {
    pipeline: &'a Pipeline,
    job: &'a Job,
    table: &'a TableName,
    rest: std::vec::IntoIter<Doomed>,
    /// How many of the rest have their staged rows here.
    in_round: usize,
    columns: Vec<StagedColumn>,
    staged: HashMap<RowId, StagedRow>,
    sender: Option<Sender>,
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        job: &'a Job,
        table: &'a TableName,
        doomed: Vec<Doomed>,
    ) -> Self {
        let (columns, staged) = (Vec::new(), HashMap::new());
        Deciding {
            pipeline,
            job,
            table,
            rest: doomed.into_iter(),
            in_round: 0,
            columns,
            staged,
            sender: None,
        }
    }

    /// The next batch, and what its rows were sent with; `None` after the last.
    ///
    /// # Errors
    /// When the tables or the target cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<(&Sender, Vec<Decided>)>, Halt> {
        if self.in_round == 0 {
            self.begin_round().await?;
        }
        let Some(first) = self.rest.as_slice().first() else { return Ok(None) };
        // Rows that the table does not hold any more are known by their records alone; any plan of the entity will do.
        let row = self.staged.get(&first.row);
        let fits = self.sender.as_ref().is_some_and(|sender| row.is_none_or(|row| sender.sent(row)));
        if !fits {
            let row = row.cloned().unwrap_or_else(|| nameless(self.job, first.row));
            self.sender = self.pipeline.sender_of(self.table, &row, &self.columns).await?;
            if self.sender.is_none() {
                return Err(Halt::Wait {
                    waiting_for: format!(
                        "the operator: the folder of job {} is gone from the archive",
                        row.job
                    ),
                    retry: crate::pipeline::OPERATOR_WAIT,
                });
            }
        }
        let sender = self.sender.as_ref().expect("it was found above");
        let same = |doomed: &&Doomed| self.staged.get(&doomed.row).is_none_or(|row| sender.sent(row));
        let most = self.in_round.min(BATCH_ROWS);
        let count = self.rest.as_slice()[..most].iter().take_while(same).count();
        self.in_round -= count;
        let batch: Vec<Doomed> = self.rest.by_ref().take(count).collect();
        let rows = batch.iter().map(|doomed| self.staged.remove(&doomed.row)).collect();
        let decided = self.pipeline.decide(sender, batch, rows).await?;
        Ok(Some((sender, decided)))
    }

    /// Reads the staged rows of the records that come next.
    async fn begin_round(&mut self) -> Result<(), Halt> {
        self.in_round = self.rest.len().min(ROUND_ROWS);
        let lake = &self.pipeline.lake;
        let Some(version) = lake.staged_version(self.table).await?.filter(|_| self.in_round > 0) else {
            return Ok(());
        };
        let wanted: HashSet<RowId> =
            self.rest.as_slice()[..self.in_round].iter().map(|doomed| doomed.row).collect();
        let mut reader = lake.rows(self.table, version, None).await?;
        self.columns = reader.columns().to_vec();
        self.sender = None;
        while let Some(rows) = reader.next().await? {
            let wanted = rows.into_iter().filter(|row| wanted.contains(&row.id));
            self.staged.extend(wanted.map(|row| (row.id, row)));
        }
        Ok(())
    }
}

impl Pipeline {
    async fn decide(
        &self,
        sender: &Sender,
        batch: Vec<Doomed>,
        rows: Vec<Option<StagedRow>>,
    ) -> Result<Vec<Decided>, Halt> {
        let known: Vec<StagedRow> = rows.iter().flatten().cloned().collect();
        let mut sent = self.sent_as(sender, &known).await?.into_iter();
        let (mut decided, mut sought, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for (doomed, row) in batch.into_iter().zip(&rows) {
            let operation = row.as_ref().and_then(|_| sent.next()).and_then(Result::ok);
            let found = match &operation {
                Some(operation) => Sought::of(&sender.plan, operation, Some(&doomed.record)),
                None => Sought::record(&sender.plan, &doomed.record),
            };
            match found {
                Some(one) => {
                    sought.push(one);
                    asked.push((doomed, operation.is_some()));
                }
                None => {
                    let fate = Fate::Left(doomed.left(KEY_UNKNOWN.to_owned()));
                    decided.push(Decided { doomed, fate });
                }
            }
        }
        let read = self.dynamics.read_back(&sender.plan, &sought).await?;
        let ahead = read.clock.map_or(SignedDuration::ZERO, |clock| clock.duration_since((self.now)()));
        decided.extend(asked.into_iter().zip(read.found).map(|((doomed, comparable), found)| {
            let fate = fate(&doomed, found, comparable, ahead);
            Decided { doomed, fate }
        }));
        Ok(decided)
    }
}

/// `ahead` is how much the target's clock is ahead of ours.
fn fate(doomed: &Doomed, found: Option<Found>, comparable: bool, ahead: SignedDuration) -> Fate {
    let left = |reason: String| Fate::Left(doomed.left(reason));
    let Some(found) = found else { return Fate::Gone };
    if let Some(job) = &doomed.later_job {
        return left(format!("job {job} wrote it later; undo that job first"));
    }
    match found.modified {
        Some(at) if at > doomed.time + ahead + CLOCK_DOUBT => {
            return left(format!("it was changed in Dynamics at {}", at.strftime("%Y-%m-%d %H:%M:%S UTC")));
        }
        None if !comparable => {
            return left("nothing tells whether it was changed in Dynamics since".to_owned());
        }
        _ => {}
    }
    if let Some(first) = found.differences.first() {
        return left(format!(
            "it was changed in Dynamics: {} was `{}` and is `{}`",
            first.header, first.sent, first.found
        ));
    }
    Fate::Delete(found.etag)
}

/// A row of the job of which nothing else is known.
fn nameless(job: &Job, id: RowId) -> StagedRow {
    StagedRow { id, job: job.record.job.to_string(), sheet: String::new(), number: 0, values: Vec::new() }
}
