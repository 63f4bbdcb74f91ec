//! The run loop: looks at the dropbox, claims what is ready, takes every job as far as it can go, and never gives one up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::assembly::assemble;
use super::metrics::Metrics;
use super::page::{About, Page, bind, serve};
use super::progress::Progress;
use super::queue::{JOBS_OPEN_MAX, Queue};
use super::signals::{Wish, Wishes};
use super::status::report;
use super::systemd::{Pulse, ServiceManager};
use super::target::OpenTarget;
use crate::config::Settings;
use crate::domain::table::TableName;
use crate::io::spool::SpoolLock;
use crate::io::watch::{FolderWatch, Watching};
use crate::pipeline::advance::{Ended, Until};
use crate::pipeline::claim::Job;
use crate::pipeline::settle::{Look, Settler};
use crate::pipeline::{Halt, Pipeline};

/// The loop is taken for stuck when it has not turned for this long; every wait in it is shorter.
const LOOP_SILENT_MAX: Duration = Duration::from_secs(60);
/// The longest that the loop sleeps, whatever `poll_ms` says: the watchdog's and the metrics' pulse.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Pause between two rounds of upkeep of the tables. Each is cheap where nothing is due.
const MAINTENANCE_PAUSE: Duration = Duration::from_mins(10);
/// Pause between looks while a file settles; with it a file is taken soon after its quiet period ends.
const SETTLING_LOOK: Duration = Duration::from_millis(200);

/// What this run is for.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Stay and watch, or handle what is there and come back.
    pub stay: bool,
    /// Take workbooks from the dropbox; `ddu migrate` only goes on with what is staged.
    pub take: bool,
    /// How far jobs go.
    pub until: Until,
    /// Only jobs of this table.
    pub table: Option<TableName>,
    /// Tell on standard error how it comes along; the daemon has its log for that.
    pub tell: bool,
}

/// How a run ended: what became of the jobs that it finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunEnd {
    /// Jobs whose every row was written, or that were duplicates.
    pub written: usize,
    /// Jobs with refused rows, and workbooks that went back.
    pub returned: usize,
    /// Jobs that were staged and wait for `ddu migrate`.
    pub staged: usize,
    /// Jobs that could not go on and keep their place.
    pub halted: usize,
    /// Files in the dropbox that a person must correct first.
    pub held: usize,
}

/// Runs until a signal says otherwise, or, without `stay`, until nothing is left to do.
///
/// # Errors
/// When the start fails: another daemon has the dropbox, the lakehouse or the target's settings are unusable.
pub async fn run(
    settings: Settings,
    reader: PathBuf,
    now: fn() -> Timestamp,
    plan: RunPlan,
) -> anyhow::Result<RunEnd> {
    let systemd = ServiceManager::from_env();
    let mut wishes = Wishes::listen()?;
    let metrics = Arc::new(Metrics::new());
    let mut assembly = assemble(settings, reader, now).await?;
    let counted = Arc::clone(&metrics);
    let progress = plan.tell.then(Progress::new);
    assembly.pipeline.observe = Arc::new(move |table, event| {
        counted.saw(table, event);
        if let Some(progress) = &progress {
            progress.saw(table, event);
        }
    });
    let pipeline = assembly.pipeline.clone();
    pipeline.spool.prepare().context("the dropbox cannot be prepared")?;
    let _lock: SpoolLock = pipeline.spool.lock()?;
    let mut services = JoinSet::new();
    let pulse = Arc::new(Pulse::new());
    let ended = CancellationToken::new();
    if plan.stay {
        if let Some(listen) = pipeline.settings.listen {
            let listener = bind(listen).await?;
            let page = page(&pipeline, &assembly.target, &pulse, &metrics, listener.local_addr()?);
            tracing::info!(address = %listener.local_addr()?, "page and metrics");
            let stop = ended.clone();
            services.spawn(async move { serve(listener, page, stop).await.map_err(anyhow::Error::from) });
        }
        let (watched, beating, stop) = (systemd, Arc::clone(&pulse), ended.clone());
        services.spawn(async move {
            let alive = || beating.silent_for() < LOOP_SILENT_MAX;
            tokio::select! {
                () = watched.keep_watchdog_calm(alive) => {}
                () = stop.cancelled() => {}
            }
            Ok(())
        });
    }
    let mut daemon = Loop {
        pipeline,
        plan,
        queue: Queue::default(),
        settler: Settler::default(),
        working: JoinSet::new(),
        end: RunEnd::default(),
        systemd,
    };
    daemon.recover().await?;
    systemd.ready("watching the dropbox");
    let result = daemon.turn_until_done(&mut wishes, &pulse, &mut services, &metrics).await;
    ended.cancel();
    while let Some(service) = services.join_next().await {
        service??;
    }
    drop(daemon);
    assembly.close().await;
    result
}

fn page(
    pipeline: &Pipeline,
    target: &OpenTarget,
    pulse: &Arc<Pulse>,
    metrics: &Arc<Metrics>,
    listen: std::net::SocketAddr,
) -> Page {
    let (of_status, beating) = (pipeline.clone(), Arc::clone(pulse));
    Page {
        listen,
        about: About {
            target: target.name.clone(),
            dropbox: pipeline.settings.dropbox.display().to_string(),
        },
        status: Arc::new(move || {
            let pipeline = of_status.clone();
            Box::pin(async move {
                let shown = pipeline.board.snapshot();
                report(&pipeline.spool, &pipeline.lake, shown).await.map_err(|error| format!("{error:#}"))
            })
        }),
        alive: Arc::new(move || beating.silent_for() < LOOP_SILENT_MAX),
        metrics: Arc::clone(metrics),
    }
}

struct Loop {
    pipeline: Pipeline,
    plan: RunPlan,
    queue: Queue,
    settler: Settler,
    working: JoinSet<(Job, Result<Ended, Halt>)>,
    end: RunEnd,
    systemd: ServiceManager,
}

impl Loop {
    /// Puts every job that an earlier run left open back into the queue.
    async fn recover(&mut self) -> anyhow::Result<()> {
        for id in self.pipeline.spool.jobs()? {
            if let Some(job) =
                self.pipeline.reclaim(&id).await.with_context(|| format!("job {id} cannot be taken up"))?
            {
                tracing::info!(job = %id, state = job.journal.state().as_str(), "job taken up");
                self.pipeline.show_turn(&job);
                self.queue.add(job, None);
            }
        }
        Ok(())
    }

    async fn turn_until_done(
        &mut self,
        wishes: &mut Wishes,
        pulse: &Pulse,
        services: &mut JoinSet<anyhow::Result<()>>,
        metrics: &Metrics,
    ) -> anyhow::Result<RunEnd> {
        let wake = Arc::new(Notify::new());
        let (mut watch, watching) = FolderWatch::start(self.pipeline.spool.root(), Arc::clone(&wake));
        tell_watching(&watching, self.pipeline.spool.root());
        let mut drain_until: Option<Instant> = None;
        let mut maintain_at = Instant::now() + MAINTENANCE_PAUSE;
        loop {
            pulse.beat();
            if let Some(watching) = watch.check() {
                tell_watching(&watching, self.pipeline.spool.root());
            }
            let look = if drain_until.is_none() && self.plan.take {
                self.look(metrics).await
            } else {
                Look::default()
            };
            if drain_until.is_none() {
                self.start_jobs();
            }
            self.show_waiting_turn();
            let idle = self.queue.working() == 0;
            if drain_until.is_some() && idle {
                return Ok(self.end);
            }
            if !self.plan.stay && idle && !look.settling && look.ready.is_empty() && self.done_for_once() {
                self.end.held = look.standing.iter().filter(|file| file.state == "held").count();
                self.end.halted = self.queue.open();
                return Ok(self.end);
            }
            if self.plan.stay && idle && maintain_at <= Instant::now() {
                self.maintain().await;
                maintain_at = Instant::now() + MAINTENANCE_PAUSE;
            }
            let sleep = self.sleep(&look, drain_until);
            tokio::select! {
                () = wake.notified(), if drain_until.is_none() => {}
                () = tokio::time::sleep(sleep) => {}
                Some(done) = self.working.join_next() => {
                    match done {
                        Ok((job, result)) => self.settle_job(job, result),
                        Err(join) => std::panic::resume_unwind(join.into_panic()),
                    }
                }
                Some(service) = services.join_next() => {
                    service?.context("a part of the daemon ended")?;
                }
                wish = wishes.next() => match wish {
                    Wish::Stop => {
                        tracing::info!("draining");
                        self.systemd.stopping("finishing what is under way");
                        self.pipeline.stop.cancel();
                        drain_until = Some(Instant::now() + self.pipeline.settings.drain);
                    }
                    Wish::StopNow => {
                        tracing::warn!("stopping at once; the next start goes on from the journals");
                        return Ok(self.end);
                    }
                    Wish::Reload => self.reload(),
                    Wish::Look => self.queue.wake_all(),
                },
            }
            if drain_until.is_some_and(|until| until <= Instant::now()) {
                tracing::warn!("not drained in time; the next start goes on from the journals");
                return Ok(self.end);
            }
        }
    }

    /// Looks at the dropbox and claims what is ready.
    async fn look(&mut self, metrics: &Metrics) -> Look {
        let pipeline = &self.pipeline;
        let mut look = match self.settler.look(&pipeline.spool, &pipeline.settings, Instant::now()) {
            Ok(look) => look,
            Err(error) => {
                tracing::error!(error = %error, "the dropbox cannot be read; it is tried again");
                return Look::default();
            }
        };
        let mut refused = Vec::new();
        for ready in std::mem::take(&mut look.ready) {
            if self.queue.open() >= JOBS_OPEN_MAX {
                refused.push((ready, "its turn: many jobs are open".to_owned()));
                continue;
            }
            match pipeline.claim(&ready).await {
                Ok(Some(job)) => {
                    metrics.claimed(job.record.bytes);
                    pipeline.show_turn(&job);
                    self.queue.add(job, None);
                }
                Ok(None) => look.settling = true,
                Err(halt) => {
                    tracing::error!(file = %ready.name.display(), error = %halt.waiting_for(), "not claimed; it is tried again");
                    refused.push((ready, halt.waiting_for()));
                }
            }
        }
        for (ready, waiting_for) in refused {
            look.standing.push(crate::pipeline::report::FileStatus {
                file: crate::io::spool::names::shown(&ready.name),
                state: "held".to_owned(),
                waiting_for: Some(waiting_for),
            });
        }
        pipeline.board.show_dropbox(look.standing.clone(), (pipeline.now)());
        look
    }

    fn start_jobs(&mut self) {
        while let Some(mut job) = self.next_job() {
            let (pipeline, until) = (self.pipeline.clone(), self.plan.until);
            self.working.spawn(async move {
                let result = pipeline.advance(&mut job, until).await;
                (job, result)
            });
        }
    }

    fn next_job(&mut self) -> Option<Job> {
        loop {
            let at_once = usize::from(self.pipeline.settings.jobs_at_once);
            let job = self.queue.next(Instant::now(), at_once)?;
            let wanted = self
                .plan
                .table
                .as_ref()
                .is_none_or(|table| job.record.loads.iter().any(|load| load.table_name == *table));
            if wanted {
                return Some(job);
            }
            self.queue.release(&job);
        }
    }

    fn settle_job(&mut self, job: Job, result: Result<Ended, Halt>) {
        self.queue.release(&job);
        match result {
            Ok(Ended::Written | Ended::Duplicate) => self.end.written += 1,
            Ok(Ended::Returned) => self.end.returned += 1,
            Ok(Ended::Staged) => self.end.staged += 1,
            Err(Halt::Stopping) => {}
            Err(halt) => {
                let waiting_for = halt.waiting_for();
                tracing::error!(job = %job.record.job, waiting_for, "job rests; it goes on by itself");
                self.pipeline.show_halt(&job, &halt);
                self.queue.add(job, Some(Instant::now() + halt.retry()));
            }
        }
    }

    /// Without `stay`, jobs that rest for something outside are left to the next run.
    fn done_for_once(&self) -> bool {
        let now = Instant::now();
        self.queue.open() == 0 || self.queue.next_wake().is_some_and(|at| at > now)
    }

    fn show_waiting_turn(&self) {
        for job in self.queue.waiting() {
            self.pipeline.show_turn(job);
        }
    }

    fn sleep(&self, look: &Look, drain_until: Option<Instant>) -> Duration {
        let mut sleep = self.pipeline.settings.poll.min(SLEEP_MAX);
        if look.settling {
            sleep = sleep.min(SETTLING_LOOK);
        }
        for at in [self.queue.next_wake(), drain_until].into_iter().flatten() {
            sleep = sleep.min(at.saturating_duration_since(Instant::now()));
        }
        sleep.max(Duration::from_millis(10))
    }

    /// Reads the configuration again. Only what running jobs do not depend on changes; the rest is named and waits for a restart.
    fn reload(&mut self) {
        self.systemd.reloading();
        match Settings::load(&self.pipeline.settings.source) {
            Err(faults) => tracing::error!(%faults, "the new configuration is not usable; the old one stays"),
            Ok(fresh) => {
                let old = &self.pipeline.settings;
                let fixed = old.dropbox != fresh.dropbox
                    || old.lakehouse != fresh.lakehouse
                    || old.database != fresh.database
                    || old.quarantine_database != fresh.quarantine_database
                    || old.target != fresh.target
                    || old.listen != fresh.listen;
                if fixed {
                    tracing::error!(
                        "dropbox, lakehouse, databases, target and listen are read at the start only; the old configuration stays until a restart"
                    );
                } else {
                    self.pipeline.settings = Arc::new(fresh);
                    self.queue.wake_all();
                    tracing::info!("configuration read again");
                }
            }
        }
        self.systemd.ready("watching the dropbox");
    }

    async fn maintain(&self) {
        if let Err(error) = self.pipeline.lake.maintain((self.pipeline.now)()).await {
            tracing::warn!(error = %error, "maintenance of the tables is put off");
        }
    }
}

fn tell_watching(watching: &Watching, folder: &std::path::Path) {
    match watching {
        Watching::Events => tracing::info!(folder = %folder.display(), "watching the dropbox"),
        Watching::PollingOnly(why) => {
            tracing::warn!(folder = %folder.display(), why, "no events from the kernel; the dropbox is looked at every poll_ms");
        }
    }
}
