//! The open jobs, as far as others wait for them: what each loads, and whether it goes on by itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::job::JobId;
use crate::domain::settings::Mode;
use crate::io::spool::job_dir::JobRecord;

/// The open jobs. Whoever takes jobs on keeps it; it can be made anew from their `job.json` at any time.
#[derive(Debug, Default)]
pub struct Traffic {
    open: Mutex<HashMap<JobId, Open>>,
}

/// One open job.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) job: JobId,
    pub(super) workbook: String,
    /// The entities in which it makes records, as its sender names them.
    pub(super) entities: Vec<String>,
    /// It rests until somebody acts.
    stuck: bool,
    /// It waits for no other job any more.
    insists: bool,
}

impl Traffic {
    /// A job is open.
    pub fn enter(&self, record: &JobRecord) {
        let makes = |mode: Mode| match mode {
            Mode::Insert | Mode::Upsert | Mode::Edit => true,
            Mode::Update | Mode::Delete => false,
        };
        let loads = record.loads.iter().filter(|load| makes(load.mode) && !load.dry_run);
        let open = Open {
            job: record.job.clone(),
            workbook: record.workbook.clone(),
            entities: loads.map(|load| load.target_entity.clone()).collect(),
            stuck: false,
            insists: false,
        };
        self.open().entry(record.job.clone()).or_insert(open);
    }

    /// A job has ended, or is left to another run.
    pub fn leave(&self, job: &JobId) {
        self.open().remove(job);
    }

    /// A job rests until somebody acts, or does no longer: nobody waits for one that does.
    pub fn set_stuck(&self, job: &JobId, stuck: bool) {
        if let Some(open) = self.open().get_mut(job) {
            open.stuck = stuck;
        }
    }

    /// Whether a job rests so.
    pub fn is_stuck(&self, job: &JobId) -> bool {
        self.open().get(job).is_some_and(|open| open.stuck)
    }

    /// A job is not to wait for others any more: they wait for it.
    pub fn insist(&self, job: &JobId) {
        if let Some(open) = self.open().get_mut(job) {
            open.insists = true;
        }
    }

    /// Whether a job waits for no other any more.
    pub fn insists(&self, job: &JobId) -> bool {
        self.open().get(job).is_some_and(|open| open.insists)
    }

    /// The jobs beside this one that go on by themselves; with `all` also those that do not. In the order of their ids.
    pub(super) fn beside(&self, job: &JobId, all: bool) -> Vec<Open> {
        let mut beside: Vec<Open> =
            self.open().values().filter(|open| open.job != *job && (all || !open.stuck)).cloned().collect();
        beside.sort_by(|one, other| one.job.cmp(&other.job));
        beside
    }

    fn open(&self) -> MutexGuard<'_, HashMap<JobId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
