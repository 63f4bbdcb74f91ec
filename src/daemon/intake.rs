//! Takes settled workbooks out of the dropbox, one after the other, beside the run loop: hashing and probing a large
//! file takes longer than the loop may stand still. What could not be taken rests before it is tried again.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::io::spool::names::shown;
use crate::pipeline::claim::Claim;
use crate::pipeline::report::{FileStatus, HELD};
use crate::pipeline::settle::Ready;
use crate::pipeline::{Halt, OPERATOR_WAIT, Pipeline};

/// Results that may wait for the loop; the intake pauses behind them.
const RESULTS_MAX: usize = 16;

/// The intake of one run.
pub struct Intake {
    taking: JoinSet<()>,
    names: BTreeSet<OsString>,
    resting: HashMap<OsString, Resting>,
    sender: mpsc::Sender<Taken>,
    results: mpsc::Receiver<Taken>,
}

struct Resting {
    until: Instant,
    waiting_for: String,
}

impl Default for Intake {
    fn default() -> Self {
        Intake::new()
    }
}

/// What became of one workbook.
pub struct Taken {
    /// Its name in the dropbox.
    pub name: OsString,
    /// The claim, or why it lies there still.
    pub result: Result<Claim, Halt>,
}

impl Intake {
    /// An intake that takes nothing yet.
    pub fn new() -> Self {
        let (sender, results) = mpsc::channel(RESULTS_MAX);
        Intake { taking: JoinSet::new(), names: BTreeSet::new(), resting: HashMap::new(), sender, results }
    }

    /// Begins to take the workbooks that are ready, as far as there is room, unless it still takes earlier ones.
    /// Says of every other one what it waits for.
    pub fn take(
        &mut self,
        pipeline: &Pipeline,
        ready: Vec<Ready>,
        room: usize,
        now: Instant,
    ) -> Vec<FileStatus> {
        if self.is_idle() {
            self.names.clear();
        }
        let here: BTreeSet<&OsStr> = ready.iter().map(|ready| ready.name.as_os_str()).collect();
        self.resting.retain(|name, _| here.contains(name.as_os_str()));
        let mut standing: Vec<FileStatus> =
            self.names.iter().map(|name| status(name, "waiting", "its turn")).collect();
        let mut next = Vec::new();
        let idle = self.is_idle();
        for ready in ready {
            if self.names.contains(&ready.name) {
                continue;
            }
            match self.resting.get(&ready.name) {
                Some(resting) if resting.until > now => {
                    standing.push(status(&ready.name, HELD, &resting.waiting_for));
                }
                _ if idle && next.len() < room => {
                    standing.push(status(&ready.name, "waiting", "its turn"));
                    next.push(ready);
                }
                _ if room == 0 => {
                    standing.push(status(&ready.name, "waiting", "its turn: many jobs are open"));
                }
                _ => standing.push(status(&ready.name, "waiting", "its turn")),
            }
        }
        if !next.is_empty() {
            self.names = next.iter().map(|ready| ready.name.clone()).collect();
            let (pipeline, sender) = (pipeline.clone(), self.sender.clone());
            self.taking.spawn(async move {
                for ready in next {
                    if pipeline.stop.is_cancelled() {
                        break;
                    }
                    let result = pipeline.claim(&ready).await;
                    if sender.send(Taken { name: ready.name, result }).await.is_err() {
                        break;
                    }
                }
            });
        }
        standing
    }

    /// The next workbook that was taken, or could not be. May be dropped before it is ready, as in `select!`;
    /// `None` says that the workbooks of the last [`take`](Self::take) are all done.
    ///
    /// # Panics
    /// Where taking has panicked: a panicked task is a failed daemon.
    pub async fn next(&mut self) -> Option<Taken> {
        tokio::select! {
            biased;
            Some(taken) = self.results.recv() => {
                self.names.remove(&taken.name);
                Some(taken)
            }
            Some(ended) = self.taking.join_next() => {
                if let Err(join) = ended {
                    std::panic::resume_unwind(join.into_panic());
                }
                None
            }
        }
    }

    /// Lets a workbook that could not be taken rest.
    pub fn rest(&mut self, name: OsString, waiting_for: String, now: Instant) {
        self.resting.insert(name, Resting { until: now + OPERATOR_WAIT, waiting_for });
    }

    /// Lets every workbook that could not be taken be tried again at once.
    pub fn wake_all(&mut self) {
        self.resting.clear();
    }

    /// The files that are being taken, by name as people see them.
    pub fn taking(&self) -> BTreeSet<String> {
        self.names.iter().map(|name| shown(name)).collect()
    }

    /// Workbooks that could not be taken.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Whether nothing is being taken and every result was fetched.
    pub fn is_idle(&self) -> bool {
        self.taking.is_empty() && self.results.is_empty()
    }
}

fn status(name: &OsStr, state: &str, waiting_for: &str) -> FileStatus {
    FileStatus { file: shown(name), state: state.to_owned(), waiting_for: Some(waiting_for.to_owned()) }
}
