//! Which job goes next: several at once, but rows of one table and of one entity in the order of arrival, and jobs with
//! an `order` only after those with a lower one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use crate::domain::job::JobSeq;
use crate::pipeline::claim::Job;

/// Jobs that may be open at once; further workbooks wait in the dropbox, where the status shows them.
pub const JOBS_OPEN_MAX: usize = 256;

/// The open jobs: those that wait for their turn, and the tables and entities of those that are worked on.
#[derive(Default)]
pub struct Queue {
    waiting: BTreeMap<(i64, JobSeq), (Job, Option<Instant>)>,
    working: HashMap<JobSeq, Option<i64>>,
    busy: HashSet<String>,
}

impl Queue {
    /// Adds a job, to be worked on not before `not_before`.
    pub fn add(&mut self, job: Job, not_before: Option<Instant>) {
        self.waiting.insert((order(&job).unwrap_or(0), job.record.seq), (job, not_before));
    }

    /// Takes the next job whose tables and entities no earlier job has, while fewer than `at_once` are worked on.
    pub fn next(&mut self, now: Instant, at_once: usize) -> Option<Job> {
        if self.working.len() >= at_once {
            return None;
        }
        let mut first_order = self.working.values().flatten().min().copied();
        let mut ahead = self.busy.clone();
        let mut next = None;
        for (at, (job, not_before)) in &self.waiting {
            let needs = needs(job);
            let in_order = order(job).is_none_or(|own| first_order.is_none_or(|first| own <= first));
            let free = in_order && needs.iter().all(|need| !ahead.contains(need));
            if free && not_before.is_none_or(|not_before| not_before <= now) {
                next = Some(*at);
                break;
            }
            // A job that rests keeps its place: later rows of its tables stay behind it.
            ahead.extend(needs);
            first_order = order(job).into_iter().chain(first_order).min();
        }
        let (job, _) = self.waiting.remove(&next?)?;
        self.busy.extend(needs(&job));
        self.working.insert(job.record.seq, order(&job));
        Some(job)
    }

    /// Gives back what a job held, when it is done or rests.
    pub fn release(&mut self, job: &Job) {
        self.working.remove(&job.record.seq);
        for need in needs(job) {
            self.busy.remove(&need);
        }
    }

    /// Lets every resting job try again at once.
    pub fn wake_all(&mut self) {
        for (_, not_before) in self.waiting.values_mut() {
            *not_before = None;
        }
    }

    /// The next moment at which a resting job wants to try again.
    pub fn next_wake(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|(_, not_before)| *not_before).min()
    }

    /// Jobs that are not worked on right now.
    pub fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.waiting.values().map(|(job, _)| job)
    }

    /// Jobs open in all.
    pub fn open(&self) -> usize {
        self.waiting.len() + self.working.len()
    }

    /// Jobs that are worked on right now.
    pub fn working(&self) -> usize {
        self.working.len()
    }
}

/// The job's place among waiting ones, where its settings name one.
fn order(job: &Job) -> Option<i64> {
    job.record.loads.iter().filter_map(|load| load.order).min()
}

/// What a job must have to itself: its tables, and its entities by the name that the sender used.
fn needs(job: &Job) -> Vec<String> {
    let loads = job.record.loads.iter();
    loads
        .flat_map(|load| {
            [format!("table {}", load.table_name), format!("entity {}", load.target_entity.to_lowercase())]
        })
        .collect()
}
