//! The run loop: looks at the dropbox, has workbooks taken and jobs worked on beside it, and never gives a job up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::intake::{Intake, Taken};
use super::metrics::{Ages, Metrics, Place};
use super::queue::{JOBS_OPEN_MAX, Queue};
use super::run::{RunEnd, RunPlan};
use super::signals::{Wish, Wishes};
use super::systemd::{Pulse, ServiceManager};
use crate::config::Settings;
use crate::domain::job::JobId;
use crate::io::lock::HeldLock;
use crate::io::spool::SpoolError;
use crate::io::spool::job_dir::JobRecord;
use crate::io::watch::{FolderWatch, Watching};
use crate::pipeline::advance::{Ended, Until};
use crate::pipeline::claim::Claim;
use crate::pipeline::report::HELD;
use crate::pipeline::settle::Settler;
use crate::pipeline::{Halt, Pipeline};

/// The longest that the loop sleeps, whatever `poll_ms` says: the watchdog's and the metrics' pulse.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Pause between two rounds of upkeep of the tables. Each is cheap where nothing is due.
const UPKEEP_PAUSE: Duration = Duration::from_mins(10);
/// Jobs that end before upkeep no longer waits for a moment without work: each is several commits, and tables that were
/// not folded for long are slow to open.
const UPKEEP_JOBS: usize = 50;
/// Pause between looks while a file settles; with it a file is taken soon after its quiet period ends.
const SETTLING_LOOK: Duration = Duration::from_millis(200);
/// Pause between looks at least: a file that is being copied in causes thousands of events a second.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The pause after a look is so many times as long as the look took: one at thousands of files must not fill the time.
const LOOK_PAUSE_PER_LOOK: u32 = 10;

/// The loop of one run.
pub struct RunLoop {
    pipeline: Pipeline,
    plan: RunPlan,
    /// `None` only while the dropbox is gone or not yet ours again.
    lock: Option<HeldLock>,
    systemd: ServiceManager,
    metrics: Arc<Metrics>,
    settler: Settler,
    intake: Intake,
    queue: Queue,
    working: JoinSet<Worked>,
    /// Undos that an earlier process was killed in; jobs wait for them.
    undoing: JoinSet<()>,
    upkeep: JoinSet<()>,
    upkeep_at: Instant,
    /// Jobs that ended since the last upkeep.
    ended_since: usize,
    looks: Looks,
    drain_until: Option<Instant>,
    end: RunEnd,
    /// Jobs whose folders do not read.
    broken: usize,
    /// What was said last about jobs that rest, so that each reason is logged once.
    reasons: HashMap<JobId, String>,
    /// The last word to the service manager.
    told: String,
}

/// When to look at the dropbox, and what the last look left to do.
struct Looks {
    due: Instant,
    last: Instant,
    /// Until the next one at least.
    pause: Duration,
    /// Something waits for time to pass.
    settling: bool,
    /// A workbook could be taken but for its turn.
    more: bool,
    held: usize,
    /// The dropbox could not be listed, and that was said.
    failing: bool,
}

/// What came of working on jobs that were taken together. No end where a claim had never happened; no result for jobs
/// that were not begun, because one before them could not go on or because they are to go in another company.
struct Worked {
    records: Vec<JobRecord>,
    results: Vec<Result<Option<Ended>, Halt>>,
    /// Jobs that they have set off.
    born: Vec<JobRecord>,
}

impl RunLoop {
    /// A loop over a dropbox that is locked for us.
    pub fn new(
        pipeline: Pipeline,
        plan: RunPlan,
        lock: HeldLock,
        systemd: ServiceManager,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = Instant::now();
        let queue = Queue::of(plan.table.clone(), Arc::clone(&pipeline.traffic));
        RunLoop {
            pipeline,
            plan,
            lock: Some(lock),
            systemd,
            metrics,
            settler: Settler::default(),
            intake: Intake::new(),
            queue,
            working: JoinSet::new(),
            undoing: JoinSet::new(),
            upkeep: JoinSet::new(),
            upkeep_at: now + UPKEEP_PAUSE,
            ended_since: 0,
            looks: Looks {
                due: now,
                last: now,
                pause: LOOK_PAUSE_MIN,
                settling: false,
                more: false,
                held: 0,
                failing: false,
            },
            drain_until: None,
            end: RunEnd::default(),
            broken: 0,
            reasons: HashMap::new(),
            told: String::new(),
        }
    }

    /// Puts every job that an earlier run left open back into the queue. One whose folder does not read stays where it
    /// is, for the operator, and stops nobody.
    ///
    /// # Errors
    /// When the jobs cannot be listed.
    pub async fn recover(&mut self) -> Result<(), SpoolError> {
        self.broken = 0;
        for id in self.pipeline.spool.jobs()? {
            if self.queue.holds(&id) {
                continue;
            }
            let found = match self.pipeline.spool.job_dir(&id).record() {
                Ok(Some(record)) => Ok(Some(record)),
                // A claim that got no further than its folder.
                Ok(None) => self.pipeline.reclaim(&id).await.map(|_| None),
                Err(error) => Err(error.into()),
            };
            match found {
                Ok(Some(record)) => {
                    tracing::info!(job = %id, workbook = record.workbook, "job taken up");
                    self.pipeline.show_turn(&record);
                    self.queue.add(record, None);
                }
                Ok(None) => {}
                Err(halt) => {
                    tracing::error!(job = %id, waiting_for = halt.waiting_for(), "job cannot be taken up; the others go on");
                    self.broken += 1;
                }
            }
        }
        if self.plan.until == Until::Archived && self.undoing.is_empty() {
            for job in self.pipeline.spool.undos_begun()? {
                tracing::info!(job = %job, "undo taken up");
                let pipeline = self.pipeline.clone();
                self.undoing.spawn(async move { pipeline.go_on_with_undo(&job).await });
            }
        }
        self.pipeline.board.publish_anew();
        Ok(())
    }

    /// Turns until a signal says otherwise, or, without `stay`, until nothing is left to do.
    ///
    /// # Errors
    /// When a service of the daemon ends, another daemon takes the dropbox, or, without `stay`, it cannot be read.
    pub async fn turn_until_done(
        &mut self,
        wishes: &mut Wishes,
        pulse: &Pulse,
        services: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<RunEnd> {
        let wake = Arc::new(Notify::new());
        let (mut watch, watching) = FolderWatch::start(self.pipeline.spool.root(), Arc::clone(&wake));
        tell_watching(&watching, self.pipeline.spool.root());
        loop {
            pulse.beat();
            if let Some(watching) = watch.check() {
                tell_watching(&watching, self.pipeline.spool.root());
                self.lock = None;
            }
            if self.drain_until.is_none() {
                if self.lock.is_none() {
                    self.move_in().await?;
                }
                let now = Instant::now();
                if self.plan.take && self.looks.due <= now {
                    self.look(now)?;
                }
                self.start_jobs(now);
            }
            self.tell();
            if self.is_done() {
                if self.drain_until.is_none() {
                    // Nobody's rows wait for it, so any wish ends it.
                    tokio::select! {
                        () = self.leave_tidy() => {}
                        _ = wishes.next() => {}
                    }
                }
                return Ok(self.run_end());
            }
            self.keep_up();
            let sleep = self.sleep();
            let may_look = self.drain_until.is_none() && self.looks.due > self.looks.last + self.looks.pause;
            tokio::select! {
                () = wake.notified(), if may_look => self.look_soon(),
                () = tokio::time::sleep(sleep) => {}
                taken = self.intake.next() => {
                    match taken {
                        Some(taken) => self.taken(taken),
                        None => self.look_soon(),
                    }
                }
                Some(worked) = self.working.join_next() => {
                    match worked {
                        Ok(worked) => self.worked(worked),
                        Err(join) => std::panic::resume_unwind(join.into_panic()),
                    }
                    if self.looks.more {
                        self.look_soon();
                    }
                }
                Some(undone) = self.undoing.join_next() => {
                    if let Err(join) = undone {
                        std::panic::resume_unwind(join.into_panic());
                    }
                }
                Some(kept) = self.upkeep.join_next() => {
                    if let Err(join) = kept {
                        std::panic::resume_unwind(join.into_panic());
                    }
                    self.upkeep_at = Instant::now() + UPKEEP_PAUSE;
                }
                Some(service) = services.join_next() => {
                    service??;
                    anyhow::bail!("a part of the daemon ended by itself");
                }
                wish = wishes.next() => match wish {
                    Wish::Stop => self.drain(),
                    Wish::StopNow => {
                        tracing::warn!("stopping at once; the next start goes on from the journals");
                        return Ok(self.run_end());
                    }
                    Wish::Reload => self.reload(),
                    Wish::Look => {
                        self.queue.wake_all();
                        self.intake.wake_all();
                        self.looks.due = Instant::now();
                    }
                },
            }
            if self.drain_until.is_some_and(|until| until <= Instant::now()) && !self.is_idle() {
                tracing::warn!("not drained in time; the next start goes on from the journals");
                return Ok(self.run_end());
            }
        }
    }

    /// Makes itself at home in a dropbox that was removed and made again, or mounted over.
    async fn move_in(&mut self) -> anyhow::Result<()> {
        if !self.pipeline.spool.root().is_dir() {
            return Ok(());
        }
        let now = (self.pipeline.now)();
        let moved = self.pipeline.spool.prepare().and_then(|()| self.pipeline.spool.lock(now));
        match moved {
            Ok(lock) => self.lock = Some(lock),
            Err(held @ SpoolError::Held { .. }) => return Err(held.into()),
            Err(error) => {
                tracing::error!(error = %error, "the dropbox is there again and cannot be used; it is tried again");
                return Ok(());
            }
        }
        tracing::warn!("the dropbox is another folder than before; it is taken as it is now");
        self.recover().await?;
        self.looks.due = Instant::now();
        Ok(())
    }

    /// Looks at the dropbox and has taken what is ready.
    fn look(&mut self, now: Instant) -> Result<(), SpoolError> {
        let pipeline = &self.pipeline;
        self.looks.last = now;
        self.looks.due = now + pipeline.settings.poll;
        let mut look = match self.settler.look(&pipeline.spool, &pipeline.settings, now) {
            Ok(look) => look,
            Err(error) if !self.plan.stay => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut self.looks.failing, true) {
                    tracing::error!(error = %error, "the dropbox cannot be read; it is tried again");
                }
                return Ok(());
            }
        };
        self.looks.failing = false;
        // What is being taken may have left the dropbox while it was looked at.
        let taking = self.intake.taking();
        look.standing.retain(|file| !taking.contains(&file.file));
        self.looks.held = look.standing.iter().filter(|file| file.state == HELD).count();
        let ready = std::mem::take(&mut look.ready);
        let room = if self.lock.is_some() { JOBS_OPEN_MAX.saturating_sub(self.queue.open()) } else { 0 };
        let ready_standing = self.intake.take(pipeline, ready, room, now);
        self.looks.more = ready_standing.iter().any(|file| file.state != HELD);
        self.looks.settling = look.settling;
        if look.settling {
            self.looks.due = self.looks.due.min(now + SETTLING_LOOK);
        }
        look.standing.extend(ready_standing);
        look.standing.sort_by(|a, b| a.file.cmp(&b.file));
        pipeline.board.show_dropbox(look.standing, (pipeline.now)());
        self.looks.pause = LOOK_PAUSE_MIN.max(now.elapsed() * LOOK_PAUSE_PER_LOOK);
        Ok(())
    }

    /// Looks again as soon as that may be.
    fn look_soon(&mut self) {
        self.looks.due = self.looks.due.min(self.looks.last + self.looks.pause);
    }

    fn taken(&mut self, taken: Taken) {
        match taken.result {
            Ok(Claim::Taken(record)) => {
                self.metrics.claimed(record.bytes);
                self.pipeline.show_turn(&record);
                self.queue.add(record, None);
            }
            Ok(Claim::Unfinished(record, halt)) => {
                self.metrics.claimed(record.bytes);
                self.rest(record, &halt);
            }
            Ok(Claim::Changed) => {
                self.looks.settling = true;
                self.look_soon();
            }
            Err(halt) => {
                let (name, waiting_for) = (taken.name.display(), halt.waiting_for());
                tracing::error!(file = %name, waiting_for, "workbook not taken; it is tried again");
                self.intake.rest(taken.name, waiting_for, Instant::now());
            }
        }
    }

    fn start_jobs(&mut self, now: Instant) {
        if !self.undoing.is_empty() {
            // Rows are leaving; what comes next goes behind them.
            return;
        }
        while let Some(records) = self.queue.next(now, usize::from(self.pipeline.settings.jobs_at_once)) {
            let (pipeline, until) = (self.pipeline.clone(), self.plan.until);
            self.working.spawn(async move {
                let (results, born) = work(&pipeline, &records, until).await;
                Worked { records, results, born }
            });
        }
    }

    fn worked(&mut self, worked: Worked) {
        let Worked { records, results, born } = worked;
        self.queue.release(&records[0]);
        for record in born {
            if !self.queue.holds(&record.job) {
                self.metrics.claimed(record.bytes);
                self.pipeline.show_turn(&record);
                self.queue.add(record, None);
            }
        }
        let mut results = results.into_iter();
        for record in records {
            match results.next() {
                Some(result) => self.ended(record, result),
                None => self.queue.add(record, None),
            }
        }
    }

    fn ended(&mut self, record: JobRecord, result: Result<Option<Ended>, Halt>) {
        match result {
            Ok(ended) => {
                self.queue.ended(&record.job);
                self.ended_since += 1;
                self.reasons.remove(&record.job);
                match ended {
                    Some(Ended::Written) => {
                        self.metrics.loaded();
                        self.end.written += 1;
                    }
                    Some(Ended::RowsLeft) => {
                        self.metrics.loaded();
                        self.end.returned += 1;
                    }
                    Some(Ended::Returned) => self.end.returned += 1,
                    Some(Ended::Duplicate | Ended::Rehearsed) => self.end.written += 1,
                    Some(Ended::Staged) => self.end.staged += 1,
                    None => {
                        self.pipeline.board.forget(&record.job);
                        self.look_soon();
                    }
                }
            }
            Err(Halt::Stopping) => self.queue.add(record, None),
            Err(halt @ Halt::Behind { .. }) => {
                tracing::info!(job = %record.job, waiting_for = halt.waiting_for(), "job waits for others");
                self.pipeline.show_halt(&record, &halt);
                if let Halt::Behind { jobs, .. } = halt {
                    self.queue.add_behind(record, jobs);
                }
            }
            Err(halt) => self.rest(record, &halt),
        }
    }

    /// Lets a job rest that cannot go on for now.
    fn rest(&mut self, record: JobRecord, halt: &Halt) {
        let waiting_for = halt.waiting_for();
        if self.reasons.get(&record.job) == Some(&waiting_for) {
            tracing::debug!(job = %record.job, waiting_for, "job still rests");
        } else {
            tracing::error!(job = %record.job, waiting_for, "job rests; it goes on by itself");
            self.reasons.insert(record.job.clone(), waiting_for);
        }
        self.pipeline.show_halt(&record, halt);
        let not_before = Instant::now() + halt.retry();
        match halt.passes_by_itself() {
            true => self.queue.add(record, Some(not_before)),
            false => self.queue.add_stuck(record, not_before),
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.working() == 0 && self.undoing.is_empty() && self.intake.is_idle()
    }

    fn is_done(&self) -> bool {
        if !self.is_idle() {
            return false;
        }
        if self.drain_until.is_some() {
            return true;
        }
        // Jobs that rest for something outside are left to the next run.
        let no_room = self.queue.open() >= JOBS_OPEN_MAX;
        let now = Instant::now();
        !self.plan.stay
            && !self.looks.settling
            && (!self.looks.more || no_room)
            && !self.queue.has_next(now, usize::from(self.pipeline.settings.jobs_at_once))
    }

    /// How the run ended; the board is left as it is then.
    fn run_end(&self) -> RunEnd {
        self.pipeline.board.publish_anew();
        RunEnd {
            halted: self.queue.open() + self.intake.resting() + self.broken,
            held: self.looks.held,
            stopped: self.end.stopped,
            ..self.end
        }
    }

    fn drain(&mut self) {
        if self.plan.stay {
            tracing::info!(jobs = self.queue.working(), "draining");
        } else {
            eprintln!("stopping: what is under way ends first; a second time stops at once");
        }
        self.systemd.stopping("finishing what is under way");
        self.pipeline.stop.cancel();
        self.end.stopped = true;
        self.drain_until = Some(Instant::now() + self.pipeline.settings.drain);
    }

    fn sleep(&self) -> Duration {
        let now = Instant::now();
        let board = self.pipeline.board.catch_up().map(|pause| now + pause);
        let looks = (self.plan.take && self.drain_until.is_none()).then_some(self.looks.due);
        let wakes = [looks, board, self.queue.next_wake(now), self.drain_until];
        let sleeps = wakes.into_iter().flatten().map(|at| at.saturating_duration_since(now));
        sleeps.fold(SLEEP_MAX, Duration::min)
    }

    /// Reads the configuration again. Only what running jobs do not depend on changes; the rest is named and waits for a restart.
    fn reload(&mut self) {
        self.systemd.reloading();
        let status = match Settings::load(&self.pipeline.settings.source) {
            Err(faults) => {
                tracing::error!(%faults, "the new configuration is not usable; the old one stays");
                "the new configuration is not usable; the old one stays"
            }
            Ok(fresh) => {
                let old = &self.pipeline.settings;
                let fixed = [
                    ("dropbox", old.dropbox != fresh.dropbox),
                    ("lakehouse", old.lakehouse != fresh.lakehouse),
                    ("database", old.database != fresh.database),
                    ("quarantine_database", old.quarantine_database != fresh.quarantine_database),
                    ("target", old.target != fresh.target),
                    ("listen", old.listen != fresh.listen),
                    ("listen_token", old.listen_token != fresh.listen_token),
                ];
                let changed: Vec<&str> =
                    fixed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
                if changed.is_empty() {
                    self.pipeline.settings = Arc::new(fresh);
                    self.queue.wake_all();
                    self.intake.wake_all();
                    self.looks.due = Instant::now();
                    tracing::info!("configuration read again");
                    "watching the dropbox"
                } else {
                    tracing::error!(
                        changed = changed.join(", "),
                        "these are read at the start only; the old configuration stays until a restart"
                    );
                    "the new configuration needs a restart; the old one stays"
                }
            }
        };
        self.systemd.ready(status);
    }

    /// Keeps the tables small when nothing urgent waits, or when that took too long to come.
    fn keep_up(&mut self) {
        let quiet = self.plan.stay && self.is_idle() && self.upkeep_at <= Instant::now();
        if self.upkeep.is_empty() && (quiet || self.ended_since >= UPKEEP_JOBS) {
            self.ended_since = 0;
            let pipeline = self.pipeline.clone();
            self.upkeep.spawn(async move { maintain(&pipeline).await });
        }
    }

    /// A run that ends by itself keeps the tables small as well: nobody else may ever do it.
    async fn leave_tidy(&mut self) {
        while let Some(kept) = self.upkeep.join_next().await {
            if let Err(join) = kept {
                std::panic::resume_unwind(join.into_panic());
            }
        }
        if self.ended_since > 0 {
            maintain(&self.pipeline).await;
        }
    }

    /// Tells the board, the metrics and the service manager how things are.
    fn tell(&mut self) {
        let refused = self.pipeline.dynamics.principals().into_iter().filter_map(|principal| {
            let why = principal.refused?;
            Some(format!("the application user {} is refused and set aside: {why}", principal.client_id))
        });
        self.pipeline.board.show_target(refused.collect());
        let since = |at: jiff::Timestamp| (self.pipeline.now)().duration_since(at).unsigned_abs();
        self.metrics.ages(Ages {
            oldest_job: self.queue.oldest().map_or(Duration::ZERO, since),
            oldest_file: self.settler.oldest().map_or(Duration::ZERO, |first| first.elapsed()),
        });
        let places = [
            (Place::Dropbox, Some(self.pipeline.spool.root())),
            (Place::Lakehouse, self.pipeline.settings.lakehouse_dir()),
        ];
        for (place, folder) in places {
            if let Some(free) = folder.and_then(crate::io::durable::free_bytes) {
                self.metrics.disk_free(place, free);
            }
        }
        if self.drain_until.is_none() {
            let told = match (self.queue.working(), self.queue.open() - self.queue.working()) {
                (0, 0) => "watching the dropbox".to_owned(),
                (working, waiting) => format!("{working} workbooks in work, {waiting} waiting"),
            };
            if told != self.told {
                self.systemd.status(&told);
                self.told = told;
            }
        }
    }
}

/// Takes jobs from where their journals say they stand as far as they will go, and says what came of those in front.
/// Also gives out the jobs that they have set off.
async fn work(
    pipeline: &Pipeline,
    records: &[JobRecord],
    until: Until,
) -> (Vec<Result<Option<Ended>, Halt>>, Vec<JobRecord>) {
    let mut jobs = Vec::with_capacity(records.len());
    for record in records {
        match pipeline.reclaim(&record.job).await {
            Ok(Some(job)) => jobs.push(job),
            other if jobs.is_empty() => return (vec![other.map(|_| None)], Vec::new()),
            // It has its turn when those before it are done.
            Ok(None) | Err(_) => break,
        }
    }
    let ends = pipeline.advance_together(&mut jobs, until).await;
    let set_off = jobs.iter().flat_map(|job| job.journal.retries());
    // One that is not made yet is made when its job goes on.
    let born = set_off.filter_map(|id| pipeline.spool.job_dir(id).claimed().ok()?).collect();
    (ends.into_iter().map(|end| end.map(Some)).collect(), born)
}

async fn maintain(pipeline: &Pipeline) {
    if let Err(error) = pipeline.lake.maintain((pipeline.now)()).await {
        tracing::warn!(error = %error, "upkeep of the tables is put off");
    }
}

fn tell_watching(watching: &Watching, folder: &std::path::Path) {
    let folder = folder.display();
    match watching {
        Watching::Events => tracing::info!(%folder, "watching the dropbox"),
        Watching::Share(kind) => {
            tracing::info!(%folder, kind, "watching the dropbox; on a share what other machines drop is found every poll_ms");
        }
        Watching::PollingOnly(why) => {
            tracing::warn!(%folder, why, "no events from the kernel; the dropbox is looked at every poll_ms");
        }
        Watching::Gone => {
            tracing::error!(%folder, "the dropbox is gone; nothing is taken until it is there again");
        }
    }
}
