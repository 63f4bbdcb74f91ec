//! advance: from where a job's journal says it stands to its end; a fresh job and one found at start-up go the same way.

use super::claim::Job;
use super::report::JobStatus;
use super::{Halt, Pipeline, Seen};
use crate::domain::job::{JobId, TxnVersion};
use crate::domain::lifecycle::{Event, SetAsideKind, Staged, State};
use crate::io::delta::JobTxn;
use crate::io::dynamics::Waiting;
use crate::io::spool::job_dir::JobRecord;

/// How far jobs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the staged tables: `ddu ingest`.
    Staged,
    /// To the archive.
    Archived,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Every row is in the target.
    Written,
    /// Some rows are in quarantine, the others in the target.
    RowsLeft,
    /// The workbook went back as it was.
    Returned,
    /// A dry run: everything was checked, nothing was staged.
    Rehearsed,
    /// The same bytes were loaded before.
    Duplicate,
    /// The rows are staged and wait for `ddu migrate`.
    Staged,
}

impl Job {
    /// What staging came to; only asked in states that follow it.
    pub fn staged(&self, part: u16) -> Staged {
        self.journal
            .part(part)
            .staged
            .clone()
            .expect("the lifecycle stages a part before anything else is done with it")
    }

    /// The transaction of a part's commits.
    pub fn txn(&self, part: u16) -> JobTxn {
        JobTxn { job: self.record.job.clone(), version: TxnVersion::of(self.record.seq, part) }
    }

    fn part(&self) -> u16 {
        match self.journal.state() {
            State::Claimed { part }
            | State::Staged { part }
            | State::Preflighted { part }
            | State::Migrated { part } => part,
            State::Claiming | State::Recorded | State::Retrying | State::SetAside(_) | State::GivenBack => 0,
        }
    }

    /// The line of a report about this job.
    pub fn status(&self, waiting_for: Option<String>) -> JobStatus {
        JobStatus {
            job: self.record.job.clone(),
            workbook: self.record.workbook.clone(),
            table_name: self.record.loads[usize::from(self.part())].table_name.clone(),
            state: self.journal.state().as_str().to_owned(),
            waiting_for,
        }
    }
}

/// The line about a job that nobody works on; reports read its state from its journal.
fn at_rest(record: &JobRecord, waiting_for: String) -> JobStatus {
    JobStatus {
        job: record.job.clone(),
        workbook: record.workbook.clone(),
        table_name: record.loads[0].table_name.clone(),
        state: State::Claimed { part: 0 }.as_str().to_owned(),
        waiting_for: Some(waiting_for),
    }
}

impl Pipeline {
    /// Takes a job as far as wanted. Each round does what the state asks for and writes down what came of it.
    ///
    /// # Errors
    /// When the job cannot go on for now; it goes on from its journal at the next call.
    pub async fn advance(&self, job: &mut Job, until: Until) -> Result<Ended, Halt> {
        loop {
            if self.stop.is_cancelled() {
                return Err(Halt::Stopping);
            }
            let part = job.part();
            self.show_progress(job, part);
            let event = match job.journal.state() {
                State::Claiming => {
                    unreachable!("claim() and reclaim() give out jobs whose claim is complete")
                }
                State::Claimed { part } => self.unless_stopped(self.stage(job, part)).await?,
                // Also a job that died while it was migrated: what only stages sends nothing.
                State::Staged { .. } | State::Preflighted { .. } if until == Until::Staged => {
                    return Ok(Ended::Staged);
                }
                State::Staged { part } => {
                    self.parents_first(job, part).await?;
                    self.unless_stopped(self.preflight(job, part)).await?
                }
                State::Preflighted { part } => self.migrate(job, part).await?,
                State::Migrated { part } => self.record(job, part).await?,
                State::Recorded => match self.unless_stopped(self.plan_retries(job)).await? {
                    Some(event) => event,
                    None => self.give_back(job).await?,
                },
                State::Retrying => {
                    self.make_retries(job)?;
                    self.give_back(job).await?
                }
                State::SetAside(_) => self.give_back(job).await?,
                State::GivenBack => {
                    self.archive(job)?;
                    return Ok(self.show_end(job));
                }
            };
            self.note(job, part, event)?;
        }
    }

    /// Breaks a step off when the daemon drains: one that only reads from the target, and whose commits recognise
    /// themselves at the next try. A target that does not answer would otherwise hold up the end.
    async fn unless_stopped<T>(&self, step: impl Future<Output = Result<T, Halt>>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            done = step => done,
            () = self.stop.cancelled() => Err(Halt::Stopping),
        }
    }

    /// Writes an event into the job's journal; once it is on the disk, whoever counts events hears of it.
    pub(super) fn note(&self, job: &mut Job, part: u16, event: Event) -> Result<(), Halt> {
        job.journal.append((self.now)(), &event)?;
        (self.observe)(Seen::Event(&job.record.loads[usize::from(part)].table_name, &event));
        Ok(())
    }

    /// Shows on the board, and to the sender, how far the job has come.
    pub fn show_progress(&self, job: &Job, part: u16) {
        let load = &job.record.loads[usize::from(part)];
        let ledger = job.journal.part(part);
        let rows = ledger.staged.as_ref().map_or(0, |staged| staged.rows);
        let text = match job.journal.state() {
            State::Claiming | State::Claimed { .. } => {
                "reading: the workbook is being read and staged".to_owned()
            }
            State::Staged { .. } => format!("checking: {rows} rows are staged and held against the target"),
            State::Preflighted { .. } => {
                format!("migrating: {} of {rows} rows written to {}", ledger.written_rows, load.target_entity)
            }
            State::Migrated { .. } | State::Recorded | State::Retrying => {
                "finishing: the log is being written".to_owned()
            }
            State::SetAside(_) | State::GivenBack => "finishing: the workbook is being put aside".to_owned(),
        };
        self.board.show_job(job.status(None), (self.now)(), &text);
    }

    /// Shows that a job waits for its turn: fresh from the dropbox, or found at the start.
    pub fn show_turn(&self, record: &JobRecord) {
        self.board.show_turn(at_rest(record, "its turn".to_owned()), (self.now)());
    }

    /// Shows what a job waits for.
    pub fn show_halt(&self, record: &JobRecord, halt: &Halt) {
        let waiting_for = halt.waiting_for();
        let text = format!("waiting for {waiting_for}");
        self.board.show_job(at_rest(record, waiting_for), (self.now)(), &text);
    }

    /// Shows that a batch of the job waits for the target.
    pub(super) fn show_waiting(&self, job: &JobId, waiting: &Waiting) {
        (self.observe)(Seen::Waiting(waiting));
        let until = (self.now)() + waiting.pause;
        tracing::info!(job = %job, %until, reason = waiting.reason, "waiting for the target");
        let text = format!("Dynamics until {}: {}", until.strftime("%H:%M:%S UTC"), waiting.reason);
        self.board.show_waiting(job, text);
    }

    fn show_end(&self, job: &Job) -> Ended {
        let (ended, text) = match job.journal.set_aside() {
            Some((SetAsideKind::Duplicate, reason)) => (Ended::Duplicate, format!("duplicate: {reason}")),
            Some((SetAsideKind::Returned, reason)) => (
                Ended::Returned,
                format!(
                    "not loaded: {reason}\nyour file lies untouched in returned/{}; correct it and drop it again",
                    job.journal.given_back().unwrap_or("")
                ),
            ),
            Some((SetAsideKind::Rehearsed, reason)) => (Ended::Rehearsed, format!("checked: {reason}")),
            None => self.end_of_rows(job),
        };
        self.board.show_end(&job.record.job, &job.record.workbook, (self.now)(), &text);
        ended
    }

    /// What became of the rows.
    fn end_of_rows(&self, job: &Job) -> (Ended, String) {
        let retried = job.journal.retried_rows();
        let mut lines = Vec::new();
        if let Some(retry) = &job.record.retry {
            lines.push(format!(
                "tried again because {} were loaded (job {}); rows that are written now are not to be dropped once more",
                retry.entities.join(" and "),
                retry.landed
            ));
        }
        let (mut written_rows, mut refused_rows, mut refused_table) = (0, 0, None);
        for (load, ledger) in job.record.loads.iter().zip(job.journal.ledgers()) {
            let staged = ledger.staged.as_ref();
            let rows = staged.map_or(0, |staged| staged.rows);
            let refused = ledger.held_rows + ledger.refused_rows;
            written_rows += ledger.written_rows;
            refused_rows += refused;
            if refused > 0 {
                refused_table.get_or_insert(load.table_name.as_str());
            }
            let (written, entity, table) = (ledger.written_rows, &load.target_entity, &load.table_name);
            let line = format!("done: {written} of {rows} rows written to {entity} (table {table})");
            lines.push(if refused == 0 { line } else { format!("{line}, {refused} refused") });
            if rows > written + refused {
                lines.push("  the others were replaced by a later version before they were sent".to_owned());
            }
            if let Some(staged) = staged {
                lines.extend(staged.notes.iter().map(|note| format!("  {note}")));
                if staged.left_behind > 0 {
                    lines.push(format!(
                        "  {} records of the replaced version have no successor and stay in the target",
                        staged.left_behind
                    ));
                }
            }
        }
        if retried > 0 {
            let jobs: Vec<&str> = job.journal.retries().iter().map(JobId::as_str).collect();
            lines.push(format!(
                "{retried} of the refused rows are tried again by themselves (job {})",
                jobs.join(", ")
            ));
        }
        let atomic = job.record.loads.iter().any(|load| load.atomic);
        let waiting: u64 = job.journal.ledgers().iter().map(|part| part.waiting_rows).sum();
        if let Some(waiting) = waiting.checked_sub(retried).filter(|waiting| *waiting > 0 && !atomic) {
            let all = waiting == refused_rows - retried;
            let of =
                if all { "the refused rows".to_owned() } else { format!("{waiting} of the refused rows") };
            lines.push(format!(
                "{of} only wait for records that are not there: once these are loaded, they are tried again by themselves"
            ));
        }
        match job.journal.given_back() {
            Some(file) => {
                let mut line = format!(
                    "to do: open returned/{file}, correct the red cells, save it and drop it into this folder again"
                );
                if written_rows > 0 {
                    line.push_str("; do not drop the first workbook once more: its other rows are written");
                }
                lines.push(line);
            }
            None if refused_rows > retried => lines.push(format!(
                "the refused rows wait in quarantine; your operator writes them to a workbook to correct with \
                 `ddu quarantine export {} -o FILE.xlsx`",
                refused_table.unwrap_or_default()
            )),
            None => {}
        }
        (if refused_rows <= retried { Ended::Written } else { Ended::RowsLeft }, lines.join("\n"))
    }
}
