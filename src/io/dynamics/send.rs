//! Sends operations until each is written or refused: tries again what is worth it, cuts what is too large, and believes
//! no answer that cannot be matched to its operation.

mod heard;
mod together;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use reqwest::Method as Verb;
use tokio::time::Instant;

use self::together::TOGETHER_ROWS_MIN;
use super::bulk::{self, BULK_OPERATIONS_MAX, Support};
use super::fault::SendFault;
use super::gate::{OnWaiting, Waiting};
use super::multipart;
use super::operation::{BatchShape, History, Operation, Outcome, SendReport, Trouble};
use super::pace::{Pace, Way};
use super::patience::Patience;
use super::verdict::Verdict;
use super::wire::{Request, Stumble, Wire};
use super::{Dialect, Dynamics};
use crate::domain::refusal::{Refusal, Severity};

/// Operations in one batch. Dataverse refuses more. Source: dynamics.md §3.1.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;
/// Operations in one change set, which is part of one batch. Source: dynamics.md §3.1.
pub const CHANGE_SET_OPERATIONS_MAX: usize = 1_000;

impl Dynamics {
    /// Sends the operations and tells what became of each, in their order.
    ///
    /// Whatever may pass (throttling, gateways, lost connections, deadlocks) is tried again within the limits; `waiting`
    /// hears of each pause. `history` says whether the operations may have been sent before.
    ///
    /// # Errors
    /// When they could not be brought to an end. Some may have been carried out; all can be sent again, with
    /// [`History::InDoubt`].
    pub async fn send(
        &self,
        operations: &[Operation],
        shape: BatchShape,
        history: History,
        waiting: &(dyn Fn(Waiting) + Sync),
    ) -> Result<SendReport, SendFault> {
        if self.dialect() == Dialect::Finops {
            return self.finops_send(operations, shape, history, waiting).await;
        }
        let wire = &self.inner.wire;
        let start = Instant::now();
        let support = self.support(operations, shape).await;
        let mut sending = Sending {
            wire,
            operations,
            shape,
            waiting,
            outcomes: vec![None; operations.len()],
            doubts: vec![history == History::InDoubt; operations.len()],
            tries: vec![0; operations.len()],
            queue: VecDeque::new(),
            pace: &self.inner.pace,
            support,
            alone: vec![false; operations.len()],
            families: vec![0; operations.len()],
            halvings: HashMap::new(),
            patience: Patience::new(wire.limits()),
            attempts: 0,
            culprit: None,
            trouble: None,
        };
        let all: Vec<usize> = (0..operations.len()).collect();
        let rows_max = match shape {
            BatchShape::ChangeSet if sending.action_for_all(&all).is_some() => BULK_OPERATIONS_MAX,
            BatchShape::ChangeSet => CHANGE_SET_OPERATIONS_MAX,
            BatchShape::Independent => BATCH_OPERATIONS_MAX,
        };
        sending.queue = groups(operations, shape, (rows_max, wire.limits().batch_bytes_max))?;
        while let Some(group) = sending.queue.pop_front() {
            sending.round(group).await?;
        }
        let outcomes = sending.outcomes.into_iter();
        Ok(SendReport {
            outcomes: outcomes
                .map(|outcome| outcome.expect("a group leaves the queue only settled"))
                .collect(),
            attempts: sending.attempts,
            took: start.elapsed(),
            culprit: sending.culprit,
            trouble: sending.trouble,
            made: Vec::new(),
        })
    }

    /// Which bulk actions could carry the operations; asked only where one might be used.
    async fn support(&self, operations: &[Operation], shape: BatchShape) -> Support {
        let wanted = match shape {
            BatchShape::Independent => operations.len() >= TOGETHER_ROWS_MIN,
            BatchShape::ChangeSet => operations.len() > CHANGE_SET_OPERATIONS_MAX,
        };
        match operations.first().and_then(|operation| operation.bulk.as_ref()).filter(|_| wanted) {
            Some(bulk) => self.bulk_support(&bulk.table).await,
            None => Support::default(),
        }
    }
}

/// The first requests: whole for a change set, else as many operations as one may hold.
fn groups(
    operations: &[Operation],
    shape: BatchShape,
    (rows_max, bytes_max): (usize, usize),
) -> Result<VecDeque<Vec<usize>>, SendFault> {
    let size = |operation: &Operation| {
        multipart::ENVELOPE_BYTES + operation.path.len() + operation.body.as_ref().map_or(0, String::len)
    };
    if shape == BatchShape::ChangeSet {
        let bytes: usize = operations.iter().map(size).sum();
        if operations.len() > rows_max {
            let (found, max) = (operations.len(), rows_max);
            return Err(SendFault::TooLarge { found, max, unit: "rows" });
        }
        if bytes > bytes_max {
            return Err(SendFault::TooLarge { found: bytes, max: bytes_max, unit: "bytes" });
        }
    }
    let mut groups = VecDeque::new();
    let mut group: Vec<usize> = Vec::new();
    let mut bytes = 0;
    for (index, operation) in operations.iter().enumerate() {
        let more = size(operation);
        if !group.is_empty() && (group.len() >= rows_max || bytes + more > bytes_max) {
            groups.push_back(std::mem::take(&mut group));
            bytes = 0;
        }
        group.push(index);
        bytes += more;
    }
    if !group.is_empty() {
        groups.push_back(group);
    }
    Ok(groups)
}

/// One call of [`Dynamics::send`] on its way. Numbers are places among the operations.
struct Sending<'a> {
    wire: &'a Wire,
    operations: &'a [Operation],
    shape: BatchShape,
    waiting: OnWaiting<'a>,
    outcomes: Vec<Option<Outcome>>,
    /// Whether the operation may have been carried out already.
    doubts: Vec<bool>,
    /// How often the operation was answered with a setback of its own.
    tries: Vec<u32>,
    queue: VecDeque<Vec<usize>>,
    pace: &'a Pace,
    /// The bulk actions that could carry them.
    support: Support,
    /// Whether the operation is to be answered for itself, not as one of many.
    alone: Vec<bool>,
    /// Which first request the operation was in, from 1, and how often the rows of each were halved.
    families: Vec<u32>,
    halvings: HashMap<u32, u32>,
    patience: Patience<'a>,
    attempts: u32,
    culprit: Option<usize>,
    trouble: Option<Trouble>,
}

/// What is to follow a round.
enum Next {
    /// Send these again after a pause.
    Pause { groups: Vec<Vec<usize>>, reason: String, wait: Option<Duration>, held: bool },
    /// Send these at once.
    Go { groups: Vec<Vec<usize>> },
}

impl Sending<'_> {
    /// Sends one group and settles what its answer settles; the rest is back in the queue.
    async fn round(&mut self, group: Vec<usize>) -> Result<(), SendFault> {
        let unsettled = |sending: &Self| sending.outcomes.iter().filter(|outcome| outcome.is_none()).count();
        let before = unsettled(self);
        let group = self.cut_to_pace(group);
        let next = self.exchange(group).await?;
        if unsettled(self) < before {
            self.patience.renew();
        }
        let (groups, pause) = match next {
            Next::Go { groups } => (groups, None),
            Next::Pause { groups, reason, wait, held } => (groups, Some((reason, wait, held))),
        };
        for group in groups.into_iter().rev().filter(|group| !group.is_empty()) {
            self.queue.push_front(group);
        }
        match pause {
            Some((reason, wait, held)) if !self.queue.is_empty() => self.pause(reason, wait, held).await,
            _ => Ok(()),
        }
    }

    /// Waits before the next try, unless the gate does: there it waits as long as the server asked for, or another
    /// application user goes on at once.
    async fn pause(&mut self, reason: String, wait: Option<Duration>, held: bool) -> Result<(), SendFault> {
        match self.patience.next(wait, held) {
            Ok(pause) => {
                Trouble::passing(&reason).keep_in(&mut self.trouble);
                if held {
                    return Ok(());
                }
                (self.waiting)(Waiting { pause, reason, asked_for: wait.is_some() });
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Err(retry_in) => Err(SendFault::Unavailable { reason, attempts: self.attempts, retry_in }),
        }
    }

    fn note(&mut self, error: String, cause: String, severity: Severity) {
        Trouble { error, cause, severity }.keep_in(&mut self.trouble);
    }

    /// The rows of the next request; those that are too many for it wait in the queue.
    fn cut_to_pace(&mut self, mut group: Vec<usize>) -> Vec<usize> {
        if self.shape == BatchShape::Independent
            && let Some(lane) = self.lane(&group)
        {
            let rows = self.pace.rows(&lane);
            if group.len() > rows {
                self.queue.push_front(group.split_off(rows));
            }
        }
        if self.families[group[0]] == 0 {
            let family = self.families.iter().max().map_or(1, |last| last + 1);
            group.iter().for_each(|index| self.families[*index] = family);
        }
        group
    }

    async fn exchange(&mut self, group: Vec<usize>) -> Result<Next, SendFault> {
        let operations: Vec<&Operation> = group.iter().map(|index| &self.operations[*index]).collect();
        let lane = self.lane(&group).expect("a group in the queue is never empty");
        let action = match self.shape {
            BatchShape::Independent => self.action(&group, &lane),
            BatchShape::ChangeSet if group.len() > CHANGE_SET_OPERATIONS_MAX => self.action_for_all(&group),
            BatchShape::ChangeSet => None,
        };
        let (path, content_type, body) = match (action, operations[0].bulk.as_ref()) {
            (Some(action), Some(bulk)) => {
                let content_type = "application/json; charset=utf-8".to_owned();
                (bulk::path(&bulk.table, action), content_type, bulk::body(&bulk.table, &operations))
            }
            _ => {
                let batch = multipart::batch(&operations, self.shape, self.wire.root_path());
                ("$batch".to_owned(), batch.content_type, batch.body)
            }
        };
        let each_for_itself = action.is_none() && self.shape == BatchShape::Independent;
        let request = Request {
            method: Verb::POST,
            path: &path,
            prefer: each_for_itself.then_some("odata.continue-on-error"),
            if_match: None,
            body: Some((&content_type, body.into())),
            rows: group.len(),
        };
        let heard = self.wire.once(&request, self.waiting).await;
        self.attempts += u32::from(!matches!(heard, Err(Stumble::Closed(_))));
        match heard {
            Err(Stumble::Closed(Waiting { pause, reason, .. })) => {
                Err(SendFault::Unavailable { reason, attempts: self.attempts, retry_in: pause })
            }
            Err(Stumble::Later { reason, wait, in_doubt, setback }) => {
                if in_doubt {
                    self.doubt(&group);
                }
                if let Some(setback) = setback {
                    self.pace.setback(&lane, setback);
                }
                Ok(Next::Pause { groups: vec![group], reason, wait, held: setback.is_some() })
            }
            Err(Stumble::Access { error, cause }) => Err(SendFault::Access { error, cause }),
            Err(Stumble::TooLarge { limit }) => {
                self.doubt(&group);
                let reason = format!("an answer of more than {limit} bytes");
                Ok(Next::Pause { groups: self.halves(group), reason, wait: None, held: false })
            }
            Ok(answer) if let Some(action) = action => self.heard_together(group, (&lane, action), &answer),
            Ok(answer) => match multipart::answers(&answer.content_type, &answer.body) {
                None => self.heard_as_one(group, &answer),
                Some(parts) if self.shape == BatchShape::ChangeSet => {
                    self.heard_change_set(group, &answer, &parts)
                }
                Some(parts) => {
                    if answer.status < 400 {
                        self.pace.heard(&lane, Way::Batch, parts.len(), answer.took);
                    }
                    self.heard_each(group, &answer, &parts)
                }
            },
        }
    }

    fn doubt(&mut self, group: &[usize]) {
        for index in group {
            self.doubts[*index] = true;
        }
    }

    /// The group in two, where it may be cut.
    fn halves(&self, mut group: Vec<usize>) -> Vec<Vec<usize>> {
        if self.shape == BatchShape::ChangeSet || group.len() < 2 {
            return vec![group];
        }
        let second = group.split_off(group.len() / 2);
        vec![group, second]
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = Some(outcome);
    }

    fn refuse(&mut self, index: usize, verdict: &Verdict, refusal: Refusal) {
        self.note(verdict.error.clone(), verdict.cause.clone(), Severity::Rows);
        self.settle(index, Outcome::Refused(refusal));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {

    use super::*;

    #[test]
    fn requests_hold_no_more_rows_and_bytes_than_they_may() {
        let operations: Vec<Operation> =
            (0..2_500).map(|n| Operation::patch(&format!("accounts({n:05})"))).collect();
        let sizes = |bytes_max| -> Vec<usize> {
            groups(&operations, BatchShape::Independent, (1_000, bytes_max))
                .unwrap()
                .iter()
                .map(Vec::len)
                .collect()
        };
        assert_eq!(sizes(usize::MAX), [1_000, 1_000, 500]);
        let one = multipart::ENVELOPE_BYTES + "accounts(00000)".len() + 100;
        assert!(sizes(one * 10 + 5).iter().all(|size| *size == 10));
        assert_eq!(sizes(1).len(), 2_500);
        let too_many = groups(&operations, BatchShape::ChangeSet, (1_000, usize::MAX)).unwrap_err();
        assert!(matches!(too_many, SendFault::TooLarge { found: 2_500, max: 1_000, unit: "rows" }));
    }
}
