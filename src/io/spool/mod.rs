//! The dropbox on disk: what lies in it, where a job's files live, and the one lock that says whose it is.

pub mod entry;
pub mod job_dir;
pub mod loaded;
pub mod names;
pub mod undo_dir;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::durable::{self, DiskError, doing};
use super::lock::{self, HeldLock, LockFault};
use crate::domain::job::{JobId, JobSeq};
use entry::{Entry, read_entry};
use job_dir::JobDir;

/// Files in the dropbox that one look takes in; the rest has its turn when these are gone.
pub const LOOK_ENTRIES_MAX: usize = 50_000;

/// The dropbox cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process works on this dropbox.
    #[error("the dropbox {} is in use by another ddu ({holder}); stop it, or give this one a dropbox of its own", path.display())]
    Held {
        /// The dropbox.
        path: PathBuf,
        /// What the other process wrote about itself.
        holder: String,
    },
    /// A file of ours does not read.
    #[error("{}: {what}; restore it, or move the folder away", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// The folders of one dropbox.
#[derive(Debug, Clone)]
pub struct Spool {
    root: PathBuf,
    numbering: Arc<Mutex<()>>,
    sharing: Arc<Mutex<()>>,
}

/// The right to be the only one of this process who does something; it ends when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _guard: MutexGuard<'a, ()>,
}

impl Spool {
    /// The dropbox at `root`, without touching the disk.
    pub fn at(root: &Path) -> Self {
        Spool { root: root.to_owned(), numbering: Arc::default(), sharing: Arc::default() }
    }

    /// Makes the folders that are missing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn prepare(&self) -> Result<(), SpoolError> {
        for folder in [self.work(), self.returned(), self.archive(), self.status()] {
            durable::create_dir_all(&folder)?;
        }
        Ok(())
    }

    /// Takes the dropbox for this process: the right to take files from it.
    ///
    /// # Errors
    /// `Held` when another process has it.
    pub fn lock(&self, now: Timestamp) -> Result<HeldLock, SpoolError> {
        lock::take(&self.lock_file(), now).map_err(|fault| match fault {
            LockFault::Held(holder) => SpoolError::Held { path: self.root.clone(), holder },
            LockFault::Disk(error) => error.into(),
        })
    }

    /// What the process that holds the dropbox wrote about itself, if one does.
    pub fn holder(&self) -> Option<String> {
        lock::holder(&self.lock_file())
    }

    fn lock_file(&self) -> PathBuf {
        self.work().join("lock")
    }

    /// The folder that people drop files into.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.work`: jobs in progress.
    pub fn work(&self) -> PathBuf {
        self.root.join(".work")
    }

    /// `returned`: workbooks for the sender to fix.
    pub fn returned(&self) -> PathBuf {
        self.root.join("returned")
    }

    /// `archive`: finished jobs, by day.
    pub fn archive(&self) -> PathBuf {
        self.root.join("archive")
    }

    /// `status`: one text per dropped file.
    pub fn status(&self) -> PathBuf {
        self.root.join("status")
    }

    /// What lies in the dropbox, in the order of names, our own folders left out.
    ///
    /// # Errors
    /// When the folder cannot be listed: it is gone, or its mount is.
    pub fn list(&self) -> Result<Vec<Entry>, SpoolError> {
        let ours = [".work", "returned", "archive", "status"];
        let listing = doing(std::fs::read_dir(&self.root), "list", &self.root)?;
        let mut entries = Vec::new();
        for found in listing.take(LOOK_ENTRIES_MAX) {
            let name = doing(found, "list", &self.root)?.file_name();
            if !ours.iter().any(|own| name == *own) {
                entries.extend(read_entry(&self.root, name));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The folder of a job in progress.
    pub fn job_dir(&self, job: &JobId) -> JobDir {
        JobDir::at(self.work().join(job.as_str()))
    }

    /// The folder of a job that is done.
    pub fn archive_dir(&self, job: &JobId) -> JobDir {
        let [year, month, day] = job.archive_day();
        JobDir::at(self.archive().join(year).join(month).join(day).join(job.as_str()))
    }

    /// The jobs in progress, by id.
    ///
    /// # Errors
    /// When `.work` cannot be listed.
    pub fn jobs(&self) -> Result<Vec<JobId>, SpoolError> {
        let work = self.work();
        let mut jobs = Vec::new();
        for found in doing(std::fs::read_dir(&work), "list", &work)? {
            let name = doing(found, "list", &work)?.file_name();
            jobs.extend(name.to_str().and_then(|name| JobId::try_from(name.to_owned()).ok()));
        }
        jobs.sort();
        Ok(jobs)
    }

    /// Waits until nobody else gives numbers. Whoever takes some holds it until their `job.json` are written, so that
    /// no job goes before one of a lower number that it does not see.
    pub fn numbering(&self) -> Turn<'_> {
        Turn { _guard: self.numbering.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Waits until nobody else notes which workbooks of a shared sidecar were taken: of two at once, one would be lost.
    pub fn sharing(&self) -> Turn<'_> {
        Turn { _guard: self.sharing.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// So many next numbers in the order of claims, the first of them. They are used up once `.work` is synced, which
    /// whoever claims with them does before a workbook moves.
    ///
    /// It is at least the milliseconds of `now`: a dropbox that is made anew beside an old lakehouse goes on above the
    /// numbers that its tables have seen.
    ///
    /// # Errors
    /// When the disk refuses, or the counter is not a number.
    pub fn next_seqs(&self, now: Timestamp, count: usize) -> Result<JobSeq, SpoolError> {
        let path = self.work().join("seq");
        let last: u64 = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| SpoolError::Broken {
                path: path.clone(),
                what: format!("`{}` is not a number", text.trim()),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(source) => return Err(DiskError { doing: "read", path, source }.into()),
        };
        let first = u64::try_from(now.as_millisecond()).unwrap_or(0).max(last + 1);
        let last = first + (count as u64).saturating_sub(1);
        durable::replace_unlisted(&path, last.to_string().as_bytes())?;
        Ok(JobSeq(first))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_hears_who_has_the_dropbox() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::at(dir.path());
        spool.prepare().unwrap();
        assert_eq!(spool.holder(), None);
        let now = Timestamp::UNIX_EPOCH;
        let lock = spool.lock(now).unwrap();
        let error = spool.lock(now).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        spool.lock(now).unwrap();
    }

    #[test]
    fn a_number_in_the_order_of_claims_is_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::at(dir.path());
        spool.prepare().unwrap();
        let now = Timestamp::from_millisecond(5_000).unwrap();
        assert_eq!(spool.next_seqs(now, 1).unwrap(), JobSeq(5_000));
        assert_eq!(spool.next_seqs(now, 3).unwrap(), JobSeq(5_001));
        assert_eq!(Spool::at(dir.path()).next_seqs(Timestamp::UNIX_EPOCH, 1).unwrap(), JobSeq(5_004));
    }
}
