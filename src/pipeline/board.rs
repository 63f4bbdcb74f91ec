//! What everything is doing right now, for people: one text per dropped file in `status/`, and the board that reports read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::report::{FileStatus, JobStatus};
use crate::domain::job::JobId;
use crate::io::durable::{remove, replace_lazily};
use crate::io::spool::Spool;
use crate::io::spool::names::status_name;

/// Pause between two writings of the board, and of the texts beside it, for each entry that it has: with many jobs it is
/// not all written anew at every step of each.
const PUBLISH_PAUSE_PER_ENTRY: Duration = Duration::from_millis(1);
/// The longest of those pauses.
const PUBLISH_PAUSE_MAX: Duration = Duration::from_millis(400);

/// What the running daemon lets other processes read: `.work/board.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Files that no job has claimed.
    pub dropbox: Vec<FileStatus>,
    /// Jobs in progress, by id.
    pub jobs: Vec<JobStatus>,
    /// What the operator should know of the target.
    #[serde(default)]
    pub target: Vec<String>,
}

/// The board. Its files can be made again at any time, so none of them is waited for.
#[derive(Debug)]
pub struct Board {
    status: PathBuf,
    snapshot: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    dropbox: Vec<FileStatus>,
    jobs: BTreeMap<JobId, JobStatus>,
    target: Vec<String>,
    texts: HashMap<String, String>,
    /// Texts that are not written yet, by the file that they speak of.
    unwritten: BTreeMap<String, String>,
    published: Option<Instant>,
    /// It shows more than was written.
    stale: bool,
}

impl Inner {
    /// How long the next writing waits.
    fn pause(&self) -> Duration {
        let entries = u32::try_from(self.jobs.len() + self.dropbox.len()).unwrap_or(u32::MAX);
        let pause = PUBLISH_PAUSE_PER_ENTRY.saturating_mul(entries).min(PUBLISH_PAUSE_MAX);
        self.published.map_or(Duration::ZERO, |at| pause.saturating_sub(at.elapsed()))
    }
}

impl Board {
    /// An empty board for a dropbox.
    pub fn new(spool: &Spool) -> Self {
        Board {
            status: spool.status(),
            snapshot: spool.work().join("board.json"),
            inner: Mutex::new(Inner::default()),
        }
    }

    /// What the last daemon on this dropbox showed.
    pub fn read(spool: &Spool) -> Option<Snapshot> {
        serde_json::from_slice(&std::fs::read(spool.work().join("board.json")).ok()?).ok()
    }

    /// What it shows now.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        Snapshot {
            dropbox: inner.dropbox.clone(),
            jobs: inner.jobs.values().cloned().collect(),
            target: inner.target.clone(),
        }
    }

    /// Shows what the operator should know of the target.
    pub fn show_target(&self, target: Vec<String>) {
        let mut inner = self.inner();
        if inner.target != target {
            inner.target = target;
            self.publish(&mut inner);
        }
    }

    /// Shows what the files in the dropbox wait for.
    pub fn show_dropbox(&self, standing: Vec<FileStatus>, now: Timestamp) {
        let mut inner = self.inner();
        if inner.dropbox == standing {
            return;
        }
        for file in &standing {
            if file.state != "ignored" {
                let waiting = file.waiting_for.as_deref().unwrap_or("its turn");
                self.write(&mut inner, &file.file, now, &format!("{}: waiting for {waiting}", file.state));
            }
        }
        let here: HashSet<&str> = (standing.iter().map(|file| file.file.as_str()))
            .chain(inner.jobs.values().map(|job| job.workbook.as_str()))
            .collect();
        let gone: Vec<String> = (inner.dropbox.iter().map(|file| &file.file))
            .filter(|file| !here.contains(file.as_str()))
            .cloned()
            .collect();
        for file in gone {
            // Taken along by its workbook, or taken away by a person: there is nothing left to tell.
            inner.texts.remove(&file);
            inner.unwritten.remove(&file);
            if let Err(error) = remove(&self.status.join(status_name(&file))) {
                tracing::warn!(file, error = %error.source, "status text not removed");
            }
        }
        inner.dropbox = standing;
        self.publish(&mut inner);
    }

    /// Shows where a job stands; `text` is for the sender.
    pub fn show_job(&self, job: JobStatus, now: Timestamp, text: &str) {
        let mut inner = self.inner();
        self.write(&mut inner, &job.workbook, now, &format!("{text}\njob {}", job.job));
        inner.jobs.insert(job.job.clone(), job);
        self.publish(&mut inner);
    }

    /// Shows that a job waits for its turn, unless more is known of it.
    pub fn show_turn(&self, job: JobStatus, now: Timestamp) {
        let known = {
            let mut inner = self.inner();
            // From now on the text beside the dropbox is about the job, and its end must not be cleared away.
            inner.dropbox.retain(|file| file.file != job.workbook);
            inner.jobs.contains_key(&job.job)
        };
        if !known {
            self.show_job(job, now, "waiting for its turn");
        }
    }

    /// Shows that a job waits for something that passes by itself.
    pub fn show_waiting(&self, job: &JobId, waiting_for: String) {
        let mut inner = self.inner();
        if let Some(status) = inner.jobs.get_mut(job) {
            status.waiting_for = Some(waiting_for);
        }
        self.publish(&mut inner);
    }

    /// Shows how a job ended and takes it off the board.
    pub fn show_end(&self, job: &JobId, workbook: &str, now: Timestamp, text: &str) {
        let mut inner = self.inner();
        self.write(&mut inner, workbook, now, &format!("{text}\njob {job}"));
        // Nobody will say it again if this process dies before the board is written next.
        if let Some(stamped) = inner.unwritten.remove(workbook) {
            self.write_text(workbook, &stamped);
        }
        inner.texts.remove(workbook);
        inner.jobs.remove(job);
        self.publish(&mut inner);
    }

    /// Takes a job off the board that turned out to be none.
    pub fn forget(&self, job: &JobId) {
        let mut inner = self.inner();
        inner.jobs.remove(job);
        self.publish(&mut inner);
    }

    /// Puts what it shows in the place of what an earlier daemon left.
    pub fn publish_anew(&self) {
        let mut inner = self.inner();
        inner.published = None;
        self.publish(&mut inner);
    }

    /// Writes what was put off, if its time has come; says how long it still waits otherwise.
    pub fn catch_up(&self) -> Option<Duration> {
        let mut inner = self.inner();
        if inner.stale {
            self.publish(&mut inner);
        }
        inner.stale.then(|| inner.pause())
    }

    /// Shows a text, now or when the board is written next.
    fn write(&self, inner: &mut Inner, file: &str, now: Timestamp, text: &str) {
        if inner.texts.get(file).is_some_and(|shown| shown == text) {
            return;
        }
        let stamped = format!("{file}\n{}\n{text}\n", now.strftime("%Y-%m-%d %H:%M:%S UTC"));
        inner.unwritten.insert(file.to_owned(), stamped);
        inner.texts.insert(file.to_owned(), text.to_owned());
    }

    fn write_text(&self, file: &str, stamped: &str) {
        if let Err(error) = replace_lazily(&self.status.join(status_name(file)), stamped.as_bytes()) {
            // The status is a service; work goes on without it.
            tracing::warn!(file, error = %error.source, "status text not written");
        }
    }

    fn publish(&self, inner: &mut Inner) {
        inner.stale = !inner.pause().is_zero();
        if inner.stale {
            return;
        }
        inner.published = Some(Instant::now());
        for (file, stamped) in std::mem::take(&mut inner.unwritten) {
            self.write_text(&file, &stamped);
        }
        let snapshot = Snapshot {
            dropbox: inner.dropbox.clone(),
            jobs: inner.jobs.values().cloned().collect(),
            target: inner.target.clone(),
        };
        let text = serde_json::to_vec(&snapshot).expect("a snapshot is plain data");
        if let Err(error) = replace_lazily(&self.snapshot, &text) {
            tracing::warn!(error = %error.source, "board not written");
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves at worst an old text; showing it beats showing nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
