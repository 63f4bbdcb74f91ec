//! A run: everything is opened, the services are started, and the run loop turns until it is done or asked to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::assembly::{Access, assemble};
use super::metrics::{Metrics, WaitReason};
use super::page::{About, AccessToken, Allowance, Guard, Page, bind, serve};
use super::progress::Progress;
use super::run_loop::RunLoop;
use super::signals::Wishes;
use super::status::report;
use super::systemd::{Pulse, ServiceManager};
use super::target::OpenTarget;
use crate::config::Settings;
use crate::domain::table::TableName;
use crate::io::delta::LakeError;
use crate::io::spool::SpoolError;
use crate::io::workbook;
use crate::pipeline::advance::Until;
use crate::pipeline::{Pipeline, Seen};

/// The loop is taken for stuck when it has not turned for this long; every wait in it is shorter.
const LOOP_SILENT_MAX: Duration = Duration::from_secs(60);

/// How long a start waits for whoever holds the dropbox or the lakehouse to be gone.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
/// Pause between two tries to take them.
const LOCK_LOOK: Duration = Duration::from_millis(50);

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
    /// Jobs that could not go on and keep their place, and workbooks that could not be taken.
    pub halted: usize,
    /// Files in the dropbox that a person must correct first.
    pub held: usize,
    /// Whether it was asked to stop before it was done.
    pub stopped: bool,
}

/// Runs until a signal says otherwise, or, without `stay`, until nothing is left to do.
///
/// # Errors
/// When the start fails: another daemon has the dropbox or the lakehouse, the lakehouse or the target's settings are unusable.
pub async fn run(
    settings: Settings,
    reader: PathBuf,
    now: fn() -> Timestamp,
    plan: RunPlan,
) -> anyhow::Result<RunEnd> {
    let systemd = ServiceManager::from_env();
    let mut wishes = Wishes::listen()?;
    let metrics = Arc::new(Metrics::new());
    let mut assembly = assemble(settings, reader, now, Access::Work).await?;
    let counted = Arc::clone(&metrics);
    let progress = plan.tell.then(Progress::new);
    assembly.pipeline.observe = Arc::new(move |seen| match seen {
        Seen::Event(table, event) => {
            counted.saw(table, event);
            if let Some(progress) = &progress {
                progress.saw(table, event);
            }
        }
        Seen::Waiting(waiting) => {
            let reason = if waiting.asked_for { WaitReason::Throttled } else { WaitReason::Unreachable };
            counted.waited(reason, waiting.pause);
        }
    });
    let pipeline = assembly.pipeline.clone();
    pipeline.spool.prepare().context("the dropbox cannot be prepared")?;
    let lock = taken(|| pipeline.spool.lock(now()), |fault| matches!(fault, SpoolError::Held { .. })).await?;
    let _lakehouse =
        taken(|| pipeline.lake.lock(now()), |fault| matches!(fault, LakeError::Held { .. })).await?;
    if pipeline.lake.is_shared_by_nature() {
        let lakehouse = pipeline.lake.root();
        tracing::info!(
            lakehouse,
            "an object store cannot be locked; see to it that no other ddu writes to it"
        );
    }
    let mut services = JoinSet::new();
    let pulse = Arc::new(Pulse::new());
    let ended = CancellationToken::new();
    if plan.stay {
        tell_walls(&pipeline).await;
        if let Some(listen) = pipeline.settings.listen {
            let token = pipeline.settings.listen_token.as_ref().map(AccessToken::read).transpose()?;
            let listener = bind(listen).await?;
            let guard = Guard { listen: listener.local_addr()?, token };
            let page = page(&pipeline, &assembly.target, &pulse, &metrics, guard);
            tracing::info!(address = %listener.local_addr()?, "page and metrics");
            let stop = ended.clone();
            services.spawn(async move {
                serve(listener, page, stop).await;
                Ok(())
            });
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
    let mut daemon = RunLoop::new(pipeline, plan, lock, systemd, Arc::clone(&metrics));
    daemon.recover().await.context("the jobs of earlier runs cannot be listed")?;
    systemd.ready("watching the dropbox");
    let result = daemon.turn_until_done(&mut wishes, &pulse, &mut services).await;
    ended.cancel();
    while let Some(service) = services.join_next().await {
        service??;
    }
    drop(daemon);
    assembly.close().await;
    result
}

/// Warns once where a hostile workbook that takes the reader over could do more than spoil its own reading.
async fn tell_walls(pipeline: &Pipeline) {
    match workbook::try_walls(&pipeline.reader, &pipeline.spool.work()).await {
        Ok(walls) if walls.gaps.is_empty() => tracing::debug!(walls = walls.in_words(), "reader walled in"),
        Ok(walls) => tracing::warn!(walls = walls.in_words(), "the reader of workbooks is not walled in"),
        // What keeps it from starting is told again, and to the sender, with the first workbook.
        Err(fault) => tracing::warn!(error = %fault, "the reader of workbooks could not be tried"),
    }
}

/// What `take` takes; a process that was killed a moment ago may still be on its way out and hold it.
async fn taken<T, E>(take: impl Fn() -> Result<T, E>, is_held: impl Fn(&E) -> bool) -> Result<T, E> {
    let patience = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match take() {
            Err(fault) if is_held(&fault) && Instant::now() < patience => tokio::time::sleep(LOCK_LOOK).await,
            taken => return taken,
        }
    }
}

fn page(
    pipeline: &Pipeline,
    target: &OpenTarget,
    pulse: &Arc<Pulse>,
    metrics: &Arc<Metrics>,
    guard: Guard,
) -> Page {
    let (of_status, beating) = (pipeline.clone(), Arc::clone(pulse));
    let (told, silent) = (Arc::clone(metrics), Arc::clone(pulse));
    Page {
        guard,
        allowance: Allowance::default(),
        about: About {
            target: target.name.clone(),
            dropbox: pipeline.settings.dropbox.display().to_string(),
        },
        status: Arc::new(move || {
            let pipeline = of_status.clone();
            told.loop_silent(silent.silent_for());
            told.transport(&pipeline.dynamics.principals(), &pipeline.dynamics.pace());
            Box::pin(async move {
                let shown = pipeline.board.snapshot();
                report(&pipeline.spool, &pipeline.lake, shown).await.map_err(|error| format!("{error:#}"))
            })
        }),
        alive: Arc::new(move || beating.silent_for() < LOOP_SILENT_MAX),
        metrics: Arc::clone(metrics),
    }
}
