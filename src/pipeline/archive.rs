//! archive: one rename of the whole job folder; where it stands then is the fact.

use super::claim::Job;
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
