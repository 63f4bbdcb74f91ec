//! archive: one rename of the whole job folder; where it stands then is the fact.

use std::os::unix::fs::MetadataExt;

use super::claim::{Job, is_kept};
use super::{Halt, Pipeline};
use crate::io::durable;

impl Pipeline {
    /// Moves the job's folder, with all evidence in it, to the day of its claim.
    ///
    /// # Errors
    /// When the disk refuses; the job is archived at the next try.
    pub fn archive(&self, job: &Job) -> Result<(), Halt> {
        // Of a workbook that was put aside nobody has asked for it.
        drop(self.early.take(&job.record.job));
        tell_late_changes(job);
        let to = self.spool.archive_dir(&job.record.job);
        let day = to.path().parent().expect("an archived job stands in the folder of its day");
        durable::create_dir_all(day)?;
        for scratch in job.dir.scratch_files()? {
            durable::remove(&scratch)?;
        }
        durable::rename_noreplace(job.dir.path(), to.path())?;
        tracing::info!(job = %job.record.job, "job archived");
        Ok(())
    }
}

/// A writer that kept the file open beyond the claim can still change it: no rename stops that. What was read is then not
/// what is archived, and the operator hears of it. Only a file that was written to since its claim is looked through.
fn tell_late_changes(job: &Job) {
    let written = job.dir.workbook(&job.record).symlink_metadata().map(|meta| meta.mtime());
    let late = written.is_ok_and(|written| written >= job.record.claimed_at.as_second());
    if late && matches!(is_kept(job), Ok(false)) {
        tracing::warn!(
            job = %job.record.job, workbook = job.record.workbook,
            "the workbook was changed after it was claimed, by a program that still had it open; what was loaded may not \
             be what is archived: have it dropped again"
        );
    }
}
