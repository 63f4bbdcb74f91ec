//! The folder of one job: workbook, sidecar, `job.json` and `journal.jsonl`, in progress under `.work`, then archived whole.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SpoolError;
use crate::domain::job::{JobId, JobSeq};
use crate::domain::settings::LoadSettings;
use crate::io::durable::{self, DiskError, doing};
use crate::io::journal::{Journal, JournalError};

/// `job.json`: what was decided with the claim and never changes after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The job.
    pub job: JobId,
    /// Its place in the order of claims.
    pub seq: JobSeq,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// The workbook's name as people see it.
    pub workbook: String,
    /// The name's bytes, where they are not UTF-8 or hold what people cannot see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workbook_bytes: Option<Vec<u8>>,
    /// SHA-256 of the workbook, in hex.
    pub sha256: String,
    /// Bytes of the workbook.
    pub bytes: u64,
    /// The target that row identities were made for.
    pub target: String,
    /// The database that its tables belong to.
    pub database: String,
    /// One load for each sheet, in order.
    pub loads: Vec<LoadSettings>,
    /// Where the settings came from, if not from the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarOrigin>,
    /// The job whose returned workbook this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heals: Option<String>,
    /// The name under which that workbook's rows were dropped first; their row numbers are those of that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heals_workbook: Option<String>,
    /// Why DDU made this workbook itself, of rows in quarantine; `None` for one that was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Rows in quarantine that are tried again because what they waited for has landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The job that wrote what they waited for.
    pub landed: JobId,
    /// The entities of it, by their names in the URL.
    pub entities: Vec<String>,
    /// The jobs that brought the rows last; one that another job has brought since is not touched.
    pub of: Vec<JobId>,
    /// Retries one after the other so far, this one included, each because of the one before.
    pub chain: u16,
}

/// The sidecar that a job's settings came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarOrigin {
    /// Its file name.
    pub file: String,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    /// Whether it may speak of other workbooks too.
    pub shared: bool,
}

impl JobRecord {
    /// How many sheets are loaded.
    pub fn parts(&self) -> u16 {
        u16::try_from(self.loads.len()).expect("claim refuses more than PARTS_MAX sheets")
    }

    /// The workbook that the rows stood in when they were dropped first.
    pub fn first_workbook(&self) -> &str {
        self.heals_workbook.as_deref().unwrap_or(&self.workbook)
    }

    /// The workbook's file name, byte for byte.
    pub fn workbook_name(&self) -> OsString {
        match &self.workbook_bytes {
            Some(bytes) => OsString::from_vec(bytes.clone()),
            None => OsString::from(&self.workbook),
        }
    }
}

/// A job's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDir {
    path: PathBuf,
}

impl JobDir {
    pub(super) fn at(path: PathBuf) -> Self {
        JobDir { path }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the workbook stands while the job has it.
    pub fn workbook(&self, record: &JobRecord) -> PathBuf {
        self.path.join(record.workbook_name())
    }

    /// A file of the job's own, for what a step has to put down for a while.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.path.join(format!(".scratch-{name}"))
    }

    /// Where the sidecar stands once the job has it; never in the place of a file of ours.
    pub fn sidecar(&self, origin: &SidecarOrigin) -> PathBuf {
        let ours = ["job.json", "journal.jsonl"].contains(&origin.file.to_lowercase().as_str());
        self.path.join(if ours { format!("sidecar-{}", origin.file) } else { origin.file.clone() })
    }

    /// Removes the folder of a claim that never happened: our own files, and the folder if nothing else is in it.
    ///
    /// # Errors
    /// When something else is in it, which is left there, or the disk refuses.
    pub fn remove_unclaimed(&self) -> Result<(), DiskError> {
        let listing = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            listing => doing(listing, "list", &self.path)?,
        };
        for entry in listing {
            let name = doing(entry, "list", &self.path)?.file_name();
            let bytes = name.as_encoded_bytes();
            let ours = [&b".scratch-"[..], b".ddu-tmp-"].iter().any(|start| bytes.starts_with(start));
            if ours || bytes == b"job.json" || bytes == b"journal.jsonl" {
                durable::remove(&self.path.join(name))?;
            }
        }
        durable::remove_dir(&self.path)
    }

    /// What steps have put down and not cleared away.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn scratch_files(&self) -> Result<Vec<PathBuf>, DiskError> {
        let listing = doing(std::fs::read_dir(&self.path), "list", &self.path)?;
        let mut found = Vec::new();
        for entry in listing {
            let name = doing(entry, "list", &self.path)?.file_name();
            if name.as_encoded_bytes().starts_with(b".scratch-") {
                found.push(self.path.join(name));
            }
        }
        Ok(found)
    }

    /// Writes `job.json` into the folder, which was made for it: the claim's first trace, void until the workbook follows.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(&self, record: &JobRecord) -> Result<(), DiskError> {
        let text = serde_json::to_vec_pretty(record).expect("a job record is plain data");
        durable::replace(&self.path.join("job.json"), &text)
    }

    /// Reads `job.json`; `None` where a crash came before it.
    ///
    /// # Errors
    /// When it does not read.
    pub fn record(&self) -> Result<Option<JobRecord>, SpoolError> {
        let path = self.path.join("job.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DiskError { doing: "read", path, source }.into()),
        };
        let record = serde_json::from_slice(&text)
            .map_err(|error| SpoolError::Broken { path, what: error.to_string() })?;
        Ok(Some(record))
    }

    /// Reads `job.json` of a job whose workbook has followed.
    ///
    /// # Errors
    /// When it does not read.
    pub fn claimed(&self) -> Result<Option<JobRecord>, SpoolError> {
        Ok(self.record()?.filter(|record| self.workbook(record).symlink_metadata().is_ok()))
    }

    /// Opens the journal for writing.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn journal(&self, record: &JobRecord) -> Result<Journal, JournalError> {
        Journal::open(&self.path.join("journal.jsonl"), record.parts())
    }

    /// Reads the journal, changing nothing.
    ///
    /// # Errors
    /// As [`Journal::look`].
    pub fn journal_for_reading(&self, record: &JobRecord) -> Result<Journal, JournalError> {
        Journal::look(&self.path.join("journal.jsonl"), record.parts())
    }
}
