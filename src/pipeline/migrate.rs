//! migrate: batches of staged rows to the target. The intent is on the disk before the bytes leave, the outcome after.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::claim::Job;
use super::preflight::{Batch, held_back, hold_all};
use super::{Halt, Pipeline};
use crate::config::Validate;
use crate::domain::effect::Effects;
use crate::domain::lifecycle::{BatchHeard, Event};
use crate::domain::refusal::{Refusal, RefusedRow, Severity};
use crate::domain::row::StagedRow;
use crate::domain::settings::LoadSettings;
use crate::io::dynamics::{
    BatchShape, History, Ids, Outcome, Pass, Placed, RowPlan, SendFault, SendReport, Waiting,
};

/// Requests at once at most, whatever the server hints at; each holds one encoded batch in memory.
pub const WORKERS_MAX: u16 = 52;

/// A batch on its way, with what preflight held back of it.
struct Outgoing {
    number: u32,
    attempt: u32,
    rows: Vec<StagedRow>,
    /// The place of each in the part.
    places: Vec<u32>,
    held: Vec<RefusedRow>,
}

/// The pause that a batch makes before it is sent again. Nothing is on its way meanwhile, so a drain need not wait for it.
#[derive(Default)]
struct Pause {
    until: Mutex<Option<Instant>>,
}

impl Pause {
    /// How often a draining batch looks whether it has come to a pause.
    const LOOK: Duration = Duration::from_millis(100);

    fn begin(&self, time: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    /// Returns when the daemon drains and the batch is in a pause.
    async fn cut_short(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        while !self
            .until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|until| until > Instant::now())
        {
            tokio::time::sleep(Self::LOOK).await;
        }
    }
}

impl Pipeline {
    /// Writes every batch of the part that was not heard yet. A batch that was sent and not heard is sent again:
    /// every operation names its record by a key of ours, so a repeated one lands where the first did.
    ///
    /// # Errors
    /// When the target or the disk does not answer; batches heard so far are not sent again.
    pub async fn migrate(&self, job: &mut Job, part: u16) -> Result<Event, Halt> {
        let load = job.record.loads[usize::from(part)].clone();
        let staged = job.staged(part);
        let (entity, mut plan) = self.plan_of(job, part, &staged).await?;
        let replaced = self.is_replaced(job, part, &staged).await?;
        if replaced && job.journal.part(part).in_doubt().is_empty() {
            // Nothing is left to send, and the version that held the rows may be gone by now.
            return Ok(self.migrated(job, part));
        }
        let ledger = job.journal.part(part);
        if self.settings.validate != Validate::Off && ledger.counted.is_none() && !ledger.sent_any() {
            let records = self.unless_drained(self.counted(&entity)).await?;
            self.note(job, part, Event::Counted { records })?;
        }
        plan.go_without(job.journal.part(part).without.iter().cloned().collect());
        let order = self.order_of(job, part)?;
        if let Some(order) = &order
            && let Some(mut siblings) = self.siblings(job, part, &staged, &plan).await?
        {
            siblings.set_order(order.later(), order.parents());
            plan.with_siblings(Arc::new(siblings));
        }
        let refused = |plan: &RowPlan, heard: &BatchHeard| {
            if let (Some(order), Some(siblings)) = (&order, plan.siblings()) {
                let places = order.batch(heard.batch);
                let gone = heard.refused.iter().filter(|row| !row.is_partly_written());
                gone.filter_map(|row| places.get(row.index as usize))
                    .for_each(|place| siblings.refuse(*place));
            }
        };
        let plan = Arc::new(plan);
        let mut batches = self.batches(job, part, &staged).await?;
        let mut level = 0;
        let mut flying: JoinSet<Result<BatchHeard, Halt>> = JoinSet::new();
        let mut halted: Option<Halt> = None;
        let mut more = true;
        loop {
            while more && halted.is_none() && flying.len() < self.workers(&load) {
                if self.stop.is_cancelled() {
                    halted = Some(Halt::Stopping);
                    break;
                }
                // Rows go when those that they point at were heard.
                if batches.next_level() > level && !flying.is_empty() {
                    break;
                }
                level = batches.next_level();
                match batches.next().await? {
                    None => more = false,
                    Some(Batch { number, .. }) if job.journal.part(part).is_heard(number) => {
                        if order.is_some()
                            && let Some(heard) = job.journal.heard(part, number)?
                        {
                            refused(&plan, &heard);
                        }
                    }
                    // What never left stays; a batch in doubt is still brought to its end.
                    Some(Batch { number, .. })
                        if replaced && job.journal.part(part).attempts(number) == 0 => {}
                    Some(Batch { number, rows, places, .. }) => {
                        let attempt = job.journal.part(part).attempts(number) + 1;
                        let held = job.journal.held(part, number)?;
                        self.note(job, part, Event::BatchSent { batch: number, attempt })?;
                        let outgoing = Outgoing { number, attempt, rows, places, held };
                        let (pipeline, plan, load) = (self.clone(), Arc::clone(&plan), load.clone());
                        let id = job.record.job.clone();
                        flying.spawn(async move { pipeline.deliver(&id, &load, &plan, outgoing).await });
                    }
                }
            }
            match flying.join_next().await {
                None => break,
                Some(Err(join)) => std::panic::resume_unwind(join.into_panic()),
                Some(Ok(Err(halt))) => halted = halted.or(Some(halt)),
                Some(Ok(Ok(heard))) => {
                    refused(&plan, &heard);
                    self.note(job, part, Event::BatchHeard(heard))?;
                    self.show_progress(job, part);
                }
            }
        }
        if let Some(halt) = halted {
            return Err(halt);
        }
        Ok(self.migrated(job, part))
    }

    async fn unless_drained<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.stop.cancelled() => Err(Halt::Stopping),
        }
    }

    /// The event that ends the migration of a part.
    fn migrated(&self, job: &Job, part: u16) -> Event {
        let ledger = job.journal.part(part);
        let (written, refused) = (ledger.written_rows, ledger.refused_rows + ledger.held_rows);
        let table = &job.record.loads[usize::from(part)].table_name;
        tracing::info!(job = %job.record.job, %table, written, refused, "rows migrated");
        Event::Migrated { written, refused }
    }

    /// Batches on their way at once: as many as the throttle pilots would let go, within what the settings allow.
    pub(super) fn workers(&self, load: &LoadSettings) -> usize {
        let wanted = load.workers.or(self.settings.workers).unwrap_or(WORKERS_MAX);
        usize::from(wanted.min(self.dynamics.demand()).clamp(1, WORKERS_MAX))
    }

    async fn deliver(
        &self,
        job: &crate::domain::job::JobId,
        load: &LoadSettings,
        plan: &RowPlan,
        outgoing: Outgoing,
    ) -> Result<BatchHeard, Halt> {
        let begun = Instant::now();
        let Outgoing { number, attempt, mut rows, places: mut in_part, held } = outgoing;
        let mut indices: Vec<u32> = (0..rows.len() as u32).collect();
        let kept: Vec<bool> = {
            let held: std::collections::HashSet<u32> = held.iter().map(|row| row.index).collect();
            indices.iter().map(|index| !held.contains(index)).collect()
        };
        let mut keep = kept.iter();
        rows.retain(|_| *keep.next().expect("one mark a row"));
        let mut keep = kept.iter();
        indices.retain(|_| *keep.next().expect("one mark a row"));
        let mut keep = kept.iter();
        in_part.retain(|_| *keep.next().expect("one mark a row"));
        let (mut operations, mut places, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut left_out: Vec<Vec<Refusal>> = Vec::new();
        let placed = Placed { rows: &rows, places: &in_part };
        let encoded = self.dynamics.encode_placed(plan, placed, Pass::First, Ids::Believed).await?;
        for ((index, row), encoded) in indices.iter().zip(&rows).zip(encoded) {
            match encoded.operation {
                Ok(operation) => {
                    operations.push(operation);
                    places.push((*index, row.number));
                    left_out.push(encoded.left_out);
                }
                Err(refusals) => refused.push(RefusedRow { index: *index, refusals }),
            }
        }
        let first_pass = operations.len();
        if load.atomic && refused.is_empty() && left_out.iter().any(|left_out| !left_out.is_empty()) {
            // What is circular is set in the same transaction, behind the rows.
            let encoded = self.dynamics.encode_placed(plan, placed, Pass::Second, Ids::Believed).await?;
            for (at, encoded) in encoded.into_iter().enumerate() {
                let left_out = std::mem::take(&mut left_out[at]);
                match encoded.operation {
                    Ok(operation) if !left_out.is_empty() => {
                        operations.push(operation);
                        places.push(places[at]);
                    }
                    Ok(_) => {}
                    Err(refusals) => refused.push(RefusedRow { index: places[at].0, refusals }),
                }
            }
        }
        left_out.resize(operations.len(), Vec::new());
        if load.atomic && !refused.is_empty() {
            // The target has changed since preflight; what is all or none does not go now.
            hold_all(&mut refused, &rows);
            operations.clear();
        }
        drop(rows);
        let history = if attempt > 1 { History::InDoubt } else { History::New };
        let shape = if load.atomic { BatchShape::ChangeSet } else { BatchShape::Independent };
        let pause = Pause::default();
        let waiting = |waiting: Waiting| {
            pause.begin(waiting.pause);
            self.show_waiting(job, &waiting);
        };
        let mut heard = BatchHeard {
            batch: number,
            attempt,
            written: 0,
            effects: Some(Effects::default()),
            refused,
            made: Vec::new(),
            took_ms: 0,
            heard_at: (self.now)(),
            error: None,
            cause: None,
            severity: Severity::Fine,
        };
        if !operations.is_empty() {
            let sent = tokio::select! {
                biased;
                report = self.dynamics.send(&operations, shape, history, &waiting) => report,
                () = pause.cut_short(&self.stop) => return Err(Halt::Stopping),
            };
            let report = match sent {
                Err(fault @ SendFault::TooLarge { .. }) => too_large(operations.len(), &fault),
                report => report?,
            };
            heard.made = report.made.into_iter().map(|(at, key)| (places[at].0, key)).collect();
            let effects = heard.effects.get_or_insert_default();
            // A second pass shares its rows' fate: it is in their transaction.
            let culprit = report.culprit.map(|at| (places[at], report.outcomes[at].clone()));
            let rows = places.iter().zip(report.outcomes).zip(left_out).take(first_pass);
            for (((index, _), outcome), left_out) in rows {
                let refusals = match (outcome, &culprit) {
                    (Outcome::Written(written), _) if left_out.is_empty() => {
                        heard.written += 1;
                        effects.note(*index, written);
                        continue;
                    }
                    (Outcome::Written(_), _) => left_out,
                    (Outcome::Refused(_), Some(((culprit, number), _))) if culprit != index => {
                        vec![held_back(*number)]
                    }
                    (Outcome::Refused(_), Some((_, Outcome::Refused(refusal)))) => vec![refusal.clone()],
                    (Outcome::Refused(refusal), _) => vec![refusal],
                };
                heard.refused.push(RefusedRow { index: *index, refusals });
            }
            if let Some(trouble) = report.trouble {
                heard.severity = trouble.severity;
                heard.error = Some(trouble.error);
                heard.cause = Some(trouble.cause);
            }
        }
        heard.refused.sort_by_key(|row| row.index);
        let first = held.first().or(heard.refused.first()).and_then(|row| row.refusals.first());
        if let Some(refusal) = first {
            let count = held.len() + heard.refused.len();
            heard.severity = Severity::Rows;
            heard.error = Some(refusal.error.clone());
            heard.cause = Some(format!("{count} rows refused, the first because {}", refusal.cause));
        }
        heard.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        heard.heard_at = (self.now)();
        tracing::debug!(job = %job, batch = number, rows = heard.written, refused = heard.refused.len(), ms = heard.took_ms, "batch heard");
        Ok(heard)
    }
}

/// One transaction that no request can hold, as the refusal of each of its rows: all or none is none.
fn too_large(rows: usize, fault: &SendFault) -> SendReport {
    let refusal = Refusal {
        column: None,
        error: fault.to_string(),
        cause: "nothing is wrong with this row, but all rows together are more than one transaction can take"
            .to_owned(),
        advice: "split the workbook, or take `atomic` out of its sidecar".to_owned(),
        missing: None,
    };
    SendReport {
        outcomes: vec![Outcome::Refused(refusal); rows],
        attempts: 0,
        took: std::time::Duration::ZERO,
        culprit: None,
        trouble: None,
        made: Vec::new(),
    }
}
