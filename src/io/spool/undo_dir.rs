//! The folder of an undo: `undo.json` and its journal, in progress under `.work`, then archived as evidence.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Spool, SpoolError};
use crate::domain::job::{JobId, JobSeq};
use crate::domain::row::RowId;
use crate::io::durable::{self, DiskError, doing};

/// What begins the name of an undo's folder in `.work`; the rest is the job that is undone.
const PREFIX: &str = "undo-";

/// `undo.json`: what was decided when the undo was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRecord {
    /// The undo, as the log and the archive name it.
    pub undo: JobId,
    /// The job that is undone.
    pub undoes: JobId,
    /// Its place in the order of claims.
    pub seq: JobSeq,
    /// When it was begun.
    pub begun_at: Timestamp,
}

/// A row whose record stays in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRow {
    /// The row.
    pub row: RowId,
    /// Its record.
    pub record: String,
    /// Why it stays, in a sentence.
    pub reason: String,
}

/// What happened to an undo; `table` is the place of the table among the job's, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum UndoEvent {
    /// Deletions are about to leave.
    BatchSent {
        /// The table.
        table: u16,
        /// How many.
        rows: u32,
    },
    /// What became of the rows of a batch.
    BatchHeard {
        /// The table.
        table: u16,
        /// Rows whose records are not in the target any more.
        deleted: Vec<RowId>,
        /// Rows whose records stay.
        left: Vec<LeftRow>,
    },
    /// Every row of the table was decided.
    Deleted {
        /// The table.
        table: u16,
    },
    /// The tables of the lakehouse say so.
    Recorded {
        /// The table.
        table: u16,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    #[serde(flatten)]
    event: UndoEvent,
}

/// An undo's folder, its journal open.
#[derive(Debug)]
pub struct Undo {
    /// What was decided.
    pub record: UndoRecord,
    path: PathBuf,
    journal: File,
    length: u64,
    tables: BTreeMap<u16, UndoLedger>,
}

/// What the journal knows of one table.
#[derive(Debug, Default)]
pub struct UndoLedger {
    /// Rows whose records are not in the target any more.
    pub deleted: HashSet<RowId>,
    /// Rows whose records stay.
    pub left: Vec<LeftRow>,
    /// Whether every row was decided.
    pub is_deleted: bool,
    /// Whether the lakehouse says so.
    pub is_recorded: bool,
}

impl Undo {
    /// What is known of a table.
    pub fn table(&mut self, table: u16) -> &UndoLedger {
        self.tables.entry(table).or_default()
    }

    /// The tables that the journal knows of.
    pub fn tables(&self) -> impl Iterator<Item = &UndoLedger> {
        self.tables.values()
    }

    /// Writes one event and waits for the disk; only then does it count.
    ///
    /// # Errors
    /// When the disk refuses; the event has not happened then.
    pub fn append(&mut self, at: Timestamp, event: UndoEvent) -> Result<(), SpoolError> {
        let path = self.path.join("journal.jsonl");
        let line = Line { at, event };
        let mut bytes = serde_json::to_vec(&line).expect("an event is plain data");
        bytes.push(b'\n');
        let written = self.journal.write_all(&bytes).and_then(|()| self.journal.sync_data());
        if let Err(source) = written {
            // Whatever part of the line arrived must not stand in front of the next one.
            doing(self.journal.set_len(self.length), "cut", &path)?;
            return Err(DiskError { doing: "write", path, source }.into());
        }
        self.length += bytes.len() as u64;
        self.note(line.event);
        Ok(())
    }

    fn note(&mut self, event: UndoEvent) {
        match event {
            UndoEvent::BatchSent { .. } => {}
            UndoEvent::BatchHeard { table, deleted, left } => {
                let ledger = self.tables.entry(table).or_default();
                ledger.deleted.extend(deleted);
                ledger.left.extend(left);
            }
            UndoEvent::Deleted { table } => self.tables.entry(table).or_default().is_deleted = true,
            UndoEvent::Recorded { table } => self.tables.entry(table).or_default().is_recorded = true,
        }
    }

    fn open(path: PathBuf, record: UndoRecord) -> Result<Self, SpoolError> {
        let file = path.join("journal.jsonl");
        let journal = durable::open_appending(&file)?;
        let text = doing(std::fs::read(&file), "read", &file)?;
        let mut undo = Undo { record, path, journal, length: 0, tables: BTreeMap::new() };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for (number, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let is_last = undo.length + line.len() as u64 == whole as u64;
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => undo.note(line.event),
                // A crash can leave a last line of zeros with a line end from the page cache of another line.
                Err(_) if is_last => break,
                Err(error) => {
                    let what = format!("line {} is not an event: {error}", number + 1);
                    return Err(SpoolError::Broken { path: file, what });
                }
            }
            undo.length += line.len() as u64;
        }
        if undo.length < text.len() as u64 {
            doing(undo.journal.set_len(undo.length), "cut", &file)?;
            doing(undo.journal.sync_all(), "sync", &file)?;
        }
        Ok(undo)
    }
}

impl Spool {
    /// The undo of a job that was begun and is not done.
    ///
    /// # Errors
    /// When the disk refuses or its files do not read.
    pub fn undo_begun(&self, job: &JobId) -> Result<Option<Undo>, SpoolError> {
        let path = self.undo_dir(job);
        match read_record(&path)? {
            Some(record) => Undo::open(path, record).map(Some),
            None => Ok(None),
        }
    }

    /// Begins an undo; nothing is deleted before this is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin_undo(&self, record: UndoRecord) -> Result<Undo, SpoolError> {
        let path = self.undo_dir(&record.undoes);
        durable::create_dir_all(&path)?;
        let text = serde_json::to_vec_pretty(&record).expect("an undo's record is plain data");
        durable::replace(&path.join("undo.json"), &text)?;
        Undo::open(path, record)
    }

    /// The jobs whose undo was begun and is not done.
    ///
    /// # Errors
    /// When `.work` cannot be listed.
    pub fn undos_begun(&self) -> Result<Vec<JobId>, SpoolError> {
        let work = self.work();
        let mut jobs = Vec::new();
        for found in doing(std::fs::read_dir(&work), "list", &work)? {
            let name = doing(found, "list", &work)?.file_name();
            let job = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            jobs.extend(job.and_then(|job| JobId::try_from(job.to_owned()).ok()));
        }
        jobs.sort();
        Ok(jobs)
    }

    /// Ends an undo: the job is known as undone, and the evidence moves to the archive.
    ///
    /// # Errors
    /// When the disk refuses; it is ended at the next try.
    pub fn end_undo(&self, undo: Undo) -> Result<PathBuf, SpoolError> {
        let done = self.work().join("undone");
        durable::create_dir_all(&done)?;
        durable::replace(&done.join(undo.record.undoes.as_str()), undo.record.undo.as_str().as_bytes())?;
        let to = self.archive_dir(&undo.record.undo);
        let day = to.path().parent().expect("an archived undo stands in the folder of its day");
        durable::create_dir_all(day)?;
        durable::rename_noreplace(&undo.path, to.path())?;
        Ok(to.path().to_owned())
    }

    /// Whether a job was undone: what it changed does not keep earlier jobs from being undone.
    pub fn is_undone(&self, job: &str) -> bool {
        self.work().join("undone").join(job).is_file()
    }

    /// The record of an undo in the archive.
    ///
    /// # Errors
    /// When the disk refuses or the file does not read.
    pub fn undo_archived(&self, undo: &JobId) -> Result<Option<UndoRecord>, SpoolError> {
        read_record(self.archive_dir(undo).path())
    }

    fn undo_dir(&self, job: &JobId) -> PathBuf {
        self.work().join(format!("{PREFIX}{job}"))
    }
}

fn read_record(folder: &Path) -> Result<Option<UndoRecord>, SpoolError> {
    let path = folder.join("undo.json");
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| SpoolError::Broken { path, what: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError { doing: "read", path, source }.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_never_happened_and_the_next_one_stands_whole() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::at(dir.path());
        spool.prepare().unwrap();
        let at: Timestamp = "2026-11-24T14:00:00Z".parse().unwrap();
        let job = |byte| JobId::new(at, &[byte; 32]);
        let record = UndoRecord { undo: job(2), undoes: job(1), seq: JobSeq(9), begun_at: at };
        let mut undo = spool.begin_undo(record.clone()).unwrap();
        let row = |number| RowId(uuid::Uuid::from_u128(number));
        let heard = |number| UndoEvent::BatchHeard { table: 0, deleted: vec![row(number)], left: vec![] };
        undo.append(at, heard(1)).unwrap();
        undo.append(at, heard(2)).unwrap();
        let file = dir.path().join(format!(".work/undo-{}/journal.jsonl", job(1)));
        let whole = std::fs::read(&file).unwrap();
        for torn in [&whole[..whole.len() - 1], &whole[..whole.len() - 30]] {
            let mut cut = std::fs::OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
            cut.write_all(torn).unwrap();
            let mut undo = spool.undo_begun(&job(1)).unwrap().unwrap();
            assert_eq!(undo.record, record);
            assert_eq!(undo.table(0).deleted, HashSet::from([row(1)]));
            undo.append(at, heard(3)).unwrap();
            let mut undo = spool.undo_begun(&job(1)).unwrap().unwrap();
            assert_eq!(undo.table(0).deleted, HashSet::from([row(1), row(3)]));
        }
        assert_eq!(spool.undos_begun().unwrap(), [job(1)]);
        assert!(spool.jobs().unwrap().is_empty(), "it is no workbook's job");
        spool.end_undo(spool.undo_begun(&job(1)).unwrap().unwrap()).unwrap();
        assert!(spool.is_undone(job(1).as_str()) && spool.undos_begun().unwrap().is_empty());
        assert_eq!(spool.undo_archived(&job(2)).unwrap(), Some(record));
    }
}
