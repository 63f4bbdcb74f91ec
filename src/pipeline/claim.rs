//! claim: ready workbooks become jobs. The rename of a workbook is its commit point; before it, nothing happened.

mod sidecars;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::brought::Brought;
use super::early::EarlyRead;
use super::settle::{Ready, hex};
use super::{Halt, Pipeline};
use crate::domain::job::{JobId, JobSeq};
use crate::domain::lifecycle::{Event, State};
use crate::io::durable::{self, DiskError, doing, together};
use crate::io::journal::Journal;
use crate::io::spool::entry::open_dropped;
use crate::io::spool::job_dir::{JobDir, JobRecord};
use crate::io::spool::names::shown;

/// Workbooks that are claimed together at most.
pub const CLAIMS_TOGETHER_MAX: usize = 32;

/// A job with its folder and journal open.
pub struct Job {
    /// What was decided with the claim.
    pub record: JobRecord,
    /// Its folder.
    pub dir: JobDir,
    /// What happened to it.
    pub journal: Journal,
}

/// A workbook that was looked into.
pub struct Known {
    ready: Ready,
    sha256: [u8; 32],
    brought: Brought,
    early: Option<EarlyRead>,
}

/// A claim on its way.
enum Claiming {
    Begun(Begun),
    Ended(Result<Claim, Halt>),
}

/// A claim that has its folder, and later its `job.json` and its workbook.
struct Begun {
    from: PathBuf,
    record: JobRecord,
    dir: JobDir,
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
    /// Looks into a workbook that is about to be claimed: its bytes, and whether DDU gave it back. `None` when it
    /// changed since it was found ready. Nothing is touched, so several can be looked into at once.
    ///
    /// # Errors
    /// When the disk refuses or the reader cannot be started.
    pub async fn look_into(&self, ready: Ready) -> Result<Option<Known>, Halt> {
        let from = self.spool.root().join(&ready.name);
        let (file, stat) = match open_dropped(&from) {
            Err(error) if error.is_missing() => return Ok(None),
            opened => opened?,
        };
        if !stat.same_content(&ready.stat) {
            return Ok(None);
        }
        let (file, sha256) = on_disk(move || hash(file, &from)).await?;
        let (brought, early) = self.brought_by(&ready, file).await?;
        Ok(Some(Known { ready, sha256, brought, early }))
    }

    /// Takes workbooks out of the dropbox, in their order, and says of each what became of it. Each step is done for all
    /// of them before the next one begins, so that they share their waits for the disk.
    ///
    /// An error means that the disk refused or the reader could not be started; that workbook lies in the dropbox as before.
    pub async fn claim(&self, mut known: Vec<Known>) -> Vec<Result<Claim, Halt>> {
        let early: Vec<_> = known.iter_mut().map(|known| known.early.take()).collect();
        let pipeline = self.clone();
        let claims = on_disk(move || pipeline.claim_together(known)).await;
        for (claim, early) in claims.iter().zip(early) {
            if let (Ok(Claim::Taken(record)), Some(early)) = (claim, early) {
                self.early.keep(&record.job, early);
            }
        }
        claims
    }

    fn claim_together(&self, known: Vec<Known>) -> Vec<Result<Claim, Halt>> {
        let numbering = self.spool.numbering();
        let mut claims: Vec<Claiming> = self.begin_records(known);
        // `job.json` of each, then the folders that hold them: both must outlive what follows.
        step(&mut claims, |begun| {
            let made = begun.dir.begin(&begun.record);
            made.err().map(|error| self.undone(begun, error.into()))
        });
        for_all(
            &mut claims,
            || durable::sync_dir(&self.spool.work()),
            |begun, error| self.undone(begun, error.into()),
        );
        drop(numbering);
        for claiming in &mut claims {
            if let Claiming::Begun(begun) = claiming
                && let Some(end) = self.take(begun)
            {
                *claiming = Claiming::Ended(end);
            }
        }
        let begun = claims.iter().filter_map(|claiming| match claiming {
            Claiming::Begun(begun) => Some((begun.record.clone(), begun.dir.clone())),
            Claiming::Ended(_) => None,
        });
        let mut finished = self.finish_claims(begun.collect()).into_iter();
        let end = |claiming| match claiming {
            Claiming::Ended(end) => end,
            Claiming::Begun(begun) => match finished.next().expect("one answer a claim") {
                Ok(Some(job)) => Ok(Claim::Taken(job.record)),
                Ok(None) => Ok(Claim::Changed),
                Err(halt) => Ok(Claim::Unfinished(begun.record, halt)),
            },
        };
        claims.into_iter().map(end).collect()
    }

    /// Decides what each job is, and makes its folder: a further job of the same bytes must see that its name is taken.
    fn begin_records(&self, known: Vec<Known>) -> Vec<Claiming> {
        let mut stands = HashMap::new();
        let mut is_as_found = |ready: &Ready| {
            self.settings_stand(ready, stands.entry(ready.sidecar.clone().map(|(path, _)| path)))
        };
        let as_found: Vec<bool> = known.iter().map(|known| is_as_found(&known.ready)).collect();
        let count = as_found.iter().filter(|stand| **stand).count();
        let mut seq = match count {
            0 => None,
            // Where this fails, each of them asks for itself and hears why.
            count => self.spool.next_seqs((self.now)(), count).ok(),
        };
        let mut begin = |known: &Known| -> Result<Begun, Halt> {
            let own = match seq {
                Some(own) => own,
                None => self.spool.next_seqs((self.now)(), 1)?,
            };
            seq = seq.map(|own| JobSeq(own.0 + 1));
            let record = self.new_record(known, own);
            let dir = self.spool.job_dir(&record.job);
            durable::create_dir_unlisted(dir.path())?;
            Ok(Begun { from: self.spool.root().join(&known.ready.name), record, dir })
        };
        let claiming = |(known, as_found): (&Known, &bool)| match as_found.then(|| begin(known)) {
            None => Claiming::Ended(Ok(Claim::Changed)),
            Some(Ok(begun)) => Claiming::Begun(begun),
            Some(Err(halt)) => Claiming::Ended(Err(halt)),
        };
        known.iter().zip(&as_found).map(claiming).collect()
    }

    /// Moves the workbook into its job's folder, or says how the claim has ended.
    fn take(&self, begun: &Begun) -> Option<Result<Claim, Halt>> {
        let to = begun.dir.workbook(&begun.record);
        let error = durable::rename_noreplace_unlisted(&begun.from, &to).err()?;
        Some(match is_there(&to) {
            Err(error) => Err(error.into()),
            Ok(true) => Ok(Claim::Unfinished(begun.record.clone(), error.into())),
            Ok(false) => {
                let gone = error.is_missing() && begun.dir.path().parent().is_some_and(Path::is_dir);
                match self.undone(begun, error.into()) {
                    Err(_) if gone => Ok(Claim::Changed),
                    end => end,
                }
            }
        })
    }

    /// Nothing happened; every further try takes a folder of its own, so this one must not stay.
    fn undone(&self, begun: &Begun, halt: Halt) -> Result<Claim, Halt> {
        begun.dir.remove_unclaimed()?;
        Err(halt)
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
                let pipeline = self.clone();
                let mut finished = on_disk(move || pipeline.finish_claims(vec![(record, dir)])).await;
                return finished.pop().expect("one answer a claim");
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

    /// Carries claims to their end whose workbooks stand in their folders; `None` for one that changed on its way.
    fn finish_claims(&self, claims: Vec<(JobRecord, JobDir)>) -> Vec<Result<Option<Job>, Halt>> {
        // A journal that is new makes its folder durable, and with it the workbook that has moved there; then the
        // dropbox, which the workbook has left.
        let opened = together(claims, |(record, dir)| {
            let journal = dir.journal(&record)?;
            Ok::<_, Halt>(Job { record, dir, journal })
        });
        let moved =
            |job: &Result<Job, Halt>| job.as_ref().is_ok_and(|job| job.journal.state() == State::Claiming);
        let left = !opened.iter().any(moved) || durable::sync_dir(self.spool.root()).is_ok();
        let opened = together(opened, |job| {
            let job = job?;
            if job.journal.state() != State::Claiming {
                return Ok::<_, Halt>((job, true));
            }
            if !left {
                // Each tries for itself and hears why.
                durable::sync_dir(self.spool.root())?;
            }
            let is_same = is_kept(&job)?;
            Ok((job, is_same))
        });
        let mut jobs: Vec<Result<Option<Job>, Halt>> = Vec::with_capacity(opened.len());
        for opened in opened {
            jobs.push(match opened {
                Ok((job, true)) => Ok(Some(job)),
                Ok((job, false)) => self.put_back(&job).map(|()| None),
                Err(halt) => Err(halt),
            });
        }
        self.take_sidecars(&mut jobs);
        together(jobs, |job| {
            let Some(mut job) = job? else { return Ok(None) };
            if job.journal.state() == State::Claiming {
                job.journal.append((self.now)(), &Event::Claimed)?;
                let record = &job.record;
                tracing::info!(job = %record.job, workbook = record.workbook, bytes = record.bytes, "workbook claimed");
            }
            Ok(Some(job))
        })
    }

    /// A writer that still held the file went on after the rename: what stands here is not what was looked at.
    fn put_back(&self, job: &Job) -> Result<(), Halt> {
        let Job { record, dir, .. } = job;
        tracing::warn!(job = %record.job, "the workbook changed while it was claimed; it settles again");
        let back = self.spool.root().join(record.workbook_name());
        durable::rename_noreplace(&dir.workbook(record), &back)?;
        Ok(dir.remove_unclaimed()?)
    }

    /// An id for a job of these bytes that no other has: two of them in one second would share it.
    pub(super) fn free_id(&self, mut at: jiff::Timestamp, sha256: &[u8; 32]) -> JobId {
        loop {
            let job = JobId::new(at, sha256);
            let taken = [self.spool.job_dir(&job), self.spool.archive_dir(&job)];
            if taken.iter().all(|dir| dir.path().symlink_metadata().is_err()) {
                return job;
            }
            at += jiff::SignedDuration::from_secs(1);
        }
    }

    fn new_record(&self, known: &Known, seq: JobSeq) -> JobRecord {
        let Known { ready, sha256, brought, .. } = known;
        let at = (self.now)();
        let job = self.free_id(at, sha256);
        let workbook = shown(&ready.name);
        let exact = ready.name.to_str().is_some_and(|name| name == workbook);
        let loads = brought.loads(ready.loads.clone());
        let returned = brought.returned.as_ref();
        let (heals, heals_workbook) = returned.map(|book| (book.job.clone(), book.workbook.clone())).unzip();
        JobRecord {
            job,
            seq,
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
            retry: None,
        }
    }
}

/// Whether the workbook in the job's folder is the one that was looked into; if so it is on the disk.
pub(super) fn is_kept(job: &Job) -> Result<bool, Halt> {
    let path = job.dir.workbook(&job.record);
    let (file, _) = open_dropped(&path)?;
    let (file, sha256) = hash(file, &path)?;
    // Whoever dropped it did not wait for the disk; from here on it is ours to keep.
    doing(file.sync_all(), "sync", &path)?;
    Ok(hex(&sha256) == job.record.sha256)
}

/// Does a step for every claim that still goes on; one that fails has ended.
fn step(claims: &mut [Claiming], work: impl Fn(&Begun) -> Option<Result<Claim, Halt>> + Sync) {
    let going = claims.iter_mut().filter(|claiming| matches!(claiming, Claiming::Begun(_)));
    together(going.collect(), |claiming| {
        if let Claiming::Begun(begun) = claiming
            && let Some(end) = work(begun)
        {
            *claiming = Claiming::Ended(end);
        }
    });
}

/// Does a step once for all claims that still go on. Where it fails, each of them tries for itself and hears why.
fn for_all(
    claims: &mut [Claiming],
    work: impl Fn() -> Result<(), DiskError>,
    end: impl Fn(&Begun, DiskError) -> Result<Claim, Halt>,
) {
    if work().is_ok() {
        return;
    }
    for claiming in claims {
        if let Claiming::Begun(begun) = claiming
            && let Err(error) = work()
        {
            *claiming = Claiming::Ended(end(begun, error));
        }
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
