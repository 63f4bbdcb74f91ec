//! Takes settled workbooks out of the dropbox, in their order, beside the run loop: hashing and probing a large file takes
//! longer than the loop may stand still. Some are looked into ahead of their turn, and those that are ready are claimed
//! together. What could not be taken rests before it is tried again.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::io::spool::names::shown;
use crate::pipeline::claim::{CLAIMS_TOGETHER_MAX, Claim, Known};
use crate::pipeline::report::{FileStatus, HELD};
use crate::pipeline::settle::Ready;
use crate::pipeline::{Halt, OPERATOR_WAIT, Pipeline};

/// Results that may wait for the loop; the intake pauses behind them.
const RESULTS_MAX: usize = 2 * CLAIMS_TOGETHER_MAX;
/// While others are looked into, a workbook waits so long for them to be claimed with it: their claims share what they
/// wait for, and one alone waits for nobody.
const CLAIMS_GATHER: Duration = Duration::from_millis(20);
/// Workbooks that are looked into at once, each by a process of its own.
const LOOKS_AT_ONCE: usize = 2;

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
            let (known, mut looked) = mpsc::channel(CLAIMS_TOGETHER_MAX);
            let looking = pipeline.clone();
            self.taking.spawn(async move { look_into_all(&looking, next, &known).await });
            let (pipeline, sender) = (pipeline.clone(), self.sender.clone());
            self.taking.spawn(async move {
                loop {
                    let ready = next_looked(&mut looked).await;
                    if ready.is_empty() {
                        return;
                    }
                    for taken in claim_all(&pipeline, ready).await {
                        if sender.send(taken).await.is_err() {
                            return;
                        }
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

/// A workbook that was looked into, or what was in the way.
type Looked = (OsString, Result<Option<Known>, Halt>);

/// Looks into the workbooks, and hands them on in their order.
async fn look_into_all(pipeline: &Pipeline, ready: Vec<Ready>, known: &mpsc::Sender<Looked>) {
    let look = |ready: Ready| async move { (ready.name.clone(), pipeline.look_into(ready).await) };
    let mut looks = futures::stream::iter(ready).map(look).buffered(LOOKS_AT_ONCE);
    while let Some(looked) = looks.next().await {
        if pipeline.stop.is_cancelled() || known.send(looked).await.is_err() {
            break;
        }
    }
}

/// Workbooks that can be claimed together; none after the last.
async fn next_looked(looked: &mut mpsc::Receiver<Looked>) -> Vec<Looked> {
    let mut ready = Vec::with_capacity(CLAIMS_TOGETHER_MAX);
    ready.extend(looked.recv().await);
    let until = tokio::time::Instant::now() + CLAIMS_GATHER;
    while !ready.is_empty() && ready.len() < CLAIMS_TOGETHER_MAX {
        match tokio::time::timeout_at(until, looked.recv()).await {
            Ok(Some(next)) => ready.push(next),
            Ok(None) | Err(_) => break,
        }
    }
    ready
}

/// Claims those that can be claimed.
async fn claim_all(pipeline: &Pipeline, looked: Vec<Looked>) -> Vec<Taken> {
    let (mut taken, mut names, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for (name, looked) in looked {
        match looked {
            Ok(Some(workbook)) => {
                names.push(name);
                known.push(workbook);
            }
            Ok(None) => taken.push(Taken { name, result: Ok(Claim::Changed) }),
            Err(halt) => taken.push(Taken { name, result: Err(halt) }),
        }
    }
    if !pipeline.stop.is_cancelled() && !known.is_empty() {
        let results = pipeline.claim(known).await;
        taken.extend(names.into_iter().zip(results).map(|(name, result)| Taken { name, result }));
    }
    taken
}

fn status(name: &OsStr, state: &str, waiting_for: &str) -> FileStatus {
    FileStatus { file: shown(name), state: state.to_owned(), waiting_for: Some(waiting_for.to_owned()) }
}
