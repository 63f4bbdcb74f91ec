//! What everything is doing right now, for people: one text per dropped file in `status/`, and the board that reports read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::report::{FileStatus, JobStatus};
use crate::domain::job::JobId;
use crate::io::durable::{remove, replace_lazily};
use crate::io::spool::Spool;
use crate::io::spool::names::status_name;

/// What the running daemon lets other processes read: `.work/board.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Files that no job has claimed.
    pub dropbox: Vec<FileStatus>,
    /// Jobs in progress, by id.
    pub jobs: Vec<JobStatus>,
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
    texts: HashMap<String, String>,
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
        Snapshot { dropbox: inner.dropbox.clone(), jobs: inner.jobs.values().cloned().collect() }
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
            if let Err(error) = remove(&self.status.join(status_name(&file))) {
                tracing::warn!(file, error = %error.source, "status text not removed");
            }
        }
        inner.dropbox = standing;
        self.publish(&inner);
    }

    /// Shows where a job stands; `text` is for the sender.
    pub fn show_job(&self, job: JobStatus, now: Timestamp, text: &str) {
        let mut inner = self.inner();
        self.write(&mut inner, &job.workbook, now, &format!("{text}\njob {}", job.job));
        inner.jobs.insert(job.job.clone(), job);
        self.publish(&inner);
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
        self.publish(&inner);
    }

    /// Shows how a job ended and takes it off the board.
    pub fn show_end(&self, job: &JobId, workbook: &str, now: Timestamp, text: &str) {
        let mut inner = self.inner();
        self.write(&mut inner, workbook, now, &format!("{text}\njob {job}"));
        inner.texts.remove(workbook);
        inner.jobs.remove(job);
        self.publish(&inner);
    }

    /// Takes a job off the board that turned out to be none.
    pub fn forget(&self, job: &JobId) {
        let mut inner = self.inner();
        inner.jobs.remove(job);
        self.publish(&inner);
    }

    /// Puts what it shows in the place of what an earlier daemon left.
    pub fn publish_anew(&self) {
        self.publish(&self.inner());
    }

    fn write(&self, inner: &mut Inner, file: &str, now: Timestamp, text: &str) {
        if inner.texts.get(file).is_some_and(|shown| shown == text) {
            return;
        }
        let stamped = format!("{file}\n{}\n{text}\n", now.strftime("%Y-%m-%d %H:%M:%S UTC"));
        if let Err(error) = replace_lazily(&self.status.join(status_name(file)), stamped.as_bytes()) {
            // The status is a service; work goes on without it.
            tracing::warn!(file, error = %error.source, "status text not written");
        }
        inner.texts.insert(file.to_owned(), text.to_owned());
    }

    fn publish(&self, inner: &Inner) {
        let snapshot =
            Snapshot { dropbox: inner.dropbox.clone(), jobs: inner.jobs.values().cloned().collect() };
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
