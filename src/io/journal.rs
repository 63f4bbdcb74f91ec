//! A job's journal: one fsynced JSON line per event, replayed at start-up, cut back to its last whole line after a crash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::durable::{DiskError, doing, open_appending};
use crate::domain::job::JobId;
use crate::domain::lifecycle::{BatchHeard, Event, IllegalTransition, SetAsideKind, Staged, State, advance};
use crate::domain::refusal::RefusedRow;

/// Longest journal line in bytes; a batch of 1000 rows refused for many reasons each stays far below.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

/// The journal cannot be written or cannot be trusted. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A line in the middle is not an event; the last line may be torn by a crash, an earlier one not.
    #[error("{}: line {line} is not an event: {what}; restore the file or set the job aside by hand", path.display())]
    Broken {
        /// The journal.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What the parser said.
        what: String,
    },
    /// An event that cannot follow what came before.
    #[error("{}: {source}", path.display())]
    Illegal {
        /// The journal.
        path: PathBuf,
        /// Which event met which state.
        #[source]
        source: IllegalTransition,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    #[serde(flatten)]
    event: Event,
}

/// Where a line stands in the file.
#[derive(Debug, Clone, Copy)]
struct LineRef {
    offset: u64,
    bytes: u64,
}

/// What the journal knows of one part of the job. Refused rows stay in the file and are read batch by batch.
#[derive(Debug, Default)]
pub struct PartLedger {
    /// The staging, once done.
    pub staged: Option<Staged>,
    /// Batches of the part, once preflight is through.
    pub batches: Option<u32>,
    /// Whether the batches are cut in an order of their own.
    pub ordered: bool,
    /// Entities whose absent records rows are written without, for now.
    pub without: Vec<String>,
    /// Rows that preflight held back.
    pub held_rows: u64,
    /// Rows that the target has.
    pub written_rows: u64,
    /// Rows that the target refused.
    pub refused_rows: u64,
    /// Records of the entity before the first batch; the outer `None` where nobody asked.
    pub counted: Option<Option<u64>>,
    /// Rows held back or refused that wait for records only.
    pub waiting_rows: u64,
    /// Rows refused that the target has, without a record that they point at.
    pub partly_rows: u64,
    held: BTreeMap<u32, LineRef>,
    heard: BTreeMap<u32, LineRef>,
    sent: BTreeMap<u32, u32>,
}

impl PartLedger {
    /// Whether the batch's outcome is known.
    pub fn is_heard(&self, batch: u32) -> bool {
        self.heard.contains_key(&batch)
    }

    /// Whether the outcome of any batch is known.
    pub fn heard_any(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Whether any batch left.
    pub fn sent_any(&self) -> bool {
        !self.sent.is_empty()
    }

    /// How often the batch left so far; more than zero and not heard means that its outcome is in doubt.
    pub fn attempts(&self, batch: u32) -> u32 {
        self.sent.get(&batch).copied().unwrap_or(0)
    }

    /// Batches that left and were not heard yet: nobody knows what became of them.
    pub fn in_doubt(&self) -> Vec<u32> {
        self.sent.keys().copied().filter(|batch| !self.heard.contains_key(batch)).collect()
    }

    /// Rows of the part that are neither written nor refused yet.
    pub fn pending_rows(&self) -> u64 {
        let rows = self.staged.as_ref().map_or(0, |staged| staged.rows);
        rows.saturating_sub(self.written_rows + self.refused_rows + self.held_rows)
    }
}

/// An open journal with what its lines add up to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    parts: u16,
    state: State,
    ledgers: Vec<PartLedger>,
    set_aside: Option<(SetAsideKind, String)>,
    retries: Vec<JobId>,
    retried_rows: u64,
    given_back: Option<String>,
}

impl Journal {
    /// Opens or creates the journal of a job of `parts` parts, and cuts off a last line that a crash tore.
    ///
    /// # Errors
    /// When the disk refuses, or a line other than the last is not an event in its place.
    pub fn open(path: &Path, parts: u16) -> Result<Self, JournalError> {
        let file = open_appending(path)?;
        let mut journal = Self::empty(path, file, parts);
        let whole = journal.replay()?;
        let found = doing(journal.file.metadata(), "look at", path)?.len();
        if whole < found {
            doing(journal.file.set_len(whole), "cut", path)?;
            doing(journal.file.sync_all(), "sync", path)?;
        }
        Ok(journal)
    }

    /// Reads a journal without changing it, for reports beside a running daemon.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn look(path: &Path, parts: u16) -> Result<Self, JournalError> {
        let file = doing(File::open(path), "open", path)?;
        let mut journal = Self::empty(path, file, parts);
        journal.replay()?;
        Ok(journal)
    }

    fn empty(path: &Path, file: File, parts: u16) -> Self {
        Journal {
            path: path.to_owned(),
            file,
            length: 0,
            parts,
            state: State::Claiming,
            ledgers: (0..parts).map(|_| PartLedger::default()).collect(),
            set_aside: None,
            retries: Vec::new(),
            retried_rows: 0,
            given_back: None,
        }
    }

    /// Where the job stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The ledger of a part.
    pub fn part(&self, part: u16) -> &PartLedger {
        &self.ledgers[usize::from(part)]
    }

    /// The ledgers of all parts, in order.
    pub fn ledgers(&self) -> &[PartLedger] {
        &self.ledgers
    }

    /// Why the workbook was put aside, if it was.
    pub fn set_aside(&self) -> Option<(SetAsideKind, &str)> {
        self.set_aside.as_ref().map(|(kind, reason)| (*kind, reason.as_str()))
    }

    /// The jobs that try again rows which waited for this one's.
    pub fn retries(&self) -> &[JobId] {
        &self.retries
    }

    /// Rows of this job itself among those that are tried again.
    pub fn retried_rows(&self) -> u64 {
        self.retried_rows
    }

    /// The name in `returned/` of what went back to the sender.
    pub fn given_back(&self) -> Option<&str> {
        self.given_back.as_deref()
    }

    /// Writes one event and waits for the disk; only then does it count.
    ///
    /// # Errors
    /// When the event cannot follow the state, or the disk refuses (the event has not happened then).
    pub fn append(&mut self, at: Timestamp, event: &Event) -> Result<(), JournalError> {
        let next = self.next(event)?;
        let mut bytes =
            serde_json::to_vec(&Line { at, event: event.clone() }).expect("an event is plain data");
        bytes.push(b'\n');
        let line = LineRef { offset: self.length, bytes: bytes.len() as u64 };
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Whatever part of the line arrived must not stand in front of the next one.
            doing(self.file.set_len(self.length), "cut", &self.path)?;
            return Err(DiskError { doing: "write", path: self.path.clone(), source }.into());
        }
        self.length += line.bytes;
        self.note(line, event.clone());
        self.state = next;
        Ok(())
    }

    /// The rows that preflight held back from a batch.
    ///
    /// # Errors
    /// When the line cannot be read again.
    pub fn held(&self, part: u16, batch: u32) -> Result<Vec<RefusedRow>, JournalError> {
        match self.part(part).held.get(&batch).map(|line| self.read(*line)).transpose()? {
            Some(Event::BatchHeld { refused, .. }) => Ok(refused),
            _ => Ok(Vec::new()),
        }
    }

    /// The outcome of a batch that was heard.
    ///
    /// # Errors
    /// When the line cannot be read again.
    pub fn heard(&self, part: u16, batch: u32) -> Result<Option<BatchHeard>, JournalError> {
        match self.part(part).heard.get(&batch).map(|line| self.read(*line)).transpose()? {
            Some(Event::BatchHeard(heard)) => Ok(Some(heard)),
            _ => Ok(None),
        }
    }

    fn next(&self, event: &Event) -> Result<State, JournalError> {
        advance(self.state, event, self.parts)
            .map_err(|source| JournalError::Illegal { path: self.path.clone(), source })
    }

    fn read(&self, line: LineRef) -> Result<Event, JournalError> {
        let mut file = &self.file;
        let mut bytes = vec![0; line.bytes as usize];
        doing(file.seek(SeekFrom::Start(line.offset)), "seek in", &self.path)?;
        doing(file.read_exact(&mut bytes), "read", &self.path)?;
        let broken = |error: serde_json::Error| JournalError::Broken {
            path: self.path.clone(),
            line: 0,
            what: error.to_string(),
        };
        Ok(serde_json::from_slice::<Line>(&bytes).map_err(broken)?.event)
    }

    /// Reads every whole line and returns how many bytes they take.
    fn replay(&mut self) -> Result<u64, JournalError> {
        let mut reader = BufReader::new(doing(self.file.try_clone(), "open", &self.path)?);
        doing(reader.seek(SeekFrom::Start(0)), "seek in", &self.path)?;
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
            let bytes = doing(read, "read", &self.path)? as u64;
            if bytes == LINE_BYTES_MAX && text.last() != Some(&b'\n') {
                let what = format!("it is longer than {LINE_BYTES_MAX} bytes");
                return Err(JournalError::Broken { path: self.path.clone(), line: number, what });
            }
            if bytes == 0 || text.last() != Some(&b'\n') {
                break;
            }
            let line: Line = match serde_json::from_slice(&text) {
                Ok(line) => line,
                Err(error) => {
                    // A crash can leave a last line of zeros with a line end from the page cache of another line.
                    if doing(reader.fill_buf(), "read", &self.path)?.is_empty() {
                        break;
                    }
                    let path = self.path.clone();
                    return Err(JournalError::Broken { path, line: number, what: error.to_string() });
                }
            };
            self.state = {
                let next = self.next(&line.event)?;
                self.note(LineRef { offset: self.length, bytes }, line.event);
                next
            };
            self.length += bytes;
        }
        Ok(self.length)
    }

    /// Adds an event to the ledger of the part that the state before it names.
    fn note(&mut self, line: LineRef, event: Event) {
        let part = match self.state {
            State::Claimed { part }
            | State::Staged { part }
            | State::Preflighted { part }
            | State::Migrated { part } => usize::from(part),
            State::Claiming | State::Recorded | State::Retrying | State::SetAside(_) | State::GivenBack => 0,
        };
        match event {
            Event::Claimed | Event::Recorded | Event::Migrated { .. } => {}
            Event::SetAside { kind, reason } => self.set_aside = Some((kind, reason)),
            Event::RetriesPlanned { retries, own_rows } => {
                (self.retries, self.retried_rows) = (retries, own_rows);
            }
            Event::GivenBack { file } => self.given_back = file,
            Event::Staged(staged) => self.ledgers[part].staged = Some(staged),
            Event::Preflighted { batches, ordered, without, .. } => {
                let ledger = &mut self.ledgers[part];
                ledger.batches = Some(batches);
                (ledger.ordered, ledger.without) = (ordered, without);
            }
            Event::Counted { records } => self.ledgers[part].counted = Some(records),
            Event::PreflightBegun => {
                self.ledgers[part].held.clear();
                self.ledgers[part].held_rows = 0;
                self.ledgers[part].waiting_rows = 0;
            }
            Event::BatchHeld { batch, refused } => {
                let ledger = &mut self.ledgers[part];
                ledger.held_rows += refused.len() as u64;
                ledger.waiting_rows += refused.iter().filter(|row| row.waits()).count() as u64;
                ledger.held.insert(batch, line);
            }
            Event::BatchSent { batch, attempt } => {
                self.ledgers[part].sent.insert(batch, attempt);
            }
            Event::BatchHeard(heard) => {
                let ledger = &mut self.ledgers[part];
                ledger.written_rows += u64::from(heard.written);
                ledger.refused_rows += heard.refused.len() as u64;
                ledger.waiting_rows += heard.refused.iter().filter(|row| row.waits()).count() as u64;
                ledger.partly_rows +=
                    heard.refused.iter().filter(|row| row.is_partly_written()).count() as u64;
                ledger.heard.insert(heard.batch, line);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::effect::{Effect, Effects, Written};

    fn at() -> Timestamp {
        "2026-11-22T14:03:20Z".parse().unwrap()
    }

    fn staged() -> Event {
        Event::Staged(Staged {
            sheet: "Sheet1".into(),
            version: 3,
            columns: vec![],
            rows: 10,
            healed: 0,
            rewritten: 0,
            left_behind: 0,
            notes: vec!["header found in row 4".into()],
        })
    }

    fn preflighted(batches: u32) -> Event {
        Event::Preflighted { batches, refused: 0, ordered: false, without: vec![] }
    }

    #[test]
    fn a_torn_last_line_never_happened_and_the_next_one_stands_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, 1).unwrap();
        journal.append(at(), &Event::Claimed).unwrap();
        journal.append(at(), &staged()).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for torn in [&whole[..whole.len() - 1], &whole[..whole.len() - 20]] {
            std::fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap()
                .write_all(torn)
                .unwrap();
            let mut journal = Journal::open(&path, 1).unwrap();
            assert_eq!(journal.state(), State::Claimed { part: 0 });
            journal.append(at(), &staged()).unwrap();
            assert_eq!(Journal::look(&path, 1).unwrap().state(), State::Staged { part: 0 });
        }
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named_and_nothing_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, 1).unwrap();
        journal.append(at(), &Event::Claimed).unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.splice(0..1, *b"x");
        text.extend_from_slice(b"{}\n");
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&text).unwrap();
        let error = Journal::open(&path, 1).unwrap_err();
        assert!(matches!(error, JournalError::Broken { line: 1, .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }

    #[test]
    fn a_journal_of_a_version_that_did_not_ask_what_was_created_still_replays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, 1).unwrap();
        for event in [Event::Claimed, staged(), preflighted(1)] {
            journal.append(at(), &event).unwrap();
        }
        journal.append(at(), &Event::BatchSent { batch: 0, attempt: 1 }).unwrap();
        let heard = r#"{"at":"2026-11-22T14:03:20Z","event":"batch_heard","batch":0,"attempt":1,"written":10,"refused":[],
            "took_ms":12,"heard_at":"2026-11-22T14:03:20Z","severity":"fine"}"#;
        let mut text = std::fs::read_to_string(&path).unwrap();
        text += &(heard.replace('\n', "") + "\n");
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        let journal = Journal::open(&path, 1).unwrap();
        assert_eq!(journal.heard(0, 0).unwrap().unwrap().effects, None);
    }

    #[test]
    fn the_outcome_of_a_batch_is_read_back_from_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, 1).unwrap();
        let mut effects = Effects::default();
        effects.note(3, Written { effect: Effect::Updated, record: Some(uuid::Uuid::nil()) });
        let heard = BatchHeard {
            batch: 0,
            attempt: 2,
            written: 7,
            effects: Some(effects),
            refused: vec![],
            made: vec![(3, "dataAreaId='usmf',Number='PO-1'".into())],
            took_ms: 12,
            heard_at: at(),
            error: None,
            cause: None,
            severity: crate::domain::refusal::Severity::Fine,
        };
        for event in [Event::Claimed, staged(), preflighted(2)] {
            journal.append(at(), &event).unwrap();
        }
        journal.append(at(), &Event::BatchSent { batch: 0, attempt: 1 }).unwrap();
        journal.append(at(), &Event::BatchHeard(heard.clone())).unwrap();
        journal.append(at(), &Event::BatchSent { batch: 1, attempt: 1 }).unwrap();
        let again = Journal::look(&path, 1).unwrap();
        let ledger = again.part(0);
        assert!(ledger.is_heard(0) && !ledger.is_heard(1));
        assert_eq!((ledger.attempts(1), ledger.pending_rows()), (1, 3));
        assert_eq!(again.heard(0, 0).unwrap(), Some(heard));
        assert!(journal.append(at(), &Event::Claimed).is_err());
    }
}
