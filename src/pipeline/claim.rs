//! claim: a ready workbook becomes a job. The rename of the workbook is the commit point; before it, nothing happened.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::brought::Brought;
use super::settle::{Ready, hex, taken_file, taken_workbooks};
use super::{Halt, Pipeline};
use crate::domain::job::JobId;
use crate::domain::lifecycle::{Event, State};
use crate::io::durable::{self, DiskError, doing};
use crate::io::journal::Journal;
use crate::io::spool::entry::open_dropped;
use crate::io::spool::job_dir::{JobDir, JobRecord};
use crate::io::spool::names::shown;

/// A job with its folder and journal open.
pub struct Job {
    /// What was decided with the claim.
    pub record: JobRecord,
    /// Its folder.
    pub dir: JobDir,
    /// What happened to it.
    pub journal: Journal,
}

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The workbook is a job.
    Taken(JobRecord),
    /// The workbook is a job, whose claim [`Pipeline::reclaim`] has to carry to its end; for now something is in the way.
    Unfinished(JobRecord, Halt),
    /// The workbook changed since it was looked at, lies in the dropbox and has to settle again.
    Changed,
}

impl Pipeline {
    /// Takes a workbook out of the dropbox.
    ///
    /// # Errors
    /// When the disk refuses or the reader cannot be started; the workbook lies in the dropbox as before.
    pub async fn claim(&self, ready: &Ready) -> Result<Claim, Halt> {
        let from = self.spool.root().join(&ready.name);
        let (file, stat) = match open_dropped(&from) {
            Err(error) if error.is_missing() => return Ok(Claim::Changed),
            opened => opened?,
        };
        if !stat.same_content(&ready.stat) {
            return Ok(Claim::Changed);
        }
        let (file, sha256) = on_disk(move || hash(file, &from)).await?;
        let brought = self.brought(&shown(&ready.name), file).await?;
        if !self.settings_stand(ready) {
            return Ok(Claim::Changed);
        }
        let record = self.new_record(ready, &sha256, brought)?;
        let dir = self.spool.job_dir(&record.job);
        dir.create(&record)?;
        let from = self.spool.root().join(&ready.name);
        let to = dir.workbook(&record);
        if let Err(error) = durable::rename_noreplace(&from, &to) {
            if is_there(&to)? {
                return Ok(Claim::Unfinished(record, error.into()));
            }
            // Nothing happened; every further try takes a folder of its own, so this one must not stay.
            dir.remove_unclaimed()?;
            return if error.is_missing() && dir.path().parent().is_some_and(Path::is_dir) {
                Ok(Claim::Changed)
            } else {
                Err(error.into())
            };
        }
        match self.finish_claim(record.clone(), dir).await {
            Ok(Some(job)) => Ok(Claim::Taken(job.record)),
            Ok(None) => Ok(Claim::Changed),
            Err(halt) => Ok(Claim::Unfinished(record, halt)),
        }
    }

    /// Carries a claim to its end that a crash may have cut short at any point; `None` when there was none yet.
    ///
    /// # Errors
    /// When the disk refuses or a file of ours is broken.
    pub async fn reclaim(&self, job: &JobId) -> Result<Option<Job>, Halt> {
        let dir = self.spool.job_dir(job);
        let record = dir.record()?;
        if let Some(record) = record {
            if is_there(&dir.workbook(&record))? {
                return self.finish_claim(record, dir).await;
            }
            let journal = dir.journal(&record)?;
            if journal.state() != State::Claiming {
                // Claimed, and the workbook has gone back to the sender already: giving back goes on from there.
                return Ok(Some(Job { record, dir, journal }));
            }
        }
        // The workbook never followed: it lies in the dropbox, and the claim never happened.
        dir.remove_unclaimed()?;
        Ok(None)
    }

    async fn finish_claim(&self, record: JobRecord, dir: JobDir) -> Result<Option<Job>, Halt> {
        let mut journal = dir.journal(&record)?;
        if journal.state() == State::Claiming {
            let path = dir.workbook(&record);
            let (file, _) = open_dropped(&path)?;
            let read_again = move || {
                let (file, sha256) = hash(file, &path)?;
                // Whoever dropped it did not wait for the disk; from here on it is ours to keep.
                doing(file.sync_all(), "sync", &path)?;
                Ok::<_, DiskError>(sha256)
            };
            let sha256 = on_disk(read_again).await?;
            if hex(&sha256) != record.sha256 {
                // A writer that still held the file went on after the rename: what stands here is not what was looked at.
                tracing::warn!(job = %record.job, "the workbook changed while it was claimed; it settles again");
                let back = self.spool.root().join(record.workbook_name());
                durable::rename_noreplace(&dir.workbook(&record), &back)?;
                dir.remove_unclaimed()?;
                return Ok(None);
            }
            self.take_sidecar(&record, &dir)?;
            journal.append((self.now)(), &Event::Claimed)?;
            tracing::info!(job = %record.job, workbook = record.workbook, bytes = record.bytes, "workbook claimed");
        }
        Ok(Some(Job { record, dir, journal }))
    }

    fn new_record(&self, ready: &Ready, sha256: &[u8; 32], brought: Brought) -> Result<JobRecord, Halt> {
        let mut at = (self.now)();
        // Two claims of the same bytes in one second would share an id.
        let job = loop {
            let job = JobId::new(at, sha256);
            let taken = [self.spool.job_dir(&job), self.spool.archive_dir(&job)];
            if taken.iter().all(|dir| dir.path().symlink_metadata().is_err()) {
                break job;
            }
            at += jiff::SignedDuration::from_secs(1);
        };
        let workbook = shown(&ready.name);
        let exact = ready.name.to_str().is_some_and(|name| name == workbook);
        let loads = brought.loads(ready.loads.clone());
        let (heals, heals_workbook) = brought.returned.map(|book| (book.job, book.workbook)).unzip();
        Ok(JobRecord {
            job,
            seq: self.spool.next_seq(at)?,
            claimed_at: at,
            workbook,
            workbook_bytes: (!exact).then(|| ready.name.as_encoded_bytes().to_vec()),
            sha256: hex(sha256),
            bytes: ready.stat.size,
            target: self.dynamics.target_id().to_owned(),
            database: self.settings.database.clone(),
            loads,
            sidecar: ready.sidecar.as_ref().map(|(_, origin)| origin.clone()),
            heals,
            heals_workbook,
        })
    }

    /// Whether the settings that the look found are still those that lie there: many workbooks may have been taken since.
    fn settings_stand(&self, ready: &Ready) -> bool {
        match &ready.sidecar {
            Some((path, origin)) => {
                std::fs::read(path).is_ok_and(|bytes| hex(&Sha256::digest(&bytes)) == origin.sha256)
            }
            None => {
                let own = format!("{}.json", shown(&ready.name));
                self.spool.root().join(own).symlink_metadata().is_err()
            }
        }
    }

    /// Moves the workbook's own sidecar after it; a shared one follows its last workbook.
    fn take_sidecar(&self, record: &JobRecord, dir: &JobDir) -> Result<(), Halt> {
        let Some(origin) = &record.sidecar else { return Ok(()) };
        let from = self.spool.root().join(&origin.file);
        let Ok(bytes) = std::fs::read(&from) else { return Ok(()) };
        if hex(&Sha256::digest(&bytes)) != origin.sha256 {
            // Another sidecar of the same name arrived in between; it is for the next workbook.
            return Ok(());
        }
        if origin.shared {
            let names = crate::config::parse_sidecar(&origin.file, &bytes)
                .map(|file| file.entries.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default();
            let ledger = taken_file(&self.spool, &origin.sha256);
            let mut taken = taken_workbooks(&self.spool, &origin.sha256);
            taken.insert(crate::config::fold_name(&record.workbook));
            if names.iter().any(|name| !taken.contains(name)) {
                durable::create_dir_all(&self.spool.work().join("shared"))?;
                let lines: Vec<String> = taken.into_iter().collect();
                durable::replace(&ledger, lines.join("\n").as_bytes())?;
                return Ok(());
            }
            let to = dir.sidecar(origin);
            if !is_there(&to)? {
                durable::rename_noreplace(&from, &to)?;
            }
            durable::remove(&ledger)?;
        } else {
            let to = dir.sidecar(origin);
            // Taken before a crash; what lies in the dropbox under its name is for the next workbook.
            if !is_there(&to)? {
                durable::rename_noreplace(&from, &to)?;
            }
        }
        Ok(())
    }
}

/// Whether something stands there; only a clear no counts as absence.
fn is_there(path: &Path) -> Result<bool, DiskError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(DiskError { doing: "look at", path: path.to_owned(), source }),
    }
}

/// Runs blocking work off the async threads.
pub(super) async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

/// The SHA-256 of a file from its beginning; the file is given back at its beginning.
fn hash(mut file: File, path: &Path) -> Result<(File, [u8; 32]), DiskError> {
    let mut hasher = Sha256::new();
    let mut block = vec![0u8; 1 << 20];
    loop {
        let read = doing(file.read(&mut block), "read", path)?;
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
    }
    doing(file.seek(SeekFrom::Start(0)), "seek in", path)?;
    Ok((file, hasher.finalize().into()))
}
