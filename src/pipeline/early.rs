//! early: a small workbook is read right after it was looked into, by the same process. What came of it waits in memory
//! until the workbook is staged; where it does not fit any more, or was let go, the workbook is read once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deltalake::arrow::array::RecordBatch;

use super::Pipeline;
use super::read::hints;
use super::settle::Ready;
use crate::domain::job::JobId;
use crate::domain::row::StagedColumn;
use crate::io::delta::batch_bytes;
use crate::io::spool::names::shown;
use crate::io::workbook::{ReadRequest, ReadSummary, Reading, SheetHeader};

/// Largest workbook in bytes that is read early; of a larger one the start of a process is no cost to speak of.
const WORKBOOK_BYTES_MAX: u64 = 1 << 20;
/// Arrow bytes of one workbook that are kept: some thousand rows of a dozen columns. Up to 64 workbooks are looked into and
/// not claimed yet, so that these hold as much once more as those that are kept.
const KEPT_WORKBOOK_BYTES_MAX: usize = 512 << 10;
/// Arrow bytes of all workbooks that are kept; those beyond are read when they are staged.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// How long looking into a workbook waits for the target to say what its columns are.
const ENTITY_WAIT: Duration = Duration::from_millis(500);
/// After the target did not say so in time, nothing is read early for this long.
const REST: Duration = Duration::from_secs(10);

/// What was read early and is not staged yet.
#[derive(Default)]
pub struct EarlyReads {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    reads: HashMap<JobId, EarlyRead>,
    bytes: usize,
    not_before: Option<Instant>,
}

/// A sheet that was read to its end.
pub(super) struct EarlyRead {
    /// What its reader was asked.
    request: ReadRequest,
    header: SheetHeader,
    batches: Vec<RecordBatch>,
    summary: ReadSummary,
    bytes: usize,
}

impl EarlyRead {
    /// Whether a reader that is asked this would answer the same: nothing else is asked, and the types that are asked for now
    /// are those that the sheet's columns have anyhow.
    pub(super) fn answers(&self, request: &ReadRequest) -> bool {
        let then = &self.request.hints;
        let fits = |column: &StagedColumn| {
            let name = column.name.to_lowercase();
            let now = request.hints.get(&name);
            now == then.get(&name) || now == Some(&column.kind)
        };
        self.request == ReadRequest { hints: then.clone(), ..request.clone() }
            && self.header.columns.iter().all(fits)
    }

    /// The reading that it stands for.
    pub(super) fn reading(self) -> (Reading, SheetHeader) {
        (Reading::kept(self.batches, self.summary), self.header)
    }
}

impl EarlyReads {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was read for a job, as far as there is room.
    pub(super) fn keep(&self, job: &JobId, read: EarlyRead) {
        let mut kept = self.lock();
        if kept.bytes + read.bytes <= KEPT_BYTES_MAX {
            kept.bytes += read.bytes;
            kept.reads.insert(job.clone(), read);
        }
    }

    /// What was read for the job; it is kept no longer.
    pub(super) fn take(&self, job: &JobId) -> Option<EarlyRead> {
        let mut kept = self.lock();
        let read = kept.reads.remove(job)?;
        kept.bytes -= read.bytes;
        Some(read)
    }

    fn rests(&self) -> bool {
        self.lock().not_before.is_some_and(|until| until > Instant::now())
    }

    fn rest(&self) {
        self.lock().not_before = Some(Instant::now() + REST);
    }
}

impl Pipeline {
    /// What a reader is asked that reads this workbook early; `None` where it is read when it is staged.
    pub(super) async fn early_request(&self, ready: &Ready) -> Option<ReadRequest> {
        let [load] = ready.loads.as_slice() else { return None };
        let small = ready.stat.size <= WORKBOOK_BYTES_MAX;
        if !small || load.overwrite || load.dry_run || self.early.rests() {
            return None;
        }
        match tokio::time::timeout(ENTITY_WAIT, self.dynamics.entity(&load.target_entity)).await {
            Ok(entity) => {
                let existing = self.lake.staged_columns(&load.table_name).await.ok()?.unwrap_or_default();
                Some(self.read_request(
                    &shown(&ready.name),
                    load,
                    hints(&*entity.ok()?, load, &existing),
                    None,
                ))
            }
            Err(_) => {
                self.early.rest();
                None
            }
        }
    }

    /// Reads a sheet to its end, as far as it is small. Why one does not read is told by staging, which reads it again.
    pub(super) async fn read_early(
        &self,
        request: ReadRequest,
        mut reading: Reading,
        header: SheetHeader,
    ) -> Option<EarlyRead> {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = reading.next().await.ok()? {
            bytes += batch_bytes(&batch);
            if bytes > KEPT_WORKBOOK_BYTES_MAX || self.stop.is_cancelled() {
                return None;
            }
            batches.push(batch);
        }
        let summary = reading.summary()?.clone();
        Some(EarlyRead { request, header, batches, summary, bytes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::value::StageType;
    use crate::io::workbook::{ReadLimits, ReadWhat};

    fn early(kinds: &[(&str, StageType)], hints: &[(&str, StageType)]) -> EarlyRead {
        let column = |(name, kind): &(&str, StageType)| StagedColumn {
            name: (*name).to_owned(),
            header: (*name).to_owned(),
            kind: *kind,
        };
        let columns = kinds.iter().map(column).collect();
        let header = SheetHeader { sheet: "a".to_owned(), returned: false, columns, notes: Vec::new() };
        let summary = ReadSummary { rows: 0, notes: Vec::new(), faults: 0, peak_rss_kib: 0 };
        EarlyRead { request: asked(hints), header, batches: Vec::new(), summary, bytes: KEPT_BYTES_MAX / 2 }
    }

    fn asked(hints: &[(&str, StageType)]) -> ReadRequest {
        let what = ReadWhat::Sheet { sheet: None, header_row: None };
        ReadRequest {
            hints: hints.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
            ..ReadRequest::plain("a.xlsx", what, "/".into(), ReadLimits::default())
        }
    }

    #[test]
    fn what_was_read_stands_only_for_what_would_be_read_now() {
        use StageType::{Integer, Number, Text};
        let read = early(&[("Name", Text), ("Size", Integer)], &[("name", Text)]);
        assert!(read.answers(&asked(&[("name", Text)])));
        // The table that came meanwhile has the types that the cells have, or has columns that the sheet has not.
        assert!(read.answers(&asked(&[("name", Text), ("size", Integer), ("other", Number)])));
        assert!(!read.answers(&asked(&[("name", Text), ("size", Number)])));
        assert!(!read.answers(&asked(&[])));
        let other = ReadWhat::Sheet { sheet: Some("b".to_owned()), header_row: None };
        assert!(!read.answers(&ReadRequest { what: other, ..asked(&[("name", Text)]) }));
        let zone = "Europe/Berlin".to_owned();
        assert!(!read.answers(&ReadRequest { timezone: zone, ..asked(&[("name", Text)]) }));
    }

    #[test]
    fn what_is_kept_is_bounded_and_taken_once() {
        let reads = EarlyReads::default();
        let job = |second: i64| JobId::new(jiff::Timestamp::from_second(second).unwrap(), &[0; 32]);
        for second in 1..=3 {
            reads.keep(&job(second), early(&[], &[]));
        }
        assert!(reads.take(&job(3)).is_none(), "it is beyond the bound");
        assert!(reads.take(&job(1)).is_some() && reads.take(&job(1)).is_none());
        reads.keep(&job(3), early(&[], &[]));
        assert!(reads.take(&job(3)).is_some());
    }
}
